"""`prctl(2)` without the `ctypes` package, which costs a child 0.4 MB and, on hardened kernels, fails at its import.

`_ctypes`, its C half, can call a C function with integers and byte strings; that is all that is needed. Where a
Python lacks it, `available` is False and the jail says which layers are missing for it.
"""

from __future__ import annotations

try:
    import _ctypes
except ImportError:  # a Python built without libffi
    _ctypes = None  # type: ignore[assignment]

SET_PDEATHSIG = 1
GET_DUMPABLE = 3
SET_DUMPABLE = 4
GET_SECCOMP = 21
SET_SECCOMP = 22
SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
POINTER_BYTES = tuple.__itemsize__  # a tuple's items are pointers


class Prctl:
    """The function, looked up once in the zygote."""

    def __init__(self) -> None:
        self._address = 0
        if _ctypes is not None:
            try:
                program = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # None is the program itself
                self._address = _ctypes.dlsym(program, "prctl")
            except OSError:  # a libc that doesn't export it
                self._address = 0

    @property
    def available(self) -> bool:
        return bool(self._address)

    def call(self, option: int, argument: int, block: bytes | int = 0) -> bool:
        """True when the kernel agreed; the fourth and fifth argument are zero, as all our options want."""
        if not self._address:
            return False
        return bool(_ctypes.call_function(self._address, (option, argument, block, 0, 0)) == 0)

    def get(self, option: int) -> int:
        """What the kernel says to an option that asks; -1 when it doesn't know it."""
        return int(_ctypes.call_function(self._address, (option, 0, 0, 0, 0))) if self._address else -1

    def seccomp(self, program: bytes) -> bool:
        """Install a BPF program; `no_new_privs` must be set before."""
        # struct sock_fprog { unsigned short len; struct sock_filter *filter; }. The bytes of a bytes object begin
        # where its header ends, in every CPython; `program` outlives the call.
        address = id(program) + bytes.__basicsize__ - 1
        fprog = (len(program) // 8).to_bytes(2, "little").ljust(POINTER_BYTES, b"\0")
        fprog += address.to_bytes(POINTER_BYTES, "little")
        return self.call(SET_SECCOMP, SECCOMP_MODE_FILTER, fprog)
