"""Receipts that don't fit, come late, come twice, or contradict each other; outputs that can't be had."""

from __future__ import annotations

import pytest
from work_samples import (
    LEASE_MS,
    Desk,
    Says,
    bid_taken,
    changed,
    did_of,
    offers_in,
    output_of,
    receipt_of,
    terms_of,
)

from icn_lite.market.outcome import ValidationOutcome
from icn_lite.market.settle import account_of, escrow_of
from icn_lite.model import document
from icn_lite.model.cid import Cid
from icn_lite.model.errors import FailureReason, JobErrorCode, VerificationError
from icn_lite.model.receipt import Call
from icn_lite.wasm import prepare
from icn_lite.work import fit
from icn_lite.work import originator_events as ev
from icn_lite.work.leasing import MAX_STRIKES
from icn_lite.work.originator import EXECUTOR_PATIENCE_MS, MAX_HOST_FAILURES
from icn_lite.work.quorum import vote_of

A, B, C = did_of(1), did_of(2), did_of(3)
LIE = Says(output=b"false")
REJECTED = ValidationOutcome.REJECTED


def desk_of(
    executors: int, shards: int = 4, copies: int = 2, *, budget: int = 10_000
) -> tuple[Desk, list[ev.OfferLease]]:
    desk = Desk(terms_of(shards, copies, budget=budget))
    return desk, desk.run(*(bid_taken(desk.terms, number) for number in range(1, executors + 1)))


def lease_of(offers: list[ev.OfferLease], number: int, shard: int = 0) -> ev.OfferLease:
    return next(o for o in offers if o.executor == did_of(number) and any(grant.index == shard for grant in o.shards))


def judged(effects: list[ev.Effect], outcome: ValidationOutcome) -> list[object]:
    return [e.executor for e in effects if isinstance(e, ev.Judged) and e.outcome is outcome]


def test_the_schedule_and_meter_are_those_of_preparation() -> None:
    assert (fit.FUEL_SCHEDULE, fit.METER) == (prepare.FUEL_SCHEDULE, prepare.METER)


