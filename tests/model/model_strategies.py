"""Valid values of every document class, built from the annotations that the reader enforces, and their extremes."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
import types
import typing
from enum import Enum
from typing import Annotated, Any

from hypothesis import given, settings
from hypothesis import strategies as st

import icn_lite.model
from icn_lite.model.bounds import DEFAULT_MAX_BYTES, DEFAULT_MAX_ITEMS, DEFAULT_MAX_TEXT, INT_MAX, Ascii, MaxLen, Range
from icn_lite.model.cid import DAG_CBOR, RAW, Cid
from icn_lite.model.cose import KeySigner
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError
from icn_lite.model.receipt import ExecutionReceipt, ReceiptStatus

FEW = settings(max_examples=12, deadline=None, derandomize=True)
SOME = settings(max_examples=60, deadline=None, derandomize=True)
MANY = settings(max_examples=150, deadline=None, derandomize=True)

SIGNER = KeySigner(b"\1" * 32)
OTHER = KeySigner(b"\2" * 32)
USUAL_LENGTH = 12  # of generated texts, bytes and tuples; now and then one is as long as its bound


def document_classes() -> list[type]:
    """Every class with a KIND in the room, found by looking, so that a new one is tested without being listed."""
    found: dict[str, type] = {}
    for module in pkgutil.iter_modules(icn_lite.model.__path__):
        for item in vars(importlib.import_module(f"icn_lite.model.{module.name}")).values():
            if (
                isinstance(item, type)
                and dataclasses.is_dataclass(item)
                and isinstance(getattr(item, "KIND", None), str)
            ):
                found[item.__name__] = item
    return [found[name] for name in sorted(found)]


def wire_classes() -> list[type]:
    """Every dataclass that a document can hold, itself included."""
    seen: dict[type, None] = {}

    def walk(hint: object) -> None:
        if isinstance(hint, type) and dataclasses.is_dataclass(hint) and hint not in seen:
            seen[hint] = None
            for part in typing.get_type_hints(hint, include_extras=True).values():
                if typing.get_origin(part) is not typing.ClassVar:
                    walk(part)
        for part in typing.get_args(hint):
            walk(part)

    for cls in document_classes():
        walk(cls)
    return list(seen)


DOCUMENTS = document_classes()
cids = st.builds(Cid, st.sampled_from([RAW, DAG_CBOR]), st.binary(min_size=32, max_size=32))
dids = st.one_of(st.just(SIGNER.did), st.builds(Did, st.binary(min_size=32, max_size=32)))


@functools.cache  # building a job's strategy costs more than drawing from it
def of(hint: Any, bounds: tuple[object, ...] = ()) -> st.SearchStrategy[Any]:
    """Values that an annotation allows."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        inner, *extra = typing.get_args(hint)
        return of(inner, (*extra, *bounds))
    if origin in (typing.Union, types.UnionType):
        return st.one_of([st.none() if part is types.NoneType else of(part, bounds) for part in typing.get_args(hint)])
    if origin is tuple:
        least, most = length(bounds, DEFAULT_MAX_ITEMS)
        return st.lists(of(typing.get_args(hint)[0]), min_size=least, max_size=min(most, max(least, 3))).map(tuple)
    if hint in (Cid, Did):
        return cids if hint is Cid else dids
    if hint is bool:
        return st.booleans()
    if hint is int:
        limits = limits_of(bounds)
        return st.one_of(st.sampled_from([limits.least, limits.most]), st.integers(limits.least, limits.most))
    if hint is str:
        return texts(bounds)
    if hint is bytes:
        least, most = length(bounds, DEFAULT_MAX_BYTES)
        return st.one_of(
            st.binary(min_size=least, max_size=min(most, max(least, USUAL_LENGTH))), st.just(b"\xff" * most)
        )
    if issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    if hint is ExecutionReceipt:
        return receipts()
    return dataclass_values(hint)


