"""Structured control, branches and calls (core specification §3.3.8)."""

from __future__ import annotations

from icn_lite.wasm import opcodes as op
from icn_lite.wasm.body import BodyState, Event, Frame
from icn_lite.wasm.lowered import crowded
from icn_lite.wasm.opcodes import F32, I32
from icn_lite.wasm.types import FuncType


class Control(BodyState):
    """The part of validation that opens, closes and leaves blocks."""

    def control(self, code: int, at: int, pos: int, cost: int) -> int:
        """Structured control, branches and calls; returns the next position."""
        if len(self.stack) > self.limits.operands:
            # here and not only at the body's end, so that no instruction ever works on a long stack
            raise self.over(f"{len(self.stack)} operands at once, at most {self.limits.operands}", at)
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
            if len(label) > 1:
                self.carry(len(label), at)
            self.emit(Event(code, self.raw, at, pos, cost, depth))
            if code == op.BR:
                self.cut()
            else:
                self.stack.extend(label)
        elif code == op.CALL:
            index, pos = self.u32(pos)
            if index >= len(self.module.func_types):
                raise self.fail(f"unknown function {index}", at)
            func_type = self.module.type_of(index)
            self.apply(func_type, at)
            self.note_floats(func_type)
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
        if len(block_type.params) > self.limits.results:
            raise self.over(f"a block takes {len(block_type.params)} values, at most {self.limits.results}", at)
        if block_type.params or len(block_type.results) > 1:
            self.carry(len(block_type.params) + len(block_type.results), at)
        if len(self.frames) > self.limits.nesting:
            raise self.over(f"more than {self.limits.nesting} nested blocks", at)
        self.note_floats(block_type)
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
        self.note_floats(self.module.types[index])
        self.emit(Event(op.CALL_INDIRECT, self.raw, at, pos, cost, index))
        return pos

    def note_floats(self, kind: FuncType) -> None:
        """Values that the prepared module carries in another form."""
        params, results = kind.params, kind.results
        if F32 in params or F32 in results or crowded(params) or crowded(results):
            self.floats = True

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
        self.emit(Event(op.BR_TABLE, self.raw, at, pos, cost, targets[-1], tuple(targets)))
        self.cut()
        return pos
