"""The executor's driver: takes leases, brings blocks, runs shards, delivers receipts.

As in `origination.py` every event of a lease is committed before its effects are performed. A run and its receipt
are committed together, with the output; delivery goes on over restarts until the originator's signed acknowledgement
is in the journal.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, cast

from icn_lite.mesh import table as paths
from icn_lite.mesh.streams import Stream, Streams
from icn_lite.model import document
from icn_lite.model.cid import Cid
from icn_lite.model.document import Sealed
from icn_lite.model.errors import (
    DeviceRefuses,
    DocumentError,
    FailureReason,
    IcnLiteError,
    ModuleError,
    PeerError,
    PeerRefused,
    StoreError,
)
from icn_lite.model.job import WasmRuntime
from icn_lite.model.messages import AssignJobV1, LeaseReturnV1, ReceiptAckV1
from icn_lite.node.lease_run import OUTPUTS, Due, LeaseOpened, LeaseRun
from icn_lite.node.offers import MAX_OPEN_SHARDS, ExecutorPolicy, Load, Offers
from icn_lite.node.preparing import Preparations
from icn_lite.node.receipting import RunRecord, RunSubject, store_run
from icn_lite.node.runner import RunOrder, arguments_of, request_for
from icn_lite.node.shell import Shell
from icn_lite.sandbox.outcome import RunContext, RunOutcome, RunRequest
from icn_lite.sandbox.pool import Pool
from icn_lite.store.db import Store
from icn_lite.store.jobs import JobRecord, JobRole
from icn_lite.wasm.limits import PAGE_BYTES
from icn_lite.work import executor as ex
from icn_lite.work.fit import typed_args
from icn_lite.work.replay import decode_event, encode_event

MACHINE: Final = "lease"
FETCH_TRIES: Final = 4
RETRY_MS: Final = 1_000  # doubled at every try
MAX_WAITING_RECEIPTS: Final = 4_096  # of originators that are gone; a task and 1 kB each
LAST_RETRY_MS: Final = 60_000
STORE_RETRY_MS: Final = 10_000  # between two tries to write what a full disk refused
MAX_MODULE_BYTES: Final = 4 << 20
OUTPUTS_SHARE: Final = 4  # so much of the budget for blocks they may take: a quarter
WAIT_S: Final = 10.0  # a waiting worker looks again at least so often
log = logging.getLogger(__name__)


class Executions:
    """All work that this node does for others."""

    def __init__(self, shell: Shell, pool: Pool, preparations: Preparations, policy: ExecutorPolicy) -> None:
        self._shell = shell
        self._pool = pool
        self._preparations = preparations
        self._policy = policy
        self.offers = Offers(shell, policy, lambda: Load(self.open_shards, self.open_fuel))
        self._queue: asyncio.PriorityQueue[Due] = asyncio.PriorityQueue()  # bounded: offers.MAX_OPEN_SHARDS
        self.leases: dict[Cid, LeaseRun] = {}
        self.logs = Streams()
        self._taking = asyncio.Lock()  # of two copies of one lease that come at the same moment, one is taken

    # -- life

    async def start(self) -> None:
        """Take every lease up where the journal stopped, and start the workers."""
        await self.offers.start()
        for key in await self._shell.storage.run(lambda store: store.journal.keys(MACHINE)):
            try:
                run = await self._rebuild(Cid.parse(key))
            except (DocumentError, StoreError) as error:
                log.error("lease %s is set aside, its journal can't be read: %s", key, error)
                continue
            self.leases[run.cid] = run
            await self._apply(run, ex.Restarted(), always=True)
        for number in range(self._policy.workers):
            self._shell.tasks.spawn(self._work(), f"worker {number}")

    async def tick(self) -> None:
        """Let leases lapse whose duration is over, and go which a full disk kept."""
        for run in tuple(self.leases.values()):
            try:
                if not run.machine.open:
                    await self._finish(run)
                elif run.machine.unstarted and self._shell.clock.now_ms() >= run.ends_ms:
                    await self._apply(run, ex.Lapsed())
            except IcnLiteError as error:
                log.error("lease %s: %s", run.cid, error)

    @property
    def open_shards(self) -> int:
        """Shards that still cost power, over all leases."""
        return sum(run.machine.to_run for run in self.leases.values())

    @property
    def open_fuel(self) -> int:
        """Fuel that they may still use."""
        return sum(run.machine.to_run * run.machine.lease.max_fuel for run in self.leases.values())

    # -- what peers send

    async def on_lease(self, sealed: Sealed[AssignJobV1]) -> None:
        """Take a lease that honours our bid; raises what forbids it. A known lease is taken already."""
        async with self._taking:
            if sealed.cid not in self.leases:
                await self._take(sealed)

    async def on_ack(self, sealed: Sealed[ReceiptAckV1]) -> None:
        """An acknowledgement that came another way than as the answer to its receipt."""
        ack = sealed.document
        for run in tuple(self.leases.values()):
            if run.machine.lease.originator == sealed.signer and run.machine.lease.job_id == ack.job_id:
                await self._apply(run, ex.ReceiptAcked(ack.receipt))

    async def _take(self, sealed: Sealed[AssignJobV1]) -> None:
        lease = sealed.document
        kept = self.offers.check_lease(lease)
        if await self._shell.storage.run(lambda store: store.blocks.has(sealed.cid)):
            return  # done with before
        self._check_room(len(lease.shards))
        run = LeaseRun(ex.LeaseWork(lease), sealed.cid, kept.job, self._shell.clock.now_ms())

        def commit(store: Store) -> None:
            store.blocks.put(sealed.cid, sealed.block)
            store.blocks.pin(run.holder, [sealed.cid, lease.module, *(grant.input for grant in lease.shards)])
            store.journal.append(MACHINE, str(run.cid), encode_event(LeaseOpened(lease, kept.job), run.opened_ms))
            store.jobs.upsert(JobRecord(lease.job_id, JobRole.EXECUTOR, "leased", lease.job_id))

        await self._shell.storage.transact(commit)
        self.leases[run.cid] = run
        await self._perform(run, run.machine.start())

    def _check_room(self, shards: int) -> None:
        if self.open_shards + shards > MAX_OPEN_SHARDS:
            raise DeviceRefuses(f"{self.open_shards} shards are under way, at most {MAX_OPEN_SHARDS} fit")
        waiting = sum(run.machine.open - run.machine.to_run for run in self.leases.values())
        if waiting > MAX_WAITING_RECEIPTS:
            raise DeviceRefuses(f"{waiting} receipts wait for their originators' acknowledgement")
        reason = self._policy.may_take()
        if reason:
            raise DeviceRefuses(reason)

    # -- events and effects

    async def _apply(self, run: LeaseRun, event: ex.Event, *, always: bool = False) -> None:
        """Advance a lease by one event: commit, then perform, even if the caller goes away meanwhile."""
        await self._shell.tasks.finish(self._advance(run, event, always=always), type(event).__name__)

    async def _advance(self, run: LeaseRun, event: ex.Event, *, always: bool) -> None:
        async with run.lock:
            if run.ahead:
                await self._restore(run)
            if not always and not run.machine.changes(event):
                return
            run.ahead = True
            effects = run.machine.handle(event)
            await self._commit(run, lambda store: self._journal(store, run, event))
        await self._perform(run, effects)

    def _journal(self, store: Store, run: LeaseRun, event: ex.Event) -> None:
        store.journal.append(MACHINE, str(run.cid), encode_event(event, self._shell.clock.now_ms()))

    async def _commit(self, run: LeaseRun, work: Callable[[Store], None]) -> None:
        try:
            await self._shell.storage.transact(work)
        except Exception:
            await self._restore(run)
            raise
        run.ahead = False

    async def _restore(self, run: LeaseRun) -> None:
        """Make a machine again from what is on the disk."""
        run.machine = (await self._rebuild(run.cid)).machine
        run.ahead = False

    async def _rebuild(self, cid: Cid) -> LeaseRun:
        entries = await self._shell.storage.run(lambda store: store.journal.replay(MACHINE, str(cid)))
        first = decode_event(LeaseOpened, entries[0])
        opened = first.event
        if not isinstance(opened, LeaseOpened):
            raise StoreError(f"the journal of lease {cid} does not begin with its opening")
        run = LeaseRun(ex.LeaseWork(opened.lease), cid, opened.job, first.at_ms)
        last_ms = first.at_ms
        for data in entries[1:]:
            entry = decode_event(ex.Event, data)
            run.machine.handle(cast(ex.Event, entry.event))
            last_ms = entry.at_ms
        self._shell.clock.advance_to(last_ms)
        return run

    async def _perform(self, run: LeaseRun, effects: list[ex.Effect]) -> None:
        for effect in effects:
            match effect:
                case ex.Fetch():
                    self._shell.tasks.spawn(self._fetch(run, effect), f"input of shard {effect.shard}")
                case ex.Run():
                    self._queue.put_nowait(Due(run.ends_ms, effect.shard, run))
                case ex.SendReceipt():
                    self._shell.tasks.spawn(self._deliver(run, effect), f"receipt of shard {effect.shard}")
                case ex.GiveBack():
                    self._shell.tasks.spawn(self._send_back(run, effect), "lease return")
                case ex.LeaseDone():
                    await self._finish(run)
        self._shell.changed.ring()

    async def _finish(self, run: LeaseRun) -> None:
        job_id = run.machine.lease.job_id

        def commit(store: Store) -> None:
            store.journal.drop(MACHINE, str(run.cid))
            store.blocks.unpin(run.holder)
            store.blocks.release(OUTPUTS, store.blocks.budget_bytes // OUTPUTS_SHARE)
            if all(other.machine.lease.job_id != job_id for other in self.leases.values() if other is not run):
                store.jobs.upsert(JobRecord(job_id, JobRole.EXECUTOR, "delivered", job_id))

        await self._shell.storage.transact(commit)
        self.leases.pop(run.cid, None)

    async def _fetch(self, run: LeaseRun, effect: ex.Fetch) -> None:
        reason = ""
        for attempt in range(FETCH_TRIES):
            try:
                most_input = cast(WasmRuntime, run.job.runtime).memory_pages * PAGE_BYTES  # a guest holds no more
                for cid, most in zip(effect.cids, (MAX_MODULE_BYTES, most_input), strict=True):
                    await self._bring(run, cid, most)
                await self._apply(run, ex.BlocksStored(effect.shard))
                return
            except (PeerError, StoreError) as error:
                log.info("input of shard %d: %s", effect.shard, error)
                reason = error.message if isinstance(error, PeerError) else error.kind  # our paths are our business
                await asyncio.sleep((RETRY_MS << attempt) / 1000)
        await self._apply(run, ex.BlocksMissing(effect.shard, reason[:256]))

    async def _bring(self, run: LeaseRun, cid: Cid, most: int) -> None:
        """A block into the store, from the originator or whoever has it."""
        shell = self._shell
        async with shell.transfers:
            if await shell.storage.run(lambda store: store.blocks.has(cid)):
                return
            originator = run.machine.lease.originator
            data = await shell.fetch(shell.providers(originator), originator, cid, most)
            await shell.storage.run(lambda store: store.blocks.put(cid, data))

    async def _work(self) -> None:
        """One worker: shards one after the other, while the governor allows."""
        while True:
            due = await self._queue.get()
            run, shard = due.run, due.shard
            if run.machine.shards[shard].step not in (ex.Step.READY, ex.Step.RUNNING):
                continue  # given back while it waited
            while reason := self._policy.may_begin():
                log.info("shard %d waits: %s", shard, reason)
                await self._shell.changed.wait(WAIT_S)
            try:
                await self._run_shard(run, shard)
            except IcnLiteError as error:
                log.error("shard %d of job %s is run again later: %s", shard, run.machine.lease.job_id, error)
                self._shell.tasks.spawn(self._again(run, shard), f"shard {shard} again")
            except Exception:
                log.exception("shard %d of job %s is run again later", shard, run.machine.lease.job_id)
                self._shell.tasks.spawn(self._again(run, shard), f"shard {shard} again")

    async def _again(self, run: LeaseRun, shard: int) -> None:
        """No receipt, no run: the disk was full, or something of ours failed."""
        await asyncio.sleep(STORE_RETRY_MS / 1000)
        self._queue.put_nowait(Due(run.ends_ms, shard, run))

    async def _run_shard(self, run: LeaseRun, shard: int) -> None:
        await self._apply(run, ex.RunStarted(shard))
        if run.machine.shards[shard].step is not ex.Step.RUNNING:
            return  # given back while it waited
        subject = self._subject(run, shard)
        said = self.logs.begin(run.cid, shard, run.machine.lease.originator)
        outcome = await self._outcome(run, subject, said)
        said.end()
        self._policy.ran(outcome.fuel_used, outcome.cpu_ms)
        record = RunRecord(subject, outcome, self._shell.clock.claim(), self._policy.health())
        await self._shell.tasks.finish(self._keep(run, shard, record), f"receipt of shard {shard}")

    async def _keep(self, run: LeaseRun, shard: int, record: RunRecord) -> None:
        """Commit a run with its receipt and output, then send the receipt."""
        async with run.lock:
            if run.ahead:
                await self._restore(run)
            run.ahead = True
            effects: list[ex.Effect] = []

            def commit(store: Store) -> None:
                sealed = store_run(store, self._shell.signer, record)
                if sealed.document.output is not None:
                    kept = [sealed.document.output, *map(Cid.of_raw, record.outcome.blocks)]
                    store.blocks.pin(run.holder, kept)
                    store.blocks.pin(run.output_holder, kept)
                event = ex.RunEnded(shard, sealed.cid)
                self._journal(store, run, event)
                effects.extend(run.machine.handle(event))

            await self._commit(run, commit)
        await self._perform(run, effects)

    def _subject(self, run: LeaseRun, shard: int) -> RunSubject:
        lease, job = run.machine.lease, run.job
        grant = next(grant for grant in lease.shards if grant.index == shard)
        return RunSubject(
            job=lease.job_id,
            module=lease.module,
            input=grant.input,
            fuel_limit=lease.max_fuel,
            shard=shard,
            stage=lease.stage,
            lease=run.cid,
            entry=cast(WasmRuntime, job.runtime).function,
            args=typed_args(job),
            price=grant.price,
        )

    async def _outcome(self, run: LeaseRun, subject: RunSubject, said: Stream) -> RunOutcome:
        """Run the shard; whatever keeps it from running is an outcome as well."""
        module, data = await self._shell.storage.run(
            lambda store: (store.blocks.get(subject.module), store.blocks.get(subject.input))
        )
        try:
            if module is None or data is None:
                raise StoreError("a block of the lease left the store")
            request = await self._request(run, subject, module, data)
            self._policy.begins()  # wakes the device's care, which then finds the pool at work
            return await self._pool.run(request, said.put)
        except ModuleError as error:
            return _failed(self._pool, subject, FailureReason.UNSUPPORTED_OPERATION, error)
        except IcnLiteError as error:
            return _failed(self._pool, subject, FailureReason.CRASH_OR_PANIC, error)

    async def _request(self, run: LeaseRun, subject: RunSubject, module: bytes, data: bytes) -> RunRequest:
        """The sandbox's request; what a guest can notice of it is the job's alone, so that others can repeat it."""
        job, runtime = run.job, cast(WasmRuntime, run.job.runtime)
        prepared = await self._preparations.get(subject.module, module, runtime.memory_pages)
        order = RunOrder(
            module=module,
            input=data,
            invoke=subject.entry,
            fuel_limit=subject.fuel_limit,
            pages=runtime.memory_pages,
            timeout_ms=max(1, job.compute.timeout_ms),
            output_limit=job.storage.max_output_bytes,
            log_limit=self._policy.guest.log_bytes,
            host_calls=self._policy.guest.host_calls,
        )
        values, words = arguments_of(prepared, subject.entry, job.code.args)
        context = RunContext(
            job_id=str(subject.job),
            shard=subject.shard,
            initial_input_cid=str(subject.input),
            stage_index=subject.stage,
            stage_input_cid=str(subject.input),
            arguments=words,
        )
        return request_for(order, prepared, values, context)

    async def _deliver(self, run: LeaseRun, effect: ex.SendReceipt) -> None:
        """Send a receipt until it is acknowledged or refused for good; over restarts, this begins anew."""
        block = await self._shell.storage.run(lambda store: store.receipts.get(effect.receipt))
        if block is None:
            raise StoreError(f"receipt {effect.receipt} is not in the store")
        retry_ms = RETRY_MS
        while True:
            try:
                await self._apply(run, await self._hand_over(run, effect.receipt, block))
                return
            except (PeerError, StoreError) as error:
                log.info("receipt %s waits: %s", effect.receipt, error.message)
            await asyncio.sleep(retry_ms / 1000)
            retry_ms = min(LAST_RETRY_MS, 2 * retry_ms)

    async def _hand_over(self, run: LeaseRun, receipt: Cid, block: bytes) -> ex.ReceiptAcked | ex.ReceiptRefused:
        """Send a receipt once; raises `PeerError` when neither an acknowledgement nor a final refusal came."""
        originator = run.machine.lease.originator
        try:
            ack = await self._shell.hand_in(originator, block)
        except PeerRefused as refused:
            if refused.retry_after_s is not None or refused.response.startswith("5."):
                raise
            log.warning("receipt %s is refused: %s", receipt, refused.message)
            return ex.ReceiptRefused(receipt, refused.message[:256])
        if ack.signer != originator:
            raise PeerError(f"the acknowledgement is signed by {ack.signer}, not by {originator}")
        return ex.ReceiptAcked(receipt)

    async def _send_back(self, run: LeaseRun, effect: ex.GiveBack) -> None:
        shell, lease = self._shell, run.machine.lease
        message = LeaseReturnV1(
            shell.did, lease.originator, lease.job_id, run.cid, effect.shards, shell.nonce(), effect.reason
        )
        block, retry_ms = document.seal(message, shell.signer).block, RETRY_MS
        while True:
            try:
                await shell.send(lease.originator, paths.LEASE_RETURNS, block)
                return
            except PeerRefused as refused:
                log.info("the return of lease %s is refused: %s", run.cid, refused.message)
                return
            except PeerError as error:
                if shell.clock.now_ms() >= run.ends_ms:
                    raise  # the lease has lapsed over there by itself
                log.info("the return of lease %s waits: %s", run.cid, error.message)
            await asyncio.sleep(retry_ms / 1000)
            retry_ms = min(LAST_RETRY_MS, 2 * retry_ms)


def _failed(pool: Pool, subject: RunSubject, reason: FailureReason, error: IcnLiteError) -> RunOutcome:
    return RunOutcome("failed", pool.config.engine, subject.fuel_limit, failure=reason, detail=error.message)
