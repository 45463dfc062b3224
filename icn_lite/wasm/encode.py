"""A module written anew: canonical integers, sections in order, no custom sections (core specification §5.5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from icn_lite.wasm.decode import MAGIC
from icn_lite.wasm.leb import write_signed, write_u32
from icn_lite.wasm.module import Element, Global, SizeRange
from icn_lite.wasm.types import FuncType

KIND_BYTES: Final = {"func": b"\x00", "table": b"\x01", "memory": b"\x02", "global": b"\x03"}


@dataclass(slots=True)
class Draft:
    """What is to be written. Function indices count imports first; bodies hold locals and code."""

    types: list[FuncType] = field(default_factory=list)
    imports: list[tuple[str, str, int]] = field(default_factory=list)
    functions: list[int] = field(default_factory=list)
    table: SizeRange | None = None
    memory: SizeRange | None = None
    globals: list[Global] = field(default_factory=list)
    exports: list[tuple[str, str, int]] = field(default_factory=list)  # name, kind, index
    elements: list[Element] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    segments: list[tuple[int, bytes]] = field(default_factory=list)  # signed offset, bytes

    def type_index(self, wanted: FuncType) -> int:
        """The index of a type, added when it is new."""
        try:
            return self.types.index(wanted)
        except ValueError:
            self.types.append(wanted)
            return len(self.types) - 1

    def function(self, wanted: FuncType, body: bytes) -> int:
        """Add a function; returns its index."""
        self.functions.append(self.type_index(wanted))
        self.bodies.append(body)
        return len(self.imports) + len(self.functions) - 1


def name_of(text: str) -> bytes:
    """A name with its length."""
    raw = text.encode("utf-8")
    return write_u32(len(raw)) + raw


def vector(items: Sequence[bytes]) -> bytes:
    """A vector: its length, then its items."""
    return write_u32(len(items)) + b"".join(items)


def locals_of(types: Iterable[int]) -> bytes:
    """Local declarations, equal neighbours in one group."""
    groups: list[list[int]] = []
    for value_type in types:
        if groups and groups[-1][1] == value_type:
            groups[-1][0] += 1
        else:
            groups.append([1, value_type])
    return vector([write_u32(count) + bytes((value_type,)) for count, value_type in groups])


def _size(size: SizeRange) -> bytes:
    if size.maximum is None:
        return b"\x00" + write_u32(size.minimum)
    return b"\x01" + write_u32(size.minimum) + write_u32(size.maximum)


def _func_type(value: FuncType) -> bytes:
    return (
        b"\x60" + write_u32(len(value.params)) + bytes(value.params) + write_u32(len(value.results))
        + bytes(value.results)
    )  # fmt: skip


def _runs(elements: Sequence[Element], size: int) -> list[bytes]:
    """The content of a table of `size` entries as segments without holes; later entries win.

    To wasm3 a table ends where its last segment does, so that an empty entry past that would count as outside the
    table. A segment without entries at the table's end makes it as long as it says it is.
    """
    slots: dict[int, int | None] = {}
    for element in elements:
        for position, entry in enumerate(element.functions):
            slots[element.offset + position] = entry
    runs: list[tuple[int, list[bytes]]] = []
    for slot in sorted(slots):
        entry = slots[slot]
        if entry is None:
            continue
        if runs and runs[-1][0] + len(runs[-1][1]) == slot:
            runs[-1][1].append(write_u32(entry))
        else:
            runs.append((slot, [write_u32(entry)]))
    if size and (not runs or runs[-1][0] + len(runs[-1][1]) < size):
        runs.append((size, []))
    return [b"\x00\x41" + write_signed(offset) + b"\x0b" + vector(indices) for offset, indices in runs]


def _segment(offset: int, raw: bytes) -> bytes:
    return b"\x00\x41" + write_signed(offset) + b"\x0b" + write_u32(len(raw)) + raw


def encode(draft: Draft) -> bytes:
    """The bytes of a module."""
    out = [MAGIC]

    def section(number: int, items: Sequence[bytes]) -> None:
        if items:
            content = vector(items)
            out.append(bytes((number,)) + write_u32(len(content)) + content)

    section(1, [_func_type(value) for value in draft.types])
    section(2, [name_of(m) + name_of(n) + b"\x00" + write_u32(t) for m, n, t in draft.imports])
    section(3, [write_u32(index) for index in draft.functions])
    section(4, [b"\x70" + _size(draft.table)] if draft.table else [])
    section(5, [_size(draft.memory)] if draft.memory else [])
    section(6, [bytes((g.value_type, g.mutable)) + g.init + b"\x0b" for g in draft.globals])
    section(7, [name_of(name) + KIND_BYTES[kind] + write_u32(index) for name, kind, index in draft.exports])
    section(9, _runs(draft.elements, draft.table.minimum if draft.table else 0))
    section(10, [write_u32(len(body)) + body for body in draft.bodies])
    section(11, [_segment(offset, raw) for offset, raw in draft.segments])
    return b"".join(out)
