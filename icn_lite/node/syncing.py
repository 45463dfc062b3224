"""Syncing receipts and acknowledgements with neighbours, in a running node.

A neighbour that is met, that comes back, or that there is something new for is synced with; any other is asked every
few minutes, which takes one exchange of a hundred bytes. A session is `work/sync.py`'s: this side asks, fetches and
gives, so one reachable direction is enough. What comes in is verified in a thread beside the event loop, then shown to
the originator of its job if that is this node, then kept, each answer in one transaction. A session that fails is begun
anew later, ever more rarely; what it brought stays.

Where this node is an anchor it acknowledges what is complete here, and its word goes out the same way.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from icn_lite.mesh.ports import Remote
from icn_lite.mesh.refusals import overload
from icn_lite.model.anchor import AnchorAck
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import DocumentError, IcnLiteError, PeerError, PeerRefused, SignatureError, VerificationError
from icn_lite.model.receipt import ExecutionReceipt
from icn_lite.model.sync import (
    FRAME_BYTES,
    LEAST_ANSWER_BYTES,
    Answered,
    Asked,
    Give,
    SyncAsk,
    Took,
    read_answer,
    read_ask,
    write_answer,
    write_ask,
)
from icn_lite.node.anchors import Anchors, acknowledge
from icn_lite.node.control import Json
from icn_lite.node.library import StoreLibrary
from icn_lite.node.origination import Originations
from icn_lite.node.shell import Shell
from icn_lite.store.db import Store
from icn_lite.work.library import Fork, Known, Taken, respond
from icn_lite.work.quota import Bucket, Quotas
from icn_lite.work.sync import Answer, Report, Session, read_known, verified_all

EVERY_MS: Final = 240_000  # a neighbour that nothing is new for
NEW_MS: Final = 20_000  # one that something is new for: runs come in bursts
AGAIN_MS: Final = 2_000  # after something was given: acknowledgements come back
FIRST_RETRY_MS: Final = 15_000  # doubled at every failure
LAST_RETRY_MS: Final = 1_800_000
SESSIONS: Final = 2  # at a time; each holds one answer of 256 KiB
MAX_ASKS: Final = 4_096  # in one session
MAX_TRACKED: Final = 512
ASKS: Final = Bucket(200, 50, 1_000)  # of one neighbour: 50 a second bring ten thousand receipts
LET_GO_EVERY_MS: Final = 600_000
RECEIPTS_SHARE: Final = 2  # receipts take half as much as blocks may; what no anchor keeps is not counted out
log = logging.getLogger(__name__)


class Asker(Protocol):
    """The way to ask: `mesh.client.Client`."""

    async def sync(self, uri: str, frame: bytes, *, udp: bool = ..., to: Did | None = ...) -> bytes: ...


@dataclass(slots=True)
class _Neighbour:
    """When somebody is synced with next."""

    next_ms: int = 0
    last_ms: int = 0
    failures: int = 0
    generation: int = -1  # of what is here, when it was synced with last
    busy: bool = False
    udp: bool = False  # it has no TCP


class Syncing:
    """What one node syncs."""

    def __init__(self, shell: Shell, asker: Asker | None, anchors: Anchors, *, anchor: bool, budget_bytes: int) -> None:
        self._shell = shell
        self._asker = asker
        self._anchors = anchors
        self._anchor = anchor
        self._budget_bytes = budget_bytes
        self._neighbours: dict[Did, _Neighbour] = {}
        self._slots = asyncio.Semaphore(SESSIONS)
        self._verifying = asyncio.Lock()
        self._quotas = Quotas(ASKS)
        self._let_go_ms = 0
        self.generation = 0  # counts what came in by syncing
        self.originations: Originations | None = None  # where this node submits jobs

    # -- being asked

    async def on_sync(self, frame: bytes, remote: Remote) -> bytes:
        """Answer one ask of a neighbour."""
        if remote.speaker is not None and not self._quotas.take(remote.speaker.did, 1, self._shell.clock.now_ms()):
            raise overload("too many asks at once")
        ask = read_ask(frame)
        if not isinstance(ask.ask, Give):
            return await self._shell.storage.run(lambda store: respond(ask, StoreLibrary(store)))
        return write_answer(Took(len((await self._keep(await self._verified(ask.ask.blocks))).new)))

    async def _keep(self, documents: Sequence[Known]) -> Taken:
        await self._deliver(documents)
        taken = await self._shell.storage.transact(lambda store: StoreLibrary(store).take(documents))
        await self._came(taken)
        return taken

    async def take_in(self, blocks: Sequence[bytes]) -> dict[str, Json]:
        """What the owner brings as a file."""
        documents = await self._verified(blocks)
        taken = await self._keep(documents)
        acks = sum(one.cid in taken.new for one in documents if isinstance(one.document, AnchorAck))
        return {
            "receipts": len(taken.new) - acks,
            "acks": acks,
            "known": len(blocks) - len(taken.new) - taken.refused,
            "refused": taken.refused,
            "forks": len(taken.forks),
        }

    async def keep_evidence(self, sealed: Sealed[ExecutionReceipt]) -> None:
        """A receipt that was refused: kept where it contradicts one that is here."""
        receipt = sealed.document

        def take(store: Store) -> Taken:
            beside = {row.seq: row for row in store.receipts.around(receipt.executor, receipt.seq)}
            before = beside.get(receipt.seq - 1)
            if receipt.seq in beside or (before is not None and before.cid != receipt.prev):
                return StoreLibrary(store).take((sealed,))
            return Taken()

        await self._came(await self._shell.storage.transact(take))

    # -- asking

    async def met(self, uri: str, did: Did, *, anew: bool) -> None:
        """A greeting was answered: sync, if it is time."""
        neighbour = self._neighbours.setdefault(did, _Neighbour())
        if len(self._neighbours) > MAX_TRACKED:
            self._neighbours.pop(next(iter(self._neighbours)))
        now_ms = self._shell.clock.now_ms()
        if neighbour.busy:
            return
        if anew:
            neighbour.next_ms, neighbour.failures = now_ms, 0
        elif not neighbour.failures and neighbour.generation != await self._generation():
            neighbour.next_ms = min(neighbour.next_ms, neighbour.last_ms + NEW_MS)
        if now_ms >= neighbour.next_ms:
            self._shell.tasks.spawn(self._sync(uri, did, neighbour, 0), f"sync with {did.short}")

    async def sync_with(self, uri: str, did: Did) -> Report:
        """One session with a neighbour at an address; raises `PeerError`."""
        neighbour = self._neighbours.setdefault(did, _Neighbour())
        session = Session()
        async with self._slots:
            following: Asked | None = await self._shell.storage.run(lambda store: session.start(StoreLibrary(store)))
            asks = 0
            while following is not None:
                asks += 1
                if asks > MAX_ASKS:
                    raise PeerError(f"{did} was asked {MAX_ASKS} times")
                following = await self._step(session, following, uri, did, neighbour)
        if session.report.refused:
            log.warning("%d receipts from %s are more than is kept here", session.report.refused, did)
        if session.report.lacking:
            log.info("%s said of %d chains to have more than it brought", did, session.report.lacking)
        return session.report

    async def _step(self, session: Session, ask: Asked, uri: str, did: Did, neighbour: _Neighbour) -> Asked | None:
        said = await self._ask(ask, uri, did, neighbour)
        try:
            documents = await self._verified(getattr(said, "blocks", getattr(said, "acks", ())))
        except (DocumentError, SignatureError) as error:
            raise PeerError(f"{did} brought what doesn't hold: {error.message}") from error
        await self._deliver(documents)
        answer = Answer(said, documents)
        following = await self._shell.storage.transact(lambda store: session.handle(answer, StoreLibrary(store)))
        await self._came(Taken(session.report.new, tuple(session.report.forks)))
        session.report.forks = []
        return following

    async def _ask(self, ask: Asked, uri: str, did: Did, neighbour: _Neighbour) -> Answered:
        if self._asker is None:
            raise PeerError("this node was started offline", hint="start it without --offline")
        try:
            if not neighbour.udp:
                return read_answer(await self._asker.sync(uri, write_ask(SyncAsk(ask, FRAME_BYTES)), to=did))
        except PeerRefused:
            raise
        except PeerError as error:
            log.debug("%s is synced with over UDP: %s", did, error)
            neighbour.udp = True
        return read_answer(await self._asker.sync(uri, write_ask(SyncAsk(ask, LEAST_ANSWER_BYTES)), udp=True, to=did))

    async def _sync(self, uri: str, did: Did, neighbour: _Neighbour, wait_ms: int) -> None:
        """A session as a task: what comes of it decides when the next one is."""
        neighbour.busy = True
        try:
            await asyncio.sleep(wait_ms / 1000)
            neighbour.generation = await self._generation()  # as it begins: what comes meanwhile it may not tell
            report = await self.sync_with(uri, did)
            neighbour.failures, wait_ms = 0, EVERY_MS
            if report.given or report.left or (report.fetched and self._anchor):
                wait_ms = AGAIN_MS
            if report.lacking and not (report.fetched or report.given):
                wait_ms = LAST_RETRY_MS  # it claims and doesn't bring
        except (IcnLiteError, DocumentError) as error:
            neighbour.failures += 1
            neighbour.udp = False
            wait_ms = min(LAST_RETRY_MS, FIRST_RETRY_MS << min(neighbour.failures - 1, 16))
            log.info("no sync with %s: %s", did, error)
        finally:
            neighbour.busy = False
        neighbour.last_ms = self._shell.clock.now_ms()
        neighbour.next_ms = neighbour.last_ms + wait_ms
        if wait_ms == AGAIN_MS:
            self._shell.tasks.spawn(self._sync(uri, did, neighbour, AGAIN_MS), f"sync again with {did.short}")

    async def _generation(self) -> int:
        """A number that changes when anything is here that was not."""
        return self.generation + await self._shell.storage.run(lambda store: store.receipts.count())

    # -- what came

    async def _verified(self, blocks: Sequence[bytes]) -> tuple[Known, ...]:
        """Documents whose signatures hold; acknowledgements of whoever is no anchor are left out."""
        if not blocks:
            return ()
        async with self._verifying:
            half = (len(blocks) + 1) // 2  # libsodium lets go of the interpreter: two threads keep two cores at work
            parts = (asyncio.to_thread(verified_all, part, read_known) for part in (blocks[:half], blocks[half:]))
            found = tuple(itertools.chain.from_iterable(await asyncio.gather(*parts)))
        return tuple(
            one for one in found if not isinstance(one.document, AnchorAck) or self._anchors.counts(one.document)
        )

    async def _deliver(self, documents: Sequence[Known]) -> None:
        """Receipts of jobs of ours count before they are kept with the others."""
        originations = self.originations
        if originations is None:
            return
        for sealed in documents:
            if isinstance(sealed.document, ExecutionReceipt) and sealed.document.job in originations.jobs:
                try:
                    await originations.on_receipt(sealed)
                except VerificationError as error:
                    log.info("receipt %s came by others and doesn't count: %s", sealed.cid, error.message)

    async def _came(self, taken: Taken) -> None:
        """Tell of forks, acknowledge, make room."""
        for fork in taken.forks:
            _tell(fork)
        if taken.forks:
            await self._shell.storage.run(lambda store: store.counters.add("forks", len(taken.forks)))
        if not taken.new:
            return
        self.generation += len(taken.new)
        self._shell.changed.ring()
        await self.tend()

    async def tend(self) -> None:
        """Acknowledge what is complete, where this is an anchor, and let go what is too much."""
        shell = self._shell
        if self._anchor:
            certificates = self._anchors.certificates()
            signed = await shell.storage.transact(lambda store: acknowledge(store, shell.signer, certificates))
            self.generation += signed
        now_ms = shell.clock.now_ms()
        if now_ms >= self._let_go_ms:
            self._let_go_ms = now_ms + LET_GO_EVERY_MS
            most_bytes = self._budget_bytes // RECEIPTS_SHARE
            dropped = await shell.storage.transact(lambda store: _let_go(store, most_bytes, keep=self._anchor))
            if dropped:
                log.info("%d receipts that anchors keep were let go", dropped)


def _let_go(store: Store, most_bytes: int, *, keep: bool) -> int:
    """An anchor has promised to keep."""
    return 0 if keep else store.chains.let_go(most_bytes)


def _tell(fork: Fork) -> None:
    """A fork is worth a person's look."""
    first, second = fork.receipts
    what = "don't follow each other" if fork.broken else f"both have number {fork.seq}"
    log.warning("fork: %s signed %s and %s, which %s", fork.executor, first, second, what)
