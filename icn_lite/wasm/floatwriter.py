"""From what `nan` noted about a body's floats to the changes of its instructions.

A value is changed right behind the instruction that made it: first made canonical, then brought to the other form.
Where its maker can give the other form at once (a load, a constant, a reinterpretation), that is written instead. A
value that an event gave may lie under others; those are set aside in locals for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from icn_lite.wasm.body import FunctionCode
from icn_lite.wasm.edits import Edits
from icn_lite.wasm.floatgraph import BITS, NO_FLOAT, FloatGraph, Value
from icn_lite.wasm.leb import write_signed, write_u32
from icn_lite.wasm.lowered import Lowered
from icn_lite.wasm.opcodes import F32, F32_CONST, F64, I32, I64
from icn_lite.wasm.types import FuncType

CANONICAL: Final = {
    F32: b"\x43\x00\x00\x80\x7f\x96",  # f32.const inf; f32.min
    F64: b"\x44\x00\x00\x00\x00\x00\x00\xf0\x7f\xa4",  # f64.const inf; f64.min
}
_TO_BITS: Final = {F32: b"\xbc", F64: b"\xbd"}
_TO_FLOAT: Final = {F32: b"\xbe", F64: b"\xbf"}
_BITS: Final = {F32: I32, F64: I64}
_F32_LOAD: Final = 0x2A
# Instructions that take bits as well as floats: what they are for bits.
_FOR_BITS: Final = {0x38: b"\x36", 0x39: b"\x37", 0xBC: b"", 0xBD: b""}
# The same on the i32 of an f32: i32.const 0x7fffffff; i32.and, and so on.
_MAGNITUDE: Final = b"\x41\xff\xff\xff\xff\x07\x71"
_FLIPPED: Final = b"\x41\x80\x80\x80\x80\x78\x73"
_SIGN_OVER: Final = b"\x41\x80\x80\x80\x80\x78\x71\x72"
_F32_ABS, _F32_NEG, _F32_COPYSIGN = 0x8B, 0x8C, 0x98


@dataclass(slots=True)
class Opened:
    """A block that takes or gives floats."""

    event: int
    kind: FuncType
    params: list[int]
    results: list[int]


@dataclass(slots=True)
class Bitwise:
    """`f32.abs`, `f32.neg`, `f32.copysign`: they keep the bits of a NaN apart from its sign."""

    code: int
    at: int
    node: int
    left: Value
    right: Value | None


class FloatWriter:
    """What a walk notes, and how it is written."""

    def __init__(self, data: bytes, function: FunctionCode, lowered: Lowered) -> None:
        self.data = data
        self.function = function
        self.lowered = lowered
        self.graph = FloatGraph()
        self.edits = Edits()
        self.computed: list[Value] = []  # taken as floats, whatever their NaNs
        self.shown: list[Value] = []  # taken as floats, with their bits seen
        self.sinks: list[tuple[Value, int]] = []  # stored or reinterpreted by the instruction at an offset
        self.bitwise: list[Bitwise] = []
        self.opened: list[Opened] = []
        self.gifts: dict[int, list[tuple[int, int]]] = {}  # by event: types and nodes of what it leaves
        self.repairs: dict[int, dict[int, bytes]] = {}  # by event and position: what has to be done there
        self.kinds: dict[int, FuncType] = {}  # blocks whose type changes
        self.temporaries: list[int] = []
        self.slots: dict[tuple[int, int], bytes] = {}

    # notes

    def compute(self, value: Value) -> None:
        """A value goes into arithmetic."""
        if value.node >= 0 or value.node == BITS:
            self.computed.append(value)

    def sink(self, value: Value, at: int) -> None:
        """A value goes into memory or into an integer."""
        self.sinks.append((value, at))
        if value.node >= 0:
            self.graph.seen.add(self.graph.find(value.node))

    # writing

    def write(self) -> None:
        """Solve the graph and write down all changes."""
        graph = self.graph
        graph.solve()
        for value, node in graph.flows:
            if graph.is_clean(node):
                self.make_canonical(value)
            self.convert(value, graph.is_bits(node))
        for value in self.computed:
            self.convert(value, False)
        for value in self.shown:
            self.make_canonical(value)
            self.convert(value, False)
        for value, at in self.sinks:
            if graph.is_bits(value.node) or value.at >= 0:
                self.convert(value, True)
                self.edits.replace[at] = (at + 1, _FOR_BITS[self.data[at]])
            else:
                self.make_canonical(value)
        for item in self.bitwise:
            self.write_bitwise(item)
        for block in self.opened:
            self.write_block(block)
        for event, repairs in self.repairs.items():
            self.edits.after[event] = self.rearranged(event, repairs)

    def local_type(self, index: int) -> int:
        """The type of a local in the prepared module."""
        value_type = self.function.locals[index]
        return I32 if value_type == F32 and self.graph.is_bits(index) else value_type

    def make_canonical(self, value: Value) -> None:
        """Make a dirty value canonical."""
        if self.graph.is_dirty(value):
            self.behind(value, CANONICAL[value.type])

    def convert(self, value: Value, bits: bool) -> None:
        """Bring a value to a form."""
        if value.at >= 0:
            if bits:
                self.edits.replace[value.at] = self.as_bits(value)
        elif self.graph.is_bits(value.node) != bits:
            self.behind(value, (_TO_BITS if bits else _TO_FLOAT)[value.type])

    def as_bits(self, value: Value) -> tuple[int, bytes]:
        """The maker of a value, written so that it gives an integer."""
        at = value.at
        code = self.data[at]
        if code == F32_CONST:
            bits = int.from_bytes(self.data[at + 1 : at + 5], "little", signed=True)
            return at + 5, b"\x41" + write_signed(bits)
        return at + 1, b"\x28" if code == _F32_LOAD else b""  # i32.load, or the integer that was reinterpreted

    def behind(self, value: Value, code: bytes) -> None:
        """Write something behind the instruction that made a value."""
        if value.event < 0:
            self.edits.insert[value.place] = self.edits.insert.get(value.place, b"") + code
        else:
            repairs = self.repairs.setdefault(value.event, {})
            repairs[value.place] = repairs.get(value.place, b"") + code

    def write_bitwise(self, item: Bitwise) -> None:
        """`abs`, `neg`, `copysign` in the form that their result has; the left operand has it by now."""
        bits = self.graph.is_bits(item.node)
        if item.right is not None:
            self.make_canonical(item.right)
            self.convert(item.right, bits)
        if not bits:
            return
        if item.code == _F32_COPYSIGN:
            self.behind(item.left, _MAGNITUDE)
        code = {_F32_ABS: _MAGNITUDE, _F32_NEG: _FLIPPED, _F32_COPYSIGN: _SIGN_OVER}[item.code]
        self.edits.replace[item.at] = (item.at + 1, code)

    def form(self, value_type: int, node: int) -> int:
        """The type in the prepared module of a value at a place."""
        return _BITS[value_type] if node != NO_FLOAT and self.graph.is_bits(node) else value_type

    def write_block(self, block: Opened) -> None:
        """The type of a block, if it changes."""
        kind = FuncType(
            tuple(map(self.form, block.kind.params, block.params)),
            tuple(map(self.form, block.kind.results, block.results)),
        )
        own = self.lowered.types.get(block.kind, block.kind)
        if kind != block.kind or own != block.kind:  # its number in the type section may mean something else by now
            self.kinds[block.event] = kind
            self.edits.headers[block.event] = self.lowered.block_type(kind)

    # values that lie under others

    def rearranged(self, event: int, repairs: dict[int, bytes]) -> bytes:
        """The repairs behind an event, with what lies on top set aside."""
        gifts = self.gifts[event]
        lowest = min(repairs)
        above = [self.temporary(j, self.form(*gifts[j])) for j in range(lowest + 1, len(gifts))]
        out = [b"\x21" + local for local in reversed(above)]
        out.append(repairs[lowest])
        for j, local in enumerate(above, lowest + 1):
            out.append(b"\x20" + local + repairs.get(j, b""))
        return b"".join(out)

    def temporary(self, position: int, value_type: int) -> bytes:
        """A local for one value that is set aside; returns its encoded index."""
        found = self.slots.get((position, value_type))
        if found is None:
            markers = self.lowered.markers.get(self.function.type, ())
            found = write_u32(len(self.function.locals) + len(markers) + len(self.temporaries))
            self.slots[position, value_type] = found
            self.temporaries.append(value_type)
        return found
