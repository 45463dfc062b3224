"""Names and codes against the text of the specification itself, where it stands beside the checkout."""

from __future__ import annotations

import dataclasses
import os
import re
import typing
from pathlib import Path

import pytest

from icn_lite.model.bid import Bid, CapabilityProof
from icn_lite.model.category import JobCategory
from icn_lite.model.errors import FailureReason, HostAbiError, JobErrorCode
from icn_lite.model.job import MESH_JOB_PARAMS, Budget, ComputeRequirements, JobSpec, Runtime, WorkflowType
from icn_lite.model.messages import MESSAGES
from icn_lite.model.status import JobStatus, StandardJobStatus

SPEC = Path(os.environ.get("ICN_LITE_SPEC") or Path(__file__).parents[3] / "shared" / "spec")


def spec(name: str) -> str:
    path = SPEC / name
    if not path.is_file():
        pytest.skip(f"the specification is missing: expected {name} in ICN_LITE_SPEC or ../shared/spec")
    return path.read_text(encoding="utf-8")


def rust_block(text: str, opening: str) -> list[str]:
    """The names at the first level of a Rust struct or enum."""
    body = text[text.index(opening) + len(opening) :]
    names: list[str] = []
    depth = 0
    for line in body.splitlines()[1:]:
        bare = line.split("//")[0]
        if depth == 0 and bare.strip() == "}":
            return names
        found = re.match(r"\s+(\w+)", bare) if depth == 0 else None
        if found:
            names.append(found.group(1))
        depth += bare.count("{") - bare.count("}")
    raise AssertionError(f"no end of {opening}")


def fields(cls: type) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}


def tags(union: object) -> list[str]:
    return [choice.TAG for choice in typing.get_args(union)]


def test_error_codes() -> None:
    rows = re.findall(r"^\| (J\d{3}) \| (\w+) \|", spec("mesh-job-protocol.md"), re.MULTILINE)
    assert dict(rows) == {
        code.value: "".join(word.capitalize() for word in code.name.split("_")) for code in JobErrorCode
    }


def test_failure_reasons() -> None:
    text = spec("mesh-job-protocol.md")
    named = set(rust_block(text, "pub enum FailureReason")) | {"DeadlineExceeded"}  # the last from §4.2
    assert "FailureReason::DeadlineExceeded" in text
    assert named == {reason.value for reason in FailureReason}


# What stands elsewhere or under another name, with its reason.
JOB_SPEC_RENAMED = {"id": "a property: the document's CID"}
COMPUTE_RENAMED = {
    "estimated_cpu_hours": "estimated_cpu_ms",
    "estimated_memory_hours": "estimated_memory_mb_ms",
    "estimated_gpu_hours": "estimated_gpu_ms",
}
BID_RENAMED = {
    "reputation_score": "reputation_ppm",
    "success_rate": "success_ppm",
    "signature": "of the signed block",
}


def test_job_spec_fields() -> None:
    named = set(rust_block(spec("mesh-job-protocol.md"), "pub struct JobSpec"))
    assert named - fields(JobSpec) == set(JOB_SPEC_RENAMED)
    assert hasattr(JobSpec, "id")


def test_compute_and_budget_fields() -> None:
    text = spec("mesh-job-protocol.md")
    assert set(rust_block(text, "pub struct ComputeRequirements")) - fields(ComputeRequirements) == set(COMPUTE_RENAMED)
    assert set(COMPUTE_RENAMED.values()) <= fields(ComputeRequirements)
    assert set(rust_block(text, "pub struct Budget")) <= fields(Budget)


def test_bid_fields() -> None:
    text = spec("mesh-job-protocol.md")
    assert set(rust_block(text, "pub struct Bid")) - fields(Bid) == set(BID_RENAMED)
    assert {"reputation_ppm", "success_ppm"} <= fields(Bid)
    assert set(rust_block(text, "pub struct CapabilityProof")) <= fields(CapabilityProof)


def test_runtimes_and_categories() -> None:
    text = spec("mesh-job-protocol.md")
    assert rust_block(text, "pub enum Runtime") == tags(Runtime)
    assert rust_block(text, "pub enum JobCategory") == tags(JobCategory)


def test_messages() -> None:
    text = spec("rfc-planetary-mesh.md")
    section = text[text.index("### 5.1.") : text.index("### 5.2.")]
    variants = re.findall(r"`(\w+V1)`", "\n".join(re.findall(r"^\*   (\*\*`.*)$", section, re.MULTILINE)))
    assert len(variants) == 9
    assert set(variants) == set(MESSAGES)


def test_statuses() -> None:
    enhanced = spec("enhanced-mesh-job-system.md")
    section = enhanced[enhanced.index("### 2. The Evolved") : enhanced.index("### 3. The Language")]
    assert re.findall(r"^\*   \*\*`(\w+)", section, re.MULTILINE) == tags(JobStatus)
    rfc = spec("rfc-planetary-mesh.md")
    section = rfc[rfc.index("StandardJobStatus` (Canonical") : rfc.index("### 4.3.")]
    assert {status.value for status in StandardJobStatus} <= set(re.findall(r"`(\w+)`", section))


def test_mesh_job_params() -> None:
    enhanced = spec("enhanced-mesh-job-system.md")
    section = enhanced[enhanced.index("### 1. The Transformed") : enhanced.index("### 2. The Evolved")]
    named = re.findall(r"^\*   \*\*`(\w+):", section, re.MULTILINE)
    assert {"workflow_type", "stages", "is_interactive", "expected_output_schema_cid"} == set(named)
    rfc = spec("rfc-planetary-mesh.md")
    (line,) = re.findall(r"The detailed specification of the computational job, including (.*)\.", rfc)
    assert set(named) | set(re.findall(r"`(\w+)", line)) <= set(MESH_JOB_PARAMS)
    for kind in WorkflowType:
        assert f"`{kind.value}`" in section


def test_host_abi_errors() -> None:
    assert "HostAbiError" in spec("enhanced-mesh-job-system.md")
    assert sorted(HostAbiError) == list(range(-14, 1))
