"""Readers of plain values, compiled once from the annotations of a class: what `schema.from_value` runs.

A reader takes one plain value and returns the typed one, or raises a `Fault` that collects its path on the way up.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import functools
import types
import typing
from collections.abc import Callable
from enum import Enum
from typing import Final, Literal, TypeAlias, cast

from icn_lite.model.bounds import DEFAULT_MAX_BYTES, DEFAULT_MAX_ITEMS, DEFAULT_MAX_TEXT, INT_MAX, Ascii, MaxLen, Range
from icn_lite.model.cbor import Value
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError

Form = Literal["cbor", "json"]


class Fault(Exception):
    """A fault on its way up; every level adds its step, so that a value without faults pays for no path."""

    def __init__(self, reason: str, *steps: str | int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[str | int] = list(steps)  # innermost first


_Read: TypeAlias = Callable[[Value], object]
_Bounds: TypeAlias = tuple[object, ...]


@functools.cache  # bounded by the number of annotations in the source
def reader(hint: object, form: Form, bounds: _Bounds = ()) -> _Read:
    """The function that reads what `hint` allows."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        inner, *extra = typing.get_args(hint)
        return reader(inner, form, (*extra, *bounds))
    if origin in (typing.Union, types.UnionType):
        return _union_reader([part for part in typing.get_args(hint) if part is not types.NoneType], form, bounds)
    if origin is tuple:
        return _tuple_reader(typing.get_args(hint)[0], form, bounds)
    if isinstance(hint, type):
        if hint in _SCALARS:
            return _SCALARS[hint](form, bounds)
        if issubclass(hint, Enum):
            return _enum_reader(hint)
        if dataclasses.is_dataclass(hint):
            return _dataclass_reader(hint, form)
    raise TypeError(f"annotation {hint!r} has no form on the wire")


def _dataclass_reader(cls: type, form: Form) -> _Read:
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = [(field, hints[field.name]) for field in dataclasses.fields(cls)]
    readers = {field.name: reader(hint, form) for field, hint in fields}
    required = {field.name for field, hint in fields if _is_required(field, hint, form)}
    absent = {field.name for field, hint in fields if _allows_none(hint) and field.default is dataclasses.MISSING}
    tag = getattr(cls, "TAG", None)
    if isinstance(tag, str):
        if "type" in readers:
            raise TypeError(f"{cls.__name__}: the field 'type' stands where the tag is written")
        readers["type"] = _tag_reader(tag)
    required |= readers.keys() & {"type"} if isinstance(tag, str) else set()

    def read(value: Value) -> object:
        if not isinstance(value, dict):
            raise Fault(f"expected a map, found {_shown(value)}")
        arguments: dict[str, object] = {}
        for key, item in value.items():
            read_item = readers.get(key)
            if read_item is None:
                raise Fault(f"unknown key; expected one of {', '.join(sorted(readers))}", key)
            try:
                arguments[key] = read_item(item)
            except Fault as fault:
                fault.steps.append(key)
                raise
        if not required <= arguments.keys():
            raise Fault(f"missing key {next(name for name in readers if name in required - arguments.keys())!r}")
        for name in absent - arguments.keys():
            arguments[name] = None
        if tag is not None:
            arguments.pop("type", None)
        try:
            return cls(**arguments)
        except DocumentError as error:
            raise Fault(error.reason) from error

    return read


def _is_required(field: dataclasses.Field[object], hint: object, form: Form) -> bool:
    """Whether the key must stand: in JSON unless it has a default, on the wire unless it may be None."""
    if _allows_none(hint):
        if field.default not in (None, dataclasses.MISSING):
            raise TypeError(f"{field.name}: None is written by leaving the key out, so it has to be the default")
        return False
    has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    return form == "cbor" or not has_default


def _allows_none(hint: object) -> bool:
    if typing.get_origin(hint) is typing.Annotated:
        return _allows_none(typing.get_args(hint)[0])
    return types.NoneType in typing.get_args(hint)


def _tag_reader(tag: str) -> _Read:
    def read(value: Value) -> object:
        if value != tag:
            raise Fault(f"expected {tag!r}, found {_shown(value)}")
        return value

    return read


def _union_reader(choices: list[object], form: Form, bounds: _Bounds) -> _Read:
    one = reader(choices[0], form, bounds) if len(choices) == 1 else None
    by_tag = {cast(str, getattr(choice, "TAG", "")): reader(choice, form) for choice in choices if one is None}
    if one is None and ("" in by_tag or len(by_tag) != len(choices)):
        raise TypeError(f"{choices!r}: expected every class of a union to have a TAG of its own")

    def read(value: Value) -> object:
        if value is None:
            raise Fault("expected the key to be left out, found null")
        if one is not None:
            return one(value)
        if not isinstance(value, dict):
            raise Fault(f"expected a map with a key 'type', found {_shown(value)}")
        tag = value.get("type")
        chosen = by_tag.get(tag) if isinstance(tag, str) else None
        if chosen is None:
            raise Fault(f"expected 'type' to be one of {', '.join(sorted(by_tag))}, found {_shown(tag)}", "type")
        return chosen(value)

    return read


