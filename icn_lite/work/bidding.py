"""Whether an executor bids on a job, and how: its own rules over what the market offers. Pure.

The price covers the job's fuel limit over all shards, because that is what the executor may have to spend; a guest
that stays far below earns its executor a margin. Whether it fits battery, heat and network is asked of one shard,
because what doesn't fit any more is given back. A refusal is an answer too, with its J-code and a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from icn_lite.market.endurance import Reserve, shortfall
from icn_lite.market.match import Refusal, compute_score, match
from icn_lite.market.price import PM, Effort, Prices, completion_ms, price_limit, quote
from icn_lite.model.bid import AvailabilityWindow, Bid, CapabilityProof
from icn_lite.model.capability import NodeCapability
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError, JobErrorCode
from icn_lite.model.job import JobSpec, NetworkRequirements, PrivacyLevel
from icn_lite.model.messages import JobAnnouncementV1
from icn_lite.work.fit import typed_args

BID_MARGIN_MS: Final = 60_000  # how long a bid holds beyond the bidding window
PER_FUEL_MARGIN: Final = 2  # shards are planned at twice the measured time: transfer, heat, other work
MAX_CALL_ARGS: Final = 8  # arguments that a receipt can state (`ExecutionReceipt.args`)
MAX_ARG_CHARS: Final = 24  # of one of them (`model.receipt.TypedValue`)


@dataclass(frozen=True, slots=True)
class Outlook:
    """The device at this moment: what fuel costs it, how much of what it lends is free, how long it lasts."""

    energy_mj_per_gfuel: int
    headroom_pm: int = PM  # 1000: as cool, as charged and as idle as it can be
    reserve: Reserve = field(default_factory=Reserve)


@dataclass(frozen=True, slots=True)
class BidderView:
    """What an executor knows of itself when it is asked; `attestation` is the CID of its advertisement."""

    did: Did
    capability: NodeCapability
    prices: Prices
    outlook: Outlook
    nonce: bytes
    now_s: int
    open_shards: int
    max_open_shards: int
    max_output_bytes: int  # of a shard; the run itself has the job's limit, so that others can repeat it
    offline_ms: int = 0  # for how long it may be out of reach with what it took
    attestation: Cid | None = None
    proof: Cid | None = None  # the receipt of the standard benchmark, which anyone can re-run


def consider(announcement: JobAnnouncementV1, view: BidderView) -> Bid | Refusal:
    """A bid for an announced job, or why there is none."""
    job = announcement.job
    if announcement.originator != job.submitter:
        return _no("originator", f"announced by {announcement.originator}, submitted by {job.submitter}")
    if view.did == job.submitter:
        return _no("own", "a node does not bid on its own job")
    answer = match(job, view.capability)
    if isinstance(answer, Refusal):
        return answer
    if job.is_interactive or job.code.stages:
        return _no("unsupported", "interactive jobs and workflows are not run by this version")
    if job.privacy is not PrivacyLevel.PUBLIC:
        return _no("privacy", f"privacy {job.privacy.value}: this version can't keep inputs from who runs them")
    if job.storage.max_output_bytes > view.max_output_bytes:
        message = f"outputs of {job.storage.max_output_bytes} bytes: this device keeps {view.max_output_bytes} at most"
        return _no("output", message)
    if job.input.shards == 0:
        return Refusal(JobErrorCode.INVALID_JOB_SPEC, "input", "the job has no shards")
    if len(typed_args(job)) > MAX_CALL_ARGS or any(len(arg) > MAX_ARG_CHARS for arg in typed_args(job)):
        message = f"a receipt holds {MAX_CALL_ARGS} arguments of {MAX_ARG_CHARS} characters at most"
        return Refusal(JobErrorCode.INVALID_JOB_SPEC, "arguments", message)
    if job.network != NetworkRequirements():
        return _no("network", "guests have no network here, and bandwidth is not promised")
    if view.open_shards >= view.max_open_shards:
        return _no("busy", f"{view.open_shards} shards are under way, which is the most for this device")
    return _offer(announcement, view)


def _offer(announcement: JobAnnouncementV1, view: BidderView) -> Bid | Refusal:
    job, capability = announcement.job, view.capability
    if capability.fuel_per_s == 0:
        return _no("speed", "the device's speed is not known")
    if capability.duty_pm == 0:
        return _no("allowance", "guests stand still on this device for the moment")
    fuel = job.compute.max_fuel * job.input.shards
    limit, price = price_limit(job), quote(view.prices, _effort(fuel, view), _headroom_pm(view)).mana
    if price > limit:
        message = f"at most {limit} mana are paid for one execution, this device asks {price}"
        return Refusal(JobErrorCode.INSUFFICIENT_BUDGET, "price", message)
    shard_bytes = -(-job.input.total_bytes // job.input.shards) + job.storage.max_output_bytes
    shard = _effort(job.compute.max_fuel, view)
    refusal = shortfall(shard, shard_bytes, capability.duty_pm, view.outlook.reserve)
    if refusal is not None:
        return refusal
    needed_ms = PER_FUEL_MARGIN * completion_ms(fuel, capability.fuel_per_s * capability.workers, capability.duty_pm)
    left_ms = max(0, job.deadline - job.created_at) * 1000
    if needed_ms > left_ms:
        message = f"needs up to {needed_ms // 1000} s, the deadline is in {left_ms // 1000} s"
        return Refusal(JobErrorCode.DEADLINE_EXCEEDED, "deadline", message)
    valid_ms = announcement.bidding_ms + BID_MARGIN_MS
    try:
        return Bid(
            bidder=view.did,
            job_originator=job.submitter,
            job_id=job.id,
            nonce=view.nonce,
            price=price,
            completion_time=view.now_s + needed_ms // 1000,
            completion_ms=needed_ms,
            valid_until=view.now_s + valid_ms // 1000,
            valid_ms=valid_ms,
            compute_score=compute_score(capability),
            availability=AvailabilityWindow(left_ms, max(1, capability.workers)),
            max_shards=view.max_open_shards - view.open_shards,
            capability_proof=CapabilityProof(resource_attestation=view.attestation, benchmark_results=view.proof),
            region=capability.region,
            offline_ms=view.offline_ms,
        )
    except DocumentError as error:
        return _no("bounds", error.message)


def _effort(fuel: int, view: BidderView) -> Effort:
    return Effort(fuel, view.capability.fuel_per_s, view.outlook.energy_mj_per_gfuel)


def _headroom_pm(view: BidderView) -> int:
    """The least of what the device has left: its own outlook, and the places for shards that are free."""
    free_pm = (view.max_open_shards - view.open_shards) * PM // view.max_open_shards
    return max(0, min(view.outlook.headroom_pm, free_pm))


def check_lease_against_bid(shard_prices: list[int], bid: Bid, job: JobSpec) -> str:
    """Why a lease doesn't honour the bid it names; empty if it does.

    Only who has the plan knows the weights, so a single shard's price can't be judged here, but a lease over all
    shards has to pay all of the bid.
    """
    if sum(shard_prices) > bid.price:
        return f"the lease pays {sum(shard_prices)} mana for a part of what was offered for {bid.price} in all"
    if len(shard_prices) > job.input.shards:
        return f"the lease has {len(shard_prices)} shards, the job {job.input.shards}"
    if len(shard_prices) == job.input.shards and sum(shard_prices) < bid.price:
        return f"the lease pays {sum(shard_prices)} mana for the whole job, which was offered for {bid.price}"
    return ""


def _no(reason: str, message: str) -> Refusal:
    return Refusal(JobErrorCode.NO_EXECUTOR_AVAILABLE, reason, message)
