"""What the mesh expects of the room above it: one object with a method for each kind of message.

Everything handed up is bounded, read and signature-checked. A handler answers by returning, or refuses by raising
an `IcnLiteError`, which becomes a CoAP code and a sentence (`refusals.py`). Handlers bear duplicates: a
retransmission, a repeated request or a relay may hand the same document up twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from icn_lite.mesh.far import Far
from icn_lite.mesh.streams import Piece, Where
from icn_lite.model import cose
from icn_lite.model.bid import Bid
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.membership import MemberRole
from icn_lite.model.messages import (
    AssignJobV1,
    CapabilityAdvertisementV1,
    JobAnnouncementV1,
    JobStatusUpdateV1,
    LeaseReturnV1,
)
from icn_lite.model.parcel import Envelope
from icn_lite.model.receipt import ExecutionReceipt


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks in a session: a member with its roles, or somebody invited, who may join and nothing else."""

    did: Did
    roles: frozenset[MemberRole] = frozenset()
    cooperatives: tuple[Did, ...] = ()
    invitation: bytes | None = None
    admins: frozenset[Did] = frozenset()  # on whose word it was admitted, beside the cooperatives'


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a message came from: an address, not an identity.

    Who wrote a document is said by its signature, who handed it over by `speaker` where the channel is guarded.
    """

    host: str
    port: int
    transport: Literal["udp", "tcp", "letter"]  # a letter: the address is that of whoever brought it
    speaker: Speaker | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """A speaker, and for how many seconds from now it is admitted at most (None: for as long as a session lasts)."""

    speaker: Speaker
    for_s: int | None = None


class Admission(Protocol):
    """Who is let in, and what this node shows of itself. Without one an endpoint is open to everybody."""

    @property
    def signer(self) -> cose.Signer:
        """This node's key."""
        ...

    def cooperatives(self) -> tuple[Did, ...]:
        """Those of which this node holds a membership that counts, most important first."""
        ...

    def certificates(self, shared: Sequence[Did]) -> tuple[bytes, ...]:
        """This node's memberships of these cooperatives, at most `MAX_SHOWN`."""
        ...

    def admit(self, did: Did, certificates: Sequence[bytes]) -> Admitted:
        """What somebody with these certificates may do; raises `NotAdmitted`."""
        ...

    def invited(self, invitation: bytes) -> tuple[bytes, Did] | None:
        """The token and the cooperative of an invitation of ours that still holds, by its id."""
        ...

    async def join(self, speaker: Speaker) -> bytes:
        """Take an invited speaker in; returns its certificate."""
        ...

    async def renew(self, speaker: Speaker, block: bytes) -> bytes:
        """Give a member the successor of this certificate of its own; raises where that isn't due, or not for us."""
        ...

    async def on_revocation(self, block: bytes) -> None:
        """A signed revocation came in; raises for one that doesn't hold."""
        ...

    def revocations(self, start: int) -> bytes:
        """A page of the revocations known, from number `start`, as DAG-CBOR."""
        ...


class Carrier(Protocol):
    """Gossip and relay: what a node does with parcels, which it hands on whether they concern it or not."""

    async def on_rumour(self, envelope: Envelope, remote: Remote) -> None:
        """A parcel for everybody."""
        ...

    async def on_parcel(self, envelope: Envelope, remote: Remote) -> bytes:
        """A parcel for somebody; returns its signed `Reply`, or raises `PeerError` where nobody was reached."""
        ...

    def rumours(self, start: int) -> bytes:
        """The names of rumours from number `start` on, as DAG-CBOR."""
        ...

    def rumour(self, cid: Cid) -> bytes | None:
        """A rumour in its envelope, or None."""
        ...

    async def block_of(self, cid: Cid, way: Far, remote: Remote) -> bytes | None:
        """The bytes of a block that somebody further away has, or None."""
        ...


class MeshHandlers(Protocol):
    """The node, as the mesh sees it."""

    @property
    def carrier(self) -> Carrier | None:
        """Who hands parcels on, where this node does."""
        ...

    async def own_capability(self) -> bytes:
        """The signed advertisement of this node."""
        ...

    async def device(self) -> bytes | None:
        """The device's state as a SenML pack, where this node knows it."""
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

    async def on_sync(self, frame: bytes, remote: Remote) -> bytes:
        """One ask of a peer that syncs (`model/sync.py`); returns the frame that answers it."""
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

    async def log(self, lease: Cid, where: Where, remote: Remote) -> Piece | None:
        """What the guest of a shard has said, for the lease's originator; None where nothing is known of it."""
        ...

    def on_refused(self, kind: str) -> None:
        """Count one refusal; `kind` is one word of a closed list (`refusals.KINDS`)."""
        ...
