"""Jobs: `JobSpec` of `mesh-job-protocol.md` §2 and `MeshJobParams` of `enhanced-mesh-job-system.md` §1, as one type.

The two documents describe one thing from two sides; `MESH_JOB_PARAMS` below maps every field of the second onto
this type. Floating-point estimates became integers of a smaller unit (CPU hours are `cpu_ms`, scores are parts per
million), because a document with a float has no single canonical form. A job's id is the CID of its document: two
different jobs can't share one, and whoever holds the id can check the job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, ClassVar, Final, TypeAlias

from icn_lite.model import document
from icn_lite.model.category import JobCategory
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import JobError, JobErrorCode
from icn_lite.model.schema import MaxLen, Range
from icn_lite.model.units import (
    ByteCount,
    DurationMs,
    EpochS,
    Fuel,
    Mana,
    Name,
    Nonce,
    Pages,
    Region,
    Sentence,
    ShardCount,
    SharePpm,
)

MAX_STAGES: Final = 64
MAX_ARGS: Final = 32


@dataclass(frozen=True, slots=True)
class WasmRuntime:
    """`Runtime::WASM`: the module's CID, its entry (None: the guest's own, `DESIGN.md` "Guests"), its memory limit."""

    TAG: ClassVar[str] = "WASM"
    module: Cid
    function: Name | None = None
    memory_pages: Pages = 160


@dataclass(frozen=True, slots=True)
class DockerRuntime:
    """`Runtime::Docker`; small devices decline it (J003), a bridge may carry it on."""

    TAG: ClassVar[str] = "Docker"
    image: Name
    tag: Name
    entrypoint: tuple[Sentence, ...] = ()


@dataclass(frozen=True, slots=True)
class EnvironmentVariable:
    """One entry of `Runtime::Native.env`."""

    name: Name
    value: Sentence


@dataclass(frozen=True, slots=True)
class NativeRuntime:
    """`Runtime::Native`; small devices decline it (J003)."""

    TAG: ClassVar[str] = "Native"
    binary: Cid
    args: tuple[Sentence, ...] = ()
    env: tuple[EnvironmentVariable, ...] = ()


@dataclass(frozen=True, slots=True)
class CclRuntime:
    """`Runtime::CCL`; small devices decline it (J003)."""

    TAG: ClassVar[str] = "CCL"
    contract: Name
    function: Name
    args: bytes = b""


Runtime: TypeAlias = WasmRuntime | DockerRuntime | NativeRuntime | CclRuntime


class WorkflowType(Enum):
    """`enhanced-mesh-job-system.md` §1."""

    SINGLE_WASM_MODULE = "SingleWasmModule"
    SEQUENTIAL_WORKFLOW = "SequentialWorkflow"
    GRAPH_WORKFLOW = "GraphWorkflow"


@dataclass(frozen=True, slots=True)
class JobInput:
    """`StageInputSource::JobInput`."""

    TAG: ClassVar[str] = "JobInput"
    key: Annotated[str, MaxLen(128)] = ""


@dataclass(frozen=True, slots=True)
class PreviousStageOutput:
    """`StageInputSource::PreviousStageOutput`."""

    TAG: ClassVar[str] = "PreviousStageOutput"
    stage_id: Name
    key: Annotated[str, MaxLen(128)] = ""


@dataclass(frozen=True, slots=True)
class NoInput:
    """`StageInputSource::NoInput`."""

    TAG: ClassVar[str] = "NoInput"


StageInputSource: TypeAlias = JobInput | PreviousStageOutput | NoInput


@dataclass(frozen=True, slots=True)
class StageRetryPolicy:
    """`StageRetryPolicy`: attempts after the first, and the first pause."""

    max_retries: Annotated[int, Range(0, 16)]
    delay_ms: DurationMs = 60_000


@dataclass(frozen=True, slots=True)
class StageDefinition:
    """One stage of a workflow."""

    stage_id: Name
    wasm_cid: Cid
    input_source: StageInputSource
    description: Sentence | None = None
    timeout_seconds: Annotated[int, Range(1, 31_622_400)] | None = None
    retry_policy: StageRetryPolicy | None = None


@dataclass(frozen=True, slots=True)
class CodeSpec:
    """What to execute besides the runtime's own module: the workflow and its stages."""

    workflow_type: WorkflowType = WorkflowType.SINGLE_WASM_MODULE
    stages: Annotated[tuple[StageDefinition, ...], MaxLen(MAX_STAGES)] = ()
    args: Annotated[tuple[Name, ...], MaxLen(MAX_ARGS)] = ()


