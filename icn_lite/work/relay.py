"""The relay: hands parcels for others on, one neighbour after the other, until one brings the reply.

    Arrived ──▶ Deliver (it is ours) | Forward to the best neighbour | Refuse
    Failed  ──▶ Forward to the next best | GiveUp
    Answered ──▶ the reply goes back to whoever handed the parcel over

A parcel is known by its hash: a second neighbour that brings it is refused, so it visits each node at most once and
can't circle, whatever anybody says about hops; the same neighbour asking again gets the same reply (`Repeat`). Where no
route is known a few neighbours are tried in turn; where all of them failed, a parcel for the same somebody is refused
at once for `SILENCE_MS`, unless something is heard of it. What is under way is bounded in all and for each neighbour,
and so are the bytes that each brings. Pure: time and neighbours come in, effects go out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.parcel import MAX_HOPS
from icn_lite.work.gossip import draw
from icn_lite.work.quota import Bucket, Quotas
from icn_lite.work.routes import Routes, Way

REMEMBER_MS: Final = 1_200_000  # twice as long as any parcel lives
SILENCE_MS: Final = 10_000  # a neighbour that comes back is heard of within a greeting or two
GUESS: Final = 16  # hops to somebody of whom nobody knows how far away it is; a longer way has no time for detours
UNDER_WAY_MS: Final = 60_000  # nobody waits so long; what was never ended doesn't take a place for ever
MUTE_MS: Final = 90_000  # then a neighbour that is still silent counts as gone
MAX_SILENT: Final = 256  # somebodies that nobody reached, and neighbours that were silent


@dataclass(frozen=True, slots=True)
class RelayBounds:
    """What one node spends on others' parcels; the defaults suit a phone."""

    tries: int = 4  # neighbours that one parcel is handed to in turn
    under_way: int = 32  # half of the requests that an endpoint handles at a time
    of_neighbour: int = 8
    remembered: int = 4_096  # parcels known by name, 300 bytes each
    bytes_per_s: int = 64 << 10  # that one neighbour may bring
    burst_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Arrived:
    """A parcel for `to` came from the neighbour `source`, or begins here (None); it may be handed on `hops` times."""

    id: Cid
    to: Did
    source: Did | None
    hops: int
    size: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The neighbour `hop` reached nobody, or was `silent`."""

    id: Cid
    hop: Did
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """The reply is here: from the neighbour that the parcel was handed to, or our own."""

    id: Cid


Event: TypeAlias = Arrived | Failed | Answered


@dataclass(frozen=True, slots=True)
class Deliver:
    """The parcel is for this node."""

    id: Cid


@dataclass(frozen=True, slots=True)
class Forward:
    """Hand the parcel to a neighbour; `Answered` or `Failed` follows.

    Of the time that is left, one part in `parts` is kept for other neighbours; none if that is 0. All nodes on the way
    keep about the same, the length of the way being known.
    """

    id: Cid
    hop: Did
    hops: int
    parts: int

    def wait_ms(self, left_ms: int) -> int:
        """How long to wait for this neighbour."""
        return left_ms - left_ms // self.parts if self.parts else left_ms


@dataclass(frozen=True, slots=True)
class Repeat:
    """The same neighbour asks again: what came of the parcel, or will, is its reply."""

    id: Cid


class Why(Enum):
    """Why a parcel is not handed on."""

    LOOP = "it came by before"
    BUSY = "too many parcels are under way"
    FAR = "it was handed on too often"
    NO_WAY = "no neighbour reaches its receiver"


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nothing will come of the parcel; said to whoever handed it over."""

    id: Cid
    why: Why


Effect: TypeAlias = Deliver | Forward | Repeat | GiveUp


@dataclass(slots=True)
class _Passing:
    to: Did
    source: Did | None
    hops: int
    since_ms: int
    ahead: list[Way] = field(default_factory=list)  # neighbours that are still to be tried
    hop: Did | None = None
    over: bool = False


