"""Documents of every kind that the mesh carries, and a node's handlers that remember what they were given."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from icn_lite.mesh.ports import Remote
from icn_lite.mesh.streams import TCP_BYTES, UDP_BYTES, Piece, Streams, Where
from icn_lite.model.bid import AvailabilityWindow, Bid, CapabilityProof, ComputeScore
from icn_lite.model.capability import NodeCapability, NodeRole
from icn_lite.model.cid import Cid
from icn_lite.model.cose import KeySigner
from icn_lite.model.document import Document, Sealed, seal
from icn_lite.model.errors import IcnLiteError
from icn_lite.model.job import Architecture, Budget, InputSpec, JobSpec, WasmRuntime
from icn_lite.model.messages import (
    AssignJobV1,
    CapabilityAdvertisementV1,
    JobAnnouncementV1,
    JobStatusUpdateV1,
    LeaseReturnV1,
    ReceiptAckV1,
    ShardGrant,
)
from icn_lite.model.receipt import (
    NO_SIGNATURE,
    Clock,
    ExecutionReceipt,
    ReceiptStatus,
    sign_receipt,
)
from icn_lite.model.status import Submitted

SIGNER = KeySigner(b"\x01" * 32)
OTHER = KeySigner(b"\x02" * 32)
NONCE = bytes(range(16))
BLOCK = b"a small block"
JOB_ID = Cid.of_raw(b"job")
MODULE = Cid.of_raw(b"module")


def advertisement(signer: KeySigner = SIGNER, seq: int = 1) -> Sealed[CapabilityAdvertisementV1]:
    capability = NodeCapability(
        profile="generic", roles=(NodeRole.EXECUTE,), architecture=next(iter(Architecture)), cpu_cores=2,
        memory_mb=512, max_pages=160, workers=1, fuel_per_s=1_000_000,
    )  # fmt: skip
    return seal(CapabilityAdvertisementV1(signer.did, capability, ("coap://127.0.0.1:5683",), seq), signer)


def announcement(size: int = 0) -> Sealed[JobAnnouncementV1]:
    """A job's announcement; `size` characters of description make it longer."""
    job = JobSpec(
        name="verify", submitter=SIGNER.did, nonce=NONCE, created_at=1, runtime=WasmRuntime(MODULE),
        input=InputSpec(data=Cid.of_raw(BLOCK)), budget=Budget(100), deadline=1 << 33,
        description="d" * size if size else None,
    )  # fmt: skip
    return seal(JobAnnouncementV1(SIGNER.did, job, 1000, ("coap://127.0.0.1:5683",), NONCE), SIGNER)


def bid(signer: KeySigner = SIGNER) -> Sealed[Bid]:
    return seal(
        Bid(
            bidder=signer.did, job_originator=OTHER.did, job_id=JOB_ID, nonce=NONCE, price=5, completion_time=10,
            completion_ms=1000, valid_until=20, valid_ms=5000, compute_score=ComputeScore(1000, 64, 1),
            availability=AvailabilityWindow(1000, 1), max_shards=4, capability_proof=CapabilityProof(),
        ),
        signer,
    )  # fmt: skip


def lease(shards: int = 1) -> Sealed[AssignJobV1]:
    grants = tuple(ShardGrant(index, Cid.of_raw(bytes([index])), 5) for index in range(shards))
    return seal(
        AssignJobV1(
            originator=SIGNER.did, executor=OTHER.did, job_id=JOB_ID, bid=MODULE, nonce=NONCE, stage=0, module=MODULE,
            shards=grants, duration_ms=60_000, max_fuel=10**9, issued_at=1,
        ),
        SIGNER,
    )  # fmt: skip


def lease_return() -> Sealed[LeaseReturnV1]:
    return seal(LeaseReturnV1(SIGNER.did, OTHER.did, JOB_ID, MODULE, (0,), NONCE, "too hot"), SIGNER)