def _tuple_reader(item_hint: object, form: Form, bounds: _Bounds) -> _Read:
    read_item = reader(item_hint, form)
    limit = _length_limit(bounds, DEFAULT_MAX_ITEMS)

    def read(value: Value) -> object:
        if not isinstance(value, list):
            raise Fault(f"expected a list, found {_shown(value)}")
        _check_length(len(value), limit, "items")
        items: list[object] = []
        for item in value:
            try:
                items.append(read_item(item))
            except Fault as fault:
                fault.steps.append(len(items))
                raise
        return tuple(items)

    return read


def _enum_reader(cls: type[Enum]) -> _Read:
    # By type as well as by value: True == 1 == 1.0 would give one member several forms.
    members = {(type(member.value), member.value): member for member in cls}

    def read(value: Value) -> object:
        member = members.get((type(value), value)) if isinstance(value, (str, int)) else None
        if member is None:
            raise Fault(f"expected one of {', '.join(str(m.value) for m in cls)}, found {_shown(value)}")
        return member

    return read


def _int_reader(form: Form, bounds: _Bounds) -> _Read:
    limits = next((bound for bound in bounds if isinstance(bound, Range)), Range(0, INT_MAX))
    least, most = limits.least, limits.most

    def read(value: Value) -> object:
        if not isinstance(value, int) or isinstance(value, bool):
            raise Fault(f"expected an integer, found {_shown(value)}")
        if not least <= value <= most:
            raise Fault(f"expected {least} to {most}, found {_shown(value)}")
        return value

    return read


def _bool_reader(form: Form, bounds: _Bounds) -> _Read:
    def read(value: Value) -> object:
        if not isinstance(value, bool):
            raise Fault(f"expected true or false, found {_shown(value)}")
        return value

    return read


def _str_reader(form: Form, bounds: _Bounds) -> _Read:
    limit = _length_limit(bounds, DEFAULT_MAX_TEXT)
    ascii_only = any(isinstance(bound, Ascii) for bound in bounds)

    def read(value: Value) -> object:
        if not isinstance(value, str):
            raise Fault(f"expected text, found {_shown(value)}")
        _check_length(len(value), limit, "characters")
        if ascii_only and not (value.isascii() and value.isprintable()):
            raise Fault(f"expected printable ASCII, found {_shown(value)}")
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise Fault(f"expected text of Unicode scalars, found {_shown(value)}")
        return value

    return read


def _bytes_reader(form: Form, bounds: _Bounds) -> _Read:
    limit = _length_limit(bounds, DEFAULT_MAX_BYTES)

    def read(value: Value) -> object:
        if form == "json" and isinstance(value, str):
            value = _from_base64(value)
        if not isinstance(value, bytes):
            raise Fault(f"expected bytes, found {_shown(value)}")
        _check_length(len(value), limit, "bytes")
        return value

    return read


def _from_base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Fault("expected bytes as base64") from error
    if base64.b64encode(data).decode("ascii") != text:
        raise Fault("expected bytes as base64 without stray bits")
    return data


def _cid_reader(form: Form, bounds: _Bounds) -> _Read:
    def read(value: Value) -> object:
        if form == "json" and isinstance(value, str):
            return _parsed(Cid.parse, value)
        if not isinstance(value, Cid):
            raise Fault(f"expected a CID, found {_shown(value)}")
        return value

    return read


def _did_reader(form: Form, bounds: _Bounds) -> _Read:
    def read(value: Value) -> object:
        if not isinstance(value, str):
            raise Fault(f"expected a DID as text, found {_shown(value)}")
        return _parsed(Did.parse, value)

    return read


def _parsed(parse: Callable[[str], object], text: str) -> object:
    try:
        return parse(text)
    except DocumentError as error:
        raise Fault(error.reason) from error


_SCALARS: Final[dict[type, Callable[[Form, _Bounds], _Read]]] = {
    int: _int_reader,
    bool: _bool_reader,
    str: _str_reader,
    bytes: _bytes_reader,
    Cid: _cid_reader,
    Did: _did_reader,
}


def _length_limit(bounds: _Bounds, default: int) -> MaxLen:
    return next((bound for bound in bounds if isinstance(bound, MaxLen)), MaxLen(default))


def _check_length(length: int, limit: MaxLen, unit: str) -> None:
    if not limit.least <= length <= limit.most:
        raise Fault(f"expected {limit.least} to {limit.most} {unit}, found {length}")


def _shown(value: object) -> str:
    """A few characters of a stranger's value, without building the whole of its text first."""
    if isinstance(value, (list, tuple, dict)):
        return f"a {'map' if isinstance(value, dict) else 'list'} of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, (str, bytes)) and len(value) > 40:
        return repr(value[:40])[:39] + "…"
    return repr(value)
