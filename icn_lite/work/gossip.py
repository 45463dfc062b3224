"""Gossip: what everybody shall hear spreads from neighbour to neighbour, and stops by itself.

A rumour that is new is delivered here and handed on to at most `fan_out` neighbours, with one hop less; one that was
heard before is only noted. So each node hands a rumour on once, a rumour costs at most `fan_out` messages a node, and
it can't circle: it is known by its hash for longer than it lives. Whom a push missed (loss, a partition, a crowd larger
than the fan-out) asks: every node numbers what it hears, and tells a neighbour the names from a number on (`page`).

Revocations never run out, so they have no rumours' names and lifetimes: whoever hears one for the first time tells
`REVOCATION_FAN_OUT` neighbours of it, chosen by the same lot, and is asked for it by all others (`node/belonging.py`).

Nobody can crowd out others: of one origin a few rumours are kept, the newest; one neighbour may bring so many a
minute; names and bytes are bounded. Pure: time and neighbours come in, effects go out.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.parcel import MAX_HOPS, MAX_LIFETIME_MS
from icn_lite.work.quota import Bucket, Quotas

REVOCATION_FAN_OUT: Final = 8  # neighbours told of a revocation at once; in a house that is everybody
PAGE: Final = 64  # names told at a time, 40 bytes each: two blocks


@dataclass(frozen=True, slots=True)
class GossipBounds:
    """What one node spends on gossip; the defaults suit a phone."""

    fan_out: int = 6  # in a house that is nearly everybody; pulling finds the rest
    kept: int = 512  # rumours that can be told to others
    kept_bytes: int = 1 << 20
    of_origin: int = 8  # rumours of one origin; an advertisement and a few jobs
    names: int = 8_192  # rumours known by name, 150 bytes each
    per_minute: int = 600  # new ones from one neighbour; ten a second, or a whole partition's at its end


@dataclass(frozen=True, slots=True)
class Rumour:
    """A parcel for everybody as it came in: `hops` it may still be handed on, `age_ms` since it was sent."""

    id: Cid
    origin: Did
    block: bytes
    hops: int
    age_ms: int
    lifetime_ms: int


@dataclass(frozen=True, slots=True)
class Deliver:
    """The rumour is new here: it concerns this node too."""

    id: Cid


@dataclass(frozen=True, slots=True)
class Push:
    """Hand the rumour on to these neighbours."""

    id: Cid
    to: tuple[Did, ...]


class Why(Enum):
    """Why nothing came of a rumour."""

    KNOWN = "heard before"
    OVER = "its time is over"
    FAR = "it was handed on too often"
    QUOTA = "its bringer brings too many"


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing is done."""

    why: Why


Effect: TypeAlias = Deliver | Push | Ignored


@dataclass(slots=True)
class _Kept:
    rumour: Rumour
    born_ms: int
    number: int


