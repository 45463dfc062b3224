"""Whether to bid, and how: every refusal with its code and numbers, each beside the bid that just goes; the offer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from work_samples import MODULE, SUBMITTER, did_of, terms_of

from icn_lite.market.endurance import Reserve
from icn_lite.market.match import CHECKS, Refusal
from icn_lite.market.price import MAX_COMPLETION_MS, Pace, Prices
from icn_lite.model import document
from icn_lite.model.bid import Bid, ComputeScore
from icn_lite.model.capability import AllowanceLevel, NodeCapability, NodeRole
from icn_lite.model.cid import Cid
from icn_lite.model.errors import JobErrorCode
from icn_lite.model.job import (
    Architecture,
    ExecutionPolicy,
    GpuSpec,
    JobSpec,
    NativeRuntime,
    NetworkRequirements,
    NoInput,
    PaymentType,
    PrivacyLevel,
    StageDefinition,
    StorageRequirements,
    WasmRuntime,
)
from icn_lite.model.messages import JobAnnouncementV1
from icn_lite.work import bidding
from icn_lite.work.bidding import BidderView, Outlook, check_lease_against_bid, consider

CAPABILITY = NodeCapability(
    profile="pi-4",
    roles=(NodeRole.EXECUTE,),
    architecture=Architecture.ARM64,
    cpu_cores=4,
    memory_mb=128,
    max_pages=160,
    workers=2,
    fuel_per_s=2_000_000,
    benchmark=Cid.of_dag_cbor(b"benchmark"),
)
PRICES = Prices(base=5, energy_per_kwh=0, wear_per_hour=36_000, opportunity_per_hour=36_000)  # 20 mana a second
OUTLOOK = Outlook(energy_mj_per_gfuel=1_000_000)
VIEW = BidderView(did_of(1), CAPABILITY, PRICES, OUTLOOK, bytes(16), 1_000,
                  open_shards=28, max_open_shards=32, max_output_bytes=16 << 20, disk_mb=64)  # fmt: skip
JOB = terms_of(4, 2, budget=1_000).job  # 4 shards of a million fuel: 2 s of one worker, 1 s of both, 4 J
SHARD_MJ = 1_000
SHARD_MS = 500
SHARD_MIB = 12  # 160 pages, and twice the MiB of output
SHARD_BYTES = 1 << 20


def announced(job: JobSpec, **changes: object) -> JobAnnouncementV1:
    announcement = JobAnnouncementV1(job.submitter, job, 5_000, (), bytes(16))
    return replace(announcement, **changes)  # type: ignore[arg-type]


def offer(job: JobSpec = JOB, view: BidderView = VIEW) -> Bid:
    answer = consider(announced(job), view)
    assert isinstance(answer, Bid), answer
    return answer


def able(**changes: object) -> BidderView:
    return replace(VIEW, capability=replace(CAPABILITY, **changes))  # type: ignore[arg-type]


def left(**changes: object) -> BidderView:
    return replace(VIEW, outlook=replace(OUTLOOK, reserve=Reserve(**changes)))  # type: ignore[arg-type]


def needing(**changes: object) -> JobSpec:
    return replace(JOB, compute=replace(JOB.compute, **changes))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Case:
    """A refusal, and beside it what just goes."""

    reason: str
    code: str
    part: str  # of the sentence
    refused: tuple[JobAnnouncementV1, BidderView]
    taken: tuple[JobAnnouncementV1, BidderView] = (announced(JOB), VIEW)
    numbers: tuple[int, int, str] | None = None  # needed, available, unit


def case(reason: str, code: str, part: str, job: JobSpec, fine: JobSpec, numbers: object = None) -> Case:
    """A job that is refused, and one that isn't, by the same device."""
    return Case(reason, code, part, (announced(job), VIEW), (announced(fine), VIEW), numbers)  # type: ignore[arg-type]


def device(reason: str, code: str, part: str, view: BidderView, fine: BidderView, numbers: object = None) -> Case:
    """A device that refuses a job, and one that takes it."""
    return Case(reason, code, part, (announced(JOB), view), (announced(JOB), fine), numbers)  # type: ignore[arg-type]


