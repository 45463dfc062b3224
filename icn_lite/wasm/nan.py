"""One body's floats: canonical NaNs where bits show, and f32 as integers where bits have to last.

The specification leaves the bits of computed NaNs open (§4.3.3). A computed value may be computed with and compared
as it is; before its bits show (a store, a reinterpretation, `neg`, `copysign`, a call, a return, a global) it is made
canonical, right behind the instruction that made it. The canonical form costs one instruction in the engine,
`min(x, inf)`: it gives the canonical NaN for any NaN and x for anything else. Engines that canonicalise by
themselves (wasmtime with its flag) agree. What only passes through keeps its bits, signalling NaNs too: `floatgraph`
says which values are held as integers for that.

A walk over the body notes where values flow, the graph is solved, and what follows is written down as `Edits`.
Fuel is counted before, from what the guest wrote, so that nothing here changes it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from icn_lite.wasm import opcodes as op
from icn_lite.wasm.body import FunctionCode
from icn_lite.wasm.edits import Edits
from icn_lite.wasm.events import Event
from icn_lite.wasm.floatgraph import BITS, CLEAN, COMPUTED, NO_FLOAT, PLAIN, RAW, Value
from icn_lite.wasm.floatwriter import Bitwise, FloatWriter, Opened
from icn_lite.wasm.leb import read_u32, write_u32
from icn_lite.wasm.lowered import ZERO, Lowered, crowded
from icn_lite.wasm.module import Module
from icn_lite.wasm.opcodes import F32, F64, I32
from icn_lite.wasm.types import FuncType

# What the table of instructions doesn't say of those that have a float on either side.
_ABS, _NEG, _COPYSIGN, _REINTERPRET = 1, 2, 3, 4
_ROLE: Final = {
    0x8B: _ABS, 0x99: _ABS, 0x8C: _NEG, 0x9A: _NEG, 0x98: _COPYSIGN, 0xA6: _COPYSIGN,
    0xBC: _REINTERPRET, 0xBD: _REINTERPRET,
}  # fmt: skip
# Where results come from: ceil floor trunc nearest sqrt add sub mul div of both widths, demote and promote compute;
# min and max are canonical in the engine, converted integers are no NaNs.
_ORIGIN: Final = {
    **dict.fromkeys((*range(0x8D, 0x96), *range(0x9B, 0xA4), 0xB6, 0xBB), COMPUTED),
    **dict.fromkeys((0x96, 0x97, 0xA4, 0xA5, *range(0xB2, 0xB6), *range(0xB7, 0xBB)), PLAIN),
    0xBE: RAW, 0xBF: CLEAN,
}  # fmt: skip
_FLOATS: Final = frozenset((F32, F64))
_NOTHING: Final = FuncType((), ())


class _Frame(NamedTuple):
    op: int
    height: int
    params: tuple[int, ...]
    results: tuple[int, ...]
    param_nodes: list[int]
    result_nodes: list[int]

    @property
    def label(self) -> list[int]:
        """The nodes that a branch goes to."""
        return self.param_nodes if self.op == op.LOOP else self.result_nodes

    @property
    def label_types(self) -> tuple[int, ...]:
        """The types that a branch carries."""
        return self.params if self.op == op.LOOP else self.results


class FloatPass(FloatWriter):
    """Walks one body that has to do with floats."""

    def __init__(self, module: Module, function: FunctionCode, lowered: Lowered) -> None:
        super().__init__(module.data, function, lowered)
        self.guest = module
        self.stack: list[Value | None] = []
        self.frames: list[_Frame] = []
        self.dead = False
        self.ends: list[int] = []  # where results go that are returned
        self.kept = len(function.type.params)
        self.shift = len(lowered.markers.get(function.type, ()))
        self.graph.next_node = len(function.locals)
        for i, value_type in enumerate(function.type.params):
            if value_type == F32:
                self.graph.hold_bits(i)
            elif value_type == F64:
                self.graph.clean.add(i)

    def run(self) -> tuple[FunctionCode, Edits]:
        """The body with its new types, and the changes to its instructions."""
        function = self.function
        results = function.type.results
        many = crowded(results)
        self.ends = [BITS if t == F32 or (t == F64 and many) else CLEAN if t == F64 else NO_FLOAT for t in results]
        self.frames.append(_Frame(op.BLOCK, 0, (), results, [], self.ends))
        for i, event in enumerate(function.events.unpack()):
            self.span(event.raw, event.at)
            self.event(i, event)
        self.write()
        own = self.lowered.types[function.type]
        events = function.events.with_types(self.kinds)
        local_types = [*own.params, *(self.local_type(i) for i in range(self.kept, len(function.locals)))]
        return replace(function, type=own, locals=local_types + self.temporaries, events=events), self.edits

    # the stack

    def flow(self, value: Value | None, node: int) -> None:
        """A value goes to a place."""
        if value is not None and node != NO_FLOAT:
            self.graph.flows.append((value, node))

    def flow_top(self, nodes: list[int]) -> None:
        """The topmost values go to places."""
        if nodes and not self.dead:
            for value, node in zip(self.stack[-len(nodes) :], nodes, strict=True):
                self.flow(value, node)

    def give(self, types: tuple[int, ...], nodes: list[int], event: int) -> None:
        """What an event leaves on the stack."""
        self.stack.extend(
            Value(t, node, j, event=event) if node != NO_FLOAT else None
            for j, (t, node) in enumerate(zip(types, nodes, strict=True))
        )
        if any(node != NO_FLOAT for node in nodes):
            self.gifts[event] = [(t, node) for t, node in zip(types, nodes, strict=True)]

    def nodes(self, types: tuple[int, ...]) -> list[int]:
        """New nodes for the values of a block."""
        many = crowded(types)
        found = [self.graph.node() if t in _FLOATS else NO_FLOAT for t in types]
        if many:
            for node in found:
                if node != NO_FLOAT:
                    self.graph.hold_bits(node)
        return found

    # events

    def event(self, i: int, event: Event) -> None:
        """The effect of an event."""
        code, stack = event.op, self.stack
        if code == op.BLOCK or code == op.LOOP or code == op.IF:
            self.open(i, event)
        elif code == op.END or code == op.ELSE:
            self.close(i, event)
        elif code == op.BR or code == op.BR_IF or code == op.BR_TABLE:
            if code != op.BR:
                stack.pop()
            self.branch(i, event)
        elif code == op.RETURN:
            self.flow_top(self.ends)
            self.dead = True
        elif code == op.CALL or code == op.CALL_INDIRECT:
            self.call(i, event)
        elif code == op.SELECT_T:
            self.select(i, -1)
        elif code == op.MEMORY_GROW:
            stack[-1] = None
        elif code == op.UNREACHABLE:
            self.dead = True
        elif code == op.EVENT_TABLE_SIZE:
            stack.append(None)
        elif code not in op.SILENT_EVENTS:
            del stack[-3:]

    def open(self, i: int, event: Event) -> None:
        """`block`, `loop`, `if`."""
        stack, kind = self.stack, event.type or _NOTHING
        if event.op == op.IF:
            stack.pop()
        params, results = self.nodes(kind.params), self.nodes(kind.results)
        if event.op == op.LOOP and len(results) == 1 and results[0] != NO_FLOAT:
            self.graph.hold_bits(results[0])  # when it is unrolled, branches carry it out
        self.flow_top(params)
        height = len(stack) - len(params)
        del stack[height:]
        self.frames.append(_Frame(event.op, height, kind.params, kind.results, params, results))
        self.give(kind.params, params, i)
        if any(node != NO_FLOAT for node in params + results):
            self.opened.append(Opened(i, kind, params, results))

    def close(self, i: int, event: Event) -> None:
        """`else`, `end`."""
        frame = self.frames[-1]
        self.flow_top(frame.result_nodes)
        del self.stack[frame.height :]
        self.dead = False
        if event.op == op.ELSE:
            self.frames[-1] = frame._replace(op=op.ELSE)
            self.give(frame.params, frame.param_nodes, i)
            return
        if frame.op == op.IF:
            # without an else, what the `if` takes is what it gives
            for taken, given in zip(frame.param_nodes, frame.result_nodes, strict=True):
                if taken != NO_FLOAT:
                    self.graph.unite(taken, given)
        self.frames.pop()
        if self.frames:
            self.give(frame.results, frame.result_nodes, i)

    def branch(self, i: int, event: Event) -> None:
        """`br`, `br_if`, `br_table`."""
        frame = self.frames[-1 - event.arg]
        label = self.ends if event.op == op.BR and len(self.frames) - 1 == event.arg else self.label(event.arg)
        if event.op == op.BR_TABLE and any(node != NO_FLOAT for node in label):
            for depth in set(event.targets):
                for one, other in zip(label, self.label(depth), strict=True):
                    if one != NO_FLOAT:
                        self.graph.unite(one, other)
        self.flow_top(label)
        if event.op == op.BR_IF:
            if label:
                del self.stack[len(self.stack) - len(label) :]
                self.give(frame.label_types, label, i)
        else:
            self.dead = True

    def label(self, depth: int) -> list[int]:
        """The nodes that a branch goes to. A block that is left with a float on top of other operands spoils those in
        the engine, so a float that a branch carries out of a block goes as an integer.
        """
        frame = self.frames[-1 - depth]
        label = frame.label
        if frame.op != op.LOOP and len(label) == 1 and label[0] != NO_FLOAT:
            if len(self.frames) - 1 > depth:
                self.graph.hold_bits(self.graph.find(label[0]))
            elif label[0] == CLEAN:
                # the function's own end: what is left conditionally becomes a block (`rewrite`)
                label = [self.graph.node()]
                self.graph.hold_bits(label[0])
                self.frames[0] = frame._replace(result_nodes=label)
                self.edits.wraps_result = True
        return label

    def call(self, i: int, event: Event) -> None:
        """`call`, `call_indirect`."""
        stack, module = self.stack, self.guest
        indirect = event.op == op.CALL_INDIRECT
        if indirect:
            stack.pop()
        kind = module.types[event.arg] if indirect else module.type_of(event.arg)
        self.flow_top([BITS if t == F32 else CLEAN if t == F64 else NO_FLOAT for t in kind.params])
        del stack[len(stack) - len(kind.params) :]
        many = crowded(kind.results)
        self.give(
            kind.results,
            [BITS if t == F32 or (t == F64 and many) else CLEAN if t == F64 else NO_FLOAT for t in kind.results],
            i,
        )
        markers = b"".join(ZERO[t] for t in self.lowered.markers.get(kind, ()))
        if markers and indirect:
            local = self.temporary(0, I32)  # the index stays on top
            self.edits.before[i] = b"\x21" + local + markers + b"\x20" + local
        elif markers:
            self.edits.before[i] = markers

    def select(self, event: int, pos: int) -> None:
        """Both values go to one."""
        stack = self.stack
        stack.pop()
        one, other = stack.pop(), stack.pop()
        value = one or other
        if value is None:
            stack.append(None)
            return
        node = self.graph.node()
        self.flow(one, node)
        self.flow(other, node)
        if event < 0:
            stack.append(Value(value.type, node, pos))
        else:
            self.give((value.type,), [node], event)

    # spans

    def span(self, pos: int, end: int) -> None:
        """Plain instructions."""
        data, stack, simple = self.data, self.stack, op.SIMPLE
        local_types, kept = self.function.locals, self.kept if self.shift else 1 << 32
        while pos < end:
            at = pos
            code = data[pos]
            pos += 1
            if code == 0x20 or code == 0x21 or code == 0x22:
                index = data[pos]
                pos += 1
                if index > 127:
                    index, pos = read_u32(data, pos - 1, end)
                if index >= kept:
                    self.edits.replace[at] = (pos, bytes((code,)) + write_u32(index + self.shift))
                if local_types[index] not in _FLOATS:
                    if code == 0x20:
                        stack.append(None)
                    elif code == 0x21:
                        stack.pop()
                elif code == 0x20:
                    stack.append(Value(local_types[index], index, pos))
                else:
                    self.flow(stack.pop(), index)
                    if code == 0x22:
                        stack.append(Value(local_types[index], index, pos))
                continue
            row = simple[code]
            if row is not None:
                if row[1] in _FLOATS or row[2] in _FLOATS:
                    self.float_op(code, row, at)
                else:
                    if row[0] == 2:
                        stack.pop()
                    stack[-1] = None
                continue
            pos = self.other(code, at, pos, end)

    def float_op(self, code: int, row: op.Row, at: int) -> None:
        """An instruction of the table with a float on either side."""
        stack = self.stack
        right = stack.pop() if row[0] == 2 else None
        left = stack.pop()
        role = _ROLE.get(code)
        if role is None:
            if left is not None:
                self.compute(left)
            if right is not None:
                self.compute(right)
            origin = _ORIGIN.get(code)
            if origin is None:
                stack.append(None)
            else:
                stack.append(Value(row[2], origin, at + 1, at if origin == RAW else -1))
        elif left is None:
            stack.append(None)  # no value that runs is unknown
        elif role == _REINTERPRET:
            self.sink(left, at)
            stack.append(None)
        else:
            node = self.graph.node()
            self.flow(left, node)
            if role != _ABS:
                self.graph.clean.add(node)  # a sign that was flipped or taken over shows that of a NaN
            if row[1] == F32:
                self.bitwise.append(Bitwise(code, at, node, left, right))
            elif right is not None:
                self.shown.append(right)
            stack.append(Value(row[2], node, at + 1))

    def other(self, code: int, at: int, pos: int, end: int) -> int:
        """Memory, constants, globals and the rest."""
        data, stack = self.data, self.stack
        if code == 0x41 or code == 0x42:
            while data[pos] > 127:
                pos += 1
            pos += 1
            stack.append(None)
        elif 0x28 <= code <= 0x3E:
            if data[pos] < 128 and data[pos + 1] < 128:
                pos += 2
            else:
                _, pos = read_u32(data, pos, end)
                _, pos = read_u32(data, pos, end)
            if code < 0x36:
                stack[-1] = (
                    Value(F32, RAW, pos, at) if code == 0x2A else Value(F64, CLEAN, pos) if code == 0x2B else None
                )
            else:
                value = stack.pop()
                stack.pop()
                if value is not None:
                    self.sink(value, at)
        elif code == op.F32_CONST:
            stack.append(Value(F32, _constant(data[pos : pos + 4], F32), pos + 4, at))
            pos += 4
        elif code == op.F64_CONST:
            stack.append(Value(F64, _constant(data[pos : pos + 8], F64), pos + 8))
            pos += 8
        elif code == op.GLOBAL_GET or code == op.GLOBAL_SET:
            index, pos = read_u32(data, pos, end)
            value_type = self.guest.globals[index].value_type
            place = BITS if value_type == F32 else CLEAN if value_type == F64 else NO_FLOAT
            if code == op.GLOBAL_SET:
                self.flow(stack.pop(), place)
            else:
                stack.append(None if place == NO_FLOAT else Value(value_type, place, pos))
        elif code == op.DROP:
            stack.pop()
        elif code == op.SELECT:
            self.select(-1, pos)
        elif code == op.MEMORY_SIZE:
            pos += 1
            stack.append(None)
        elif code == op.PREFIX:
            _, pos = read_u32(data, pos, end)
            value = stack.pop()
            if value is not None:
                self.compute(value)
            stack.append(None)
        return pos


def _constant(raw: bytes, value_type: int) -> int:
    """The origin of a constant: a NaN is what the guest wrote, and stays so."""
    number = int.from_bytes(raw, "little")
    infinity, quiet = (0x7F800000, 1 << 22) if value_type == F32 else (0x7FF0000000000000, 1 << 51)
    sign = 0x80000000 if value_type == F32 else 1 << 63
    if number & (sign - 1) <= infinity:
        return PLAIN
    return RAW if value_type == F32 and not number & quiet else CLEAN
