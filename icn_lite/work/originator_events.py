"""What happens to a job at its originator, and what follows from it: the events and effects of `originator.py`.

Events are stored in the journal before their effects are performed, so they hold plain model values.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final, TypeAlias

from icn_lite.market.outcome import ValidationOutcome
from icn_lite.market.settle import Transfer
from icn_lite.model.bid import Bid
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import FailureReason, JobErrorCode
from icn_lite.model.job import JobSpec, PlannedShard
from icn_lite.model.messages import ShardGrant
from icn_lite.model.receipt import ExecutionReceipt
from icn_lite.work.quorum import Judgement


class Phase(Enum):
    """Where a job stands at its originator."""

    BIDDING = "bidding"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED: Final = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED})


@dataclass(frozen=True, slots=True)
class Terms:
    """What a job's machine is made from."""

    job: JobSpec
    shards: tuple[PlannedShard, ...]
    bidding_ms: int
    lease_ms: int
    started_ms: int
    pays_late: bool = True  # for results that come after their lease, from what is left of the budget

    @property
    def deadline_ms(self) -> int:
        """The deadline as a duration from submission: wall clocks jump, durations don't."""
        return self.started_ms + (self.job.deadline - self.job.created_at) * 1000


@dataclass(frozen=True, slots=True)
class BidTaken:
    """A bid that `market/bids` found valid; `stake` is what it locks."""

    TAG: ClassVar[str] = "BidTaken"
    bid: Bid
    cid: Cid
    stake: int


@dataclass(frozen=True, slots=True)
class BiddingEnded:
    """The window is over; `ranking` lists the bids to use, best first (`market/select`)."""

    TAG: ClassVar[str] = "BiddingEnded"
    ranking: tuple[Cid, ...]


@dataclass(frozen=True, slots=True)
class LeaseTaken:
    """The executor accepted a lease."""

    TAG: ClassVar[str] = "LeaseTaken"
    lease: bytes


@dataclass(frozen=True, slots=True)
class LeaseRefused:
    """The executor declined a lease, or could not be reached with it."""

    TAG: ClassVar[str] = "LeaseRefused"
    lease: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class LeaseReturned:
    """The executor gave shards back unrun."""

    TAG: ClassVar[str] = "LeaseReturned"
    lease: bytes
    shards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LeaseLapsed:
    """The lease's duration passed with shards undelivered."""

    TAG: ClassVar[str] = "LeaseLapsed"
    lease: bytes


@dataclass(frozen=True, slots=True)
class ReceiptTaken:
    """A receipt that `check_receipt` accepted; it is in the store."""

    TAG: ClassVar[str] = "ReceiptTaken"
    receipt: ExecutionReceipt
    cid: Cid
    lease: bytes


@dataclass(frozen=True, slots=True)
class OutputStored:
    """The output block that a receipt names is in the store."""

    TAG: ClassVar[str] = "OutputStored"
    output: Cid


@dataclass(frozen=True, slots=True)
class OutputMissing:
    """`executor` could not be reached for an output that its receipt names; None: nobody who named it could."""

    TAG: ClassVar[str] = "OutputMissing"
    output: Cid
    executor: Did | None = None


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """The submitter called the job off."""

    TAG: ClassVar[str] = "CancelAsked"


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The job's deadline, or the patience for a free executor, is over."""

    TAG: ClassVar[str] = "DeadlinePassed"
    stuck: bool


@dataclass(frozen=True, slots=True)
class PauseOver:
    """An executor that refused or returned a lease may be asked again."""

    TAG: ClassVar[str] = "PauseOver"
    executor: Did


Event: TypeAlias = (
    BidTaken
    | BiddingEnded
    | LeaseTaken
    | LeaseRefused
    | LeaseReturned
    | LeaseLapsed
    | ReceiptTaken
    | OutputStored
    | OutputMissing
    | CancelAsked
    | DeadlinePassed
    | PauseOver
)


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the neighbours about the job."""


@dataclass(frozen=True, slots=True)
class OfferLease:
    """Sign and send a lease; `LeaseTaken` or `LeaseRefused` answers, both naming its nonce."""

    nonce: bytes
    executor: Did
    bid: Cid
    shards: tuple[ShardGrant, ...]
    duration_ms: int


@dataclass(frozen=True, slots=True)
class FetchOutput:
    """Bring an output block from the executor that made it; `OutputStored` or `OutputMissing` answers."""

    executor: Did
    output: Cid


@dataclass(frozen=True, slots=True)
class MoveMana:
    """Apply a transfer to the ledger, in the transaction that stores the event; its id makes it happen once."""

    transfer: Transfer


@dataclass(frozen=True, slots=True)
class Judged:
    """What validation made of one executor's result: moves its reputation."""

    executor: Did
    outcome: ValidationOutcome


@dataclass(frozen=True, slots=True)
class Settled:
    """A shard has its verdict."""

    shard: int
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Ended:
    """The job is over; the transfers that end it came before."""

    phase: Phase
    reason: FailureReason | None
    code: JobErrorCode | None
    sentence: str


Effect: TypeAlias = Announce | OfferLease | FetchOutput | MoveMana | Judged | Settled | Ended
