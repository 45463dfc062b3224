"""Jobs, bids, leases and receipts that the tests of `work/` change in one place each."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from icn_lite.market.bids import stake_of
from icn_lite.model.bid import AvailabilityWindow, Bid, CapabilityProof, ComputeScore
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import FailureReason
from icn_lite.model.job import (
    Budget,
    CodeSpec,
    ComputeRequirements,
    Full,
    InputSpec,
    JobSpec,
    NoRedundancy,
    PlannedShard,
    WasmRuntime,
)
from icn_lite.model.receipt import NO_SIGNATURE, Clock, ExecutionReceipt, ReceiptStatus
from icn_lite.work import originator_events as ev
from icn_lite.work.executor import LeaseWork, ShardWork
from icn_lite.work.fit import FUEL_SCHEDULE, METER
from icn_lite.work.leasing import ExecutorState, LeaseBook, LeaseState
from icn_lite.work.originator import Originator
from icn_lite.work.replay import decode_event, encode_event
from icn_lite.work.shards import ShardPool, ShardState
from icn_lite.work.tally import Tally

MODULE = Cid.of_raw(b"module")
FUEL_LIMIT = 1_000_000
BIDDING_MS = 5_000
LEASE_MS = 10_000
START_MS = 5_000


def did_of(number: int) -> Did:
    """Identity number `number`."""
    return Did(number.to_bytes(32, "big"))


SUBMITTER = did_of(1_000)


def input_of(shard: int) -> Cid:
    """The input of a shard."""
    return Cid.of_raw(b"input %d" % shard)


def output_of(shard: int, text: bytes = b"true") -> Cid:
    """An output of a shard."""
    return Cid.of_raw(b"output %d %s" % (shard, text))


def terms_of(shards: int = 4, copies: int = 2, *, budget: int = 10_000, weights: tuple[int, ...] = ()) -> ev.Terms:
    """A job of so many shards, started at `START_MS`, with an hour until its deadline."""
    job = JobSpec(
        name="job",
        submitter=SUBMITTER,
        nonce=bytes(16),
        created_at=1_000,
        runtime=WasmRuntime(module=MODULE, function="run"),
        input=InputSpec(plan=Cid.of_dag_cbor(b"plan"), shards=shards),
        budget=Budget(max_total=budget),
        deadline=1_000 + 3_600,
        code=CodeSpec(args=("i32:7",)),
        compute=ComputeRequirements(max_fuel=FUEL_LIMIT, timeout_ms=1_000),
        redundancy=Full(copies) if copies > 1 else NoRedundancy(),
    )
    weights = weights or (1,) * shards
    plan = tuple(PlannedShard(input_of(shard), 10, weights[shard]) for shard in range(shards))
    return ev.Terms(job, plan, BIDDING_MS, LEASE_MS, START_MS)


def bid_taken(terms: ev.Terms, number: int, *, price: int = 400, rate: int = 1_000, most: int = 8) -> ev.BidTaken:
    """The bid of executor `number`."""
    bid = Bid(
        bidder=did_of(number),
        job_originator=SUBMITTER,
        job_id=terms.job.id,
        nonce=bytes(16),
        price=price,
        completion_time=1_030,
        completion_ms=30_000,
        valid_until=1_060,
        valid_ms=60_000,
        compute_score=ComputeScore(fuel_per_s=rate, memory_mb=64, cpu_cores=1),
        availability=AvailabilityWindow(duration_ms=600_000, shards_at_once=1),
        max_shards=most,
        capability_proof=CapabilityProof(),
    )
    return ev.BidTaken(bid, Cid.of_dag_cbor(b"bid %d" % number), stake_of(price))


@dataclass(frozen=True)
class Says:
    """What an executor states about a run: the honest thing unless changed."""

    output: bytes = b"true"
    fuel: int = 1_234
    trap: str | None = None
    failure: FailureReason | None = None


HONEST = Says()


def receipt_of(
    terms: ev.Terms, offer: ev.OfferLease, shard: int, says: Says = HONEST, *, seq: int = 0, price: int | None = None
) -> ev.ReceiptTaken:
    """The receipt for a shard of a lease, as the machine is told of it."""
    if price is None:
        price = next(grant.price for grant in offer.shards if grant.index == shard)
    failed, trapped = says.failure is not None, says.trap is not None
    completed = not failed and not trapped
    receipt = ExecutionReceipt(
        job=terms.job.id,
        shard=shard,
        stage=0,
        module=MODULE,
        input=input_of(shard),
        status=ReceiptStatus.FAILED if failed else ReceiptStatus.TRAPPED if trapped else ReceiptStatus.COMPLETED,
        fuel_used=says.fuel,
        fuel_limit=FUEL_LIMIT,
        schedule=FUEL_SCHEDULE,
        meter=METER,
        peak_pages=1,
        host_calls=2,
        cpu_ms=5,
        wall_ms=6,
        executor=offer.executor,
        seq=seq,
        clock=Clock(boot=bytes(16), uptime_ms=1, wall_s=0),
        price=price,
        core_signature=NO_SIGNATURE,
        prev=Cid.of_dag_cbor(b"prev") if seq else None,
        lease=Cid.of_dag_cbor(offer.nonce),
        output=output_of(shard, says.output) if completed else None,
        trap=says.trap,
        failure=says.failure,
        exit_code=0 if completed else None,
        entry="run",
        args=("i32:7",),
        results=("i32:0",) if completed else (),
    )
    return ev.ReceiptTaken(receipt, cid_of(receipt), offer.nonce)


def cid_of(receipt: ExecutionReceipt) -> Cid:
    """A CID as unique as the signed receipt's."""
    return Cid.of_dag_cbor(repr(receipt).encode())


