"""The loops of a body, and which of them are written several times over.

A loop can be unrolled when nothing in it looks at the counter of fuel (no call, no growth, no bulk work), when no
other loop stands in it, and when no branch out of it needs more than a refund on its way: values that a conditional
branch would take along, or a `br_table` that may leave. A loop whose rounds are known when it begins (`counted`) is
not: it is charged once, and left as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from icn_lite.wasm import opcodes as op
from icn_lite.wasm.body import FunctionCode
from icn_lite.wasm.counted import Rounds, Writes
from icn_lite.wasm.events import Event

# Bytes of a loop's body, and how often it is written. Each copy more saves less, and from the last one back to the
# first is a jump that the host predicts worse, so longer loops and more copies lose again what they save.
UNROLL: Final = ((60, 3), (450, 1))
# Exits are looked at with every block around them: this bounds that product in a single loop.
UNROLLED_EXITS: Final = 64
UNROLLED_NESTING: Final = 32
_PLAIN: Final = frozenset(
    (op.BLOCK, op.IF, op.ELSE, op.END, op.LOOP, op.BR, op.BR_IF, op.BR_TABLE, op.RETURN, op.UNREACHABLE, op.SELECT_T)
)
_NO_FRAME: Final = 1 << 30

# What copies may add to a module: so much, and as much again as its code has.
GROWTH_BYTES: Final = 65536
# Charges, checks, refunds and frames of one copy, in bytes.
COPY_BYTES: Final = 40


@dataclass(slots=True)
class Growth:
    """Bytes that unrolling may still add to the module at hand."""

    left: int


@dataclass(slots=True)
class Loop:
    """One loop: its `end`, whether some branch returns to its head, and how often its body is written."""

    end: int = 0
    repeated: bool = False
    copies: int = 0  # 0: as the guest wrote it, charged at its head
    plain: bool = True
    exits: int = 0
    backs: int = 0  # ways back to its head
    rounds: Rounds | None = None  # how often it runs, if that is known when it begins


@dataclass(slots=True)
class _Frame:
    op: int
    at: int
    carries: bool  # whether a branch to it takes values along
    lowest: int = _NO_FRAME  # outermost frame that a way out of it leads to


def find_loops(
    data: bytes, function: FunctionCode, events: Sequence[Event], ending_calls: frozenset[int], growth: Growth
) -> dict[int, Loop]:
    """All loops by their event."""
    loops: dict[int, Loop] = {}
    if not function.loop_nesting:
        return loops
    frames = [_Frame(op.BLOCK, -1, bool(function.type.results))]
    inside: list[tuple[int, int]] = []  # loops around: (event, frame)
    counting = _Counting(data, events)
    for i, event in enumerate(events):
        code = event.op
        if code == op.BLOCK or code == op.IF or code == op.LOOP:
            frames.append(_Frame(code, i, _carries(event)))
            if inside and (code == op.LOOP or len(frames) - inside[-1][1] > UNROLLED_NESTING):
                loops[inside[-1][0]].plain = False
            if code == op.LOOP:
                kind = event.type
                loops[i] = Loop(plain=kind is None or not kind.params)
                inside.append((i, len(frames) - 1))
        elif code == op.END:
            frame = frames.pop()
            if not inside:
                continue
            frames[-1].lowest = min(frames[-1].lowest, frame.lowest)
            if frame.op == op.LOOP:
                loop = loops[frame.at]
                loop.end = i
                if loop.backs == 1 and frame.lowest >= len(frames):
                    loop.rounds = counting.rounds(inside[0][0], frame.at, i)
                inside.pop()
                if loop.rounds is None:
                    _decide(loop, event.at - events[frame.at].end, growth)
                if inside:
                    loops[inside[-1][0]].plain = False
        elif not inside or code == op.ELSE:
            continue
        elif code == op.BR or code == op.BR_IF or code == op.BR_TABLE:
            for depth in event.targets or (event.arg,):
                index = len(frames) - 1 - depth
                target = frames[index]
                frames[-1].lowest = min(frames[-1].lowest, index)
                if target.op == op.LOOP:
                    loops[target.at].repeated = True
                    loops[target.at].backs += 1
                if index < inside[-1][1]:
                    loop = loops[inside[-1][0]]
                    loop.exits += 1
                    if code == op.BR_TABLE or (code == op.BR_IF and target.carries):
                        loop.plain = False
        else:
            if code == op.RETURN or i in ending_calls:
                frames[-1].lowest = -1
            if code not in _PLAIN:
                loops[inside[-1][0]].plain = False
    return loops


class _Counting:
    """Looks at the locals of a body when the first loop asks for it."""

    def __init__(self, data: bytes, events: Sequence[Event]) -> None:
        self.data = data
        self.events = events
        self.writes: Writes | None = None

    def rounds(self, outermost: int, head: int, end: int) -> Rounds | None:
        """How often a loop runs whose only way out is its end, and that has one way back."""
        tail = self.events[end - 1]
        if tail.op != op.BR_IF or tail.arg != 0 or (kind := self.events[head].type) is None or kind.params:
            return None
        if self.writes is None:
            self.writes = Writes(self.data, self.events)
        self.writes.read(outermost, end - 1)
        return self.writes.rounds(head, end - 1)


def _carries(event: Event) -> bool:
    kind = event.type
    return kind is not None and bool(kind.params if event.op == op.LOOP else kind.results)


def _decide(loop: Loop, size: int, growth: Growth) -> None:
    """How often the body is written, now that all of it is known."""
    if loop.plain and loop.repeated and loop.exits <= UNROLLED_EXITS:
        copies = next((copies for most, copies in UNROLL if size <= most), 0)
        added = copies * (size + COPY_BYTES)
        if copies and added <= growth.left:
            growth.left -= added
            loop.copies = copies
