"""A stranger: an identity and an endpoint of the test's own, which says to a node over real CoAP what no node would."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

from mesh_members import Members, certificate
from node_world import COOPERATIVE, PATIENCE_S

from icn_lite.market.settle import account_of
from icn_lite.mesh import table as paths
from icn_lite.mesh.client import Client
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.ports import Remote
from icn_lite.mesh.streams import Piece, Where
from icn_lite.model.bid import AvailabilityWindow, Bid, CapabilityProof, ComputeScore
from icn_lite.model.capability import NodeCapability, NodeRole
from icn_lite.model.cid import Cid
from icn_lite.model.cose import KeySigner
from icn_lite.model.document import Sealed, seal
from icn_lite.model.errors import NotSupported, PeerRefused
from icn_lite.model.job import Architecture, Budget, InputSpec, JobSpec, WasmRuntime
from icn_lite.model.messages import (
    AssignJobV1,
    CapabilityAdvertisementV1,
    JobAnnouncementV1,
    LeaseReturnV1,
    ReceiptAckV1,
    ShardGrant,
)
from icn_lite.model.receipt import NO_SIGNATURE, Clock, ExecutionReceipt, ReceiptStatus, sign_receipt
from icn_lite.node.node import Node
from icn_lite.node.shell import Pulse
from icn_lite.wasm.prepare import FUEL_SCHEDULE, METER

NONCE = bytes(range(16))
OUTPUT = b"an answer"
FAR_S = 4_102_444_800  # 2100: the node judges it by the real clock


@dataclass
class Stranger:
    """Handlers that take what comes and note it; `blocks` is what it serves, whatever its bytes are."""

    name: str
    roles: tuple[NodeRole, ...] = (NodeRole.EXECUTE,)
    blocks: dict[Cid, bytes] = field(default_factory=dict)
    announced: list[Sealed[JobAnnouncementV1]] = field(default_factory=list)
    leases: list[Sealed[AssignJobV1]] = field(default_factory=list)
    bids: list[Sealed[Bid]] = field(default_factory=list)
    receipts: list[Sealed[ExecutionReceipt]] = field(default_factory=list)
    returns: list[Any] = field(default_factory=list)
    heard: Pulse = field(default_factory=Pulse)

    def __post_init__(self) -> None:
        self.signer = KeySigner(self.name.encode().ljust(32, b"\2")[:32])
        self.did = self.signer.did
        membership = certificate(COOPERATIVE, self.did, name="world", expires_at=FAR_S)
        members = Members(self.signer, [membership.block])
        self.endpoint = Endpoint(EndpointConfig("127.0.0.1", 0, admission=members), self)
        self._seq = 0

    async def start(self, node: Node) -> None:
        """Listen, and greet a node until both know each other."""
        await self.endpoint.start()
        self.client = Client(self.endpoint)
        self.node, self.uri = node, node.shell.endpoints[0]
        await self.client.advertise(self.uri)
        async with asyncio.timeout(PATIENCE_S):
            while not any(peer.did == self.did for peer in node.shell.peers.live(node.clock.now_ms())):
                await node.shell.changed.wait(0.2)
            while not self._proven():
                node.shell.changed.ring()
                await self.heard.wait(0.2)

    def _proven(self) -> bool:
        candidate = self.node.shell.peers.candidates.get(self.endpoint.addresses()[0])
        return candidate is not None and candidate.did == self.did

    async def close(self) -> None:
        await self.endpoint.close()

    async def until(self, found: Any) -> Any:
        """Wait until `found()` is something; returns it."""
        async with asyncio.timeout(PATIENCE_S):
            while not (value := found()):
                await self.heard.wait(0.2)
        return value

    # -- what it says

    async def post(self, path: str, block: bytes) -> None:
        await self.client.post(self.uri, path, block)

    async def refused(self, path: str, block: bytes) -> PeerRefused:
        """Post what has to be refused; returns the refusal."""
        try:
            await self.client.post(self.uri, path, block)
        except PeerRefused as refusal:
            return refusal
        raise AssertionError(f"{path}: taken, though it had to be refused")

    def advert(self) -> Sealed[CapabilityAdvertisementV1]:
        self._seq += 1
        capability = NodeCapability(
            profile="stranger", roles=self.roles, architecture=Architecture.X86_64, cpu_cores=4, memory_mb=4096,
            max_pages=4096, workers=2, fuel_per_s=100_000_000, meters=(METER,),
        )  # fmt: skip
        return seal(CapabilityAdvertisementV1(self.did, capability, self.endpoint.addresses(), self._seq), self.signer)

    def bid(self, job: JobSpec, **changed: Any) -> Sealed[Bid]:
        """A bid that is in order, but for what is changed."""
        bid = Bid(
            bidder=self.did, job_originator=job.submitter, job_id=job.id, nonce=NONCE, price=40, completion_time=1,
            completion_ms=1000, valid_until=1, valid_ms=3_600_000, compute_score=ComputeScore(100_000_000, 4096, 4),
            availability=AvailabilityWindow(1_000_000, 2), max_shards=32, capability_proof=CapabilityProof(),
        )  # fmt: skip
        return seal(replace(bid, **changed), self.signer)

    def receipt_for(self, of: Sealed[AssignJobV1], seq: int = 0, prev: Cid | None = None, **changed: Any) -> Any:
        """A receipt for a lease's first shard that is in order, but for what is changed."""
        grant = of.document.shards[0]
        receipt = ExecutionReceipt(
            job=of.document.job_id, shard=grant.index, stage=0, module=of.document.module, input=grant.input,
            status=ReceiptStatus.COMPLETED, fuel_used=10, fuel_limit=of.document.max_fuel, schedule=FUEL_SCHEDULE,
            meter=METER, peak_pages=1, host_calls=0, cpu_ms=1, wall_ms=1, executor=self.did, seq=seq, prev=prev,
            clock=Clock(NONCE, 1, 1), price=grant.price, core_signature=NO_SIGNATURE, lease=of.cid,
            output=Cid.of_raw(OUTPUT), exit_code=None,
        )  # fmt: skip
        return sign_receipt(replace(receipt, **changed), self.signer)

    def give_back(self, of: Sealed[AssignJobV1], **changed: Any) -> Sealed[LeaseReturnV1]:
        """A lease's return that is in order, but for what is changed."""
        given, shards = of.document, tuple(grant.index for grant in of.document.shards)
        message = LeaseReturnV1(self.did, given.originator, given.job_id, of.cid, shards, NONCE, "too hot")
        return seal(replace(message, **changed), self.signer)

    # -- as an originator

    def job(self, data: bytes, module: bytes, **changed: Any) -> JobSpec:
        """A job of the stranger's own over one input, whose blocks it serves."""
        for block in (data, module):
            self.blocks[Cid.of_raw(block)] = block
        now_s = self.node.clock.wall_s()
        spec = JobSpec(
            name="strange", submitter=self.did, nonce=NONCE, created_at=now_s, deadline=now_s + 600,
            runtime=WasmRuntime(Cid.of_raw(module), memory_pages=40), budget=Budget(10_000),
            input=InputSpec(data=Cid.of_raw(data), total_bytes=len(data)),
        )  # fmt: skip
        return replace(spec, **changed)

    def announcement(self, job: JobSpec) -> Sealed[JobAnnouncementV1]:
        message = JobAnnouncementV1(self.did, job, 60_000, self.endpoint.addresses(), job.nonce)
        return seal(message, self.signer)

    async def announce(self, job: JobSpec) -> Sealed[Bid]:
        """Announce a job; returns the node's bid."""
        await self.post(paths.JOBS, self.announcement(job).block)
        found: Sealed[Bid] = await self.until(lambda: next((b for b in self.bids if b.document.job_id == job.id), None))
        return found

    def lease(self, job: JobSpec, won: Sealed[Bid], **changed: Any) -> Sealed[AssignJobV1]:
        """A lease over the whole job that is in order, but for what is changed."""
        assert isinstance(job.runtime, WasmRuntime)
        assert job.input.data is not None
        lease = AssignJobV1(
            originator=self.did, executor=won.signer, job_id=job.id, bid=won.cid, nonce=NONCE, stage=0,
            module=job.runtime.module, shards=(ShardGrant(0, job.input.data, won.document.price),),
            duration_ms=120_000, max_fuel=job.compute.max_fuel, issued_at=job.created_at,
        )  # fmt: skip
        return seal(replace(lease, **changed), self.signer)

    # -- what it hears (icn_lite.mesh.ports.MeshHandlers)

    carrier = None

    async def own_capability(self) -> bytes:
        return self.advert().block

    async def device(self) -> None:
        return None

    async def on_capability(self, sealed: Sealed[CapabilityAdvertisementV1], remote: Remote) -> bytes:
        self.heard.ring()
        return self.advert().block

    async def on_announcement(self, sealed: Sealed[JobAnnouncementV1], remote: Remote) -> None:
        self.announced.append(sealed)
        self.heard.ring()

    async def on_bid(self, sealed: Sealed[Bid], remote: Remote) -> None:
        self.bids.append(sealed)
        self.heard.ring()

    async def on_lease(self, sealed: Sealed[AssignJobV1], remote: Remote) -> None:
        if sealed.cid not in [lease.cid for lease in self.leases]:
            self.leases.append(sealed)
        self.heard.ring()

    async def on_lease_return(self, sealed: Any, remote: Remote) -> None:
        self.returns.append(sealed)
        self.heard.ring()

    async def on_status(self, sealed: Any, remote: Remote) -> None:
        raise NotSupported("not heard")

    async def on_receipt(self, sealed: Sealed[ExecutionReceipt], remote: Remote) -> bytes:
        self.receipts.append(sealed)
        self.heard.ring()
        receipt = sealed.document
        return seal(ReceiptAckV1(self.did, receipt.executor, receipt.job, sealed.cid), self.signer).block

    async def on_sync(self, frame: bytes, remote: Remote) -> bytes:
        raise NotSupported("this stranger syncs nothing")

    async def block(self, cid: Cid) -> bytes | None:
        self.heard.ring()
        return self.blocks.get(cid)

    async def receipt(self, cid: Cid) -> bytes | None:
        return None

    async def job_status(self, job: Cid) -> bytes | None:
        return None

    async def log(self, lease: Cid, where: Where, remote: Remote) -> Piece | None:
        return None

    def on_refused(self, kind: str) -> None:
        self.heard.ring()


async def dump(node: Node) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table but the counters, and the neighbours, who may be heard of at any time."""

    def read(store: Any) -> dict[str, list[tuple[Any, ...]]]:
        names = [row[0] for row in store._db.rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        kept = [name for name in names if name not in ("counters", "peers", "peer_endpoints")]
        return {name: sorted(store._db.rows(f"SELECT * FROM {name}"), key=repr) for name in kept}

    return await node.shell.storage.run(read)


async def counted(node: Node) -> dict[str, int]:
    """The refusals by kind, as `status` shows them."""
    await node._store_refusals()
    return dict((await node.status())["refused"])


async def balance(node: Node, stranger: Stranger) -> int:
    return await node.shell.storage.run(lambda store: store.ledger.balance(account_of(stranger.did)))
