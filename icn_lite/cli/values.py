"""Dataclasses that share what they can: the same to those who use them, for two thirds of the memory.

The standard decorator writes six functions for each frozen class and compiles them, and with `slots=True` the class
that it copied stays alive, held by two of them (they also compare with it in vain). A node has four hundred such
classes: together that was 3 MB. Here comparing, hashing, showing and refusing assignments are functions that all
classes share, over one getter a class; `__init__` and all else remain the standard library's. Where a class orders
itself or has its own methods, these stand as they are.

For the node's process alone (`daemon.py`), which puts it in the standard decorator's place before the rooms load.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from operator import attrgetter
from reprlib import recursive_repr
from typing import Any, Final, TypeAlias

Class: TypeAlias = type[Any]
KEY: Final = "__dataclass_key__"
_STANDARD: Final[Callable[..., Class]] = dataclasses.dataclass
_MADE_BY_HAND: Final = ("order", "unsafe_hash", "weakref_slot")  # rare: left to the standard library


def dataclass(cls: Class | None = None, /, **options: bool) -> Any:
    """As `dataclasses.dataclass`."""

    def make(of: Class) -> Class:
        return _make(of, options)

    return make if cls is None else make(cls)


def _make(cls: Class, options: dict[str, bool]) -> Class:
    if any(options.get(name) for name in _MADE_BY_HAND):
        return _STANDARD(cls, **options)
    own, frozen = cls.__dict__, options.get("frozen", False)
    shared: dict[str, object] = {}
    if options.get("repr", True) and "__repr__" not in own:
        shared["__repr__"] = _show
    compares = options.get("eq", True) and "__eq__" not in own and "__hash__" not in own
    if compares:
        shared |= {"__eq__": _equal, "__hash__": _hash if frozen else None}
    _give(cls, shared)
    made = _STANDARD(cls, **{**options, "repr": False, "eq": options.get("eq", True) and not compares})
    made.__dataclass_params__.repr, made.__dataclass_params__.eq = options.get("repr", True), options.get("eq", True)
    if compares:
        _give(made, {KEY: _key(made)})
    if frozen:
        _give(made, {"__setattr__": _refuse_set, "__delattr__": _refuse_delete})
    return made


def _give(cls: Class, attributes: Mapping[str, object]) -> None:
    for name, value in attributes.items():
        setattr(cls, name, value)


def _key(cls: Class) -> Callable[[object], object]:
    """What of a value is compared."""
    names = [field.name for field in dataclasses.fields(cls) if field.compare]
    return attrgetter(*names) if names else _nothing


def _nothing(value: object) -> object:
    return ()


def _equal(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    key = self.__class__.__dataclass_key__
    return key(self) == key(other)


def _hash(self: Any) -> int:
    return hash(self.__class__.__dataclass_key__(self))


@recursive_repr()
def _show(self: Any) -> str:
    shown = (f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _refuse_set(self: Any, name: str, value: object) -> None:
    if _is_frozen(self, name):
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
    object.__setattr__(self, name, value)


def _refuse_delete(self: Any, name: str) -> None:
    if _is_frozen(self, name):
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
    object.__delattr__(self, name)


def _is_frozen(value: Any, name: str) -> bool:
    """Everything of a dataclass itself is; of a class derived from one, its fields."""
    cls = type(value)
    return "__dataclass_params__" in cls.__dict__ or name in cls.__dataclass_fields__