def texts(bounds: tuple[object, ...]) -> st.SearchStrategy[str]:
    least, most = length(bounds, DEFAULT_MAX_TEXT)
    plain = any(isinstance(bound, Ascii) for bound in bounds)
    letters = st.characters(min_codepoint=32, max_codepoint=126) if plain else st.characters(exclude_categories=["Cs"])
    usual = st.text(letters, min_size=least, max_size=min(most, max(least, USUAL_LENGTH)))
    return st.one_of(usual, usual, st.just(("~" if plain else "\U0010ffff") * most))


def length(bounds: tuple[object, ...], default: int) -> tuple[int, int]:
    limit = next((bound for bound in bounds if isinstance(bound, MaxLen)), MaxLen(default))
    return limit.least, limit.most


def limits_of(bounds: tuple[object, ...]) -> Range:
    return next((bound for bound in bounds if isinstance(bound, Range)), Range(0, INT_MAX))


def dataclass_values(cls: type) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    parts = {field.name: of(hints[field.name]) for field in dataclasses.fields(cls)}

    def build(arguments: dict[str, object]) -> object:
        try:
            return cls(**arguments)
        except DocumentError:  # the class's own rules between fields
            return None

    return st.fixed_dictionaries(parts).map(build).filter(lambda built: built is not None)


@st.composite
def receipts(draw: st.DrawFn) -> ExecutionReceipt:
    """Receipts that keep the rules between their fields."""
    hints = typing.get_type_hints(ExecutionReceipt, include_extras=True)
    chosen = {field.name: draw(of(hints[field.name])) for field in dataclasses.fields(ExecutionReceipt)}
    status = chosen["status"]
    chosen["prev"] = draw(cids) if chosen["seq"] else None
    chosen["output"] = draw(cids) if status is ReceiptStatus.COMPLETED else None
    chosen["trap"] = "unreachable" if status is ReceiptStatus.TRAPPED else None
    chosen["failure"] = chosen["failure"] or draw(of(hints["failure"]).filter(bool))
    if status is not ReceiptStatus.FAILED:
        chosen["failure"] = None
    chosen["fuel_used"] = min(chosen["fuel_used"], chosen["fuel_limit"])
    if chosen["call"] is not None:
        chosen.update(entry=None, args=(), results=())
    return ExecutionReceipt(**chosen)


def extreme(hint: Any, bounds: tuple[object, ...] = ()) -> Any:
    """The value of an annotation that takes most bytes on the wire."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        inner, *extra = typing.get_args(hint)
        return extreme(inner, (*extra, *bounds))
    if origin in (typing.Union, types.UnionType):
        (part,) = [part for part in typing.get_args(hint) if part is not types.NoneType]
        return extreme(part, bounds)
    if origin is tuple:
        return (extreme(typing.get_args(hint)[0]),) * length(bounds, DEFAULT_MAX_ITEMS)[1]
    if hint is Cid:
        return Cid(RAW, b"\xff" * 32)
    if hint is Did:
        return SIGNER.did
    if hint is bool:
        return True
    if hint is int:
        limits = limits_of(bounds)
        return max(limits.least, limits.most, key=lambda number: abs(number + (number < 0)))
    if hint is str:
        plain = any(isinstance(bound, Ascii) for bound in bounds)
        return ("~" if plain else "\U0010ffff") * length(bounds, DEFAULT_MAX_TEXT)[1]
    if hint is bytes:
        return b"\xff" * length(bounds, DEFAULT_MAX_BYTES)[1]
    if issubclass(hint, Enum):
        return max(hint, key=lambda member: len(str(member.value)))
    hints = typing.get_type_hints(hint, include_extras=True)
    return hint(**{field.name: extreme(hints[field.name]) for field in dataclasses.fields(hint)})


def samples_of(cls: type) -> list[Any]:
    """The same few values of a class in every run."""
    found: list[Any] = []

    @FEW
    @given(of(cls))
    def collect(item: Any) -> None:
        found.append(item)

    collect()
    return found
