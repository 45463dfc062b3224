"""Bid validation: one bid that is taken, and every reason for which one is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from market_samples import CAPABILITY, JOB, JOB_ID, bid_of, cid_of, did_of

from icn_lite.market.bids import MAX_BIDS, Bidder, Tender, stake_of, validate_bid
from icn_lite.model.bid import AvailabilityWindow, Bid, ComputeScore
from icn_lite.model.capability import AllowanceLevel
from icn_lite.model.errors import BidError, JobErrorCode
from icn_lite.model.job import ExecutionPolicy, Full

TENDER = Tender(JOB_ID, JOB, remaining_ms=120_000, window_ms=10_000)
BIDDER = Bidder(balance=100)


def refusal(bid: Bid, tender: Tender = TENDER, bidder: Bidder = BIDDER) -> BidError:
    with pytest.raises(BidError) as refused:
        validate_bid(bid, tender, bidder)
    return refused.value


def test_a_good_bid_locks_five_percent() -> None:
    assert validate_bid(bid_of(1), TENDER, BIDDER) == 20
    assert validate_bid(bid_of(1), TENDER, replace(BIDDER, capability=CAPABILITY)) == 20


def test_what_is_just_allowed_is_allowed() -> None:
    edge = replace(bid_of(1, price=1_000, completion_ms=120_000), valid_ms=10_000)
    assert validate_bid(edge, TENDER, replace(BIDDER, balance=50)) == 50


@pytest.mark.parametrize(("price", "stake"), [(0, 0), (19, 0), (20, 1), (39, 1), (1_000, 50)])
def test_the_stake_is_rounded_down(price: int, stake: int) -> None:
    assert stake_of(price) == stake


@pytest.mark.parametrize(
    ("bid", "reason", "code", "part"),
    [
        (replace(bid_of(1), job_id=cid_of(9)), "job", None, str(cid_of(9))),
        (replace(bid_of(1), job_originator=did_of(9)), "originator", None, str(did_of(9))),
        (bid_of(1, price=1_001), "price", JobErrorCode.INSUFFICIENT_BUDGET, "1001 mana exceeds the 1000"),
        (bid_of(1, completion_ms=120_001), "deadline", JobErrorCode.DEADLINE_EXCEEDED, "120001 ms"),
        (replace(bid_of(1), valid_ms=9_999), "validity", None, "9999 ms, 10000 ms are needed"),
        (
            replace(bid_of(1), compute_score=ComputeScore(10**9, 63, 4)),
            "capability",
            JobErrorCode.NO_EXECUTOR_AVAILABLE,
            "the bid offers 4 cores and 63 MB",
        ),
        (
            replace(bid_of(1), compute_score=ComputeScore(10**9, 128, 1)),
            "capability",
            JobErrorCode.NO_EXECUTOR_AVAILABLE,
            "the bid offers 1 cores",
        ),
    ],
)
def test_terms_that_do_not_fit(bid: Bid, reason: str, code: JobErrorCode | None, part: str) -> None:
    error = refusal(bid)
    assert (error.reason, error.code) == (reason, code)
    assert part in error.message


def test_a_window_of_availability_holds_a_shard() -> None:
    just = replace(bid_of(1), availability=AvailabilityWindow(15_000, 1))  # 30 million fuel at 2 million a second
    assert validate_bid(just, TENDER, BIDDER) == 20
    error = refusal(replace(just, availability=AvailabilityWindow(14_999, 1)))
    assert (error.reason, "14999 ms is too short" in error.message) == ("availability", True)


def test_a_speed_that_a_job_asks_for_is_shown_by_a_benchmark() -> None:
    tender = replace(TENDER, job=replace(JOB, policy=ExecutionPolicy(min_fuel_per_s=1_000)))
    shown = replace(BIDDER, capability=replace(CAPABILITY, benchmark=cid_of(1)))
    assert validate_bid(bid_of(1), tender, replace(shown, proven_fuel_per_s=1_000)) == 20
    for proven, part in ((999, "shows 999"), (None, "found none")):
        error = refusal(bid_of(1), tender, replace(shown, proven_fuel_per_s=proven))
        assert (error.reason, error.code) == ("proof", JobErrorCode.NO_EXECUTOR_AVAILABLE)
        assert part in error.message


def test_after_the_window_twice_and_one_too_many() -> None:
    assert refusal(bid_of(1), replace(TENDER, window_ms=0)).reason == "closed"
    assert "5 ms ago" in refusal(bid_of(1), replace(TENDER, window_ms=-5)).message
    assert refusal(bid_of(1), replace(TENDER, bidders=frozenset({did_of(1)}))).reason == "duplicate"
    assert validate_bid(bid_of(2), replace(TENDER, bidders=frozenset({did_of(1)})), BIDDER) == 20
    crowd = frozenset(did_of(number) for number in range(10, 10 + MAX_BIDS))
    assert refusal(bid_of(1), replace(TENDER, bidders=crowd)).reason == "full"


def test_every_copy_has_to_be_paid_from_the_budget() -> None:
    tender = replace(TENDER, job=replace(JOB, redundancy=Full(2)))
    assert validate_bid(bid_of(1, price=500), tender, BIDDER) == 25
    assert refusal(bid_of(1, price=501), tender).reason == "price"


def test_reputation_is_what_the_originator_knows() -> None:
    for job in (
        replace(JOB, min_reputation_ppm=500_001),
        replace(JOB, policy=ExecutionPolicy(min_reputation_ppm=500_001)),
    ):
        tender = replace(TENDER, job=job)
        boast = replace(bid_of(1), reputation_ppm=1_000_000)
        assert refusal(boast, tender).reason == "reputation"
        assert validate_bid(bid_of(1), tender, replace(BIDDER, reputation_ppm=500_001)) == 20


def test_a_stake_that_is_not_there() -> None:
    error = refusal(bid_of(1), bidder=Bidder(balance=19))
    assert (error.reason, error.code) == ("stake", JobErrorCode.PAYMENT_FAILED)
    assert "20 mana (5 % of 400) is needed, the bidder holds 19" in error.message


def test_a_claim_beyond_the_bidder_s_own_document() -> None:
    bidder = replace(BIDDER, capability=replace(CAPABILITY, memory_mb=127))
    assert "its document says 4 cores and 127 MB" in refusal(bid_of(1), bidder=bidder).message


def test_a_document_that_does_not_match_the_job() -> None:
    bidder = replace(BIDDER, capability=replace(CAPABILITY, allowance=AllowanceLevel.SUSPEND))
    error = refusal(bid_of(1), bidder=bidder)
    assert error.reason == "capability"
    assert "allowance suspend" in error.message


def test_a_region_outside_the_policy() -> None:
    tender = replace(TENDER, job=replace(JOB, policy=ExecutionPolicy(region_filter=("us-east",))))
    assert "the bid says eu-west" in refusal(bid_of(1), tender).message
    assert "the bid says nothing" in refusal(replace(bid_of(1), region=None), tender).message
