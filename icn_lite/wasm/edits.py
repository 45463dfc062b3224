"""Changes to a validated body that `rewrite` carries out while it copies."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field


@dataclass(slots=True)
class Edits:
    """Bytes to insert behind an instruction, instructions to replace, and what stands round events.

    `insert` is keyed by the offset behind an instruction of a span, `replace` by the offset of one; it gives the
    offset where the original goes on, and the bytes in place of what is left out. `before` and `after` are keyed by
    the number of an event, `headers` too: the block type to write for it. `wraps_result` says that the one f64 that the
    function gives goes as an i64 to its end.
    """

    insert: dict[int, bytes] = field(default_factory=dict)
    replace: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    before: dict[int, bytes] = field(default_factory=dict)
    after: dict[int, bytes] = field(default_factory=dict)
    headers: dict[int, bytes] = field(default_factory=dict)
    wraps_result: bool = False

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
                goes_on, instead = self.replace[place]
                out.append(data[done:place] + instead)
                done = goes_on
        out.append(data[done:end])
        return b"".join(out)
