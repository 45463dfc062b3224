"""Where the floats of one body come from and go to, and what follows for their form and their NaNs.

Nodes are the places that several values meet in: locals, the values that a block takes or gives, the results of
`select`, `abs`, `neg` and `copysign`. A value on the operand stack belongs to a node, or to one of the origins below.

Two questions are answered for all nodes at once, each by following the flows to a fixed point.

*Form.* The interpreter keeps an f32 in a register twice as wide, and a signalling NaN turns quiet on its way there.
So an f32 that may be such a NaN (`raw`: it was loaded, reinterpreted, given by others) and whose bits matter to
somebody (`seen`: it is stored, reinterpreted, given to others) is held as the i32 of the same bits. A value that was
computed is never a signalling NaN, so changing its form by a reinterpretation is exact; the NaN-ness of a value that
is only computed with needs no bits.

*NaNs.* A value is dirty when it was computed and may be a NaN of any sign and payload. A node where only such values
and plain ones (no NaN, or a canonical one) meet stays dirty; where one of them meets a value whose bits have to be
kept (`clean`), it is made canonical before it goes there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from icn_lite.wasm.opcodes import F32

# Origins of values that belong to no node, and places that values go to for good.
COMPUTED: Final = -1  # by arithmetic: dirty
PLAIN: Final = -2  # canonical, or no NaN
CLEAN: Final = -3  # bits to keep, in a float; as a place: a float whose bits are seen
RAW: Final = -4  # an f32 that its instruction can give in either form
BITS: Final = -5  # bits to keep, in an integer; as a place: an integer
NO_FLOAT: Final = -6


@dataclass(slots=True)
class Value:
    """A float on the operand stack. It is taken from there once, so that it can be changed right behind its maker."""

    type: int
    node: int
    place: int  # offset behind the instruction that made it, or its position among what an event gave
    at: int = -1  # that instruction, where it can be written so that it gives the bits at once
    event: int = -1  # the event that gave it


@dataclass(slots=True)
class FloatGraph:
    """Filled while a body is walked, then solved once."""

    flows: list[tuple[Value, int]] = field(default_factory=list)
    raw: set[int] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)
    clean: set[int] = field(default_factory=set)
    dirty: set[int] = field(default_factory=set)
    bits: set[int] = field(default_factory=set)  # nodes held as integers
    parents: dict[int, int] = field(default_factory=dict)
    next_node: int = 0

    def node(self) -> int:
        """A new node."""
        self.next_node += 1
        return self.next_node - 1

    def find(self, node: int) -> int:
        """The node that stands for all that were united with one."""
        parents = self.parents
        if not parents:
            return node
        while (parent := parents.get(node, node)) != node:
            parents[node] = parents.get(parent, parent)
            node = parent
        return node

    def unite(self, one: int, other: int) -> None:
        """Two places that have to have one form."""
        one, other = self.find(one), self.find(other)
        if one == other:
            return
        if one < 0:
            one, other = other, one
        if other == BITS:
            self.hold_bits(one)
        elif other == CLEAN:
            self.clean.add(one)
        else:
            self.parents[other] = one
            for marks in (self.raw, self.seen, self.clean, self.bits):
                if other in marks:
                    marks.add(one)

    def hold_bits(self, node: int) -> None:
        """A place that others see as an integer."""
        self.bits.add(node)
        self.raw.add(node)
        self.seen.add(node)
        self.clean.add(node)

    def solve(self) -> None:
        """Find what holds for every node."""
        onward: dict[int, list[int]] = {}
        back: dict[int, list[int]] = {}
        singles: set[int] = set()
        for value, to in self.flows:
            target, origin = self.find(to), self.find(value.node)
            if target >= 0 and value.type == F32:
                singles.add(target)
            if origin >= 0 and target >= 0:
                onward.setdefault(origin, []).append(target)
                back.setdefault(target, []).append(origin)
            elif target >= 0:
                self.arrive(origin, target, value.type)
            elif target == BITS and origin >= 0:
                self.seen.add(origin)
        for marks, ways in ((self.raw, onward), (self.seen, back), (self.clean, onward), (self.dirty, onward)):
            _spread(marks, ways)
        self.dirty -= self.clean
        self.bits |= self.raw & self.seen & singles

    def arrive(self, origin: int, target: int, value_type: int) -> None:
        """A value without a node comes to one."""
        if origin == COMPUTED:
            self.dirty.add(target)
        elif origin != PLAIN:
            self.clean.add(target)
            if origin != CLEAN and value_type == F32:
                self.raw.add(target)

    def is_dirty(self, value: Value) -> bool:
        """Whether a value may be a NaN that is not canonical."""
        return value.node == COMPUTED or (value.node >= 0 and self.find(value.node) in self.dirty)

    def is_clean(self, node: int) -> bool:
        """Whether a place asks for canonical NaNs."""
        return node < 0 or self.find(node) in self.clean

    def is_bits(self, node: int) -> bool:
        """Whether a place holds integers."""
        return node == BITS or (node >= 0 and self.find(node) in self.bits)


def _spread(marks: set[int], ways: dict[int, list[int]]) -> None:
    """Add to the marked nodes all that can be reached from them."""
    work: list[int] = list(marks)
    while work:
        reached: Iterable[int] = ways.get(work.pop(), ())
        for node in reached:
            if node not in marks:
                marks.add(node)
                work.append(node)
