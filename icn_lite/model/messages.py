"""Every `MeshProtocolMessage` of `rfc-planetary-mesh.md` §5.1, each a document of its own kind.

All of them travel as signed blocks. What gives somebody a right or a duty (bid, lease, membership) names its audience,
its job or cooperative, its expiry and a nonce, so that it cannot be replayed elsewhere; an interactive input names its
executor, its job and its one place in the conversation. Times are durations from receipt where something depends on
them; wall clocks are claims.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, TypeAlias

from icn_lite.model.anchor import AnchorAck
from icn_lite.model.bid import Bid
from icn_lite.model.capability import NodeCapability
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError
from icn_lite.model.job import JobSpec
from icn_lite.model.membership import Membership, Revocation
from icn_lite.model.parcel import Notice, Parcel, Reply
from icn_lite.model.receipt import ExecutionReceipt
from icn_lite.model.schema import MaxLen, Range
from icn_lite.model.status import JobStatus, StandardJobStatus
from icn_lite.model.units import DurationMs, EpochS, Fuel, Mana, Name, Nonce, Sentence, ShardIndex, Uri

MAX_ENDPOINTS: Final = 4
MAX_LEASE_SHARDS: Final = 32  # keeps a lease under 4 KiB; a device takes several leases
MAX_INLINE_BYTES: Final = 1024  # interactive payloads above this travel by CID

Endpoints: TypeAlias = Annotated[tuple[Uri, ...], MaxLen(MAX_ENDPOINTS)]
Sequence: TypeAlias = Annotated[int, Range(0, (1 << 53) - 1)]
InlinePayload: TypeAlias = Annotated[bytes, MaxLen(MAX_INLINE_BYTES)]


@dataclass(frozen=True, slots=True)
class CapabilityAdvertisementV1:
    """A node tells who it is, where it is reached, and what it offers."""

    KIND: ClassVar[str] = "icn-lite/capability/1"
    AUTHOR: ClassVar[str] = "node"
    node: Did
    capability: NodeCapability
    endpoints: Endpoints
    seq: Sequence
    valid_ms: DurationMs = 600_000
    version: Name = "0"


@dataclass(frozen=True, slots=True)
class JobAnnouncementV1:
    """An originator announces a job and how long it takes bids."""

    KIND: ClassVar[str] = "icn-lite/announcement/1"
    AUTHOR: ClassVar[str] = "originator"
    originator: Did
    job: JobSpec
    bidding_ms: DurationMs
    endpoints: Endpoints
    nonce: Nonce


@dataclass(frozen=True, slots=True)
class JobInterestV1:
    """Non-binding interest in a job, before or instead of a bid."""

    KIND: ClassVar[str] = "icn-lite/interest/1"
    AUTHOR: ClassVar[str] = "executor"
    executor: Did
    originator: Did
    job_id: Cid
    nonce: Nonce
    note: Sentence | None = None


@dataclass(frozen=True, slots=True)
class ShardGrant:
    """One shard of a lease: its input and what it earns."""

    index: ShardIndex
    input: Cid
    price: Mana


@dataclass(frozen=True, slots=True)
class AssignJobV1:
    """A lease: `executor` may run these shards for `duration_ms` from receipt. Its CID names the lease."""

    KIND: ClassVar[str] = "icn-lite/lease/1"
    AUTHOR: ClassVar[str] = "originator"
    originator: Did
    executor: Did
    job_id: Cid
    bid: Cid
    nonce: Nonce
    stage: Annotated[int, Range(0, 63)]
    module: Cid
    shards: Annotated[tuple[ShardGrant, ...], MaxLen(MAX_LEASE_SHARDS, least=1)]
    duration_ms: DurationMs
    max_fuel: Fuel
    issued_at: EpochS
    pays_late: bool = False


@dataclass(frozen=True, slots=True)
class JobStatusUpdateV1:
    """An executor tells how far it is."""

    KIND: ClassVar[str] = "icn-lite/status/1"
    AUTHOR: ClassVar[str] = "executor_did"
    job_id: Cid
    executor_did: Did
    originator: Did
    seq: Sequence
    status: JobStatus
    shard: ShardIndex | None = None


@dataclass(frozen=True, slots=True)
class LeaseReturnV1:
    """An executor gives shards of a lease back unrun, with its reason."""

    KIND: ClassVar[str] = "icn-lite/lease-return/1"
    AUTHOR: ClassVar[str] = "executor"
    executor: Did
    originator: Did
    job_id: Cid
    lease: Cid
    shards: Annotated[tuple[ShardIndex, ...], MaxLen(MAX_LEASE_SHARDS, least=1)]
    nonce: Nonce
    reason: Sentence


@dataclass(frozen=True, slots=True)
class ExecutionReceiptAvailableV1:
    """A receipt can be had: its CID and key facts, for those who keep an index."""

    KIND: ClassVar[str] = "icn-lite/receipt-available/1"
    AUTHOR: ClassVar[str] = "executor"
    executor: Did
    job_id: Cid
    receipt_cid: Cid
    status: StandardJobStatus
    seq: Sequence


@dataclass(frozen=True, slots=True)
class ReceiptAckV1:
    """The originator has a receipt in its store; only this ends the executor's duty to deliver it."""

    KIND: ClassVar[str] = "icn-lite/receipt-ack/1"
    AUTHOR: ClassVar[str] = "originator"
    originator: Did
    executor: Did
    job_id: Cid
    receipt: Cid


