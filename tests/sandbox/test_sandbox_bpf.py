"""The system call filter: its numbers against libseccomp's tables, its program in an interpreter of its own."""

from __future__ import annotations

import ctypes
import ctypes.util
import struct

import pytest

from icn_lite.sandbox import bpf
from icn_lite.sandbox.syscalls import AUDIT_ARCH, NUMBERS, machine_kind

KINDS = sorted(NUMBERS)
MAX_NUMBER = 1024  # past every table of today


def interpret(program: bytes, number: int, arch: int, args: tuple[int, ...] = (0,) * 6) -> int:
    """Run a classic BPF program over `struct seccomp_data` (linux/seccomp.h), as the kernel would."""
    data = struct.pack("<iIQ6Q", number, arch, 0, *args)
    code = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    accumulator = at = 0
    while True:
        op, jump_true, jump_false, k = code[at]
        at += 1
        if op == bpf.LD_WORD:
            accumulator = struct.unpack_from("<I", data, k)[0]
        elif op == bpf.JUMP_EQUAL:
            at += jump_true if accumulator == k else jump_false
        elif op == bpf.JUMP_SET:
            at += jump_true if accumulator & k else jump_false
        elif op == bpf.RETURN:
            return k
        else:
            raise AssertionError(f"instruction {op:#x} is not one that the filter uses")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compiling", [False, True])
def test_every_number_gets_its_verdict(kind: str, compiling: bool) -> None:
    program = bpf.assemble(kind, executable_memory=compiling)
    names = {number: name for name, number in NUMBERS[kind].items()}
    for number in range(MAX_NUMBER):
        name = names.get(number, "")
        if name in bpf.ALLOWED or name in bpf.MAPPING or (compiling and name in bpf.FOR_COMPILERS):
            expected = bpf.RET_ALLOW
        elif name in bpf.HOSTILE:
            expected = bpf.RET_KILL_PROCESS
        else:
            expected = bpf.RET_ERRNO_EPERM
        assert interpret(program, number, AUDIT_ARCH[kind]) == expected, (number, name)


@pytest.mark.parametrize("kind", KINDS)
def test_executable_memory_is_refused_and_other_memory_is_not(kind: str) -> None:
    program = bpf.assemble(kind)
    compiling = bpf.assemble(kind, executable_memory=True)
    for name in bpf.MAPPING:
        number = NUMBERS[kind].get(name)
        if number is None:
            continue
        for protection in range(16):
            args = (0, 0, protection, 0, 0, 0)
            verdict = interpret(program, number, AUDIT_ARCH[kind], args)
            assert verdict == (bpf.RET_ERRNO_EPERM if protection & 4 else bpf.RET_ALLOW)
            assert interpret(compiling, number, AUDIT_ARCH[kind], args) == bpf.RET_ALLOW


@pytest.mark.parametrize("kind", KINDS)
def test_another_architecture_is_killed_and_x32_gets_nothing(kind: str) -> None:
    program = bpf.assemble(kind)
    for other in (0x40000003, *(AUDIT_ARCH[name] for name in KINDS if name != kind)):
        assert interpret(program, NUMBERS[kind]["read"], other) == bpf.RET_KILL_PROCESS
    for number in (0, 1, 59):  # the x32 calls have bit 30 set
        assert interpret(program, number | 0x40000000, AUDIT_ARCH[kind]) == bpf.RET_ERRNO_EPERM


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_libseccomps(kind: str) -> None:
    path = ctypes.util.find_library("seccomp")
    if path is None:
        pytest.skip("libseccomp2 is missing: its tables are the oracle here")
    resolve = ctypes.CDLL(path).seccomp_syscall_resolve_name_arch
    resolve.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    differing = {
        name: (number, resolve(AUDIT_ARCH[kind], name.encode()))
        for name, number in NUMBERS[kind].items()
        if resolve(AUDIT_ARCH[kind], name.encode()) != number
    }
    assert differing == {}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_kind_lacks_does_not_exist_there(kind: str) -> None:
    path = ctypes.util.find_library("seccomp")
    if path is None:
        pytest.skip("libseccomp2 is missing: its tables are the oracle here")
    resolve = ctypes.CDLL(path).seccomp_syscall_resolve_name_arch
    resolve.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    named = {*bpf.ALLOWED, *bpf.MAPPING, *bpf.FOR_COMPILERS, *bpf.HOSTILE}
    left_out = {name for name in named - NUMBERS[kind].keys() if resolve(AUDIT_ARCH[kind], name.encode()) >= 0}
    # On arm the old mmap takes a block of arguments and libcs use mmap2; gettimeofday and the like are listed.
    assert left_out <= {"mmap"}


@pytest.mark.parametrize(
    ("machine", "pointer", "kind"),
    [("x86_64", 8, "x86_64"), ("aarch64", 8, "aarch64"), ("aarch64", 4, "arm"), ("armv7l", 4, "arm"),
     ("armv8l", 4, "arm"), ("i686", 4, None), ("x86_64", 4, None), ("riscv64", 8, None)],
)  # fmt: skip
def test_processors(machine: str, pointer: int, kind: str | None) -> None:
    assert machine_kind(machine, pointer) == kind
