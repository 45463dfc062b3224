"""Matching: one node that can, and each reason why it can't."""

from __future__ import annotations

from dataclasses import replace

import pytest
from market_samples import CAPABILITY, JOB

from icn_lite.market.match import CHECKS, Match, Refusal, match
from icn_lite.model.capability import AllowanceLevel, NodeCapability, NodeRole
from icn_lite.model.cid import Cid
from icn_lite.model.errors import JobErrorCode
from icn_lite.model.job import (
    Architecture,
    CclRuntime,
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
    (needing(architecture=Architecture.X86_64), "architecture", "architecture x86_64: the node is arm64"),
    (needing(min_cpu_cores=5), "cores", "min_cpu_cores 5: the node has 4"),
    (needing(min_memory_mb=129), "memory", "min_memory_mb 129: the node lends 128"),
    (needing(timeout_ms=600_001), "timeout", "for at most 600000 ms"),
    (replace(JOB, runtime=WasmRuntime(module=Cid.of_raw(b"m"), memory_pages=161)), "pages", "at most 160"),
    (under(region_filter=("us-east",)), "region", "region_filter us-east: the node is in eu-west"),
    (under(required_trust_scope="other"), "trust_scope", "required_trust_scope other: the node belongs to coop"),
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


def test_a_region_or_scope_that_is_not_stated_does_not_pass() -> None:
    nowhere = replace(CAPABILITY, region=None, trust_scopes=())
    for job, part in ((under(region_filter=("eu",)), "no stated region"), (under(required_trust_scope="c"), "none")):
        answer = match(job, nowhere)
        assert isinstance(answer, Refusal)
        assert part in answer.message
