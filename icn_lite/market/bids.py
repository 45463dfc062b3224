"""Bid validation: `submit_bid` of `mesh-job-protocol.md` §3.1, steps 1 to 4.

The signature is checked before a `Bid` exists (`model.document.unseal`); here follows what needs the job and the
state of its bidding. Whatever is refused raises `BidError` with one word for counters and a sentence with the
numbers, and changes nothing. Times are compared as durations on the originator's own clock: the wall clocks in a bid
are claims of a device that may have none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from icn_lite.market.match import Refusal, match
from icn_lite.market.price import price_limit
from icn_lite.market.reputation import START_PPM
from icn_lite.model.bid import Bid
from icn_lite.model.capability import NodeCapability
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import BidError, JobErrorCode
from icn_lite.model.job import JobSpec

STAKE_DIVISOR: Final = 20  # §3.1: 5 % of the price
MAX_BIDS: Final = 1_024  # of one job: more executors than a local mesh has; keeps selection and memory small


@dataclass(frozen=True, slots=True)
class Tender:
    """The state of a job's bidding when a bid arrives."""

    job_id: Cid
    job: JobSpec
    remaining_ms: int  # until the job's deadline
    window_ms: int  # until the bidding closes; 0 or less when it has
    bidders: frozenset[Did] = frozenset()  # whose bids were taken


@dataclass(frozen=True, slots=True)
class Bidder:
    """What the originator knows of a bidder by itself; a capability of None was never heard."""

    balance: int
    reputation_ppm: int = START_PPM
    capability: NodeCapability | None = None
    proven_fuel_per_s: int | None = None  # by its benchmark's receipt, where the job asks for one and it holds


def stake_of(price: int) -> int:
    """The mana that a bid locks: 5 % of its price, rounded down."""
    return price // STAKE_DIVISOR


def validate_bid(bid: Bid, tender: Tender, bidder: Bidder) -> int:
    """Check a bid; returns the stake to lock. Raises `BidError`."""
    _check_addressed(bid, tender)
    _check_open(bid, tender)
    _check_terms(bid, tender)
    _check_capability(bid, tender.job, bidder)
    _check_proof(tender.job, bidder)
    _check_reputation(tender.job, bidder)
    stake = stake_of(bid.price)
    if stake > bidder.balance:
        raise BidError(
            "stake",
            f"a stake of {stake} mana (5 % of {bid.price}) is needed, the bidder holds {bidder.balance}",
            hint="bid lower, or earn mana first",
            code=JobErrorCode.PAYMENT_FAILED,
        )
    return stake


def _check_addressed(bid: Bid, tender: Tender) -> None:
    if bid.job_id != tender.job_id:
        raise BidError("job", f"expected a bid for job {tender.job_id}, found one for {bid.job_id}")
    if bid.job_originator != tender.job.submitter:
        raise BidError("originator", f"expected a bid to {tender.job.submitter}, found one to {bid.job_originator}")


def _check_open(bid: Bid, tender: Tender) -> None:
    if tender.window_ms <= 0:
        raise BidError("closed", f"the bidding closed {-tender.window_ms} ms ago", hint="bid on the next announcement")
    if bid.bidder in tender.bidders:
        raise BidError("duplicate", f"a bid of {bid.bidder} was taken before; one each")
    if len(tender.bidders) >= MAX_BIDS:
        raise BidError("full", f"{MAX_BIDS} bids were taken, which is the most for one job")
    if bid.valid_ms < tender.window_ms:
        raise BidError(
            "validity",
            f"the bid holds for {bid.valid_ms} ms, {tender.window_ms} ms are needed until the bidding closes",
        )


def _check_terms(bid: Bid, tender: Tender) -> None:
    limit = price_limit(tender.job)
    if bid.price > limit:
        raise BidError(
            "price",
            f"a price of {bid.price} mana exceeds the {limit} that the budget allows for one execution",
            hint="bid lower",
            code=JobErrorCode.INSUFFICIENT_BUDGET,
        )
    if bid.completion_ms > tender.remaining_ms:
        raise BidError(
            "deadline",
            f"completion in {bid.completion_ms} ms, the deadline is in {max(tender.remaining_ms, 0)} ms",
            code=JobErrorCode.DEADLINE_EXCEEDED,
        )
    _check_window(bid, tender.job)


def _check_window(bid: Bid, job: JobSpec) -> None:
    """Its window of availability holds one shard at its limit, at the speed that it claims."""
    window_ms = bid.availability.duration_ms
    if bid.compute_score.fuel_per_s and window_ms < -(-job.compute.max_fuel * 1000 // bid.compute_score.fuel_per_s):
        raise BidError(
            "availability",
            f"a window of {window_ms} ms is too short for a shard of {job.compute.max_fuel} fuel "
            f"at {bid.compute_score.fuel_per_s} a second",
        )


def _check_capability(bid: Bid, job: JobSpec, bidder: Bidder) -> None:
    """`verify_capability`: the claim meets the job, and stays within what the bidder's own signed document says."""
    claim, needs = bid.compute_score, job.compute
    if claim.cpu_cores < needs.min_cpu_cores or claim.memory_mb < needs.min_memory_mb:
        found = f"{claim.cpu_cores} cores and {claim.memory_mb} MB"
        raise _incapable(f"expected {needs.min_cpu_cores} cores and {needs.min_memory_mb} MB, the bid offers {found}")
    if job.policy.region_filter and bid.region not in job.policy.region_filter:
        expected = ", ".join(job.policy.region_filter)
        raise _incapable(f"expected a region of {expected}, the bid says {bid.region or 'nothing'}")
    capability = bidder.capability
    if capability is None:
        return
    if claim.cpu_cores > capability.cpu_cores or claim.memory_mb > capability.memory_mb:
        found = f"{capability.cpu_cores} cores and {capability.memory_mb} MB"
        raise _incapable(f"the bid offers {claim.cpu_cores} cores and {claim.memory_mb} MB, its document says {found}")
    answer = match(job, capability)
    if isinstance(answer, Refusal):
        raise _incapable(answer.message)


def _check_proof(job: JobSpec, bidder: Bidder) -> None:
    least, proven = job.policy.min_fuel_per_s, bidder.proven_fuel_per_s
    if least is None:
        return
    if proven is None:
        raise BidError("proof", f"min_fuel_per_s {least}: expected a benchmark's receipt that holds, found none",
                       hint="run `icn-lite bench` on the bidder", code=JobErrorCode.NO_EXECUTOR_AVAILABLE)  # fmt: skip
    if proven < least:
        raise BidError("proof", f"min_fuel_per_s {least}: the benchmark's receipt shows {proven}",
                       code=JobErrorCode.NO_EXECUTOR_AVAILABLE)  # fmt: skip


def _check_reputation(job: JobSpec, bidder: Bidder) -> None:
    least = max(job.min_reputation_ppm or 0, job.policy.min_reputation_ppm or 0)
    if bidder.reputation_ppm < least:
        raise BidError("reputation", f"expected a reputation of {least} ppm, found {bidder.reputation_ppm}")


def _incapable(message: str) -> BidError:
    return BidError("capability", message, code=JobErrorCode.NO_EXECUTOR_AVAILABLE)