def changed(taken: ev.ReceiptTaken, **fields: object) -> ev.ReceiptTaken:
    """The same receipt with other fields."""
    receipt = replace(taken.receipt, **fields)  # type: ignore[arg-type]
    return ev.ReceiptTaken(receipt, cid_of(receipt), taken.lease)


class Desk:
    """A machine with its journal and its clock, for tests that go step by step."""

    def __init__(self, terms: ev.Terms) -> None:
        self.terms = terms
        self.machine = Originator(terms)
        self.now_ms = terms.started_ms
        self.journal: list[bytes] = []
        self.effects: list[ev.Effect] = self.machine.start()
        self.seq = 0

    def tell(self, event: ev.Event, later_ms: int = 1) -> list[ev.Effect]:
        """Let time pass, then handle an event, as a shell would."""
        self.now_ms += later_ms
        if not self.machine.changes(event, self.now_ms):
            assert self.machine.handle(event, self.now_ms) == []
            return []
        effects = self.machine.handle(event, self.now_ms)
        self.journal.append(encode_event(event, self.now_ms))
        self.effects += effects
        return effects

    def rebuilt(self) -> Originator:
        """The machine that the journal gives."""
        machine = Originator(self.terms)
        for data in self.journal:
            entry = decode_event(ev.Event, data)
            machine.handle(entry.event, entry.at_ms)  # type: ignore[arg-type]
        return machine

    def run(self, *bids: ev.BidTaken) -> list[ev.OfferLease]:
        """Take these bids, end the bidding; returns the leases offered."""
        for bid in bids:
            self.tell(bid)
        effects = self.tell(ev.BiddingEnded(tuple(bid.cid for bid in bids)), BIDDING_MS)
        return [effect for effect in effects if isinstance(effect, ev.OfferLease)]

    def deliver(self, offer: ev.OfferLease, shard: int, says: Says = HONEST) -> list[ev.Effect]:
        """A receipt for a shard, and its output right after it."""
        taken = receipt_of(self.terms, offer, shard, says, seq=self.seq)
        self.seq += 1
        self.machine.check_receipt(taken.receipt, offer.nonce)
        effects = self.tell(taken)
        output = taken.receipt.output
        return effects + (self.tell(ev.OutputStored(output)) if output else [])

    def moved(self) -> dict[str, int]:
        """What each account gained or lost by all effects so far, each transfer once."""
        totals: dict[str, int] = {}
        transfers = {e.transfer.id: e.transfer for e in self.effects if isinstance(e, ev.MoveMana)}
        for transfer in transfers.values():
            for account, amount in transfer.entries:
                totals[account] = totals.get(account, 0) + amount
        return totals


def offers_in(effects: list[ev.Effect]) -> list[ev.OfferLease]:
    """The leases among effects."""
    return [effect for effect in effects if isinstance(effect, ev.OfferLease)]


def snapshot(item: object) -> object:
    """Everything that an object holds, comparable."""
    if isinstance(item, dict):
        return [(snapshot(key), snapshot(value)) for key, value in item.items()]
    if isinstance(item, (list, tuple)):
        return [snapshot(entry) for entry in item]
    if isinstance(item, (set, frozenset)):
        return sorted(repr(entry) for entry in item)
    if isinstance(item, (Originator, LeaseWork, LeaseBook, Tally, ShardPool)):
        return snapshot(vars(item))
    if isinstance(item, (LeaseState, ExecutorState, ShardState, ShardWork)):
        return [snapshot(getattr(item, entry.name)) for entry in fields(item)]
    return item
