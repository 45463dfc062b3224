"""The bridge: what is announced here goes up, what is announced there comes down, within each job's policy.

    here                      this bridge                            the upstream
    announcement  ──▶  JobWentUp, module laid down     ──▶  announce
    bid           ◀──  BidCameDown                     ◀──  BidMade
    lease         ──▶  inputs laid down                ──▶  assign
    output        ◀──  fetched when asked for          ◀──  get_block
    receipt       ◀──  handed in, its ack laid down    ◀──  ReceiptCame     (jobs from there: the other way round)

Everything that passes was signed by its author and passes as it is; a bridge signs nothing for anybody. What has to
survive a crash is on the disk before it is answered or confirmed: the way of each job and bid, and receipts until the
upstream has them. A receipt's bringer hears `Later` until the originator's own acknowledgement is there: so it keeps
what it has, and this bridge may be lost without loss. An event that can't be delivered now is postponed, and comes
again after a restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar

from icn_lite.bridge import upstream as up
from icn_lite.bridge.backoff import Backoff
from icn_lite.bridge.line import Kind
from icn_lite.bridge.outward import Outward
from icn_lite.bridge.upstream import Delivery, State, Upstream
from icn_lite.mesh import table as paths
from icn_lite.mesh.ports import MeshHandlers, Remote
from icn_lite.model.bid import Bid
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed, unseal
from icn_lite.model.errors import (
    BidError,
    IcnLiteError,
    Later,
    PeerError,
    PeerRefused,
    StoreError,
    UpstreamError,
    VerificationError,
)
from icn_lite.model.job import JobSpec, PrivacyLevel, WasmRuntime
from icn_lite.model.messages import (
    AssignJobV1,
    CapabilityAdvertisementV1,
    JobAnnouncementV1,
    LeaseReturnV1,
    ReceiptAckV1,
)
from icn_lite.model.receipt import ExecutionReceipt, read_receipt
from icn_lite.node.bridge_blocks import BridgeBlocks
from icn_lite.node.bridge_book import MAX_BIDS, BidCameDown, Book, Crossing, JobCameDown, JobWentUp, StoreOutbox
from icn_lite.node.config import Config
from icn_lite.node.control import Json
from icn_lite.node.shell import Shell

ADVERTISE_S: Final = 300.0  # an advertisement counts for ten minutes
EVENTS_AT_ONCE: Final = 16  # being delivered; each may wait for a silent peer
AGAIN_MS: Final = 2_000  # an event whose receiver is not reached now comes again; doubled at every try
LAST_AGAIN_MS: Final = 60_000
ACK_S: Final = 4.0  # a receipt's bringer waits so long for the acknowledgement; less than its own deadline
ACK_RETRY_S: Final = 5
MAX_ACKS: Final = 4_096  # in memory, 300 bytes each; the others are asked for again
ANSWER_S: Final = 6.0  # of an upstream, while somebody in the mesh waits, who gives up after ten
T = TypeVar("T")
HERE: Final = Remote("", 0, "tcp")
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Link:
    """One upstream and what waits for it."""

    upstream: Upstream
    outward: Outward


class Bridging:
    """The bridge of one node; also what lies beyond the mesh for the node itself (`node.beyond.Beyond`)."""

    def __init__(self, shell: Shell, config: Config, handlers: MeshHandlers, upstreams: list[Upstream]) -> None:
        self._shell = shell
        self._config = config
        self._handlers = handlers
        self._book = Book(shell)
        self.blocks = BridgeBlocks(shell, upstreams)
        self._links = {link.upstream.name: link for link in map(self._link, upstreams)}
        self._acks: OrderedDict[Cid, Sealed[ReceiptAckV1]] = OrderedDict()
        self._delivering = asyncio.Semaphore(EVENTS_AT_ONCE)

    def _link(self, upstream: Upstream) -> _Link:
        backoff = Backoff(Random(self._shell.nonce()))
        outbox = StoreOutbox(self._shell, upstream.name)
        outward = Outward(upstream, outbox, backoff, self._shell.clock.now_ms)
        outward.before = self.blocks.lay_down_output
        return _Link(upstream, outward)

    async def start(self) -> None:
        """Take up what was under way, and connect."""
        await self._book.open()
        for name, link in self._links.items():
            await link.outward.start()
            await link.upstream.start()
            self._shell.tasks.spawn(link.outward.run(), f"what leaves for {name}")
            self._shell.tasks.spawn(self._listen(link.upstream), f"what comes from {name}")
        self._shell.tasks.spawn(self._advertise(), "advertising upstream")

    async def close(self) -> None:
        """Disconnect."""
        for link in self._links.values():
            await link.upstream.close()

    # -- from this mesh

    async def on_announcement(self, sealed: Sealed[JobAnnouncementV1]) -> None:
        """A job of this mesh goes up, if it may; raises `Later` where too much waits."""
        job_id = sealed.document.job.id
        if job_id in self._book.jobs:
            return
        reason = self._stays(sealed.document.job)
        if reason:
            log.info("job %s stays here: %s", job_id, reason)
            return
        await self._book.write(job_id, JobWentUp(sealed.block))
        for link in self._links.values():
            link.outward.announce(sealed)
        runtime = sealed.document.job.runtime
        if isinstance(runtime, WasmRuntime):
            upstreams = [link.upstream for link in self._links.values()]
            work = self.blocks.lay_down([runtime.module], sealed.signer, upstreams)
            self._shell.tasks.spawn(work, f"module of job {job_id}")

    def _stays(self, job: JobSpec) -> str:
        """Why a job doesn't cross; empty if it may."""
        scope, regions = job.policy.required_trust_scope, job.policy.region_filter
        if job.privacy is not PrivacyLevel.PUBLIC:
            return f"its privacy is {job.privacy.value}"
        if scope is not None and scope not in self._config.trust_scopes:
            return f"it is for the circle {scope!r}"
        if regions and self._config.region is not None and self._config.region not in regions:
            return f"it is for {', '.join(regions)}"
        return ""

    def carries(self, job: Cid) -> bool:
        """Whether a job came down here: bids on it and receipts for it go up."""
        crossing = self._book.jobs.get(job)
        return crossing is not None and crossing.upstream is not None

    async def on_bid(self, sealed: Sealed[Bid]) -> None:
        """A bid on a job that came down."""
        crossing, link = self._down(sealed.document.job_id)
        if sealed.document.job_originator != crossing.announcement.signer:
            raise BidError("originator", f"job {sealed.document.job_id} is {crossing.announcement.signer}'s")
        await in_time(link.upstream.bid(sealed, crossing.route))

    async def on_lease(self, sealed: Sealed[AssignJobV1]) -> None:
        """A lease for somebody beyond."""
        lease = sealed.document
        crossing = self._book.jobs.get(lease.job_id)
        way = crossing.bids.get(lease.bid) if crossing is not None else None
        if (
            crossing is None
            or way is None
            or way[0] not in self._links
            or crossing.announcement.signer != sealed.signer
        ):
            raise VerificationError(f"no bid of {lease.executor} on job {lease.job_id} came through this bridge")
        name, route = way
        upstream = self._links[name].upstream
        await in_time(upstream.assign(sealed, route))
        blocks = [lease.module, *(grant.input for grant in lease.shards)]
        work = self.blocks.lay_down(blocks, sealed.signer, [upstream])
        self._shell.tasks.spawn(work, f"inputs of lease {sealed.cid}")

    async def on_lease_return(self, sealed: Sealed[LeaseReturnV1]) -> None:
        """Shards of a job that came down go back up."""
        crossing, link = self._down(sealed.document.job_id)
        await in_time(link.upstream.give_back(sealed, crossing.route))

    async def on_receipt(self, sealed: Sealed[ExecutionReceipt]) -> bytes:
        """Keep a receipt until it is up; answers with its originator's acknowledgement, or `Later`."""
        try:
            crossing, link = self._down(sealed.document.job)
        except VerificationError as unknown:  # forgotten perhaps: no reason for its author to give it up
            raise Later(unknown.message, retry_after_s=300) from unknown
        originator = crossing.announcement.signer
        ack = self._acks.get(sealed.cid) or await self._ask_ack(link.upstream, sealed.cid, originator)
        if ack is not None:
            return ack.block
        await link.outward.take_receipt(sealed, crossing.route)
        await self._anchor(sealed)
        if sealed.document.output is not None:  # while its executor is here
            self._shell.tasks.spawn(self.blocks.hold(sealed.document.output, sealed.signer), "output on its way up")
        until_s = asyncio.get_running_loop().time() + ACK_S
        while link.upstream.health().state is State.UP and sealed.cid not in self._acks:
            left_s = until_s - asyncio.get_running_loop().time()
            if left_s <= 0 or not await self._shell.changed.wait(left_s):
                break
        ack = self._acks.get(sealed.cid)
        if ack is None:
            raise Later(
                f"receipt {sealed.cid} goes up; {originator} has not acknowledged it", retry_after_s=ACK_RETRY_S
            )
        return ack.block

    async def _ask_ack(self, upstream: Upstream, receipt: Cid, originator: Did) -> Sealed[ReceiptAckV1] | None:
        try:
            ack = await in_time(upstream.acknowledgement(receipt))
        except UpstreamError:
            return None
        if ack is None or ack.signer != originator:
            return None
        self._remember(ack)
        return ack

    def _remember(self, ack: Sealed[ReceiptAckV1]) -> None:
        self._acks[ack.document.receipt] = ack
        if len(self._acks) > MAX_ACKS:
            self._acks.popitem(last=False)
        self._shell.changed.ring()

    def _down(self, job: Cid) -> tuple[Crossing, _Link]:
        crossing = self._book.jobs.get(job)
        link = self._links.get(crossing.upstream or "") if crossing is not None else None
        if crossing is None or link is None:
            raise VerificationError(f"job {job} did not come through this bridge")
        return crossing, link

    # -- from an upstream

    async def _listen(self, upstream: Upstream) -> None:
        async for delivery in upstream.events():
            await self._delivering.acquire()
            self._shell.tasks.spawn(self._deliver(upstream, delivery), f"from {upstream.name}")

    async def _deliver(self, upstream: Upstream, delivery: Delivery) -> None:
        """Do with an event what it asks for; confirmed when that is done or will never be."""
        try:
            await self._take(upstream, delivery.event)
        except PeerRefused as refused:
            if refused.retry_after_s is not None or refused.response.startswith("5."):
                await delivery.postpone(_again_ms(delivery))
                return
            log.info("%s: %s", type(delivery.event).__name__, refused.message)
        except (Later, PeerError, StoreError) as error:
            log.info("%s waits: %s", type(delivery.event).__name__, error.message)
            await delivery.postpone(_again_ms(delivery))
            return
        except IcnLiteError as error:
            log.info("%s is left out: %s", type(delivery.event).__name__, error.message)
        finally:
            self._delivering.release()
        await delivery.confirm()

    async def _take(self, upstream: Upstream, event: up.Event) -> None:
        match event:
            case up.JobAnnounced():
                await self._job_came(upstream, event)
            case up.BidMade(bid, route):
                await self._bid_came(upstream, bid, route)
            case up.LeaseGiven(lease, _):
                crossing, _ = self._down(lease.document.job_id)
                if lease.signer != crossing.announcement.signer:
                    raise VerificationError(f"the lease is signed by {lease.signer}, who has no part in its job")
                await self._hand(lease.document.executor, paths.LEASES, lease.block)
            case up.LeaseReturned(given, _):
                await self._hand(self._up(given.document.job_id), paths.LEASE_RETURNS, given.block)
            case up.ReceiptCame(receipt, _):
                await self._receipt_came(upstream, receipt)
            case up.Acknowledged(ack):
                crossing_of = self._book.jobs.get(ack.document.job_id)
                if crossing_of is not None and crossing_of.announcement.signer == ack.signer:
                    self._remember(ack)

    async def _job_came(self, upstream: Upstream, event: up.JobAnnounced) -> None:
        sealed, route, announcement = event.announcement, event.route, event.announcement.document
        job_id = announcement.job.id
        if job_id in self._book.jobs:
            return  # from here, or it came before
        reason = self._stays(announcement.job)
        if reason:
            log.info("job %s does not come down: %s", job_id, reason)
            return
        left_ms = announcement.bidding_ms - event.age_ms
        if left_ms <= 0:
            return
        await self._book.write(job_id, JobCameDown(sealed.block, upstream.name, route))
        self._shell.announce(paths.JOBS, sealed.block, left_ms)
        for peer in self._shell.peers.live(self._shell.clock.now_ms()):
            self._shell.tasks.spawn(self._shell.send(peer.did, paths.JOBS, sealed.block), f"job to {peer.did.short}")
        self._shell.tasks.spawn(self._handlers.on_announcement(sealed, HERE), "job to ourselves")

    async def _bid_came(self, upstream: Upstream, sealed: Sealed[Bid], route: up.Route) -> None:
        job_id = sealed.document.job_id
        originator = self._up(job_id)
        crossing = self._book.jobs[job_id]
        if sealed.cid not in crossing.bids:
            if len(crossing.bids) >= MAX_BIDS:
                raise BidError("crowd", f"{MAX_BIDS} bids on job {job_id} came down already")
            await self._book.write(job_id, BidCameDown(sealed.cid, sealed.signer, upstream.name, route))
        await self._hand(originator, paths.BIDS, sealed.block)

    async def _receipt_came(self, upstream: Upstream, sealed: Sealed[ExecutionReceipt]) -> None:
        originator = self._up(sealed.document.job)
        if originator == self._shell.did:
            ack = unseal(ReceiptAckV1, await self._handlers.on_receipt(sealed, HERE))
        else:
            ack = await self._shell.hand_in(originator, sealed.block)
        if ack.signer != originator:
            raise PeerError(f"the acknowledgement is signed by {ack.signer}, not by {originator}")
        await self._anchor(sealed)
        await in_time(upstream.acknowledge(ack))

    async def _anchor(self, receipt: Sealed[ExecutionReceipt]) -> None:
        """A receipt that passes, for those upstreams that take all of them; one that has no room goes without."""
        for link in self._links.values():
            if link.upstream.anchors:
                try:
                    await link.outward.take_receipt(receipt, up.NOWHERE)
                except Later as later:
                    log.warning("receipt %s is not anchored: %s", receipt.cid, later.message)

    def _up(self, job: Cid) -> Did:
        """The originator here of a job that went up."""
        crossing = self._book.jobs.get(job)
        if crossing is None or crossing.upstream is not None:
            raise VerificationError(f"job {job} did not go up through this bridge")
        return crossing.announcement.signer

    async def _hand(self, to: Did, path: str, block: bytes) -> None:
        """To somebody in this mesh, who may be this node."""
        if to != self._shell.did:
            await self._shell.send(to, path, block)
            return
        match path:
            case paths.BIDS:
                await self._handlers.on_bid(unseal(Bid, block), HERE)
            case paths.LEASES:
                await self._handlers.on_lease(unseal(AssignJobV1, block), HERE)
            case paths.LEASE_RETURNS:
                await self._handlers.on_lease_return(unseal(LeaseReturnV1, block), HERE)

    # -- beyond, for this node itself

    def knows(self, did: Did) -> bool:
        """Whether somebody takes part in a job that crosses here, from beyond."""
        return did in self._book.beyond

    def announce(self, path: str, block: bytes) -> None:
        """A job of this node itself."""
        if path == paths.JOBS:
            sealed = unseal(JobAnnouncementV1, block)
            if sealed.signer == self._shell.did:
                self._shell.tasks.spawn(self.on_announcement(sealed), "job of ours upstream")

    async def send(self, to: Did, path: str, block: bytes) -> None:
        """A bid, a lease or a return of this node's own."""
        match path:
            case paths.BIDS:
                await self.on_bid(unseal(Bid, block))
            case paths.LEASES:
                await self.on_lease(unseal(AssignJobV1, block))
            case paths.LEASE_RETURNS:
                await self.on_lease_return(unseal(LeaseReturnV1, block))
            case _:
                raise PeerError(f"{path} of {to} is not carried by a bridge")

    async def hand_in(self, to: Did, block: bytes) -> Sealed[ReceiptAckV1]:
        """A receipt of this node's own."""
        try:
            return unseal(ReceiptAckV1, await self.on_receipt(read_receipt(block)))
        except Later as later:
            raise PeerError(later.message) from later

    async def fetch(self, of: Did, cid: Cid, most: int) -> bytes:
        """A block or blob from upstream."""
        return await self.blocks.fetch(cid, most)

    # -- how it stands

    async def _advertise(self) -> None:
        while True:
            adverts = [await self._handlers.own_capability()]
            adverts += [peer.block for peer in self._shell.peers.live(self._shell.clock.now_ms())]
            for advert in adverts:
                for link in self._links.values():
                    link.outward.advertise(unseal(CapabilityAdvertisementV1, advert))
            await asyncio.sleep(ADVERTISE_S)

    def status(self) -> Json:
        """What `icn-lite bridge status` shows."""
        went_up = sum(crossing.upstream is None for crossing in self._book.jobs.values())
        return {
            "jobs_up": went_up,
            "jobs_down": len(self._book.jobs) - went_up,
            "upstreams": [_shown(link) for link in self._links.values()],
        }


def _again_ms(delivery: Delivery) -> int:
    return min(LAST_AGAIN_MS, AGAIN_MS << min(delivery.tries - 1, 8))


def _shown(link: _Link) -> Json:
    health, line = link.outward.health(), link.outward.line
    return {
        "upstream": link.upstream.name,
        "state": health.state.value,
        "sentence": health.sentence(),
        "lag": line.count(Kind.RECEIPT),
        "announcements": line.count(Kind.ANNOUNCEMENT),
        "adverts": line.count(Kind.ADVERT),
        "refused": link.outward.aside,
        "dropped": line.dropped,
        "sent": health.sent,
        "received": health.received,
        "last_error": health.last_error or None,
    }


async def in_time(call: Coroutine[object, object, T]) -> T:
    """What an upstream answers while somebody waits for it; raises `UpstreamError`."""
    try:
        async with asyncio.timeout(ANSWER_S):
            return await call
    except TimeoutError as late:
        raise UpstreamError(f"no answer within {ANSWER_S:.0f} s") from late
