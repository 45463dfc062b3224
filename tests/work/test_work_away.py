"""Executors that go out of reach with their leases: how long these last, and what late results earn."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from test_work_simulation import simulate
from work_samples import LEASE_MS, Desk, bid_taken, did_of, terms_of
from work_simulation import Plan, Weather
from work_worker import OFFLINE_MS

from icn_lite.market.outcome import ValidationOutcome
from icn_lite.market.settle import account_of
from icn_lite.work import originator_events as ev


@pytest.mark.parametrize("seed", range(6))
def test_who_goes_away_with_its_leases_is_paid_when_it_is_back(seed: int) -> None:
    calm = Weather(loss=0, repeat=0, crash=0, delay_ms=20)
    world = simulate(Plan(seed, 12, 1, ("away",), calm))
    worker, machine = world.workers[0], world.office.machine
    assert machine.phase is ev.Phase.COMPLETED
    assert sum(amount for _, amount in world.office.paid.items()) == machine.paid > 0
    for held in worker.leases.values():
        assert held.lease.duration_ms == world.office.terms.lease_ms + OFFLINE_MS
        assert held.lease.pays_late


@pytest.mark.parametrize("pays_late", [True, False])
def test_whether_results_after_their_lease_are_paid_is_what_the_lease_says(pays_late: bool) -> None:
    desk = Desk(replace(terms_of(1, 2), pays_late=pays_late))
    late, kept = desk.run(bid_taken(desk.terms, 1), bid_taken(desk.terms, 2), bid_taken(desk.terms, 3))
    assert desk.machine.lease_document(late, 0).pays_late is pays_late
    desk.tell(ev.LeaseLapsed(late.nonce), 3 * LEASE_MS)
    desk.tell(ev.LeaseTaken(kept.nonce))
    desk.deliver(late, 0)
    assert desk.machine.paid == 0, "one voice of two"
    effects = desk.deliver(kept, 0)
    judged = {effect.executor: effect.outcome for effect in effects if isinstance(effect, ev.Judged)}
    assert judged == dict.fromkeys((late.executor, kept.executor), ValidationOutcome.ACCEPTED)
    paid = {account for account, amount in desk.moved().items() if amount > 0}
    assert (account_of(late.executor) in paid) is pays_late
    assert account_of(kept.executor) in paid


def test_a_lease_lasts_longer_for_who_may_be_away_as_far_as_others_have_time_after_it() -> None:
    terms = terms_of(12, 1)
    near, away, far = (bid_taken(terms, number, most=2) for number in (1, 2, 3))
    away = replace(away, bid=replace(away.bid, offline_ms=600_000))
    far = replace(far, bid=replace(far.bid, offline_ms=90 * 86_400_000))
    desk = Desk(terms)
    offers = desk.run(near, away, far)
    left_ms = terms.deadline_ms - desk.now_ms
    lasts = {did_of(1): LEASE_MS, did_of(2): LEASE_MS + 600_000, did_of(3): left_ms - LEASE_MS}
    assert {(offer.executor, offer.duration_ms) for offer in offers} == set(lasts.items())
    held = Counter(offer.executor for offer in offers)
    assert held[did_of(1)] == 2, "one lease runs, the next one's input travels"
    assert held[did_of(2)] > 2, "who goes away takes along what it can"