def wasm(pages: int) -> JobSpec:
    return replace(JOB, runtime=WasmRuntime(MODULE, "run", pages))


def storing(**changes: object) -> JobSpec:
    return replace(JOB, storage=StorageRequirements(**changes))  # type: ignore[arg-type]


def under(**changes: object) -> JobSpec:
    return replace(JOB, policy=ExecutionPolicy(**changes))  # type: ignore[arg-type]


STAGE = StageDefinition("s", MODULE, NoInput())
NINE, EIGHT = ("i32:1",) * 9, ("i32:1",) * 8
DUE = JOB.created_at
CASES = (
    # whom the device has before it
    Case("originator", "J003", "announced by", (announced(JOB, originator=did_of(7)), VIEW)),
    device("own", "J003", "its own job", replace(VIEW, did=SUBMITTER), VIEW),
    # what a device can at all: market/match
    device("role", "J003", "no work for others", able(roles=(NodeRole.SUBMIT,)), able(workers=1)),
    device("allowance", "J003", "allowance drain", able(allowance=AllowanceLevel.DRAIN),
           able(allowance=AllowanceLevel.SLOW)),
    case("runtime", "J003", "runtime Native", replace(JOB, runtime=NativeRuntime(MODULE)), JOB),
    case("gpu", "J003", "gpu_required A100", needing(gpu_required=GpuSpec("A100")), JOB),
    case("architecture", "J003", "x86_64: the node is arm64", needing(architecture=Architecture.X86_64),
         needing(architecture=Architecture.ARM64)),
    case("cores", "J003", "min_cpu_cores 5", needing(min_cpu_cores=5), needing(min_cpu_cores=4), (5, 4, "cores")),
    case("memory", "J003", "lends 128", needing(min_memory_mb=129), needing(min_memory_mb=128), (129, 128, "MB")),
    case("pages", "J003", "at most 160", wasm(161), wasm(160), (161, 160, "pages")),
    case("timeout", "J003", "600000 ms", needing(timeout_ms=600_001), needing(timeout_ms=600_000),
         (600_001, 600_000, "ms")),
    Case("region", "J003", "region_filter eu", (announced(under(region_filter=("eu",))), able(region="us")),
         (announced(under(region_filter=("eu",))), able(region="eu"))),
    Case("trust_scope", "J003", "belongs to none", (announced(under(required_trust_scope="home")), VIEW),
         (announced(under(required_trust_scope="home")), able(trust_scopes=("home",)))),
    Case("benchmark", "J003", "no benchmark's receipt", (announced(under(min_fuel_per_s=0)), able(benchmark=None)),
         (announced(under(min_fuel_per_s=0)), VIEW)),
    case("proofs", "J003", "no proofs", replace(JOB, privacy=PrivacyLevel.ZERO_KNOWLEDGE), JOB),
    case("payment", "J003", "in mana only", replace(JOB, payment_type=PaymentType.TOKENS), JOB),
    # what this version runs
    case("unsupported", "J003", "workflows", replace(JOB, code=replace(JOB.code, stages=(STAGE,))), JOB),
    case("privacy", "J003", "privacy Private", replace(JOB, privacy=PrivacyLevel.PRIVATE), JOB),
    case("output", "J009", "this device keeps", storing(max_output_bytes=(16 << 20) + 1),
         storing(max_output_bytes=16 << 20), ((16 << 20) + 1, 16 << 20, "bytes")),
    case("disk", "J009", "min_disk_mb 65", storing(min_disk_mb=65), storing(min_disk_mb=64), (65, 64, "MB")),
    case("input", "J001", "no shards", replace(JOB, input=replace(JOB.input, shards=0)), JOB),
    case("arguments", "J001", "8 arguments", replace(JOB, code=replace(JOB.code, args=NINE)),
         replace(JOB, code=replace(JOB.code, args=EIGHT))),
    case("network", "J003", "no network", replace(JOB, network=NetworkRequirements(min_bandwidth_kbps=1)), JOB),
    device("busy", "J009", "32 shards", replace(VIEW, open_shards=32), replace(VIEW, open_shards=31),
           (1, 0, "shards")),
    device("speed", "J003", "not known", able(fuel_per_s=0), VIEW),
    device("allowance", "J003", "stand still", able(duty_pm=0), VIEW),
    # what is left of it: market/endurance
    device("battery", "J009", "takes up to 1 J, the battery has 0 J", left(energy_mj=SHARD_MJ - 1),
           left(energy_mj=SHARD_MJ), (SHARD_MJ, SHARD_MJ - 1, "mJ")),
    device("heat", "J009", "at 1000 ‰ duty, the device can go on for 0 s: 79 °C are near",
           left(work_ms=SHARD_MS - 1, why="79 °C are near"), left(work_ms=SHARD_MS), (SHARD_MS, SHARD_MS - 1, "ms")),
    device("memory", "J009", "11 MiB are free", left(memory_mib=SHARD_MIB - 1), left(memory_mib=SHARD_MIB),
           (SHARD_MIB, SHARD_MIB - 1, "MiB")),
    device("network", "J009", "the network policy lets 0 through", left(transfer_bytes=0),
           left(transfer_bytes=SHARD_BYTES), (SHARD_BYTES, 0, "bytes")),
    # what is asked for it
    device("price", "J002", "this device asks 546", replace(VIEW, prices=replace(PRICES, base=506)),
           replace(VIEW, prices=replace(PRICES, base=460)), (546, 500, "mana")),
    case("deadline", "J010", "needs up to 2 s, the deadline is in 1 s", replace(JOB, deadline=DUE + 1),
         replace(JOB, deadline=DUE + 2), (2_000, 1_000, "ms")),
)  # fmt: skip


