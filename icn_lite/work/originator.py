"""The originator of one job: bids in, leases out, receipts in, verdicts and payments out.

    BIDDING ──BiddingEnded──▶ RUNNING ──last verdict──▶ COMPLETED
       │                         ├── disputed, trapped, no executor left, deadline ──▶ FAILED
       └──no usable bid──▶ FAILED└── CancelAsked ──▶ CANCELLED

The machine is pure: `handle(event, now_ms)` returns effects, and the shell stores the event before it performs
them, so that replaying the stored events rebuilds the machine after a crash; `resume` then repeats what may have
been lost. Everything tolerates duplicates. Times are the machine's own milliseconds (`work/replay.py`).

Money: the job's budget lies in escrow from submission on. A verdict pays every agreeing executor its share of its
own bid; whoever dissented, or let a lease lapse, loses stake; what is left goes back when the job ends. What is paid
and what is promised in open leases never exceed the budget together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from icn_lite.model.bid import Bid
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import BidError, FailureReason, JobErrorCode, VerificationError
from icn_lite.model.job import WasmRuntime
from icn_lite.model.messages import MAX_LEASE_SHARDS, AssignJobV1, ShardGrant
from icn_lite.model.receipt import ExecutionReceipt, ReceiptStatus
from icn_lite.work.originator_events import (
    ENDED,
    Announce,
    BiddingEnded,
    BidTaken,
    CancelAsked,
    DeadlinePassed,
    Effect,
    Ended,
    Event,
    FetchOutput,
    LeaseLapsed,
    LeaseRefused,
    LeaseReturned,
    LeaseTaken,
    OfferLease,
    OutputMissing,
    OutputStored,
    PauseOver,
    Pay,
    Phase,
    ReceiptTaken,
    Settled,
    Slash,
    Terms,
)
from icn_lite.work.quorum import Finding, Judgement, judge
from icn_lite.work.shards import ShardPool

MAX_BIDS: Final = 256  # a job's bids are held in memory until it ends
MAX_STRIKES: Final = 3  # lapsed, refused or returned leases in a row before an executor gets no more
MAX_HOST_FAILURES: Final = 4  # host failures of one shard, on different executors, before the job fails
LEASES_AHEAD: Final = 2  # leases that an executor holds at once: one runs while the next one's input travels
REFUSAL_PAUSE_MS: Final = 1_000  # an executor that refused a lease is asked again after this
EXECUTOR_PATIENCE_MS: Final = 60_000  # shards that nobody can take wait this long for an executor to free itself


@dataclass(slots=True)
class LeaseState:
    """One lease as the originator sees it."""

    executor: Did
    grants: dict[int, ShardGrant]
    open: set[int]
    ends_ms: int
    answered: bool = False


@dataclass(slots=True)
class ExecutorState:
    """One chosen executor."""

    bid: Bid
    cid: Cid
    strikes: int = 0
    ask_after_ms: int | None = None
    open_leases: int = 0

    @property
    def barred(self) -> bool:
        """Whether it gets no more leases."""
        return self.strikes >= MAX_STRIKES


class Originator:
    """The machine of one job."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.phase = Phase.BIDDING
        self.now_ms = terms.started_ms
        self.bids: dict[Did, BidTaken] = {}
        self.executors: dict[Did, ExecutorState] = {}
        self.leases: dict[bytes, LeaseState] = {}
        self.findings: list[dict[Did, Finding]] = [{} for _ in terms.shards]
        self.outcomes: dict[int, Finding] = {}
        self.paid = 0
        self.ended: Ended | None = None
        self._reserved: list[dict[Did, int]] = [{} for _ in terms.shards]
        self._reserved_total = 0
        self._pool = ShardPool(len(terms.shards), terms.job.copies)
        self._failures = [0] * len(terms.shards)
        self._missing_outputs: dict[Cid, list[tuple[int, Finding]]] = {}
        self._weights = _cumulative(shard.weight for shard in terms.shards)
        self._stuck_since_ms: int | None = None

    # -- what the shell asks

    def start(self) -> list[Effect]:
        """The first effects of a new job."""
        return [Announce()]

    def resume(self) -> list[Effect]:
        """After a replay: repeat what may not have been done. Every receiver tolerates duplicates."""
        if self.phase is Phase.BIDDING:
            return [Announce()]
        if self.ended is not None:
            return [self.ended]
        effects: list[Effect] = [self._offer(nonce) for nonce, lease in self.leases.items() if not lease.answered]
        for output, waiting in self._missing_outputs.items():
            effects.append(FetchOutput(waiting[0][1].executor, output))
        return effects

    def due(self, now_ms: int) -> Event | None:
        """The event that time itself has brought about, if any; the shell stores and handles it like others."""
        if self.phase in ENDED:
            return None
        if now_ms >= self.terms.deadline_ms:
            return DeadlinePassed(stuck=False)
        if self.phase is Phase.BIDDING:
            return None  # the shell ends bidding: it has to rank the bids first
        for nonce, lease in self.leases.items():
            if lease.open and now_ms >= lease.ends_ms:
                return LeaseLapsed(nonce)
        for did, state in self.executors.items():
            if state.ask_after_ms is not None and now_ms >= state.ask_after_ms:
                return PauseOver(did)
        if self._stuck_since_ms is not None and now_ms - self._stuck_since_ms >= EXECUTOR_PATIENCE_MS:
            return DeadlinePassed(stuck=True)
        return None

    def bidding_over(self, now_ms: int) -> bool:
        """Whether the window for bids has passed."""
        return self.phase is Phase.BIDDING and now_ms >= self.terms.started_ms + self.terms.bidding_ms

    def check_bid(self, bid: Bid) -> None:
        """Refuse a bid that comes late, twice, or beyond the bound."""
        if self.phase is not Phase.BIDDING:
            raise BidError("late", "the bidding for this job is over", code=JobErrorCode.DEADLINE_EXCEEDED)
        if bid.bidder in self.bids:
            raise BidError("duplicate", f"{bid.bidder} has a bid on this job already")
        if len(self.bids) >= MAX_BIDS:
            raise BidError("too_many", f"this job has {MAX_BIDS} bids already")

    def check_receipt(self, receipt: ExecutionReceipt, lease_nonce: bytes) -> None:
        """Refuse a receipt that doesn't fit the lease it names; raises `VerificationError`."""
        lease = self.leases.get(lease_nonce)
        runtime = self.terms.job.runtime
        if lease is None or lease.executor != receipt.executor:
            raise VerificationError(f"no lease of this job was given to {receipt.executor} under this name")
        grant = lease.grants.get(receipt.shard)
        if grant is None:
            raise VerificationError(f"shard {receipt.shard} is not in this lease")
        if receipt.input != grant.input:
            raise VerificationError(f"expected the input {grant.input} of shard {receipt.shard}, found {receipt.input}")
        if not isinstance(runtime, WasmRuntime) or receipt.module != runtime.module:
            raise VerificationError(f"expected the job's module, found {receipt.module}")
        if receipt.fuel_limit != self.terms.job.compute.max_fuel:
            raise VerificationError(
                f"expected the job's fuel limit {self.terms.job.compute.max_fuel}, found {receipt.fuel_limit}"
            )
        if receipt.entry != runtime.function or receipt.args != self.terms.job.code.args:
            raise VerificationError("expected the job's entry and arguments")
        if receipt.price != grant.price:
            raise VerificationError(f"expected the price {grant.price} of the lease, found {receipt.price}")

    def handle(self, event: Event, now_ms: int) -> list[Effect]:
        """Advance by one event and return the effects to perform, the follow-up leases included."""
        self.now_ms = max(self.now_ms, now_ms)
        handler = TRANSITIONS.get((self.phase, type(event)))
        if handler is None:
            return []  # late or repeated: it changes nothing in this phase
        effects = handler(self, event)
        return effects + self._grant()

    @property
    def settled(self) -> int:
        """How many shards have their verdict."""
        return self._pool.settled

    def lease_document(self, offer: OfferLease, issued_at_s: int) -> AssignJobV1:
        """The document to sign for an offer: always the same for one nonce, so that it is never granted twice."""
        job = self.terms.job
        if not isinstance(job.runtime, WasmRuntime):
            raise VerificationError("only WASM jobs are leased to small devices")
        return AssignJobV1(
            originator=job.submitter,
            executor=offer.executor,
            job_id=job.id,
            bid=offer.bid,
            nonce=offer.nonce,
            stage=0,
            module=job.runtime.module,
            shards=offer.shards,
            duration_ms=self.terms.lease_ms,
            max_fuel=job.compute.max_fuel,
            issued_at=issued_at_s,
        )

    # -- transitions

    def _bid_taken(self, event: BidTaken) -> list[Effect]:
        if event.bid.bidder not in self.bids and len(self.bids) < MAX_BIDS:
            self.bids[event.bid.bidder] = event
        return []

    def _bidding_ended(self, event: BiddingEnded) -> list[Effect]:
        by_cid = {taken.cid: taken for taken in self.bids.values()}
        chosen = [by_cid[cid] for cid in event.ranking if cid in by_cid]
        chosen = affordable(chosen, self.terms.job.copies, self.terms.job.budget.max_total)
        if len(chosen) < self.terms.job.copies:
            return self._end(
                Phase.FAILED,
                FailureReason.VALIDATOR_UNAVAILABLE,
                JobErrorCode.NO_EXECUTOR_AVAILABLE,
                f"{self.terms.job.copies} executors are needed, {len(chosen)} made a usable bid",
            )
        self.executors = {taken.bid.bidder: ExecutorState(taken.bid, taken.cid) for taken in chosen}
        self.phase = Phase.RUNNING
        return []

    def _lease_taken(self, event: LeaseTaken) -> list[Effect]:
        lease = self.leases.get(event.lease)
        if lease is not None and not lease.answered:
            lease.answered = True
            lease.ends_ms = self.now_ms + self.terms.lease_ms
            self.executors[lease.executor].strikes = 0
        return []

    def _lease_refused(self, event: LeaseRefused) -> list[Effect]:
        lease = self.leases.get(event.lease)
        if lease is None or lease.answered:
            return []
        self.executors[lease.executor].ask_after_ms = self.now_ms + REFUSAL_PAUSE_MS
        self._strike(lease, may_retry=True)
        return []

    def _lease_returned(self, event: LeaseReturned) -> list[Effect]:
        lease = self.leases.get(event.lease)
        if lease is None:
            return []
        given_back = lease.open & set(event.shards)
        self._drop(lease, given_back, may_retry=True)
        self.executors[lease.executor].ask_after_ms = self.now_ms + REFUSAL_PAUSE_MS
        return []

    def _lease_lapsed(self, event: LeaseLapsed) -> list[Effect]:
        lease = self.leases.get(event.lease)
        if lease is None or not lease.open or self.now_ms < lease.ends_ms:
            return []
        answered = lease.answered
        self._strike(lease, may_retry=False)
        return [Slash(lease.executor, 2, event.lease)] if answered else []

    def _pause_over(self, event: PauseOver) -> list[Effect]:
        state = self.executors.get(event.executor)
        if state is not None:
            state.ask_after_ms = None
        return []

    def _receipt_taken(self, event: ReceiptTaken) -> list[Effect]:
        receipt, lease = event.receipt, self.leases.get(event.lease)
        if lease is None or receipt.shard not in lease.grants:
            return []
        lease.answered = True  # a receipt says so, even when the answer to the offer was lost
        if receipt.status is ReceiptStatus.FAILED:
            return self._host_failure(lease, event)
        finding = Finding.of(receipt, event.cid)
        if receipt.output is not None and receipt.executor not in self.findings[receipt.shard]:
            waiting = self._missing_outputs.setdefault(receipt.output, [])
            if all(known.receipt != event.cid for _, known in waiting):
                waiting.append((receipt.shard, finding))
            self._close(lease, receipt.shard)
            self._pool.deliver(receipt.executor, receipt.shard)
            return [FetchOutput(receipt.executor, receipt.output)]
        self._close(lease, receipt.shard)
        return self._found(receipt.shard, finding)

    def _output_stored(self, event: OutputStored) -> list[Effect]:
        effects: list[Effect] = []
        for shard, finding in self._missing_outputs.pop(event.output, []):
            effects += self._found(shard, finding)
        return effects

    def _output_missing(self, event: OutputMissing) -> list[Effect]:
        """A receipt whose output can't be had proves nothing yet: somebody else runs the shard."""
        for shard, finding in self._missing_outputs.pop(event.output, []):
            self._pool.withdraw(finding.executor, shard)
            self._reserved_total -= self._reserved[shard].pop(finding.executor, 0)
        return []

    def _cancelled(self, event: CancelAsked) -> list[Effect]:
        return self._end(Phase.CANCELLED, None, None, "cancelled by the submitter")

    def _deadline(self, event: DeadlinePassed) -> list[Effect]:
        left = f"{len(self._pool) - self._pool.settled} of {len(self._pool)} shards without a verdict"
        if event.stuck:
            return self._end(
                Phase.FAILED,
                FailureReason.VALIDATOR_UNAVAILABLE,
                JobErrorCode.NO_EXECUTOR_AVAILABLE,
                f"no executor is left that could take more: {left}",
            )
        return self._end(
            Phase.FAILED,
            FailureReason.DEADLINE_EXCEEDED,
            JobErrorCode.DEADLINE_EXCEEDED,
            f"the deadline passed with {left}",
        )

    # -- parts of transitions

    def _found(self, shard: int, finding: Finding) -> list[Effect]:
        """A finding that can be judged: its output, if it has one, is here."""
        findings = self.findings[shard]
        findings.setdefault(finding.executor, finding)
        self._pool.deliver(finding.executor, shard)
        state = self._pool[shard]
        if state.settled:
            return self._late_finding(shard, finding)
        verdict = judge(tuple(findings.values()), self.terms.job.copies)
        if verdict.judgement is Judgement.MORE:
            state.wanted = len(findings) + 1
            return []
        if verdict.judgement is Judgement.WAIT:
            return []
        state.settled = True
        self._release_reserve(shard)
        effects: list[Effect] = [Settled(shard, verdict.judgement)]
        effects += [Slash(dissenter.executor, 1, dissenter.receipt) for dissenter in verdict.dissenting]
        if verdict.judgement is Judgement.DISPUTED:
            sentence = f"shard {shard}: {len(findings)} executors gave different results"
            return effects + self._end(
                Phase.FAILED, FailureReason.DETERMINISM_VIOLATION, JobErrorCode.VALIDATION_FAILED, sentence
            )
        self.outcomes[shard] = verdict.agreeing[0]
        effects += [self._pay(shard, agreeing) for agreeing in verdict.agreeing]
        return effects + self._after_verdict(shard)

    def _late_finding(self, shard: int, finding: Finding) -> list[Effect]:
        """A result for a shard that has its verdict earns nothing, but a lie is still a lie."""
        outcome = self.outcomes.get(shard)
        if outcome is not None and outcome.vote != finding.vote:
            return [Slash(finding.executor, 1, finding.receipt)]
        return []

    def _after_verdict(self, shard: int) -> list[Effect]:
        status, trap = self.outcomes[shard].vote[:2]
        if status is ReceiptStatus.TRAPPED:
            sentence = f"shard {shard}: the guest trapped ({trap}) on every executor that ran it"
            code = JobErrorCode.RESOURCE_EXHAUSTED if trap == "out_of_fuel" else JobErrorCode.INVALID_JOB_SPEC
            reason = FailureReason.CPU_TIMEOUT if trap == "out_of_fuel" else FailureReason.INVALID_INPUT
            return self._end(Phase.FAILED, reason, code, sentence)
        if self._pool.settled == len(self._pool):
            return self._end(Phase.COMPLETED, None, None, f"{len(self._pool)} shards verified")
        return []

    def _host_failure(self, lease: LeaseState, event: ReceiptTaken) -> list[Effect]:
        shard = event.receipt.shard
        if shard not in lease.open:
            return []
        self._drop(lease, {shard}, may_retry=False)
        self._failures[shard] += 1
        effects: list[Effect] = [Slash(lease.executor, 2, event.cid)]
        if self._failures[shard] >= MAX_HOST_FAILURES:
            reason = event.receipt.failure or FailureReason.CRASH_OR_PANIC
            sentence = f"shard {shard} failed on {self._failures[shard]} executors, at last by {reason.value}"
            effects += self._end(Phase.FAILED, reason, JobErrorCode.RESOURCE_EXHAUSTED, sentence)
        return effects

    def _pay(self, shard: int, finding: Finding) -> Pay:
        """What the shard earns; a finding that came after its lease was given up gets what is left at most."""
        left = self.terms.job.budget.max_total - self.paid - self._reserved_total
        amount = min(left, self._price_of(shard, self.executors[finding.executor].bid.price))
        self.paid += amount
        return Pay(finding.executor, shard, amount, finding.receipt)

    def _price_of(self, shard: int, bid_price: int) -> int:
        """A shard's share of a bid by weight; the shares of all shards sum to the bid exactly."""
        total = self._weights[-1]
        return bid_price * self._weights[shard + 1] // total - bid_price * self._weights[shard] // total

    def _end(
        self, phase: Phase, reason: FailureReason | None, code: JobErrorCode | None, sentence: str
    ) -> list[Effect]:
        self.phase = phase
        self.ended = Ended(phase, reason, code, sentence)
        return [self.ended]

    def _grant(self) -> list[Effect]:
        """Give every executor with room its next lease, within what is left of the budget."""
        if self.phase is not Phase.RUNNING:
            return []
        rates = {did: state.bid.compute_score.fuel_per_s for did, state in self.executors.items() if not state.barred}
        effects: list[Effect] = []
        for did, state in self.executors.items():
            while not state.barred and state.ask_after_ms is None and state.open_leases < LEASES_AHEAD:
                most = min(MAX_LEASE_SHARDS, max(1, state.bid.max_shards))
                indices = self._pool.take(did, self._pool.batch_size(did, rates, most))
                offer = self._lease(did, state, indices)
                if offer is None:
                    break
                effects.append(offer)
        self._watch_for_standstill()
        return effects

    def _lease(self, executor: Did, state: ExecutorState, indices: list[int]) -> OfferLease | None:
        """A new lease over these shards, as far as the budget reaches."""
        grants: dict[int, ShardGrant] = {}
        for index in indices:
            price = self._price_of(index, state.bid.price)
            if self.paid + self._reserved_total + price > self.terms.job.budget.max_total:
                break
            self._reserved[index][executor] = price
            self._reserved_total += price
            grants[index] = ShardGrant(index, self.terms.shards[index].input, price)
        self._pool.release(executor, indices[len(grants) :], may_retry=True)
        if not grants:
            return None
        number = len(self.leases).to_bytes(4, "big")
        nonce = hashlib.sha256(self.terms.job.nonce + number + executor.public_key).digest()[:16]
        state.open_leases += 1
        self.leases[nonce] = LeaseState(executor, grants, set(grants), self.now_ms + 2 * self.terms.lease_ms)
        return self._offer(nonce)

    def _offer(self, nonce: bytes) -> OfferLease:
        lease = self.leases[nonce]
        return OfferLease(nonce, lease.executor, self.executors[lease.executor].cid, tuple(lease.grants.values()))

    def _close(self, lease: LeaseState, shard: int) -> None:
        """The executor owes this shard no longer: it delivered, failed, or gave it up."""
        if shard in lease.open:
            lease.open.discard(shard)
            if not lease.open:
                self.executors[lease.executor].open_leases -= 1

    def _drop(self, lease: LeaseState, shards: set[int], *, may_retry: bool) -> None:
        """These shards won't come from this lease: others may have them, and its reserve is free."""
        for shard in sorted(shards):
            self._close(lease, shard)
            self._reserved_total -= self._reserved[shard].pop(lease.executor, 0)
        self._pool.release(lease.executor, shards, may_retry=may_retry)

    def _release_reserve(self, shard: int) -> None:
        self._reserved_total -= sum(self._reserved[shard].values())
        self._reserved[shard].clear()

    def _strike(self, lease: LeaseState, *, may_retry: bool) -> None:
        self.executors[lease.executor].strikes += 1
        lease.answered = True
        self._drop(lease, set(lease.open), may_retry=may_retry)

    def _watch_for_standstill(self) -> None:
        """Note since when shards wait although no lease is open."""
        busy = any(state.open_leases for state in self.executors.values()) or self._missing_outputs
        if busy or self._pool.remaining_copies == 0:
            self._stuck_since_ms = None
        elif self._stuck_since_ms is None:
            self._stuck_since_ms = self.now_ms


