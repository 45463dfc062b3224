"""Routes: through which neighbours somebody is reached who is none.

They are learned from what comes by: a rumour of X that a neighbour brings shows that X is reached through it, and how
far away; so does a reply. What failed is forgotten at once, what was not confirmed for `ROUTE_MS` by itself. Distances
are claims of neighbours: one that lies attracts parcels that it then fails to deliver, and loses the route for it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from icn_lite.model.did import Did

MAX_ROUTES: Final = 1024  # somebodies, 500 bytes each; the one not heard of longest goes
MAX_WAYS: Final = 3  # neighbours for each
ROUTE_MS: Final = 900_000  # advertisements come every few minutes; three may be lost


@dataclass(slots=True)
class Way:
    """Somebody is reached through `via`, `hops` away."""

    via: Did
    hops: int
    heard_ms: int


class Routes:
    """The routes of one node."""

    def __init__(self) -> None:
        self._ways: OrderedDict[Did, list[Way]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ways)

    def learn(self, did: Did, via: Did, hops: int, now_ms: int) -> None:
        """Something of `did` came through the neighbour `via`, which is `hops` from it and us."""
        ways = self._ways.setdefault(did, [])
        self._ways.move_to_end(did)
        ways[:] = [way for way in ways if way.via != via and now_ms - way.heard_ms < ROUTE_MS]
        ways.append(Way(via, max(1, hops), now_ms))
        ways.sort(key=lambda way: (way.hops, -way.heard_ms, way.via.public_key))
        del ways[MAX_WAYS:]
        if len(self._ways) > MAX_ROUTES:
            self._ways.popitem(last=False)

    def lost(self, did: Did, via: Did) -> None:
        """That neighbour could not reach it."""
        ways = self._ways.get(did, [])
        ways[:] = [way for way in ways if way.via != via]
        if not ways:
            self._ways.pop(did, None)

    def ways(self, did: Did, neighbours: Collection[Did], now_ms: int) -> list[Way]:
        """Through whom among `neighbours` somebody is reached, best first; a neighbour is reached directly."""
        direct = [Way(did, 1, now_ms)] if did in neighbours else []
        known = self._ways.get(did, [])
        fresh = [way for way in known if way.via in neighbours and now_ms - way.heard_ms < ROUTE_MS and way.via != did]
        return [*direct, *fresh]

    def reached(self, neighbours: Collection[Did], now_ms: int) -> dict[Did, Way]:
        """Everybody who is reached, and how."""
        found = {did: self.ways(did, neighbours, now_ms) for did in self._ways}
        return {did: ways[0] for did, ways in found.items() if ways}
