"""One body written anew: charges, checks, depth, and the repairs that single instructions need.

Plain spans of bytes are copied; a charge stands where `flow` put its point.

An innermost loop whose body is small and calls nothing is written several times over (`unroll`), since a back edge
is dear to the engine and a forward branch is not. The iterations of all copies are charged at once, the first round
before the loop, and every way out gives back what is skipped:

    loop $l                      charge 2k
      body, cost k               block $out loop $l
      br_if $l                     block $next body; br_if $next; refund k; br $out end
    end                            block $next body; br_if $next;           br $out end
                                   check; charge 2k; br $l
                                 end end

The check comes before the charge and allows for what else was charged ahead, so a run that has just enough is never
stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from icn_lite.wasm import opcodes as op
from icn_lite.wasm.body import EMPTY
from icn_lite.wasm.counter import END_BYTE, Copy, CounterWriter, subtract
from icn_lite.wasm.encode import locals_of
from icn_lite.wasm.events import Event
from icn_lite.wasm.flow import ENTRY
from icn_lite.wasm.leb import write_signed, write_u32
from icn_lite.wasm.opcodes import I32
from icn_lite.wasm.types import FuncType

# Frames that the copies of a loop add between its body and what lies outside.
COPY_FRAMES: Final = 2
# Instructions that `copied` knows, and the size of a branch whose depth is one byte.
_COPIED: Final = frozenset((op.BLOCK, op.IF, op.ELSE, op.END, op.BR, op.BR_IF))
_SHORT_BRANCH: Final = 2


class BodyWriter(CounterWriter):
    """Writes one function."""

    def write(self) -> bytes:
        """The whole body: locals, then code."""
        function, plan = self.function, self.plan
        results = function.type.results
        as_bits = self.edits is not None and self.edits.wraps_result
        self.wrapped = wrapped = as_bits or (self.cached and plan.flow.leaves_by_branch)
        if self.cached:
            self.out.append(b"\x23" + self.names.fuel + b"\x21" + self.fuel_local)
        self.settle(ENTRY)
        self.charge_point(ENTRY)
        if wrapped:
            kind = b"\x7e" if as_bits else b"" if len(results) > 1 else bytes(results)
            self.out.append(b"\x02" + (kind or b"\x40"))
            self.join()
        self.walk(0, len(self.events) - 1)
        self.span(self.events[-1])
        if wrapped:
            self.carry_results()
            self.join()
            self.out.append(END_BYTE + b"\xbf" if as_bits else END_BYTE)
            if self.by_locals(self.kinds[0]):
                self.pick_up(results)
        if not self.dead:
            self.store()
        self.out.append(END_BYTE)
        return locals_of(function.locals[len(function.type.params) :] + self.extra) + b"".join(self.out)

    def walk(self, first: int, last: int) -> None:
        """Write the events from `first` up to but without `last`, each after its span."""
        events, edits, flow = self.events, self.edits, self.plan.flow
        charges, ahead, settled = flow.charges, flow.ahead, self.plan.settled
        i = first
        while i < last:
            event = events[i]
            code = event.op
            if edits is not None or code not in _COPIED or not self.copied(event):
                copies = flow.copies.get(i, 0) if code == op.LOOP else 0
                self.span(event)
                if copies:
                    i = self.unroll(i, copies) + 1
                    continue
                self.event(event, i)
            if i == settled:
                self.settle(i)
            if code != op.LOOP and (i in charges or i in ahead):
                self.charge_point(i)
            i += 1

    def event(self, event: Event, i: int) -> None:
        """Write an event with all that it may need."""
        code = event.op
        if code == op.END:
            self.close()
        elif code == op.ELSE:
            self.carry_results()
        elif code == op.BLOCK or code == op.LOOP or code == op.IF:
            self.open(event)
        if self.edits is None:
            _WRITERS[code](self, event, i)
        else:
            self.out.append(self.edits.before.get(i, b""))
            _WRITERS[code](self, event, i)
            self.out.append(self.edits.after.get(i, b""))

    def copied(self, event: Event) -> bool:
        """Copy the head, arm or end of a block without values, or a branch there; False where there is more to do."""
        code, raw, at, end, _, depth, _, kind = event
        kinds = self.kinds
        if code == op.END or code == op.ELSE:
            kind = kinds[-1]
        elif code == op.BR_IF or code == op.BR:
            if self.inside is not None or depth >= len(kinds) - 1 or end != at + _SHORT_BRANCH:
                return False
            kind = kinds[-1 - depth]
        if kind is not EMPTY:
            return False
        data = self.names.data
        if self.cached:
            self.out.append(data[raw:at])
            self.join()
            self.out.append(data[at:end])
        else:
            self.out.append(data[raw:end])
            self.dead = False
        if code == op.END:
            self.frames -= 1
            self.loops.discard(self.frames)
            self.closed = kinds.pop()
        elif code == op.BLOCK or code == op.IF:
            self.frames += 1
            kinds.append(EMPTY)
        else:
            self.dead = code == op.BR
        return True

    def open(self, event: Event) -> None:
        """Note a block."""
        kind = event.type or EMPTY
        if self.by_locals(kind):
            self.set_down(kind.params, event.op == op.IF)
        if event.op == op.LOOP:
            self.loops.add(self.frames)
        self.frames += 1
        self.kinds.append(kind)

    def close(self) -> None:
        """Forget a block."""
        self.carry_results()
        self.frames -= 1
        self.loops.discard(self.frames)
        self.closed = self.kinds.pop()

    def carry_results(self) -> None:
        """Before the end of an arm or a block that control reaches."""
        if not self.dead and self.by_locals(self.kinds[-1]):
            self.set_down(self.kinds[-1].results)

    def arrive(self, kind: FuncType, code: int) -> None:
        """Behind the head of a block or arm, or behind its end: what stands in locals goes on the stack."""
        if self.by_locals(kind):
            self.pick_up(kind.results if code == op.END else kind.params)

    def settle(self, i: int) -> None:
        """Look at the counter and count the frame, at the place that the plan gives."""
        if i == self.plan.settled:
            if self.plan.checks:
                self.check(i)
            if self.plan.counts_depth:
                self.enter_depth()

    # unrolling

    def unroll(self, i: int, copies: int) -> int:
        """Write a loop with its body several times; returns the event of its `end`."""
        event, flow = self.events[i], self.plan.flow
        end, cost = flow.ends[i], flow.charges.get(i, 0)
        header = self.header(event, i)
        if i in flow.late and cost:
            self.charge(cost * copies)
        self.join()
        self.out.append(b"\x02" + header + b"\x03" + header)
        self.open(event)
        for number in range(copies):
            self.out.append(b"\x02\x40")
            self.inside = Copy(self.frames - 1, cost * (copies - 1 - number))
            self.walk(i + 1, end)
            self.span(self.events[end])
            if not self.dead:
                self.carry_results()
                self.refund()
                self.out.append(b"\x0c\x02")
            self.out.append(END_BYTE)
            self.dead = False
        self.inside = None
        self.dead = True
        self.close()
        self.dead = False
        self.check(i)
        if cost:
            self.charge(cost * copies)
        self.out.append(b"\x0c\x00" + END_BYTE + END_BYTE)
        self.arrive(self.closed, op.END)
        if self.edits is not None:
            self.out.append(self.edits.after.get(end, b""))
        self.settle(end)
        self.charge_point(end)
        return end

    def refund(self, i: int | None = None) -> None:
        """Give back what leaving an unrolled loop skips: the copies to come, and the rest of this one."""
        if self.inside is not None:
            amount = self.inside.refund + (0 if i is None else self.plan.flow.refunds.get(i, 0))
            if amount:
                local = self.fuel_local
                self.out.append(b"\x20" + local + subtract(-amount) + b"\x21" + local)
                self.synced = False

    def span(self, event: Event) -> None:
        """The plain instructions before an event, with their repairs."""
        if self.edits is None:
            self.out.append(self.names.data[event.raw : event.at])
        else:
            self.out.append(self.edits.apply(self.names.data, event.raw, event.at, self.places))

    def copy(self, event: Event, i: int) -> None:
        """The event's opcode and its block type."""
        self.out.append(bytes((event.op,)) + self.header(event, i))

    def header(self, event: Event, i: int) -> bytes:
        """The block type, where there is one."""
        if event.type is not None and self.by_locals(event.type):
            return b"\x40"
        if self.edits is not None and i in self.edits.headers:
            return self.edits.headers[i]
        return self.names.data[event.at + 1 : event.end]

    def on_control(self, event: Event, i: int) -> None:
        """`block`, `if`, `else`, `end`: the state is made sure before, and known again after."""
        self.join()
        self.copy(event, i)
        self.arrive(self.closed if event.op == op.END else self.kinds[-1], event.op)

    def on_loop(self, event: Event, i: int) -> None:
        """`loop`: one that repeats checks and charges at its head, a counted one before it."""
        flow = self.plan.flow
        rounds = flow.counted.get(i)
        if rounds is not None:
            self.charge_rounds(i, rounds)
        elif i in flow.checked:
            self.check(i)
        self.join()
        self.copy(event, i)
        if i in flow.repeated:
            self.check(i)
        if rounds is None:
            self.charge_point(i)
        elif i in flow.ahead:
            self.charge(flow.ahead[i])
        self.arrive(self.kinds[-1], op.LOOP)

    def on_branch(self, event: Event, i: int) -> None:
        """`br`, `br_if`, `br_table`."""
        if event.op == op.BR and event.arg == self.frames - 1:
            self.refund(i)
            self.store()
            self.out.append(b"\x0f")
            self.dead = True
            return
        self.join()
        targets = event.targets or (event.arg,)
        set_down = [depth for depth in targets if self.finds_locals(depth)]
        mixed = event.op == op.BR_TABLE and 0 < len(set_down) < len(targets)
        if set_down and not mixed:
            self.carry(self.label(event.arg), event.op != op.BR)
        if event.op == op.BR_TABLE:
            if mixed:
                self.mixed_table(targets, set(set_down))
            else:
                self.branch_table(targets)
        elif self.inside is not None and self.frames - 1 - event.arg < self.inside.loop:
            self.exit_copy(event, i, self.inside)
        else:
            self.out.append(bytes((event.op,)) + write_u32(event.arg))
        self.dead = event.op != op.BR_IF

    def finds_locals(self, depth: int) -> bool:
        """Whether the target of a branch takes its values from locals; the function itself takes them off the stack."""
        index = len(self.kinds) - 1 - depth
        return (index > 0 or self.wrapped) and self.by_locals(self.kinds[index])

    def branch_table(self, targets: Sequence[int]) -> None:
        """A `br_table` to these depths."""
        self.out.append(b"\x0e" + write_u32(len(targets) - 1) + b"".join(map(write_u32, targets)))

    def mixed_table(self, targets: tuple[int, ...], set_down: set[int]) -> None:
        """A `br_table` of which some targets find the values in locals and others on the stack: those get a stop."""
        types = self.label(min(set_down))  # the function's own label may be one of bits in place of its float
        stops = {depth: number for number, depth in enumerate(dict.fromkeys(d for d in targets if d not in set_down))}
        self.set_down(types, True)
        index = self.temporary(len(types), I32)
        self.out.append(b"\x1a" + b"\x02\x40" * len(stops) + b"\x20" + index)
        self.branch_table([stops[d] if d in stops else d + len(stops) for d in targets])
        for depth, number in stops.items():
            self.out.append(END_BYTE)
            self.pick_up(types)
            self.out.append(b"\x0c" + write_u32(depth + len(stops) - 1 - number))

    def exit_copy(self, event: Event, i: int, inside: Copy) -> None:
        """A branch out of an unrolled loop."""
        depth = event.arg + COPY_FRAMES
        if event.op == op.BR:
            self.refund(i)
            self.out.append(b"\x0c" + write_u32(depth))
        elif not inside.refund and i not in self.plan.flow.refunds:
            self.out.append(b"\x0d" + write_u32(depth))
        else:
            self.out.append(b"\x04\x40")
            self.refund(i)
            self.out.append(b"\x0c" + write_u32(depth + 1) + END_BYTE)

    def on_leave(self, event: Event, i: int) -> None:
        """`return`, `unreachable`."""
        self.refund(i)
        self.store()
        if event.op == op.UNREACHABLE:
            self.out.append(b"\x41\x04\x24" + self.names.trap)
        self.out.append(bytes((event.op,)))
        self.dead = True

    def on_call(self, event: Event, i: int) -> None:
        """`call`: imports go through their wrapper."""
        del i
        names = self.names
        callee = self.lookup.functions[event.arg]
        if callee.touches_fuel:
            self.store()
        self.pass_depth(callee.counts_depth)
        self.out.append(b"\x10" + write_u32(names.wrappers.get(event.arg, event.arg)))
        if callee.changes_fuel:
            self.changed()

    def on_call_indirect(self, event: Event, i: int) -> None:
        """`call_indirect`, with a short table index."""
        del i
        callee = self.lookup.indirect(self.names.types[event.arg])
        self.store()
        self.pass_depth(callee.counts_depth)
        self.out.append(b"\x11" + write_u32(event.arg) + b"\x00")
        self.changed()

    def on_helper(self, event: Event, i: int) -> None:
        """`memory.grow` and bulk instructions: a function that charges by amount and checks."""
        del i
        self.store()
        self.out.append(b"\x10" + self.names.helpers[event.op])
        self.changed()

    def on_init(self, event: Event, i: int) -> None:
        """`memory.init`: a function for each segment."""
        del i
        self.store()
        self.out.append(b"\x10" + self.names.segments[event.arg].init)
        self.changed()

    def on_drop(self, event: Event, i: int) -> None:
        """`data.drop`: nothing is left of a passive segment that somebody may read."""
        del i
        segment = self.names.segments.get(event.arg)
        if segment is not None and segment.size is not None:
            self.out.append(b"\x41\x00\x24" + segment.size)

    def on_table_size(self, event: Event, i: int) -> None:
        """`table.size`: a table never grows."""
        del i
        self.out.append(b"\x41" + write_signed(event.arg))

    def on_select(self, event: Event, i: int) -> None:
        """`select` with a type, written without."""
        del event, i
        self.out.append(b"\x1b")

    def on_nothing(self, event: Event, i: int) -> None:
        """An instruction whose effect can't be seen here (`elem.drop`: nothing reads a passive element segment)."""
        del event, i


_WRITERS: Final = {
    op.BLOCK: BodyWriter.on_control,
    op.IF: BodyWriter.on_control,
    op.ELSE: BodyWriter.on_control,
    op.END: BodyWriter.on_control,
    op.LOOP: BodyWriter.on_loop,
    op.BR: BodyWriter.on_branch,
    op.BR_IF: BodyWriter.on_branch,
    op.BR_TABLE: BodyWriter.on_branch,
    op.RETURN: BodyWriter.on_leave,
    op.UNREACHABLE: BodyWriter.on_leave,
    op.CALL: BodyWriter.on_call,
    op.CALL_INDIRECT: BodyWriter.on_call_indirect,
    op.MEMORY_GROW: BodyWriter.on_helper,
    op.EVENT_MEMORY_COPY: BodyWriter.on_helper,
    op.EVENT_MEMORY_FILL: BodyWriter.on_helper,
    op.EVENT_MEMORY_INIT: BodyWriter.on_init,
    op.EVENT_DATA_DROP: BodyWriter.on_drop,
    op.EVENT_ELEM_DROP: BodyWriter.on_nothing,
    op.EVENT_TABLE_SIZE: BodyWriter.on_table_size,
    op.SELECT_T: BodyWriter.on_select,
}