WRONG: dict[str, tuple[dict[str, object], str]] = {
    "job": ({"job": Cid.of_dag_cbor(b"other")}, "job: expected"),
    "executor": ({"executor": did_of(99)}, "no lease of this job was given"),
    "shard": ({"shard": 77}, "shard 77 is not in this lease"),
    "stage": ({"stage": 1}, "stage: expected 0, found 1"),
    "input": ({"input": Cid.of_raw(b"other")}, "input of shard 0: expected"),
    "module": ({"module": Cid.of_raw(b"other")}, "module: expected"),
    "fuel limit": ({"fuel_limit": 2_000_000}, "fuel limit: expected 1000000, found 2000000"),
    "schedule": ({"schedule": "icn-fuel-2"}, "fuel schedule: expected icn-fuel-1, found icn-fuel-2"),
    "meter": ({"meter": "icn-meter/0"}, "meter: expected"),
    "price": ({"price": 1}, "price: expected"),
    "entry": ({"entry": "other"}, "entry: expected run, found other"),
    "arguments": ({"args": ("i32:8",)}, "arguments: expected"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_receipt_that_does_not_fit_its_lease_is_refused(what: str) -> None:
    desk, offers = desk_of(2)
    lease = lease_of(offers, 1)
    good = receipt_of(desk.terms, lease, 0)
    desk.machine.check_receipt(good.receipt, lease.nonce)
    fields, message = WRONG[what]
    with pytest.raises(VerificationError, match=message):
        desk.machine.check_receipt(changed(good, **fields).receipt, lease.nonce)


def test_a_receipt_under_an_unknown_or_anothers_lease_is_refused() -> None:
    desk, offers = desk_of(2)
    receipt = receipt_of(desk.terms, lease_of(offers, 1), 0).receipt
    for nonce in (bytes(16), lease_of(offers, 2).nonce):
        with pytest.raises(VerificationError, match="no lease of this job"):
            desk.machine.check_receipt(receipt, nonce)
        assert desk.tell(ev.ReceiptTaken(receipt, Cid.of_dag_cbor(b"r"), nonce)) == []


def test_a_call_block_counts_like_the_call_written_out() -> None:
    desk, offers = desk_of(2, shards=1)
    inline = receipt_of(desk.terms, lease_of(offers, 1), 0)
    call = Cid.of_dag_cbor(document.encode(Call("run", ("i32:7",), ("i32:0",))))
    moved = changed(receipt_of(desk.terms, lease_of(offers, 2), 0), entry=None, args=(), results=(), call=call)
    assert vote_of(inline.receipt) == vote_of(moved.receipt)
    other = changed(moved, call=Cid.of_dag_cbor(document.encode(Call("run", ("i32:7",), ("i32:1",)))))
    assert vote_of(other.receipt) != vote_of(moved.receipt)
    for taken in (inline, moved):
        desk.machine.check_receipt(taken.receipt, taken.lease)
        desk.tell(taken)
    desk.tell(ev.OutputStored(output_of(0)))
    assert desk.machine.phase is ev.Phase.COMPLETED


def test_duplicates_of_everything_change_nothing() -> None:
    desk, offers = desk_of(2, shards=1)
    lease = lease_of(offers, 1)
    taken = receipt_of(desk.terms, lease, 0)
    for event in (ev.LeaseTaken(lease.nonce), taken, ev.OutputStored(output_of(0))):
        desk.tell(event)
        before = len(desk.journal)
        for _ in range(3):
            assert desk.tell(event) == []
        assert len(desk.journal) == before
    desk.machine.check_receipt(taken.receipt, lease.nonce)  # the same receipt again is acknowledged again


def test_a_second_receipt_for_a_shard_of_a_lease_is_refused() -> None:
    """1: endless receipts for one shard filled the journal, until not even the deadline could be stored."""
    desk, offers = desk_of(2)
    lease = lease_of(offers, 1)
    desk.deliver(lease, 0)
    again = receipt_of(desk.terms, lease, 0, seq=7)
    with pytest.raises(VerificationError, match="was taken before"):
        desk.machine.check_receipt(again.receipt, lease.nonce)
    assert not desk.machine.changes(again, desk.now_ms)


@pytest.mark.parametrize("settled", [False, True])
def test_two_receipts_that_contradict_each_other_cost_the_stake(settled: bool) -> None:
    desk, offers = desk_of(2, shards=2)
    lease = lease_of(offers, 1)
    desk.deliver(lease, 0)
    if settled:
        desk.deliver(lease_of(offers, 2), 0)
    assert judged(desk.deliver(lease, 0, LIE), REJECTED) == [A]
    third = receipt_of(desk.terms, lease, 0, Says(output=b"third"), seq=9)
    with pytest.raises(VerificationError, match="was taken before"):  # proven once is enough
        desk.machine.check_receipt(third.receipt, lease.nonce)
    desk.tell(ev.CancelAsked())
    assert desk.moved()[str(A)] == (200 if settled else 0) - 20


def test_a_failure_after_a_result_is_no_contradiction_but_refused_too() -> None:
    desk, offers = desk_of(2)
    lease = lease_of(offers, 1)
    desk.deliver(lease, 0)
    failed = receipt_of(desk.terms, lease, 0, Says(failure=FailureReason.CRASH_OR_PANIC), seq=5)
    with pytest.raises(VerificationError, match="was taken before"):
        desk.machine.check_receipt(failed.receipt, lease.nonce)


def test_a_receipt_after_its_lease_lapsed_counts_as_a_vote() -> None:
    desk, offers = desk_of(3, shards=1)
    holders = [o for o in offers if o.shards]
    assert {o.executor for o in holders} == {A, B}
    late, prompt = lease_of(offers, 1), lease_of(offers, 2)
    for lease in holders:
        desk.tell(ev.LeaseTaken(lease.nonce))
    desk.deliver(prompt, 0)
    again = offers_in(desk.tell(ev.LeaseLapsed(late.nonce), LEASE_MS))
    assert [o.executor for o in again] == [C]
    desk.deliver(late, 0)
    assert desk.machine.phase is ev.Phase.COMPLETED
    moved = desk.moved()
    assert moved[account_of(B)] == 400
    assert moved[account_of(A)] == 400 - 10  # half its stake for the lapsed lease
    assert account_of(C) not in {k for k, v in moved.items() if v}


def test_who_kept_its_lease_is_paid_before_who_let_it_go() -> None:
    """2: a late receipt that came first took what was reserved for the executor that had kept its lease."""
    desk = Desk(terms_of(2, 2, budget=800))
    prices = {1: 600, 2: 200, 3: 200}
    offers = desk.run(*(bid_taken(desk.terms, number, price=price) for number, price in prices.items()))
    late = lease_of(offers, 1, 0)
    desk.tell(ev.LeaseTaken(late.nonce))
    third = lease_of(offers_in(desk.tell(ev.LeaseLapsed(late.nonce), LEASE_MS)), 3)
    desk.deliver(lease_of(offers, 1, 1), 1, LIE)  # the dispute over shard 1 takes what the lapsed lease set free
    desk.deliver(lease_of(offers, 2, 1), 1)
    assert offers_in(desk.effects)[-1].shards[0].index == 1
    desk.deliver(late, 0)  # the late one comes first
    desk.deliver(third, 0)
    moved = desk.moved()
    assert desk.machine.settled == 1
    assert moved[account_of(C)] == 100 - 10  # its price, and the stake that it still has in the job
    assert moved[account_of(A)] == 200 - 30


def test_a_lie_after_the_verdict_is_still_a_lie() -> None:
    desk, offers = desk_of(3, shards=2)
    slow = lease_of(offers, 1)
    desk.tell(ev.LeaseTaken(slow.nonce))
    third = offers_in(desk.tell(ev.LeaseLapsed(slow.nonce), LEASE_MS))
    desk.deliver(lease_of(offers, 2), 0)
    desk.deliver(lease_of(third, 3), 0)
    assert judged(desk.deliver(slow, 0, LIE), REJECTED) == [A]
    for later in (1, 2 * LEASE_MS, 2 * LEASE_MS):
        event = desk.machine.due(desk.now_ms + later)
        if event:
            assert A not in {o.executor for o in offers_in(desk.tell(event, later))}


def test_one_voice_against_one_proves_nothing() -> None:
    """8: with one copy, a late honest executor lost its stake because a liar had been faster."""
    desk, offers = desk_of(2, shards=2, copies=1)
    slow = offers[0]
    desk.tell(ev.LeaseTaken(slow.nonce))
    shard = slow.shards[0].index
    again = offers_in(desk.tell(ev.LeaseLapsed(slow.nonce), LEASE_MS)) + offers
    liar = next(o for o in again if o.executor != slow.executor and any(g.index == shard for g in o.shards))
    desk.deliver(liar, shard, LIE)
    assert judged(desk.deliver(slow, shard), REJECTED) == []


def test_a_receipt_for_a_job_that_is_over_is_noted_once() -> None:
    desk, offers = desk_of(2, shards=2)
    first, second = lease_of(offers, 1), lease_of(offers, 2)
    desk.deliver(first, 0)
    desk.deliver(second, 0)
    desk.tell(ev.CancelAsked())
    first, second = lease_of(offers, 1, 1), lease_of(offers, 2, 1)
    lie = receipt_of(desk.terms, first, 1, LIE, seq=8)
    assert desk.machine.changes(lie, desk.now_ms)
    assert desk.tell(lie) == []  # nobody knows what is true about this shard
    with pytest.raises(VerificationError, match="was taken before"):
        desk.machine.check_receipt(receipt_of(desk.terms, first, 1, seq=9).receipt, first.nonce)
    assert desk.tell(receipt_of(desk.terms, second, 1, seq=3)) == []


def test_an_output_that_one_executor_lost_does_not_hurt_the_other() -> None:
    """3: when A could not be reached for an output, B's equal receipt, whose fetch was under way, was lost too."""
    desk, offers = desk_of(3, shards=1)
    for lease in (lease_of(offers, 1), lease_of(offers, 2)):
        assert desk.tell(receipt_of(desk.terms, lease, 0)) == [ev.FetchOutput(lease.executor, output_of(0))]
    effects = desk.tell(ev.OutputMissing(output_of(0), A))
    third = offers_in(effects)
    assert [o.executor for o in third] == [C]
    desk.tell(ev.OutputStored(output_of(0)))
    assert list(desk.machine.findings[0]) == [B]
    desk.deliver(third[0], 0)
    assert desk.machine.phase is ev.Phase.COMPLETED
    moved = desk.moved()
    assert (moved[account_of(A)], moved[account_of(B)], moved[account_of(C)]) == (0, 400, 400)


def test_one_fetch_for_one_output_of_one_executor() -> None:
    desk, offers = desk_of(1, shards=2, copies=1)
    same = output_of(0)
    first, second = (changed(receipt_of(desk.terms, lease_of(offers, 1, s), s, seq=s), output=same) for s in (0, 1))
    assert desk.tell(first) == [ev.FetchOutput(A, same)]
    assert desk.tell(second) == []
    assert desk.rebuilt().resume() == [ev.FetchOutput(A, same)]
    desk.tell(ev.OutputStored(same))
    assert desk.machine.phase is ev.Phase.COMPLETED


def test_an_output_that_ends_the_job_settles_nothing_afterwards() -> None:
    """4: a dispute ended the job, and another shard with the same output was paid from the empty escrow."""
    desk = Desk(terms_of(2, 2))
    desk.run(*(bid_taken(desk.terms, number) for number in range(1, 7)))
    shared = output_of(0, b"shared")

    def leased(shard: int, ours: set[int]) -> ev.OfferLease:
        held = [o for o in desk.machine.offers() if o.shards[0].index == shard and o.executor in map(did_of, ours)]
        return held[0]

    told: set[int] = set()
    for count in range(4):  # four executors say four different things about shard 0
        number = next(
            n
            for n in range(1, 7)
            if n not in told and any(o.executor == did_of(n) and o.shards[0].index == 0 for o in desk.machine.offers())
        )
        told.add(number)
        desk.deliver(leased(0, {number}), 0, Says(output=b"%d" % count))
    fifth = leased(0, set(range(1, 7)) - told)
    desk.tell(changed(receipt_of(desk.terms, fifth, 0, seq=50), output=shared))
    others = [o for o in desk.machine.offers() if o.shards[0].index == 1][:2]
    for seq, lease in enumerate(others):
        desk.tell(changed(receipt_of(desk.terms, lease, 1, seq=60 + seq), output=shared))
    desk.tell(ev.OutputStored(shared))
    assert desk.machine.ended is not None
    assert desk.machine.ended.code is JobErrorCode.VALIDATION_FAILED
    assert desk.moved()[escrow_of(desk.terms.job.id)] == 0
    assert desk.machine.paid == 0


def test_a_lease_returned_twice_is_one_strike() -> None:
    """5: a return that the network repeated five times barred an executor for ever."""
    desk, offers = desk_of(1, shards=1, copies=1)
    returned = ev.LeaseReturned(offers[0].nonce, (0,))
    desk.tell(returned)
    for _ in range(9):
        assert desk.tell(returned) == []
    event = desk.machine.due(desk.now_ms + 5_000)
    assert event == ev.PauseOver(A)
    assert offers_in(desk.tell(event, 5_000))


def test_a_shard_delivered_under_a_lease_thought_lost_is_not_owed_under_the_next() -> None:
    """6: the acceptance was lost, the shard leased again; a receipt under the first lease left the second to lapse."""
    desk = Desk(terms_of(2, 1))
    offers = desk.run(bid_taken(desk.terms, 1))
    first = lease_of(offers, 1)
    desk.tell(ev.LeaseRefused(first.nonce, "unreachable"))
    event = desk.machine.due(desk.now_ms + 1_000)
    assert event is not None
    second = lease_of(offers_in(desk.tell(event, 1_000)), 1)
    desk.tell(ev.LeaseTaken(second.nonce))
    desk.deliver(first, 0)
    assert desk.machine.settled == 1
    lapsed = ev.LeaseLapsed(second.nonce)
    if all(grant.index == 0 for grant in second.shards):
        assert not desk.machine.changes(lapsed, desk.now_ms + LEASE_MS)
    assert desk.moved()[account_of(A)] == 200 - 20


def test_host_failures_cost_half_the_stake_and_end_in_a_failed_job() -> None:
    desk = Desk(terms_of(1, 1))
    offers = desk.run(*(bid_taken(desk.terms, number) for number in range(1, 6)))
    for number in range(1, MAX_HOST_FAILURES + 1):
        lease = next(o for o in desk.machine.offers() if o.executor == did_of(number))
        desk.deliver(lease, 0, Says(failure=FailureReason.OUT_OF_MEMORY))
    assert desk.machine.ended is not None
    assert desk.machine.ended.reason is FailureReason.OUT_OF_MEMORY
    assert [desk.moved()[account_of(did_of(number))] for number in range(1, 6)] == [-10] * 4 + [0]
    assert offers


def test_a_job_that_executors_cannot_execute_fails_at_once_and_costs_them_nothing() -> None:
    """7: a module that every executor refused left the job waiting a minute for an executor."""
    desk, offers = desk_of(2, shards=3)
    refusal = Says(failure=FailureReason.UNSUPPORTED_OPERATION)
    assert desk.machine.phase is ev.Phase.RUNNING
    desk.deliver(lease_of(offers, 1), 0, refusal)
    assert desk.machine.phase is ev.Phase.RUNNING  # one voice of two
    desk.deliver(lease_of(offers, 2), 0, refusal)
    assert desk.machine.ended is not None
    assert desk.machine.ended.code is JobErrorCode.INVALID_JOB_SPEC
    assert desk.moved()[account_of(A)] == desk.moved()[account_of(B)] == 0


def test_who_always_fails_gets_no_more_leases() -> None:
    desk = Desk(terms_of(40, 1))
    offers = desk.run(bid_taken(desk.terms, 1, most=1))
    failed = 0
    while offers:
        failed += 1
        offers += offers_in(desk.deliver(offers.pop(0), failed - 1, Says(failure=FailureReason.CRASH_OR_PANIC)))
    assert failed == MAX_STRIKES + 1  # the last lease was out already
    event = desk.machine.due(desk.now_ms + EXECUTOR_PATIENCE_MS)
    assert event == ev.DeadlinePassed(stuck=True)
    desk.tell(event, EXECUTOR_PATIENCE_MS)
    assert desk.machine.ended is not None
    assert desk.machine.ended.code is JobErrorCode.NO_EXECUTOR_AVAILABLE


def test_a_deadline_or_pause_that_has_not_come_changes_nothing() -> None:
    desk, offers = desk_of(2)
    for event in (
        ev.DeadlinePassed(stuck=True),
        ev.DeadlinePassed(stuck=False),
        ev.PauseOver(A),
        ev.LeaseLapsed(offers[0].nonce),
    ):
        assert desk.tell(event) == []
    assert desk.machine.phase is ev.Phase.RUNNING
