"""What a body says about fuel and depth, and how it carries values: the pieces that `rewrite` puts in place.

The counter of fuel lives in a global. A function without a loop that repeats charges it there directly; one with
such a loop keeps it in a local, which is loaded on entry, stored before whatever may look at the global (calls,
returns, `unreachable`) and loaded again after calls that may have changed it. `fresh` means that the local holds the
counter, `synced` that the global does; where ways join, the local does and the global may not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from icn_lite.wasm.body import FunctionCode
from icn_lite.wasm.counted import Rounds, split_step
from icn_lite.wasm.edits import Edits
from icn_lite.wasm.leb import write_signed, write_u32
from icn_lite.wasm.opcodes import I32, I64
from icn_lite.wasm.passive import Segment
from icn_lite.wasm.plan import FunctionPlan
from icn_lite.wasm.types import FuncType

END_BYTE: Final = b"\x0b"
# Most charges of a module are small and come again and again; each takes 150 bytes here.
KEPT_AMOUNTS: Final = 256


@dataclass(slots=True)
class Names:
    """Indices in the prepared module that bodies refer to."""

    data: bytes
    types: list[FuncType]
    fuel: bytes  # global index, encoded
    depth: bytes
    trap: bytes
    out_of_fuel: bytes  # function indices, encoded: they set the flag and trap
    exhausted: bytes
    wrappers: dict[int, int]  # import -> the function that charges for it
    helpers: dict[int, bytes]  # event opcode -> the function that does it with its checks
    segments: dict[int, Segment]  # passive data that is read
    block_types: dict[tuple[int, ...], bytes]  # results -> block type, for results that need an index


@dataclass(frozen=True, slots=True)
class Copy:
    """Where the writer is inside an unrolled loop."""

    loop: int  # frame index of the loop in the guest's code
    refund: int  # fuel of the copies that an exit from here skips


class PlanLookup:
    """Plans of callees, direct and indirect."""

    def __init__(self, functions: dict[int, FunctionPlan], type_nodes: dict[FuncType, int]) -> None:
        self.functions = functions
        self.type_nodes = type_nodes

    def indirect(self, wanted: FuncType) -> FunctionPlan:
        """The plan that stands for all table entries of a type."""
        return self.functions[self.type_nodes[wanted]]


@lru_cache(maxsize=KEPT_AMOUNTS)
def below(pending: int) -> bytes:
    """`i64.const; i64.lt_s; if`: whether the counter is below zero, even with what was charged ahead."""
    return b"\x42" + write_signed(-pending) + b"\x53\x04\x40"


@lru_cache(maxsize=KEPT_AMOUNTS)
def subtract(amount: int) -> bytes:
    """`i64.const amount; i64.sub`."""
    return b"\x42" + write_signed(amount) + b"\x7d"


def _difference(first: bytes | None, second: bytes | None, constant: int) -> bytes:
    """`first - second + constant` as i32, where what is None is zero and at least one is not."""
    constant = _signed(constant)
    if first is None:
        assert second is not None
        return b"\x41" + write_signed(constant) + second + b"\x6b"
    code = first if second is None else first + second + b"\x6b"
    return code + b"\x41" + write_signed(constant) + b"\x6a" if constant else code


def _signed(value: int) -> int:
    """A number modulo 2^32 as the signed constant that the format wants."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


