"""What the writer has to know of each function: its fuel by point, what callers pay for it, checks, stack frames.

Fuel: a function leaves its entry cost to its callers, who add it to their own point. A function whose cost is one
constant, and small, then needs no metering code at all. Who calls through the table pays what the cheapest function
of that type costs; the others charge the rest by themselves, in a twin where they are called directly as well.
Whoever recurses, or could run long without meeting a check, checks the counter on entry; every loop that repeats
without being counted checks it at its head.

Depth: frames are counted in bytes of the engine's stack. Functions outside recursion have a static bound, so only
recursive ones count down, each by its own frame plus the longest static chain below it.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Final

from icn_lite.wasm import opcodes as op
from icn_lite.wasm.body import FunctionCode
from icn_lite.wasm.callgraph import CallGraph, build
from icn_lite.wasm.flow import ENTRY, LOOKING, NONE, Flow, analyse
from icn_lite.wasm.hostfuncs import HostFunction
from icn_lite.wasm.loops import COPY_BYTES, GROWTH_BYTES, Growth
from icn_lite.wasm.module import Module

# What may run between two looks at the counter, in fuel; a millisecond or so on a small board.
UNCHECKED_FUEL: Final = 4096
# A larger entry cost is charged by the function itself, so that sums of sums stay small numbers.
FOLDED_FUEL: Final = 1 << 20
# Native stack of one call in the engine: 144 bytes on x86-64, 128 on arm64, 96 on armv7, and 49 for each enclosing
# loop; its own stack takes 8 bytes a value. Both are added up, rounded up, and stand for both.
CALL_BYTES: Final = 160
LOOP_BYTES: Final = 64
VALUE_BYTES: Final = 8
# Constants that charging a loop of counted rounds needs besides the charge.
COUNTED_CONSTANTS: Final = 4
# The engine keeps up to 120 slots of constants in a frame.
CONSTANT_BYTES: Final = 480
# Shims, host wrappers and the entry from outside.
BASE_BYTES: Final = 2048


@dataclass(slots=True)
class FunctionPlan:
    """Facts about one function (or one node of indirect calls, or an import)."""

    flow: Flow = field(default_factory=Flow)
    folded: int = 0  # fuel that callers charge in its place
    ends_run: bool = False  # may reach a host function that ends the run
    touches_fuel: bool = False  # reads or writes the counter, so callers have to store it first
    changes_fuel: bool = False  # writes the counter, so callers have to load it again
    checks: bool = False  # looks at the counter, apart from its loops
    cached: bool = False  # keeps the counter in a local
    settled: int = ENTRY  # the event behind which it does so and counts its frame: before any call or repeating loop
    unchecked: int = 0  # fuel that may pass before it looks
    recursive: bool = False
    counts_depth: bool = False  # reaches recursion, so it passes the remaining depth on
    depth_bytes: int = 0  # what a recursive function counts down
    chain_bytes: int = 0  # longest static chain of frames from here, 0 for a recursive function


@dataclass(slots=True)
class Plan:
    """Facts about a module."""

    graph: CallGraph
    functions: dict[int, FunctionPlan]
    twins: dict[int, FunctionPlan]  # what stands in the table in place of a function that is called directly too


def make_plan(module: Module, code: Sequence[FunctionCode], rows: Sequence[HostFunction]) -> Plan:
    """Look at all functions, callees first."""
    graph = build(module, code)
    plans = {node: FunctionPlan() for node in graph.edges}
    for index, row in enumerate(rows):
        priced = bool(row.fuel_base or row.fuel_per_byte)
        plans[index] = FunctionPlan(ends_run=row.ends_run, touches_fuel=True, changes_fuel=priced)
    by_index = {function.index: function for function in code}
    planner = _Planner(module, graph, plans, by_index)
    for group in graph.components:
        planner.component(group)
    return Plan(graph, plans, planner.twins)


class _Planner:
    """State of `make_plan`."""

    def __init__(
        self, module: Module, graph: CallGraph, plans: dict[int, FunctionPlan], code: dict[int, FunctionCode]
    ) -> None:
        self.module = module
        self.graph = graph
        self.plans = plans
        self.code = code
        self.twins: dict[int, FunctionPlan] = {}
        self.type_nodes = [graph.type_nodes.get(kind, ENTRY) for kind in module.types]
        self.direct = {node for index in code for node in graph.edges[index] if node >= 0}
        self.growth = Growth(GROWTH_BYTES + sum(function.end - function.start for function in code.values()))

    def component(self, group: list[int]) -> None:
        """Functions that call each other, or a single one."""
        plans, graph = self.plans, self.graph
        own = set(group)
        called = {node for member in group for node in graph.edges[member]}
        below = [plans[node] for node in called if node not in own]
        ends_run = any(plan.ends_run for plan in below)
        recursive = any(node in graph.recursive for node in group)
        for member in group:
            plan = plans[member]
            plan.ends_run = plan.ends_run or ends_run
            plan.recursive = recursive and member >= 0
            plan.counts_depth = recursive or any(p.counts_depth for p in below)
        for member in group:
            if member in self.code:
                self.fuel(self.code[member], own)
        nodes = [member for member in group if member < 0]
        for node in nodes:
            plans[node].folded = min((plans[f].folded for f in graph.edges[node]), default=0)
        for member in group:
            if member in self.code:
                self.settle(self.code[member], own)
        for node in nodes:
            self.indirect(node)

    def indirect(self, node: int) -> None:
        """A node that stands for every table entry of one type."""
        plan = self.plans[node]
        for index in self.graph.edges[node]:
            if self.plans[index].folded > plan.folded:
                self.in_table(index, plan.folded)
        members = [self.plans[f] for f in self.graph.edges[node]]
        plan.touches_fuel = plan.changes_fuel = True
        plan.unchecked = max((m.unchecked for m in members), default=0)
        plan.chain_bytes = max((m.chain_bytes for m in members), default=0)

    def in_table(self, index: int, paid: int) -> None:
        """A table entry charges by itself what its entry costs more than those who call through the table pay."""
        plan = self.plans[index]
        flow = plan.flow
        if index in self.direct:
            flow = replace(flow, charges=dict(flow.charges))
            self.twins[index] = plan = replace(plan, flow=flow)
        flow.charges[ENTRY] = flow.charges.get(ENTRY, 0) + plan.folded - paid
        plan.folded = paid
        plan.touches_fuel = plan.changes_fuel = True

    def callee(self, called: int) -> int:
        """The node of what a flow names as called."""
        return called if called >= 0 else self.type_nodes[-1 - called]

    def fuel(self, function: FunctionCode, group: set[int]) -> None:
        """The flow of a function, and what its callers take over."""
        plan = self.plans[function.index]
        ending = frozenset(i for i in function.calls if self.plans[self.callee(function.events.callee(i))].ends_run)
        plan.flow = analyse(self.module.data, function, ending, self.growth)
        charges = plan.flow.charges
        for point, called, times in plan.flow.calls:
            if (callee := self.callee(called)) not in group:
                charges[point] = charges.get(point, 0) + self.plans[callee].folded * times
        if charges[ENTRY] <= FOLDED_FUEL and self.may_fold(function):
            plan.folded = charges.pop(ENTRY)

    def may_fold(self, function: FunctionCode) -> bool:
        """Whether callers may pay: one that is in the table and called directly then may have to be written twice."""
        index, size = function.index, function.end - function.start
        if index not in self.graph.in_table or index not in self.direct:
            return True
        if size + COPY_BYTES > self.growth.left:
            return False
        self.growth.left -= size + COPY_BYTES
        return True

    def settle(self, function: FunctionCode, group: set[int]) -> None:
        """Checks and frames, once all of its component have a flow."""
        plan = self.plans[function.index]
        charges = plan.flow.charges
        for point, called, times in plan.flow.calls:
            if (callee := self.callee(called)) in group:
                charges[point] = charges.get(point, 0) + self.plans[callee].folded * times
        for point in [p for p, cost in charges.items() if not cost]:
            del charges[point]
        callees = [self.plans[node] for node in self.graph.edges[function.index]]
        own = sum(charges.values()) + plan.folded
        nodes = [self.callee(function.events.callee(i)) for i in function.calls]  # once for each call
        outside = plan.recursive and self.calls_outside_loops(function, plan.flow.repeated, group)
        plan.unchecked = own + sum(self.plans[node].unchecked for node in nodes)
        plan.checks = plan.unchecked > UNCHECKED_FUEL or outside
        if plan.checks:
            plan.unchecked = 0
        plan.changes_fuel = bool(charges) or function.special or any(c.changes_fuel for c in callees)
        plan.touches_fuel = (
            plan.changes_fuel
            or plan.checks
            or bool(plan.flow.repeated or plan.flow.checked)
            or any(c.touches_fuel for c in callees)
        )
        if plan.recursive:
            plan.changes_fuel = plan.touches_fuel = True
        calls = bool(nodes) or (function.special and any(code in LOOKING for code in function.events.codes()))
        if plan.checks or plan.counts_depth:
            plan.settled = _settling_point(function.events.codes(), plan.flow.repeated)
        often = bool(plan.flow.repeated) or any(point in charges for point in plan.flow.inner)
        plan.flow.inner, plan.flow.calls = NONE, []  # read for the last time: plans of a whole module are held at once
        plan.cached = plan.touches_fuel and (bool(plan.flow.copies) or (often and not calls))
        frame = frame_bytes(function, 1 + len(charges) + COUNTED_CONSTANTS * len(plan.flow.counted))
        tail = max((c.chain_bytes for c in callees), default=0)
        if plan.recursive:
            plan.depth_bytes = frame + tail
        else:
            plan.chain_bytes = frame + tail

    def calls_outside_loops(self, function: FunctionCode, repeated: Set[int], group: set[int]) -> bool:
        """Whether a recursive call stands outside of every loop that checks."""
        events = function.events
        returning = {i for i in function.calls if self.callee(events.callee(i)) in group}
        frames: list[bool] = []
        loops = 0
        for i, code in enumerate(events.codes()):
            if code == op.BLOCK or code == op.IF or code == op.LOOP:
                frames.append(i in repeated)
                loops += frames[-1]
            elif code == op.END and frames:
                loops -= frames.pop()
            elif not loops and i in returning:
                return True
        return False


def _settling_point(codes: Sequence[int], repeated: Set[int]) -> int:
    """The event behind which a function looks at the counter and counts its frame.

    It is the last end of a block at the top level before the first call or repeating loop: a way that returns earlier
    (the leaves of a recursion) then pays for neither.
    """
    found, depth = ENTRY, 0
    for i, code in enumerate(codes):
        if i in repeated or code in LOOKING:
            break
        if code == op.BLOCK or code == op.IF or code == op.LOOP:
            depth += 1
        elif code == op.END and depth:
            depth -= 1
            if not depth:
                found = i
    return found


def frame_bytes(function: FunctionCode, points: int) -> int:
    """Upper bound of what one activation takes of the engine's stacks."""
    values = len(function.locals) + len(function.type.results) + function.operand_peak + 8
    constants = min(CONSTANT_BYTES, 4 * (function.end - function.start) + VALUE_BYTES * (points + 4))
    return CALL_BYTES + LOOP_BYTES * function.loop_nesting + VALUE_BYTES * values + constants
