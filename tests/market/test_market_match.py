"""Matching: one node that can, and each reason why it can't."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from market_samples import CAPABILITY, JOB, cid_of

from icn_lite.market.match import CHECKS, Match, Refusal, match
from icn_lite.model.capability import AllowanceLevel, NodeCapability, NodeRole
from icn_lite.model.cid import Cid
from icn_lite.model.errors import JobErrorCode
from icn_lite.model.job import (
    Architecture,
    CclRuntime,
    ComputeRequirements,
    DockerRuntime,
    ExecutionPolicy,
    GpuSpec,
    JobSpec,
    NativeRuntime,
    PaymentType,
    PrivacyLevel,
    WasmRuntime,
    ZeroKnowledge,
)


def needing(**changes: object) -> JobSpec:
    return replace(JOB, compute=replace(JOB.compute, **changes))


def under(**changes: object) -> JobSpec:
    return replace(JOB, policy=ExecutionPolicy(**changes))


def test_a_node_that_can_says_how_well() -> None:
    assert match(JOB, CAPABILITY) == Match(capability_ppm=666_666)


@pytest.mark.parametrize(
    "job",
    [
        needing(min_cpu_cores=4, min_memory_mb=128),
        needing(architecture=Architecture.ARM64),
        needing(timeout_ms=600_000),
        replace(JOB, runtime=WasmRuntime(module=Cid.of_raw(b"module"), memory_pages=160)),
        under(region_filter=("us-east", "eu-west")),
        under(required_trust_scope="coop"),
        needing(estimated_cpu_ms=10**9),  # how long a job may take is asked where its deadline is known
        needing(estimated_cpu_ms=1_000, estimated_memory_mb_ms=128_000),
        needing(estimated_gpu_ms=0),
        needing(max_fuel=10**12),  # a limit; what it costs and how long it takes is asked elsewhere
        under(max_price=1, min_reputation_ppm=10**6),  # asked of the bid, `test_market_bids.py`
    ],
)
def test_what_is_just_met_is_met(job: JobSpec) -> None:
    assert isinstance(match(job, CAPABILITY), Match)


@pytest.mark.parametrize("level", [AllowanceLevel.RUN, AllowanceLevel.SLOW])
def test_a_slowed_device_still_takes_work(level: AllowanceLevel) -> None:
    assert isinstance(match(JOB, replace(CAPABILITY, allowance=level)), Match)


REFUSED_JOBS = [
    (replace(JOB, runtime=DockerRuntime(image="blender", tag="3.6")), "runtime", "runtime Docker: the node runs WASM"),
    (replace(JOB, runtime=NativeRuntime(binary=Cid.of_raw(b"elf"))), "runtime", "runtime Native"),
    (replace(JOB, runtime=CclRuntime(contract="c", function="f")), "runtime", "runtime CCL"),
    (needing(gpu_required=GpuSpec(type="NVIDIA", min_vram_gb=8)), "gpu", "gpu_required NVIDIA"),
    (needing(gpu_required=GpuSpec(type="any")), "gpu", "gpu_required any"),
    (needing(estimated_gpu_ms=1), "gpu", "estimated_gpu_ms 1: the node lends no GPU"),
    (
        needing(estimated_cpu_ms=1_000, estimated_memory_mb_ms=128_001),
        "memory",
        "129 MB on average, the node lends 128",
    ),
    (needing(architecture=Architecture.X86_64), "architecture", "architecture x86_64: the node is arm64"),
    (needing(min_cpu_cores=5), "cores", "min_cpu_cores 5: the node has 4"),
    (needing(min_memory_mb=129), "memory", "min_memory_mb 129: the node lends 128"),
    (needing(timeout_ms=600_001), "timeout", "for at most 600000 ms"),
    (replace(JOB, runtime=WasmRuntime(module=Cid.of_raw(b"m"), memory_pages=161)), "pages", "at most 160"),
    (under(region_filter=("us-east",)), "region", "region_filter us-east: the node is in eu-west"),
    (under(required_trust_scope="other"), "trust_scope", "required_trust_scope other: the node belongs to coop"),
    (under(min_fuel_per_s=0), "benchmark", "min_fuel_per_s 0: the node has no benchmark's receipt to show"),
    (replace(JOB, privacy=PrivacyLevel.ZERO_KNOWLEDGE), "proofs", "no proofs"),
    (replace(JOB, redundancy=ZeroKnowledge()), "proofs", "no proofs"),
    (replace(JOB, payment_type=PaymentType.TOKENS), "payment", "in mana only"),
]
REFUSING_NODES = [
    (replace(CAPABILITY, roles=(NodeRole.SUBMIT,)), "role", "runs no work for others"),
    (replace(CAPABILITY, workers=0), "role", "runs no work for others"),
    (replace(CAPABILITY, allowance=AllowanceLevel.DRAIN), "allowance", "allowance drain"),
    (replace(CAPABILITY, allowance=AllowanceLevel.SUSPEND), "allowance", "allowance suspend"),
    (replace(CAPABILITY, runtimes=()), "runtime", "runs nothing only"),
]


@pytest.mark.parametrize(("job", "reason", "part"), REFUSED_JOBS)
def test_a_job_that_does_not_fit_is_refused_with_its_numbers(job: JobSpec, reason: str, part: str) -> None:
    answer = match(job, CAPABILITY)
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.reason) == (JobErrorCode.NO_EXECUTOR_AVAILABLE, reason)
    assert part in answer.message


@pytest.mark.parametrize(("capability", "reason", "part"), REFUSING_NODES)
def test_a_node_that_takes_no_work_says_why(capability: NodeCapability, reason: str, part: str) -> None:
    answer = match(JOB, capability)
    assert isinstance(answer, Refusal)
    assert answer.reason == reason
    assert part in answer.message


def test_every_check_has_a_refusal_here() -> None:
    assert {reason for reason, _ in CHECKS} == {reason for _, reason, _ in (*REFUSED_JOBS, *REFUSING_NODES)}


def test_what_is_too_little_is_told_in_numbers() -> None:
    numbered = {"cores": (5, 4, "cores"), "memory": (129, 128, "MB"), "pages": (161, 160, "pages")}
    numbered["timeout"] = (600_001, 600_000, "ms")
    for job, reason, _ in REFUSED_JOBS:
        answer = match(job, CAPABILITY)
        assert isinstance(answer, Refusal)
        assert (answer.needed, answer.available, answer.unit) == numbered.get(reason, (None, None, ""))


def test_a_benchmark_s_receipt_is_what_a_job_may_ask_for() -> None:
    assert isinstance(match(under(min_fuel_per_s=10**9), replace(CAPABILITY, benchmark=cid_of(1))), Match)


# Where each field of the two is asked about; `bids` and `bidding` are the tests of those modules.
ASKED_IN = {
    ComputeRequirements: {
        "min_cpu_cores": "cores", "min_memory_mb": "memory", "gpu_required": "gpu", "architecture": "architecture",
        "estimated_cpu_ms": "bidding: deadline", "estimated_memory_mb_ms": "memory", "estimated_gpu_ms": "gpu",
        "max_fuel": "bidding: price, battery, heat, deadline", "timeout_ms": "timeout",
    },
    ExecutionPolicy: {
        "max_price": "bids: price", "min_reputation_ppm": "bids: reputation", "region_filter": "region",
        "required_trust_scope": "trust_scope", "min_fuel_per_s": "benchmark",
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", ASKED_IN)
def test_no_field_of_requirements_and_policy_is_forgotten(kind: type) -> None:
    assert {field.name for field in fields(kind)} == set(ASKED_IN[kind])
    rows = {reason for reason, _ in CHECKS}
    assert all(":" in asked or asked in rows for asked in ASKED_IN[kind].values())


def test_a_region_or_scope_that_is_not_stated_does_not_pass() -> None:
    nowhere = replace(CAPABILITY, region=None, trust_scopes=())
    for job, part in ((under(region_filter=("eu",)), "no stated region"), (under(required_trust_scope="c"), "none")):
        answer = match(job, nowhere)
        assert isinstance(answer, Refusal)
        assert part in answer.message
