"""Whole jobs from a seed, over a terrible network; what must hold whatever happens."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from work_samples import SUBMITTER, did_of, receipt_of, terms_of
from work_simulation import PlainLedger, Plan, Weather, World, accounts_of, balance_of
from work_worker import truth_of

from icn_lite.store.db import Store
from icn_lite.work import executor as ex
from icn_lite.work import originator_events as ev
from icn_lite.work.quorum import Vote, vote_of

LONG = os.environ.get("ICN_LITE_LONG") == "1"
RUNS = 6_000 if LONG else 160
BATCH = 40
LIARS = {"lies", "fuel", "equivocates"}


def true_vote(plan: Plan, shard: int) -> Vote:
    """What an honest receipt says about a shard."""
    terms = terms_of(plan.shards, plan.copies)
    grant = ev.OfferLease(bytes(16), did_of(1), terms.job.id, (), terms.lease_ms)
    return vote_of(receipt_of(terms, grant, shard, truth_of(plan, shard), price=0).receipt)


def check(world: World) -> None:
    """Everything that has to hold at the end of any job."""
    office, plan = world.office, world.plan
    machine, ledger = office.machine, world.ledger
    assert machine.phase in ev.ENDED, f"still {machine.phase} after {world.now_ms} ms"
    assert world.now_ms >= 0
    for account in accounts_of(office):
        assert ledger.balance(account) == 0, account
    budget = office.terms.job.budget.max_total
    assert machine.paid == sum(office.paid.values()) <= budget
    assert balance_of(world, SUBMITTER) == budget - machine.paid
    assert machine.settled == len(machine.outcomes) + office.disputed
    kinds = {worker.did: worker.kind for worker in world.workers}
    assert {kinds[did] for did in office.rejected} <= LIARS, "an honest executor was called a liar"
    for (shard, did), amount in office.paid.items():
        price = machine._book.executors[did].prices[shard]
        assert amount <= price
        if (shard, did) in office.kept:
            assert amount == price, f"shard {shard}: {did.short} kept its lease and got {amount} of {price}"
        if plan.copies > 1:
            assert kinds[did] not in {"lies", "fuel"}, "a liar was paid"
    if plan.copies > 1:
        for shard, outcome in machine.outcomes.items():
            assert outcome.vote == true_vote(plan, shard)
            agreeing = {did for did, finding in machine.findings[shard].items() if finding.vote == outcome.vote}
            paid = {did for paid_shard, did in office.paid if paid_shard == shard}
            assert paid <= agreeing
            assert len(paid) >= plan.copies
    for worker in world.workers:
        if not worker.gone:
            for held in worker.leases.values():
                steps = {work.step for work in held.machine.shards.values()}
                assert held.done, f"{worker.kind} {worker.number} still has {steps}"
                assert steps <= {ex.Step.DONE, ex.Step.GIVEN_BACK}


def simulate(plan: Plan, world: World | None = None) -> World:
    world = world or World(plan, PlainLedger())
    try:
        world.run()
        check(world)
    except BaseException:
        print(f"failing plan: {plan}")
        raise
    return world


@pytest.mark.parametrize("first", range(0, RUNS, BATCH))
def test_whatever_happens_the_books_are_right(first: int) -> None:
    for seed in range(first, first + BATCH):
        simulate(Plan.draw(seed))


@pytest.mark.parametrize("seed", range(12))
def test_in_calm_weather_every_job_with_enough_honest_executors_completes(seed: int) -> None:
    calm = Weather(loss=0, repeat=0, crash=0, delay_ms=20)
    behaviours = ("honest", "lies", "honest", "fuel", "honest", "fails", "honest")
    world = simulate(Plan(seed, 20, 2, behaviours, calm))
    assert world.office.machine.phase is ev.Phase.COMPLETED
    assert len(world.office.machine.outcomes) == 20


@pytest.mark.parametrize("seed", range(4))
def test_a_trap_on_every_executor_ends_the_job_and_is_paid(seed: int) -> None:
    world = simulate(Plan(seed, 3, 2, ("honest",) * 3, Weather(loss=0, repeat=0, crash=0), trapping=True))
    machine = world.office.machine
    assert machine.phase is ev.Phase.FAILED
    assert machine.ended is not None
    assert "trapped (unreachable)" in machine.ended.sentence
    assert len([1 for shard, _ in world.office.paid if shard == 2]) == 2


@pytest.mark.parametrize("seed", range(200, 208))
def test_the_real_ledger_takes_every_transfer(seed: int, tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    try:
        world = simulate(Plan.draw(seed), World(Plan.draw(seed), store.ledger))
        assert world.office.machine.phase in ev.ENDED
        assert store.ledger.sum() == 0
        store.ledger.audit()
    finally:
        store.close()