def status() -> Sealed[JobStatusUpdateV1]:
    return seal(JobStatusUpdateV1(JOB_ID, SIGNER.did, OTHER.did, 1, Submitted()), SIGNER)


def receipt(signer: KeySigner = SIGNER) -> Sealed[ExecutionReceipt]:
    return sign_receipt(
        ExecutionReceipt(
            job=JOB_ID, shard=0, stage=0, module=MODULE, input=Cid.of_raw(BLOCK), status=ReceiptStatus.COMPLETED,
            fuel_used=10, fuel_limit=100, schedule="icn-fuel-1", meter="1", peak_pages=1, host_calls=0, cpu_ms=1,
            wall_ms=1, executor=signer.did, seq=0, clock=Clock(NONCE, 1, 1), price=5, core_signature=NO_SIGNATURE,
            output=Cid.of_raw(b"out"),
        ),
        signer,
    )  # fmt: skip


def ack(received: Cid, signer: KeySigner = OTHER) -> Sealed[ReceiptAckV1]:
    return seal(ReceiptAckV1(signer.did, SIGNER.did, JOB_ID, received), signer)


@dataclass
class Node:
    """Handlers that note what they were given, and refuse with `refuse_with` when that is set."""

    signer: KeySigner = OTHER
    blocks: dict[Cid, bytes] = field(default_factory=dict)
    receipts: dict[Cid, bytes] = field(default_factory=dict)
    statuses: dict[Cid, bytes] = field(default_factory=dict)
    streams: Streams = field(default_factory=Streams)
    heard: list[Sealed[Document]] = field(default_factory=list)
    remotes: list[Remote] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    refuse_with: IcnLiteError | None = None
    hold: asyncio.Event | None = None
    blocks_read: int = 0
    carrier: None = None
    device_pack: bytes | None = None

    async def _note(self, sealed: Sealed[Document], remote: Remote) -> None:
        self.heard.append(sealed)
        self.remotes.append(remote)
        if self.hold is not None:
            await self.hold.wait()
        if self.refuse_with is not None:
            raise self.refuse_with

    async def own_capability(self) -> bytes:
        return advertisement(self.signer).block

    async def device(self) -> bytes | None:
        return self.device_pack

    async def on_capability(self, sealed: Sealed[CapabilityAdvertisementV1], remote: Remote) -> bytes:
        await self._note(sealed, remote)
        return await self.own_capability()

    async def on_announcement(self, sealed: Sealed[JobAnnouncementV1], remote: Remote) -> None:
        await self._note(sealed, remote)

    async def on_bid(self, sealed: Sealed[Bid], remote: Remote) -> None:
        await self._note(sealed, remote)

    async def on_lease(self, sealed: Sealed[AssignJobV1], remote: Remote) -> None:
        await self._note(sealed, remote)

    async def on_lease_return(self, sealed: Sealed[LeaseReturnV1], remote: Remote) -> None:
        await self._note(sealed, remote)

    async def on_status(self, sealed: Sealed[JobStatusUpdateV1], remote: Remote) -> None:
        await self._note(sealed, remote)

    async def on_receipt(self, sealed: Sealed[ExecutionReceipt], remote: Remote) -> bytes:
        await self._note(sealed, remote)
        return ack(sealed.cid, self.signer).block

    async def block(self, cid: Cid) -> bytes | None:
        self.blocks_read += 1
        return self.blocks.get(cid)

    async def receipt(self, cid: Cid) -> bytes | None:
        return self.receipts.get(cid)

    async def job_status(self, job: Cid) -> bytes | None:
        return self.statuses.get(job)

    async def log(self, lease: Cid, where: Where, remote: Remote) -> Piece | None:
        most = TCP_BYTES if remote.transport == "tcp" else UDP_BYTES
        return await self.streams.read(lease, where, most, remote.speaker.did if remote.speaker is not None else None)

    def on_refused(self, kind: str) -> None:
        self.refused.append(kind)
