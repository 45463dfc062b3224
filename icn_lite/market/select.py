"""Choosing executors among valid bids: the four strategies of `mesh-job-protocol.md` §3.2.

Ties break by the CID of the bid, which nobody chooses freely and everybody can compute, so the choice can be checked
by whoever sees the bids. `Random` draws without replacement, weighted by score, from a seed that is passed in. Every
strategy costs at most n · log n for n bids, however many are chosen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from icn_lite.model.bid import Bid
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.job import SelectionStrategy


@dataclass(frozen=True, slots=True)
class Offer:
    """A valid bid with its score; `cid` is that of the signed bid."""

    cid: Cid
    bid: Bid
    score_ppm: int


def select(offers: Iterable[Offer], strategy: SelectionStrategy, count: int, seed: bytes = b"") -> tuple[Offer, ...]:
    """The best `count` offers of distinct bidders, best first; fewer where there are fewer bidders."""
    ranked = sorted(offers, key=lambda offer: (*_KEYS[strategy](offer), offer.cid.digest))
    by_bidder: dict[Did, Offer] = {}
    for offer in ranked:
        by_bidder.setdefault(offer.bid.bidder, offer)
    distinct = tuple(by_bidder.values())
    if strategy is SelectionStrategy.RANDOM:
        return _draw(distinct, count, seed)
    return distinct[: max(count, 0)]


Key = Callable[[Offer], tuple[int, ...]]
_KEYS: Final[Mapping[SelectionStrategy, Key]] = {
    SelectionStrategy.LOWEST_PRICE: lambda offer: (offer.bid.price, -offer.score_ppm),
    SelectionStrategy.FASTEST_DELIVERY: lambda offer: (offer.bid.completion_ms, -offer.score_ppm),
    SelectionStrategy.BEST_SCORE: lambda offer: (-offer.score_ppm,),
    SelectionStrategy.RANDOM: lambda offer: (),
}


def _draw(offers: Sequence[Offer], count: int, seed: bytes) -> tuple[Offer, ...]:
    """Draw without replacement; an offer's chance is its score, at least one part in a million."""
    tree = _SumTree([max(offer.score_ppm, 1) for offer in offers])
    drawn: list[Offer] = []
    for number in range(min(max(count, 0), len(offers))):
        # 256 bits against a total under 2^60: the remainder's bias is below 2^-190.
        digest = hashlib.sha256(b"icn-lite/select/1" + number.to_bytes(4, "big") + seed).digest()
        drawn.append(offers[tree.take(int.from_bytes(digest, "big") % tree.total)])
    return tuple(drawn)


class _SumTree:
    """Weights in a binary tree of sums: finds and removes the leaf under a point in log n steps."""

    def __init__(self, weights: Sequence[int]) -> None:
        self._leaves = 1 << max(len(weights) - 1, 0).bit_length()
        self._sums = [0] * self._leaves + list(weights) + [0] * (self._leaves - len(weights))
        for node in range(self._leaves - 1, 0, -1):
            self._sums[node] = self._sums[2 * node] + self._sums[2 * node + 1]

    @property
    def total(self) -> int:
        return self._sums[1]

    def take(self, point: int) -> int:
        """The index whose span holds `point` (below `total`); its weight is taken out."""
        node = 1
        while node < self._leaves:
            node *= 2
            if point >= self._sums[node]:
                point -= self._sums[node]
                node += 1
        index, weight = node - self._leaves, self._sums[node]
        while node:
            self._sums[node] -= weight
            node //= 2
        return index
