"""WASI preview 1 for `_start` modules, as far as a deterministic run without files can have it.

stdin is the input, stdout the output, stderr the log. The environment is empty, clocks stand still, `random_get` is
a stream seeded by the input's CID. There are no files, directories or sockets: descriptors other than 0, 1, 2 answer
EBADF, which is also how wasi-libc learns that nothing is pre-opened; what makes no sense here answers ENOSYS.
Standard streams are neither terminals (libc then writes in blocks, not lines) nor seekable (ESPIPE).

`wasi_snapshot_preview1.witx`, wasi-libc's `__wasilibc_*`.
"""

from __future__ import annotations

from icn_lite.sandbox.digests import RandomStream
from icn_lite.sandbox.engine import GuestExit
from icn_lite.sandbox.memory import U32, BadPointer, GuestMemory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from icn_lite.sandbox.hostabi import Streams

SUCCESS, EBADF, EFAULT, EINVAL, ENOSPC, ENOSYS, ESPIPE, ENOTCAPABLE = 0, 8, 21, 28, 51, 52, 70, 76

MODULE = "wasi_snapshot_preview1"
PROGRAM_NAME = "guest"
MAX_VECTORS = 1024  # POSIX's IOV_MAX on Linux; wasi-libc uses two
MAX_RANDOM_BYTES = 1 << 20  # a call; more is EINVAL, so that one call stays short
CLOCKS = 4
RIGHT_READ, RIGHT_WRITE = 1 << 1, 1 << 6
STDIN, STDOUT, STDERR = 0, 1, 2
FILETYPE_UNKNOWN = 0  # what a pipe is

# By the row's name: what answers when no method of `WasiFunctions` does. The rest is EBADF, having a descriptor.
NO_SUCH_CALL = frozenset({"poll_oneoff", "proc_raise"})


class WasiFunctions:
    """Answers one run's calls."""

    def __init__(self, memory: GuestMemory, streams: Streams, arguments: list[str], seed: bytes) -> None:
        self._memory = memory
        self._streams = streams
        self._arguments = [text.encode() + b"\0" for text in [PROGRAM_NAME, *arguments]]
        self._random = RandomStream(seed)
        self._read_at = 0
        self._open = {STDIN, STDOUT, STDERR}

    def function(self, name: str) -> Callable[..., int | None]:
        """What to link for a row of the table."""
        inner: Callable[..., int] | None = getattr(self, name, None)
        if inner is None:
            return (lambda *_: ENOSYS) if name in NO_SUCH_CALL else (lambda *_: EBADF)

        def guarded(*args: int) -> int:
            try:
                return inner(*args)
            except BadPointer:
                return EFAULT

        return guarded

    def args_sizes_get(self, count: int, size: int) -> int:
        return self._sizes(self._arguments, count, size)

    def args_get(self, pointers: int, buffer: int) -> int:
        at = buffer & U32
        for index, text in enumerate(self._arguments):
            self._memory.write_u32((pointers & U32) + 4 * index, at)
            self._memory.write(at, text)
            at += len(text)
        return SUCCESS

    def environ_sizes_get(self, count: int, size: int) -> int:
        return self._sizes([], count, size)

    def environ_get(self, pointers: int, buffer: int) -> int:
        self._memory.check(pointers, 0)
        self._memory.check(buffer, 0)
        return SUCCESS

    def _sizes(self, texts: list[bytes], count: int, size: int) -> int:
        self._memory.check(size, 4)
        self._memory.write_u32(count, len(texts))
        self._memory.write_u32(size, sum(len(text) for text in texts))
        return SUCCESS

    def clock_res_get(self, clock: int, out: int) -> int:
        return self._clock(clock, out, 1)

    def clock_time_get(self, clock: int, _precision: int, out: int) -> int:
        return self._clock(clock, out, 0)

    def _clock(self, clock: int, out: int, value: int) -> int:
        if not 0 <= clock < CLOCKS:
            return EINVAL
        self._memory.write_u64(out, value)
        return SUCCESS

    def random_get(self, pointer: int, length: int) -> int:
        self._memory.check(pointer, length)
        if length & U32 > MAX_RANDOM_BYTES:
            return EINVAL
        self._memory.write(pointer, self._random.take(length & U32))
        return SUCCESS

    def proc_exit(self, code: int) -> int:
        raise GuestExit(code & U32)

    def sched_yield(self) -> int:
        return SUCCESS

    # descriptors

    def fd_close(self, fd: int) -> int:
        if fd not in self._open:
            return EBADF
        self._open.discard(fd)
        return SUCCESS

    def fd_fdstat_get(self, fd: int, out: int) -> int:
        """u8 filetype, u16 flags at 2, u64 rights at 8, u64 inheriting rights at 16."""
        if fd not in self._open:
            return EBADF
        rights = RIGHT_READ if fd == STDIN else RIGHT_WRITE
        self._memory.write(out, bytes([FILETYPE_UNKNOWN]).ljust(8, b"\0") + rights.to_bytes(8, "little") + bytes(8))
        return SUCCESS

    def fd_fdstat_set_flags(self, fd: int, _flags: int) -> int:
        return SUCCESS if fd in self._open else EBADF

    def fd_filestat_get(self, fd: int, out: int) -> int:
        """64 bytes, all zero: no device, no inode, an unknown type, no size, no times."""
        if fd not in self._open:
            return EBADF
        self._memory.write(out, bytes(64))
        return SUCCESS

    def fd_seek(self, fd: int, _offset: int, _whence: int, _out: int) -> int:
        return ESPIPE if fd in self._open else EBADF

    def fd_tell(self, fd: int, _out: int) -> int:
        return ESPIPE if fd in self._open else EBADF

    def fd_read(self, fd: int, vectors: int, count: int, out: int) -> int:
        if fd != STDIN or fd not in self._open:
            return EBADF
        self._memory.check(out, 4)
        total = 0
        for pointer, length in self._vectors(vectors, count):
            chunk = self._streams.input[self._read_at : self._read_at + length]
            self._memory.write(pointer, chunk)
            self._read_at += len(chunk)
            total += len(chunk)
            if len(chunk) < length:
                break
        self._memory.write_u32(out, total)
        return SUCCESS

    def fd_write(self, fd: int, vectors: int, count: int, out: int) -> int:
        if fd not in (STDOUT, STDERR) or fd not in self._open:
            return EBADF
        self._memory.check(out, 4)
        ranges = self._vectors(vectors, count)
        total = sum(length for _, length in ranges)
        if fd == STDOUT:
            # Each range lies in the memory, but a thousand of them could name all of it: look before copying.
            if total > self._streams.output_room():
                return ENOSPC
            self._streams.put_output(b"".join(self._memory.read(pointer, length) for pointer, length in ranges))
        else:
            for pointer, length in ranges:
                self._streams.put_log(self._memory.read(pointer, min(length, self._streams.log_room())))
        self._memory.write_u32(out, total)
        return SUCCESS

    def _vectors(self, vectors: int, count: int) -> list[tuple[int, int]]:
        """(pointer, length) of each, all inside the memory."""
        if count & U32 > MAX_VECTORS:
            raise BadPointer
        table = self._memory.read(vectors, 8 * count)
        ranges = []
        for at in range(0, len(table), 8):
            pointer = int.from_bytes(table[at : at + 4], "little")
            length = int.from_bytes(table[at + 4 : at + 8], "little")
            ranges.append((self._memory.check(pointer, length), length))
        return ranges
