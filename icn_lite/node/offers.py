"""The executor's bids: which announced jobs it offers to run, kept until a lease may no longer come.

A bid is committed before it is sent, so that a lease which names it is honoured after a restart too.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from icn_lite.device.profile import GuestPolicy
from icn_lite.market.match import Refusal
from icn_lite.market.price import Prices
from icn_lite.mesh import table as paths
from icn_lite.model import document
from icn_lite.model.bid import Bid
from icn_lite.model.capability import NodeCapability
from icn_lite.model.cid import Cid
from icn_lite.model.document import Sealed
from icn_lite.model.errors import BidError, JobErrorCode, PeerRefused, VerificationError
from icn_lite.model.job import JobSpec, WasmRuntime
from icn_lite.model.messages import AssignJobV1, JobAnnouncementV1
from icn_lite.model.receipt import Health
from icn_lite.node import bid_policy
from icn_lite.node.shell import Shell
from icn_lite.store.db import Store
from icn_lite.store.jobs import JobRecord, JobRole
from icn_lite.work import bidding

BIDS: Final = "bid"
MAX_BIDS_KEPT: Final = 256  # bids that may still become leases; each holds a job of about 1 kB
MAX_OPEN_SHARDS: Final = 128  # over all leases; inputs of a MiB each stay within a phone's storage
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExecutorPolicy:
    """What the device allows, asked anew each time."""

    capability: Callable[[], NodeCapability]
    health: Callable[[], Health | None]
    may_take: Callable[[], str]  # why no new work may be taken now; empty if it may
    may_begin: Callable[[], str]  # why nothing that was taken may begin now; empty if it may
    begins: Callable[[], None]  # a guest is about to run
    guest: GuestPolicy
    prices: Prices
    outlook: Callable[[], bidding.Outlook]
    disk_mb: int  # that blocks may take
    bid_policy: tuple[str, ...]  # the owner's command, asked before every bid; empty: none
    offline_ms: int  # for how long the device may be out of reach with its leases
    workers: int
    advert: Callable[[], Cid | None]
    ran: Callable[[int, int], None]  # fuel and CPU milliseconds of a run that ended


@dataclass(frozen=True, slots=True)
class KeptBid:
    """A bid that we made, with what it was made for."""

    cid: Cid
    bid: Bid
    job: JobSpec
    block: bytes


@dataclass(frozen=True, slots=True)
class Load:
    """What is under way over all leases: shards that still cost power, and the fuel that they may still use."""

    shards: int
    fuel: int


class Offers:
    """The bids of one executor."""

    def __init__(self, shell: Shell, policy: ExecutorPolicy, load: Callable[[], Load]) -> None:
        self._shell = shell
        self._policy = policy
        self._load = load
        self._kept: OrderedDict[Cid, KeptBid] = OrderedDict()
        self.declined: OrderedDict[Cid, Refusal] = OrderedDict()  # the last ones last
        self._bidding = asyncio.Lock()  # an announcement that is heard twice at the same moment gets one bid

    async def start(self) -> None:
        """Know again what was offered before the last end."""
        for key in await self._shell.storage.run(lambda store: store.journal.keys(BIDS)):
            job_id = Cid.parse(key)

            def read(store: Store, key: str = key, job_id: Cid = job_id) -> tuple[list[bytes], bytes | None]:
                return store.journal.replay(BIDS, key), store.blocks.get(job_id)

            entries, data = await self._shell.storage.run(read)
            if data is not None:
                signed = document.unseal(Bid, entries[0])
                job = document.decode(JobSpec, data)
                self._kept[job_id] = KeptBid(signed.cid, signed.document, job, signed.block)

    async def on_announcement(self, sealed: Sealed[JobAnnouncementV1]) -> None:
        """Bid on an announced job, or note why not; the answer to the announcement doesn't wait for it."""
        async with self._bidding:
            kept = await self._bid(sealed)
        if kept is not None:
            self._shell.tasks.spawn(self._send(kept), f"bid to {kept.bid.job_originator.short}")

    async def _bid(self, sealed: Sealed[JobAnnouncementV1]) -> KeptBid | None:
        """The bid that was made for this job before, or a new one, or None."""
        job_id = sealed.document.job.id
        kept = self._kept.get(job_id)
        if kept is None:
            view = self._view()
            answer = bidding.consider(sealed.document, view, job_id)
            if held_back := self._policy.may_take():
                answer = _held_back(held_back, sealed.document.job, view)
            elif isinstance(answer, Bid):
                answer = await bid_policy.ask(self._policy.bid_policy, sealed.document.job, answer, view)
            if isinstance(answer, Refusal):
                self._decline(job_id, answer)
                return None
            signed = document.seal(answer, self._shell.signer)
            kept = KeptBid(signed.cid, answer, sealed.document.job, signed.block)
            await self._keep(job_id, kept)
        return kept

    def check_lease(self, lease: AssignJobV1) -> KeptBid:
        """The bid that a lease honours; raises `BidError` or `VerificationError` when there is none."""
        kept = self._kept.get(lease.job_id)
        if lease.executor != self._shell.did:
            raise VerificationError(f"this lease is for {lease.executor}, not for this node")
        if kept is None or kept.cid != lease.bid or kept.bid.job_originator != lease.originator:
            raise BidError("unknown", f"no bid of ours on job {lease.job_id} is open", hint="announce the job again")
        runtime = kept.job.runtime
        if not isinstance(runtime, WasmRuntime) or lease.module != runtime.module:
            raise VerificationError("the lease names another module than the job that we bid on")
        if lease.max_fuel != kept.job.compute.max_fuel:
            raise VerificationError("the lease names another fuel limit than the job that we bid on")
        fault = bidding.check_lease_against_bid([grant.price for grant in lease.shards], kept.bid, kept.job)
        if fault:
            raise VerificationError(fault)
        _check_shards(lease, kept.job)
        return kept

    async def _keep(self, job_id: Cid, kept: KeptBid) -> None:
        oldest = next(iter(self._kept)) if len(self._kept) >= MAX_BIDS_KEPT else None

        def commit(store: Store) -> None:
            store.blocks.put(job_id, document.encode(kept.job))
            store.blocks.pin(f"bid:{job_id}", [job_id])
            store.journal.append(BIDS, str(job_id), kept.block)
            store.jobs.upsert(JobRecord(job_id, JobRole.EXECUTOR, "bid", job_id))
            if oldest is not None:
                store.journal.drop(BIDS, str(oldest))
                store.blocks.unpin(f"bid:{oldest}")

        await self._shell.storage.transact(commit)
        self._kept[job_id] = kept
        if oldest is not None:
            self._kept.pop(oldest, None)

    async def _send(self, kept: KeptBid) -> None:
        try:
            await self._shell.send(kept.bid.job_originator, paths.BIDS, kept.block)
        except PeerRefused as refused:
            message = f"the bid was refused: {refused.message}"
            self._decline(kept.bid.job_id, Refusal(JobErrorCode.NO_EXECUTOR_AVAILABLE, "refused", message))

    def _decline(self, job: Cid, refusal: Refusal) -> None:
        log.info("no bid on job %s: %s %s", job, refusal.code.value, refusal.message)
        self.declined[job] = refusal
        self.declined.move_to_end(job)
        while len(self.declined) > MAX_BIDS_KEPT:
            self.declined.popitem(last=False)

    def _view(self) -> bidding.BidderView:
        load = self._load()
        return bidding.BidderView(
            did=self._shell.did,
            capability=self._policy.capability(),
            prices=self._policy.prices,
            outlook=self._policy.outlook(),
            nonce=self._shell.nonce(),
            now_s=self._shell.clock.wall_s(),
            open_shards=load.shards,
            open_fuel=load.fuel,
            max_open_shards=MAX_OPEN_SHARDS,
            max_output_bytes=self._policy.guest.output_bytes,
            disk_mb=self._policy.disk_mb,
            attestation=self._policy.advert(),
            offline_ms=self._policy.offline_ms,
        )


def _held_back(words: str, job: JobSpec, view: bidding.BidderView) -> Refusal:
    """The device's own words, which tell more than the allowance that it advertises; numbers where there are any."""
    lack = bidding.lacking(job, view)
    if lack is None:
        return Refusal(JobErrorCode.RESOURCE_EXHAUSTED, "device", words)
    return replace(lack, message=f"{words}; {lack.message}")


def _check_shards(lease: AssignJobV1, job: JobSpec) -> None:
    """Refuse shards that the announced job doesn't have; which input belongs to which one only the plan says."""
    if lease.stage != 0:
        raise VerificationError(f"expected stage 0 of a job without a workflow, found {lease.stage}")
    indices = [grant.index for grant in lease.shards]
    if len(set(indices)) != len(indices):
        raise VerificationError("the lease names a shard twice")
    if max(indices) >= job.input.shards:
        raise VerificationError(f"the lease names shard {max(indices)}, the job has {job.input.shards}")
    if job.input.data is not None and lease.shards[0].input != job.input.data:
        raise VerificationError(f"input of shard 0: expected {job.input.data}, found {lease.shards[0].input}")
