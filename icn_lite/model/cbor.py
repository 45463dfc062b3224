"""Deterministic CBOR: the DAG-CBOR codec (RFC 8949 §4.2.3 key order, IPLD DAG-CBOR specification).

Values are None, bool, int (64 bit, signed or unsigned), bytes, str, list, dict with text keys, and `Cid`
(tag 42). Floats are not accepted: nothing that is signed here needs them, and their shortest form is where
implementations disagree. Encoding is cbor2's; decoding is our own, because cbor2 neither refuses non-canonical
forms nor says where they stand, and because it builds dates, patterns and big numbers out of strangers' tags.

`decode(encode(v)) == v` for every value accepted (tuples come back as lists), and `encode(decode(b)) == b` for every
block accepted.
"""

from __future__ import annotations

from typing import Final, NoReturn, TypeAlias

import cbor2

from icn_lite.model.cid import BYTES_LENGTH, Cid
from icn_lite.model.errors import DocumentError

Value: TypeAlias = "bool | int | bytes | str | Cid | list[Value] | dict[str, Value] | None"

MAX_DEPTH: Final = 32  # our deepest document nests 7; recursion stays far from the interpreter's limit
MAX_DOCUMENT_BYTES: Final = 1 << 20  # the largest document is a job with a list of some thousand shards
INT_MIN: Final = -(1 << 64)
INT_MAX: Final = (1 << 64) - 1
CID_TAG: Final = 42

_CID_HEAD: Final = b"\x58\x25\x00"  # a byte string of 37 bytes: the identity multibase prefix and the CID
_SIMPLE: Final = {20: False, 21: True, 22: None}
_MIN_ARGUMENT: Final = (24, 1 << 8, 1 << 16, 1 << 32)  # smallest value allowed in 1, 2, 4, 8 following bytes


def encode(value: Value) -> bytes:
    """Encode a value as one DAG-CBOR block; raises `DocumentError` for what the format doesn't hold."""
    try:
        return bytes(cbor2.dumps(_checked(value, 0), canonical=True))
    except UnicodeEncodeError as error:  # JSON's \ud800 makes such text
        raise DocumentError(f"expected Unicode scalars, found a surrogate at character {error.start}") from error


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
    value, end = _value(data, 0, 0)
    if end != len(data):
        raise DocumentError(f"{len(data) - end} bytes after the end of the value", offset=end)
    return value


def offset_of(data: bytes, path: tuple[str | int, ...]) -> int:
    """Where the value at `path` (keys and indices) begins in an accepted block; its parent's offset if absent."""
    start = 0
    for step in path:
        major, argument, at = _head(data, start)
        for index in range(argument if major in (4, 5) else 0):
            key: Value = index
            if major == 5:
                key, at = _value(data, at, 0)
            if key == step:
                start = at
                break
            _, at = _value(data, at, 0)
        else:
            return start
    return start


# Positions are passed and returned rather than kept in an object: it halves the time of reading a receipt.


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """The major type and argument at `at`, in shortest form, and where they end."""
    try:
        initial = data[at]
    except IndexError:
        _fail("expected a value, found the end", at)
    info = initial & 31
    if info < 24:
        return initial >> 5, info, at + 1
    if info > 27:
        _fail(f"expected a definite length, found additional information {info}", at)
    if initial >> 5 == 7:
        _fail("expected null, false or true, found another simple value or a float", at)
    end = at + 1 + (1 << (info - 24))
    argument = int.from_bytes(_taken(data, at + 1, end), "big")
    if argument < _MIN_ARGUMENT[info - 24]:
        _fail(f"expected the shortest form of {argument}", at)
    return initial >> 5, argument, end


def _value(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    """The value at `at` and where it ends."""
    if depth > MAX_DEPTH:
        _fail(f"expected at most {MAX_DEPTH} nested values", at)
    if at < len(data) and data[at] & 31 < 24:
        major, argument, start = data[at] >> 5, data[at] & 31, at + 1
    else:
        major, argument, start = _head(data, at)
    if major == 3:
        end = start + argument
        return _utf8(_taken(data, start, end), start), end
    if major == 0:
        return argument, start
    if major == 6:
        return _cid(data, at, argument, start)
    if major == 2:
        end = start + argument
        return _taken(data, start, end), end
    if major == 5:
        return _map(data, start, argument, depth)
    if major == 4:
        return _list(data, start, argument, depth)
    if major == 1:
        return -1 - argument, start
    if argument not in _SIMPLE:
        _fail(f"expected null, false or true, found simple value {argument}", at)
    return _SIMPLE[argument], start


def _list(data: bytes, at: int, items: int, depth: int) -> tuple[list[Value], int]:
    _check_countable(data, at, items, 1)
    result: list[Value] = []
    for _ in range(items):
        value, at = _value(data, at, depth + 1)
        result.append(value)
    return result, at


def _map(data: bytes, at: int, pairs: int, depth: int) -> tuple[dict[str, Value], int]:
    _check_countable(data, at, pairs, 2)
    result: dict[str, Value] = {}
    previous = b""
    for _ in range(pairs):
        start = at + 1
        if at < len(data) and 0x60 <= data[at] < 0x78:  # text of less than 24 bytes, which nearly all keys are
            end = start + data[at] - 0x60
        else:
            major, length, start = _head(data, at)
            if major != 3:
                _fail("expected a text key", at)
            end = start + length
        if end > len(data):
            _fail(f"expected {end - start} bytes, found {len(data) - start}", start)
        key = _utf8(data[start:end], start)
        encoded = data[at:end]  # with its head: comparing these bytes puts shorter keys first
        if encoded <= previous:
            _fail(f"key {key[:40]!r} is a duplicate or out of order (shorter first, then bytewise)", at)
        previous = encoded
        result[key], at = _value(data, end, depth + 1)
    return result, at


def _cid(data: bytes, at: int, tag: int, start: int) -> tuple[Cid, int]:
    if tag != CID_TAG:
        _fail(f"expected tag 42 (CID), found tag {tag}", at)
    head = data[start : start + 3]
    if head != _CID_HEAD:
        _fail("expected a CID as a byte string of 37 bytes with the identity multibase prefix 00", start)
    end = start + 3 + BYTES_LENGTH
    raw = _taken(data, start + 3, end)
    try:
        return Cid.decode(raw), end
    except DocumentError as error:
        raise DocumentError(error.reason, offset=start + 3) from error


def _taken(data: bytes, start: int, end: int) -> bytes:
    if end > len(data):
        _fail(f"expected {end - start} bytes, found {len(data) - start}", start)
    return data[start:end]


def _utf8(raw: bytes, start: int) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise DocumentError("text is not UTF-8", offset=start + error.start) from error


def _check_countable(data: bytes, at: int, items: int, least_bytes: int) -> None:
    """Refuse a count that the remaining bytes cannot hold, before anything is allocated for it."""
    if items * least_bytes > len(data) - at:
        _fail(f"{items} items announced, {len(data) - at} bytes left", at)


def _fail(message: str, at: int) -> NoReturn:
    raise DocumentError(message, offset=at)
