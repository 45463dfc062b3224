"""Values of the model to and from plain DAG-CBOR or JSON values, from their annotations alone.

A value on the wire is a frozen dataclass; its fields are its keys. What a field may hold stands in its
annotation: `Annotated[int, Range(0, 100)]`, `Annotated[str, MaxLen(64)]`, `tuple[X, ...]`, `X | None`, an Enum,
another dataclass, or a union of dataclasses (told apart by the key `type`, the class's `TAG`). Reading is strict:
unknown, missing and out-of-bounds keys are refused with their path. None is written by leaving the key out, and an
explicit null is refused, so that every value has exactly one form.

In JSON a CID is its text and bytes are standard base64; everything else is the same.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import functools
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, TypeVar, cast

from icn_lite.model.cbor import Value
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError

T = TypeVar("T")
Path = tuple[str | int, ...]
Form = Literal["cbor", "json"]

DEFAULT_MAX_TEXT: Final = 256  # a sentence; longer texts say so
DEFAULT_MAX_BYTES: Final = 4096  # larger data travels as a block by CID
DEFAULT_MAX_ITEMS: Final = 64
INT_MAX: Final = (1 << 63) - 1  # what every language and SQLite hold in a signed integer


@dataclass(frozen=True, slots=True)
class Range:
    """Inclusive bounds of an integer; without it `0 … 2^63-1`."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class MaxLen:
    """Most characters of text, bytes of a byte string, or items of a tuple; `least` likewise."""

    most: int
    least: int = 0


class SchemaError(DocumentError):
    """A value that doesn't fit its type; `path` says where in the document."""

    def __init__(self, message: str, path: Path) -> None:
        self.path = path
        super().__init__(f"{format_path(path)}: {message}" if path else message)


def format_path(path: Path) -> str:
    """`("shards", 3, "input")` as `shards[3].input`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def to_value(item: object, form: Form = "cbor") -> Value:
    """A typed value as plain values. Tags are written where the value's type declares one (`TAG`)."""
    if isinstance(item, Enum):
        return cast(Value, item.value)
    if isinstance(item, Did):
        return str(item)
    if form == "json" and isinstance(item, Cid):
        return str(item)
    if form == "json" and isinstance(item, bytes):
        return base64.b64encode(item).decode("ascii")
    if item is None or isinstance(item, (bool, int, str, bytes, Cid)):
        return item
    if isinstance(item, tuple):
        return [to_value(entry, form) for entry in item]
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        result: dict[str, Value] = {}
        tag = getattr(item, "TAG", None)
        if isinstance(tag, str):
            result["type"] = tag
        for name in _fields(type(item)):
            value = getattr(item, name)
            if value is not None:
                result[name] = to_value(value, form)
        return result
    raise DocumentError(f"no form on the wire for {type(item).__name__}")


def from_value(cls: type[T], value: Value, form: Form = "cbor", path: Path = ()) -> T:
    """Plain values as a `cls`; raises `SchemaError` with the path of the first fault."""
    return cast(T, _read(cls, (), value, form, path))


def _read(hint: object, bounds: tuple[object, ...], value: Value, form: Form, path: Path) -> object:
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        inner, *extra = typing.get_args(hint)
        return _read(inner, (*extra, *bounds), value, form, path)
    if origin in (typing.Union, types.UnionType):
        return _read_union(typing.get_args(hint), bounds, value, form, path)
    if origin is tuple:
        return _read_tuple(typing.get_args(hint)[0], bounds, value, form, path)
    reader = _SCALARS.get(hint) if isinstance(hint, type) else None
    if reader is not None:
        return reader(bounds, value, form, path)
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError:
            known = ", ".join(str(member.value) for member in hint)
            raise SchemaError(f"expected one of {known}, found {_shown(value)}", path) from None
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _read_dataclass(hint, value, form, path)
    raise TypeError(f"{format_path(path)}: annotation {hint!r} has no form on the wire")


def _read_union(
    choices: tuple[object, ...], bounds: tuple[object, ...], value: Value, form: Form, path: Path
) -> object:
    if value is None:
        raise SchemaError("expected the key to be left out, found null", path)
    real = [choice for choice in choices if choice is not types.NoneType]
    if len(real) == 1:
        return _read(real[0], bounds, value, form, path)
    by_tag = {cast(str, getattr(choice, "TAG", "")): choice for choice in real}
    if not isinstance(value, dict):
        raise SchemaError(f"expected a map with a key 'type', found {_shown(value)}", path)
    tag = value.get("type")
    chosen = by_tag.get(tag) if isinstance(tag, str) else None
    if chosen is None:
        known = ", ".join(sorted(by_tag))
        raise SchemaError(f"expected 'type' to be one of {known}, found {_shown(tag)}", (*path, "type"))
    return _read(chosen, (), value, form, path)


