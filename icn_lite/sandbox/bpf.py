"""The seccomp filter, assembled by hand: a classic BPF program over `struct seccomp_data`.

Why by hand: the program is forty jumps long and never changes, while libseccomp would be one more thing to find on
every phone and costs 0.7 ms a child. `Documentation/userspace-api/seccomp_filter.rst`, `linux/bpf_common.h`.

The program, in this order: another architecture kills (32-bit calls on a 64-bit kernel have other numbers); calls on
the `ALLOWED` list pass; `mmap` and `mprotect` pass unless they ask for executable memory; calls on the `HOSTILE`
list, which nothing in a child ever needs, kill; all others answer EPERM, so that a libc which likes to look at a
file on its way (Android's allocator does) goes on without it.
"""

from __future__ import annotations

from icn_lite.sandbox.syscalls import AUDIT_ARCH, NUMBERS

LD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
JUMP_SET = 0x45  # BPF_JMP | BPF_JSET | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

RET_KILL_PROCESS = 0x80000000
RET_ERRNO_EPERM = 0x00050000 | 1
RET_ALLOW = 0x7FFF0000

OFFSET_NR = 0
OFFSET_ARCH = 4
OFFSET_ARG2 = 32  # low word of the third argument: little-endian on every processor named here
PROT_EXEC = 4

ALLOWED = (
    "read", "write", "writev", "close", "munmap", "mremap", "brk", "madvise", "futex", "futex_time64",
    "clock_gettime", "clock_gettime64", "gettimeofday", "getrusage", "getpid", "gettid", "getrandom", "sched_yield",
    "rt_sigprocmask", "rt_sigreturn", "sigreturn", "restart_syscall", "exit", "exit_group",
)  # fmt: skip
MAPPING = ("mmap", "mmap2", "mprotect")
FOR_COMPILERS = ("rt_sigaction", "sigaltstack", "membarrier", "sched_getaffinity")  # the second engine's needs
HOSTILE = (
    "execve", "execveat", "fork", "vfork", "clone", "clone3", "socket", "connect", "ptrace", "kill", "unshare", "bpf",
    "process_vm_readv", "process_vm_writev", "io_uring_setup",
)  # fmt: skip


def instruction(code: int, jump_true: int, jump_false: int, k: int) -> bytes:
    """One `struct sock_filter`: u16 code, u8 jt, u8 jf, u32 k, in the machine's order (little-endian here)."""
    return code.to_bytes(2, "little") + bytes((jump_true, jump_false)) + k.to_bytes(4, "little")


def assemble(kind: str, *, executable_memory: bool = False) -> bytes:
    """The program for a row of `NUMBERS`; `executable_memory` is for an engine that compiles to machine code."""
    numbers = NUMBERS[kind]
    passing = ALLOWED + (FOR_COMPILERS + MAPPING if executable_memory else ())
    checked = () if executable_memory else MAPPING
    groups = [[numbers[name] for name in names if name in numbers] for names in (passing, checked, HOSTILE)]
    tests = sum(len(group) for group in groups)
    # After the tests stand: EPERM, ALLOW, KILL, then the look at the protection bits.
    eperm, allow, kill, check = tests, tests + 1, tests + 2, tests + 3
    program = [
        instruction(LD_WORD, 0, 0, OFFSET_ARCH),
        instruction(JUMP_EQUAL, 1, 0, AUDIT_ARCH[kind]),
        instruction(RETURN, 0, 0, RET_KILL_PROCESS),
        instruction(LD_WORD, 0, 0, OFFSET_NR),
    ]
    at = 0
    for group, target in zip(groups, (allow, check, kill), strict=True):
        for number in group:
            program.append(instruction(JUMP_EQUAL, target - at - 1, 0, number))
            at += 1
    program += [
        instruction(RETURN, 0, 0, RET_ERRNO_EPERM),
        instruction(RETURN, 0, 0, RET_ALLOW),
        instruction(RETURN, 0, 0, RET_KILL_PROCESS),
        instruction(LD_WORD, 0, 0, OFFSET_ARG2),
        instruction(JUMP_SET, 0, 1, PROT_EXEC),
        instruction(RETURN, 0, 0, RET_ERRNO_EPERM),
        instruction(RETURN, 0, 0, RET_ALLOW),
    ]
    assert at == eperm
    return b"".join(program)