def affordable(chosen: list[BidTaken], copies: int, budget: int) -> list[BidTaken]:
    """The bids to use: the dearest go until the `copies` dearest left can all be paid from the budget."""
    kept = list(chosen)
    while len(kept) >= copies:
        dearest = sorted(kept, key=lambda taken: (-taken.bid.price, taken.cid))[:copies]
        if sum(taken.bid.price for taken in dearest) <= budget:
            return kept
        kept.remove(dearest[0])
    return kept


def _cumulative(weights: Iterable[int]) -> list[int]:
    """0 and the running sums."""
    return [0, *accumulate(weights)]


# Which events mean something in which phase; any other is late or repeated, and changes nothing.
TRANSITIONS: Final[dict[tuple[Phase, type], Callable[[Originator, Any], list[Effect]]]] = {
    (Phase.BIDDING, BidTaken): Originator._bid_taken,
    (Phase.BIDDING, BiddingEnded): Originator._bidding_ended,
    (Phase.BIDDING, CancelAsked): Originator._cancelled,
    (Phase.BIDDING, DeadlinePassed): Originator._deadline,
    (Phase.RUNNING, LeaseTaken): Originator._lease_taken,
    (Phase.RUNNING, LeaseRefused): Originator._lease_refused,
    (Phase.RUNNING, LeaseReturned): Originator._lease_returned,
    (Phase.RUNNING, LeaseLapsed): Originator._lease_lapsed,
    (Phase.RUNNING, ReceiptTaken): Originator._receipt_taken,
    (Phase.RUNNING, OutputStored): Originator._output_stored,
    (Phase.RUNNING, OutputMissing): Originator._output_missing,
    (Phase.RUNNING, CancelAsked): Originator._cancelled,
    (Phase.RUNNING, DeadlinePassed): Originator._deadline,
    (Phase.RUNNING, PauseOver): Originator._pause_over,
}
