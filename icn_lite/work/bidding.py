"""Whether an executor bids on a job, and how: its own rules over what the market offers. Pure.

The price covers the job's fuel limit over all shards, because that is what the executor may have to spend; a guest
that stays far below earns its executor a margin. Whether it fits battery, heat and network is asked of one shard,
because what doesn't fit any more is given back. A refusal is an answer too, with its J-code, a sentence, and the two
numbers where something is too little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from icn_lite.market.endurance import Demand, Reserve, shortfall
from icn_lite.market.match import Lack, Refusal, at_least, compute_score, match
from icn_lite.market.price import (
    GIGA,
    MAX_COMPLETION_MS,
    PM,
    Effort,
    Pace,
    Prices,
    busy_ms,
    paced_ms,
    price_limit,
    quote,
)
from icn_lite.model.bid import AvailabilityWindow, Bid, CapabilityProof
from icn_lite.model.capability import NodeCapability
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import JobErrorCode
from icn_lite.model.job import JobSpec, NetworkRequirements, PrivacyLevel, WasmRuntime
from icn_lite.model.messages import JobAnnouncementV1
from icn_lite.work.fit import typed_args

BID_MARGIN_MS: Final = 60_000  # how long a bid holds beyond the bidding window
PER_FUEL_MARGIN: Final = 2  # shards are planned at twice the measured time: transfer, heat, other work
MAX_CALL_ARGS: Final = 8  # arguments that a receipt can state (`ExecutionReceipt.args`)
MAX_ARG_CHARS: Final = 24  # of one of them (`model.receipt.TypedValue`)
PAGE_BYTES: Final = 65_536  # of a guest's memory
MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Outlook:
    """The device at this moment: what fuel costs it, how much of what it lends is free, how long it lasts."""

    energy_mj_per_gfuel: int
    headroom_pm: int = PM  # 1000: as cool, as charged and as idle as it can be
    reserve: Reserve = field(default_factory=Reserve)
    pace: Pace | None = None  # the duty as it is forecast; None: nothing says that the present one will change


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
    open_fuel: int = 0  # that shards under way may still use: they come first
    disk_mb: int | None = None  # that blocks may take; None: no limit is known
    offline_ms: int = 0  # for how long it may be out of reach with what it took
    attestation: Cid | None = None


def consider(announcement: JobAnnouncementV1, view: BidderView, job_id: Cid | None = None) -> Bid | Refusal:
    """A bid for an announced job, or why there is none; `job_id` spares the hashing where it is known."""
    answer = match(announcement.job, view.capability)
    misfit = answer if isinstance(answer, Refusal) else None
    refusal = _first(_ADDRESSED, announcement, view) or misfit or _first(_RUNNABLE, announcement, view)
    return refusal or _offer(announcement, view, job_id)


# Each check answers a sentence, or what is missing in numbers; nothing where the node can.


def _originator(announcement: JobAnnouncementV1, view: BidderView) -> str:
    if announcement.originator == announcement.job.submitter:
        return ""
    return f"announced by {announcement.originator}, submitted by {announcement.job.submitter}"


def _own(announcement: JobAnnouncementV1, view: BidderView) -> str:
    return "a node does not bid on its own job" if view.did == announcement.job.submitter else ""


def _unsupported(announcement: JobAnnouncementV1, view: BidderView) -> str:
    unsupported = announcement.job.is_interactive or announcement.job.code.stages
    return "interactive jobs and workflows are not run by this version" if unsupported else ""


def _privacy(announcement: JobAnnouncementV1, view: BidderView) -> str:
    privacy = announcement.job.privacy
    if privacy is PrivacyLevel.PUBLIC:
        return ""
    return f"privacy {privacy.value}: this version can't keep inputs from who runs them"


def _output(announcement: JobAnnouncementV1, view: BidderView) -> Lack | None:
    needed, most = announcement.job.storage.max_output_bytes, view.max_output_bytes
    return at_least(needed, most, "bytes", f"outputs of {needed} bytes: this device keeps {most} at most")


def _disk(announcement: JobAnnouncementV1, view: BidderView) -> Lack | None:
    needed, has = announcement.job.storage.min_disk_mb, view.disk_mb
    if has is None:
        return None
    return at_least(needed, has, "MB", f"min_disk_mb {needed}: blocks may take {has} MB here")


def _input(announcement: JobAnnouncementV1, view: BidderView) -> str:
    return "the job has no shards" if announcement.job.input.shards == 0 else ""


def _arguments(announcement: JobAnnouncementV1, view: BidderView) -> str:
    args = typed_args(announcement.job)
    if len(args) <= MAX_CALL_ARGS and all(len(arg) <= MAX_ARG_CHARS for arg in args):
        return ""
    return f"a receipt holds {MAX_CALL_ARGS} arguments of {MAX_ARG_CHARS} characters at most"


def _network(announcement: JobAnnouncementV1, view: BidderView) -> str:
    plain = announcement.job.network == NetworkRequirements()
    return "" if plain else "guests have no network here, and bandwidth is not promised"


def _busy(announcement: JobAnnouncementV1, view: BidderView) -> Lack | None:
    shards, most = view.open_shards, view.max_open_shards
    message = f"{shards} shards are under way, which is the most for this device"
    return at_least(1, most - shards, "shards", message)


def _speed(announcement: JobAnnouncementV1, view: BidderView) -> str:
    return "" if view.capability.fuel_per_s else "the device's speed is not known"


def _duty(announcement: JobAnnouncementV1, view: BidderView) -> str:
    return "" if view.capability.duty_pm else "guests stand still on this device for the moment"


Check = Callable[[JobAnnouncementV1, BidderView], str | Lack | None]
Row = tuple[str, JobErrorCode, Check]
_ADDRESSED: Final[tuple[Row, ...]] = (
    ("originator", JobErrorCode.NO_EXECUTOR_AVAILABLE, _originator),
    ("own", JobErrorCode.NO_EXECUTOR_AVAILABLE, _own),
)
_RUNNABLE: Final[tuple[Row, ...]] = (
    ("unsupported", JobErrorCode.NO_EXECUTOR_AVAILABLE, _unsupported),
    ("privacy", JobErrorCode.NO_EXECUTOR_AVAILABLE, _privacy),
    ("output", JobErrorCode.RESOURCE_EXHAUSTED, _output),
    ("disk", JobErrorCode.RESOURCE_EXHAUSTED, _disk),
    ("input", JobErrorCode.INVALID_JOB_SPEC, _input),
    ("arguments", JobErrorCode.INVALID_JOB_SPEC, _arguments),
    ("network", JobErrorCode.NO_EXECUTOR_AVAILABLE, _network),
    ("busy", JobErrorCode.RESOURCE_EXHAUSTED, _busy),
    ("speed", JobErrorCode.NO_EXECUTOR_AVAILABLE, _speed),
    ("allowance", JobErrorCode.NO_EXECUTOR_AVAILABLE, _duty),
)


def _first(rows: tuple[Row, ...], announcement: JobAnnouncementV1, view: BidderView) -> Refusal | None:
    for reason, code, check in rows:
        lack = check(announcement, view)
        if lack:
            found = Lack(lack) if isinstance(lack, str) else lack
            return Refusal(code, reason, found.message, found.needed, found.available, found.unit)
    return None


def _offer(announcement: JobAnnouncementV1, view: BidderView, job_id: Cid | None) -> Bid | Refusal:
    job, capability = announcement.job, view.capability
    limit, price = price_limit(job), _price(job, view)
    if price > limit:
        message = f"at most {limit} mana are paid for one execution, this device asks {price}"
        return Refusal(JobErrorCode.INSUFFICIENT_BUDGET, "price", message, price, limit, "mana")
    refusal = lacking(job, view)
    if refusal is not None:
        return refusal
    left_ms = min(max(0, job.deadline - job.created_at) * 1000, MAX_COMPLETION_MS)
    needed_ms = _needed_ms(job, view)
    if needed_ms > left_ms:
        needs = f"needs up to {-(-needed_ms // 1000)} s" if needed_ms < MAX_COMPLETION_MS else "guests will stop before"
        message = f"{needs}, the deadline is in {left_ms // 1000} s"
        return Refusal(JobErrorCode.DEADLINE_EXCEEDED, "deadline", message, needed_ms, left_ms, "ms")
    valid_ms = min(announcement.bidding_ms + BID_MARGIN_MS, MAX_COMPLETION_MS)
    return Bid(
        bidder=view.did,
        job_originator=job.submitter,
        job_id=job_id or job.id,
        nonce=view.nonce,
        price=price,
        completion_time=view.now_s + needed_ms // 1000,
        completion_ms=needed_ms,
        valid_until=view.now_s + valid_ms // 1000,
        valid_ms=valid_ms,
        compute_score=compute_score(capability),
        availability=AvailabilityWindow(min(left_ms, _lasts_ms(view)), max(1, capability.workers)),
        max_shards=view.max_open_shards - view.open_shards,
        capability_proof=CapabilityProof(view.attestation, capability.benchmark),
        region=capability.region,
        offline_ms=view.offline_ms,
    )


def lacking(job: JobSpec, view: BidderView) -> Refusal | None:
    """What the device lacks for one shard of a job at its present duty, or at full duty while guests stand still."""
    if view.capability.fuel_per_s == 0 or job.input.shards == 0:
        return None  # nobody can say
    return shortfall(_shard(job, view), view.capability.duty_pm or PM, view.outlook.reserve)


def _effort(fuel: int, view: BidderView) -> Effort:
    return Effort(fuel, view.capability.fuel_per_s, view.outlook.energy_mj_per_gfuel)


def _price(job: JobSpec, view: BidderView) -> int:
    """What the fuel of all shards costs, and more where little is left: of the outlook, or of places for shards."""
    free_pm = (view.max_open_shards - view.open_shards) * PM // view.max_open_shards
    headroom_pm = max(0, min(view.outlook.headroom_pm, free_pm))
    return quote(view.prices, _effort(job.compute.max_fuel * job.input.shards, view), headroom_pm).mana


def _shard(job: JobSpec, view: BidderView) -> Demand:
    """What one shard takes at most. Input and output are held twice, in a buffer and on their way."""
    moved_bytes = -(-job.input.total_bytes // job.input.shards) + job.storage.max_output_bytes
    pages = job.runtime.memory_pages if isinstance(job.runtime, WasmRuntime) else 0
    memory_mib = -(-(pages * PAGE_BYTES + 2 * moved_bytes) // MIB)
    return Demand(_effort(job.compute.max_fuel, view), moved_bytes, memory_mib)


def _needed_ms(job: JobSpec, view: BidderView) -> int:
    """Until the last shard is done: what is under way comes first, and the duty follows its forecast.

    The submitter's own estimate of processor time counts where it is the larger one.
    """
    capability, workers = view.capability, max(1, view.capability.workers)
    fuel = job.compute.max_fuel * job.input.shards + view.open_fuel
    work_ms = max(busy_ms(fuel, capability.fuel_per_s * workers), -(-job.compute.estimated_cpu_ms // workers))
    pace = view.outlook.pace or Pace(capability.duty_pm)
    return PER_FUEL_MARGIN * paced_ms(work_ms, pace)


def _lasts_ms(view: BidderView) -> int:
    """For how long the device can go on with all its workers: until heat or closing hours, or its battery's floor."""
    reserve, capability = view.outlook.reserve, view.capability
    lasts_ms = MAX_COMPLETION_MS if reserve.work_ms is None else reserve.work_ms
    mj_per_gfuel = view.outlook.energy_mj_per_gfuel
    if reserve.energy_mj is None or mj_per_gfuel == 0:
        return lasts_ms
    fuel = reserve.energy_mj * GIGA // mj_per_gfuel
    return min(lasts_ms, fuel * PM * 1000 // (capability.fuel_per_s * max(1, capability.workers) * capability.duty_pm))


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
