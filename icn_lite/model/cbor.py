"""Deterministic CBOR: the DAG-CBOR codec (RFC 8949 §4.2.3 key order, IPLD DAG-CBOR specification).

Values are None, bool, int (64 bit, signed or unsigned), bytes, str, list, dict with text keys, and `Cid`
(tag 42). Floats are not accepted: nothing that is signed here needs them, and their shortest form is where
implementations disagree. Encoding is cbor2's; decoding is our own, because cbor2 neither refuses non-canonical
forms nor says where they stand, and because it builds dates, patterns and big numbers out of strangers' tags.

`decode(encode(v)) == v` for every value accepted, and `encode(decode(b)) == b` for every block accepted.
"""

from __future__ import annotations

from typing import Final, NoReturn, TypeAlias

import cbor2

from icn_lite.model.cid import Cid
from icn_lite.model.errors import DocumentError

Value: TypeAlias = "bool | int | bytes | str | Cid | list[Value] | dict[str, Value] | None"

MAX_DEPTH: Final = 32  # our deepest document nests 7; recursion stays far from the interpreter's limit
MAX_DOCUMENT_BYTES: Final = 1 << 20  # the largest document is a job with a list of some thousand shards
INT_MIN: Final = -(1 << 64)
INT_MAX: Final = (1 << 64) - 1
CID_TAG: Final = 42

_SIMPLE: Final = {20: False, 21: True, 22: None}
_MIN_ARGUMENT: Final = (24, 1 << 8, 1 << 16, 1 << 32)  # smallest value allowed in 1, 2, 4, 8 following bytes


def encode(value: Value) -> bytes:
    """Encode a value as one DAG-CBOR block; raises `DocumentError` for what the format doesn't hold."""
    return bytes(cbor2.dumps(_checked(value, 0), canonical=True))


def _checked(value: Value, depth: int) -> object:
    """A copy of `value` in cbor2's terms, with every type and bound checked."""
    if depth > MAX_DEPTH:
        raise DocumentError(f"expected at most {MAX_DEPTH} nested values")
    if value is None or isinstance(value, (bool, bytes, str)):
        return value
    if isinstance(value, int):
        if not INT_MIN <= value <= INT_MAX:
            raise DocumentError(f"expected an integer of 64 bits, found {value.bit_length()} bits")
        return int(value)
    if isinstance(value, Cid):
        return cbor2.CBORTag(CID_TAG, b"\0" + value.encode())
    if isinstance(value, (list, tuple)):
        return [_checked(item, depth + 1) for item in value]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise DocumentError(f"expected text keys, found {type(key).__name__}")
        return {key: _checked(item, depth + 1) for key, item in value.items()}
    raise DocumentError(f"DAG-CBOR here holds no {type(value).__name__}")


def decode(data: bytes, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> Value:
    """Decode exactly one block of DAG-CBOR; raises `DocumentError` with the offset of the first fault."""
    if len(data) > max_bytes:
        raise DocumentError(f"expected at most {max_bytes} bytes, found {len(data)}", offset=max_bytes)
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(data):
        raise DocumentError(f"{len(data) - reader.at} bytes after the end of the value", offset=reader.at)
    return value


def offset_of(data: bytes, path: tuple[str | int, ...]) -> int:
    """Where the value at `path` (keys and indices) begins in an accepted block; its parent's offset if absent."""
    reader = _Reader(data)
    for step in path:
        start = reader.at
        major, argument = reader.head()
        for index in range(argument if major in (4, 5) else 0):
            key: Value = reader.value(0) if major == 5 else index
            if key == step:
                break
            reader.value(0)
        else:
            return start
    return reader.at


class _Reader:
    """A position in a block, and the strict reading of what stands there."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def fail(self, message: str, at: int) -> NoReturn:
        raise DocumentError(message, offset=at)

    def head(self) -> tuple[int, int]:
        """The major type and argument at the position, in shortest form."""
        start = self.at
        if start >= len(self.data):
            self.fail("expected a value, found the end", start)
        initial = self.data[start]
        major, info = initial >> 5, initial & 31
        self.at = start + 1
        if info < 24:
            return major, info
        if info > 27:
            self.fail(f"expected a definite length, found additional information {info}", start)
        if major == 7:
            self.fail("expected null, false or true, found another simple value or a float", start)
        width = 1 << (info - 24)
        raw = self.take(width)
        argument = int.from_bytes(raw, "big")
        if argument < _MIN_ARGUMENT[info - 24]:
            self.fail(f"expected the shortest form of {argument}", start)
        return major, argument

    def take(self, count: int) -> bytes:
        start = self.at
        if count > len(self.data) - start:
            self.fail(f"expected {count} bytes, found {len(self.data) - start}", start)
        self.at = start + count
        return self.data[start : self.at]

    def value(self, depth: int) -> Value:
        start = self.at
        if depth > MAX_DEPTH:
            self.fail(f"expected at most {MAX_DEPTH} nested values", start)
        major, argument = self.head()
        if major == 0:
            return argument
        if major == 1:
            return -1 - argument
        if major == 2:
            return self.take(argument)
        if major == 3:
            return self.text(argument)
        if major == 4:
            self.countable(argument, 1, start)
            return [self.value(depth + 1) for _ in range(argument)]
        if major == 5:
            self.countable(argument, 2, start)
            return self.map(argument, depth)
        if major == 6:
            return self.cid(argument, start)
        if argument not in _SIMPLE:
            self.fail(f"expected null, false or true, found simple value {argument}", start)
        return _SIMPLE[argument]

    def countable(self, items: int, least_bytes: int, start: int) -> None:
        """Refuse a count that the remaining bytes cannot hold, before anything is allocated for it."""
        if items * least_bytes > len(self.data) - self.at:
            self.fail(f"{items} items announced, {len(self.data) - self.at} bytes left", start)

    def text(self, length: int) -> str:
        start = self.at
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise DocumentError("text is not UTF-8", offset=start + error.start) from error

    def map(self, pairs: int, depth: int) -> dict[str, Value]:
        result: dict[str, Value] = {}
        previous: tuple[int, bytes] | None = None
        for _ in range(pairs):
            start = self.at
            major, length = self.head()
            if major != 3:
                self.fail("expected a text key", start)
            key = self.text(length)
            order = (length, self.data[self.at - length : self.at])
            if previous is not None and order <= previous:
                self.fail(f"key {key!r} is a duplicate or out of order (shorter first, then bytewise)", start)
            previous = order
            result[key] = self.value(depth + 1)
        return result

    def cid(self, tag: int, start: int) -> Cid:
        if tag != CID_TAG:
            self.fail(f"expected tag 42 (CID), found tag {tag}", start)
        major, length = self.head()
        if major != 2 or length != 37:
            self.fail("expected a CID as a byte string of 37 bytes", start)
        raw = self.take(length)
        if raw[0] != 0:
            self.fail("expected a CID with the identity multibase prefix 00", start)
        try:
            return Cid.decode(raw[1:])
        except DocumentError as error:
            raise DocumentError(error.reason, offset=start) from error
