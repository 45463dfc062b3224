"""Loops whose number of rounds is known when they begin, so that all of them can be charged at once.

Compilers turn counting loops into a few forms: a local changes by a constant in one place, and the last thing in the
loop compares it with a value that does not change and goes back to the head.

    loop
      ...                       ;; i is set nowhere else in here, and n nowhere
      local.get $i
      i32.const 1               ;; the step
      i32.add
      local.tee $i
      local.get $n              ;; or a constant; without comparison: until i is zero
      i32.ne
      br_if 0
    end

The change may stand anywhere in the loop where nothing can pass it by, and go through other locals (`j = i + 1`, later
`i = j`). One more form goes on `until i + 1` overflows, which is until it is zero.

The step is done before every comparison, so the rounds are the least t >= 1 with i + t * step = n (mod 2^32). With
step = 2^s * m, m odd, that is (n - i) / 2^s * m^-1 (mod 2^(32-s)); where 2^s does not divide n - i the loop never
ends in this way. Nothing else may end it or go back to its head, which `loops` sees to.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from icn_lite.wasm import opcodes as op
from icn_lite.wasm.events import Event
from icn_lite.wasm.leb import read_signed, read_u32, write_u32

_WORD: Final = 1 << 32
_I32_NE: Final = b"\x47"
# A local is followed through so many others.
LONGEST_CHAIN: Final = 4

_LEB: Final = rb"[\x80-\xff]*[\x00-\x7f]"
# What a local may be set to that is of interest: a local, perhaps changed by a constant, or a constant.
_KNOWN: Final = rb"(?:\x20" + _LEB + rb"(?:\x41" + _LEB + rb"[\x6a\x6b])?|\x41" + _LEB + rb")[\x21\x22]"
# Plain instructions but for `local.set` and `local.tee`, as far as nothing of interest begins with them; those that
# steer never stand in a span.
_NEXT_WRITE: Final = re.compile(
    rb"(?:(?!" + _KNOWN + rb")[\x20\x41]" + _LEB + rb"|[\x01\x1a\x1b\x45-\xc4]+|[\x28-\x3e]" + _LEB + _LEB
    + rb"|[\x23\x24\x3f\x42\xfc]" + _LEB + rb"|\x43.{4}|\x44.{8})*+"
    rb"(?:\x20(" + _LEB + rb")(?:\x41(" + _LEB + rb")([\x6a\x6b]))?|\x41(" + _LEB + rb"))?"
    rb"[\x21\x22](" + _LEB + rb")",
    re.DOTALL,
)  # fmt: skip
_SOURCE, _STEP, _SIGN, _VALUE, _LOCAL = 1, 2, 3, 4, 5


@dataclass(frozen=True, slots=True)
class Rounds:
    """How often a loop runs: `count`, or where that is None, by what its locals hold before it.

    The rounds begin with `local + offset`, or with the constant `start`, and end at `limit_local`, or at the constant
    `limit`.
    """

    local: int
    offset: int
    step: int  # signed, never zero
    start: int | None
    limit: int
    limit_local: int | None
    count: int | None


class Write(NamedTuple):
    """One `local.set` or `local.tee` of a constant, or of `source` and a change, or (both None) of anything else."""

    first: int  # where the code that is known begins
    at: int  # the instruction itself
    end: int
    local: int
    value: int | None
    source: int | None
    change: int


class Writes:
    """The writes of locals in the loops of a body, by place and by local, read as they are asked for."""

    def __init__(self, data: bytes, events: Sequence[Event]) -> None:
        self.data = data
        self.events = events
        self.owners: dict[int, int] = {}  # by event: the block around it, by its own event
        self.all: list[Write] = []
        self.places: dict[int, list[int]] = {}
        self.around: list[int] = []
        self.next = 0  # the first event that was not read

    def read(self, outermost: int, tail: int) -> None:
        """Read the spans up to event `tail`, where the outermost loop around begins at an event: never one twice."""
        if self.next <= outermost:
            self.next, self.around = outermost, [-1]
        for i in range(self.next, tail + 1):
            event = self.events[i]
            self.owners[i] = self.around[-1]
            if event.op == op.BLOCK or event.op == op.LOOP or event.op == op.IF:
                self.around.append(i)
            elif event.op == op.END:
                self.around.pop()
            pos = event.raw
            while found := _NEXT_WRITE.match(self.data, pos, event.at):
                pos = found.end()
                self.add(found)
        self.next = max(self.next, tail + 1)

    def add(self, found: re.Match[bytes]) -> None:
        """Note one write."""
        data, size = self.data, len(self.data)
        local, end = read_u32(data, found.start(_LOCAL), size)
        at = first = found.start(_LOCAL) - 1
        value = source = None
        change = 0
        if found[_VALUE] is not None:
            value = read_signed(data, found.start(_VALUE), size, 64)[0]
        elif found[_SOURCE] is not None:
            first = found.start(_SOURCE) - 1
            source = read_u32(data, first + 1, size)[0]
            if found[_STEP] is not None:
                change = read_signed(data, found.start(_STEP), size, 64)[0]
                change = -change if found[_SIGN] == b"\x6b" else change
        self.all.append(Write(first, at, end, local, value, source, change))
        self.places.setdefault(local, []).append(at)

    def last(self, start: int, end: int) -> int:
        """The index of the last write between two places, or -1."""
        index = bisect_left(self.all, end, key=_place) - 1
        return index if index >= 0 and self.all[index].at >= start else -1

    def last_of(self, local: int, start: int, end: int) -> Write | None:
        """The last write of a local between two places."""
        places = self.places.get(local, [])
        index = bisect_left(places, end) - 1
        if index < 0 or places[index] < start:
            return None
        return self.all[bisect_left(self.all, places[index], key=_place)]

    def resolve(self, local: int, place: int, head: int) -> tuple[int, int] | None:
        """What a local holds at a place that no round passes by, as (a local when the round begins) + constant."""
        events, begin, offset = self.events, self.events[head].end, 0
        for _ in range(LONGEST_CHAIN):
            places = self.places.get(local, [])
            last = bisect_left(places, place)
            if last == bisect_left(places, begin):
                return local, offset
            at = places[last - 1]
            if self.owners[bisect_left(events, at, lo=head, key=_place)] != head:
                return None
            write = self.all[bisect_left(self.all, at, key=_place)]
            if write.source is None:
                return None
            local, place, offset = write.source, write.first, offset + write.change
        return None

    def rounds(self, head: int, tail: int) -> Rounds | None:
        """How often the loop from event `head` to its only way back, event `tail`, runs; None if nobody knows."""
        found = self.comparison(self.events[tail])
        if found is None:
            return None
        local, limit, limit_local = found
        begin, end = self.events[head], self.events[tail].at
        compared = self.resolve(local, end, head)
        carried = None if compared is None else self.resolve(compared[0], end, head)
        if compared is None or carried is None or carried[0] != compared[0] or not carried[1] % _WORD:
            return None
        local, step = carried
        offset = compared[1] - step
        if limit_local is not None:
            places = self.places.get(limit_local, [])
            if bisect_left(places, begin.end) != bisect_left(places, end):
                return None
        before = self.last_of(local, begin.raw, begin.at)
        start = None if before is None or before.value is None else before.value + offset
        count = None
        if start is not None and limit_local is None:
            count = count_rounds(start, limit, step)
            if count is None:
                return None
        return Rounds(local, offset, step, start, limit, limit_local, count)

    def comparison(self, tail: Event) -> tuple[int, int, int | None] | None:
        """What the loop goes on for: as long as a local differs from a constant, or (last) from another local."""
        data, pos, end = self.data, tail.raw, tail.at
        index = self.last(pos, end)
        if index >= 0:
            write = self.all[index]
            pos = write.end
            if data[write.at] == op.LOCAL_TEE and (found := self.limit(pos, end)) is not None:
                return write.local, *found
        if pos == end or data[pos] != op.LOCAL_GET:
            return None
        local, pos = read_u32(data, pos + 1, end)
        found = self.limit(pos, end)
        if found is not None:
            return local, *found
        return (carried, 0, None) if (carried := self.overflow(index, end)) is not None else None

    def limit(self, pos: int, end: int) -> tuple[int, int | None] | None:
        """What the value on the stack is compared with."""
        data = self.data
        if pos == end:
            return 0, None
        value = 0
        local = None
        if data[pos] == op.I32_CONST:
            value, pos = read_signed(data, pos + 1, end, 32)
        elif data[pos] == op.LOCAL_GET:
            local, pos = read_u32(data, pos + 1, end)
        else:
            return None  # the other operand was there before the local
        return (value, local) if data[pos:end] == _I32_NE else None

    def overflow(self, index: int, end: int) -> int | None:
        """`next = i + 1; flag = next < i; i = next`, going on if not flag: the local `next`, until it is zero."""
        if index < 2:
            return None
        following, flag, write = self.all[index - 2 : index + 1]
        if following.source != write.local or following.change != 1 or write.source != following.local or write.change:
            return None
        i, after, said = (write_u32(each.local) for each in (write, following, flag))
        form = b"\x22" + after + b"\x20" + i + b"\x49\x21" + said + b"\x20" + after + b"\x21" + i + b"\x20" + said
        return following.local if self.data[following.at : end] == form + b"\x45" else None


def _place(item: Write | Event) -> int:
    return item.at


def split_step(step: int) -> tuple[int, int]:
    """(s, inverse of m modulo 2^32) of a step 2^s * m, m odd."""
    shift = (step & -step).bit_length() - 1
    return shift, pow(step >> shift, -1, _WORD)


def count_rounds(start: int, limit: int, step: int) -> int | None:
    """The rounds of a loop from constant to constant, or None when it never ends."""
    distance = (limit - start) % _WORD
    shift, inverse = split_step(step)
    if distance & ((1 << shift) - 1):
        return None
    period = _WORD >> shift
    return (distance >> shift) * inverse % period or period
