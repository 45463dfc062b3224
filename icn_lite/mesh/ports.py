"""What the mesh expects of the room above it: one object with a method for each kind of message.

Everything handed up is bounded, read and signature-checked. A handler answers by returning, or refuses by raising
an `IcnLiteError`, which becomes a CoAP code and a sentence (`refusals.py`). Handlers bear duplicates: a
retransmission, a repeated request or a relay may hand the same document up twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from icn_lite.model.bid import Bid
from icn_lite.model.cid import Cid
from icn_lite.model.document import Sealed
from icn_lite.model.messages import (
    AssignJobV1,
    CapabilityAdvertisementV1,
    JobAnnouncementV1,
    JobStatusUpdateV1,
    LeaseReturnV1,
)
from icn_lite.model.receipt import ExecutionReceipt


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a message came from: an address, not an identity. Who speaks is said by the signature."""

    host: str
    port: int
    transport: Literal["udp", "tcp"]


class MeshHandlers(Protocol):
    """The node, as the mesh sees it."""

    async def own_capability(self) -> bytes:
        """The signed advertisement of this node."""
        ...

    async def on_capability(self, sealed: Sealed[CapabilityAdvertisementV1], remote: Remote) -> bytes:
        """A peer's advertisement; returns our own, signed."""
        ...

    async def on_announcement(self, sealed: Sealed[JobAnnouncementV1], remote: Remote) -> None: ...

    async def on_bid(self, sealed: Sealed[Bid], remote: Remote) -> None: ...

    async def on_lease(self, sealed: Sealed[AssignJobV1], remote: Remote) -> None: ...

    async def on_lease_return(self, sealed: Sealed[LeaseReturnV1], remote: Remote) -> None: ...

    async def on_status(self, sealed: Sealed[JobStatusUpdateV1], remote: Remote) -> None: ...

    async def on_receipt(self, sealed: Sealed[ExecutionReceipt], remote: Remote) -> bytes:
        """A receipt; returns the signed `ReceiptAckV1`, only once the receipt is stored."""
        ...

    async def block(self, cid: Cid) -> bytes | None:
        """The bytes of a block that peers may have, or None."""
        ...

    async def receipt(self, cid: Cid) -> bytes | None:
        """The signed block of a receipt that peers may have, or None."""
        ...

    async def job_status(self, job: Cid) -> bytes | None:
        """The status of a job as DAG-CBOR, at most `limits.DOORBELL_BYTES`, or None."""
        ...

    def on_refused(self, kind: str) -> None:
        """Count one refusal; `kind` is one word of a closed list (`refusals.KINDS`)."""
        ...