@dataclass(frozen=True, slots=True)
class JobInteractiveInputV1:
    """Input for a running interactive job."""

    KIND: ClassVar[str] = "icn-lite/interactive-input/1"
    AUTHOR: ClassVar[str] = "source_user_did"
    job_id: Cid
    target_executor_did: Did
    source_user_did: Did
    sequence_num: Sequence
    payload_cid: Cid | None = None
    payload_inline: InlinePayload | None = None

    def __post_init__(self) -> None:
        if (self.payload_cid is None) == (self.payload_inline is None):
            raise DocumentError("expected either payload_cid or payload_inline")


@dataclass(frozen=True, slots=True)
class JobInteractiveOutputV1:
    """Output of a running interactive job."""

    KIND: ClassVar[str] = "icn-lite/interactive-output/1"
    AUTHOR: ClassVar[str] = "executor_did"
    job_id: Cid
    executor_did: Did
    target_originator_did: Did
    sequence_num: Sequence
    payload_cid: Cid | None = None
    payload_inline: InlinePayload | None = None
    is_final_chunk: bool = False
    output_key: Name | None = None

    def __post_init__(self) -> None:
        if self.payload_cid is not None and self.payload_inline is not None:
            raise DocumentError("expected payload_cid or payload_inline, found both")
        if self.payload_cid is None and self.payload_inline is None and not self.is_final_chunk:
            raise DocumentError("expected a payload in every chunk but the final one")


JobBidV1 = Bid  # the bid document is the message

# The variants of `MeshProtocolMessage`, by the RFC's names, and the documents of our own beside them.
MESSAGES: Final[dict[str, type]] = {
    "CapabilityAdvertisementV1": CapabilityAdvertisementV1,
    "JobAnnouncementV1": JobAnnouncementV1,
    "JobInterestV1": JobInterestV1,
    "JobBidV1": Bid,
    "AssignJobV1": AssignJobV1,
    "JobStatusUpdateV1": JobStatusUpdateV1,
    "ExecutionReceiptAvailableV1": ExecutionReceiptAvailableV1,
    "JobInteractiveInputV1": JobInteractiveInputV1,
    "JobInteractiveOutputV1": JobInteractiveOutputV1,
}
OWN_MESSAGES: Final[dict[str, type]] = {
    "AnchorAck": AnchorAck,
    "LeaseReturnV1": LeaseReturnV1,
    "ReceiptAckV1": ReceiptAckV1,
    "ExecutionReceipt": ExecutionReceipt,
    "Membership": Membership,
    "Revocation": Revocation,
    "Notice": Notice,
    "Parcel": Parcel,
    "Reply": Reply,
}
