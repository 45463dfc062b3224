"""Copies of a local that the interpreter would give one place: the second one gets a place of its own.

`local.get` leaves no value in wasm3 but the local's own place. When the local is set, or a loop or an `if` begins,
what still lies on the operand stack is saved: all copies of one local to one new place, with a count. The count of a
64-bit value is wrong (its second half is not counted up, `IncrementSlotUsageCount` in m3_compile.c), so that half of
the place is given away with the first copy that goes. And a count ends at 255.

So every copy but the lowest that would be saved with another one becomes a value of its own, by an operation that
changes nothing behind its `local.get`. Compilers hardly ever write such code, so hardly anything is changed; bodies
without 64-bit locals are not looked at.
"""

from __future__ import annotations

from typing import Final

from icn_lite.wasm import opcodes as op
from icn_lite.wasm.body import FunctionCode
from icn_lite.wasm.edits import Edits
from icn_lite.wasm.events import Event
from icn_lite.wasm.leb import read_u32
from icn_lite.wasm.module import Module
from icn_lite.wasm.opcodes import F32, F64, I32, I64
from icn_lite.wasm.types import FuncType

COUNTED: Final = 200  # copies of one local at once that the engine counts safely, whatever their type
# What a value goes through to become one of its own: or with zero, as an integer, which keeps every bit.
_OWN: Final = {
    I32: b"\x41\x00\x72",
    I64: b"\x42\x00\x84",
    F32: b"\xbc\x41\x00\x72\xbe",
    F64: b"\xbd\x42\x00\x84\xbf",
}
_EXTRA_OPERANDS: Final = 1  # that such an operation has on the stack at once
_ENTERS: Final = (op.BLOCK, op.LOOP, op.IF)

Copy = list[int]  # [local or -1, offset behind its local.get]


def separate(module: Module, function: FunctionCode, edits: Edits | None) -> tuple[int, Edits | None]:
    """How many more operands there are at once, and the edits with what separates copies in this body.

    `function` is as the guest wrote it, `edits` what else is changed in it.
    """
    if not function.copies:
        return 0, edits
    found = _Walk(module, function, function.operand_peak > COUNTED).run()
    if not found:
        return 0, edits
    edits = edits or Edits()
    for place, value_type in found.items():
        edits.insert.setdefault(place, _OWN[value_type])  # what has been changed there is a value of its own already
    return _EXTRA_OPERANDS, edits