@pytest.mark.parametrize("found", CASES, ids=lambda found: f"{found.reason}: {found.part}")
def test_every_refusal_has_its_code_its_sentence_and_its_numbers(found: Case) -> None:
    answer = consider(*found.refused)
    assert isinstance(answer, Refusal)
    assert (answer.reason, answer.code) == (found.reason, JobErrorCode(found.code))
    assert found.part in answer.message
    assert (answer.needed, answer.available, answer.unit) == (found.numbers or (None, None, ""))
    assert answer.needed is None or answer.available is None or answer.needed > answer.available
    assert isinstance(consider(*found.taken), Bid)


def test_no_refusal_is_missing_here() -> None:
    rows = {reason for reason, *_ in (*CHECKS, *bidding._ADDRESSED, *bidding._RUNNABLE)}
    assert rows | {"battery", "heat", "memory", "network", "price", "deadline"} == {c.reason for c in CASES}


def test_an_estimate_of_the_job_s_own_counts_where_it_is_larger() -> None:
    assert offer(needing(estimated_cpu_ms=2_000)).completion_ms == 2_000  # what the fuel takes already
    assert offer(needing(estimated_cpu_ms=60_000)).completion_ms == 60_000  # of two workers, with the margin
    late = consider(announced(needing(estimated_cpu_ms=3_600_002)), VIEW)
    assert isinstance(late, Refusal)
    assert (late.reason, late.needed, late.available) == ("deadline", 3_600_002, 3_600_000)


# -- the offer


def test_a_bid_covers_the_fuel_limit_of_all_shards() -> None:
    bid = offer()
    fuel = 4 * JOB.compute.max_fuel
    assert bid.price == 5 + 20 * fuel // CAPABILITY.fuel_per_s
    assert bid.completion_ms == 2 * fuel * 1_000 // (2_000_000 * 2)
    assert (bid.job_id, bid.job_originator, bid.bidder) == (JOB.id, SUBMITTER, VIEW.did)
    assert bid.max_shards == 4


def test_a_bid_says_how_long_it_holds_and_shows_what_it_claims() -> None:
    bid = offer(view=replace(VIEW, attestation=Cid.of_dag_cbor(b"advert")))
    assert (bid.valid_ms, bid.valid_until) == (5_000 + 60_000, 1_000 + 65)
    assert bid.compute_score == ComputeScore(fuel_per_s=2_000_000, memory_mb=128, cpu_cores=4)
    assert bid.capability_proof.resource_attestation == Cid.of_dag_cbor(b"advert")
    assert bid.capability_proof.benchmark_results == CAPABILITY.benchmark


