"""bincode 1.3 with its default options, as icn-core uses it: reading within bounds, and writing.

Integers are little-endian and of fixed width, lengths are u64, an enum's variant is a u32, an Option is a byte before
its value, a bool is a byte. There are no names and no types in the bytes: who reads has to know what comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from icn_lite.model.errors import DocumentError

MAX_BYTES: Final = 1 << 20  # of one value; icn-core's gossip carries 64 KiB
T = TypeVar("T")


class Reader:
    """Bytes from the first to the last; raises `DocumentError` with the offset."""

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_BYTES:
            raise DocumentError(f"expected at most {MAX_BYTES} bytes, found {len(data)}")
        self._data = data
        self._at = 0

    def take(self, length: int) -> bytes:
        """So many bytes."""
        if length > len(self._data) - self._at:
            left = len(self._data) - self._at
            raise DocumentError(f"expected {length} bytes more, {left} are left", offset=self._at)
        self._at += length
        return self._data[self._at - length : self._at]

    def number(self, width: int, *, signed: bool = False) -> int:
        """An integer of `width` bytes."""
        return int.from_bytes(self.take(width), "little", signed=signed)

    def u32(self) -> int:
        """Also an enum's variant."""
        return self.number(4)

    def u64(self) -> int:
        """Also a length."""
        return self.number(8)

    def flag(self) -> bool:
        """A bool, or whether an Option holds something."""
        found = self.number(1)
        if found > 1:
            raise DocumentError(f"expected 0 or 1, found {found}", offset=self._at - 1)
        return found == 1

    def octets(self) -> bytes:
        """A `Vec<u8>`."""
        return self.take(self.u64())

    def text(self) -> str:
        """A `String`."""
        start, data = self._at, self.octets()
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DocumentError("expected UTF-8", offset=start + 8 + error.start) from error

    def option(self, read: Callable[[], T]) -> T | None:
        """An `Option`."""
        return read() if self.flag() else None

    def items(self, read: Callable[[], T]) -> tuple[T, ...]:
        """A `Vec`; its length is checked against what is left before anything is made."""
        start, count = self._at, self.u64()
        if count > len(self._data) - self._at:
            raise DocumentError(f"a list of {count} doesn't fit into what is left", offset=start)
        return tuple(read() for _ in range(count))

    def end(self) -> None:
        """Nothing may follow."""
        if self._at != len(self._data):
            raise DocumentError(f"expected the end, {len(self._data) - self._at} bytes follow", offset=self._at)


def u32(value: int) -> bytes:
    """A u32, or an enum's variant."""
    return _number(value, 4)


def u64(value: int) -> bytes:
    """A u64, or a length."""
    return _number(value, 8)


def i32(value: int) -> bytes:
    """An i32."""
    return _number(value, 4, signed=True)


def octets(data: bytes) -> bytes:
    """A `Vec<u8>`."""
    return u64(len(data)) + data


def text(value: str) -> bytes:
    """A `String`."""
    return octets(value.encode("utf-8"))


def option(value: T | None, write: Callable[[T], bytes]) -> bytes:
    """An `Option`."""
    return b"\0" if value is None else b"\1" + write(value)


def items(values: Sequence[T], write: Callable[[T], bytes]) -> bytes:
    """A `Vec`."""
    return u64(len(values)) + b"".join(map(write, values))


def _number(value: int, width: int, *, signed: bool = False) -> bytes:
    try:
        return value.to_bytes(width, "little", signed=signed)
    except OverflowError as error:
        raise DocumentError(f"{value} doesn't fit into {width} bytes") from error
