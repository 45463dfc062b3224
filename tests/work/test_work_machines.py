"""The transition tables: what has no row changes nothing, the journal gives the same machine, the README is true."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from work_samples import BIDDING_MS, LEASE_MS, Desk, Says, bid_taken, did_of, output_of, receipt_of, snapshot, terms_of
from work_tables import executor_table, originator_table

from icn_lite.model import cbor
from icn_lite.model.cid import Cid
from icn_lite.model.errors import DocumentError, FailureReason, JobError
from icn_lite.model.messages import AssignJobV1, ShardGrant
from icn_lite.work import executor as ex
from icn_lite.work import originator
from icn_lite.work import originator_events as ev
from icn_lite.work.originator import MAX_EXECUTIONS, Originator
from icn_lite.work.replay import Entry, decode_event, encode_event

README = Path(originator.__file__).parent / "README.md"
MANY = settings(max_examples=120, derandomize=True, deadline=None)
SAYS = (
    Says(),
    Says(output=b"false"),
    Says(fuel=9),
    Says(trap="unreachable"),
    Says(failure=FailureReason.CRASH_OR_PANIC),
    Says(failure=FailureReason.UNSUPPORTED_OPERATION),
)

# -- the originator


def desk_in(phase: ev.Phase) -> Desk:
    """A job in this phase, with two executors where it got so far."""
    desk = Desk(terms_of(2, 2))
    if phase is ev.Phase.BIDDING:
        return desk
    offers = desk.run(bid_taken(desk.terms, 1), bid_taken(desk.terms, 2))
    if phase is ev.Phase.COMPLETED:
        for offer in offers:
            for shard in offer.shards:
                desk.deliver(offer, shard.index)
    elif phase is ev.Phase.CANCELLED:
        desk.tell(ev.CancelAsked())
    elif phase is ev.Phase.FAILED:
        desk.tell(ev.DeadlinePassed(stuck=False), 3_600_000)
    assert desk.machine.phase is phase
    return desk


def one_of_each(desk: Desk) -> list[ev.Event]:
    """An event of every kind that would mean something in its right phase."""
    lease = next(iter(desk.machine.offers()), ev.OfferLease(bytes(16), did_of(1), Cid.of_raw(b""), (), LEASE_MS))
    receipt = receipt_of(desk.terms, lease, 0, price=0)
    return [
        bid_taken(desk.terms, 3),
        ev.BiddingEnded(()),
        ev.LeaseTaken(lease.nonce),
        ev.LeaseRefused(lease.nonce, "no"),
        ev.LeaseReturned(lease.nonce, (0,)),
        ev.LeaseLapsed(lease.nonce),
        receipt,
        ev.OutputStored(output_of(0)),
        ev.OutputMissing(output_of(0), did_of(1)),
        ev.CancelAsked(),
        ev.DeadlinePassed(stuck=False),
        ev.PauseOver(did_of(1)),
    ]


@pytest.mark.parametrize("phase", list(ev.Phase))
def test_an_event_without_a_row_changes_nothing_at_the_originator(phase: ev.Phase) -> None:
    desk = desk_in(phase)
    events = one_of_each(desk)
    assert {type(event) for event in events} == set(ev.Event.__args__)
    for event in events:
        if (phase, type(event)) not in originator.TRANSITIONS:
            before = snapshot(desk.machine)
            assert not desk.machine.changes(event, desk.now_ms + 10_000_000)
            assert desk.machine.handle(event, desk.now_ms + 10_000_000) == []
            assert snapshot(desk.machine) == before, event


def test_every_row_is_of_a_known_event() -> None:
    assert {kind for _, kind in originator.TRANSITIONS} == set(ev.Event.__args__)
    assert {kind for _, kind in ex.TRANSITIONS} <= set(ex.Event.__args__)
    assert set(ex._HANDLERS) == set(ex.Event.__args__)


@st.composite
def histories(draw: st.DrawFn) -> Desk:
    """A job after any events in any order, most of them about things that exist."""
    desk = Desk(terms_of(draw(st.integers(1, 5)), draw(st.integers(1, 3)), budget=draw(st.integers(0, 3_000))))
    executors = range(1, draw(st.integers(1, 5)) + 1)
    bids = [bid_taken(desk.terms, n, price=draw(st.integers(0, 900)), rate=draw(st.integers(0, 9))) for n in executors]
    desk.run(*bids)
    for _ in range(draw(st.integers(0, 40))):
        later_ms = draw(st.sampled_from((0, 1, 500, 2_000, LEASE_MS, 3 * LEASE_MS)))
        event = desk.machine.due(desk.now_ms + later_ms)
        if event is None or draw(st.booleans()):
            event = draw(events_of(desk))
        desk.tell(event, later_ms)
    return desk


@st.composite
def events_of(draw: st.DrawFn, desk: Desk) -> ev.Event:
    offers = desk.machine.offers()
    executor, shard = did_of(draw(st.integers(1, 5))), draw(st.integers(0, 4))
    output = output_of(shard, draw(st.sampled_from((b"true", b"false"))))
    general = [ev.OutputStored(output), ev.OutputMissing(output, draw(st.sampled_from((executor, None))))]
    if draw(st.integers(0, 60)) == 0:
        general = [ev.CancelAsked()]
    if not offers or draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(general))
    offer = draw(st.sampled_from(offers))
    shard = draw(st.sampled_from(offer.shards)).index
    desk.seq += draw(st.integers(0, 1))
    return draw(
        st.sampled_from(
            (
                ev.LeaseTaken(offer.nonce),
                ev.LeaseRefused(offer.nonce, "no"),
                ev.LeaseReturned(offer.nonce, (shard,)),
                ev.LeaseLapsed(offer.nonce),
                receipt_of(desk.terms, offer, shard, draw(st.sampled_from(SAYS)), seq=desk.seq),
                receipt_of(desk.terms, offer, shard, seq=desk.seq),
            )
        )
    )


@MANY
@given(histories())
def test_the_journal_gives_the_same_originator(desk: Desk) -> None:
    rebuilt = desk.rebuilt()
    assert snapshot(rebuilt) == snapshot(desk.machine)
    assert rebuilt.resume() == desk.machine.resume()
    assert rebuilt.offers() == desk.machine.offers()


@MANY
@given(histories())
def test_no_history_overdraws_the_escrow(desk: Desk) -> None:
    book, budget = desk.machine._book, desk.terms.job.budget.max_total
    assert 0 <= book.left <= budget
    assert book._reserved_total == sum(sum(reserved.values()) for reserved in book._reserved)
    assert book.pool.remaining_copies == sum(book.pool[i].open_copies for i in range(len(book.pool)))
    assert book.pool.settled == sum(book.pool[i].settled for i in range(len(book.pool)))
    for executor, state in book.executors.items():
        held = [lease for lease in book.leases.values() if lease.executor == executor and lease.open]
        assert state.open_leases == len(held)
        assert sum(len(lease.open) for lease in held) == len({i for lease in held for i in lease.open})
    desk.tell(ev.CancelAsked())
    moved = desk.moved()
    assert sum(moved.values()) == 0
    assert all(amount == 0 for account, amount in moved.items() if account.startswith(("escrow:", "stake:")))


@pytest.mark.parametrize(("shards", "copies"), [(0, 1), (MAX_EXECUTIONS + 1, 1), (MAX_EXECUTIONS // 2 + 1, 2)])
def test_a_job_of_no_or_too_many_executions_is_refused(shards: int, copies: int) -> None:
    with pytest.raises(JobError, match=f"expected 1 to {MAX_EXECUTIONS} executions"):
        Originator(terms_of(shards, copies))


def test_the_largest_job_is_taken_and_its_time_is_linear() -> None:
    desk = Desk(terms_of(MAX_EXECUTIONS, 1, budget=10**9))
    offers = desk.run(*(bid_taken(desk.terms, number, most=32) for number in range(1, 4)))
    assert [len(offer.shards) for offer in offers] == [32] * 6


def test_a_resumed_bidding_is_announced_again_and_an_end_told_again() -> None:
    assert desk_in(ev.Phase.BIDDING).machine.resume() == [ev.Announce()]
    ended = desk_in(ev.Phase.CANCELLED).machine
    assert ended.resume() == [ended.ended]


# -- the executor

LEASE = AssignJobV1(
    originator=did_of(1_000),
    executor=did_of(1),
    job_id=Cid.of_dag_cbor(b"job"),
    bid=Cid.of_dag_cbor(b"bid"),
    nonce=bytes(16),
    stage=0,
    module=Cid.of_raw(b"module"),
    shards=tuple(ShardGrant(index, Cid.of_raw(b"%d" % index), 1) for index in (3, 4)),
    duration_ms=LEASE_MS,
    max_fuel=1,
    issued_at=0,
)
RECEIPTS = {index: Cid.of_dag_cbor(b"receipt %d" % index) for index in (3, 4, 5)}
WAYS: dict[ex.Step, list[ex.Event]] = {
    ex.Step.FETCHING: [],
    ex.Step.READY: [ex.BlocksStored(3)],
    ex.Step.RUNNING: [ex.BlocksStored(3), ex.RunStarted(3)],
    ex.Step.UNACKED: [ex.BlocksStored(3), ex.RunStarted(3), ex.RunEnded(3, RECEIPTS[3])],
    ex.Step.DONE: [ex.BlocksStored(3), ex.RunEnded(3, RECEIPTS[3]), ex.ReceiptAcked(RECEIPTS[3])],
    ex.Step.GIVEN_BACK: [ex.BlocksMissing(3, "lost")],
}
EXECUTOR_EVENTS = st.one_of(
    *(
        st.builds(kind, st.sampled_from((3, 4, 5)))
        for kind in (ex.BlocksStored, ex.RunStarted, lambda i: ex.BlocksMissing(i, "lost"))
    ),
    st.builds(lambda i: ex.RunEnded(i, RECEIPTS[i]), st.sampled_from((3, 4, 5))),
    st.builds(ex.ReceiptAcked, st.sampled_from(tuple(RECEIPTS.values()))),
    st.builds(lambda cid: ex.ReceiptRefused(cid, "no"), st.sampled_from(tuple(RECEIPTS.values()))),
    st.sampled_from((ex.ReturnAsked("warm"), ex.Lapsed(), ex.Restarted())),
)


@pytest.mark.parametrize("step", list(ex.Step))
@pytest.mark.parametrize("kind", ex.Event.__args__)
def test_a_shard_takes_the_way_of_the_table_and_no_other(step: ex.Step, kind: type) -> None:
    work = ex.LeaseWork(LEASE)
    for event in WAYS[step]:
        work.handle(event)
    assert work.shards[3].step is step
    event = {
        ex.BlocksStored: ex.BlocksStored(3),
        ex.BlocksMissing: ex.BlocksMissing(3, "lost"),
        ex.RunStarted: ex.RunStarted(3),
        ex.RunEnded: ex.RunEnded(3, RECEIPTS[3]),
        ex.ReceiptAcked: ex.ReceiptAcked(RECEIPTS[3]),
        ex.ReceiptRefused: ex.ReceiptRefused(RECEIPTS[3], "no"),
        ex.ReturnAsked: ex.ReturnAsked("warm"),
        ex.Lapsed: ex.Lapsed(),
        ex.Restarted: ex.Restarted(),
    }[kind]
    target = ex.TRANSITIONS.get((step, kind), step)
    before = snapshot(work)
    if not work.changes(event):
        work.handle(event)
        assert snapshot(work) == before
    work.handle(event)
    assert work.shards[3].step is target


@MANY
@given(st.lists(EXECUTOR_EVENTS, max_size=30))
def test_the_journal_gives_the_same_executor(events: list[ex.Event]) -> None:
    work, rebuilt, journal = ex.LeaseWork(LEASE), ex.LeaseWork(LEASE), []
    for at_ms, event in enumerate(events):
        if work.changes(event):
            journal.append(encode_event(event, at_ms))
        work.handle(event)
    for data in journal:
        rebuilt.handle(decode_event(ex.Event, data).event)  # type: ignore[arg-type]
    assert snapshot(rebuilt) == snapshot(work)
    assert rebuilt.resume() == work.resume()
    assert work.to_run <= work.open


def test_a_shard_given_back_after_a_restart_stays_given_back_after_the_next() -> None:
    """9: the journal did not know of the restart, so a second one ran a shard that had been returned."""
    work = ex.LeaseWork(LEASE)
    events: list[ex.Event] = [ex.BlocksStored(3), ex.RunStarted(3), ex.Restarted(), ex.ReturnAsked("warm")]
    for event in events:
        work.handle(event)
    assert work.shards[3].step is ex.Step.GIVEN_BACK
    assert work.resume() == [ex.GiveBack((3,), "warm"), ex.GiveBack((4,), "warm"), ex.LeaseDone()]


def test_a_receipt_under_way_keeps_the_lease_open_but_costs_no_capacity() -> None:
    work = ex.LeaseWork(LEASE)
    for event in (*WAYS[ex.Step.UNACKED], ex.BlocksMissing(4, "lost")):
        work.handle(event)
    assert (work.open, work.to_run, work.unstarted) == (1, 0, 0)
    assert work.resume()[0] == ex.SendReceipt(3, RECEIPTS[3])
    assert work.handle(ex.ReceiptAcked(RECEIPTS[3])) == [ex.LeaseDone()]


# -- the journal


def test_an_entry_that_is_not_one_is_refused() -> None:
    good = encode_event(ev.CancelAsked(), 7)
    assert decode_event(ev.Event, good) == Entry(7, ev.CancelAsked())
    event = {"type": "CancelAsked"}
    for value in ([], {"at": 7}, {"at": True, "event": event}, {"at": -1, "event": event}):
        with pytest.raises(DocumentError, match="expected a journal entry"):
            decode_event(ev.Event, cbor.encode(value))  # type: ignore[arg-type]
    with pytest.raises(DocumentError):
        decode_event(ev.Event, cbor.encode({"at": 7, "event": {"type": "NoSuchEvent"}}))


# -- the README


@pytest.mark.parametrize(("name", "table"), [("originator", originator_table()), ("executor", executor_table())])
def test_the_readme_draws_the_tables_of_the_code(name: str, table: str) -> None:
    text = README.read_text("utf-8")
    start, end = f"<!-- table: {name} -->\n", "<!-- end -->"
    assert start in text
    drawn = text.split(start)[1].split(end)[0].strip()
    assert drawn == table, f"put this between the markers of {name}:\n{table}"


def test_bidding_ends_by_its_own_clock() -> None:
    machine = desk_in(ev.Phase.BIDDING).machine
    assert not machine.bidding_over(machine.terms.started_ms + BIDDING_MS - 1)
    assert machine.bidding_over(machine.terms.started_ms + BIDDING_MS)
