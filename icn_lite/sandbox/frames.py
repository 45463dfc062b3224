"""Frames between the node and a child: a length and one item of CBOR (RFC 8949), in plain Python.

The child can't afford cbor2 (1.4 MB resident, more than all the rest of its code), and needs six kinds of value
only: null, booleans, 64-bit integers, byte strings, text, arrays, all of definite length and shortest form, which
is a subset of DAG-CBOR. The node reads what a child sends with the strict `icn_lite.model.cbor`, never with this
module: here the bytes are believed to come from the node.

A frame is 4 bytes of big-endian length and then that many bytes.
"""

from __future__ import annotations

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Item: TypeAlias = "bool | int | bytes | str | list[Item] | None"

HEADER_BYTES = 4
READ_BYTES = 1 << 20  # one read takes at most this much, to bound what is held twice


class FrameError(Exception):
    """The other side closed, or sent what is no frame."""


def encode(item: Item) -> bytes:
    """One item in its shortest form."""
    out = bytearray()
    _encode(item, out)
    return bytes(out)


def _head(major: int, argument: int, out: bytearray) -> None:
    if argument < 24:
        out.append(major << 5 | argument)
        return
    for code, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << (8 * width):
            out.append(major << 5 | code)
            out += argument.to_bytes(width, "big")
            return
    raise FrameError("an integer has more than 64 bits")


def _encode(item: Item, out: bytearray) -> None:
    if item is None:
        out.append(0xF6)
    elif isinstance(item, bool):
        out.append(0xF5 if item else 0xF4)
    elif isinstance(item, int):
        _head(0 if item >= 0 else 1, item if item >= 0 else -1 - item, out)
    elif isinstance(item, (bytes, bytearray)):
        _head(2, len(item), out)
        out += item
    elif isinstance(item, str):
        text = item.encode("utf-8", "replace")
        _head(3, len(text), out)
        out += text
    else:
        _head(4, len(item), out)
        for inner in item:
            _encode(inner, out)


def decode(data: bytes) -> Item:
    """The one item that the node encoded; `FrameError` when it is something else."""
    item, end = _decode(data, 0)
    if end != len(data):
        raise FrameError("bytes after the item")
    return item


def _decode(data: bytes, at: int) -> tuple[Item, int]:
    major, low = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        if low not in (20, 21, 22):
            raise FrameError("a simple value that frames don't hold")
        return (None if low == 22 else low == 21), at
    argument = low
    if low >= 24:
        width = 1 << (low - 24)
        argument = int.from_bytes(data[at : at + width], "big")
        at += width
    if major == 0:
        return argument, at
    if major == 1:
        return -1 - argument, at
    if major == 2:
        return data[at : at + argument], at + argument
    if major == 3:
        return data[at : at + argument].decode(), at + argument
    if major == 4:
        items: list[Item] = []
        for _ in range(argument):
            item, at = _decode(data, at)
            items.append(item)
        return items, at
    raise FrameError("a kind of value that frames don't hold")


def read_frame(fd: int) -> bytes:
    """Block until a whole frame is there; `FrameError` when the other side has gone."""
    length = int.from_bytes(_read_exactly(fd, HEADER_BYTES), "big")
    return _read_exactly(fd, length)


def _read_exactly(fd: int, length: int) -> bytes:
    first = posix.read(fd, min(length, READ_BYTES)) if length else b""
    if len(first) == length:
        return first
    parts = bytearray(first)
    while len(parts) < length:
        chunk = posix.read(fd, min(length - len(parts), READ_BYTES))
        if not chunk:
            raise FrameError("the other side has gone")
        parts += chunk
    return bytes(parts)


def write_frame(fd: int, item: Item) -> None:
    """Block until the whole frame is taken."""
    body = encode(item)
    data = memoryview(len(body).to_bytes(HEADER_BYTES, "big") + body)
    while data:
        data = data[posix.write(fd, data) :]