@dataclass(frozen=True, slots=True)
class InputSpec:
    """Input data: one block (`data`), or a `ShardPlan` block (`plan`) that lists the input of every shard."""

    data: Cid | None = None
    plan: Cid | None = None
    shards: ShardCount = 1
    total_bytes: ByteCount = 0


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """One shard of a plan: its input block and its weight, the share of the job's price that it earns."""

    input: Cid
    bytes: ByteCount
    weight: Annotated[int, Range(1, 1 << 40)]


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """The inputs of all shards, in order; a block of its own so that an announcement stays one datagram."""

    KIND: ClassVar[str] = "icn-lite/shard-plan/1"
    AUTHOR: ClassVar[str] = ""
    shards: Annotated[tuple[PlannedShard, ...], MaxLen(100_000, least=1)]


@dataclass(frozen=True, slots=True)
class GpuSpec:
    """A GPU that the job needs; small devices have none and decline it (J003)."""

    type: Name
    min_vram_gb: Annotated[int, Range(0, 4096)] = 0


class Architecture(Enum):
    """`Architecture`; a WASM job runs on all of them alike."""

    X86_64 = "x86_64"
    ARM64 = "arm64"
    ARMV7 = "armv7"
    RISCV64 = "riscv64"


@dataclass(frozen=True, slots=True)
class ComputeRequirements:
    """`ComputeRequirements`: hours became milliseconds; `max_fuel` is one shard's fuel limit."""

    min_cpu_cores: Annotated[int, Range(0, 4096)] = 1
    min_memory_mb: Annotated[int, Range(0, 1 << 24)] = 0
    gpu_required: GpuSpec | None = None
    architecture: Architecture | None = None
    estimated_cpu_ms: DurationMs = 0
    estimated_memory_mb_ms: Annotated[int, Range(0, 1 << 60)] = 0
    estimated_gpu_ms: DurationMs | None = None
    max_fuel: Fuel = 1_000_000_000
    timeout_ms: DurationMs = 30_000


@dataclass(frozen=True, slots=True)
class StorageRequirements:
    """Disk that the executor needs, and the largest output of one shard."""

    min_disk_mb: Annotated[int, Range(0, 1 << 30)] = 0
    max_output_bytes: ByteCount = 1 << 20


@dataclass(frozen=True, slots=True)
class NetworkRequirements:
    """Bandwidth between executor and originator; guests themselves have no network."""

    min_bandwidth_kbps: Annotated[int, Range(0, 1 << 30)] = 0
    max_transfer_bytes: ByteCount = 1 << 40


class Pricing(Enum):
    """`PricingModel`."""

    PER_HOUR = "PerHour"
    PER_OPERATION = "PerOperation"
    PER_BYTE = "PerByte"
    PER_FRAME = "PerFrame"
    FIXED = "Fixed"


@dataclass(frozen=True, slots=True)
class PricingModel:
    """A price per unit."""

    type: Pricing
    amount: Mana


@dataclass(frozen=True, slots=True)
class QualityBonus:
    """A bonus for each percent of accuracy above the target."""

    per_percent: Mana


@dataclass(frozen=True, slots=True)
class Budget:
    """`Budget`: what the submitter pays at most, all redundant executions included."""

    max_total: Mana
    per_unit: PricingModel | None = None
    early_completion_bonus: Mana | None = None
    quality_bonus: QualityBonus | None = None


class PaymentType(Enum):
    """`PaymentType`."""

    MANA = "Mana"
    TOKENS = "Tokens"
    BOTH = "Both"


@dataclass(frozen=True, slots=True)
class NoRedundancy:
    """`RedundancyLevel::None`: one executor is trusted."""

    TAG: ClassVar[str] = "None"


@dataclass(frozen=True, slots=True)
class Sampling:
    """`RedundancyLevel::Sampling(n)`: n shards, drawn by the originator, run a second time."""

    TAG: ClassVar[str] = "Sampling"
    n: Annotated[int, Range(1, 1000)]


@dataclass(frozen=True, slots=True)
class Full:
    """`RedundancyLevel::Full(n)`: n executors run every shard; equal outputs are the vote."""

    TAG: ClassVar[str] = "Full"
    n: Annotated[int, Range(2, 16)]


@dataclass(frozen=True, slots=True)
class ZeroKnowledge:
    """`RedundancyLevel::ZeroKnowledge`: the output carries a proof."""

    TAG: ClassVar[str] = "ZeroKnowledge"


RedundancyLevel: TypeAlias = NoRedundancy | Sampling | Full | ZeroKnowledge


class PrivacyLevel(Enum):
    """`PrivacyLevel`."""

    PUBLIC = "Public"
    PRIVATE = "Private"
    ZERO_KNOWLEDGE = "ZeroKnowledge"


@dataclass(frozen=True, slots=True)
class AccuracySpec:
    """`AccuracySpec`: target in parts per million."""

    target_ppm: SharePpm
    bonus_per_percent: Mana = 0


