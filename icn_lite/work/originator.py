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

from collections.abc import Callable
from typing import Any, Final

from icn_lite.market import settle
from icn_lite.market.bids import MAX_BIDS
from icn_lite.market.outcome import ValidationOutcome
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import FailureReason, JobErrorCode, VerificationError
from icn_lite.model.job import WasmRuntime
from icn_lite.model.messages import AssignJobV1
from icn_lite.model.receipt import ExecutionReceipt, ReceiptStatus
from icn_lite.work.leasing import LeaseBook, LeaseState, affordable
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
    Judged,
    LeaseLapsed,
    LeaseRefused,
    LeaseReturned,
    LeaseTaken,
    MoveMana,
    OfferLease,
    OutputMissing,
    OutputStored,
    PauseOver,
    Phase,
    ReceiptTaken,
    Settled,
    Terms,
)
from icn_lite.work.quorum import Finding, Judgement, judge

MAX_HOST_FAILURES: Final = 4  # host failures of one shard, on different executors, before the job fails
EXECUTOR_PATIENCE_MS: Final = 60_000  # shards that nobody can take wait this long for an executor to free itself


class Originator:
    """The machine of one job."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.phase = Phase.BIDDING
        self.now_ms = terms.started_ms
        self.bids: dict[Did, BidTaken] = {}
        self.findings: list[dict[Did, Finding]] = [{} for _ in terms.shards]
        self.outcomes: dict[int, Finding] = {}
        self.ended: Ended | None = None
        self._book = LeaseBook(terms)
        self._failures = [0] * len(terms.shards)
        self._missing_outputs: dict[Cid, list[tuple[int, Finding]]] = {}
        self._job_id = terms.job.id
        self._stuck_since_ms: int | None = None

    # -- what the shell asks

    def start(self) -> list[Effect]:
        """The first effects of a new job."""
        submitter, budget = self.terms.job.submitter, self.terms.job.budget.max_total
        return [MoveMana(settle.open_escrow(self._job_id, submitter, budget)), Announce()]

    def resume(self) -> list[Effect]:
        """After a replay: repeat what may not have been done. Every receiver tolerates duplicates."""
        if self.phase is Phase.BIDDING:
            return [Announce()]
        if self.ended is not None:
            return [self.ended]
        effects: list[Effect] = [
            self._book.offer(nonce) for nonce, lease in self._book.leases.items() if not lease.answered
        ]
        for output, waiting in self._missing_outputs.items():
            effects.append(FetchOutput(waiting[0][1].executor, output))
        return effects

    def offers(self) -> list[OfferLease]:
        """Every lease ever offered, as its offer."""
        return [self._book.offer(nonce) for nonce in self._book.leases]

    def holder(self, lease_nonce: bytes) -> Did | None:
        """Who holds a lease."""
        lease = self._book.leases.get(lease_nonce)
        return lease.executor if lease else None

    def due(self, now_ms: int) -> Event | None:
        """The event that time itself has brought about, if any; the shell stores and handles it like others."""
        if self.phase in ENDED:
            return None
        if now_ms >= self.terms.deadline_ms:
            return DeadlinePassed(stuck=False)
        if self.phase is Phase.BIDDING:
            return None  # the shell ends bidding: it has to rank the bids first
        for nonce, lease in self._book.leases.items():
            if lease.open and now_ms >= lease.ends_ms:
                return LeaseLapsed(nonce)
        for did, state in self._book.executors.items():
            if state.ask_after_ms is not None and now_ms >= state.ask_after_ms:
                return PauseOver(did)
        if self._stuck_since_ms is not None and now_ms - self._stuck_since_ms >= EXECUTOR_PATIENCE_MS:
            return DeadlinePassed(stuck=True)
        return None

    def bidding_over(self, now_ms: int) -> bool:
        """Whether the window for bids has passed."""
        return self.phase is Phase.BIDDING and now_ms >= self.terms.started_ms + self.terms.bidding_ms

    def check_receipt(self, receipt: ExecutionReceipt, lease_nonce: bytes) -> None:
        """Refuse a receipt that doesn't fit the lease it names; raises `VerificationError`."""
        lease = self._book.leases.get(lease_nonce)
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
        return self._book.pool.settled

    @property
    def paid(self) -> int:
        """Mana paid so far."""
        return self._book.paid

    def lease_document(self, offer: OfferLease, issued_at_s: int) -> AssignJobV1:
        """The document to sign for an offer: always the same for one nonce, so that it is never granted twice."""
        job = self.terms.job
        if not isinstance(job.runtime, WasmRuntime):
            raise VerificationError("only WASM jobs are leased to small devices")
        return AssignJobV1(
            originator=job.submitter,
            executor=offer.executor,
            job_id=self._job_id,
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
        if event.bid.bidder in self.bids or len(self.bids) >= MAX_BIDS:
            return []
        self.bids[event.bid.bidder] = event
        return [MoveMana(settle.lock_stake(event.cid, event.bid.bidder, event.stake))]

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
        self._book.choose(chosen)
        self.phase = Phase.RUNNING
        return []

    def _lease_taken(self, event: LeaseTaken) -> list[Effect]:
        lease = self._book.leases.get(event.lease)
        if lease is not None:
            self._book.answered(lease, self.now_ms)
        return []

    def _lease_refused(self, event: LeaseRefused) -> list[Effect]:
        lease = self._book.leases.get(event.lease)
        if lease is None or lease.answered:
            return []
        self._book.pause(lease.executor, self.now_ms)
        self._book.strike(lease, may_retry=True)
        return []

    def _lease_returned(self, event: LeaseReturned) -> list[Effect]:
        lease = self._book.leases.get(event.lease)
        if lease is None:
            return []
        given_back = lease.open & set(event.shards)
        self._book.drop(lease, given_back, may_retry=True)
        self._book.executors[lease.executor].strikes += 1
        self._book.pause(lease.executor, self.now_ms)
        return []

    def _lease_lapsed(self, event: LeaseLapsed) -> list[Effect]:
        lease = self._book.leases.get(event.lease)
        if lease is None or not lease.open or self.now_ms < lease.ends_ms:
            return []
        if lease.answered:
            self._book.slash(lease.executor, FailureReason.CPU_TIMEOUT)
        self._book.strike(lease, may_retry=False)
        return []

    def _pause_over(self, event: PauseOver) -> list[Effect]:
        state = self._book.executors.get(event.executor)
        if state is not None:
            state.ask_after_ms = None
        return []

    def _receipt_taken(self, event: ReceiptTaken) -> list[Effect]:
        receipt, lease = event.receipt, self._book.leases.get(event.lease)
        if lease is None or receipt.shard not in lease.grants:
            return []
        self._book.proven(lease)
        if receipt.status is ReceiptStatus.FAILED:
            return self._host_failure(lease, event)
        finding = Finding.of(receipt, event.cid)
        judged = self._book.pool[receipt.shard].settled or receipt.executor in self.findings[receipt.shard]
        if receipt.output is not None and not judged:
            waiting = self._missing_outputs.setdefault(receipt.output, [])
            if all(known.receipt != event.cid for _, known in waiting):
                waiting.append((receipt.shard, finding))
            self._book.close(lease, receipt.shard)
            self._book.pool.deliver(receipt.executor, receipt.shard)
            return [FetchOutput(receipt.executor, receipt.output)]
        self._book.close(lease, receipt.shard)
        return self._found(receipt.shard, finding)

    def _output_stored(self, event: OutputStored) -> list[Effect]:
        effects: list[Effect] = []
        for shard, finding in self._missing_outputs.pop(event.output, []):
            effects += self._found(shard, finding)
        return effects

    def _output_missing(self, event: OutputMissing) -> list[Effect]:
        """A receipt whose output can't be had proves nothing yet: somebody else runs the shard."""
        for shard, finding in self._missing_outputs.pop(event.output, []):
            self._book.pool.withdraw(finding.executor, shard)
            self._book.unreserve(finding.executor, shard)
        return []

    def _cancelled(self, event: CancelAsked) -> list[Effect]:
        return self._end(Phase.CANCELLED, None, None, "cancelled by the submitter")

    def _deadline(self, event: DeadlinePassed) -> list[Effect]:
        left = f"{len(self._book.pool) - self._book.pool.settled} of {len(self._book.pool)} shards without a verdict"
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
        self._book.pool.deliver(finding.executor, shard)
        state = self._book.pool[shard]
        if state.settled:
            return self._late_finding(shard, finding)
        verdict = judge(tuple(findings.values()), self.terms.job.copies)
        if verdict.judgement is Judgement.MORE:
            state.wanted = len(findings) + 1
            return []
        if verdict.judgement is Judgement.WAIT:
            return []
        self._book.settle(shard)
        effects: list[Effect] = [Settled(shard, verdict.judgement)]
        if verdict.judgement is Judgement.DISPUTED:
            sentence = f"shard {shard}: {len(findings)} executors gave different results"
            return effects + self._end(
                Phase.FAILED, FailureReason.DETERMINISM_VIOLATION, JobErrorCode.VALIDATION_FAILED, sentence
            )
        self.outcomes[shard] = verdict.agreeing[0]
        for dissenter in verdict.dissenting:
            effects += self._reject(dissenter)
        for agreeing in verdict.agreeing:
            effects += self._pay(shard, agreeing)
        return effects + self._after_verdict(shard)

    def _late_finding(self, shard: int, finding: Finding) -> list[Effect]:
        """A result for a shard that has its verdict earns nothing, but a lie is still a lie."""
        outcome = self.outcomes.get(shard)
        if outcome is not None and outcome.vote != finding.vote:
            return self._reject(finding)
        return []

    def _after_verdict(self, shard: int) -> list[Effect]:
        status, trap = self.outcomes[shard].vote[:2]
        if status is ReceiptStatus.TRAPPED:
            sentence = f"shard {shard}: the guest trapped ({trap}) on every executor that ran it"
            code = JobErrorCode.RESOURCE_EXHAUSTED if trap == "out_of_fuel" else JobErrorCode.INVALID_JOB_SPEC
            reason = FailureReason.CPU_TIMEOUT if trap == "out_of_fuel" else FailureReason.INVALID_INPUT
            return self._end(Phase.FAILED, reason, code, sentence)
        if self._book.pool.settled == len(self._book.pool):
            return self._end(Phase.COMPLETED, None, None, f"{len(self._book.pool)} shards verified")
        return []

    def _host_failure(self, lease: LeaseState, event: ReceiptTaken) -> list[Effect]:
        shard = event.receipt.shard
        if shard not in lease.open:
            return []
        self._book.drop(lease, {shard}, may_retry=False)
        self._failures[shard] += 1
        reason = event.receipt.failure or FailureReason.CRASH_OR_PANIC
        self._book.slash(lease.executor, reason)
        if self._failures[shard] < MAX_HOST_FAILURES:
            return []
        sentence = f"shard {shard} failed {self._failures[shard]} times, at last by {reason.value}"
        return self._end(Phase.FAILED, reason, JobErrorCode.RESOURCE_EXHAUSTED, sentence)

    def _pay(self, shard: int, finding: Finding) -> list[Effect]:
        """Who agreed with the majority is paid in full, dissent or not: it did what was asked."""
        share = self._book.pay(finding.executor, shard)
        run = settle.ShardRun(self._job_id, 0, shard, finding.executor, finding.receipt)
        outcome = ValidationOutcome.ACCEPTED
        return [MoveMana(settle.pay_shard(run, share, outcome)), Judged(finding.executor, outcome)]

    def _reject(self, finding: Finding) -> list[Effect]:
        self._book.slash(finding.executor, ValidationOutcome.REJECTED)
        return [Judged(finding.executor, ValidationOutcome.REJECTED)]

    def _end(
        self, phase: Phase, reason: FailureReason | None, code: JobErrorCode | None, sentence: str
    ) -> list[Effect]:
        self.phase = phase
        self.ended = Ended(phase, reason, code, sentence)
        job, effects = self.terms.job, []
        for bidder, taken in self.bids.items():
            transfer = settle.end_stake(taken.cid, bidder, taken.stake, self._book.slashed(bidder), self._job_id)
            effects.append(MoveMana(transfer))
        remaining = job.budget.max_total - self._book.paid
        effects.append(MoveMana(settle.refund(self._job_id, job.submitter, remaining)))
        return [*effects, self.ended]

    def _grant(self) -> list[Effect]:
        if self.phase is not Phase.RUNNING:
            return []
        offers = self._book.grant(self.now_ms)
        self._watch_for_standstill()
        return list(offers)

    def _watch_for_standstill(self) -> None:
        """Note since when shards wait although no lease is open."""
        if self._book.busy or self._missing_outputs or self._book.pool.remaining_copies == 0:
            self._stuck_since_ms = None
        elif self._stuck_since_ms is None:
            self._stuck_since_ms = self.now_ms


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
