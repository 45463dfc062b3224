"""Fuel analysis of one body: which costs belong together, and where they are charged.

The algorithm. Costs are summed into *points*. A point is the place after one event (or the function's entry, -1)
from which all the instructions that are charged there run together, unless the run traps. Walking the events in
order: a branch that may be taken opens a point behind it; `if`, `else` and `loop` open one for their arm or body;
the `end` of a block goes on with the point from before the block when no branch inside leaves past that end (a
*dominator join*), and opens a point when one does. What both arms of an `if` cost at least is charged before it; so it
is where compilers write the two ways as a block, left by `br_if` for one of them and by other means after the other.

    local.get 0        ;; 1 ┐
    if                 ;; 1 │ entry: 1 + 1 + 1 + 1 = 4, the entry itself costs 1
      i32.const 1      ;;   │ point `if`: 2
      call 7           ;;   │
    end                ;;   │
    i32.const 2        ;; 1 │
    drop               ;; 0 ┘

So a charge may run ahead of what it pays for, but never ahead of something that a completing run skips. Calls don't
interrupt a point, except calls that may end the run (`proc_exit`): after those nothing is certain.

Loops that the writer unrolls go further. There a branch out of the loop does not open a point: the whole way from
the head to the back edge is charged at once, and the branch gives back what it skips (`refunds`). The first round of
all copies is even charged at the point before the loop (`ahead`), unless a call stands between. What is charged
ahead like this may never be spent, so whoever looks at the counter in the meantime allows for it (`pending`), and a
run that has enough is never stopped.

Loops whose rounds are known when they begin (`counted`) are left as they are, and charge nothing inside: all rounds
of what always runs in them stand before the loop. Where the number is a constant, it is one more constant of the
point around, so nests of such loops cost nothing at all. Otherwise the first round is charged at the point around
and the writer takes the others by the values of the locals (`counted`), and looks at the counter. All of it is
certain to be spent by a run that completes, so checks anywhere stay exact.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Final

from icn_lite.wasm import opcodes as op
from icn_lite.wasm.body import FunctionCode
from icn_lite.wasm.counted import Rounds
from icn_lite.wasm.loops import Growth, find_loops

ENTRY: Final = -1
NONE: Final[frozenset[int]] = frozenset()
_NO_FRAME: Final = 1 << 30
# Fuel of an event itself (`icn-fuel-1`, as wasmtime counts): control is free, what decides or calls is not.
OWN_COST: Final[dict[int, int]] = {
    op.UNREACHABLE: 0, op.BLOCK: 0, op.LOOP: 0, op.ELSE: 0, op.END: 0, op.RETURN: 0,
    op.IF: 1, op.BR: 1, op.BR_IF: 1, op.BR_TABLE: 1, op.CALL: 1, op.CALL_INDIRECT: 1,
    op.SELECT_T: 1, op.MEMORY_GROW: 1,
    op.EVENT_MEMORY_INIT: 1, op.EVENT_DATA_DROP: 1, op.EVENT_MEMORY_COPY: 1, op.EVENT_MEMORY_FILL: 1,
    op.EVENT_ELEM_DROP: 1, op.EVENT_TABLE_SIZE: 1,
}  # fmt: skip
# After these, control never goes on to the next instruction.
_ENDING: Final = frozenset((op.BR, op.BR_TABLE, op.RETURN))
# Behind these, others read or change the counter.
LOOKING: Final = frozenset(
    (op.CALL, op.CALL_INDIRECT, op.MEMORY_GROW, op.EVENT_MEMORY_INIT, op.EVENT_MEMORY_COPY, op.EVENT_MEMORY_FILL)
)
# A loop of constant rounds looks at the counter before it runs if it costs more than this, in fuel.
UNCHECKED_LOOP_FUEL: Final = 1024
# Sums stay below 64 bits. A callee costs at most `plan.FOLDED_FUEL` (2^20). All rounds of a loop of constant rounds:
LOOP_FUEL: Final = 1 << 40
LOOP_CALLS: Final = 1 << 20
# One round of a loop whose rounds, at most 2^32, are known when it begins:
ROUND_FUEL: Final = 1 << 20
ROUND_CALLS: Final = 1 << 10
# Callees of a loop: they are carried over to every loop around.
LOOP_CALLEES: Final = 16


@dataclass(slots=True)
class Flow:
    """Result: fuel by point, calls by point, and the shape that the writer needs.

    Those of a whole module are held at once, and an empty set takes 216 bytes: so all that are empty are one.
    """

    charges: dict[int, int] = field(default_factory=dict)
    # (point, function index or -1 - type index, how often)
    calls: list[tuple[int, int, int]] = field(default_factory=list)
    repeated: Set[int] = NONE  # `loop` events that look at the counter in every round
    counted: dict[int, Rounds] = field(default_factory=dict)  # loops whose further rounds are charged before them
    checked: Set[int] = NONE  # loops of constant rounds that look at the counter before
    inner: Set[int] = NONE  # points that are charged again and again, in loops
    copies: dict[int, int] = field(default_factory=dict)  # `loop` event -> how often its body is written
    ends: dict[int, int] = field(default_factory=dict)  # `loop` event -> its `end`
    refunds: dict[int, int] = field(default_factory=dict)  # exits of unrolled loops -> fuel that they skip
    ahead: dict[int, int] = field(default_factory=dict)  # by point: first rounds of unrolled loops
    late: Set[int] = NONE  # unrolled loops whose first round is charged at their own entry
    pending: dict[int, int] = field(default_factory=dict)  # by event: how much of the counter was charged ahead
    leaves_by_branch: bool = False  # a conditional branch to the outermost label


@dataclass(slots=True)
class _Frame:
    op: int
    at: int  # its event
    point: int  # where charging goes on after an end that is always reached
    lowest: int  # outermost frame that a branch inside goes to
    other: int  # the `else` event
    first: int | None = None  # where the first branch to the end of this block stands
    chain: int | None = None  # the last such branch; None when one of them is not the other way of the one before
    shared: list[tuple[int, int, int]] | None = None  # (point, two ways that lead from it)


class _Analysis:
    """State of `analyse`."""

    def __init__(self, data: bytes, function: FunctionCode, ending_calls: frozenset[int], growth: Growth) -> None:
        self.events = function.events.unpack()
        self.ending = ending_calls
        self.flow = Flow()
        loops = find_loops(data, function, self.events, ending_calls, growth)
        self.rounds_of = {at: loop.rounds for at, loop in loops.items() if loop.rounds is not None}
        self.repeated = {at for at, loop in loops.items() if loop.repeated}
        self.inner: set[int] = set()
        self.late: set[int] = set()
        self.flow.copies = {at: loop.copies for at, loop in loops.items() if loop.copies}
        self.flow.ends = {at: loop.end for at, loop in loops.items()}
        self.frames = [_Frame(op.BLOCK, ENTRY, ENTRY, _NO_FRAME, 0)]
        self.point = ENTRY
        self.unrolled = _NO_FRAME  # frame of the unrolled loop that we are in
        self.left_to = _NO_FRAME  # outermost frame that its exits go to
        self.rounds: list[tuple[int, int, int]] = []  # (point before an unrolled loop, loop, cost of a round)
        self.exits: list[tuple[int, dict[int, int]]] = []  # exit -> cost so far of every point it stands under
        self.calls: dict[int, dict[int, int]] = {}  # point -> as in `Flow.calls` -> how often
        self.large: dict[int, list[int]] = {}  # point -> loops of constant rounds to check before
        self.looping = 0  # loops around

    def run(self) -> Flow:
        """Walk the events."""
        flow, charges, own, frames = self.flow, self.flow.charges, OWN_COST, self.frames
        copies, inner, rounds_of = flow.copies, self.inner, self.rounds_of
        charges[ENTRY] = 1
        for i, (code, _, _, _, cost, arg, targets, _) in enumerate(self.events):
            cost += own[code]
            if cost:
                point = self.point
                charges[point] = charges.get(point, 0) + cost
            if code == op.END:
                if len(frames) == 1:
                    self.share(frames[0])
                    break
                self.close(i)
            elif code == op.BLOCK:
                frames.append(_Frame(code, i, self.point, _NO_FRAME, 0))
                continue
            elif code == op.BR or code == op.BR_IF:
                self.branch(i, arg, code == op.BR_IF)
            elif code == op.CALL or code == op.CALL_INDIRECT:
                self.call(i, arg if code == op.CALL else -1 - arg)
            elif code == op.IF or code == op.LOOP:
                frames.append(_Frame(code, i, self.point, _NO_FRAME, 0))
                self.point = i
                if code == op.LOOP:
                    self.looping += 1
                    if i in copies:
                        self.unrolled, self.left_to = len(frames) - 1, _NO_FRAME
            elif code == op.ELSE:
                self.point = frames[-1].other = i
            elif code == op.BR_TABLE:
                for depth in set(targets):
                    self.branch(i, depth, True)
            elif code == op.RETURN or code == op.UNREACHABLE:
                self.leave(i, code)
            if self.looping and self.point == i and self.looping > (i in rounds_of):
                inner.add(i)
        self.spread()
        flow.calls = [(p, callee, n) for p, called in self.calls.items() for callee, n in called.items()]
        flow.checked = {loop for loops in self.large.values() for loop in loops} or NONE
        flow.repeated, flow.inner, flow.late = self.repeated or NONE, inner or NONE, self.late or NONE
        return flow

    def call(self, i: int, callee: int) -> None:
        """A call, as in `Flow.calls`."""
        called = self.calls.setdefault(self.point, {})
        called[callee] = called.get(callee, 0) + 1
        if i in self.ending:
            self.frames[-1].lowest = -1
            self.point = i

    def spread(self) -> None:
        """Charge first rounds at the point before the loop, where nobody else looks at the counter in between."""
        flow, count = self.flow, len(self.events)
        if not self.rounds:
            return
        looks = [0] * (count + 1)
        for i, event in enumerate(self.events):
            looks[i + 1] = looks[i] + (event.op in LOOKING)
        change = [0] * (count + 1)
        for point, loop, amount in self.rounds:
            if looks[loop] != looks[point + 1]:
                self.late.add(loop)
                continue
            flow.ahead[point] = flow.ahead.get(point, 0) + amount
            change[point + 1] += amount
            change[loop] -= amount
        total = 0
        for i in range(count):
            total += change[i]
            if total:
                flow.pending[i] = total

    def leave(self, i: int, code: int) -> None:
        """`return`, `unreachable`."""
        if self.unrolled < len(self.frames):
            if code == op.RETURN:
                self.left_to = 0
            self.note_exit(i)
        elif code == op.RETURN:
            self.frames[-1].lowest = min(self.frames[-1].lowest, 0)

    def branch(self, i: int, depth: int, conditional: bool) -> None:
        """A branch that may be taken, or is."""
        frames = self.frames
        target = len(frames) - 1 - depth
        if target == 0 and conditional:
            self.flow.leaves_by_branch = True
        if self.unrolled < len(frames) and target < self.unrolled:
            self.left_to = min(self.left_to, target)
            frames[target].first, frames[target].chain = i, None  # a way to that end from inside a loop
            self.note_exit(i)
            return
        frames[-1].lowest = min(frames[-1].lowest, target)
        self.note_way(i, frames[target], target == len(frames) - 1)
        if conditional:
            self.point = i

    def note_way(self, i: int, frame: _Frame, here: bool) -> None:
        """Remember the branches to the end of a block that form one chain of decisions."""
        if frame.first is None and here and self.events[i].op == op.BR_IF:
            frame.first, frame.chain = self.point, i
        elif frame.chain is not None and self.point == frame.chain and here and self.events[i].op == op.BR_IF:
            frame.chain = i
        else:
            frame.first, frame.chain = i, None

    def note_exit(self, i: int) -> None:
        """Remember what the points that cover an exit have cost so far."""
        charges = self.flow.charges
        points = {frame.point for frame in self.frames[self.unrolled + 1 :]}
        points.add(self.point)
        self.exits.append((i, {point: charges.get(point, 0) for point in points}))

    def close(self, i: int) -> None:
        """Leave a block."""
        frames, charges = self.frames, self.flow.charges
        frame = frames.pop()
        self.share(frame)
        self.looping -= frame.op == op.LOOP
        if frame.other:
            both = min(charges.get(frame.at, 0), charges.get(frame.other, 0))
            if both:
                charges[frame.at] -= both
                charges[frame.other] -= both
                charges[frame.point] = charges.get(frame.point, 0) + both
        if len(frames) == self.unrolled:
            frame.lowest = min(frame.lowest, self.left_to)
            for at, costs in self.exits:
                skipped = sum(charges.get(point, 0) - cost for point, cost in costs.items())
                if skipped:
                    self.flow.refunds[at] = skipped
            self.rounds.append((frame.point, frame.at, charges.get(frame.at, 0) * self.flow.copies[frame.at]))
            self.unrolled, self.exits = _NO_FRAME, []
        if frame.at in self.rounds_of:
            self.count(frame.at, frame.point, self.rounds_of[frame.at])
        frames[-1].lowest = min(frames[-1].lowest, frame.lowest)
        self.point = frame.point
        if frame.lowest < len(frames):
            self.point = i
            plain = frame.op == op.BLOCK and self.events[i - 1].op in _ENDING and self.unrolled >= len(frames)
            if plain and frame.first is not None and frame.chain is not None:
                around = frames[-1]
                if around.shared is None:
                    around.shared = []
                around.shared.append((frame.first, frame.chain, i))

    def share(self, frame: _Frame) -> None:
        """Charge before a decision what both ways cost at least, now that all of them is known."""
        if frame.shared is None:
            return
        charges = self.flow.charges
        for before, one, other in reversed(frame.shared):
            both = min(charges.get(one, 0), charges.get(other, 0))
            if both:
                charges[one] -= both
                charges[other] -= both
                charges[before] = charges.get(before, 0) + both

    def count(self, loop: int, point: int, rounds: Rounds) -> None:
        """Charge a loop whose rounds are known at the point before it, if the sums allow."""
        flow, charges = self.flow, self.flow.charges
        cost, called = charges.get(loop, 0), self.calls.get(loop, {})
        times = 1 if rounds.count is None else rounds.count
        fuel, calls = (ROUND_FUEL, ROUND_CALLS) if rounds.count is None else (LOOP_FUEL, LOOP_CALLS)
        if cost * times > fuel or len(called) > LOOP_CALLEES or sum(called.values()) * times > calls:
            return
        self.repeated.discard(loop)
        charges[point] = charges.get(point, 0) + cost * times
        if called:
            outer = self.calls.setdefault(point, {})
            for callee, often in called.items():
                outer[callee] = outer.get(callee, 0) + often * times
        self.large.pop(loop, None)  # this loop's own check covers them
        if rounds.count is None:
            flow.counted[loop] = rounds
            return
        charges.pop(loop, None)
        self.calls.pop(loop, None)
        if called or cost * times > UNCHECKED_LOOP_FUEL:
            self.large.setdefault(point, []).append(loop)


def analyse(data: bytes, function: FunctionCode, ending_calls: frozenset[int], growth: Growth) -> Flow:
    """Distribute the fuel of a body; `ending_calls` are the call events that may end the run.

    `growth` is what unrolling may add to the module; it is used up.
    """
    return _Analysis(data, function, ending_calls, growth).run()
