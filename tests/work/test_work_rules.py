"""The vote, the pool of shards, and leases within the budget."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from work_samples import LEASE_MS, Desk, Says, bid_taken, did_of, offers_in, receipt_of, terms_of

from icn_lite.model.cid import Cid
from icn_lite.work import originator_events as ev
from icn_lite.work.leasing import MAX_STRIKES, LeaseBook, affordable
from icn_lite.work.originator import EXECUTOR_PATIENCE_MS
from icn_lite.work.quorum import MAX_EXTRA_COPIES, Finding, Judgement, judge
from icn_lite.work.shards import ShardPool

MANY = settings(max_examples=150, derandomize=True, deadline=None)
TERMS = terms_of(1, 2)
GRANT = ev.OfferLease(bytes(16), did_of(1), Cid.of_raw(b"bid"), (), LEASE_MS)
VOTES = [
    Finding.of(receipt_of(TERMS, GRANT, 0, Says(fuel=fuel), price=0).receipt, Cid.of_raw(b"r")).vote
    for fuel in range(5)
]


def findings_of(votes: tuple[int, ...]) -> tuple[Finding, ...]:
    return tuple(Finding(did_of(n), Cid.of_raw(b"%d" % n), VOTES[vote]) for n, vote in enumerate(votes, 1))


@pytest.mark.parametrize("copies", [1, 2, 3, 4])
def test_the_verdict_over_every_vote_in_every_order(copies: int) -> None:
    for count in range(copies + MAX_EXTRA_COPIES + 1):
        for votes in itertools.product(range(3), repeat=min(count, 6)):
            verdict = judge(findings_of(votes), copies)
            top = max(Counter(votes).values(), default=0)
            majority = top >= copies and 2 * top > len(votes)
            if len(votes) < copies:
                assert verdict.judgement is Judgement.WAIT
            elif majority:
                assert verdict.judgement is Judgement.ACCEPTED
                assert len(verdict.agreeing) == top
                assert {*verdict.agreeing, *verdict.dissenting} == set(findings_of(votes))
                assert not {f.vote for f in verdict.agreeing} & {f.vote for f in verdict.dissenting}
            else:
                spent = len(votes) >= copies + MAX_EXTRA_COPIES
                assert verdict.judgement is (Judgement.DISPUTED if spent else Judgement.MORE)
                assert not verdict.agreeing


def test_every_part_of_a_vote_tells_results_apart() -> None:
    says = (Says(), Says(output=b"x"), Says(fuel=1), Says(trap="unreachable"), Says(trap="out_of_fuel"))
    votes = {Finding.of(receipt_of(TERMS, GRANT, 0, said, price=0).receipt, Cid.of_raw(b"r")).vote for said in says}
    assert len(votes) == len(says)


# -- the pool


@MANY
@given(st.data(), st.integers(1, 12), st.integers(1, 3))
def test_nobody_gets_two_copies_of_a_shard(data: st.DataObject, count: int, copies: int) -> None:
    pool = ShardPool(count, copies)
    had: set[tuple[int, int]] = set()
    held: set[tuple[int, int]] = set()
    for _ in range(data.draw(st.integers(1, 30))):
        number = data.draw(st.integers(1, 4))
        executor = did_of(number)
        if data.draw(st.booleans()) or not held:
            for shard in pool.take(executor, data.draw(st.integers(1, 4)), lambda index: index % 5 != 4):
                assert (number, shard) not in had
                assert shard % 5 != 4
                had.add((number, shard))
                held.add((number, shard))
        else:
            number, shard = data.draw(st.sampled_from(sorted(held)))
            held.discard((number, shard))
            what = data.draw(st.sampled_from(("deliver", "drop", "retry", "withdraw", "settle", "want")))
            if what == "deliver":
                pool.deliver(did_of(number), shard)
            elif what == "withdraw":
                pool.deliver(did_of(number), shard)
                pool.withdraw(did_of(number), shard)
            elif what == "settle":
                pool.settle(shard)
            elif what == "want":
                pool.want(shard, copies + 1)
                held.add((number, shard))
            else:
                pool.release(did_of(number), [shard], may_retry=what == "retry")
                if what == "retry":
                    had.discard((number, shard))
        states = [pool[index] for index in range(count)]
        assert pool.remaining_copies == sum(state.open_copies for state in states)
        assert pool.settled == sum(state.settled for state in states)


def test_batches_follow_speed() -> None:
    pool = ShardPool(100, 1)
    rates = {did_of(1): 3_000, did_of(2): 1_000}
    assert [pool.batch_size(did, rates, 1_000) for did in rates] == [37, 12]  # 3/4 and 1/4 of half of 100
    assert pool.batch_size(did_of(1), rates, 8) == 8
    assert ShardPool(1, 1).batch_size(did_of(2), rates, 8) == 1
    assert pool.batch_size(did_of(1), {did_of(1): 0}, 1_000) == 50  # an unknown speed counts as the least


# -- leases


@MANY
@given(st.lists(st.integers(0, 1_000), max_size=6), st.integers(1, 3), st.integers(0, 2_000))
def test_the_dearest_go_until_any_copies_of_them_can_be_paid(prices: list[int], copies: int, budget: int) -> None:
    terms = terms_of(1, 2)
    bids = [bid_taken(terms, number, price=price) for number, price in enumerate(prices, 1)]
    kept = affordable(bids, copies, budget)
    assert [bid for bid in bids if bid in kept] == kept
    if len(kept) >= copies:
        assert sum(sorted((bid.bid.price for bid in kept), reverse=True)[:copies]) <= budget
    for dropped in set(map(id, bids)) - set(map(id, kept)):
        price = next(bid.bid.price for bid in bids if id(bid) == dropped)
        assert price >= max((bid.bid.price for bid in kept), default=0)


def test_a_shard_that_the_budget_does_not_reach_leaves_the_next_one_to_be_leased() -> None:
    """10: one dear shard at the front kept every cheap one behind it from being leased."""
    book = LeaseBook(terms_of(3, 1, budget=20, weights=(4, 1, 5)))
    book.choose([bid_taken(book.terms, 1, price=60)])
    offers = book.grant(0)
    assert [[(grant.index, grant.price) for grant in offer.shards] for offer in offers] == [[(1, 6)]]
    assert (book.left, book.pool.remaining_copies) == (14, 2)


def test_a_further_copy_waits_until_the_budget_reaches_for_it() -> None:
    desk = Desk(terms_of(1, 2, budget=800))
    offers = desk.run(*(bid_taken(desk.terms, number) for number in range(1, 4)))
    desk.deliver(offers[0], 0)
    assert offers_in(desk.deliver(offers[1], 0, Says(output=b"false"))) == []
    event = desk.machine.due(desk.now_ms + EXECUTOR_PATIENCE_MS)
    assert event == ev.DeadlinePassed(stuck=True)
    desk.tell(event, EXECUTOR_PATIENCE_MS)
    assert desk.machine.phase is ev.Phase.FAILED
    assert all(amount == 0 for amount in desk.moved().values())


def test_refusals_are_answered_by_longer_pauses_and_then_by_none() -> None:
    terms = terms_of(1, 1)
    desk = Desk(terms)
    offers = desk.run(bid_taken(terms, 1))
    pauses = []
    while offers:
        desk.tell(ev.LeaseRefused(offers[-1].nonce, "too warm"))
        state = desk.machine._book.executors[did_of(1)]
        assert state.ask_after_ms is not None
        pauses.append(state.ask_after_ms - desk.now_ms)
        offers = offers_in(desk.tell(ev.PauseOver(did_of(1)), pauses[-1]))
    assert pauses == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 32_000, 32_000]
    assert len(pauses) == MAX_STRIKES


def test_stakes_of_those_not_chosen_come_back_when_bidding_ends() -> None:
    desk = Desk(terms_of(1, 1))
    first, second = bid_taken(desk.terms, 1), bid_taken(desk.terms, 2)
    desk.tell(first)
    desk.tell(second)
    desk.tell(ev.BiddingEnded((first.cid, first.cid, Cid.of_raw(b"unknown"))), 5_000)
    assert desk.moved()[f"stake:{second.cid}"] == 0
    assert desk.moved()[f"stake:{first.cid}"] == 20
