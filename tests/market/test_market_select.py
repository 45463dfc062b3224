"""Selection: each strategy against the obvious way to choose, and the draw against its weights."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_samples import bid_of, cid_of, did_of

from icn_lite.market.select import Offer, select
from icn_lite.model.job import SelectionStrategy

steady = settings(deadline=None, derandomize=True)


@st.composite
def some_offers(draw: st.DrawFn) -> list[Offer]:
    """Up to 20 offers with many ties, some bidders with several."""
    count = draw(st.integers(0, 20))
    small = st.integers(0, 3)
    return [
        Offer(
            cid_of(number),
            bid_of(draw(st.integers(1, 12)), price=draw(small), completion_ms=draw(small)),
            draw(small) * 250_000,
        )
        for number in range(count)
    ]


ORDER = {
    SelectionStrategy.LOWEST_PRICE: lambda offer: offer.bid.price,
    SelectionStrategy.FASTEST_DELIVERY: lambda offer: offer.bid.completion_ms,
    SelectionStrategy.BEST_SCORE: lambda offer: -offer.score_ppm,
}


@pytest.mark.parametrize("strategy", list(ORDER))
@given(offers=some_offers(), count=st.integers(0, 25), shuffle=st.randoms(use_true_random=False))
@steady
def test_the_best_of_distinct_bidders_whatever_the_order_of_arrival(
    strategy: SelectionStrategy, offers: list[Offer], count: int, shuffle: object
) -> None:
    chosen = select(offers, strategy, count)
    bidders = {offer.bid.bidder for offer in offers}
    assert len(chosen) == min(count, len(bidders))
    assert len({offer.bid.bidder for offer in chosen}) == len(chosen)
    key = ORDER[strategy]
    best = sorted(min(key(offer) for offer in offers if offer.bid.bidder == bidder) for bidder in bidders)
    assert [key(offer) for offer in chosen] == best[:count]
    mixed = list(offers)
    shuffle.shuffle(mixed)  # type: ignore[attr-defined]
    assert select(mixed, strategy, count) == chosen


def test_a_tie_goes_to_the_better_score_and_then_to_the_smaller_cid() -> None:
    offers = [Offer(cid_of(number), bid_of(number), score) for number, score in ((1, 5), (2, 9), (3, 9))]
    first, second, third = select(offers, SelectionStrategy.LOWEST_PRICE, 3)
    assert third.score_ppm == 5
    assert first.cid.digest < second.cid.digest


@given(offers=some_offers(), count=st.integers(0, 25), seed=st.binary(max_size=8))
@steady
def test_the_draw_depends_on_nothing_but_offers_and_seed(offers: list[Offer], count: int, seed: bytes) -> None:
    chosen = select(offers, SelectionStrategy.RANDOM, count, seed)
    assert select(reversed(offers), SelectionStrategy.RANDOM, count, seed) == chosen
    assert len({offer.bid.bidder for offer in chosen}) == len(chosen)
    assert len(chosen) == min(count, len({offer.bid.bidder for offer in offers}))


@given(offers=some_offers(), count=st.integers(0, 25), seed=st.binary(max_size=8))
@steady
def test_the_draw_is_the_plain_one_over_cumulated_weights(offers: list[Offer], count: int, seed: bytes) -> None:
    """The tree of sums finds what walking along the list finds."""
    left = list(select(offers, SelectionStrategy.RANDOM, 0, seed))
    by_cid = sorted(offers, key=lambda offer: offer.cid.digest)
    for offer in by_cid:
        if all(offer.bid.bidder != other.bid.bidder for other in left):
            left.append(offer)
    walked = []
    for number in range(min(count, len(left))):
        digest = hashlib.sha256(b"icn-lite/select/1" + number.to_bytes(4, "big") + seed).digest()
        point = int.from_bytes(digest, "big") % sum(max(offer.score_ppm, 1) for offer in left)
        for offer in left:
            point -= max(offer.score_ppm, 1)
            if point < 0:
                break
        walked.append(offer)
        left.remove(offer)
    assert select(offers, SelectionStrategy.RANDOM, count, seed) == tuple(walked)


def test_the_draw_follows_the_scores() -> None:
    weights = {1: 100_000, 2: 200_000, 3: 700_000, 4: 0}
    offers = [Offer(cid_of(number), bid_of(number), weight) for number, weight in weights.items()]
    draws = 4_000
    firsts = Counter(
        select(offers, SelectionStrategy.RANDOM, 1, seed.to_bytes(4, "big"))[0].bid.bidder for seed in range(draws)
    )
    for number, weight in weights.items():
        expected = draws * weight / 1_000_000
        assert abs(firsts[did_of(number)] - expected) <= 4 * max(expected, 1) ** 0.5
    everyone = select(offers, SelectionStrategy.RANDOM, 4, b"seed")
    assert {offer.bid.bidder for offer in everyone} == {did_of(number) for number in weights}


def test_of_no_offers_nobody_is_chosen() -> None:
    for strategy in SelectionStrategy:
        assert select([], strategy, 3, b"seed") == ()
        assert select([Offer(cid_of(1), bid_of(1), 1)], strategy, 0, b"seed") == ()
        assert select([Offer(cid_of(1), bid_of(1), 1)], strategy, -1, b"seed") == ()
