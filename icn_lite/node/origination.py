"""The originator's driver: performs what the job machines of `work/originator.py` ask for.

Every event goes one way: the machine answers with effects, the event and the transfers of mana among them are
committed in one transaction, and only then are the others performed. Should the commit fail, the machine is rebuilt
from the journal, so that memory never knows more than the disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Final, cast

from icn_lite.market.bids import validate_bid
from icn_lite.mesh import table as paths
from icn_lite.model import document
from icn_lite.model.bid import Bid
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import (
    BidError,
    DocumentError,
    IcnLiteError,
    JobError,
    PeerError,
    PeerRefused,
    StoreError,
    VerificationError,
)
from icn_lite.model.job import JobSpec, check_job
from icn_lite.model.messages import AssignJobV1, JobAnnouncementV1, LeaseReturnV1, ReceiptAckV1
from icn_lite.model.receipt import ExecutionReceipt
from icn_lite.node.bidders import Bidders, tender_of
from icn_lite.node.bookkeeping import apply_transfer, apply_transfers, check_chain, module_blocks, read_plan
from icn_lite.node.job_run import JobOpened, JobRun, record_of
from icn_lite.node.shell import Shell
from icn_lite.store.db import Store
from icn_lite.store.jobs import JobRecord, JobRole
from icn_lite.work import originator_events as ev
from icn_lite.work.originator import Originator
from icn_lite.work.replay import decode_event, encode_event

MACHINE: Final = "originator"
LEASE_FACTOR: Final = 4  # a lease lasts so many times the shard's own time limit, transfer and queueing included
MIN_LEASE_MS: Final = 30_000
MEETING_S: Final = 5.0
OFFER_TRIES: Final = 3
OUTPUT_TRIES: Final = 5
RETRY_MS: Final = 1_000  # doubled at every try
STORE_RETRY_MS: Final = 10_000  # between two tries to write what a full disk refused
MAX_OPEN_JOBS: Final = 64  # jobs of ours that run at once; more wait for their submitter to ask again
MAX_DUE: Final = 64  # events that time may bring about for one job in one tick; more wait for the next
MAX_ENDED_JOBS: Final = 256  # whose journals and outputs are kept; each takes some 10 kB and its outputs
log = logging.getLogger(__name__)


class Originations:
    """All jobs that this node submitted."""

    def __init__(self, shell: Shell, *, bidding_ms: int, pays_late: bool, welcome_mana: int) -> None:
        self._shell = shell
        self._bidding_ms = bidding_ms
        self._pays_late = pays_late
        self.jobs: dict[Cid, JobRun] = {}
        self._submitting = asyncio.Lock()
        self._bidders = Bidders(shell, welcome_mana)

    # -- life

    async def start(self) -> None:
        """Take every job up where the journal stopped."""
        for key in await self._shell.storage.run(lambda store: store.journal.keys(MACHINE)):
            job = Cid.parse(key)
            try:
                run = await self._rebuild(job)
            except (DocumentError, StoreError, JobError) as error:
                log.error("job %s is set aside, its journal can't be read: %s", job, error)
                continue
            self.jobs[job] = run
            if run.machine.phase not in ev.ENDED:
                await self._perform(run, run.machine.resume())

    async def submit(self, job: JobSpec) -> Cid:
        """Take a job whose blocks are in the store; raises `JobError` or `LedgerError` and changes nothing then."""
        async with self._submitting:
            return await self._shell.tasks.finish(self._submit(job), "submission")

    async def _submit(self, job: JobSpec) -> Cid:
        check_job(job, self._shell.clock.wall_s())
        running = sum(run.machine.phase not in ev.ENDED for run in self.jobs.values())
        if running >= MAX_OPEN_JOBS:
            raise JobError(f"{running} jobs run already", hint="wait for one of them, or cancel it")
        job_id, now_ms = job.id, self._shell.clock.now_ms()
        if job_id in self.jobs:
            return job_id
        lease_ms = max(MIN_LEASE_MS, LEASE_FACTOR * job.compute.timeout_ms)
        opened = JobOpened(job, self._bidding_ms, lease_ms, self._pays_late)
        shards = await self._shell.storage.run(lambda store: read_plan(store, job.input))
        machine = Originator(opened.terms(shards, now_ms))
        effects = machine.start()

        def commit(store: Store) -> None:
            if any(store.ledger.get(move.transfer.id) for move in effects if isinstance(move, ev.MoveMana)):
                raise JobError(f"job {job_id} was submitted before and is over", hint="submit it with another nonce")
            blocks = [shard.input for shard in shards] + [cid for cid in (job.input.plan,) if cid]
            store.blocks.pin(f"job:{job_id}", [*blocks, *module_blocks(job)])
            store.blocks.put(job_id, document.encode(job))
            store.journal.append(MACHINE, str(job_id), encode_event(opened, now_ms))
            apply_transfers(store, effects)
            store.jobs.upsert(JobRecord(job_id, JobRole.ORIGINATOR, machine.phase.value, job_id))

        await self._shell.storage.transact(commit)
        run = JobRun(machine, job_id, self._announcement(opened))
        self.jobs[job_id] = run
        await self._forget_oldest()
        await self._perform(run, effects)
        return job_id

    async def _forget_oldest(self) -> None:
        """Of the jobs that ended, the last ones are kept with all their events; older ones only as a row."""
        ended = [run for run in self.jobs.values() if run.machine.phase in ev.ENDED]
        for run in ended[: max(0, len(ended) - MAX_ENDED_JOBS)]:

            def forget(store: Store, job: str = str(run.job_id)) -> None:
                store.journal.drop(MACHINE, job)
                store.blocks.unpin(f"job:{job}")

            await self._shell.storage.transact(forget)
            del self.jobs[run.job_id]

    async def cancel(self, job: Cid) -> None:
        """Call a job off; what was paid stays paid."""
        await self._apply(self._run_of(job), ev.CancelAsked())

    async def tick(self) -> None:
        """Let time act on every job; the trouble of one is not that of the others."""
        for run in tuple(self.jobs.values()):
            if run.machine.phase not in ev.ENDED:
                try:
                    await self._let_time_act(run)
                except IcnLiteError as error:
                    log.error("job %s: %s", run.job_id, error)

    async def _let_time_act(self, run: JobRun) -> None:
        now_ms = self._shell.clock.now_ms()
        if run.machine.phase is ev.Phase.BIDDING:
            for peer in self._shell.peers.live(now_ms):
                self._announce_to(run, peer.did)  # again to those whom it didn't reach
        if run.machine.bidding_over(now_ms):
            await self._apply(run, ev.BiddingEnded(await self._bidders.rank(run.machine, now_ms)))
        for _ in range(MAX_DUE):
            event = run.machine.due(now_ms)
            if event is None or not await self._apply(run, event):
                break

    async def peer_found(self, peer: Did) -> None:
        """A new neighbour hears of the jobs that still take bids."""
        for run in self.jobs.values():
            if run.machine.phase is ev.Phase.BIDDING:
                self._announce_to(run, peer)

    @property
    def busy(self) -> bool:
        """Whether any job is under way."""
        return any(run.machine.phase not in ev.ENDED for run in self.jobs.values())

    # -- what peers send

    async def on_bid(self, sealed: Sealed[Bid]) -> None:
        """Take a bid, or refuse it with its reason."""
        bid = sealed.document
        run = self.jobs.get(bid.job_id)
        if run is None:
            raise BidError("job", f"no job {bid.job_id} is open here")
        bidder, proof = await self._bidders.look_up(bid, run.machine.terms.job)
        async with run.lock:
            known = run.machine.bids.get(bid.bidder)
            if known is not None and known.cid == sealed.cid:
                return  # heard before: the answer was lost
            stake = validate_bid(bid, tender_of(run.machine, run.job_id, self._shell.clock.now_ms()), bidder)
        if not await self._apply(run, ev.BidTaken(bid, sealed.cid, stake), blocks=[(sealed.cid, sealed.block), *proof]):
            raise BidError("closed", "the bidding closed, or another bid of yours was taken, at the same moment")

    async def on_receipt(self, sealed: Sealed[ExecutionReceipt]) -> bytes:
        """Store a receipt that fits, and acknowledge it; raises `VerificationError` for one that doesn't."""
        receipt = sealed.document
        run, nonce = self.check_receipt(receipt)
        if not await self._shell.storage.run(lambda store: store.receipts.has(sealed.cid)):
            await self._shell.storage.run(lambda store: check_chain(store, sealed))
            await self._take_receipt(run, ev.ReceiptTaken(receipt, sealed.cid, nonce), sealed)
        ack = ReceiptAckV1(self._shell.did, receipt.executor, receipt.job, sealed.cid)
        return document.seal(ack, self._shell.signer).block

    def check_receipt(self, receipt: ExecutionReceipt) -> tuple[JobRun, bytes]:
        """The job and the lease that a receipt is for; raises `VerificationError` where it fits none."""
        run = self.jobs.get(receipt.job)
        if run is None:
            raise VerificationError(f"job {receipt.job} is none of ours", hint="send receipts to the job's originator")
        nonce = run.leases.get(receipt.lease) if receipt.lease else None
        if nonce is None:
            raise VerificationError("the receipt names no lease of this job")
        run.machine.check_receipt(receipt, nonce)
        return run, nonce

    def open_leases(self) -> Iterator[Sealed[AssignJobV1]]:
        """Every lease whose shards are still owed."""
        for run in self.jobs.values():
            if run.machine.phase is ev.Phase.RUNNING:
                for offer in run.machine.offers(owed=True):
                    yield self._sealed_lease(run, offer)

    async def _take_receipt(self, run: JobRun, event: ev.ReceiptTaken, sealed: Sealed[ExecutionReceipt]) -> None:
        """Commit a receipt; of two that come at the same moment and exclude each other, one is refused."""
        if await self._apply(run, event, receipt=sealed):
            return
        if not await self._shell.storage.run(lambda store: store.receipts.has(sealed.cid)):
            raise VerificationError(f"another receipt for shard {event.receipt.shard} of this lease was taken before")

    async def on_lease_return(self, sealed: Sealed[LeaseReturnV1]) -> None:
        """Shards come back unrun."""
        given = sealed.document
        run = self._run_of(given.job_id)
        nonce = run.leases.get(given.lease)
        if nonce is None or run.machine.holder(nonce) != given.executor:
            raise VerificationError(f"{given.executor} holds no such lease of this job")
        log.info("%s gave back %d shards: %s", given.executor.short, len(given.shards), given.reason)
        await self._apply(run, ev.LeaseReturned(nonce, given.shards))

    # -- events

    async def _apply(
        self,
        run: JobRun,
        event: ev.Event,
        *,
        blocks: list[tuple[Cid, bytes]] | None = None,
        receipt: Sealed[ExecutionReceipt] | None = None,
    ) -> bool:
        """Advance a job by one event: commit, then perform. Returns whether it changed anything; else nothing is kept.

        What a receipt must not contradict is looked at again within the transaction: another job's may have come.
        """
        return await self._shell.tasks.finish(self._advance(run, event, blocks, receipt), type(event).__name__)

    async def _advance(
        self,
        run: JobRun,
        event: ev.Event,
        blocks: list[tuple[Cid, bytes]] | None,
        receipt: Sealed[ExecutionReceipt] | None,
    ) -> bool:
        async with run.lock:
            if run.ahead:
                await self._restore(run)
            now_ms = self._shell.clock.now_ms()
            if not run.machine.changes(event, now_ms):
                return False
            effects = run.machine.handle(event, now_ms)

            def commit(store: Store) -> None:
                for cid, data in blocks or ():
                    store.blocks.put(cid, data)
                if receipt is not None:
                    check_chain(store, receipt)
                    store.receipts.put_sealed(receipt)
                store.journal.append(MACHINE, str(run.job_id), encode_event(event, now_ms))
                if isinstance(event, ev.BidTaken):
                    apply_transfer(store, self._bidders.welcome(event.bid.bidder))
                if isinstance(event, ev.ReceiptTaken) and event.receipt.output:
                    store.blocks.pin(f"job:{run.job_id}", [event.receipt.output])
                apply_transfers(store, effects)
                store.jobs.upsert(record_of(run))

            run.ahead = True
            try:
                await self._shell.storage.transact(commit)
            except Exception:
                await self._restore(run)
                raise
            run.ahead = False
        await self._perform(run, effects)
        return True

    async def _restore(self, run: JobRun) -> None:
        """Make a machine again from what is on the disk."""
        rebuilt = await self._rebuild(run.job_id)
        run.machine, run.leases = rebuilt.machine, rebuilt.leases
        run.ahead = False

    async def _rebuild(self, job: Cid) -> JobRun:
        entries = await self._shell.storage.run(lambda store: store.journal.replay(MACHINE, str(job)))
        first = decode_event(JobOpened, entries[0])
        opened = first.event
        if not isinstance(opened, JobOpened):
            raise StoreError(f"the journal of job {job} does not begin with its opening")
        shards = await self._shell.storage.run(lambda store: read_plan(store, opened.job.input))
        machine = Originator(opened.terms(shards, first.at_ms))
        run = JobRun(machine, job, self._announcement(opened))
        last_ms, judged = first.at_ms, list[ev.Judged]()
        for data in entries[1:]:
            entry = decode_event(ev.Event, data)
            for effect in machine.handle(cast(ev.Event, entry.event), entry.at_ms):
                if isinstance(effect, ev.Judged):
                    judged.append(effect)
            last_ms = entry.at_ms
        self._shell.clock.advance_to(last_ms)
        if job not in self.jobs:  # at start, not when a failed commit is undone
            for verdict in judged:
                self._bidders.judge(verdict)
        for offer in machine.offers():
            self._sealed_lease(run, offer)
        return run

    # -- effects

    async def _perform(self, run: JobRun, effects: list[ev.Effect]) -> None:
        for effect in effects:
            match effect:
                case ev.Announce():
                    for peer in self._shell.peers.live(self._shell.clock.now_ms()):
                        self._announce_to(run, peer.did)
                    self._shell.announce(paths.JOBS, run.announcement.block, run.machine.terms.bidding_ms)
                case ev.OfferLease():
                    sealed = self._sealed_lease(run, effect).block
                    self._shell.tasks.spawn(self._offer(run, effect, sealed), f"lease to {effect.executor.short}")
                case ev.FetchOutput():
                    self._shell.tasks.spawn(self._fetch(run, effect), f"output from {effect.executor.short}")
                case ev.Judged():
                    self._bidders.judge(effect)
                case ev.Ended():
                    log.info("job %s %s: %s", run.job_id, effect.phase.value, effect.sentence)
                case ev.MoveMana() | ev.Settled():
                    pass  # done within the commit, or only of interest to those who watch
        self._shell.job_changed(run.job_id)
        self._shell.changed.ring()

    def _announcement(self, opened: JobOpened) -> Sealed[JobAnnouncementV1]:
        shell, job = self._shell, opened.job
        announcement = JobAnnouncementV1(shell.did, job, opened.bidding_ms, shell.endpoints, job.nonce)
        return document.seal(announcement, shell.signer)

    def _announce_to(self, run: JobRun, peer: Did) -> None:
        if peer not in run.announced:
            run.announced.add(peer)
            self._shell.tasks.spawn(self._announce(run, peer), f"announcement to {peer.short}")

    async def _announce(self, run: JobRun, peer: Did) -> None:
        try:
            await self._shell.send(peer, paths.JOBS, run.announcement.block)
        except PeerError:
            run.announced.discard(peer)
            raise

    def _sealed_lease(self, run: JobRun, offer: ev.OfferLease) -> Sealed[AssignJobV1]:
        """The signed lease of an offer. Ed25519 is deterministic, so an offer always becomes the same block."""
        issued_at = run.machine.terms.job.created_at
        sealed = document.seal(run.machine.lease_document(offer, issued_at), self._shell.signer)
        run.leases[sealed.cid] = offer.nonce
        return sealed

    async def _offer(self, run: JobRun, offer: ev.OfferLease, block: bytes) -> None:
        reason = "unreachable"
        if not self._shell.reaches(offer.executor):
            await self._shell.changed.wait(MEETING_S)  # just started: the first greetings are on their way
        for attempt in range(OFFER_TRIES):
            try:
                await self._shell.send(offer.executor, paths.LEASES, block)
            except PeerRefused as refusal:
                reason = refusal.message
                break
            except PeerError as error:
                reason = error.message
                await asyncio.sleep((RETRY_MS << attempt) / 1000)
            else:
                await self._apply(run, ev.LeaseTaken(offer.nonce))
                return
        log.info("%s takes no lease: %s", offer.executor.short, reason)
        await self._apply(run, ev.LeaseRefused(offer.nonce, reason[:256]))

    async def _fetch(self, run: JobRun, effect: ev.FetchOutput) -> None:
        """Bring an output. That our own disk is full is not the executor's fault: then we try on until the job ends."""
        failures = 0
        while failures < OUTPUT_TRIES and run.machine.phase not in ev.ENDED:
            try:
                await self._bring(run, effect)
                return
            except StoreError as error:
                log.error("output %s waits: %s", effect.output, error)
                await asyncio.sleep(STORE_RETRY_MS / 1000)
            except PeerError as error:
                log.info("output %s from %s: %s", effect.output, effect.executor.short, error)
                await asyncio.sleep((RETRY_MS << failures) / 1000)
                failures += 1
        await self._apply(run, ev.OutputMissing(effect.output, effect.executor))

    async def _bring(self, run: JobRun, effect: ev.FetchOutput) -> None:
        """An output into the store, unless it is there."""
        shell, output = self._shell, effect.output
        if await shell.storage.run(lambda store: store.blocks.has(output)):
            await self._apply(run, ev.OutputStored(output))
            return
        most = run.machine.terms.job.storage.max_output_bytes
        async with shell.transfers:
            # Of the executor alone: who can't show what it says that it made has earned nothing.
            data = await shell.fetch(shell.peers.endpoints(effect.executor), effect.executor, output, most)
        await self._apply(run, ev.OutputStored(output), blocks=[(output, data)])

    def _run_of(self, job: Cid) -> JobRun:
        run = self.jobs.get(job)
        if run is None:
            raise JobError(f"no job {job} was submitted here", hint="see `icn-lite jobs`")
        return run