class SelectionStrategy(Enum):
    """`SelectionStrategy` of §3.2."""

    LOWEST_PRICE = "LowestPrice"
    FASTEST_DELIVERY = "FastestDelivery"
    BEST_SCORE = "BestScore"
    RANDOM = "Random"


@dataclass(frozen=True, slots=True)
class ExecutionPolicy:
    """`ExecutionPolicy` of `rfc-planetary-mesh.md`: whom the submitter accepts as executor."""

    max_price: Mana | None = None
    min_reputation_ppm: SharePpm | None = None
    region_filter: Annotated[tuple[Region, ...], MaxLen(16)] = ()
    required_trust_scope: Name | None = None
    min_fuel_per_s: Annotated[int, Range(0, 1 << 50)] | None = None  # shown by a benchmark's receipt; 0: any, but shown


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job. Required: who submits it, what runs, on what, for how much, until when."""

    KIND: ClassVar[str] = "icn-lite/job/1"
    AUTHOR: ClassVar[str] = "submitter"
    name: Name
    submitter: Did
    nonce: Nonce
    created_at: EpochS
    runtime: Runtime
    input: InputSpec
    budget: Budget
    deadline: EpochS
    description: Sentence | None = None
    category: JobCategory | None = None
    code: CodeSpec = field(default_factory=CodeSpec)
    compute: ComputeRequirements = field(default_factory=ComputeRequirements)
    storage: StorageRequirements = field(default_factory=StorageRequirements)
    network: NetworkRequirements = field(default_factory=NetworkRequirements)
    payment_type: PaymentType = PaymentType.MANA
    redundancy: RedundancyLevel = field(default_factory=NoRedundancy)
    privacy: PrivacyLevel = PrivacyLevel.PUBLIC
    accuracy: AccuracySpec | None = None
    determinism: bool = True
    selection_strategy: SelectionStrategy = SelectionStrategy.BEST_SCORE
    policy: ExecutionPolicy = field(default_factory=ExecutionPolicy)
    is_interactive: bool = False
    expected_output_schema_cid: Cid | None = None
    qos_profile: Name | None = None
    min_reputation_ppm: SharePpm | None = None

    @property
    def id(self) -> Cid:
        """The job's id: the CID of its document."""
        return Cid.of_dag_cbor(document.encode(self))

    @property
    def copies(self) -> int:
        """How many executors run each shard at first."""
        return self.redundancy.n if isinstance(self.redundancy, Full) else 1


# Every field of `MeshJobParams` (and of `JobRequest` around it) and where it lives in `JobSpec`.
MESH_JOB_PARAMS: Final[Mapping[str, str]] = {
    "job_id": "id",
    "originator_did": "submitter",
    "wasm_cid": "runtime.module",
    "description": "description",
    "workflow_type": "code.workflow_type",
    "stages": "code.stages",
    "is_interactive": "is_interactive",
    "input_data_cid": "input.data",
    "input_cids": "input.plan",
    "expected_output_schema_cid": "expected_output_schema_cid",
    "max_acceptable_bid_tokens": "budget.max_total",
    "deadline": "deadline",
    "qos_profile": "qos_profile",
    "resources_required": "compute",
    "timeout_seconds": "compute.timeout_ms",
    "max_fuel": "compute.max_fuel",
    "execution_policy": "policy",
}


def check_job(job: JobSpec, now_s: int) -> None:
    """Refuse a job that no executor could honour, with the key that is at fault (J001, J002, J010)."""
    if job.deadline <= now_s:
        raise JobError(
            f"deadline: {job.deadline} is {now_s - job.deadline} s in the past",
            hint="set a deadline after now",
            code=JobErrorCode.DEADLINE_EXCEEDED,
        )
    if isinstance(job.runtime, WasmRuntime) and not job.code.stages:
        _check_input(job)
    if job.budget.max_total < job.copies:
        raise JobError(
            f"budget.max_total: {job.budget.max_total} mana cannot pay {job.copies} executions",
            hint="raise budget.max_total",
            code=JobErrorCode.INSUFFICIENT_BUDGET,
        )


def _check_input(job: JobSpec) -> None:
    given = job.input
    if given.data is not None and given.plan is not None:
        raise JobError("input: expected either one block (data) or a plan of shards (plan), found both")
    if given.data is None and given.plan is None and job.category is None:
        raise JobError("input: expected one block (data) or a plan of shards (plan), found none", hint="name an input")
    if given.data is not None and given.shards != 1:
        raise JobError(f"input.shards: expected 1 for a single block, found {given.shards}")
    if given.plan is not None and given.shards == 0:
        raise JobError("input.shards: expected the number of shards in the plan, found 0")
