"""Bad input to a real node over real CoAP: each gets its error, is counted, and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from node_stranger import NONCE, OUTPUT, Stranger, counted, dump
from node_world import World, command, ended, submit, until

from icn_lite.mesh import limits
from icn_lite.mesh import table as paths
from icn_lite.mesh.ports import Remote
from icn_lite.model import cose, document
from icn_lite.model.cid import Cid
from icn_lite.model.errors import BidError, FailureReason, JobErrorCode, VerificationError
from icn_lite.model.messages import LeaseReturnV1
from icn_lite.model.receipt import ReceiptStatus, read_receipt, sign_receipt
from icn_lite.model.status import Submitted
from icn_lite.node import execution, origination
from icn_lite.node.config import Role
from icn_lite.node.node import Node
from icn_lite.resources import guest_module

LONG_MS = 600_000  # a bidding that no test outlasts
OTHER_CID = Cid.of_raw(b"something else")
REMOTE = Remote("127.0.0.1", 1, "udp")  # for what is handed up at the same moment, which UDP would put in a row


@pytest_asyncio.fixture
async def strangers() -> AsyncIterator[list[Stranger]]:
    """Those who were started; closed at the end."""
    made: list[Stranger] = []
    yield made
    for stranger in made:
        await stranger.close()


async def meet(strangers: list[Stranger], node: Node, *names: str) -> list[Stranger]:
    for name in names:
        stranger = Stranger(name)
        await stranger.start(node)
        strangers.append(stranger)
    return strangers


def broken(block: bytes) -> bytes:
    """The same signed block with one bit of its signature flipped."""
    return block[:-1] + bytes([block[-1] ^ 1])


def signed_by_another(sealed: Any, other: Stranger) -> bytes:
    """A document signed with a key that isn't its author's."""
    return cose.sign(sealed.document.KIND, document.encode(sealed.document), other.signer)


EVIDENCE = frozenset({"receipts", "parts", "chains", "forks", "sqlite_sequence"})  # what keeps the proof of a fork


class Unchanged:
    """Inside it a node refuses: the store stays as it was, and so many more refusals of a kind are counted."""

    def __init__(self, node: Node, kind: str, refusals: int = 1, *, but: frozenset[str] = frozenset()) -> None:
        self.node, self.kind, self.refusals, self.but = node, kind, refusals, but

    async def __aenter__(self) -> None:
        self.before, self.counted = await dump(self.node), await counted(self.node)

    async def __aexit__(self, failure: object, *rest: object) -> None:
        if failure is not None:
            return
        after = await dump(self.node)
        for table, rows in self.before.items():
            assert after[table] == rows or table in self.but, table
        now = await counted(self.node)
        changed = {kind: now[kind] - self.counted.get(kind, 0) for kind in now}
        assert {kind: count for kind, count in changed.items() if count} == {self.kind: self.refusals}


# -- bids


async def test_a_bid_is_taken_once_and_only_once(world: World, strangers: list[Stranger]) -> None:
    node = await world.start("coordinator", Role.SUBMIT, bidding_ms=LONG_MS)
    (bidder,) = await meet(strangers, node, "bidder")
    job = await submit(node, [b"x"])
    announced = await bidder.until(lambda: bidder.announced)
    spec = announced[0].document.job
    assert spec.id == job
    bid = bidder.bid(spec)
    await bidder.post(paths.BIDS, bid.block)
    taken = await dump(node)
    await bidder.post(paths.BIDS, bid.block)  # the answer was lost
    assert await dump(node) == taken
    view = await command(node, "job", job=str(job))
    assert [(row["bidder"], row["price"], row["stake"]) for row in view["bids"]] == [(str(bidder.did), 40, 2)]
    async with Unchanged(node, "bid_refused"):
        refusal = await bidder.refused(paths.BIDS, bidder.bid(spec, price=39).block)
    assert (refusal.response, refusal.problem) == ("4.22", "bid_refused")
    assert "was taken before" in refusal.message


async def test_two_bids_of_one_bidder_at_the_same_moment_are_one_bid(world: World, strangers: list[Stranger]) -> None:
    node = await world.start("coordinator", Role.SUBMIT, bidding_ms=LONG_MS)
    (bidder,) = await meet(strangers, node, "bidder")
    job = await submit(node, [b"x"])
    spec = (await bidder.until(lambda: bidder.announced))[0].document.job
    bids = [bidder.bid(spec, price=price) for price in range(30, 36)]
    answers = await asyncio.gather(*(node.handlers.on_bid(bid, REMOTE) for bid in bids), return_exceptions=True)
    assert [type(answer) for answer in answers].count(BidError) == len(bids) - 1
    assert node.originations is not None
    run = node.originations.jobs[job]
    (taken,) = run.machine.bids.values()
    assert answers[[bid.cid for bid in bids].index(taken.cid)] is None  # who was told so was taken
    entries = await node.shell.storage.run(lambda store: store.journal.replay("originator", str(job)))
    assert len(entries) == 2  # the opening and one bid


@pytest.mark.parametrize(
    ("changed", "code", "match"),
    [
        ({"job_id": OTHER_CID}, None, "no job"),
        ({"price": 501}, JobErrorCode.INSUFFICIENT_BUDGET, "exceeds the 500"),
        ({"completion_ms": 601_000}, JobErrorCode.DEADLINE_EXCEEDED, "the deadline is in"),
        ({"valid_ms": 1}, None, "the bid holds for 1 ms"),
        ({"region": "elsewhere", "compute_score": None}, JobErrorCode.NO_EXECUTOR_AVAILABLE, "cores"),
        ({"job_originator": None}, None, "found one to"),
    ],
)
async def test_a_bid_that_does_not_fit_changes_nothing(
    world: World, strangers: list[Stranger], changed: dict[str, Any], code: JobErrorCode | None, match: str
) -> None:
    node = await world.start("coordinator", Role.SUBMIT, bidding_ms=LONG_MS)
    (bidder,) = await meet(strangers, node, "bidder")
    await submit(node, [b"x"])
    spec = (await bidder.until(lambda: bidder.announced))[0].document.job
    if "compute_score" in changed:
        changed = {"compute_score": replace(bidder.bid(spec).document.compute_score, cpu_cores=4000)}
    if "job_originator" in changed:
        changed = {"job_originator": bidder.did}
    async with Unchanged(node, "bid_refused"):
        refusal = await bidder.refused(paths.BIDS, bidder.bid(spec, **changed).block)
    assert (refusal.response, refusal.problem, refusal.code) == ("4.22", "bid_refused", code)
    assert match in refusal.message


async def test_a_bid_with_a_wrong_signature_or_of_another_than_its_bidder(
    world: World, strangers: list[Stranger]
) -> None:
    node = await world.start("coordinator", Role.SUBMIT, bidding_ms=LONG_MS)
    bidder, other = await meet(strangers, node, "bidder", "other")
    await submit(node, [b"x"])
    bid = bidder.bid((await bidder.until(lambda: bidder.announced))[0].document.job)
    async with Unchanged(node, "bad_signature", 2):
        first = await bidder.refused(paths.BIDS, broken(bid.block))
        second = await bidder.refused(paths.BIDS, signed_by_another(bid, other))
    assert {first.response, second.response} == {"4.01"}
    assert str(other.did) in second.message
    kinds = [await bidder.refused(paths.BIDS, body) for body in (b"\xa0", bid.block[:-1], bid.block + b"\0")]
    assert {(refusal.response, refusal.problem) for refusal in kinds} == {("4.00", "malformed_document")}


async def test_a_bid_after_the_window(world: World, strangers: list[Stranger]) -> None:
    node = await world.start("coordinator", Role.SUBMIT, bidding_ms=50)
    (bidder,) = await meet(strangers, node, "bidder")
    job = await submit(node, [b"x"])
    spec = (await bidder.until(lambda: bidder.announced))[0].document.job
    assert await ended(node, job) == "failed"
    async with Unchanged(node, "bid_refused"):
        refusal = await bidder.refused(paths.BIDS, bidder.bid(spec).block)
    assert (refusal.response, refusal.problem) == ("4.22", "bid_refused")
    assert "closed" in refusal.message


@pytest.mark.parametrize(
    ("path", "limit", "code"),
    [
        (paths.BIDS, limits.BID_BYTES, JobErrorCode.RESOURCE_EXHAUSTED),
        (paths.LEASES, limits.LEASE_BYTES, JobErrorCode.RESOURCE_EXHAUSTED),
        (paths.RECEIPTS, limits.RECEIPT_BYTES, JobErrorCode.RESOURCE_EXHAUSTED),
        (paths.CAPABILITY, limits.CAPABILITY_BYTES, JobErrorCode.RESOURCE_EXHAUSTED),
        (paths.JOBS, limits.ANNOUNCEMENT_BYTES, JobErrorCode.RESOURCE_EXHAUSTED),
    ],
)
async def test_a_body_over_the_limit(
    world: World, strangers: list[Stranger], path: str, limit: int, code: JobErrorCode
) -> None:
    node = await world.start("coordinator", Role.SUBMIT)
    (stranger,) = await meet(strangers, node, "stranger")
    async with Unchanged(node, "too_large"):
        refusal = await stranger.refused(path, bytes(limit + 1))
    assert (refusal.response, refusal.code, refusal.problem) == ("4.13", code, "too_large")
    assert str(limit) in refusal.message


async def test_what_a_node_without_the_role_is_asked(world: World, strangers: list[Stranger]) -> None:
    submitter = await world.start("coordinator", Role.SUBMIT)
    executor = await world.start("executor-1", Role.EXECUTE)
    (stranger,) = await meet(strangers, submitter, "stranger")
    job = stranger.job(b"x", guest_module("echo"))
    lease = stranger.lease(job, stranger.bid(job))
    other = Stranger("other")
    await other.start(executor)
    strangers.append(other)
    status = document.seal(_status(other, job.id), other.signer)
    async with Unchanged(submitter, "not_supported"):
        assert (await stranger.refused(paths.LEASES, lease.block)).response == "5.01"
    async with Unchanged(executor, "not_supported", 4):
        bodies = {
            paths.BIDS: other.bid(job).block,
            paths.RECEIPTS: other.receipt_for(lease).block,
            paths.LEASE_RETURNS: other.give_back(lease).block,
            paths.STATUS: status.block,
        }
        for path, body in bodies.items():
            refusal = await other.refused(path, body)
            assert (refusal.response, refusal.problem) == ("5.01", "not_supported")


def _status(stranger: Stranger, job: Cid) -> Any:
    from icn_lite.model.messages import JobStatusUpdateV1

    return JobStatusUpdateV1(job, stranger.did, stranger.did, 1, Submitted())


# -- receipts


class Running:
    """A job of two shards whose two executors are strangers, each with its first lease in hand."""

    def __init__(self, node: Node, job: Cid, first: Stranger, second: Stranger) -> None:
        self.node, self.job, self.first, self.second = node, job, first, second

    @classmethod
    async def begin(cls, world: World, strangers: list[Stranger], inputs: list[bytes] | None = None) -> Running:
        node = await world.start("coordinator", Role.SUBMIT, bidding_ms=300)
        first, second = await meet(strangers, node, "first", "second")
        job = await submit(node, inputs or [b"one"])
        for stranger in (first, second):
            stranger.blocks[Cid.of_raw(OUTPUT)] = OUTPUT
            spec = (await stranger.until(lambda s=stranger: s.announced))[0].document.job
            await stranger.post(paths.BIDS, stranger.bid(spec).block)
        for stranger in (first, second):
            await stranger.until(lambda s=stranger: s.leases)
        assert node.originations is not None
        run = node.originations.jobs[job]
        await until(node, lambda: all(lease.answered for lease in run.machine._book.leases.values()))
        return cls(node, job, first, second)


BAD_RECEIPTS: dict[str, tuple[dict[str, Any], str]] = {
    "another job": ({"job": OTHER_CID}, "none of ours"),
    "no lease": ({"lease": None}, "names no lease"),
    "an unknown lease": ({"lease": OTHER_CID}, "names no lease"),
    "a shard not in it": ({"shard": 1}, "not in this lease"),
    "another stage": ({"stage": 1}, "stage: expected 0, found 1"),
    "another input": ({"input": OTHER_CID}, "input of shard 0"),
    "another module": ({"module": OTHER_CID}, "module: expected"),
    "another price": ({"price": 41}, "price: expected 40, found 41"),
    "another fuel limit": ({"fuel_limit": 10_000_001}, "fuel limit: expected 10000000"),
    "another schedule": ({"schedule": "icn-fuel-0"}, "fuel schedule"),
    "another meter": ({"meter": "icn-meter/0"}, "meter"),
    "another entry": ({"entry": "other"}, "entry"),
    "other arguments": ({"args": ("i32:1",)}, "arguments"),
}


async def test_receipts_that_do_not_fit_are_refused_one_by_one(world: World, strangers: list[Stranger]) -> None:
    running = await Running.begin(world, strangers)
    first, second, node = running.first, running.second, running.node
    lease = first.leases[0]
    for name, (changed, match) in BAD_RECEIPTS.items():
        async with Unchanged(node, "verification_failed"):
            refusal = await first.refused(paths.RECEIPTS, first.receipt_for(lease, **changed).block)
        assert (refusal.response, refusal.problem) == ("4.22", "verification_failed"), name
        assert refusal.code is JobErrorCode.VALIDATION_FAILED, name
        assert match in refusal.message, name
    async with Unchanged(node, "verification_failed"):
        refusal = await second.refused(paths.RECEIPTS, second.receipt_for(lease).block)
    assert "no lease of this job was given to" in refusal.message
    good = first.receipt_for(lease)
    async with Unchanged(node, "bad_signature", 3):
        for body in (broken(good.block), signed_by_another(good, second), _core_broken(good, first)):
            refusal = await first.refused(paths.RECEIPTS, body)
            assert (refusal.response, refusal.problem) == ("4.01", "bad_signature")
            assert refusal.code is JobErrorCode.VALIDATION_FAILED
    # After all of these the good ones are taken, and the job ends well.
    for stranger in (first, second):
        ack = await stranger.client.post_receipt(stranger.uri, stranger.receipt_for(stranger.leases[0]).block)
        assert ack.signer == node.shell.did
    assert await ended(node, running.job) == "completed"
    assert (await command(node, "ledger"))["sum"] == 0


def _core_broken(good: Any, signer: Stranger) -> bytes:
    """Well signed, but the signature for icn-core is one over something else."""
    wrong = replace(good.document, core_signature=signer.signer.sign(b"something else"))
    return cose.sign(wrong.KIND, document.encode(wrong), signer.signer)


async def test_a_receipt_is_acknowledged_again_and_taken_once(world: World, strangers: list[Stranger]) -> None:
    running = await Running.begin(world, strangers)
    first, second, node = running.first, running.second, running.node
    good = first.receipt_for(first.leases[0])
    acks = await asyncio.gather(*(node.handlers.on_receipt(good, REMOTE) for _ in range(4)))
    assert len(set(acks)) == 1
    rows = await node.shell.storage.run(lambda store: store.receipts.list())
    assert [row.cid for row in rows] == [good.cid]
    assert node.originations is not None
    machine = node.originations.jobs[running.job].machine
    await until(node, lambda: first.did in machine.findings[0])  # the output is here: nothing is under way
    before = await _machine_entries(node, running.job)
    await first.client.post_receipt(first.uri, good.block)
    assert await _machine_entries(node, running.job) == before
    await second.client.post_receipt(second.uri, second.receipt_for(second.leases[0]).block)
    assert await ended(node, running.job) == "completed"


async def _machine_entries(node: Node, job: Cid) -> int:
    return len(await node.shell.storage.run(lambda store: store.journal.replay("originator", str(job))))


async def test_a_fork_and_a_broken_chain_are_refused(world: World, strangers: list[Stranger]) -> None:
    running = await Running.begin(world, strangers, [b"one", b"two", b"three"])
    first, node = running.first, running.node
    grants = [(lease, grant) for lease in first.leases for grant in lease.document.shards]
    while len(grants) < 2:
        await first.heard.wait(0.2)
        grants = [(lease, grant) for lease in first.leases for grant in lease.document.shards]
    (lease, grant), (next_lease, next_grant) = grants[:2]

    def of(lease: Any, grant: Any, seq: int, prev: Cid | None) -> Any:
        fields = {"shard": grant.index, "input": grant.input, "price": grant.price}
        return first.receipt_for(lease, seq, prev, **fields)

    good = of(lease, grant, 0, None)
    await first.client.post_receipt(first.uri, good.block)
    await until(node, lambda: not node.originations.jobs[running.job].machine._tally.waiting)
    async with Unchanged(node, "verification_failed"):
        again = await first.refused(paths.RECEIPTS, of(lease, grant, 1, good.cid).block)
        assert "taken before" in again.message
    async with Unchanged(node, "verification_failed", 2, but=EVIDENCE):
        fork = await first.refused(paths.RECEIPTS, of(next_lease, next_grant, 0, None).block)
        assert "fork" in fork.message
        broken_chain = await first.refused(paths.RECEIPTS, of(next_lease, next_grant, 1, OTHER_CID).block)
        assert "prev of receipt 1" in broken_chain.message
    assert len(await node.shell.storage.run(lambda store: store.chains.forks())) >= 1
    await first.refused(paths.RECEIPTS, of(next_lease, next_grant, 1, good.cid).block)  # of two chains none counts


async def test_two_receipts_with_one_seq_at_the_same_moment_are_a_fork(world: World, strangers: list[Stranger]) -> None:
    running = await Running.begin(world, strangers, [b"one", b"two", b"three", b"four"])
    first, node = running.first, running.node
    grants: list[Any] = []
    while len(grants) < 2:
        await first.heard.wait(0.2)
        grants = [(lease, grant) for lease in first.leases for grant in lease.document.shards]
    receipts = [
        first.receipt_for(lease, shard=grant.index, input=grant.input, price=grant.price) for lease, grant in grants[:2]
    ]
    answers = await asyncio.gather(
        *(node.handlers.on_receipt(receipt, REMOTE) for receipt in receipts), return_exceptions=True
    )
    assert sorted(isinstance(answer, VerificationError) for answer in answers) == [False, True]
    forks = await node.shell.storage.run(lambda store: store.chains.forks())
    assert {forks[0].first, forks[0].second} == {receipt.cid for receipt in receipts}, "both are kept as evidence"
    assert node.originations is not None
    taken = node.originations.jobs[running.job].machine._book.leases.values()
    assert sum(len(lease.taken) for lease in taken) == 1


async def test_an_output_whose_bytes_do_not_match_earns_nothing(
    world: World, strangers: list[Stranger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origination, "RETRY_MS", 1)
    running = await Running.begin(world, strangers)
    first, second, node = running.first, running.second, running.node
    first.blocks[Cid.of_raw(OUTPUT)] = b"another answer"
    assert node.originations is not None
    machine = node.originations.jobs[running.job].machine
    await first.client.post_receipt(first.uri, first.receipt_for(first.leases[0]).block)
    await until(node, lambda: machine._book.executors[first.did].strikes > 0)
    assert await node.shell.storage.run(lambda store: store.blocks.get(Cid.of_raw(OUTPUT))) is None
    assert machine.findings[0] == {}
    await second.client.post_receipt(second.uri, second.receipt_for(second.leases[0]).block)
    await until(node, lambda: second.did in machine.findings[0])
    assert machine.paid == 0  # one executor is not enough, and the liar has had its turn
    await command(node, "cancel", job=str(running.job))
    assert (await command(node, "ledger"))["sum"] == 0


async def test_an_output_that_is_missing_everywhere(
    world: World, strangers: list[Stranger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origination, "RETRY_MS", 1)
    running = await Running.begin(world, strangers)
    node = running.node
    assert node.originations is not None
    machine = node.originations.jobs[running.job].machine
    for stranger in (running.first, running.second):
        stranger.blocks.clear()
        await stranger.client.post_receipt(stranger.uri, stranger.receipt_for(stranger.leases[0]).block)
    for stranger in (running.first, running.second):
        await until(node, lambda s=stranger: machine._book.executors[s.did].strikes > 0)
    assert (machine.paid, machine.settled) == (0, 0)


async def test_executors_that_disagree_end_the_job_in_dispute(world: World, strangers: list[Stranger]) -> None:
    running = await Running.begin(world, strangers)
    node, first, second = running.node, running.first, running.second
    second.blocks[Cid.of_raw(b"lie")] = b"lie"
    await first.client.post_receipt(first.uri, first.receipt_for(first.leases[0]).block)
    lie = second.receipt_for(second.leases[0], output=Cid.of_raw(b"lie"))
    await second.client.post_receipt(second.uri, lie.block)
    assert node.originations is not None
    machine = node.originations.jobs[running.job].machine
    await until(node, lambda: len(machine.findings[0]) == 2)
    assert (machine.paid, machine.settled) == (0, 0)


async def test_a_failure_of_the_host_is_taken_and_not_paid(world: World, strangers: list[Stranger]) -> None:
    running = await Running.begin(world, strangers)
    first, node = running.first, running.node
    failed = first.receipt_for(
        first.leases[0], status=ReceiptStatus.FAILED, output=None, failure=FailureReason.OUT_OF_MEMORY
    )
    await first.client.post_receipt(first.uri, failed.block)
    ledger = await command(node, "ledger")
    assert ledger["sum"] == 0
    view = await command(node, "job", job=str(running.job))
    assert view["paid"] == 0


async def test_only_the_holder_gives_a_lease_back(world: World, strangers: list[Stranger]) -> None:
    running = await Running.begin(world, strangers)
    first, second, node = running.first, running.second, running.node
    async with Unchanged(node, "verification_failed", 2):
        for body in (second.give_back(first.leases[0]).block, first.give_back(first.leases[0], lease=OTHER_CID).block):
            refusal = await second.refused(paths.LEASE_RETURNS, body)
            assert (refusal.response, refusal.problem) == ("4.22", "verification_failed")
            assert "holds no such lease" in refusal.message
    async with Unchanged(node, "invalid_job"):
        refusal = await first.refused(paths.LEASE_RETURNS, first.give_back(first.leases[0], job_id=OTHER_CID).block)
        assert (refusal.response, refusal.code) == ("4.22", JobErrorCode.INVALID_JOB_SPEC)
    async with Unchanged(node, "bad_signature"):
        returned = first.give_back(first.leases[0])
        await second.refused(paths.LEASE_RETURNS, signed_by_another(returned, second))
    before = await dump(node)
    await first.post(paths.LEASE_RETURNS, first.give_back(first.leases[0], shards=(7,)).block)
    assert await dump(node) == before  # a shard that was never in it
    await first.post(paths.LEASE_RETURNS, returned.block)
    once = await _machine_entries(node, running.job)
    await first.post(paths.LEASE_RETURNS, returned.block)
    await first.post(paths.LEASE_RETURNS, first.give_back(first.leases[0], nonce=bytes(16)).block)
    assert await _machine_entries(node, running.job) == once  # who repeats itself doesn't fill the journal


# -- leases to an executor


async def executor_and_originator(world: World, strangers: list[Stranger]) -> tuple[Node, Stranger]:
    node = await world.start("executor-1", Role.EXECUTE)
    (originator,) = await meet(strangers, node, "originator")
    return node, originator


BAD_LEASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a job without our bid": ({"job_id": OTHER_CID}, "bid_refused", "no bid of ours"),
    "another bid": ({"bid": OTHER_CID}, "bid_refused", "no bid of ours"),
    "another executor": ({"executor": None}, "verification_failed", "not for this node"),
    "another module": ({"module": OTHER_CID}, "verification_failed", "another module"),
    "another fuel limit": ({"max_fuel": 5}, "verification_failed", "another fuel limit"),
    "less than the bid": ({"price": -1}, "verification_failed", "for the whole job"),
    "more than the bid": ({"price": 1}, "verification_failed", "for a part of what was offered"),
    "a stage of no workflow": ({"stage": 1}, "verification_failed", "stage"),
    "a shard that the job hasn't": ({"index": 1}, "verification_failed", "shard 1"),
    "another input": ({"input": OTHER_CID}, "verification_failed", "input"),
    "one shard twice": ({"twice": True}, "verification_failed", "shard"),
}


@pytest.mark.parametrize("case", BAD_LEASES)
async def test_a_lease_that_does_not_honour_the_bid(world: World, strangers: list[Stranger], case: str) -> None:
    node, originator = await executor_and_originator(world, strangers)
    job = originator.job(b"payload", guest_module("echo"))
    bid = await originator.announce(job)
    changed, kind, match = BAD_LEASES[case]
    (grant,) = originator.lease(job, bid).document.shards
    fields = {key: value for key, value in changed.items() if key not in ("price", "index", "input", "twice")}
    if "executor" in fields:
        fields["executor"] = originator.did
    if "price" in changed:
        fields["shards"] = (replace(grant, price=grant.price + changed["price"]),)
    if "index" in changed:
        fields["shards"] = (replace(grant, index=changed["index"]),)
    if "input" in changed:
        fields["shards"] = (replace(grant, input=changed["input"]),)
    if "twice" in changed:
        fields["shards"] = (replace(grant, price=0), grant)
    async with Unchanged(node, kind):
        refusal = await originator.refused(paths.LEASES, originator.lease(job, bid, **fields).block)
    assert (refusal.response, refusal.problem) == ("4.22", kind)
    assert match in refusal.message
    assert node.executions is not None
    assert not node.executions.leases


async def test_a_good_lease_is_run_and_its_receipt_delivered_however_often_it_is_sent(
    world: World, strangers: list[Stranger]
) -> None:
    node, originator = await executor_and_originator(world, strangers)
    job = originator.job(b"payload", guest_module("echo"))
    bid = await originator.announce(job)
    lease = originator.lease(job, bid)
    await asyncio.gather(*(node.handlers.on_lease(lease, REMOTE) for _ in range(4)))
    receipt = (await originator.until(lambda: originator.receipts))[0].document
    assert (receipt.status, receipt.output) == (ReceiptStatus.COMPLETED, Cid.of_raw(b"payload"))
    assert node.executions is not None
    await until(node, lambda: not node.executions.leases)
    before = await dump(node)
    await originator.post(paths.LEASES, lease.block)  # late, after all is done
    assert await dump(node) == before
    assert len({sealed.cid for sealed in originator.receipts}) == 1


async def test_an_announcement_heard_twice_is_one_bid(world: World, strangers: list[Stranger]) -> None:
    node, originator = await executor_and_originator(world, strangers)
    job = originator.job(b"payload", guest_module("echo"))
    announced = originator.announcement(job)
    await asyncio.gather(*(node.handlers.on_announcement(announced, REMOTE) for _ in range(4)))
    first = (await originator.until(lambda: originator.bids))[0]
    await originator.announce(job)
    assert {sealed.cid for sealed in originator.bids} == {first.cid}


async def test_announcements_that_are_not_bid_for(world: World, strangers: list[Stranger]) -> None:
    node, originator = await executor_and_originator(world, strangers)
    (_, other) = await meet(strangers, node, "other")
    job = originator.job(b"payload", guest_module("echo"))
    before = await dump(node)
    assert node.executions is not None
    for changed, reason in (
        ({"deadline": job.created_at + 1, "nonce": bytes(16)}, "J010"),
        ({"budget": replace(job.budget, max_total=0), "nonce": b"1" * 16}, "J002"),
        ({"compute": replace(job.compute, min_cpu_cores=4096), "nonce": b"2" * 16}, "J003"),
    ):
        strange = replace(job, **changed)
        await originator.post(paths.JOBS, originator.announcement(strange).block)
        assert node.executions.offers.declined[strange.id].code.value == reason
    foreign = replace(originator.announcement(job).document, originator=other.did)
    await other.post(paths.JOBS, document.seal(foreign, other.signer).block)
    assert "announced by" in node.executions.offers.declined[job.id].message
    assert await dump(node) == before


async def test_a_module_or_input_that_lies_gives_the_lease_back(
    world: World, strangers: list[Stranger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "RETRY_MS", 1)
    node, originator = await executor_and_originator(world, strangers)
    job = originator.job(b"payload", guest_module("echo"))
    bid = await originator.announce(job)
    originator.blocks[Cid.of_raw(b"payload")] = b"PAYLOAD"
    await originator.post(paths.LEASES, originator.lease(job, bid).block)
    (returned,) = await originator.until(lambda: originator.returns)
    assert isinstance(returned.document, LeaseReturnV1)
    assert returned.document.shards == (0,)
    assert not originator.receipts
    assert await node.shell.storage.run(lambda store: store.blocks.has(Cid.of_raw(b"PAYLOAD"))) is False


async def test_a_module_that_is_refused_makes_a_failed_receipt_not_a_dead_node(
    world: World, strangers: list[Stranger]
) -> None:
    node, originator = await executor_and_originator(world, strangers)
    job = originator.job(b"payload", b"\0asm\1\0\0\0garbage")
    bid = await originator.announce(job)
    await originator.post(paths.LEASES, originator.lease(job, bid).block)
    receipt = (await originator.until(lambda: originator.receipts))[0].document
    assert (receipt.status, receipt.failure) == (ReceiptStatus.FAILED, FailureReason.UNSUPPORTED_OPERATION)
    good = originator.job(b"payload", guest_module("echo"), nonce=bytes(16))
    again = await originator.announce(good)
    await originator.post(paths.LEASES, originator.lease(good, again).block)
    await originator.until(lambda: len(originator.receipts) == 2)
    assert originator.receipts[1].document.prev == originator.receipts[0].cid
    assert (await counted(node)) == {}


def test_the_kit_makes_receipts_that_hold() -> None:
    stranger = Stranger("kit")
    job = replace(_kit_job(stranger))
    lease = stranger.lease(job, stranger.bid(job))
    assert read_receipt(stranger.receipt_for(lease).block).document.executor == stranger.did
    assert sign_receipt(stranger.receipt_for(lease).document, stranger.signer).cid == stranger.receipt_for(lease).cid


def _kit_job(stranger: Stranger) -> Any:
    from icn_lite.model.job import Budget, InputSpec, JobSpec, WasmRuntime

    return JobSpec(
        name="kit", submitter=stranger.did, nonce=NONCE, created_at=1, deadline=10, runtime=WasmRuntime(OTHER_CID),
        budget=Budget(100), input=InputSpec(data=OTHER_CID, total_bytes=1),
    )  # fmt: skip
