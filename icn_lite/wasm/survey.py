"""What a module is made of, beside what it may be made of: for its author, never for a decision.

`survey` decodes and validates like `prepare` and then walks the bodies once more, so it costs about as much again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Final

from icn_lite.wasm import opcodes as op
from icn_lite.wasm.body import FunctionCode
from icn_lite.wasm.decode import decode
from icn_lite.wasm.leb import read_u32
from icn_lite.wasm.limits import Limits
from icn_lite.wasm.module import Module
from icn_lite.wasm.sections import CODE, CUSTOM, producers, sections
from icn_lite.wasm.validate import validate

_ONE_LEB: Final = frozenset((*range(0x02, 0x05), op.BR, op.BR_IF, op.CALL, *range(0x20, 0x27), 0x3F, 0x40, 0x41, 0x42,
                             0xD0, 0xD2))  # fmt: skip
_TWO_LEBS: Final = frozenset((op.CALL_INDIRECT, *range(0x28, 0x3F)))
_FIXED: Final = {op.F32_CONST: 4, op.F64_CONST: 8}
_PREFIXED_LEBS: Final = {8: 2, 9: 1, 10: 2, 11: 1, 12: 2, 13: 1, 14: 2, 15: 1, 16: 1, 17: 1}
_FLOATS: Final = frozenset((*range(0x5B, 0x67), *range(0x8B, 0xA7), *range(0xB2, 0xBC)))


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of the module against its limit; `limit` is a field of `Limits` under the same name."""

    name: str
    value: int
    limit: int


@dataclass(frozen=True, slots=True)
class Survey:
    """A valid module in numbers; memory and table as (minimum, maximum or None)."""

    measures: tuple[Measure, ...]
    features: tuple[str, ...]
    memory: tuple[int, int | None] | None
    memory_imported: bool
    table: tuple[int, int | None] | None
    start: str | None
    code_bytes: int
    custom_bytes: int
    made_by: tuple[str, ...]


@dataclass(slots=True)
class _Walk:
    """What the bodies hold."""

    features: set[str]
    nesting: int = 0
    block_work: int = 0
    table_largest: int = 0
    table_total: int = 0


def survey(module: bytes, limits: Limits) -> Survey:
    """Look at a module; raises `ModuleError` like `prepare`."""
    decoded = decode(module, limits)
    code = validate(decoded, limits)
    walk = _Walk(set())
    for function in code:
        _walk_body(decoded, function, walk)
    found = {s.id: s.end - s.at for s in sections(module) if s.id != CUSTOM}
    return Survey(
        measures=tuple(_measures(decoded, code, walk, limits)),
        features=tuple(sorted(walk.features | _declared(decoded))),
        memory=None if decoded.memory is None else (decoded.memory.minimum, decoded.memory.maximum),
        memory_imported=decoded.memory_imported,
        table=None if decoded.table is None else (decoded.table.minimum, decoded.table.maximum),
        start=None if decoded.start is None else decoded.describe(decoded.start),
        code_bytes=found.get(CODE, 0),
        custom_bytes=sum(s.end - s.at for s in sections(module) if s.id == CUSTOM),
        made_by=producers(module),
    )


@dataclass(frozen=True, slots=True)
class Instantiation:
    """What wasmtime counts before anything is called.

    `fuel` is the whole of it where no start function runs, else None. `copied` is what it counts more where it fills
    the memory by copying; its default is to map pages that hold the data already, which costs nothing.
    """

    fuel: int | None
    copied: int


def instantiation(module: bytes, limits: Limits) -> Instantiation:
    """The fuel of instantiating a module that `prepare` has accepted; `Module.start_fuel` is that of the default."""
    decoded = decode(module, limits)
    if decoded.start is None:
        return Instantiation(decoded.start_fuel, 0)
    active = [segment for segment in decoded.segments if segment.offset is not None]
    data = sum(segment.instructions + segment.end - segment.start for segment in active)
    entry_and_call = 2
    copying = entry_and_call + data + (decoded.element_fuel or 0) + decoded.global_fuel
    return Instantiation(None, copying - decoded.start_fuel)