def _read_tuple(
    item_hint: object, bounds: tuple[object, ...], value: Value, form: Form, path: Path
) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise SchemaError(f"expected a list, found {_shown(value)}", path)
    _check_length(len(value), bounds, DEFAULT_MAX_ITEMS, "items", path)
    return tuple(_read(item_hint, (), item, form, (*path, index)) for index, item in enumerate(value))


def _read_dataclass(cls: type, value: Value, form: Form, path: Path) -> object:
    if not isinstance(value, dict):
        raise SchemaError(f"expected a map, found {_shown(value)}", path)
    fields = _fields(cls)
    expected = {*fields, "type"} if isinstance(getattr(cls, "TAG", None), str) else fields.keys()
    for key in value:
        if key not in expected:
            raise SchemaError(f"unknown key; expected one of {', '.join(sorted(expected))}", (*path, key))
    if "type" in expected and value.get("type") != getattr(cls, "TAG", None) and "type" not in fields:
        raise SchemaError(f"expected {getattr(cls, 'TAG', None)!r}, found {_shown(value.get('type'))}", (*path, "type"))
    arguments: dict[str, object] = {}
    for name, (hint, required) in fields.items():
        if name in value:
            arguments[name] = _read(hint, (), value[name], form, (*path, name))
        elif required:
            raise SchemaError(f"missing key {name!r}", path)
    try:
        return cls(**arguments)
    except SchemaError as error:
        raise SchemaError(error.reason, (*path, *error.path)) from error
    except DocumentError as error:
        raise SchemaError(error.reason, path) from error


@functools.cache
def _fields(cls: type) -> dict[str, tuple[object, bool]]:
    """Field name to annotation and whether the key must stand; a default makes it optional."""
    hints = typing.get_type_hints(cls, include_extras=True)
    missing = dataclasses.MISSING
    return {
        field.name: (hints[field.name], field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(cls)
    }


def _read_int(bounds: tuple[object, ...], value: Value, form: Form, path: Path) -> int:
    limits = next((bound for bound in bounds if isinstance(bound, Range)), Range(0, INT_MAX))
    if not isinstance(value, int) or isinstance(value, bool):
        raise SchemaError(f"expected an integer, found {_shown(value)}", path)
    if not limits.least <= value <= limits.most:
        raise SchemaError(f"expected {limits.least} to {limits.most}, found {value}", path)
    return value


def _read_bool(bounds: tuple[object, ...], value: Value, form: Form, path: Path) -> bool:
    if not isinstance(value, bool):
        raise SchemaError(f"expected true or false, found {_shown(value)}", path)
    return value


def _read_str(bounds: tuple[object, ...], value: Value, form: Form, path: Path) -> str:
    if not isinstance(value, str):
        raise SchemaError(f"expected text, found {_shown(value)}", path)
    _check_length(len(value), bounds, DEFAULT_MAX_TEXT, "characters", path)
    return value


def _read_bytes(bounds: tuple[object, ...], value: Value, form: Form, path: Path) -> bytes:
    if form == "json" and isinstance(value, str):
        try:
            value = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise SchemaError("expected bytes as base64", path) from error
    if not isinstance(value, bytes):
        raise SchemaError(f"expected bytes, found {_shown(value)}", path)
    _check_length(len(value), bounds, DEFAULT_MAX_BYTES, "bytes", path)
    return value


def _read_cid(bounds: tuple[object, ...], value: Value, form: Form, path: Path) -> Cid:
    if form == "json" and isinstance(value, str):
        try:
            return Cid.parse(value)
        except DocumentError as error:
            raise SchemaError(error.reason, path) from error
    if not isinstance(value, Cid):
        raise SchemaError(f"expected a CID, found {_shown(value)}", path)
    return value


def _read_did(bounds: tuple[object, ...], value: Value, form: Form, path: Path) -> Did:
    if not isinstance(value, str):
        raise SchemaError(f"expected a DID as text, found {_shown(value)}", path)
    try:
        return Did.parse(value)
    except DocumentError as error:
        raise SchemaError(error.reason, path) from error


_Reader = Callable[[tuple[object, ...], Value, Form, Path], object]
_SCALARS: Final[dict[type, _Reader]] = {
    int: _read_int,
    bool: _read_bool,
    str: _read_str,
    bytes: _read_bytes,
    Cid: _read_cid,
    Did: _read_did,
}


def _check_length(length: int, bounds: tuple[object, ...], default: int, unit: str, path: Path) -> None:
    limit = next((bound for bound in bounds if isinstance(bound, MaxLen)), MaxLen(default))
    if not limit.least <= length <= limit.most:
        raise SchemaError(f"expected {limit.least} to {limit.most} {unit}, found {length}", path)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"
