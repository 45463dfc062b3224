"""Prices, completion times, scores and reputation: worked examples, then what holds for all numbers."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_samples import JOB, bid_of

from icn_lite.market import reputation
from icn_lite.market.outcome import ValidationOutcome
from icn_lite.market.price import (
    MAX_COMPLETION_MS,
    PM,
    Effort,
    Pace,
    Prices,
    Quote,
    busy_ms,
    paced_ms,
    paid_copies,
    price_limit,
    quote,
)
from icn_lite.market.score import BidScore, capability_score, headroom, score_bid
from icn_lite.model.bid import ComputeScore
from icn_lite.model.job import Budget, ExecutionPolicy, Full, NoRedundancy, Sampling
from icn_lite.model.units import MAX_FUEL, MAX_MANA, PPM

steady = settings(deadline=None, derandomize=True)
mana = st.integers(0, MAX_MANA)
ppm = st.integers(0, PPM)


PRICES = Prices(1, 360_000, 720, 1_440, margin_pm=100, surge_pm=1_000)
EFFORT = Effort(3_000_000_000, 300_000_000, 10_000)
rates = st.integers(0, 10**6)
prices_made = st.builds(Prices, rates, rates, rates, rates, st.integers(0, 5_000), st.integers(0, 5_000))
efforts = st.builds(Effort, st.integers(0, 10**13), st.integers(1, 10**10), st.integers(0, 10**6))


def test_the_worked_example_of_the_price() -> None:
    found = quote(PRICES, EFFORT, headroom_pm=500)
    assert found == Quote(1_000_000, 3_000_000, 2_000_000, 4_000_000, 1_000_000, 5_500_000)
    assert found.mana == 17
    assert quote(PRICES, EFFORT).mana == 11


@pytest.mark.parametrize(
    ("prices", "fuel", "expected"),
    [
        (Prices(5, 0, 0, 0), 0, 5),
        (Prices(5, 0, 3_600, 0), 1, 6),  # a ms of work, a thousandth of a mana: rounded up
        (Prices(0, 0, 0, 0, 1_000, 1_000), 10**12, 0),
        (Prices(MAX_MANA, 0, 0, 0, 1_000), 0, MAX_MANA),
    ],
)
def test_edges_of_the_price(prices: Prices, fuel: int, expected: int) -> None:
    assert quote(prices, Effort(fuel, 10**9, 1), 0).mana == expected


@given(prices=prices_made, effort=efforts, headroom_pm=st.integers(0, PM - 1))
@steady
def test_less_headroom_and_more_work_never_cost_less(prices: Prices, effort: Effort, headroom_pm: int) -> None:
    price = quote(prices, effort, headroom_pm).mana
    assert price >= quote(prices, effort, headroom_pm + 1).mana >= prices.base
    assert price <= quote(prices, replace(effort, fuel=effort.fuel + 1), headroom_pm).mana
    # without any headroom, at most the surge above the price with all of it, and the rounding
    assert price <= -(-quote(prices, effort).mana * (PM + prices.surge_pm) // PM) + 1


@pytest.mark.parametrize(
    ("fuel", "rate", "expected"),
    [
        (0, 1, 0),
        (1_000_000, 1_000_000, 1_000),
        (1, 1_000_000, 1),
        (MAX_FUEL, 1, MAX_COMPLETION_MS),
    ],
)
def test_work_at_full_duty(fuel: int, rate: int, expected: int) -> None:
    assert busy_ms(fuel, rate) == expected


@pytest.mark.parametrize(
    ("work_ms", "pace", "expected"),
    [
        (90_000, Pace(750, 40_000, 300), 240_000),  # the worked example
        (90_000, Pace(750), 120_000),  # without a forecast
        (30_000, Pace(750, 40_000, 0), 40_000),  # done just before guests stand still
        (30_001, Pace(750, 40_000, 0), MAX_COMPLETION_MS),
        (1, Pace(1), 1_000),
        (0, Pace(1, 0, 0), 0),
        (MAX_COMPLETION_MS, Pace(1, 1, 1), MAX_COMPLETION_MS),
    ],
)
def test_work_under_a_duty_cycle_and_its_forecast(work_ms: int, pace: Pace, expected: int) -> None:
    assert paced_ms(work_ms, pace) == expected


paces = st.builds(Pace, st.integers(1, PM), st.none() | st.integers(0, 10**6), st.integers(0, PM))


@given(work_ms=st.integers(0, 10**6), pace=paces)
@steady
def test_a_pace_loses_no_work(work_ms: int, pace: Pace) -> None:
    """What was done in the time that it takes is the work, and a millisecond less doesn't do it."""

    def done(ms: int) -> Fraction:
        lasts_ms = ms if pace.lasts_ms is None else min(ms, pace.lasts_ms)
        return Fraction(lasts_ms * pace.duty_pm + (ms - lasts_ms) * pace.later_pm, PM)

    took_ms = paced_ms(work_ms, pace)
    assert paced_ms(work_ms + 1, pace) >= took_ms
    if took_ms < MAX_COMPLETION_MS:
        assert done(took_ms) >= work_ms
        # Two roundings: of what is done by the change, and of the rest.
        slowest_pm = max(1, min(pace.duty_pm, pace.later_pm) if pace.lasts_ms is not None else pace.duty_pm)
        assert took_ms == 0 or done(max(0, took_ms - 1 - -(-PM // slowest_pm))) < work_ms


@pytest.mark.parametrize("pace", [Pace(0), Pace(1001), Pace(1, 1, -1), Pace(1, 1, 1001)])
def test_a_duty_that_is_none_is_refused(pace: Pace) -> None:
    with pytest.raises(ValueError, match="expected busy_ms >= 0 and a duty"):
        paced_ms(1, pace)


@pytest.mark.parametrize("rate", [0, -1])
def test_a_device_that_stands_still_is_never_done(rate: int) -> None:
    with pytest.raises(ValueError, match="expected a rate above 0"):
        busy_ms(1, rate)


def test_prices_of_nothing_sensible_are_refused() -> None:
    with pytest.raises(ValueError, match="expected fuel >= 0"):
        quote(PRICES, replace(EFFORT, fuel=-1))
    with pytest.raises(ValueError, match="headroom of 0 to 1000"):
        quote(PRICES, EFFORT, 1_001)


@pytest.mark.parametrize(
    ("redundancy", "copies", "limit"), [(NoRedundancy(), 1, 1_000), (Full(3), 3, 333), (Sampling(5), 2, 500)]
)
def test_the_budget_covers_every_copy(redundancy: NoRedundancy | Full | Sampling, copies: int, limit: int) -> None:
    job = replace(JOB, redundancy=redundancy)
    assert (paid_copies(job), price_limit(job)) == (copies, limit)


def test_the_policy_may_ask_for_less_than_the_budget() -> None:
    assert price_limit(replace(JOB, policy=ExecutionPolicy(max_price=250))) == 250
    assert price_limit(replace(JOB, policy=ExecutionPolicy(max_price=2_000))) == 1_000


def test_the_worked_example_of_the_score() -> None:
    score = score_bid(bid_of(1), JOB, remaining_ms=120_000, reputation_ppm=500_000)
    assert score == BidScore(600_000, 750_000, 500_000, 666_666)
    assert score.total_ppm == 613_333


def test_what_a_bid_says_of_its_own_reputation_counts_for_nothing() -> None:
    boast = replace(bid_of(1), reputation_ppm=PPM)
    assert score_bid(boast, JOB, remaining_ms=120_000, reputation_ppm=1) == score_bid(
        bid_of(1), JOB, remaining_ms=120_000, reputation_ppm=1
    )


def test_a_speed_that_was_shown_takes_the_place_of_the_claimed_one() -> None:
    """At a tenth of the need the speed's part is a tenth by eleven, instead of two thirds."""
    shown = score_bid(bid_of(1), JOB, remaining_ms=120_000, reputation_ppm=500_000, proven_fuel_per_s=100_000)
    assert shown.capability_ppm == (90_909 + 666_666 + 666_666) // 3
    same = score_bid(bid_of(1), JOB, remaining_ms=120_000, reputation_ppm=500_000, proven_fuel_per_s=2_000_000)
    assert same == score_bid(bid_of(1), JOB, remaining_ms=120_000, reputation_ppm=500_000)


@given(price=mana, limit=mana.filter(bool), time=mana, remaining=mana, known=ppm, rate=st.integers(0, 1 << 50))
@steady
def test_the_score_is_the_specification_s_formula(
    price: int, limit: int, time: int, remaining: int, known: int, rate: int
) -> None:
    """Within the rounding of four divisions of the exact value, and between 0 and one."""
    job = replace(JOB, budget=Budget(max_total=limit))
    bid = replace(bid_of(1, price=price, completion_ms=time), compute_score=ComputeScore(rate, 128, 4))
    score = score_bid(bid, job, remaining_ms=remaining, reputation_ppm=known)
    price_part = max(Fraction(0), 1 - Fraction(price, limit))
    time_part = max(Fraction(0), 1 - Fraction(time, remaining)) if remaining else Fraction(0)
    exact = price_part * 30 + time_part * 20 + Fraction(known, PPM) * 30 + Fraction(score.capability_ppm, PPM) * 20
    assert 0 <= exact * PPM / 100 - score.total_ppm < 2
    assert 0 <= score.total_ppm <= PPM


@given(used=st.integers(-10, 10**15), limit=st.integers(-10, 10**15))
@steady
def test_headroom_is_a_share(used: int, limit: int) -> None:
    assert 0 <= headroom(used, limit) <= PPM
    assert headroom(max(used, 0) + 1, limit) <= headroom(max(used, 0), limit)


@given(rate=st.integers(0, 10**12), memory=st.integers(64, 10**6), cores=st.integers(2, 4096))
@steady
def test_a_larger_machine_never_scores_less(rate: int, memory: int, cores: int) -> None:
    score = capability_score(ComputeScore(rate, memory, cores), JOB.compute)
    assert 0 <= score < PPM
    assert capability_score(ComputeScore(rate + 1, memory, cores), JOB.compute) >= score
    assert capability_score(ComputeScore(rate, memory + 1, cores), JOB.compute) >= score
    assert capability_score(ComputeScore(rate, memory, cores + 1), JOB.compute) >= score


@pytest.mark.parametrize("has", [ComputeScore(10**9, 63, 4), ComputeScore(10**9, 128, 1)])
def test_a_need_that_is_not_met_scores_nothing(has: ComputeScore) -> None:
    assert capability_score(has, JOB.compute) == 0


@pytest.mark.parametrize(
    ("outcome", "change"),
    [
        (ValidationOutcome.ACCEPTED, 10_000),
        (ValidationOutcome.REJECTED, -50_000),
        (ValidationOutcome.ACCEPTED_WITH_DISPUTE, -10_000),
    ],
)
def test_reputation_moves_by_the_specification_s_amounts(outcome: ValidationOutcome, change: int) -> None:
    assert reputation.after(reputation.START_PPM, outcome) == reputation.START_PPM + change


def test_reputation_stays_between_nothing_and_one() -> None:
    assert reputation.recompute([ValidationOutcome.REJECTED] * 100) == 0
    assert reputation.recompute([ValidationOutcome.ACCEPTED] * 100) == PPM
    assert reputation.recompute([]) == reputation.START_PPM


@given(history=st.lists(st.sampled_from(ValidationOutcome)), cut=st.integers(0, 50))
@steady
def test_reputation_can_be_taken_up_anywhere(history: list[ValidationOutcome], cut: int) -> None:
    so_far = reputation.recompute(history[:cut])
    assert reputation.recompute(history[cut:], so_far) == reputation.recompute(history)
