"""Whether a node can run a job: the job's requirements and policy against the node's `NodeCapability`.

One row a check, in the order in which a person would ask. The first that fails is the refusal: a J-code of
`mesh-job-protocol.md` Appendix B, a sentence, and, where something is too little, both numbers. The same rows serve
the executor, who asks before it bids, and the originator, who asks when it checks a bid's capability proof (§3.1
`verify_capability`). Prices, reputation and deadlines are asked elsewhere: `price.price_limit`, `bids`, `work/bidding`.
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
    """The node can't or won't run the job; `reason` is one word for counters, `message` a sentence with the numbers.

    Where something doesn't suffice, `needed` and `available` are the two numbers in `unit`.
    """

    code: JobErrorCode
    reason: str
    message: str
    needed: int | None = None
    available: int | None = None
    unit: str = ""


def match(job: JobSpec, capability: NodeCapability) -> Match | Refusal:
    """Check a job against a node's capability."""
    for reason, check in CHECKS:
        lack = check(job, capability)
        if isinstance(lack, str):
            lack = Lack(lack) if lack else None
        if lack is not None:
            code = JobErrorCode.NO_EXECUTOR_AVAILABLE
            return Refusal(code, reason, lack.message, lack.needed, lack.available, lack.unit)
    return Match(capability_score(compute_score(capability), job.compute))


def compute_score(capability: NodeCapability) -> ComputeScore:
    """What a node brings, as its bids say it: `ComputeScore` of §3.1."""
    return ComputeScore(capability.fuel_per_s, capability.memory_mb, capability.cpu_cores)


@dataclass(frozen=True, slots=True)
class Lack:
    """What a check finds missing."""

    message: str
    needed: int | None = None
    available: int | None = None
    unit: str = ""


def at_least(needed: int, available: int, unit: str, message: str) -> Lack | None:
    """None where `available` suffices."""
    return None if needed <= available else Lack(message, needed, available, unit)


# Each check answers a sentence, or what is missing in numbers; nothing where the node can.


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
    gpu, estimated_ms = job.compute.gpu_required, job.compute.estimated_gpu_ms
    if gpu is None and not estimated_ms:
        return ""
    return f"{f'gpu_required {gpu.type}' if gpu else f'estimated_gpu_ms {estimated_ms}'}: the node lends no GPU"


def _architecture(job: JobSpec, capability: NodeCapability) -> str:
    wanted = job.compute.architecture
    if wanted is None or wanted is capability.architecture:
        return ""
    return f"architecture {wanted.value}: the node is {capability.architecture.value}"


def _cores(job: JobSpec, capability: NodeCapability) -> Lack | None:
    wanted, has = job.compute.min_cpu_cores, capability.cpu_cores
    return at_least(wanted, has, "cores", f"min_cpu_cores {wanted}: the node has {has}")


def _memory(job: JobSpec, capability: NodeCapability) -> Lack | None:
    compute, has = job.compute, capability.memory_mb
    if compute.min_memory_mb > has:
        message = f"min_memory_mb {compute.min_memory_mb}: the node lends {has}"
        return Lack(message, compute.min_memory_mb, has, "MB")
    # An estimate is of the whole job over its processor time: divided by that, it is what its guests hold on average.
    mean = -(-compute.estimated_memory_mb_ms // compute.estimated_cpu_ms) if compute.estimated_cpu_ms else 0
    return at_least(mean, has, "MB", f"estimated_memory_mb_ms: {mean} MB on average, the node lends {has}")


def _pages(job: JobSpec, capability: NodeCapability) -> Lack | None:
    wanted, has = job.runtime.memory_pages if isinstance(job.runtime, WasmRuntime) else 0, capability.max_pages
    return at_least(wanted, has, "pages", f"memory_pages {wanted}: the node gives a guest at most {has}")


def _timeout(job: JobSpec, capability: NodeCapability) -> Lack | None:
    wanted, most = job.compute.timeout_ms, capability.timeout_ms
    return at_least(wanted, most, "ms", f"timeout_ms {wanted}: the node runs a shard for at most {most} ms")


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


def _benchmark(job: JobSpec, capability: NodeCapability) -> str:
    least = job.policy.min_fuel_per_s
    if least is None or capability.benchmark is not None:
        return ""
    return f"min_fuel_per_s {least}: the node has no benchmark's receipt to show"


def _proofs(job: JobSpec, capability: NodeCapability) -> str:
    if job.privacy is PrivacyLevel.ZERO_KNOWLEDGE or isinstance(job.redundancy, ZeroKnowledge):
        return "ZeroKnowledge: the node makes no proofs of execution"
    return ""


def _payment(job: JobSpec, capability: NodeCapability) -> str:
    if job.payment_type is PaymentType.MANA:
        return ""
    return f"payment_type {job.payment_type.value}: the node is paid in mana only"


Check = Callable[[JobSpec, NodeCapability], str | Lack | None]
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
    ("benchmark", _benchmark),
    ("proofs", _proofs),
    ("payment", _payment),
)