class Relay:
    """The parcels that pass one node."""

    def __init__(self, own: Did, routes: Routes, bounds: RelayBounds | None = None) -> None:
        self._own = own
        self.routes = routes
        self._bounds = bounds or RelayBounds()
        self._passing: OrderedDict[Cid, _Passing] = OrderedDict()
        self._silent: OrderedDict[Did, int] = OrderedDict()  # who was not reached, until when nobody tries
        self._mute: OrderedDict[Did, int] = OrderedDict()  # neighbours that were silent, until when they come last
        self._quotas = Quotas(Bucket(self._bounds.burst_bytes, self._bounds.bytes_per_s, 1_000))

    @property
    def under_way(self) -> int:
        """Parcels that wait for their reply."""
        return sum(not passing.over for passing in self._passing.values())

    def handle(self, event: Event, neighbours: Collection[Did], now_ms: int) -> list[Effect]:
        """Advance by one event and return the effects to perform."""
        match event:
            case Arrived():
                return [self._arrived(event, neighbours, now_ms)]
            case Failed():
                return self._failed(event, now_ms)
            case Answered(parcel):
                return self._answered(parcel, now_ms)

    def heard_of(self, did: Did) -> None:
        """Somebody is there again."""
        self._silent.pop(did, None)
        self._mute.pop(did, None)

    def _arrived(self, event: Arrived, neighbours: Collection[Did], now_ms: int) -> Effect:
        self._forget_old(now_ms)
        known = self._passing.get(event.id)
        if known is not None:
            return Repeat(event.id) if known.source == event.source else GiveUp(event.id, Why.LOOP)
        refusal = self._refusal(event, now_ms)
        if refusal is not None:
            return GiveUp(event.id, refusal)
        passing = _Passing(event.to, event.source, event.hops, now_ms)
        if event.to != self._own:
            passing.ahead = self._candidates(event, neighbours, now_ms)
            if not passing.ahead:
                return GiveUp(event.id, Why.NO_WAY)
        self._passing[event.id] = passing
        while len(self._passing) > self._bounds.remembered:
            self._passing.popitem(last=False)
        return Deliver(event.id) if event.to == self._own else self._next(event.id, passing)

    def _refusal(self, event: Arrived, now_ms: int) -> Why | None:
        if event.to != self._own and event.hops <= 0:
            return Why.FAR
        if event.to != self._own and self._silent.get(event.to, 0) > now_ms:
            return Why.NO_WAY
        waiting = [
            passing.source
            for passing in self._passing.values()
            if not passing.over and now_ms - passing.since_ms < UNDER_WAY_MS
        ]
        if len(waiting) >= self._bounds.under_way:
            return Why.BUSY
        if event.source is None:
            return None
        crowded = waiting.count(event.source) >= self._bounds.of_neighbour
        return Why.BUSY if crowded or not self._quotas.take(event.source, event.size, now_ms) else None

    def _candidates(self, event: Arrived, neighbours: Collection[Did], now_ms: int) -> list[Way]:
        """Who is tried: those who are known to reach it, then a few others by lot."""
        others = set(neighbours) - {event.source, self._own}
        known = self.routes.ways(event.to, others, now_ms)
        rest = sorted(others.difference(way.via for way in known), key=lambda did: draw(event.id, self._own, did))
        ways = [*known, *(Way(did, GUESS, now_ms) for did in rest)]
        ways.sort(key=lambda way: self._mute.get(way.via, 0) > now_ms)
        return ways[: self._bounds.tries]

    def _next(self, parcel: Cid, passing: _Passing) -> Forward:
        way = passing.ahead.pop(0)
        passing.hop = way.via
        return Forward(parcel, way.via, passing.hops - 1, min(GUESS, way.hops) + 2 if passing.ahead else 0)

    def _failed(self, event: Failed, now_ms: int) -> list[Effect]:
        passing = self._passing.get(event.id)
        if passing is None or passing.over or passing.hop != event.hop:
            return []
        self.routes.lost(passing.to, event.hop)
        if event.silent:
            _note(self._mute, event.hop, now_ms + MUTE_MS)
        if passing.ahead:
            return [self._next(event.id, passing)]
        passing.over = True
        _note(self._silent, passing.to, now_ms + SILENCE_MS)
        return [GiveUp(event.id, Why.NO_WAY)]

    def _answered(self, parcel: Cid, now_ms: int) -> list[Effect]:
        passing = self._passing.get(parcel)
        if passing is not None and not passing.over:
            passing.over = True
            self.heard_of(passing.to)
            if passing.hop is not None:
                known = self.routes.ways(passing.to, (passing.hop,), now_ms)
                hops = known[0].hops if known else MAX_HOPS  # how far, nobody said
                self.routes.learn(passing.to, passing.hop, hops, now_ms)
        return []

    def _forget_old(self, now_ms: int) -> None:
        while self._passing:
            oldest = next(iter(self._passing.values()))
            if now_ms - oldest.since_ms < REMEMBER_MS:
                break
            self._passing.popitem(last=False)


def _note(notes: OrderedDict[Did, int], did: Did, until_ms: int) -> None:
    notes[did] = until_ms
    notes.move_to_end(did)
    if len(notes) > MAX_SILENT:
        notes.popitem(last=False)