def test_what_is_under_way_comes_first() -> None:
    assert offer(view=replace(VIEW, open_fuel=4_000_000)).completion_ms == 2 * offer().completion_ms


@pytest.mark.parametrize(
    ("view", "expected_ms"),
    [
        (able(duty_pm=500), 4_000),  # half of the time, twice as long
        (replace(VIEW, outlook=replace(OUTLOOK, pace=Pace(1000, 400, 100))), 12_800),  # 0.4 s, then a tenth: 6 s
        (replace(VIEW, outlook=replace(OUTLOOK, pace=Pace(1000, 1_000, 100))), 2_000),  # done just before
    ],
)
def test_the_completion_time_follows_the_duty_and_its_forecast(view: BidderView, expected_ms: int) -> None:
    assert offer(view=view).completion_ms == expected_ms


def test_a_device_that_will_stand_still_meets_no_deadline() -> None:
    answer = consider(announced(JOB), replace(VIEW, outlook=replace(OUTLOOK, pace=Pace(1000, 999, 0))))
    assert isinstance(answer, Refusal)
    assert (answer.reason, answer.needed) == ("deadline", 2 * MAX_COMPLETION_MS)


@pytest.mark.parametrize(
    ("view", "expected_ms"),
    [
        (VIEW, 3_600_000),  # until the deadline
        (left(work_ms=90_000), 90_000),  # until heat or the night's hours
        (left(energy_mj=40_000), 10_000),  # 40 J at 4 J a second of both workers
        (replace(able(duty_pm=500), outlook=replace(OUTLOOK, reserve=Reserve(energy_mj=40_000))), 20_000),
        (left(work_ms=90_000, energy_mj=40_000), 10_000),
    ],
)
def test_the_availability_window_is_what_the_device_can_keep(view: BidderView, expected_ms: int) -> None:
    window = offer(view=view).availability
    assert (window.duration_ms, window.shards_at_once) == (expected_ms, 2)


def test_the_longest_durations_still_fit_into_a_document() -> None:
    job = replace(JOB, deadline=JOB.created_at + 10**9)
    answer = consider(announced(job, bidding_ms=MAX_COMPLETION_MS), VIEW)
    assert isinstance(answer, Bid)
    assert document.decode(Bid, document.encode(answer)) == answer
    assert answer.valid_ms == answer.availability.duration_ms == MAX_COMPLETION_MS


@given(duty_pm=st.integers(1, 1000), open_fuel=st.integers(0, 10**9), headroom_pm=st.integers(0, 999))
@settings(deadline=None, derandomize=True)
def test_less_duty_more_work_under_way_and_less_headroom_never_make_a_better_offer(
    duty_pm: int, open_fuel: int, headroom_pm: int
) -> None:
    job = replace(JOB, deadline=JOB.created_at + 10**7)
    slow = replace(able(duty_pm=duty_pm), open_fuel=open_fuel, prices=replace(PRICES, surge_pm=1_000))
    full = replace(slow, outlook=replace(OUTLOOK, headroom_pm=headroom_pm + 1))
    worse = offer(job, replace(slow, outlook=replace(OUTLOOK, headroom_pm=headroom_pm)))
    assert worse.completion_ms >= offer(job).completion_ms
    assert worse.price >= offer(job, full).price


def test_a_lease_is_held_against_its_bid() -> None:
    bid = offer()
    assert bid.price == 45
    assert check_lease_against_bid([11, 11, 11, 12], bid, JOB) == ""
    assert check_lease_against_bid([11], bid, JOB) == ""
    assert "pays 46 mana for a part" in check_lease_against_bid([46], bid, JOB)
    assert "has 5 shards, the job 4" in check_lease_against_bid([9] * 5, bid, JOB)
    assert "pays 4 mana for the whole job" in check_lease_against_bid([1] * 4, bid, JOB)
