"""Values of the model to and from plain DAG-CBOR or JSON values, from their annotations alone.

A value on the wire is a frozen dataclass; its fields are its keys. What a field may hold stands in its
annotation: `Annotated[int, Range(0, 100)]`, `Annotated[str, MaxLen(64)]`, `tuple[X, ...]`, `X | None`, an Enum,
another dataclass, or a union of dataclasses (told apart by the key `type`, the class's `TAG`). Readers are compiled
from the annotations once a class. Reading is strict:
unknown, missing and out-of-bounds keys are refused with their path. None is written by leaving the key out, an
explicit null is refused; on the wire every other key is written, defaults too, so that every value has exactly one
form. JSON is also what people write: there a key with a default may be left out.

In JSON a CID is its text and bytes are standard base64; everything else is the same.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
from collections.abc import Hashable
from enum import Enum
from typing import TypeVar, cast

from icn_lite.model.bounds import Ascii, MaxLen, Range
from icn_lite.model.cbor import Value
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError
from icn_lite.model.reading import Fault, Form, reader

__all__ = ["Ascii", "Form", "MaxLen", "Path", "Range", "SchemaError", "format_path", "from_value", "to_value"]

T = TypeVar("T")
Path = tuple[str | int, ...]


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
        for name in _names(type(item)):
            value = getattr(item, name)
            if value is not None:
                result[name] = to_value(value, form)
        return result
    raise DocumentError(f"no form on the wire for {type(item).__name__}")


def from_value(cls: type[T], value: Value, form: Form = "cbor", path: Path = ()) -> T:
    """Plain values as a `cls`; raises `SchemaError` with the path of the first fault."""
    try:
        return cast(T, reader(cast(Hashable, cls), form)(value))
    except Fault as fault:
        raise SchemaError(fault.reason, (*path, *reversed(fault.steps))) from fault.__cause__


@functools.cache  # one entry a class of the model
def _names(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))
