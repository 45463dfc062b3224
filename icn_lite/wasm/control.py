"""Structured control, branches and calls (core specification §3.3.8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from icn_lite.wasm import opcodes as op
from icn_lite.wasm.body import BodyState, Frame
from icn_lite.wasm.events import EventFields
from icn_lite.wasm.leb import read_u32
from icn_lite.wasm.limits import Limits
from icn_lite.wasm.lowered import crowded
from icn_lite.wasm.module import Module
from icn_lite.wasm.opcodes import F32, F64, I32, I64
from icn_lite.wasm.types import FuncType

_tuple: Final = tuple.__new__
Handler = Callable[[int, int, int], int]  # (offset, offset behind the opcode, cost of the span before) -> offset behind


def with_floats(kind: FuncType) -> bool:
    """Whether the prepared module carries values of this type in another form."""
    params, results = kind.params, kind.results
    return F32 in params or F32 in results or crowded(params) or crowded(results)


class Control(BodyState):
    """The part of validation that opens, closes and leaves blocks."""

    def __init__(self, module: Module, limits: Limits) -> None:
        super().__init__(module, limits)
        self.with_floats = [with_floats(kind) for kind in module.types]
        found: dict[int, Handler] = {
            op.UNREACHABLE: self.unreachable,
            op.BLOCK: self.block,
            op.LOOP: self.loop,
            op.IF: self.if_,
            op.ELSE: self.else_,
            op.END: self.end_,
            op.BR: self.br,
            op.BR_IF: self.br_if,
            op.BR_TABLE: self.br_table,
            op.RETURN: self.return_,
            op.CALL: self.call,
            op.CALL_INDIRECT: self.call_indirect,
        }
        self.handlers = [found.get(code) for code in range(256)]

    # blocks

    def block(self, at: int, pos: int, cost: int) -> int:
        """`block`."""
        kind, pos = self.block_type(pos, at)
        self.open(kind, (op.BLOCK, self.raw, at, pos, cost, 0, (), kind))
        return pos

    def loop(self, at: int, pos: int, cost: int) -> int:
        """`loop`."""
        kind, pos = self.block_type(pos, at)
        self.note_copies()
        self.open(kind, (op.LOOP, self.raw, at, pos, cost, 0, (), kind))
        self.loops += 1
        self.loop_peak = max(self.loop_peak, self.loops)
        return pos

    def if_(self, at: int, pos: int, cost: int) -> int:
        """`if`."""
        kind, pos = self.block_type(pos, at)
        self.pop(I32, at)
        self.note_copies()
        self.open(kind, (op.IF, self.raw, at, pos, cost, 0, (), kind))
        return pos

    def open(self, kind: FuncType, fields: EventFields) -> None:
        """Begin a block."""
        code, at, stack = fields[0], fields[2], self.stack
        params, results = kind.params, kind.results
        if params or results:
            self.many(kind, at)
        if len(self.frames) > self.limits.nesting:
            raise self.over(f"more than {self.limits.nesting} nested blocks", at)
        live = self.live
        self.emit(fields)
        height = len(stack)
        self.frames.append(
            _tuple(Frame, (code, params if code == op.LOOP else results, results, params, height, self.height,
                           self.dead, live, self.loops))
        )  # fmt: skip
        self.blocks += 1
        self.height, self.dead = height, False
        stack.extend(params)

    def many(self, kind: FuncType, at: int) -> None:
        """What a block takes and gives."""
        params, results = kind.params, kind.results
        if params:
            self.note_copies()
            self.pop_all(params, at)
            if len(params) > self.limits.results:
                raise self.over(f"a block takes {len(params)} values, at most {self.limits.results}", at)
        if params or len(results) > 1:
            self.carry(len(params) + len(results), at)
        if with_floats(kind):
            self.floats = True

    def else_(self, at: int, pos: int, cost: int) -> int:
        """`else`."""
        frame = self.frames[-1]
        cost = self.close(frame, at, cost)
        if frame.op != op.IF:
            raise self.malformed("else outside an if", at)
        self.frames[-1] = frame._replace(op=op.ELSE)
        self.emit((op.ELSE, self.raw, at, pos, cost, 0, (), None))
        self.stack.extend(frame.params)
        self.dead = False
        return pos

    def end_(self, at: int, pos: int, cost: int) -> int:
        """`end`."""
        frame = self.frames.pop()
        code, _, results, params, _, outer_height, outer_dead, _, loops = frame
        cost = self.close(frame, at, cost)
        if code == op.IF and params != results:
            raise self.fail("an if without else has to leave what it takes", at)
        self.emit((op.END, self.raw, at, pos, cost, 0, (), None))
        self.height, self.dead, self.loops = outer_height, outer_dead, loops
        if results:
            self.stack.extend(results)
        return pos

    def close(self, frame: Frame, at: int, cost: int) -> int:
        """The end of an arm or a block; returns the cost of the span before that can run."""
        if frame.results:
            self.pop_all(frame.results, at)
        if len(self.stack) != self.height:
            raise self.fail(f"{len(self.stack) - self.height} operands are left at the end of a block", at)
        fell = self.live
        self.live = frame.live
        if fell:
            return cost
        self.raw = at
        return 0

    # branches

    def br(self, at: int, pos: int, cost: int) -> int:
        """`br`."""
        depth, pos = self.u32(pos)
        label = self.label(depth, at)
        if label:
            self.pop_all(label, at)
            if len(label) > 1:
                self.carry(len(label), at)
        self.emit((op.BR, self.raw, at, pos, cost, depth, (), None))
        self.cut()
        return pos

    def br_if(self, at: int, pos: int, cost: int) -> int:
        """`br_if`."""
        depth = self.data[pos]
        pos += 1
        if depth > 127 or pos > self.end:
            depth, pos = read_u32(self.data, pos - 1, self.end)
        stack = self.stack
        if len(stack) > self.height and stack[-1] == I32:
            stack.pop()
        else:
            self.pop(I32, at)
        label = self.label(depth, at)
        if label:
            self.pop_all(label, at)
            if len(label) > 1:
                self.carry(len(label), at)
            stack.extend(label)
        self.emit((op.BR_IF, self.raw, at, pos, cost, depth, (), None))
        return pos

    def br_table(self, at: int, pos: int, cost: int) -> int:
        """`br_table`."""
        count, pos = self.u32(pos)
        self.table_budget -= count
        if count > self.limits.br_table_entries:
            raise self.over(f"br_table of {count} entries, at most {self.limits.br_table_entries}", at)
        if self.table_budget < 0:
            raise self.over(f"br_tables of more than {self.limits.br_table_entries_total} entries together", at)
        self.pop(I32, at)
        targets: list[int] = []
        for _ in range(count + 1):
            depth, pos = self.u32(pos)
            targets.append(depth)
        default = self.label(targets[-1], at)
        if len(default) > 1:
            self.carry(len(default) * len(set(targets)), at)
        for depth in dict.fromkeys(targets):
            label = self.label(depth, at)
            if len(label) != len(default):
                raise self.fail("the targets of a br_table carry different numbers of values", at)
            kept = self.stack[self.height :]
            self.pop_all(label, at)
            self.stack[self.height :] = kept
        self.pop_all(default, at)
        self.emit((op.BR_TABLE, self.raw, at, pos, cost, targets[-1], tuple(targets), None))
        self.cut()
        return pos

    def return_(self, at: int, pos: int, cost: int) -> int:
        """`return`."""
        self.pop_all(self.frames[0].results, at)
        self.emit((op.RETURN, self.raw, at, pos, cost, 0, (), None))
        self.cut()
        return pos

    def unreachable(self, at: int, pos: int, cost: int) -> int:
        """`unreachable`."""
        self.emit((op.UNREACHABLE, self.raw, at, pos, cost, 0, (), None))
        self.cut()
        return pos

    # calls

    def call(self, at: int, pos: int, cost: int) -> int:
        """`call`."""
        index = self.data[pos]
        pos += 1
        if index > 127 or pos > self.end:
            index, pos = read_u32(self.data, pos - 1, self.end)
        if index >= len(self.module.func_types):
            raise self.fail(f"unknown function {index}", at)
        type_index = self.module.func_types[index]
        self.apply(self.module.types[type_index], at)
        if self.with_floats[type_index]:
            self.floats = True
        if self.live:
            self.calls.append(len(self.events))
        self.emit((op.CALL, self.raw, at, pos, cost, index, (), None))
        return pos

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
        if self.with_floats[index]:
            self.floats = True
        if self.live:
            self.calls.append(len(self.events))
        self.emit((op.CALL_INDIRECT, self.raw, at, pos, cost, index, (), None))
        return pos

    # notes for the passes to come

    def note_copies(self) -> None:
        """Where what lies on the stack is saved: there may be two copies of one 64-bit local."""
        stack = self.stack
        if len(stack) > 1 and (stack.count(I64) > 1 or stack.count(F64) > 1):
            self.copies = True