class CounterWriter:
    """Writes what concerns the counters of one function."""

    def __init__(
        self, function: FunctionCode, plan: FunctionPlan, names: Names, lookup: PlanLookup, edits: Edits | None
    ) -> None:
        self.function = function
        self.events = function.events.unpack()
        self.plan = plan
        self.names = names
        self.lookup = lookup
        self.edits = edits
        self.places = edits.places() if edits else []
        self.out: list[bytes] = []
        self.cached = plan.cached
        self.extra: list[int] = []
        self.fresh = self.synced = True
        self.dead = False
        self.frames = 1
        self.inside: Copy | None = None
        self.kinds = [FuncType((), function.type.results)]  # types of the open blocks
        self.wrapped = False  # whether the body lies in a block of its own
        self.closed = self.kinds[0]  # the type of the block that was closed last
        self.loops: set[int] = set()  # which of them are loops
        self.temporaries: dict[tuple[int, int], bytes] = {}
        self.fuel_local = self.add_local(I64) if self.cached else b""
        self.depth_local = self.add_local(I32) if plan.counts_depth else b""

    def add_local(self, value_type: int) -> bytes:
        """A new local; returns its encoded index."""
        self.extra.append(value_type)
        return write_u32(len(self.function.locals) + len(self.extra) - 1)

    # values

    def by_locals(self, kind: FuncType) -> bool:
        """Whether the values of a block go through locals and the block itself has none.

        The engine mixes the values of a block up: two results lie where its slots happened to be free and come out in
        that order, and a parameter that is a local pushed twice has one place with the other.
        """
        return bool(kind.params) or len(kind.results) > 1

    def carry(self, types: tuple[int, ...], condition: bool = False) -> None:
        """Before a branch: leave values in locals and on the stack, wherever its targets look for them.

        A condition on top is kept there.
        """
        if types:
            self.through_locals(types, condition)

    def set_down(self, types: tuple[int, ...], condition: bool = False) -> None:
        """Take values off the stack, for a block that finds them in locals; a condition on top stays."""
        locals_ = [self.temporary(i, t) for i, t in enumerate((*types, I32) if condition else types)]
        self.out.extend(b"\x21" + local for local in reversed(locals_))
        if condition:
            self.out.append(b"\x20" + locals_[-1])

    def pick_up(self, types: tuple[int, ...]) -> None:
        """Put values back that stand in locals."""
        self.out.extend(b"\x20" + self.temporary(i, t) for i, t in enumerate(types))

    def through_locals(self, types: tuple[int, ...], condition: bool) -> None:
        """Put values into locals of their own and take them from there."""
        locals_ = [self.temporary(i, t) for i, t in enumerate((*types, I32) if condition else types)]
        self.out.extend(b"\x21" + local for local in reversed(locals_))
        self.out.extend(b"\x20" + local for local in locals_)

    def temporary(self, position: int, value_type: int) -> bytes:
        """A local for one carried value."""
        found = self.temporaries.get((position, value_type))
        if found is None:
            found = self.temporaries[position, value_type] = self.add_local(value_type)
        return found

    def label(self, depth: int) -> tuple[int, ...]:
        """What a branch carries, by its depth in the guest's code."""
        index = len(self.kinds) - 1 - depth
        kind = self.kinds[index]
        return kind.params if index in self.loops else kind.results

    # fuel

    def charge(self, amount: int) -> None:
        """Take fuel at this place."""
        if self.cached:
            self.refresh()
            local = self.fuel_local
            self.out.append(b"\x20" + local + subtract(amount) + b"\x21" + local)
            self.synced = False
        else:
            fuel = self.names.fuel
            self.out.append(b"\x23" + fuel + subtract(amount) + b"\x24" + fuel)

    def charge_point(self, i: int) -> None:
        """Charge what a point covers, and the first rounds of loops that it leads to."""
        flow = self.plan.flow
        amount = flow.charges.get(i, 0) + flow.ahead.get(i, 0)
        if amount:
            self.charge(amount)

    def check(self, i: int) -> None:
        """Trap when the counter is below zero."""
        pending = self.plan.flow.pending.get(i, 0)
        names = self.names
        if self.cached:
            self.refresh()
            local = self.fuel_local
            self.out.append(
                b"\x20" + local + below(pending) + b"\x20" + local + b"\x24" + names.fuel + b"\x10" + names.out_of_fuel
                + END_BYTE
            )  # fmt: skip
        else:
            self.out.append(b"\x23" + names.fuel + below(pending) + b"\x10" + names.out_of_fuel + END_BYTE)

    def charge_rounds(self, i: int, rounds: Rounds) -> None:
        """Take the fuel of all rounds of a counted loop but the first."""
        names = self.names
        self.refresh()
        counter = self.fuel_local if self.cached else names.fuel
        amount = self.further_rounds(rounds)
        cost = self.plan.flow.charges[i]
        if cost > 1:
            amount += b"\x42" + write_signed(cost) + b"\x7e"
        self.out.append((b"\x20" if self.cached else b"\x23") + counter + amount + b"\x7d")
        self.out.append((b"\x21" if self.cached else b"\x24") + counter)
        self.synced = False
        self.check(i)

    def further_rounds(self, rounds: Rounds) -> bytes:
        """Code that gives the rounds of a loop behind its first, as i64, by what its locals hold before it.

        With the local i, its step and the limit n this is (n - i - step) / step, and (i - n + step) / -step where
        the step is negative (`counted`). A loop that never ends in this way is out of fuel at once.
        """
        step = rounds.step
        shift, inverse = split_step(abs(step))
        local = None if rounds.start is not None else b"\x20" + write_u32(rounds.local)
        limit = None if rounds.limit_local is None else b"\x20" + write_u32(rounds.limit_local)
        first, second = (limit, local) if step > 0 else (local, limit)
        known = rounds.limit - step - (rounds.offset if rounds.start is None else rounds.start)
        distance = _difference(first, second, known if step > 0 else -known)
        names, code = self.names, b""
        if shift:
            mask = (1 << shift) - 1
            temporary = self.temporary(0, I32)
            code = (
                distance + b"\x22" + temporary + b"\x41" + write_signed(mask) + b"\x71\x04\x40\x42\x7f\x24" + names.fuel
                + b"\x10" + names.out_of_fuel + END_BYTE
            )  # fmt: skip
            distance = b"\x20" + temporary + b"\x41" + write_signed(shift) + b"\x76"
        if inverse != 1:
            distance += b"\x41" + write_signed(_signed(inverse)) + b"\x6c"
            if shift:
                distance += b"\x41" + write_signed((1 << (32 - shift)) - 1) + b"\x71"
        self.out.append(code)
        return distance + b"\xad"

    def store(self) -> None:
        """Bring the global up to date; when the local is not fresh, the global is."""
        if self.cached and self.fresh and not self.synced:
            self.out.append(b"\x20" + self.fuel_local + b"\x24" + self.names.fuel)
            self.synced = True

    def refresh(self) -> None:
        """Bring the local up to date."""
        if self.cached and not self.fresh:
            self.out.append(b"\x23" + self.names.fuel + b"\x21" + self.fuel_local)
            self.fresh = self.synced = True

    def changed(self) -> None:
        """After a call that may have changed the global."""
        self.fresh, self.synced = not self.cached, True

    def join(self) -> None:
        """At a place where ways join: the local holds the counter, the global may not."""
        if self.dead:
            self.fresh, self.dead = True, False
        self.refresh()
        self.synced = False

    # depth

    def enter_depth(self) -> None:
        """Count this frame down, or only note what is left."""
        names, local = self.names, self.depth_local
        self.out.append(b"\x23" + names.depth)
        if self.plan.recursive:
            self.out.append(
                b"\x41" + write_signed(self.plan.depth_bytes) + b"\x6b\x22" + local + b"\x41\x00\x48\x04\x40\x10"
                + names.exhausted + END_BYTE
            )  # fmt: skip
        else:
            self.out.append(b"\x21" + local)

    def pass_depth(self, counts_depth: bool) -> None:
        """Tell the callee what is left."""
        if counts_depth:
            self.out.append(b"\x20" + self.depth_local + b"\x24" + self.names.depth)