class _Walk:
    """One pass over a body with the copies of locals on its operand stack."""

    def __init__(self, module: Module, function: FunctionCode, crowded: bool) -> None:
        self.module = module
        self.data = module.data
        self.function = function
        types = function.locals
        self.watched = [crowded or t in (I64, F64) for t in types]
        self.stack: list[Copy | None] = []
        self.copies: dict[int, list[Copy]] = {}
        self.several: set[int] = set()
        self.frames: list[tuple[int, FuncType | None]] = []
        self.found: dict[int, int] = {}

    def run(self) -> dict[int, int]:
        """Offsets behind the `local.get`s to separate, with their types."""
        for event in self.function.events.unpack():
            self.span(event.raw, event.at)
            self.event(event)
        return self.found

    # the stack

    def pop(self) -> None:
        """One operand less; none in code that can't run."""
        if self.stack:
            copy = self.stack.pop()
            if copy is not None and copy[0] >= 0:
                self.copies[copy[0]].pop()

    def drop(self, count: int) -> None:
        """Some operands less."""
        for _ in range(count):
            self.pop()

    def get(self, index: int, pos: int) -> None:
        """A copy of a local that matters."""
        copy = [index, pos]
        self.stack.append(copy)
        held = self.copies.setdefault(index, [])
        held.append(copy)
        if len(held) > 1:
            self.several.add(index)

    def part(self, index: int) -> None:
        """The copies of a local are saved: each but the lowest on its own."""
        held = self.copies.get(index)
        if held is None or len(held) < 2:
            return
        value_type = self.function.locals[index]
        for copy in held[1:]:
            copy[0] = -1
            self.found[copy[1]] = value_type
        del held[1:]

    # instructions

    def span(self, pos: int, end: int) -> None:
        """Plain instructions."""
        data, stack, simple, watched = self.data, self.stack, op.SIMPLE, self.watched
        while pos < end:
            code = data[pos]
            pos += 1
            if code == 0x20 or code == 0x21 or code == 0x22:
                index = data[pos]
                pos += 1
                if index > 127:
                    index, pos = read_u32(data, pos - 1, end)
                if code == 0x20:
                    if watched[index]:
                        self.get(index, pos)
                    else:
                        stack.append(None)
                    continue
                if watched[index]:
                    self.part(index)
                if code == 0x21:
                    self.pop()
                continue
            row = simple[code]
            if row is not None:
                if row[0] == 2:
                    self.pop()
                self.pop()
                stack.append(None)
            elif code == 0x41 or code == 0x42:
                while data[pos] > 127:
                    pos += 1
                pos += 1
                stack.append(None)
            else:
                pos = self.other(code, pos, end)

    def other(self, code: int, pos: int, end: int) -> int:
        """Memory, float constants, globals and the rest."""
        if 0x28 <= code <= 0x3E:
            _, pos = read_u32(self.data, pos, end)
            _, pos = read_u32(self.data, pos, end)
            self.drop(1 if code < 0x36 else 2)
            pushes = code < 0x36
        elif code == op.F32_CONST or code == op.F64_CONST:
            pos += 4 if code == op.F32_CONST else 8
            pushes = True
        elif code == op.GLOBAL_GET or code == op.GLOBAL_SET:
            _, pos = read_u32(self.data, pos, end)
            pushes = code == op.GLOBAL_GET
            self.drop(not pushes)
        elif code == op.MEMORY_SIZE:
            pos += 1
            pushes = True
        elif code == op.PREFIX:  # a saturating conversion
            _, pos = read_u32(self.data, pos, end)
            self.drop(1)
            pushes = True
        else:
            self.drop({op.DROP: 1, op.SELECT: 3}.get(code, 0))
            pushes = code == op.SELECT
        if pushes:
            self.stack.append(None)
        return pos

    def event(self, event: Event) -> None:
        """The effect of an event."""
        code = event.op
        if code in _ENTERS:
            self.enter(event)
        elif code == op.END or code == op.ELSE:
            self.leave(event)
        elif code == op.CALL or code == op.CALL_INDIRECT:
            indirect = code == op.CALL_INDIRECT
            kind = self.module.types[event.arg] if indirect else self.module.type_of(event.arg)
            self.drop(len(kind.params) + indirect)
            self.stack.extend([None] * len(kind.results))
        elif code == op.BR_IF or code == op.MEMORY_GROW:
            self.pop()
            if code == op.MEMORY_GROW:
                self.stack.append(None)
        elif code == op.SELECT_T:
            self.drop(3)
            self.stack.append(None)
        elif code == op.EVENT_TABLE_SIZE:
            self.stack.append(None)
        elif code in (op.EVENT_MEMORY_COPY, op.EVENT_MEMORY_FILL, op.EVENT_MEMORY_INIT):
            self.drop(3)
        # `br`, `br_table`, `return`, `unreachable`: nothing runs before the end of the block

    def enter(self, event: Event) -> None:
        """`block`, `loop`, `if`: what the last two begin with is saved, and so are values that a block takes."""
        if event.op == op.IF:
            self.pop()
        params = len(event.type.params) if event.type else 0
        self.drop(params)
        if event.op != op.BLOCK or params:
            for index in self.several:
                self.part(index)
            self.several.clear()
        self.frames.append((len(self.stack), event.type))
        self.stack.extend([None] * params)

    def leave(self, event: Event) -> None:
        """`else`, `end`."""
        if not self.frames:
            return  # the body's own end
        height, kind = self.frames[-1]
        self.drop(len(self.stack) - height)
        if event.op == op.END:
            self.frames.pop()
        if kind is not None:
            self.stack.extend([None] * len(kind.params if event.op == op.ELSE else kind.results))
