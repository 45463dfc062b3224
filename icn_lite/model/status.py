"""Job statuses: those of `enhanced-mesh-job-system.md` §2 on the wire, and the five standard ones.

`rfc-planetary-mesh.md` §4.2 asks for a clear mapping from the detailed statuses to `StandardJobStatus`, which is
what receipts and outside systems carry: `standard()`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, ClassVar, Final, TypeAlias

from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import FailureReason
from icn_lite.model.schema import Range
from icn_lite.model.units import Name, Sentence

Percent: TypeAlias = Annotated[int, Range(0, 100)]
StageIndex: TypeAlias = Annotated[int, Range(0, 63)]


class StandardJobStatus(Enum):
    """The five statuses of `icn_types::jobs::StandardJobStatus`."""

    PENDING = "Pending"
    RUNNING = "Running"
    COMPLETED_SUCCESSFULLY = "CompletedSuccessfully"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


@dataclass(frozen=True, slots=True)
class Created:
    """Not submitted yet."""

    TAG: ClassVar[str] = "Created"


@dataclass(frozen=True, slots=True)
class Submitted:
    """Announced to the network."""

    TAG: ClassVar[str] = "Submitted"


@dataclass(frozen=True, slots=True)
class Assigned:
    """An executor holds a lease."""

    TAG: ClassVar[str] = "Assigned"
    node_id: Did


@dataclass(frozen=True, slots=True)
class Running:
    """A stage is executing."""

    TAG: ClassVar[str] = "Running"
    node_id: Did
    current_stage_index: StageIndex | None = None
    current_stage_id: Name | None = None
    progress_percent: Percent | None = None
    status_message: Sentence | None = None


@dataclass(frozen=True, slots=True)
class PendingUserInput:
    """Paused until somebody answers."""

    TAG: ClassVar[str] = "PendingUserInput"
    node_id: Did
    prompt_cid: Cid | None = None
    current_stage_index: StageIndex | None = None
    current_stage_id: Name | None = None


@dataclass(frozen=True, slots=True)
class AwaitingNextStage:
    """A stage is done and the next is being prepared."""

    TAG: ClassVar[str] = "AwaitingNextStage"
    node_id: Did
    next_stage_index: StageIndex
    next_stage_id: Name


@dataclass(frozen=True, slots=True)
class Completed:
    """All work is done; the receipt says so."""

    TAG: ClassVar[str] = "Completed"
    node_id: Did
    receipt_cid: Cid


@dataclass(frozen=True, slots=True)
class Failed:
    """The job, or a stage of it, could not complete."""

    TAG: ClassVar[str] = "Failed"
    error: Sentence
    node_id: Did | None = None
    reason: FailureReason | None = None
    stage_index: StageIndex | None = None
    stage_id: Name | None = None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Called off by the originator or by governance."""

    TAG: ClassVar[str] = "Cancelled"


JobStatus: TypeAlias = (
    Created | Submitted | Assigned | Running | PendingUserInput | AwaitingNextStage | Completed | Failed | Cancelled
)

_STANDARD: Final[dict[type, StandardJobStatus]] = {
    Created: StandardJobStatus.PENDING,
    Submitted: StandardJobStatus.PENDING,
    Assigned: StandardJobStatus.PENDING,
    Running: StandardJobStatus.RUNNING,
    PendingUserInput: StandardJobStatus.RUNNING,
    AwaitingNextStage: StandardJobStatus.RUNNING,
    Completed: StandardJobStatus.COMPLETED_SUCCESSFULLY,
    Failed: StandardJobStatus.FAILED,
    Cancelled: StandardJobStatus.CANCELLED,
}


def standard(status: JobStatus) -> StandardJobStatus:
    """The standard status that a detailed one stands for."""
    return _STANDARD[type(status)]
