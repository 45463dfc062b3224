"""Function bodies: strict validation (core specification §3.3 and its appendix), and what the later passes need.

One pass over the bytes, no recursion, time linear in the body. Beside the verdict it yields the body's *events*: the
instructions that steer control or that are rewritten. Everything between two events is a span of bytes that is
copied untouched, so that the later passes work on a tenth of the instructions. Code that can never run (after a
branch, until the block ends) yields no event and lies in no span: it is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from icn_lite.model.errors import ModuleError
from icn_lite.wasm import opcodes as op
from icn_lite.wasm.leb import read_signed, read_u32
from icn_lite.wasm.limits import Limits
from icn_lite.wasm.module import Module
from icn_lite.wasm.opcodes import ANY, F32, F64, I32, I64, TYPE_NAMES
from icn_lite.wasm.types import FuncType

Types = tuple[int, ...]


class Event(NamedTuple):
    """One instruction that matters, and the plain span `module[raw:at]` before it.

    `cost` is the fuel of the span alone. `arg` is the label depth, function, type or segment index. `targets` are the
    depths of a `br_table`, the default last. `type` is the type of a block.
    """

    op: int
    raw: int
    at: int
    end: int
    cost: int
    arg: int = 0
    targets: tuple[int, ...] = ()
    type: FuncType | None = None


@dataclass(slots=True)
class FunctionCode:
    """A validated body."""

    index: int
    type: FuncType
    locals: list[int]  # parameters first
    events: list[Event]
    operand_peak: int
    loop_nesting: int
    floats: bool  # computes with floats (or extends a sign), or loads an f32
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


# How an opcode is handled; the common ones come first in the loop.
_LOAD, _STORE, _EVENT, _OTHER = 1, 2, 3, 4
_KIND: Final = [0] * 256
for _opcode in op.LOADS:
    _KIND[_opcode] = _LOAD
for _opcode in op.STORES:
    _KIND[_opcode] = _STORE
for _opcode in (0x00, 0x02, 0x03, 0x04, 0x05, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x10, 0x11):
    _KIND[_opcode] = _EVENT
_EMPTY: Final = FuncType((), ())
_SINGLE: Final = {t: FuncType((), (t,)) for t in (I32, I64, F32, F64)}


class BodyValidator:
    """Validates the bodies of one module, one after the other."""

    def __init__(self, module: Module, limits: Limits) -> None:
        self.module = module
        self.limits = limits
        self.data = module.data
        self.table_budget = limits.br_table_entries_total
        self.function = 0
        self.end = 0
        # the state that rare instructions share with the loop
        self.stack: list[int] = []
        self.frames: list[Frame] = []
        self.events: list[Event] = []
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
            return _EMPTY, pos + 1
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
        return types, pos

    # the loop

    def body(self, number: int) -> FunctionCode:
        """Validate the body of one defined function."""
        module, body = self.module, self.module.bodies[number]
        self.function = len(module.imports) + number
        func_type = module.type_of(self.function)
        self.end = body.end
        local_types, pos = self.locals(body.start, func_type.params)
        self.stack, self.events = [], []
        self.frames = [Frame(op.BLOCK, func_type.results, func_type.results, (), 0, 0, False, True, 0)]
        self.height, self.dead, self.live, self.raw = 0, False, True, pos
        self.loops = self.loop_peak = self.blocks = 0
        self.floats = False
        try:
            peak = self.instructions(pos, local_types)
        except IndexError as error:
            raise self.malformed("unexpected end", self.end) from error
        if peak > self.limits.operands:
            raise self.over(f"{peak} operands at once, at most {self.limits.operands}", body.start)
        if self.blocks * (len(local_types) + peak) > self.limits.block_work:
            raise self.over(f"{self.blocks} blocks over {len(local_types)} locals are too much to compile", body.start)
        return FunctionCode(
            self.function, func_type, local_types, self.events, peak, self.loop_peak, self.floats, pos, body.end
        )

    def instructions(self, pos: int, local_types: list[int]) -> int:
        """All instructions up to the body's own `end`; returns the operand peak."""
        # Locals of this function, not attributes: this loop is nearly all of the time that validation takes.
        data, stack, simple, kinds = self.data, self.stack, op.SIMPLE, _KIND
        loads, stores = op.LOADS, op.STORES
        count = len(local_types)
        no_memory = self.module.memory is None
        height = cost = peak = 0
        floats = False
        while True:
            at = pos
            code = data[pos]
            pos += 1
            cost += 1
            if code == 0x20:  # local.get
                index = data[pos]
                pos += 1
                if index > 127:
                    index, pos = read_u32(data, pos - 1, self.end)
                if index >= count:
                    raise self.fail(f"unknown local {index}", at)
                stack.append(local_types[index])
                if len(stack) > peak:
                    peak = len(stack)
                continue
            row = simple[code]
            if row is not None:
                arity, wanted, result = row
                if arity == 2:
                    if len(stack) > height + 1 and stack[-1] == wanted and stack[-2] == wanted:
                        stack.pop()
                        stack[-1] = result
                    else:
                        self.pop(wanted, at)
                        self.pop(wanted, at)
                        stack.append(result)
                elif len(stack) > height and stack[-1] == wanted:
                    stack[-1] = result
                else:
                    self.pop(wanted, at)
                    stack.append(result)
                if code > 0x8A:
                    floats = True
                continue
            if code == 0x41:  # i32.const
                if data[pos] < 0x80:
                    pos += 1
                else:
                    _, pos = read_signed(data, pos, self.end, 32)
                stack.append(I32)
                if len(stack) > peak:
                    peak = len(stack)
                continue
            if code == 0x21 or code == 0x22:  # local.set, local.tee
                index = data[pos]
                pos += 1
                if index > 127:
                    index, pos = read_u32(data, pos - 1, self.end)
                if index >= count:
                    raise self.fail(f"unknown local {index}", at)
                wanted = local_types[index]
                if len(stack) > height and stack[-1] == wanted:
                    if code == 0x21:
                        stack.pop()
                else:
                    self.pop(wanted, at)
                    if code == 0x22:
                        stack.append(wanted)
                continue
            kind = kinds[code]
            if kind == 1 or kind == 2:  # loads and stores
                wanted, largest = (loads if kind == 1 else stores)[code]
                if data[pos] > largest:
                    self.alignment(pos, largest, at)
                if data[pos] < 0x80 and data[pos + 1] < 0x80:
                    pos += 2
                else:
                    _, pos = read_u32(data, pos, self.end)
                    _, pos = read_u32(data, pos, self.end)
                if no_memory:
                    self.memory(at)
                if code == 0x2A:
                    floats = True
                if kind == 1:
                    if len(stack) > height and stack[-1] == I32:
                        stack[-1] = wanted
                    else:
                        self.pop(I32, at)
                        stack.append(wanted)
                elif len(stack) > height + 1 and stack[-1] == wanted and stack[-2] == I32:
                    del stack[-2:]
                else:
                    self.pop(wanted, at)
                    self.pop(I32, at)
                continue
            if kind == 3:
                pos = self.control(code, at, pos, cost - 1)
                cost = 0
                height = self.height
                if len(stack) > peak:
                    peak = len(stack)
                if not self.frames:
                    break
                continue
            events = len(self.events)
            pos = self.rare(code, at, pos, cost - 1)
            if len(self.events) != events:
                cost = 0
            elif code == op.NOP or code == op.DROP:
                cost -= 1
            if len(stack) > peak:
                peak = len(stack)
        if pos != self.end:
            if pos > self.end:
                raise self.malformed("unexpected end of the body", self.end)
            raise self.malformed("instructions after the body's end", pos)
        self.floats = floats
        return peak

    def alignment(self, pos: int, largest: int, at: int) -> None:
        """An alignment byte that looks too large: decide whether it is padding, a flag, or wrong."""
        value, _ = self.u32(pos)
        if value > largest:
            if value >= 64:
                raise self.malformed("malformed memop flags", at)
            raise self.fail(f"alignment 2^{value} is larger than the access", at)

    def emit(self, event: Event) -> None:
        """Note an event of code that can run; the next span begins after it."""
        if self.live:
            self.events.append(event)
            self.raw = event.end

    def control(self, code: int, at: int, pos: int, cost: int) -> int:
        """Structured control, branches and calls; returns the next position."""
        if code == op.END or code == op.ELSE:
            self.close(code, at, pos, cost)
        elif code in (op.BLOCK, op.LOOP, op.IF):
            return self.open(code, at, pos, cost)
        elif code == op.BR or code == op.BR_IF:
            depth, pos = self.u32(pos)
            if code == op.BR_IF:
                self.pop(I32, at)
            label = self.label(depth, at)
            self.pop_all(label, at)
            self.emit(Event(code, self.raw, at, pos, cost, depth))
            if code == op.BR:
                self.cut()
            else:
                self.stack.extend(label)
        elif code == op.CALL:
            index, pos = self.u32(pos)
            if index >= len(self.module.func_types):
                raise self.fail(f"unknown function {index}", at)
            self.apply(self.module.type_of(index), at)
            self.emit(Event(code, self.raw, at, pos, cost, index))
        elif code == op.CALL_INDIRECT:
            return self.call_indirect(at, pos, cost)
        elif code == op.BR_TABLE:
            return self.br_table(at, pos, cost)
        else:  # return, unreachable
            if code == op.RETURN:
                self.pop_all(self.frames[0].results, at)
            self.emit(Event(code, self.raw, at, pos, cost))
            self.cut()
        return pos

    def open(self, code: int, at: int, pos: int, cost: int) -> int:
        """`block`, `loop`, `if`."""
        block_type, pos = self.block_type(pos, at)
        if code == op.IF:
            self.pop(I32, at)
        self.pop_all(block_type.params, at)
        if len(self.frames) > self.limits.nesting:
            raise self.over(f"more than {self.limits.nesting} nested blocks", at)
        self.emit(Event(code, self.raw, at, pos, cost, type=block_type))
        label = block_type.params if code == op.LOOP else block_type.results
        self.frames.append(
            Frame(code, label, block_type.results, block_type.params, len(self.stack), self.height, self.dead,
                  self.live, self.loops)
        )  # fmt: skip
        self.blocks += 1
        if code == op.LOOP:
            self.loops += 1
            self.loop_peak = max(self.loop_peak, self.loops)
        self.height, self.dead = len(self.stack), False
        self.stack.extend(block_type.params)
        return pos

    def close(self, code: int, at: int, pos: int, cost: int) -> None:
        """`else`, `end`."""
        frame = self.frames[-1]
        self.pop_all(frame.results, at)
        if len(self.stack) != self.height:
            raise self.fail(f"{len(self.stack) - self.height} operands are left at the end of a block", at)
        fell = self.live
        self.live = frame.live
        if not fell:
            self.raw, cost = at, 0
        if code == op.ELSE:
            if frame.op != op.IF:
                raise self.malformed("else outside an if", at)
            self.frames[-1] = frame._replace(op=op.ELSE)
            self.emit(Event(code, self.raw, at, pos, cost))
            self.stack.extend(frame.params)
            self.dead = False
            return
        if frame.op == op.IF and frame.params != frame.results:
            raise self.fail("an if without else has to leave what it takes", at)
        self.emit(Event(code, self.raw, at, pos, cost))
        self.frames.pop()
        self.height, self.dead, self.loops = frame.outer_height, frame.outer_dead, frame.loops
        self.stack.extend(frame.results)

    def label(self, depth: int, at: int) -> Types:
        """What a branch to a label carries."""
        if depth >= len(self.frames):
            raise self.fail(f"unknown label {depth}", at)
        return self.frames[-1 - depth].label

    def apply(self, func_type: FuncType, at: int) -> None:
        """The effect of a call on the operands."""
        self.pop_all(func_type.params, at)
        self.stack.extend(func_type.results)

    def call_indirect(self, at: int, pos: int, cost: int) -> int:
        """`call_indirect`: the table index may be a padded integer, as clang and rustc write it."""
        index, pos = self.u32(pos)
        table, pos = self.u32(pos)
        if table or self.module.table is None:
            raise self.fail(f"unknown table {table}", at)
        if index >= len(self.module.types):
            raise self.fail(f"unknown type {index}", at)
        self.pop(I32, at)
        self.apply(self.module.types[index], at)
        self.emit(Event(op.CALL_INDIRECT, self.raw, at, pos, cost, index))
        return pos

    def br_table(self, at: int, pos: int, cost: int) -> int:
        """`br_table`."""
        count, pos = self.u32(pos)
        self.table_budget -= count
        if count > self.limits.br_table_entries or self.table_budget < 0:
            raise self.over(f"br_table of {count} entries", at)
        self.pop(I32, at)
        targets: list[int] = []
        for _ in range(count + 1):
            depth, pos = self.u32(pos)
            targets.append(depth)
        default = self.label(targets[-1], at)
        for depth in dict.fromkeys(targets):
            label = self.label(depth, at)
            if len(label) != len(default):
                raise self.fail("the targets of a br_table carry different numbers of values", at)
            kept = self.stack[self.height :]
            self.pop_all(label, at)
            self.stack[self.height :] = kept
        self.pop_all(default, at)
        self.emit(Event(op.BR_TABLE, self.raw, at, pos, cost, targets[-1], tuple(targets)))
        self.cut()
        return pos

    def rare(self, code: int, at: int, pos: int, cost: int) -> int:
        """Everything that is neither frequent nor control; returns the next position."""
        stack, data = self.stack, self.data
        if code == op.I64_CONST:
            _, pos = read_signed(data, pos, self.end, 64)
            stack.append(I64)
        elif code == op.F32_CONST or code == op.F64_CONST:
            pos += 4 if code == op.F32_CONST else 8
            stack.append(F32 if code == op.F32_CONST else F64)
        elif code == op.GLOBAL_GET or code == op.GLOBAL_SET:
            index, pos = self.u32(pos)
            if index >= len(self.module.globals):
                raise self.fail(f"unknown global {index}", at)
            variable = self.module.globals[index]
            if code == op.GLOBAL_GET:
                stack.append(variable.value_type)
            elif not variable.mutable:
                raise self.fail(f"global {index} is constant", at)
            else:
                self.pop(variable.value_type, at)
        elif code == op.DROP:
            self.pop(ANY, at)
        elif code == op.SELECT or code == op.SELECT_T:
            return self.select(code, at, pos, cost)
        elif code == op.MEMORY_SIZE or code == op.MEMORY_GROW:
            if data[pos] != 0:
                raise self.malformed("zero byte expected", pos)
            pos += 1
            self.memory(at)
            if code == op.MEMORY_SIZE:
                stack.append(I32)
            else:
                self.apply(FuncType((I32,), (I32,)), at)
                self.emit(Event(code, self.raw, at, pos, cost))
        elif code == op.PREFIX:
            return self.prefixed(at, pos, cost)
        elif code != op.NOP:
            feature, hint = op.UNSUPPORTED.get(code, ("", ""))
            if feature:
                raise self.unsupported(feature, at, hint)
            raise self.malformed(f"unknown instruction 0x{code:02x}", at)
        return pos

    def select(self, code: int, at: int, pos: int, cost: int) -> int:
        """`select`; the form with a type is rewritten to the one without."""
        self.pop(I32, at)
        if code == op.SELECT:
            first = self.pop(ANY, at)
            second = self.pop(first, at)
            self.stack.append(first or second)
            return pos
        count, pos = self.u32(pos)
        if count != 1:
            raise self.fail("select names other than one type", at)
        value_type = self.data[pos]
        if value_type not in op.VALUE_TYPES:
            if value_type in (0x7B, 0x70, 0x6F):
                raise self.unsupported(
                    f"select of {TYPE_NAMES[value_type]}", at, "compile for the MVP feature set"
                )
            raise self.malformed(f"unknown value type 0x{value_type:02x}", pos)
        pos += 1
        self.apply(FuncType((value_type, value_type), (value_type,)), at)
        self.emit(Event(code, self.raw, at, pos, cost))
        return pos

    def prefixed(self, at: int, pos: int, cost: int) -> int:
        """Instructions behind 0xFC: saturating conversions and bulk memory."""
        code, pos = self.u32(pos)
        row = op.SATURATING.get(code)
        if row is not None:
            self.apply(FuncType((row[0],), (row[1],)), at)
            return pos
        if code in (op.MEMORY_COPY, op.MEMORY_FILL):
            width = 2 if code == op.MEMORY_COPY else 1
            if any(self.data[pos : pos + width]):
                raise self.malformed("zero byte expected", pos)
            pos += width
            self.memory(at)
            self.apply(FuncType((I32, I32, I32), ()), at)
            self.emit(Event(0x100 + code, self.raw, at, pos, cost))
            return pos
        if code in (op.MEMORY_INIT, op.DATA_DROP):
            index, pos = self.u32(pos)
            if code == op.MEMORY_INIT:
                if self.data[pos] != 0:
                    raise self.malformed("zero byte expected", pos)
                pos += 1
                self.memory(at)
            if self.module.data_count is None:
                raise self.malformed("data count section required", at)
            if index >= self.module.data_count:
                raise self.fail(f"unknown data segment {index}", at)
            if code == op.MEMORY_INIT:
                self.apply(FuncType((I32, I32, I32), ()), at)
            self.emit(Event(0x100 + code, self.raw, at, pos, cost, index))
            return pos
        name = op.UNSUPPORTED_PREFIXED.get(code)
        if name is not None:
            raise self.unsupported(name, at, "compile with -mno-reference-types and without table instructions")
        raise self.malformed(f"unknown instruction 0xfc {code}", at)


def validate(module: Module, limits: Limits) -> list[FunctionCode]:
    """Validate all bodies; raises ModuleError."""
    validator = BodyValidator(module, limits)
    return [validator.body(number) for number in range(len(module.bodies))]
