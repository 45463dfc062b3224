"""The originator of one job: bids in, leases out, receipts in, verdicts and payments out.

    BIDDING ──BiddingEnded──▶ RUNNING ──last verdict──▶ COMPLETED
       │                         ├── disputed, trapped, no executor left, deadline ──▶ FAILED
       └──no usable bid──▶ FAILED└── CancelAsked ──▶ CANCELLED

The machine is pure: `handle(event, now_ms)` returns effects, and the shell stores the event before it performs
them, so that replaying the stored events rebuilds the machine after a crash; `resume` then repeats what may have
been lost. Duplicates change nothing, and `changes` says so beforehand: what changes nothing need not be stored, so
a peer that repeats itself doesn't fill the journal. Times are the machine's own milliseconds (`work/replay.py`).

Money: the job's budget lies in escrow from submission on. A verdict pays every agreeing executor its share of its
own bid; whoever dissented, contradicted itself, or let a lease lapse, loses stake; what is left goes back when the
job ends. What is paid and what is promised in open leases never exceed the budget together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from icn_lite.market import settle
from icn_lite.market.bids import MAX_BIDS
from icn_lite.market.outcome import ValidationOutcome
from icn_lite.model.did import Did
from icn_lite.model.errors import FailureReason, JobError, JobErrorCode, VerificationError
from icn_lite.model.messages import AssignJobV1
from icn_lite.model.receipt import ExecutionReceipt, ReceiptStatus
from icn_lite.work import originator_events as ev
from icn_lite.work.fit import check_fit, lease_document
from icn_lite.work.leasing import LeaseBook, LeaseState, affordable
from icn_lite.work.originator_events import ENDED, Effect, Event, OfferLease, Phase, Terms
from icn_lite.work.quorum import Finding, Judgement
from icn_lite.work.tally import Tally

MAX_HOST_FAILURES: Final = 4  # host failures of one shard, on different executors, before the job fails
EXECUTOR_PATIENCE_MS: Final = 60_000  # shards that nobody can take wait this long for an executor to free itself
MAX_EXECUTIONS: Final = 10_000  # shards by copies: each takes about five entries of a journal of 65,536
# What the job itself is to blame for (§7.1 "Job problem"): other executors would fail on it too.
JOB_FAULTS: Final = frozenset({FailureReason.INVALID_INPUT, FailureReason.UNSUPPORTED_OPERATION})


class Originator:
    """The machine of one job."""

    def __init__(self, terms: Terms) -> None:
        executions = len(terms.shards) * terms.job.copies
        if not 0 < executions <= MAX_EXECUTIONS:
            raise JobError(
                f"expected 1 to {MAX_EXECUTIONS} executions (shards by copies), found {executions}",
                hint="pack more into a shard, or submit the job in parts",
            )
        self.terms = terms
        self.phase = Phase.BIDDING
        self.now_ms = terms.started_ms
        self.bids: dict[Did, ev.BidTaken] = {}
        self.ended: ev.Ended | None = None
        self._book = LeaseBook(terms)
        self._staked: dict[Did, ev.BidTaken] = {}
        self._tally = Tally(len(terms.shards), terms.job.copies)
        self._job_id = terms.job.id
        self._stuck_since_ms: int | None = None

    # -- what the shell asks

    def start(self) -> list[Effect]:
        """The first effects of a new job."""
        submitter, budget = self.terms.job.submitter, self.terms.job.budget.max_total
        return [ev.MoveMana(settle.open_escrow(self._job_id, submitter, budget)), ev.Announce()]

    def resume(self) -> list[Effect]:
        """After a replay: repeat what may not have been done. Every receiver tolerates duplicates."""
        if self.phase is Phase.BIDDING:
            return [ev.Announce()]
        if self.ended is not None:
            return [self.ended]
        effects: list[Effect] = [
            self._book.offer(nonce) for nonce, lease in self._book.leases.items() if not lease.answered
        ]
        return effects + self._tally.fetches()

    def offers(self, *, owed: bool = False) -> list[OfferLease]:
        """Every lease ever offered, or those with shards that are still owed, as its offer."""
        return [self._book.offer(nonce) for nonce, lease in self._book.leases.items() if lease.open or not owed]

    def holder(self, lease_nonce: bytes) -> Did | None:
        """Who holds a lease."""
        lease = self._book.leases.get(lease_nonce)
        return lease.executor if lease else None

    def due(self, now_ms: int) -> Event | None:
        """The event that time itself has brought about, if any; the shell stores and handles it like others."""
        if self.phase in ENDED:
            return None
        if now_ms >= self.terms.deadline_ms:
            return ev.DeadlinePassed(stuck=False)
        if self.phase is Phase.BIDDING:
            return None  # the shell ends bidding: it has to rank the bids first
        for nonce, lease in self._book.leases.items():
            if lease.open and now_ms >= lease.ends_ms:
                return ev.LeaseLapsed(nonce)
        for did, state in self._book.executors.items():
            if state.ask_after_ms is not None and now_ms >= state.ask_after_ms:
                return ev.PauseOver(did)
        return ev.DeadlinePassed(stuck=True) if self._stuck(now_ms) else None

    def bidding_over(self, now_ms: int) -> bool:
        """Whether the window for bids has passed."""
        return self.phase is Phase.BIDDING and now_ms >= self.terms.started_ms + self.terms.bidding_ms

    def check_receipt(self, receipt: ExecutionReceipt, lease_nonce: bytes) -> None:
        """Refuse a receipt that doesn't fit the lease it names; raises `VerificationError`."""
        lease = self._book.leases.get(lease_nonce)
        if lease is None or lease.executor != receipt.executor:
            raise VerificationError(f"no lease of this job was given to {receipt.executor} under this name")
        grant = lease.grants.get(receipt.shard)
        if grant is None:
            raise VerificationError(f"shard {receipt.shard} is not in this lease")
        check_fit(receipt, grant, self.terms.job, self._job_id)
        seq = lease.taken.get(receipt.shard, receipt.seq)
        if seq != receipt.seq and not self._contradicts(receipt):
            raise VerificationError(
                f"receipt {seq} for shard {receipt.shard} of this lease was taken before, a lease takes one for each"
            )

    def changes(self, event: Event, now_ms: int) -> bool:
        """Whether an event means anything at this time. One that doesn't is late or repeated: `handle` ignores it."""
        if (self.phase, type(event)) not in TRANSITIONS:
            return False
        now_ms = max(self.now_ms, now_ms)
        leases, executors = self._book.leases, self._book.executors
        match event:
            case ev.BidTaken():
                return event.bid.bidder not in self.bids and len(self.bids) < MAX_BIDS
            case ev.LeaseTaken(nonce) | ev.LeaseRefused(nonce):
                return nonce in leases and not leases[nonce].answered
            case ev.LeaseReturned(nonce, shards):
                return nonce in leases and not leases[nonce].open.isdisjoint(shards)
            case ev.LeaseLapsed(nonce):
                return nonce in leases and bool(leases[nonce].open) and now_ms >= leases[nonce].ends_ms
            case ev.PauseOver(executor):
                after_ms = executors[executor].ask_after_ms if executor in executors else None
                return after_ms is not None and now_ms >= after_ms
            case ev.OutputStored(output):
                return self._tally.awaits(output)
            case ev.OutputMissing(output, executor):
                return self._tally.awaits(output, executor)
            case ev.DeadlinePassed(stuck):
                return self._stuck(now_ms) if stuck else now_ms >= self.terms.deadline_ms
            case ev.ReceiptTaken():
                return self._is_news(event)
        return True

    def handle(self, event: Event, now_ms: int) -> list[Effect]:
        """Advance by one event and return the effects to perform, the follow-up leases included."""
        if not self.changes(event, now_ms):
            return []
        self.now_ms = max(self.now_ms, now_ms)
        effects = TRANSITIONS[self.phase, type(event)](self, event)
        return effects + self._grant()

    @property
    def findings(self) -> list[dict[Did, Finding]]:
        """Of every shard, the findings by executor."""
        return self._tally.findings

    @property
    def outcomes(self) -> dict[int, Finding]:
        """The finding that the verdict over a shard accepted; shards without one are not in it."""
        return self._tally.outcomes

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
        return lease_document(offer, self.terms, self._job_id, issued_at_s)

    # -- transitions

    def _bid_taken(self, event: ev.BidTaken) -> list[Effect]:
        bidder = event.bid.bidder
        self.bids[bidder] = self._staked[bidder] = event
        return [ev.MoveMana(settle.lock_stake(event.cid, bidder, event.stake))]

    def _bidding_ended(self, event: ev.BiddingEnded) -> list[Effect]:
        by_cid = {taken.cid: taken for taken in self.bids.values()}
        chosen = [by_cid[cid] for cid in dict.fromkeys(event.ranking) if cid in by_cid]
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
        return self._end_stakes([bidder for bidder in self.bids if bidder not in self._book.executors])

    def _lease_taken(self, event: ev.LeaseTaken) -> list[Effect]:
        self._book.answered(self._book.leases[event.lease], self.now_ms)
        return []

    def _lease_refused(self, event: ev.LeaseRefused) -> list[Effect]:
        lease = self._book.leases[event.lease]
        self._book.pause(lease.executor, self.now_ms)
        self._book.give_up(lease, may_retry=True)
        return []

    def _lease_returned(self, event: ev.LeaseReturned) -> list[Effect]:
        lease = self._book.leases[event.lease]
        self._book.pause(lease.executor, self.now_ms)
        self._book.drop(lease, lease.open & set(event.shards), may_retry=True)
        return []

    def _lease_lapsed(self, event: ev.LeaseLapsed) -> list[Effect]:
        lease = self._book.leases[event.lease]
        if lease.answered:
            self._book.slash(lease.executor, FailureReason.CPU_TIMEOUT)
        self._book.strike(lease.executor)
        self._book.give_up(lease, may_retry=False)
        return []

    def _pause_over(self, event: ev.PauseOver) -> list[Effect]:
        self._book.executors[event.executor].ask_after_ms = None
        return []

    def _receipt_taken(self, event: ev.ReceiptTaken) -> list[Effect]:
        receipt, lease = event.receipt, self._book.leases[event.lease]
        shard, executor = receipt.shard, receipt.executor
        lease.answered = True  # it was accepted, even where the answer was lost
        lease.taken.setdefault(shard, receipt.seq)
        if receipt.status is ReceiptStatus.FAILED:
            return self._host_failure(lease, event)
        self._book.close(executor, shard)
        if self._contradicts(receipt):
            return self._reject(executor)
        finding = Finding.of(receipt, event.cid)
        if not self._tally.is_first(shard, finding):
            return []
        if receipt.output is None or self._book.pool[shard].settled:
            return self._found(shard, finding)
        self._book.pool.deliver(executor, shard)
        return [*self._tally.wait(shard, finding, receipt.output)]

    def _receipt_late(self, event: ev.ReceiptTaken) -> list[Effect]:
        """The job is over: the receipt is only noted. Stakes have ended, but a lie still costs reputation."""
        receipt = event.receipt
        self._book.leases[event.lease].taken.setdefault(receipt.shard, receipt.seq)
        if self._tally.refuted(receipt.shard, receipt):
            return [ev.Judged(receipt.executor, ValidationOutcome.REJECTED)]
        return []

    def _output_stored(self, event: ev.OutputStored) -> list[Effect]:
        effects: list[Effect] = []
        for shard, finding in self._tally.arrived(event.output):
            if self.phase is Phase.RUNNING:  # the verdict over one shard may have ended the job
                effects += self._found(shard, finding)
        return effects

    def _output_missing(self, event: ev.OutputMissing) -> list[Effect]:
        """A receipt whose output can't be had proves nothing yet: somebody else runs the shard."""
        lost = self._tally.lost(event.output, event.executor)
        for shard, finding in lost:
            self._book.pool.withdraw(finding.executor, shard)
            self._book.unreserve(finding.executor, shard)
        for executor in sorted({finding.executor for _, finding in lost}):
            self._book.strike(executor)
        return []

    def _cancelled(self, event: ev.CancelAsked) -> list[Effect]:
        return self._end(Phase.CANCELLED, None, None, "cancelled by the submitter")

    def _deadline(self, event: ev.DeadlinePassed) -> list[Effect]:
        left = f"{len(self._book.pool) - self._book.pool.settled} of {len(self._book.pool)} shards without a verdict"
        if event.stuck:
            return self._end(
                Phase.FAILED,
                FailureReason.VALIDATOR_UNAVAILABLE,
                JobErrorCode.NO_EXECUTOR_AVAILABLE,
                f"no executor is left that could take more within the budget: {left}",
            )
        return self._end(
            Phase.FAILED,
            FailureReason.DEADLINE_EXCEEDED,
            JobErrorCode.DEADLINE_EXCEEDED,
            f"the deadline passed with {left}",
        )

    # -- parts of transitions

    def _is_news(self, event: ev.ReceiptTaken) -> bool:
        receipt, lease = event.receipt, self._book.leases.get(event.lease)
        if lease is None or lease.executor != receipt.executor or receipt.shard not in lease.grants:
            return False
        seq = lease.taken.get(receipt.shard)
        return seq is None or (seq != receipt.seq and self._contradicts(receipt))

    def _contradicts(self, receipt: ExecutionReceipt) -> bool:
        """Whether it proves its executor a liar; once is enough."""
        known = self.phase is not Phase.RUNNING or self._book.executors[receipt.executor].rejected
        return not known and self._tally.contradicts(receipt)

    def _found(self, shard: int, finding: Finding) -> list[Effect]:
        """A finding that can be judged: its output, if it has one, is here."""
        self._book.pool.deliver(finding.executor, shard)
        self._book.forgive(finding.executor)
        verdict = self._tally.count(shard, finding)
        if self._book.pool[shard].settled:
            # It earns nothing any more, but a lie is still a lie.
            return self._reject(finding.executor) if self._tally.refuted(shard, finding) else []
        findings = len(self.findings[shard])
        if verdict.judgement is Judgement.MORE:
            self._book.pool.want(shard, findings + 1)
        if verdict.judgement in (Judgement.MORE, Judgement.WAIT):
            return []
        promised = self._book.settle(shard)
        effects: list[Effect] = [ev.Settled(shard, verdict.judgement)]
        if verdict.judgement is Judgement.DISPUTED:
            sentence = f"shard {shard}: {findings} executors gave different results"
            return effects + self._end(
                Phase.FAILED, FailureReason.DETERMINISM_VIOLATION, JobErrorCode.VALIDATION_FAILED, sentence
            )
        self.outcomes[shard] = verdict.agreeing[0]
        for dissenter in verdict.dissenting:
            effects += self._reject(dissenter.executor)
        # First those whose price was put aside for them; what is then left is for those who had let their lease go.
        for agreeing in sorted(verdict.agreeing, key=lambda agreeing: agreeing.executor not in promised):
            effects += self._pay(shard, agreeing, promised=agreeing.executor in promised)
        return effects + self._after_verdict(shard)

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

    def _host_failure(self, lease: LeaseState, event: ev.ReceiptTaken) -> list[Effect]:
        shard, executor = event.receipt.shard, lease.executor
        if shard not in lease.open:
            return []
        self._book.drop(lease, {shard}, may_retry=False)
        reason = event.receipt.failure or FailureReason.CRASH_OR_PANIC
        failures = self._tally.failures[shard]
        failures.append(reason)
        if reason in JOB_FAULTS:
            if sum(failure in JOB_FAULTS for failure in failures) >= self.terms.job.copies:
                sentence = f"shard {shard}: the job can't be executed ({reason.value})"
                return self._end(Phase.FAILED, reason, JobErrorCode.INVALID_JOB_SPEC, sentence)
        else:
            self._book.strike(executor)
            self._book.slash(executor, reason)
        if len(failures) < MAX_HOST_FAILURES:
            return []
        sentence = f"shard {shard} failed {len(failures)} times, at last by {reason.value}"
        return self._end(Phase.FAILED, reason, JobErrorCode.RESOURCE_EXHAUSTED, sentence)

    def _pay(self, shard: int, finding: Finding, *, promised: bool) -> list[Effect]:
        """Who agreed with the majority is paid in full, dissent or not; who came late, if its lease says so."""
        judged = ev.Judged(finding.executor, ValidationOutcome.ACCEPTED)
        if not promised and not self.terms.pays_late:
            return [judged]
        share = self._book.pay(finding.executor, shard)
        run = settle.ShardRun(self._job_id, 0, shard, finding.executor, finding.receipt)
        return [ev.MoveMana(settle.pay_shard(run, share, ValidationOutcome.ACCEPTED)), judged]

    def _reject(self, executor: Did) -> list[Effect]:
        """One of its results is false: it loses its stake and gets no more leases."""
        self._book.executors[executor].rejected = True
        self._book.slash(executor, ValidationOutcome.REJECTED)
        return [ev.Judged(executor, ValidationOutcome.REJECTED)]

    def _end(
        self, phase: Phase, reason: FailureReason | None, code: JobErrorCode | None, sentence: str
    ) -> list[Effect]:
        self.phase = phase
        self.ended = ev.Ended(phase, reason, code, sentence)
        job, effects = self.terms.job, self._end_stakes(list(self._staked))
        remaining = job.budget.max_total - self._book.paid
        effects.append(ev.MoveMana(settle.refund(self._job_id, job.submitter, remaining)))
        return [*effects, self.ended]

    def _end_stakes(self, bidders: list[Did]) -> list[Effect]:
        """Give back what of these stakes wasn't slashed; each ends once."""
        effects: list[Effect] = []
        for bidder in bidders:
            taken = self._staked.pop(bidder)
            slashed = self._book.slashed(bidder)
            effects.append(ev.MoveMana(settle.end_stake(taken.cid, bidder, taken.stake, slashed, self._job_id)))
        return effects

    def _grant(self) -> list[Effect]:
        if self.phase is not Phase.RUNNING:
            return []
        offers = self._book.grant(self.now_ms)
        self._watch_for_standstill()
        return list(offers)

    def _stuck(self, now_ms: int) -> bool:
        """Whether nobody could take more for too long."""
        return self._stuck_since_ms is not None and now_ms - self._stuck_since_ms >= EXECUTOR_PATIENCE_MS

    def _watch_for_standstill(self) -> None:
        """Note since when shards wait although no lease is open."""
        if self._book.busy or self._tally.waiting or self._book.pool.remaining_copies == 0:
            self._stuck_since_ms = None
        elif self._stuck_since_ms is None:
            self._stuck_since_ms = self.now_ms


