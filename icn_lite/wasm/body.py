"""What validation knows while it walks a body, and what it leaves behind for the later passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from icn_lite.model.errors import ModuleError
from icn_lite.wasm import opcodes as op
from icn_lite.wasm.events import EventFields, Events
from icn_lite.wasm.leb import read_signed, read_u32
from icn_lite.wasm.limits import Limits
from icn_lite.wasm.module import Module
from icn_lite.wasm.opcodes import ANY, F32, F64, I32, I64, TYPE_NAMES
from icn_lite.wasm.types import FuncType

Types = tuple[int, ...]


@dataclass(slots=True)
class FunctionCode:
    """A validated body."""

    index: int
    type: FuncType
    locals: list[int]  # parameters first
    events: Events
    operand_peak: int
    loop_nesting: int
    calls: Sequence[int]  # events that are calls, direct or through the table
    special: bool  # whether there are events with `emit_special`: growth, bulk work
    copies: bool  # whether a 64-bit local may lie on the stack twice while it is saved (`copies`)
    floats: bool  # computes with floats (or extends a sign), or has an f32 or many values with a float among them
    start: int  # first instruction
    end: int


class Frame(NamedTuple):
    """A control frame; `label` is what a branch to it carries."""

    op: int
    label: Types
    results: Types
    params: Types
    height: int
    outer_height: int
    outer_dead: bool
    live: bool  # whether the block itself can run
    loops: int


EMPTY: Final = FuncType((), ())  # the one object for it, so that most blocks are known by identity
_SINGLE: Final = {t: FuncType((), (t,)) for t in (I32, I64, F32, F64)}


class BodyState:
    """Operands, frames and events of the body at hand; one object serves all bodies of a module."""

    def __init__(self, module: Module, limits: Limits) -> None:
        self.module = module
        self.limits = limits
        self.data = module.data
        self.table_budget = limits.br_table_entries_total
        self.block_budget = limits.block_work
        self.local_budget = limits.locals_total
        self.carried_budget = limits.carried_values
        self.event_budget = limits.events
        self.function = 0
        self.end = 0
        # the state that rare instructions share with the loop
        self.stack: list[int] = []
        self.frames: list[Frame] = []
        self.events: list[EventFields] = []
        self.calls: list[int] = []
        self.special = False
        self.copies = False
        self.height = 0
        self.dead = False
        self.live = True
        self.raw = 0
        self.loops = 0
        self.loop_peak = 0
        self.blocks = 0
        self.floats = False

    def fail(self, message: str, at: int) -> ModuleError:
        """An invalid instruction."""
        return ModuleError("invalid", f"{self.module.describe(self.function)}: {message}", offset=at,
                           function=self.function)  # fmt: skip

    def malformed(self, message: str, at: int) -> ModuleError:
        """A body whose form is wrong."""
        return ModuleError("malformed", f"{self.module.describe(self.function)}: {message}", offset=at,
                           function=self.function)  # fmt: skip

    def unsupported(self, message: str, at: int, hint: str) -> ModuleError:
        """An instruction of a feature that is not run here."""
        return ModuleError("unsupported", f"{self.module.describe(self.function)}: {message}", offset=at,
                           function=self.function, hint=hint)  # fmt: skip

    def over(self, message: str, at: int) -> ModuleError:
        """A structural limit."""
        return ModuleError("limit", f"{self.module.describe(self.function)}: {message}", offset=at,
                           function=self.function)  # fmt: skip

    # operand stack

    def pop(self, wanted: int, at: int) -> int:
        """Pop one operand of a type (ANY takes any)."""
        stack = self.stack
        if len(stack) > self.height:
            found = stack.pop()
            if found != wanted and found and wanted:
                raise self.fail(f"expected {TYPE_NAMES[wanted]}, found {TYPE_NAMES[found]}", at)
            return found
        if self.dead:
            return ANY
        raise self.fail(f"expected {TYPE_NAMES[wanted]}, found no operand", at)

    def pop_all(self, wanted: Types, at: int) -> None:
        """Pop operands, the last type first."""
        stack, count = self.stack, len(wanted)
        if len(stack) >= self.height + count and tuple(stack[-count:]) == wanted:
            del stack[-count:]
            return
        for value_type in reversed(wanted):
            self.pop(value_type, at)

    def cut(self) -> None:
        """What follows can't run."""
        del self.stack[self.height :]
        self.dead = True
        self.live = False

    # reading

    def u32(self, pos: int) -> tuple[int, int]:
        """An unsigned immediate."""
        return read_u32(self.data, pos, self.end)

    def memory(self, at: int) -> None:
        """A memory has to exist."""
        if self.module.memory is None:
            raise self.fail("unknown memory 0", at)

    def block_type(self, pos: int, at: int) -> tuple[FuncType, int]:
        """A block type: empty, one value, or a type index (§5.3.6)."""
        byte = self.data[pos]
        if byte == 0x40:
            return EMPTY, pos + 1
        if byte in op.VALUE_TYPES:
            return _SINGLE[byte], pos + 1
        if byte in (0x7B, 0x70, 0x6F):
            raise self.unsupported(f"a block of type {TYPE_NAMES[byte]}", at, "compile for the MVP feature set")
        index, pos = read_signed(self.data, pos, self.end, 33)
        if not 0 <= index < len(self.module.types):
            raise self.fail(f"unknown block type {index}", at)
        return self.module.types[index], pos

    def locals(self, pos: int, params: Types) -> tuple[list[int], int]:
        """Local declarations (§5.4.7)."""
        at = pos
        types = list(params)
        groups, pos = self.u32(pos)
        total = 0
        for _ in range(groups):
            count, pos = self.u32(pos)
            total += count
            if total > 0xFFFFFFFF:
                raise self.malformed("more than 2^32 locals", at)
            if pos >= self.end:
                raise self.malformed("unexpected end in the locals", pos)
            value_type = self.data[pos]
            if value_type not in op.VALUE_TYPES:
                if value_type in (0x7B, 0x70, 0x6F):
                    raise self.unsupported(
                        f"a local of type {TYPE_NAMES[value_type]}", pos, "compile for the MVP feature set"
                    )
                raise self.malformed(f"unknown value type 0x{value_type:02x}", pos)
            pos += 1
            if len(params) + total > self.limits.locals:
                raise self.over(f"more than {self.limits.locals} locals", at)
            types += [value_type] * count
        self.local_budget -= len(types)
        if self.local_budget < 0:
            raise self.over(f"more than {self.limits.locals_total} locals in all functions together", at)
        return types, pos

    def label(self, depth: int, at: int) -> Types:
        """What a branch to a label carries."""
        if depth >= len(self.frames):
            raise self.fail(f"unknown label {depth}", at)
        return self.frames[-1 - depth].label

    def apply(self, func_type: FuncType, at: int) -> None:
        """The effect of a call on the operands."""
        params, results = func_type.params, func_type.results
        if params:
            self.pop_all(params, at)
        if results:
            if len(results) > 1:
                self.carry(len(results), at)
            self.stack.extend(results)

    def carry(self, count: int, at: int) -> None:
        """Count values that move together."""
        self.carried_budget -= count
        if self.carried_budget < 0:
            raise self.over(f"more than {self.limits.carried_values} values carried by blocks and calls", at)

    def emit(self, fields: EventFields) -> None:
        """Note an event of code that can run; the next span begins after it."""
        if self.live:
            self.events.append(fields)
            self.raw = fields[3]

    def emit_special(self, fields: EventFields) -> None:
        """Note an event that needs a function of our own, or that only later engines have."""
        self.special = self.special or self.live
        self.emit(fields)
