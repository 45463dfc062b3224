"""LEB128 integers (core specification §5.2.2): strict reading with offsets, shortest-form writing."""

from __future__ import annotations

from typing import Final

from icn_lite.model.errors import ModuleError


def read_u32(data: bytes, pos: int, end: int) -> tuple[int, int]:
    """Read an unsigned 32-bit integer; returns (value, next position). Padding up to five bytes is allowed."""
    if pos < end and (byte := data[pos]) < 0x80:
        return byte, pos + 1
    result = shift = 0
    start = pos
    while True:
        if pos >= end:
            raise ModuleError("malformed", "unexpected end in an integer", offset=start)
        byte = data[pos]
        pos += 1
        if shift == 28 and byte > 0x0F:
            raise ModuleError("malformed", "integer has more than 32 bits", offset=start)
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, pos
        shift += 7


def read_signed(data: bytes, pos: int, end: int, bits: int) -> tuple[int, int]:
    """Read a signed integer of 32, 33 or 64 bits; returns (value, next position)."""
    result = shift = 0
    start = pos
    while True:
        if pos >= end:
            raise ModuleError("malformed", "unexpected end in an integer", offset=start)
        byte = data[pos]
        pos += 1
        left = bits - shift
        if left < 7:
            # the last byte may only repeat the sign in its unused bits
            unused = (byte & 0x7F) >> (left - 1)
            if byte >= 0x80 or unused not in (0, (1 << (8 - left)) - 1):
                raise ModuleError("malformed", f"integer has more than {bits} bits", offset=start)
        result |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            if byte & 0x40:
                result -= 1 << shift
            return result, pos


def skip_signed(data: bytes, pos: int, end: int, bits: int) -> int:
    """The position behind a signed integer; raises IndexError at the end of the data."""
    last = pos
    while data[last] > 127:
        last += 1
    if last - pos < bits // 7:
        return last + 1
    return read_signed(data, pos, end, bits)[1]  # so long that its last bits matter


def write_u32(value: int) -> bytes:
    """The shortest unsigned form."""
    if value < 0x80:
        return _ONE[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def write_signed(value: int) -> bytes:
    """The shortest signed form."""
    if -0x40 <= value < 0x40:
        return _ONE[value & 0x7F]
    out = bytearray()
    while True:
        byte = value & 0x7F
        value >>= 7
        if (value == 0 and not byte & 0x40) or (value == -1 and byte & 0x40):
            out.append(byte)
            return bytes(out)
        out.append(byte | 0x80)


_ONE: Final = tuple(bytes((i,)) for i in range(128))
