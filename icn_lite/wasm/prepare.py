"""`prepare`: from a guest's bytes to a module that any engine runs safely, metered and bounded.

Decode, validate, look at fuel and depth, write anew. The result is a pure function of the bytes, the limits and the
host table, so it is cached by (module CID, meter version).

What a runner does: link `imports`, instantiate, set `fuel_global` to the limit and `trap_global` to 0, call `start`
if there is one, call an export, read both. The counter is below zero when fuel ran out; `trap_global` says which of
our own traps it was, and stays 0 when the engine trapped by itself (division, memory access, ...).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from icn_lite.model.errors import ModuleError
from icn_lite.wasm.body import FunctionCode
from icn_lite.wasm.copies import separate
from icn_lite.wasm.counter import Names, PlanLookup
from icn_lite.wasm.decode import decode
from icn_lite.wasm.edits import Edits
from icn_lite.wasm.encode import Draft, encode
from icn_lite.wasm.events import NO_EVENTS
from icn_lite.wasm.flow import Flow
from icn_lite.wasm.hostfuncs import HOST_FUNCTIONS, HostFunction, HostTable
from icn_lite.wasm.leb import write_u32
from icn_lite.wasm.limits import DEFAULT_LIMITS, Limits
from icn_lite.wasm.lowered import Lowered, bits_type, lower_types
from icn_lite.wasm.module import Element, Global, Module, SizeRange
from icn_lite.wasm.nan import FloatPass
from icn_lite.wasm.opcodes import I32, I64
from icn_lite.wasm.passive import passive_segments
from icn_lite.wasm.plan import BASE_BYTES, Plan, make_plan
from icn_lite.wasm.prepared import FUEL_SCHEDULE, METER, Prepared
from icn_lite.wasm.rewrite import BodyWriter
from icn_lite.wasm.shims import Shims
from icn_lite.wasm.types import Export, Import
from icn_lite.wasm.validate import validate

__all__ = ["FUEL_SCHEDULE", "METER", "Prepared", "prepare"]

# Names that prepared modules export for the runner; guests may not use the prefix.
RESERVED: Final = "icn:"
FUEL_GLOBAL: Final = "icn:fuel"
TRAP_GLOBAL: Final = "icn:trap"
START_EXPORT: Final = "icn:start"
MEMORY_EXPORT: Final = "icn:memory"
BITS_PREFIX: Final = "icn:bits:"


def prepare(module: bytes, limits: Limits = DEFAULT_LIMITS, host: HostTable = HOST_FUNCTIONS) -> Prepared:
    """Check a guest and write it anew; raises ModuleError with kind, offset, function and hint."""
    decoded = decode(module, limits)
    rows = resolve_imports(decoded, host)
    code = validate(decoded, limits)
    refuse_names(decoded)
    lowered = lower_types(decoded, code)
    edits: dict[int, Edits] = {}
    for number, function in enumerate(code):
        own, changes = function, None
        if function.floats:
            own, changes = FloatPass(decoded, function, lowered).run()
        extra, changes = separate(decoded, function, changes)
        if changes is not None:
            code[number], edits[number] = replace(own, operand_peak=own.operand_peak + extra), changes
    plan = make_plan(lowered.module, code, rows)
    return _Builder(decoded, lowered, code, edits, plan, rows, limits).build()


def resolve_imports(module: Module, host: HostTable) -> list[HostFunction]:
    """The row of each imported function."""
    rows: list[HostFunction] = []
    for item in module.imports:
        row = host.get((item.module, item.name))
        if row is None:
            raise ModuleError(
                "unsupported",
                f"import of {item.module}.{item.name}: this node has no such host function",
                offset=item.offset,
                function=len(rows),
                hint="see tools/guests/README.md for the functions that a guest may import",
            )
        found = module.types[item.type_index]
        if found != row.type:
            raise ModuleError(
                "unsupported",
                f"import of {item.module}.{item.name} has type {found}, expected {row.type}",
                offset=item.offset,
                function=len(rows),
                hint="declare the host function as the guest kit's header does",
            )
        rows.append(row)
    return rows


def refuse_names(module: Module) -> None:
    """Exports whose names the runner or the engine would take for others."""
    for export in module.exports:
        if export.name.startswith(RESERVED):
            raise ModuleError("unsupported", f"export {export.name!r}: names that begin with {RESERVED!r} are reserved")
        if "\x00" in export.name:
            raise ModuleError("unsupported", f"export {export.name!r}: a NUL in a name ends it in the engine")


class _Builder:
    """State of `prepare` while the new module is put together."""

    def __init__(
        self,
        guest: Module,
        lowered: Lowered,
        code: list[FunctionCode],
        edits: dict[int, Edits],
        plan: Plan,
        rows: list[HostFunction],
        limits: Limits,
    ) -> None:
        self.guest = guest
        self.module = module = lowered.module
        self.edits = edits
        self.code = code
        self.plan = plan
        self.rows = rows
        self.limits = limits
        self.memory = self.memory_range()
        self.draft = Draft(
            types=list(module.types),
            imports=[],
            functions=module.func_types[len(module.imports) :],
            table=module.table,
            memory=self.memory,
            globals=list(module.globals),
            bodies=[b""] * len(code),
        )
        for item, row in zip(module.imports, rows, strict=True):
            self.draft.imports.append((item.module, item.name, self.draft.type_index(row.type)))

    def memory_range(self) -> SizeRange | None:
        """The guest's memory, with a maximum that the limits allow."""
        size = self.module.memory
        if size is None:
            return None
        largest = self.limits.memory_pages
        return SizeRange(size.minimum, largest if size.maximum is None else min(size.maximum, largest))

    def add_global(self, value_type: int, name: str | None) -> int:
        """A global of our own, starting at zero."""
        self.draft.globals.append(Global(value_type, True, b"\x41\x00" if value_type == I32 else b"\x42\x00"))
        index = len(self.draft.globals) - 1
        if name is not None:
            self.draft.exports.append((name, "global", index))
        return index

    def build(self) -> Prepared:
        """Put it together."""
        module, draft = self.module, self.draft
        fuel, trap = self.add_global(I64, FUEL_GLOBAL), self.add_global(I32, TRAP_GLOBAL)
        depth = self.add_global(I32, None)
        shims = Shims(draft, fuel, trap, depth, self.limits.stack_bytes)
        events = {code for function in self.code if function.special for code in function.events.codes()}
        names = Names(
            data=module.data,
            types=module.types,
            fuel=write_u32(fuel),
            depth=write_u32(depth),
            trap=write_u32(trap),
            out_of_fuel=write_u32(shims.out_of_fuel),
            exhausted=write_u32(shims.exhausted),
            wrappers={index: shims.host(index, row, module.type_of(index)) for index, row in enumerate(self.rows)},
            helpers=shims.helpers(events, self.memory),
            segments=passive_segments(draft, self.guest, self.code, shims.take_local(2, 1) + shims.check()),
            block_types={},
        )
        for function in self.code:
            if function.type.results not in names.block_types:
                names.block_types[function.type.results] = shims.block_type(function.type.results)
        lookup = PlanLookup(self.plan.functions, self.plan.graph.type_nodes)
        in_table = dict(names.wrappers)
        for number, function in enumerate(self.code):
            plan = self.plan.functions[function.index]
            edits = self.edits.get(number)
            draft.bodies[number] = BodyWriter(function, plan, names, lookup, edits).write()
            if (twin := self.plan.twins.get(function.index)) is not None:
                body = BodyWriter(function, twin, names, lookup, edits).write()
                in_table[function.index] = draft.function(module.type_of(function.index), body)
            function.events = NO_EVENTS  # nobody reads them again: what is held shrinks while what is written grows
            plan.flow = Flow()
        draft.elements = [
            Element(e.offset, tuple(None if f is None else in_table.get(f, f) for f in e.functions))
            for e in module.elements
        ]
        draft.segments = [(_signed(s.offset), module.data[s.start : s.end])
                          for s in module.segments if s.offset is not None]  # fmt: skip
        public = self.export(shims, names)
        start = self.start(shims, names)
        return Prepared(
            code=encode(draft),
            meter=METER,
            fuel_global=FUEL_GLOBAL,
            trap_global=TRAP_GLOBAL,
            imports=tuple(Import(row.module, row.name, row.type) for row in self.rows),
            exports=public,
            start=start,
            has_memory=self.memory is not None,
            memory_min_pages=self.memory.minimum if self.memory else 0,
            memory_max_pages=(self.memory.maximum or 0) if self.memory else 0,
            memory_export=MEMORY_EXPORT if self.memory else None,
            functions=len(self.code),
            stack_bytes=self.limits.stack_bytes + self.static_bytes(),
        )

    def start(self, shims: Shims, names: Names) -> str | None:
        """The start function as an export; engines differ in when they run it and in what they charge."""
        module = self.module
        if not module.start_fuel:
            return None
        entry = None if module.start is None else self.entry(module.start, shims, names)
        self.draft.exports.append((START_EXPORT, "func", shims.start(entry, module.start_fuel)))
        return START_EXPORT

    def entry(self, index: int, shims: Shims, names: Names) -> int:
        """The function that callers from outside enter by."""
        plan = self.plan.functions[index]
        target = names.wrappers.get(index, index)
        given = bits_type(self.guest.type_of(index))
        return shims.entry(target, self.module.type_of(index), given, plan.folded, plan.counts_depth)

    def export(self, shims: Shims, names: Names) -> tuple[Export, ...]:
        """Write the guest's exports and describe them."""
        public: list[Export] = []
        for raw in self.module.exports:
            name, kind, index = raw.name, raw.kind, raw.index
            if kind != "func":
                self.draft.exports.append((name, kind, index))
                public.append(Export(name, kind))
                continue
            # a function of its own for every name: the engine knows no more than three names of one function
            func_type = self.guest.type_of(index)
            entry, given = self.entry(index, shims, names), bits_type(func_type)
            bits_name = None
            if given != func_type:
                bits_name = BITS_PREFIX + name
                self.draft.exports.append((bits_name, "func", entry))
                entry = shims.adapter(entry, given, func_type)
            self.draft.exports.append((name, kind, entry))
            public.append(Export(name, kind, func_type, bits_name))
        if self.memory is not None:
            self.draft.exports.append((MEMORY_EXPORT, "memory", 0))
        return tuple(public)

    def static_bytes(self) -> int:
        """The longest chain of frames without recursion, from any way in."""
        longest = max((plan.chain_bytes for plan in self.plan.functions.values()), default=0)
        if longest > self.limits.stack_bytes:
            raise ModuleError(
                "limit", f"calls without recursion nest to {longest} bytes of stack, at most {self.limits.stack_bytes}"
            )
        return longest + BASE_BYTES


def _signed(value: int | None) -> int:
    """An unsigned 32-bit offset as the signed constant that the format wants."""
    number = value or 0
    return number - (1 << 32) if number >= 1 << 31 else number
