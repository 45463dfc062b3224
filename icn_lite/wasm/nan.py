"""Canonical NaNs where their bits can be seen (core specification §4.3.3 leaves the bits of computed NaNs open).

A value is *dirty* when it was computed and may be a NaN of any sign and payload. Dirty values may be computed with
and compared; before their bits show (a store, a reinterpretation, `neg`, `copysign`, a call, a return, a global, a
join of ways) they are made canonical, right behind the instruction that made them. What is only loaded, passed and
stored keeps its bits. A local is dirty when it is no parameter and everything ever set to it is computed or a plain
constant; a computed value that is set to any other local is made canonical first.

The canonical form costs one instruction in the engine, `min(x, inf)`: it gives the canonical NaN for any NaN and x
for anything else. Engines that canonicalise by themselves (wasmtime with its flag) agree.

One more repair: the engine keeps f32 in wider registers and quiets signalling NaNs on the way, so an f32 that is
loaded only to be stored goes as an i32.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from icn_lite.wasm import opcodes as op
from icn_lite.wasm.body import Event, FunctionCode
from icn_lite.wasm.leb import read_u32
from icn_lite.wasm.module import Module
from icn_lite.wasm.opcodes import F32, F64

CANONICAL: Final = {
    F32: b"\x43\x00\x00\x80\x7f\x96",  # f32.const inf; f32.min
    F64: b"\x44\x00\x00\x00\x00\x00\x00\xf0\x7f\xa4",  # f64.const inf; f64.min
}
# Origins of a value: computed, so dirty for certain; a plain constant, never dirty; or the local (>= 0) that decides.
_COMPUTED: Final = -1
_PLAIN: Final = -2
# ceil floor trunc nearest sqrt add sub mul div of both widths, demote, promote; min and max are canonical already
_MAKERS: Final = frozenset((*range(0x8D, 0x96), *range(0x9B, 0xA4), 0xB6, 0xBB))
# These show a bit of what they take: neg, copysign, reinterpret.
_SHOWING: Final = frozenset((0x8C, 0x9A, 0x98, 0xA6, 0xBC, 0xBD))
_FLOATS: Final = frozenset((F32, F64))


@dataclass(frozen=True, slots=True)
class Token:
    """A float on the operand stack that may be dirty: where to put the repair, and whence it came."""

    after: int
    type: int
    origin: int


@dataclass(slots=True)
class Load:
    """An f32 that was just loaded: the place of its opcode."""

    at: int


Entry = Token | Load | None


@dataclass(slots=True)
class Edits:
    """Changes inside plain spans: bytes to insert before an offset, opcodes to replace at one."""

    insert: dict[int, bytes] = field(default_factory=dict)
    replace: dict[int, int] = field(default_factory=dict)

    def places(self) -> list[int]:
        """All changed offsets, in order."""
        return sorted({*self.insert, *self.replace})

    def apply(self, data: bytes, start: int, end: int, places: list[int]) -> bytes:
        """`data[start:end]` with the changes; an insertion at `end` belongs to the span, one at `start` does not."""
        first = bisect_left(places, start)
        last = bisect_right(places, end)
        if first == last or start == end:
            return data[start:end]
        out: list[bytes] = []
        done = start
        for place in places[first:last]:
            if place in self.insert and place > start:
                out.append(data[done:place] + self.insert[place])
                done = place
            if place in self.replace and place < end:
                out.append(data[done:place] + bytes((self.replace[place],)))
                done = place + 1
        out.append(data[done:end])
        return b"".join(out)


class _Frame(NamedTuple):
    height: int
    label: tuple[int, ...]
    results: tuple[int, ...]
    params: tuple[int, ...]


class NanPass:
    """Walks one body that computes with floats."""

    def __init__(self, module: Module, function: FunctionCode) -> None:
        self.module = module
        self.function = function
        self.data = module.data
        self.stack: list[Entry] = []
        self.shown: list[Token] = []  # tokens whose bits are seen
        self.sets: list[tuple[int, Entry]] = []  # (local, value) with a value that may be dirty, or None if clean
        self.replace: dict[int, int] = {}

    def run(self) -> Edits:
        """Find all repairs of the body."""
        results = self.function.type.results
        frames = [_Frame(0, results, results, ())]
        for event in self.function.events:
            self.span(event.raw, event.at)
            self.event(event, frames)
        dirty = self.dirty_locals()
        insert: dict[int, bytes] = {}

        def repair(token: Token) -> None:
            if token.origin == _COMPUTED or token.origin in dirty:
                insert[token.after] = CANONICAL[token.type]

        for token in self.shown:
            repair(token)
        for local, value in self.sets:
            if local not in dirty and isinstance(value, Token):
                repair(value)
        return Edits(insert, self.replace)

    def dirty_locals(self) -> frozenset[int]:
        """The largest set of locals that only ever hold computed values (or zero)."""
        params = len(self.function.type.params)
        dirty = {
            i for i, t in enumerate(self.function.locals) if i >= params and t in _FLOATS
        }  # zero, which every local starts as, is no NaN
        clean_sets = {local for local, value in self.sets if not isinstance(value, Token)}
        dirty -= clean_sets
        users: dict[int, list[int]] = {}
        for local, value in self.sets:
            if isinstance(value, Token) and value.origin >= 0:
                users.setdefault(value.origin, []).append(local)
        work = [i for i in range(len(self.function.locals)) if i not in dirty]
        while work:
            for local in users.get(work.pop(), ()):
                if local in dirty:
                    dirty.discard(local)
                    work.append(local)
        return frozenset(dirty)

    def show(self, entry: Entry) -> None:
        """The bits of a value are seen here."""
        if isinstance(entry, Token):
            self.shown.append(entry)

    def show_top(self, count: int) -> None:
        """The bits of the topmost values are seen here."""
        for entry in self.stack[max(len(self.stack) - count, 0) :]:
            self.show(entry)

    def event(self, event: Event, frames: list[_Frame]) -> None:
        """The effect of an event on the stack."""
        code, stack = event.op, self.stack
        if code in (op.BLOCK, op.LOOP, op.IF):
            kind = event.type
            assert kind is not None
            if code == op.IF:
                stack.pop()
            self.show_top(len(kind.params))
            height = len(stack) - len(kind.params)
            stack[height:] = [None] * len(kind.params)
            label = kind.params if code == op.LOOP else kind.results
            frames.append(_Frame(height, label, kind.results, kind.params))
        elif code in (op.ELSE, op.END):
            frame = frames[-1]
            self.show_top(min(len(frame.results), max(len(stack) - frame.height, 0)))
            del stack[frame.height :]
            if code == op.END:
                frames.pop()
            stack.extend([None] * len(frame.results if code == op.END else frame.params))
        elif code in (op.BR, op.BR_IF, op.BR_TABLE):
            if code != op.BR:
                stack.pop()
            self.show_top(len(frames[-1 - event.arg].label))
        elif code == op.RETURN:
            self.show_top(len(frames[0].results))
        elif code in (op.CALL, op.CALL_INDIRECT):
            if code == op.CALL_INDIRECT:
                stack.pop()
            kind = self.module.type_of(event.arg) if code == op.CALL else self.module.types[event.arg]
            self.show_top(len(kind.params))
            del stack[len(stack) - len(kind.params) :]
            stack.extend([None] * len(kind.results))
        elif code == op.SELECT_T:
            self.select()
        elif code == op.MEMORY_GROW:
            stack[-1] = None
        elif code != op.EVENT_DATA_DROP and code != op.UNREACHABLE:
            del stack[-3:]

    def select(self) -> None:
        """Both values are made canonical where they were made."""
        self.show_top(3)
        del self.stack[-3:]
        self.stack.append(None)

    def span(self, pos: int, end: int) -> None:
        """Plain instructions."""
        data, stack, simple = self.data, self.stack, op.SIMPLE
        local_types = self.function.locals
        while pos < end:
            at = pos
            code = data[pos]
            pos += 1
            if code == 0x20 or code == 0x21 or code == 0x22:
                index = data[pos]
                pos += 1
                if index > 127:
                    index, pos = read_u32(data, pos - 1, end)
                if local_types[index] not in _FLOATS:
                    if code == 0x20:
                        stack.append(None)
                    elif code == 0x21:
                        stack.pop()
                elif code == 0x20:
                    stack.append(Token(pos, local_types[index], index))
                else:
                    self.sets.append((index, stack[-1]))
                    if code == 0x21:
                        stack.pop()
                    else:
                        stack[-1] = Token(pos, local_types[index], index)
                continue
            row = simple[code]
            if row is not None:
                if row[1] in _FLOATS or row[2] in _FLOATS:
                    self.float_op(code, row, pos)
                else:
                    if row[0] == 2:
                        stack.pop()
                    stack[-1] = None
                continue
            pos = self.other(code, at, pos, end)

    def float_op(self, code: int, row: op.Row, pos: int) -> None:
        """An instruction of the table with a float on either side."""
        stack = self.stack
        if code in _SHOWING:
            self.show_top(row[0])
        top = stack[-1]
        if row[0] == 2:
            stack.pop()
        if code in _MAKERS:
            stack[-1] = Token(pos, row[2], _COMPUTED)
        elif code in (0x8B, 0x99) and isinstance(top, Token):
            # abs is as dirty as what it takes, and canonical if it is
            stack[-1] = Token(pos, row[2], top.origin)
        else:
            stack[-1] = None

    def other(self, code: int, at: int, pos: int, end: int) -> int:
        """Memory, constants, globals and the rest."""
        data, stack = self.data, self.stack
        if code == 0x41 or code == 0x42:
            while data[pos] > 127:
                pos += 1
            pos += 1
            stack.append(None)
        elif 0x28 <= code <= 0x3E:
            _, pos = read_u32(data, pos, end)
            _, pos = read_u32(data, pos, end)
            if code < 0x36:
                stack[-1] = Load(at) if code == 0x2A else None
            else:
                value = stack[-1]
                self.show(value)
                if code == 0x38 and isinstance(value, Load):
                    self.replace[value.at], self.replace[at] = 0x28, 0x36
                del stack[-2:]
        elif code == op.F32_CONST:
            stack.append(_constant(data[pos : pos + 4], F32, pos + 4))
            pos += 4
        elif code == op.F64_CONST:
            stack.append(_constant(data[pos : pos + 8], F64, pos + 8))
            pos += 8
        elif code == op.GLOBAL_GET or code == op.GLOBAL_SET:
            _, pos = read_u32(data, pos, end)
            if code == op.GLOBAL_GET:
                stack.append(None)
            else:
                self.show(stack.pop())
        elif code == op.DROP:
            stack.pop()
        elif code == op.SELECT:
            self.select()
        elif code == op.MEMORY_SIZE:
            pos += 1
            stack.append(None)
        elif code == op.PREFIX:
            _, pos = read_u32(data, pos, end)
            stack[-1] = None
        return pos


def _constant(raw: bytes, value_type: int, after: int) -> Entry:
    """A constant that is no NaN may sit in a dirty local; a NaN is what the guest wrote and stays so."""
    number = int.from_bytes(raw, "little")
    infinity = 0x7F800000 if value_type == F32 else 0x7FF0000000000000
    sign = 0x80000000 if value_type == F32 else 1 << 63
    if number & (sign - 1) > infinity:
        return None
    return Token(after, value_type, _PLAIN)
