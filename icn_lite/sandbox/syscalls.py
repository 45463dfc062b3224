"""Numbers of the system calls that the filter names, for each kind of processor.

From the kernel's tables: `arch/x86/entry/syscalls/syscall_64.tbl`, `include/uapi/asm-generic/unistd.h` (arm64) and
`arch/arm/tools/syscall.tbl` (EABI). A row that a processor doesn't have is left out. The tests compare every number
with libseccomp's own tables.
"""

from __future__ import annotations

# The audit architecture (linux/audit.h) by `uname -m`. A 32-bit Python on a 64-bit ARM kernel says `aarch64` or
# `armv8l`, so the width of a pointer decides there.
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "arm": 0x40000028}

NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "read": 0, "write": 1, "close": 3, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13,
        "rt_sigprocmask": 14, "rt_sigreturn": 15, "writev": 20, "sched_yield": 24, "mremap": 25, "madvise": 28,
        "getpid": 39, "exit": 60, "gettimeofday": 96, "getrusage": 98, "sigaltstack": 131, "gettid": 186,
        "futex": 202, "sched_getaffinity": 204, "restart_syscall": 219, "clock_gettime": 228, "exit_group": 231,
        "getrandom": 318, "membarrier": 324,
        "socket": 41, "connect": 42, "clone": 56, "fork": 57, "vfork": 58, "execve": 59, "kill": 62, "ptrace": 101,
        "unshare": 272, "process_vm_readv": 310, "process_vm_writev": 311, "bpf": 321, "execveat": 322,
        "io_uring_setup": 425, "clone3": 435,
    },
    "aarch64": {
        "read": 63, "write": 64, "close": 57, "mmap": 222, "mprotect": 226, "munmap": 215, "brk": 214,
        "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "writev": 66, "sched_yield": 124,
        "mremap": 216, "madvise": 233, "getpid": 172, "exit": 93, "gettimeofday": 169, "getrusage": 165,
        "sigaltstack": 132, "gettid": 178, "futex": 98, "sched_getaffinity": 123, "restart_syscall": 128,
        "clock_gettime": 113, "exit_group": 94, "getrandom": 278, "membarrier": 283,
        "socket": 198, "connect": 203, "clone": 220, "execve": 221, "kill": 129, "ptrace": 117, "unshare": 97,
        "process_vm_readv": 270, "process_vm_writev": 271, "bpf": 280, "execveat": 281, "io_uring_setup": 425,
        "clone3": 435,
    },
    "arm": {
        "restart_syscall": 0, "exit": 1, "read": 3, "write": 4, "close": 6, "getpid": 20, "brk": 45, "getrusage": 77,
        "gettimeofday": 78, "munmap": 91, "sigreturn": 119, "mprotect": 125, "writev": 146, "sched_yield": 158,
        "mremap": 163, "rt_sigreturn": 173, "rt_sigaction": 174, "rt_sigprocmask": 175, "sigaltstack": 186,
        "mmap2": 192, "madvise": 220, "gettid": 224, "futex": 240, "sched_getaffinity": 242, "exit_group": 248,
        "clock_gettime": 263, "getrandom": 384, "membarrier": 389, "clock_gettime64": 403, "futex_time64": 422,
        "fork": 2, "execve": 11, "ptrace": 26, "kill": 37, "clone": 120, "vfork": 190, "socket": 281, "connect": 283,
        "unshare": 337, "process_vm_readv": 376, "process_vm_writev": 377, "bpf": 386, "execveat": 387,
        "io_uring_setup": 425, "clone3": 435,
    },
}  # fmt: skip


def machine_kind(machine: str, pointer_bytes: int) -> str | None:
    """The row of `NUMBERS` for what `uname -m` says, or None for a processor without a row."""
    if machine.startswith(("arm", "aarch64")):
        return "aarch64" if pointer_bytes == 8 else "arm"
    return "x86_64" if machine in ("x86_64", "amd64") and pointer_bytes == 8 else None