class Gossip:
    """What one node has heard."""

    def __init__(self, own: Did, bounds: GossipBounds | None = None) -> None:
        self._own = own
        self._bounds = bounds or GossipBounds()
        self._kept: OrderedDict[Cid, _Kept] = OrderedDict()
        self._bytes = 0
        self._names: OrderedDict[Cid, int] = OrderedDict()  # until when each is remembered
        self._quotas = Quotas(Bucket(self._bounds.per_minute, self._bounds.per_minute, 60_000))
        self._next = 0

    def __len__(self) -> int:
        return len(self._kept)

    def knows(self, rumour: Cid) -> bool:
        """Whether a rumour was heard."""
        return rumour in self._names

    def origin(self, rumour: Cid) -> Did | None:
        """Who began a rumour that is still kept."""
        kept = self._kept.get(rumour)
        return kept.rumour.origin if kept is not None else None

    def heard(self, rumour: Rumour, source: Did | None, neighbours: Collection[Did], now_ms: int) -> list[Effect]:
        """A rumour came from a neighbour, or begins here (`source` is None)."""
        if rumour.id in self._names:
            return [Ignored(Why.KNOWN)]
        if rumour.age_ms >= min(rumour.lifetime_ms, MAX_LIFETIME_MS):
            return [Ignored(Why.OVER)]
        if not 0 <= rumour.hops <= MAX_HOPS:
            return [Ignored(Why.FAR)]
        if source is not None and not self._quotas.take(source, 1, now_ms):
            return [Ignored(Why.QUOTA)]
        self._remember(rumour, now_ms)
        self._keep(rumour, now_ms)
        effects: list[Effect] = [] if source is None else [Deliver(rumour.id)]
        targets = self._targets(rumour, source, neighbours) if rumour.hops > 0 else ()
        return [*effects, Push(rumour.id, targets)] if targets else effects

    def told(self, rumour: Cid, now_ms: int) -> Rumour | None:
        """A rumour as it is handed on now, or None where it is gone, over, or has no hop left."""
        kept = self._kept.get(rumour)
        if kept is None:
            return None
        told, age_ms = kept.rumour, now_ms - kept.born_ms
        if age_ms >= told.lifetime_ms or told.hops == 0:
            return None
        return Rumour(told.id, told.origin, told.block, told.hops - 1, age_ms, told.lifetime_ms)

    def page(self, start: int, now_ms: int) -> tuple[tuple[Cid, ...], int]:
        """Names of rumours from number `start` on that may be asked for, and the number to go on from."""
        self.forget_old(now_ms)
        found = [kept for kept in self._kept.values() if kept.number >= start and kept.rumour.hops > 0][:PAGE]
        after = found[-1].number + 1 if len(found) == PAGE else self._next
        return tuple(kept.rumour.id for kept in found), after

    def forget_old(self, now_ms: int) -> None:
        """Let go what nobody has to hear any more."""
        for kept in [kept for kept in self._kept.values() if now_ms - kept.born_ms >= kept.rumour.lifetime_ms]:
            self._drop(kept.rumour.id)
        while self._names and next(iter(self._names.values())) <= now_ms:
            self._names.popitem(last=False)

    def _remember(self, rumour: Rumour, now_ms: int) -> None:
        """Names stay twice as long as anything lives: whoever claims a younger age is still known."""
        self._names[rumour.id] = now_ms + 2 * MAX_LIFETIME_MS
        if len(self._names) > self._bounds.names:
            self._names.popitem(last=False)

    def _keep(self, rumour: Rumour, now_ms: int) -> None:
        self.forget_old(now_ms)
        of_origin = [kept for kept in self._kept.values() if kept.rumour.origin == rumour.origin]
        if len(of_origin) >= self._bounds.of_origin:
            self._drop(min(of_origin, key=lambda kept: kept.born_ms).rumour.id)
        self._kept[rumour.id] = _Kept(rumour, now_ms - rumour.age_ms, self._next)
        self._bytes += len(rumour.block)
        self._next += 1
        while len(self._kept) > self._bounds.kept or self._bytes > self._bounds.kept_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, rumour: Cid) -> None:
        self._bytes -= len(self._kept.pop(rumour).rumour.block)

    def _targets(self, rumour: Rumour, source: Did | None, neighbours: Collection[Did]) -> tuple[Did, ...]:
        """Which neighbours, by a draw that differs from rumour to rumour and from node to node."""
        return chosen(rumour.id, self._own, set(neighbours) - {source, rumour.origin}, self._bounds.fan_out)


def chosen(what: Cid, own: Did, among: Collection[Did], most: int) -> tuple[Did, ...]:
    """At most `most` of these, by lot; never ourselves."""
    return tuple(sorted(set(among) - {own}, key=lambda did: draw(what, own, did))[:most])


def draw(what: Cid, own: Did, did: Did) -> bytes:
    """A lot for a neighbour, without randomness: nobody can foresee it for what isn't signed yet."""
    return hashlib.sha256(what.digest + own.public_key + did.public_key).digest()
