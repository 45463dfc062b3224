"""The line of documents that wait for one upstream: bounded, and each kind gives way in its turn.

Announcements whose bidding is over are dropped. At the high-water mark capability advertisements are, the oldest before
the others: a newer one follows anyway. What still doesn't fit is turned away with a time to come back (`Later`, 5.03
with Max-Age on the mesh), and its author keeps it. A receipt that was taken in is never dropped.

Announcements leave first, because their time runs; then receipts; advertisements last. Pure: time is passed in.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import Final

from icn_lite.bridge.upstream import NOWHERE, Route
from icn_lite.model.cid import Cid
from icn_lite.model.errors import Later

HIGH_WATER: Final = 4_096  # 4 MiB of receipts: an hour of a busy mesh, and little for a Pi
BUSY_S: Final = 60  # when to come back while nothing leaves; executors keep trying for as long as they live


class Kind(IntEnum):
    """What waits, in the order in which it leaves."""

    ANNOUNCEMENT = 0
    RECEIPT = 1
    ADVERT = 2


@dataclass(frozen=True, slots=True)
class Waiting:
    """One signed document on its way up; `until_ms` is when nobody wants it any more."""

    kind: Kind
    cid: Cid
    block: bytes
    route: Route = NOWHERE
    until_ms: int | None = None


class Line:
    """What waits for one upstream."""

    def __init__(self, high_water: int = HIGH_WATER) -> None:
        self._high_water = high_water
        self._waiting: dict[Kind, OrderedDict[Cid, Waiting]] = {kind: OrderedDict() for kind in Kind}
        self.dropped = 0

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())

    def __contains__(self, cid: Cid) -> bool:
        return any(cid in waiting for waiting in self._waiting.values())

    def count(self, kind: Kind) -> int:
        """How many of a kind wait."""
        return len(self._waiting[kind])

    def check_room(self, kind: Kind, now_ms: int) -> None:
        """Make room for one more of a kind; raises `Later` where there is none, then nothing was lost for it."""
        self._drop_late(now_ms)
        if len(self) < self._high_water:
            return
        if self._waiting[Kind.ADVERT]:
            self._waiting[Kind.ADVERT].popitem(last=False)
            self.dropped += 1
            return
        raise Later(
            f"{len(self)} documents wait for the upstream already",
            retry_after_s=BUSY_S,
            hint="keep it and send it again; see `icn-lite bridge status`",
        )

    def add(self, item: Waiting, now_ms: int) -> None:
        """Let a document wait; one that waits already keeps its place."""
        if item.cid in self:
            return
        self.check_room(item.kind, now_ms)
        self._waiting[item.kind][item.cid] = item

    def restore(self, item: Waiting) -> None:
        """A document that was taken in before a restart; there is room for it whatever else waits."""
        self._waiting[item.kind].setdefault(item.cid, item)

    def first(self, most: int, now_ms: int) -> list[Waiting]:
        """What leaves next, at most so many; it stays until `remove`."""
        self._drop_late(now_ms)
        return list(islice((item for waiting in self._waiting.values() for item in waiting.values()), most))

    def remove(self, cid: Cid) -> None:
        """A document has left, or was put aside."""
        for waiting in self._waiting.values():
            waiting.pop(cid, None)

    def _drop_late(self, now_ms: int) -> None:
        jobs = self._waiting[Kind.ANNOUNCEMENT]
        for cid in [cid for cid, item in jobs.items() if item.until_ms is not None and now_ms >= item.until_ms]:
            del jobs[cid]
            self.dropped += 1
