"""Quotas: how much each neighbour may ask in a stretch of time, so that one can't starve the others."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from icn_lite.model.did import Did

MAX_TRACKED: Final = 256  # neighbours of one node; the longest silent is forgotten, and then has a full bucket


@dataclass(frozen=True, slots=True)
class Bucket:
    """At most `burst` at once, and `amount` more in every `per_ms`."""

    burst: int
    amount: int
    per_ms: int


class Quotas:
    """A token bucket for each neighbour, in whole numbers: a level is counted in `1/per_ms` parts."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._levels: OrderedDict[Did, tuple[int, int]] = OrderedDict()

    def take(self, did: Did, cost: int, now_ms: int) -> bool:
        """Whether `cost` more are allowed; takes them if so."""
        bucket = self._bucket
        full = bucket.burst * bucket.per_ms
        level, at_ms = self._levels.get(did, (full, now_ms))
        level = min(full, level + max(0, now_ms - at_ms) * bucket.amount)
        allowed = level >= cost * bucket.per_ms
        self._levels[did] = (level - cost * bucket.per_ms if allowed else level, now_ms)
        self._levels.move_to_end(did)
        if len(self._levels) > MAX_TRACKED:
            self._levels.popitem(last=False)
        return allowed
