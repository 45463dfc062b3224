"""What the node does with each message of the mesh: hands it to the driver that it concerns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.ports import Carrier, Remote
from icn_lite.mesh.streams import PIECE_BYTES, Piece, Where
from icn_lite.model.bid import Bid
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import NotSupported, VerificationError
from icn_lite.model.messages import (
    AssignJobV1,
    CapabilityAdvertisementV1,
    JobAnnouncementV1,
    JobStatusUpdateV1,
    LeaseReturnV1,
)
from icn_lite.model.receipt import ExecutionReceipt
from icn_lite.node.beyond import ThroughBridges
from icn_lite.node.execution import Executions
from icn_lite.node.job_run import encode_status
from icn_lite.node.origination import Originations
from icn_lite.node.shell import Shell
from icn_lite.node.syncing import Syncing
from icn_lite.store.peers import Found

if TYPE_CHECKING:
    from icn_lite.node.bridging import Bridging


class Handlers:
    """The node, as the mesh sees it. A role that the node doesn't have has no driver here."""

    def __init__(self, shell: Shell, own_advert: Callable[[], bytes], refused: Callable[[str], None]) -> None:
        self._shell = shell
        self._own_advert = own_advert
        self._refused = refused
        self._opened = asyncio.Event()
        self.originations: Originations | None = None
        self.executions: Executions | None = None
        self.carrier: Carrier | None = None  # where the node is guarded
        self.syncing: Syncing | None = None  # set when the endpoint listens
        self.device_state: Callable[[], bytes] | None = None
        self.bridge: Bridging | None = None  # where this node is one
        self.through: ThroughBridges | None = None  # where it isn't

    def open(self, originations: Originations | None, executions: Executions | None) -> None:
        """The drivers are ready; what came in before has waited for this (the mesh bounds how long)."""
        self.originations, self.executions = originations, executions
        self._opened.set()

    async def own_capability(self) -> bytes:
        """Our signed advertisement."""
        return self._own_advert()

    async def device(self) -> bytes | None:
        """What our sensors said last."""
        return self.device_state() if self.device_state is not None else None

    async def on_capability(self, sealed: Sealed[CapabilityAdvertisementV1], remote: Remote) -> bytes:
        """Somebody greets us; its addresses are worth a greeting of our own before they count as proven."""
        now_ms = self._shell.clock.now_ms()
        new = self._shell.peers.heard(sealed, (), Found.MET, now_ms)
        # On a link without a router, or after it moved, where it was heard may be the only address that works.
        heard_at = [str(PeerAddress(remote.host, remote.port))] if remote.transport == "udp" else []
        self._shell.peers.propose((*sealed.document.endpoints, *heard_at), Found.MET, now_ms)
        self._shell.changed.ring()
        if new and self.originations is not None:
            await self.originations.peer_found(sealed.signer)
        return self._own_advert()

    async def on_announcement(self, sealed: Sealed[JobAnnouncementV1], remote: Remote) -> None:
        """A job is announced; on a bridge it goes up as well, unless another bridge brought it."""
        await self._opened.wait()
        self._learn(sealed.signer, remote)
        if self.executions is not None:
            await self.executions.offers.on_announcement(sealed)
        if self.bridge is not None and remote.speaker is not None and remote.speaker.did == sealed.signer:
            await self.bridge.on_announcement(sealed)

    async def on_bid(self, sealed: Sealed[Bid], remote: Remote) -> None:
        """A bid on a job of ours, or on one that came down a bridge."""
        await self._opened.wait()
        self._learn(sealed.signer, remote)
        if self.bridge is not None and self.bridge.carries(sealed.document.job_id):
            await self.bridge.on_bid(sealed)
            return
        await (await self._originator()).on_bid(sealed)

    async def on_lease(self, sealed: Sealed[AssignJobV1], remote: Remote) -> None:
        """A lease for us, or for somebody beyond."""
        await self._opened.wait()
        self._learn(sealed.signer, remote)
        if self.bridge is not None and sealed.document.executor != self._shell.did:
            await self.bridge.on_lease(sealed)
            return
        if self.executions is None:
            raise NotSupported("this node runs no work for others")
        await self.executions.on_lease(sealed)

    async def on_lease_return(self, sealed: Sealed[LeaseReturnV1], remote: Remote) -> None:
        """Shards come back."""
        await self._opened.wait()
        if self.bridge is not None and self.bridge.carries(sealed.document.job_id):
            await self.bridge.on_lease_return(sealed)
            return
        await (await self._originator()).on_lease_return(sealed)

    async def on_status(self, sealed: Sealed[JobStatusUpdateV1], remote: Remote) -> None:
        """Progress of a shard. Receipts are what counts; nothing is kept of it."""
        if (await self._originator()).jobs.get(sealed.document.job_id) is None:
            raise NotSupported(f"job {sealed.document.job_id} is none of ours")

    async def on_receipt(self, sealed: Sealed[ExecutionReceipt], remote: Remote) -> bytes:
        """A receipt for a job of ours, or for one that came down a bridge."""
        await self._opened.wait()
        if self.bridge is not None and not self._is_ours(sealed.document.job):
            return await self.bridge.on_receipt(sealed)
        originations = await self._originator()
        try:
            return await originations.on_receipt(sealed)
        except VerificationError:  # it may be the proof of a fork
            if self.syncing is not None:
                await self.syncing.keep_evidence(sealed)
            raise

    async def on_sync(self, frame: bytes, remote: Remote) -> bytes:
        """A neighbour syncs with us."""
        await self._opened.wait()
        if self.syncing is None:
            raise NotSupported("this node syncs nothing")
        return await self.syncing.on_sync(frame, remote)

    async def block(self, cid: Cid) -> bytes | None:
        """A block of ours; of a large blob the node or leaf of this CID. A bridge looks upstream as well."""
        found = await self._shell.storage.run(lambda store: store.blocks.block(cid))
        return found if found is not None or self.bridge is None else await self.bridge.blocks.block(cid)

    async def receipt(self, cid: Cid) -> bytes | None:
        """A receipt that we hold."""
        return await self._shell.storage.run(lambda store: store.receipts.get(cid))

    async def job_status(self, job: Cid) -> bytes | None:
        """The state of a job of ours."""
        run = self.originations.jobs.get(job) if self.originations else None
        return encode_status(run) if run else None

    async def log(self, lease: Cid, where: Where, remote: Remote) -> Piece | None:
        """What a guest of ours has said, for who leased it."""
        await self._opened.wait()
        if self.executions is None:
            raise NotSupported("this node runs no work for others")
        asker = remote.speaker.did if remote.speaker is not None else None
        return await self.executions.logs.read(lease, where, PIECE_BYTES[remote.transport], asker)

    def on_refused(self, kind: str) -> None:
        """One refusal more."""
        self._refused(kind)

    def _learn(self, author: Did, remote: Remote) -> None:
        if self.through is not None:
            self.through.learn(author, remote)

    def _is_ours(self, job: Cid) -> bool:
        return self.originations is not None and job in self.originations.jobs

    async def _originator(self) -> Originations:
        await self._opened.wait()
        if self.originations is None:
            raise NotSupported("this node submits no jobs")
        return self.originations
