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
from icn_lite.model.job import SelectionStrategy


@dataclass(frozen=True, slots=True)
class Offer:
    """A valid bid with its score; `cid` is that of the signed bid."""

    cid: Cid
    bid: Bid
    score_ppm: int


def select(offers: Iterable[Offer], strategy: SelectionStrategy, count: int, seed: bytes = b"") -> tuple[Offer, ...]:
    """The best `count` offers of distinct bidders, best first; fewer where there are fewer bidders."""
    ranked = sorted(offers, key=_KEYS[strategy])
    by_bidder: dict[bytes, Offer] = {}
    for offer in ranked:
        by_bidder.setdefault(offer.bid.bidder.public_key, offer)
    distinct = tuple(by_bidder.values())
    if strategy is SelectionStrategy.RANDOM:
        return _draw(distinct, count, seed)
    return distinct[: max(count, 0)]


def _best(offer: Offer) -> bytes:
    """Where an offer stands by its score, as bytes: one comparison of memory instead of several of numbers."""
    return (_MOST_SCORE - offer.score_ppm).to_bytes(_SCORE_BYTES, "big") + offer.cid.digest


_SCORE_BYTES: Final = 4
_MOST_SCORE: Final = (1 << 8 * _SCORE_BYTES) - 1  # scores are parts per million, far below
_AMOUNT_BYTES: Final = 8  # mana and milliseconds stay below 2^50
_KEYS: Final[Mapping[SelectionStrategy, Callable[[Offer], bytes]]] = {
    SelectionStrategy.LOWEST_PRICE: lambda offer: offer.bid.price.to_bytes(_AMOUNT_BYTES, "big") + _best(offer),
    SelectionStrategy.FASTEST_DELIVERY: (
        lambda offer: offer.bid.completion_ms.to_bytes(_AMOUNT_BYTES, "big") + _best(offer)
    ),
    SelectionStrategy.BEST_SCORE: _best,
    SelectionStrategy.RANDOM: lambda offer: offer.cid.digest,
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
