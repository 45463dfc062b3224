"""WASI preview 1 for `_start` modules, as far as a deterministic run without files can have it.

stdin is the input, stdout the output, stderr the log. The environment is empty, clocks stand still, `random_get` is
a stream seeded by the input's CID. There are no files, directories or sockets: descriptors other than 0, 1, 2 answer
EBADF, which is also how wasi-libc learns that nothing is pre-opened, and so do the standard three for what only a
file or a directory can do. What makes no sense here answers ENOSYS. Standard streams are neither terminals (libc then
writes in blocks, not lines) nor seekable (ESPIPE), and never make anybody wait; nor does a sleep, which returns at
once and takes no time off the clock.

`wasi_snapshot_preview1.witx`, wasi-libc's `__wasilibc_*`. Where the standard leaves an errno open it is the one that
wasmtime gives; a test compares them.
"""

from __future__ import annotations

from icn_lite.sandbox.digests import RandomStream
from icn_lite.sandbox.engine import GuestExit
from icn_lite.sandbox.memory import U32, BadPointer, GuestMemory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from icn_lite.sandbox.hostabi import Spend, Streams

SUCCESS, EBADF, EFAULT, EINVAL, ENOSPC, ENOSYS, ENOTDIR, ENOTSOCK, ESPIPE, ENOTCAPABLE = (
    0, 8, 21, 28, 51, 52, 54, 57, 70, 76,
)  # fmt: skip

MODULE = "wasi_snapshot_preview1"
PROGRAM_NAME = "guest"
MAX_VECTORS = 1024  # POSIX's IOV_MAX on Linux; wasi-libc uses two
MAX_RANDOM_BYTES = 1 << 20  # a call; more is EINVAL, so that one call stays short
# WASI costs no fuel, so the limit of host calls has to bound its work: a call that does more than others counts as
# several. So much, 60 µs on a PC, is one more:
RANDOM_BYTES_A_CALL = 1024
ROWS_A_CALL = 16  # of vectors and subscriptions
CLOCKS = 4
RIGHT_READ, RIGHT_WRITE, RIGHT_POLL = 1 << 1, 1 << 6, 1 << 27
STDIN, STDOUT, STDERR = 0, 1, 2
FILETYPE_UNKNOWN = 0  # what a pipe is
FDFLAGS = 0b11111  # append, dsync, nonblock, rsync, sync

EVENT_CLOCK, EVENT_READ, EVENT_WRITE = 0, 1, 2
SUBSCRIPTION_BYTES, EVENT_BYTES = 48, 32
MAX_SUBSCRIPTIONS = 1024  # as many as vectors; a program waits for a handful
WRITE_ROOM = 4096  # PIPE_BUF; what is left of the output or the log is nobody's affair
HANGUP = 1

# By the row's name: what answers when no method of `WasiFunctions` does. The rest is EBADF, having a descriptor.
NO_SUCH_CALL = frozenset({"proc_raise"})
OF_SOCKETS = frozenset({"sock_accept", "sock_recv", "sock_send", "sock_shutdown"})


def _uncounted(calls: int) -> None:
    """What a call costs where nobody counts."""