# Which events mean something in which phase; any other is late or repeated, and changes nothing.
TRANSITIONS: Final[dict[tuple[Phase, type], Callable[[Originator, Any], list[Effect]]]] = {
    (Phase.BIDDING, ev.BidTaken): Originator._bid_taken,
    (Phase.BIDDING, ev.BiddingEnded): Originator._bidding_ended,
    (Phase.BIDDING, ev.CancelAsked): Originator._cancelled,
    (Phase.BIDDING, ev.DeadlinePassed): Originator._deadline,
    (Phase.RUNNING, ev.LeaseTaken): Originator._lease_taken,
    (Phase.RUNNING, ev.LeaseRefused): Originator._lease_refused,
    (Phase.RUNNING, ev.LeaseReturned): Originator._lease_returned,
    (Phase.RUNNING, ev.LeaseLapsed): Originator._lease_lapsed,
    (Phase.RUNNING, ev.ReceiptTaken): Originator._receipt_taken,
    (Phase.RUNNING, ev.OutputStored): Originator._output_stored,
    (Phase.RUNNING, ev.OutputMissing): Originator._output_missing,
    (Phase.RUNNING, ev.CancelAsked): Originator._cancelled,
    (Phase.RUNNING, ev.DeadlinePassed): Originator._deadline,
    (Phase.RUNNING, ev.PauseOver): Originator._pause_over,
    (Phase.COMPLETED, ev.ReceiptTaken): Originator._receipt_late,
    (Phase.FAILED, ev.ReceiptTaken): Originator._receipt_late,
    (Phase.CANCELLED, ev.ReceiptTaken): Originator._receipt_late,
}
