"""Jobs: the specification's examples as values, the mapping of fields, what check_job refuses, statuses."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

import pytest
from hypothesis import given
from model_strategies import FEW, SIGNER, of

from icn_lite.model import document, schema
from icn_lite.model.capability import NodeCapability
from icn_lite.model.category import DataProcessing, FrameSpec, Rendering
from icn_lite.model.cid import Cid
from icn_lite.model.errors import FailureReason, JobError, JobErrorCode
from icn_lite.model.job import (
    MESH_JOB_PARAMS,
    DockerRuntime,
    Full,
    JobSpec,
    PrivacyLevel,
    Sampling,
    WasmRuntime,
    check_job,
)
from icn_lite.model.messages import JobInteractiveInputV1, JobInteractiveOutputV1
from icn_lite.model.status import (
    AwaitingNextStage,
    JobStatus,
    PendingUserInput,
    Running,
    StandardJobStatus,
    standard,
)

MODULE, INPUT = Cid.of_raw(b"module"), Cid.of_raw(b"input")
NOW_S = 1_735_000_000

JOB: dict[str, Any] = {
    "name": "job_001",
    "submitter": str(SIGNER.did),
    "nonce": "AAAAAAAAAAAAAAAAAAAAAA==",
    "created_at": NOW_S - 60,
    "runtime": {"type": "WASM", "module": str(MODULE)},
    "input": {"data": str(INPUT)},
    "budget": {"max_total": 5000},
    "deadline": 1735689600,
}

# `mesh-job-protocol.md` Appendix A with the documented changes of unit: hours are milliseconds, shares are ppm, an
# enum with a payload is a map with `type`; what the examples leave out but a job needs comes from JOB.
RENDERING: dict[str, Any] = {
    **JOB,
    "runtime": {
        "type": "Docker",
        "image": "blender/blender",
        "tag": "3.6",
        "entrypoint": ["blender", "-b", "scene.blend", "-f", "1:100"],
    },
    "category": {
        "type": "Rendering",
        "frames": [{"first": 1, "last": 100}],
        "format": "PNG",
        "quality": "final",
    },
    "compute": {"min_cpu_cores": 8, "min_memory_mb": 16384, "gpu_required": {"type": "NVIDIA", "min_vram_gb": 8}},
    "budget": {"max_total": 5000, "per_unit": {"type": "PerFrame", "amount": 50}},
    "redundancy": {"type": "Sampling", "n": 3},
}
TRAINING: dict[str, Any] = {
    **JOB,
    "name": "job_002",
    "runtime": {"type": "WASM", "module": str(MODULE), "function": "train_model"},
    "compute": {
        "min_memory_mb": 32768,
        "gpu_required": {"type": "Any", "min_vram_gb": 16},
        "estimated_gpu_ms": 24 * 3_600_000,
    },
    "privacy": "ZeroKnowledge",
    "accuracy": {"target_ppm": 950_000, "bonus_per_percent": 100},
}


def job_of(**changes: Any) -> JobSpec:
    return schema.from_value(JobSpec, {**JOB, **changes}, "json")


def test_the_rendering_example() -> None:
    job = schema.from_value(JobSpec, RENDERING, "json")
    assert isinstance(job.runtime, DockerRuntime)
    assert job.runtime.entrypoint[-1] == "1:100"
    assert job.category == Rendering((FrameSpec(1, 100),), "PNG", "final")
    assert job.redundancy == Sampling(3)
    check_job(job, NOW_S)
    assert document.decode(JobSpec, document.encode(job)) == job


def test_the_training_example() -> None:
    job = schema.from_value(JobSpec, TRAINING, "json")
    assert job.runtime == WasmRuntime(MODULE, "train_model")
    assert job.privacy is PrivacyLevel.ZERO_KNOWLEDGE
    assert job.compute.estimated_gpu_ms == 86_400_000
    check_job(job, NOW_S)
    assert document.decode(JobSpec, document.encode(job)) == job


def test_floats_of_the_examples_are_refused_by_name() -> None:
    with pytest.raises(schema.SchemaError, match=r"accuracy\.target_ppm: expected an integer, found 0.95"):
        job_of(accuracy={"target_ppm": 0.95})


def test_a_job_is_named_by_its_content() -> None:
    job = job_of()
    assert job.id == Cid.of_dag_cbor(document.encode(job))
    assert job.id == job_of().id
    assert job.id != job_of(name="job_003").id


@pytest.mark.parametrize(("field", "path"), sorted(MESH_JOB_PARAMS.items()))
def test_every_field_of_mesh_job_params_has_its_place(field: str, path: str) -> None:
    cls: Any = JobSpec
    for step in path.split("."):
        if isinstance(getattr(cls, step, None), property):
            assert (field, step) == ("job_id", "id")
            return
        hint = typing.get_type_hints(cls).get(step)
        assert hint is not None, f"{cls.__name__} has no {step}"
        choices = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        cls = next(choice for choice in choices if choice is not types.NoneType)  # WASM stands first of the runtimes
    assert cls is not None


REFUSED: dict[str, tuple[dict[str, Any], JobErrorCode, str]] = {
    "past deadline": ({"deadline": NOW_S - 5}, JobErrorCode.DEADLINE_EXCEEDED, "deadline: .* 5 s in the past"),
    "deadline now": ({"deadline": NOW_S}, JobErrorCode.DEADLINE_EXCEEDED, "deadline"),
    "no input": ({"input": {}}, JobErrorCode.INVALID_JOB_SPEC, "input: .* found none"),
    "two inputs": (
        {"input": {"data": str(INPUT), "plan": str(INPUT)}},
        JobErrorCode.INVALID_JOB_SPEC,
        "input: .* found both",
    ),
    "two inputs of a category": (
        {"input": {"data": str(INPUT), "plan": str(INPUT)}, "category": RENDERING["category"]},
        JobErrorCode.INVALID_JOB_SPEC,
        "input: .* found both",
    ),
    "one block, two shards": (
        {"input": {"data": str(INPUT), "shards": 2}},
        JobErrorCode.INVALID_JOB_SPEC,
        r"input\.shards: expected 1",
    ),
    "a plan of no shards": (
        {"input": {"plan": str(INPUT), "shards": 0}},
        JobErrorCode.INVALID_JOB_SPEC,
        r"input\.shards: .* found 0",
    ),
    "no mana for all executions": (
        {"budget": {"max_total": 2}, "redundancy": {"type": "Full", "n": 3}},
        JobErrorCode.INSUFFICIENT_BUDGET,
        r"budget\.max_total: 2 mana cannot pay 3 executions",
    ),
    "no mana": ({"budget": {"max_total": 0}}, JobErrorCode.INSUFFICIENT_BUDGET, r"budget\.max_total"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_jobs(name: str) -> None:
    changes, code, words = REFUSED[name]
    with pytest.raises(JobError, match=words) as refused:
        check_job(job_of(**changes), NOW_S)
    assert refused.value.code is code


def test_accepted_jobs() -> None:
    check_job(job_of(), NOW_S)
    check_job(job_of(input={"plan": str(INPUT), "shards": 40}), NOW_S)
    check_job(job_of(input={}, category=RENDERING["category"]), NOW_S)
    check_job(job_of(budget={"max_total": 3}, redundancy={"type": "Full", "n": 3}), NOW_S)


def test_copies() -> None:
    assert job_of().copies == 1
    assert job_of(redundancy={"type": "Sampling", "n": 9}).copies == 1
    assert dataclasses.replace(job_of(), redundancy=Full(4)).copies == 4
    assert job_of(category={"type": "DataProcessing", **dict.fromkeys(DATA_FIELDS, "x")}).category == DataProcessing(
        "x", "x", "x"
    )


DATA_FIELDS = ("input_format", "output_format", "transformation")


@FEW
@given(of(JobStatus))
def test_every_status_has_a_standard_one(status: JobStatus) -> None:
    assert standard(status) in StandardJobStatus


def test_every_standard_status_is_reached() -> None:
    reached = {standard(typing.cast(JobStatus, object.__new__(cls))) for cls in typing.get_args(JobStatus)}
    assert reached == set(StandardJobStatus)
    for running in (Running, PendingUserInput, AwaitingNextStage):
        assert standard(object.__new__(running)) is StandardJobStatus.RUNNING


def test_a_capability_answers_every_filter_of_the_policy() -> None:
    names = {field.name for field in dataclasses.fields(NodeCapability)}
    assert {"region", "trust_scopes", "architecture", "cpu_cores", "memory_mb", "runtimes"} <= names


def test_interactive_messages_carry_one_payload() -> None:
    common = (MODULE, SIGNER.did, SIGNER.did, 0)
    assert JobInteractiveInputV1(*common, payload_inline=b"").payload_inline == b""
    assert JobInteractiveOutputV1(*common, is_final_chunk=True).payload_cid is None
    for wrong in (
        lambda: JobInteractiveInputV1(*common),
        lambda: JobInteractiveInputV1(*common, payload_cid=INPUT, payload_inline=b""),
        lambda: JobInteractiveOutputV1(*common),
        lambda: JobInteractiveOutputV1(*common, payload_cid=INPUT, payload_inline=b""),
    ):
        with pytest.raises(schema.DocumentError, match="payload"):
            wrong()


def test_failure_reasons_are_the_protocols_words() -> None:
    assert all(reason.value.isalpha() for reason in FailureReason)
    assert FailureReason("DAGWriteFailure") is FailureReason.DAG_WRITE_FAILURE