class WasiFunctions:
    """Answers one run's calls."""

    def __init__(
        self, memory: GuestMemory, streams: Streams, arguments: list[str], seed: bytes, spend: Spend | None = None
    ) -> None:
        self._memory = memory
        self._streams = streams
        self._spend = spend or _uncounted
        self._arguments = [text.encode() + b"\0" for text in [PROGRAM_NAME, *arguments]]
        self._random = RandomStream(seed)
        self._read_at = 0
        self._open = {STDIN: STDIN, STDOUT: STDOUT, STDERR: STDERR}  # which stream a descriptor is

    def function(self, name: str) -> Callable[..., int | None]:
        """What to link for a row of the table."""
        inner: Callable[..., int] | None = getattr(self, name, None)
        if inner is None:
            if name in OF_SOCKETS:
                return lambda fd, *_: ENOTSOCK if fd in self._open else EBADF
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
        self._spend((length & U32) // RANDOM_BYTES_A_CALL)
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
        del self._open[fd]
        return SUCCESS

    def fd_renumber(self, fd: int, to: int) -> int:
        """What `to` was is closed; both have to be open, so there are never more than three."""
        if fd not in self._open or to not in self._open:
            return EBADF
        self._open[to] = self._open.pop(fd)
        return SUCCESS

    def fd_fdstat_get(self, fd: int, out: int) -> int:
        """u8 filetype, u16 flags at 2, u64 rights at 8, u64 inheriting rights at 16."""
        if fd not in self._open:
            return EBADF
        rights = RIGHT_POLL | (RIGHT_READ if self._open[fd] == STDIN else RIGHT_WRITE)
        self._memory.write(out, bytes([FILETYPE_UNKNOWN]).ljust(8, b"\0") + rights.to_bytes(8, "little") + bytes(8))
        return SUCCESS

    def fd_fdstat_set_flags(self, fd: int, flags: int) -> int:
        """Nothing blocks and nothing is cached, so every flag is as good as set."""
        if fd not in self._open:
            return EBADF
        return EINVAL if flags & ~FDFLAGS else SUCCESS

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

    def fd_pread(self, fd: int, _vectors: int, _count: int, _offset: int, _out: int) -> int:
        return ESPIPE if self._open.get(fd) == STDIN else EBADF

    def fd_pwrite(self, fd: int, _vectors: int, _count: int, _offset: int, _out: int) -> int:
        return ESPIPE if self._open.get(fd) in (STDOUT, STDERR) else EBADF

    def fd_prestat_dir_name(self, fd: int, _path: int, _length: int) -> int:
        return ENOTDIR if fd in self._open else EBADF

    def fd_read(self, fd: int, vectors: int, count: int, out: int) -> int:
        if self._open.get(fd) != STDIN:
            return EBADF
        if count & U32 > MAX_VECTORS:
            return EINVAL
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
        stream = self._open.get(fd)
        if stream not in (STDOUT, STDERR):
            return EBADF
        if count & U32 > MAX_VECTORS:
            return EINVAL
        self._memory.check(out, 4)
        ranges = self._vectors(vectors, count)
        total = sum(length for _, length in ranges)
        if stream == STDOUT:
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
        table = self._memory.read(vectors, 8 * (count & U32))
        self._spend((count & U32) // ROWS_A_CALL)
        ranges = []
        for at in range(0, len(table), 8):
            pointer = int.from_bytes(table[at : at + 4], "little")
            length = int.from_bytes(table[at + 4 : at + 8], "little")
            ranges.append((self._memory.check(pointer, length), length))
        return ranges

    # waiting

    def poll_oneoff(self, subscriptions: int, events: int, count: int, out: int) -> int:
        """What is ready at once; when nothing but clocks is waited for, the earliest of them."""
        number = count & U32
        if not 1 <= number <= MAX_SUBSCRIPTIONS:
            return EINVAL
        self._memory.check(out, 4)
        self._memory.check(events, number * EVENT_BYTES)
        table = self._memory.read(subscriptions, number * SUBSCRIPTION_BYTES)
        self._spend(number // ROWS_A_CALL)
        waits = [Subscription(table, at) for at in range(0, len(table), SUBSCRIPTION_BYTES)]
        if any(wait.kind > EVENT_WRITE for wait in waits):
            return EINVAL
        # Of a wrong clock or a stream that is always ready one hears before any time has to pass.
        earliest = min(wait.timeout for wait in waits)
        happened = b"".join(self._event(wait) for wait in waits if wait.timeout == earliest)
        self._memory.write(events, happened)
        self._memory.write_u32(out, len(happened) // EVENT_BYTES)
        return SUCCESS

    def _event(self, wait: Subscription) -> bytes:
        """u64 userdata, u16 error at 8, u8 type at 10, u64 bytes at 16, u16 flags at 24."""
        error = size = flags = 0
        stream = self._open.get(wait.fd)
        if wait.kind == EVENT_CLOCK:
            error = SUCCESS if wait.clock < CLOCKS else EINVAL
        elif stream is None or (stream == STDIN) != (wait.kind == EVENT_READ):
            error = EBADF
        elif wait.kind == EVENT_READ:
            size = len(self._streams.input) - self._read_at
            flags = 0 if size else HANGUP
        else:
            size = WRITE_ROOM
        numbers = ((error, 2), (wait.kind, 1), (0, 5), (size, 8), (flags, 2), (0, 6))
        return wait.userdata + b"".join(value.to_bytes(width, "little") for value, width in numbers)


class Subscription:
    """What a guest waits for: u64 userdata, u8 kind at 8, then a clock's id u32 at 16, u64 timeout at 24 (relative or
    absolute is the same while the clock shows 0), or a descriptor u32 at 16."""

    __slots__ = ("clock", "fd", "kind", "timeout", "userdata")

    def __init__(self, table: bytes, at: int) -> None:
        self.userdata = table[at : at + 8]
        self.kind = table[at + 8]
        self.clock = self.fd = int.from_bytes(table[at + 16 : at + 20], "little")
        waits = self.kind == EVENT_CLOCK and self.clock < CLOCKS
        self.timeout = int.from_bytes(table[at + 24 : at + 32], "little") if waits else 0