def _measures(module: Module, code: list[FunctionCode], walk: _Walk, limits: Limits) -> Iterator[Measure]:
    """Every structural limit in the order of `Limits`, as far as a module has such a number."""
    values = {
        "module_bytes": len(module.data),
        "functions": len(module.bodies),
        "types": len(module.types),
        "imports": len(module.imports) + module.memory_imported,
        "exports": len(module.exports),
        "globals": len(module.globals),
        "tables": int(module.table is not None),
        "table_entries": module.table.minimum if module.table else 0,
        "memory_pages": module.memory.minimum if module.memory else 0,
        "segments": max(len(module.segments), len(module.elements)),
        "passive_bytes": sum(s.end - s.start for s in module.segments if s.offset is None),
        "locals": max((len(function.locals) for function in code), default=0),
        "locals_total": sum(len(function.locals) for function in code),
        "operands": max((function.operand_peak for function in code), default=0),
        "nesting": walk.nesting,
        "params": max((len(t.params) for t in module.types), default=0),
        "results": max((len(t.results) for t in module.types), default=0),
        "carried_values": module.carried_values,
        "br_table_entries": walk.table_largest,
        "br_table_entries_total": walk.table_total,
        "block_work": walk.block_work,
        "events": sum(len(function.events) for function in code),
        "function_bytes": max((body.end - body.start for body in module.bodies), default=0),
        "name_bytes": max((len(name.encode()) for name in _written_names(module)), default=0),
    }
    for limit in fields(limits):
        if limit.name in values:
            yield Measure(limit.name, values[limit.name], getattr(limits, limit.name))


def _written_names(module: Module) -> Iterator[str]:
    for item in module.imports:
        yield item.module
        yield item.name
    for export in module.exports:
        yield export.name


def _declared(module: Module) -> set[str]:
    """Features that the sections show."""
    found = set()
    if any(len(t.results) > 1 for t in module.types):
        found.add("multi-value")
    if any(e.kind == "global" and module.globals[e.index].mutable for e in module.exports):
        found.add("mutable globals")
    if any(s.offset is None for s in module.segments) or module.data_count is not None:
        found.add("bulk memory")
    return found


def _walk_body(module: Module, function: FunctionCode, walk: _Walk) -> None:
    """Count what a body holds, dead code as well. It is valid, so every immediate is where it belongs."""
    data, pos, end = module.data, function.start, function.end
    features, depth, blocks = walk.features, 0, 0
    simple = op.SIMPLE
    while pos < end:
        code = data[pos]
        pos += 1
        if simple[code] is not None:
            if 0xC0 <= code <= 0xC4:
                features.add("sign extension")
            elif code in _FLOATS:
                features.add("floating point")
        elif code in _ONE_LEB:
            if code <= op.IF and code >= op.BLOCK:
                depth, blocks = depth + 1, blocks + 1
                walk.nesting = max(walk.nesting, depth)
                if data[pos] < 0x40:
                    features.add("multi-value")
            elif code == op.MEMORY_GROW:
                features.add("memory.grow")
            elif code >= 0xD0:
                features.add("reference types")
            pos = _skip(data, pos)
        elif code in _TWO_LEBS:
            pos = _skip(data, _skip(data, pos))
        elif code == op.END:
            depth -= 1
        elif code in _FIXED:
            pos += _FIXED[code]
        elif code == op.SELECT_T:
            features.add("typed select")
            count, pos = read_u32(data, pos, end)
            pos += count
        elif code == op.BR_TABLE:
            count, pos = read_u32(data, pos, end)
            walk.table_largest, walk.table_total = max(walk.table_largest, count), walk.table_total + count
            for _ in range(count + 1):
                pos = _skip(data, pos)
        elif code == op.PREFIX:
            number, pos = read_u32(data, pos, end)
            features.add("saturating conversion" if number < 8 else "bulk memory" if number < 12 else "reference types")
            for _ in range(_PREFIXED_LEBS.get(number, 0)):
                pos = _skip(data, pos)
    walk.block_work += blocks * (len(function.locals) + function.operand_peak)


def _skip(data: bytes, pos: int) -> int:
    """The position after an integer."""
    while data[pos] >= 0x80:
        pos += 1
    return pos + 1
