"""Whether a node can run a job: the job's requirements and policy against the node's `NodeCapability`.

One row a check, in the order in which a person would ask. The first that fails is the refusal: a J-code of
`mesh-job-protocol.md` Appendix B and a sentence with the numbers. The same rows serve the executor, who asks before
it bids, and the originator, who asks when it checks a bid's capability proof (§3.1 `verify_capability`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from icn_lite.market.score import capability_score
from icn_lite.model.bid import ComputeScore
from icn_lite.model.capability import AllowanceLevel, NodeCapability, NodeRole
from icn_lite.model.errors import JobErrorCode
from icn_lite.model.job import JobSpec, PaymentType, PrivacyLevel, WasmRuntime, ZeroKnowledge


@dataclass(frozen=True, slots=True)
class Match:
    """The node can run the job; the score says with how much room to spare."""

    capability_ppm: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """The node can't or won't run the job; `reason` is one word for counters, `message` a sentence with numbers."""

    code: JobErrorCode
    reason: str
    message: str


def match(job: JobSpec, capability: NodeCapability) -> Match | Refusal:
    """Check a job against a node's capability."""
    for reason, check in CHECKS:
        message = check(job, capability)
        if message:
            return Refusal(JobErrorCode.NO_EXECUTOR_AVAILABLE, reason, message)
    return Match(capability_score(compute_score(capability), job.compute))


def compute_score(capability: NodeCapability) -> ComputeScore:
    """What a node brings, as its bids say it: `ComputeScore` of §3.1."""
    return ComputeScore(capability.fuel_per_s, capability.memory_mb, capability.cpu_cores)


# Each check answers a sentence when it fails, else an empty text.


def _role(job: JobSpec, capability: NodeCapability) -> str:
    if NodeRole.EXECUTE in capability.roles and capability.workers > 0:
        return ""
    return "the node runs no work for others"


def _allowance(job: JobSpec, capability: NodeCapability) -> str:
    if capability.allowance in (AllowanceLevel.RUN, AllowanceLevel.SLOW):
        return ""
    return f"the device takes no new work now (allowance {capability.allowance.value})"


def _runtime(job: JobSpec, capability: NodeCapability) -> str:
    kind = job.runtime.TAG
    if isinstance(job.runtime, WasmRuntime) and kind in capability.runtimes:
        return ""
    return f"runtime {kind}: the node runs {' and '.join(capability.runtimes) or 'nothing'} only"


def _gpu(job: JobSpec, capability: NodeCapability) -> str:
    gpu = job.compute.gpu_required
    return f"gpu_required {gpu.type}: the node lends no GPU" if gpu else ""


def _architecture(job: JobSpec, capability: NodeCapability) -> str:
    wanted = job.compute.architecture
    if wanted is None or wanted is capability.architecture:
        return ""
    return f"architecture {wanted.value}: the node is {capability.architecture.value}"


def _cores(job: JobSpec, capability: NodeCapability) -> str:
    wanted = job.compute.min_cpu_cores
    return f"min_cpu_cores {wanted}: the node has {capability.cpu_cores}" if wanted > capability.cpu_cores else ""


def _memory(job: JobSpec, capability: NodeCapability) -> str:
    wanted = job.compute.min_memory_mb
    return f"min_memory_mb {wanted}: the node lends {capability.memory_mb}" if wanted > capability.memory_mb else ""


def _pages(job: JobSpec, capability: NodeCapability) -> str:
    if not isinstance(job.runtime, WasmRuntime) or job.runtime.memory_pages <= capability.max_pages:
        return ""
    return f"memory_pages {job.runtime.memory_pages}: the node gives a guest at most {capability.max_pages}"


def _timeout(job: JobSpec, capability: NodeCapability) -> str:
    if job.compute.timeout_ms <= capability.timeout_ms:
        return ""
    return f"timeout_ms {job.compute.timeout_ms}: the node runs a shard for at most {capability.timeout_ms} ms"


def _region(job: JobSpec, capability: NodeCapability) -> str:
    regions = job.policy.region_filter
    if not regions or capability.region in regions:
        return ""
    return f"region_filter {', '.join(regions)}: the node is in {capability.region or 'no stated region'}"


def _trust_scope(job: JobSpec, capability: NodeCapability) -> str:
    scope = job.policy.required_trust_scope
    if scope is None or scope in capability.trust_scopes:
        return ""
    return f"required_trust_scope {scope}: the node belongs to {', '.join(capability.trust_scopes) or 'none'}"


def _proofs(job: JobSpec, capability: NodeCapability) -> str:
    if job.privacy is PrivacyLevel.ZERO_KNOWLEDGE or isinstance(job.redundancy, ZeroKnowledge):
        return "ZeroKnowledge: the node makes no proofs of execution"
    return ""


def _payment(job: JobSpec, capability: NodeCapability) -> str:
    if job.payment_type is PaymentType.MANA:
        return ""
    return f"payment_type {job.payment_type.value}: the node is paid in mana only"


Check = Callable[[JobSpec, NodeCapability], str]
CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("role", _role),
    ("allowance", _allowance),
    ("runtime", _runtime),
    ("gpu", _gpu),
    ("architecture", _architecture),
    ("cores", _cores),
    ("memory", _memory),
    ("pages", _pages),
    ("timeout", _timeout),
    ("region", _region),
    ("trust_scope", _trust_scope),
    ("proofs", _proofs),
    ("payment", _payment),
)
