"""What a bridge keeps on its disk: the jobs that cross it with the way back of each, and what has to go up.

Jobs are logs in the journal: first how the job came, then each bid that came down for it, because a lease has to find
the way of its bid. The outbox is one log a receipt. Both survive a kill at any moment; both are bounded.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Final, TypeAlias, cast

from icn_lite.bridge.upstream import MAX_ROUTE_CHARACTERS, NOWHERE, Route
from icn_lite.model import cbor
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed, unseal
from icn_lite.model.errors import DocumentError, SignatureError, StoreError
from icn_lite.model.job import JobSpec
from icn_lite.model.messages import JobAnnouncementV1
from icn_lite.model.schema import MaxLen
from icn_lite.node.shell import Shell
from icn_lite.store.db import Store
from icn_lite.work.replay import decode_event, encode_event

MACHINE: Final = "bridge"
OUTBOX: Final = "outbox:"
MAX_JOBS: Final = 512  # that cross a bridge; the oldest are forgotten, 2 kB each
MAX_BIDS: Final = 256  # of one job that came down; an originator takes fewer
MAX_BEYOND: Final = 4_096
Way: TypeAlias = Annotated[str, MaxLen(MAX_ROUTE_CHARACTERS)]
Name: TypeAlias = Annotated[str, MaxLen(1024)]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobWentUp:
    """A job of this mesh is told to the upstreams."""

    TAG: ClassVar[str] = "JobWentUp"
    announcement: bytes


@dataclass(frozen=True, slots=True)
class JobCameDown:
    """A job from an upstream is told here."""

    TAG: ClassVar[str] = "JobCameDown"
    announcement: bytes
    upstream: Name
    route: Way


@dataclass(frozen=True, slots=True)
class BidCameDown:
    """A bid on a job of this mesh came from an upstream."""

    TAG: ClassVar[str] = "BidCameDown"
    bid: Cid
    bidder: Did
    upstream: Name
    route: Way


Entry: TypeAlias = JobWentUp | JobCameDown | BidCameDown


@dataclass(slots=True)
class Crossing:
    """A job that crosses this bridge; `upstream` is None where it began in this mesh."""

    announcement: Sealed[JobAnnouncementV1]
    upstream: str | None = None
    route: Route = NOWHERE
    bids: dict[Cid, tuple[str, Route]] = field(default_factory=dict)

    @property
    def job(self) -> JobSpec:
        """The job."""
        return self.announcement.document.job


class Book:
    """The jobs that cross one bridge."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.jobs: OrderedDict[Cid, Crossing] = OrderedDict()
        self.beyond: OrderedDict[Did, str] = OrderedDict()  # who takes part from beyond, and behind which upstream

    async def open(self) -> None:
        """Know again what crossed before a restart."""

        def read(store: Store) -> list[tuple[str, list[bytes]]]:
            return [(key, store.journal.replay(MACHINE, key)) for key in store.journal.keys(MACHINE)]

        for key, entries in await self._shell.storage.run(read):
            try:
                for entry in entries:
                    self._take(Cid.parse(key), cast(Entry, decode_event(Entry, entry).event))
            except (DocumentError, SignatureError, KeyError) as error:
                log.error("job %s doesn't cross any longer, its journal can't be read: %s", key, error)

    async def write(self, job: Cid, entry: Entry) -> None:
        """Commit what happened to a job, then know it."""
        oldest = next(iter(self.jobs)) if job not in self.jobs and len(self.jobs) >= MAX_JOBS else None
        data = encode_event(entry, self._shell.clock.now_ms())

        def commit(store: Store) -> None:
            store.journal.append(MACHINE, str(job), data)
            if oldest is not None:
                store.journal.drop(MACHINE, str(oldest))

        await self._shell.storage.transact(commit)
        if oldest is not None:
            self.jobs.pop(oldest, None)
        self._take(job, entry)

    def _take(self, job: Cid, entry: Entry) -> None:
        match entry:
            case JobWentUp() | JobCameDown() if job in self.jobs:
                pass  # it was told twice at the same moment; the first way stands
            case JobWentUp(block):
                self.jobs[job] = Crossing(unseal(JobAnnouncementV1, block))
            case JobCameDown(block, upstream, route):
                crossing = self.jobs[job] = Crossing(unseal(JobAnnouncementV1, block), upstream, Route(route))
                self._note(crossing.announcement.signer, upstream)
            case BidCameDown(bid, bidder, upstream, route):
                self.jobs[job].bids[bid] = (upstream, Route(route))
                self._note(bidder, upstream)

    def _note(self, did: Did, upstream: str) -> None:
        self.beyond[did] = upstream
        self.beyond.move_to_end(did)
        if len(self.beyond) > MAX_BEYOND:
            self.beyond.popitem(last=False)


class StoreOutbox:
    """`bridge.outward.Outbox` in the node's store."""

    def __init__(self, shell: Shell, upstream: str) -> None:
        self._storage = shell.storage
        self._machine = OUTBOX + upstream

    async def keep(self, cid: Cid, block: bytes, route: Route) -> None:
        """On the disk when it returns; once, however often it is called."""

        def commit(store: Store) -> None:
            if not store.journal.length(self._machine, str(cid)):
                store.journal.append(self._machine, str(cid), cbor.encode([str(route), block]))

        await self._storage.transact(commit)

    async def clear(self, cids: Sequence[Cid]) -> None:
        """In one transaction, by one statement."""
        if cids:
            keys = [str(cid) for cid in cids]
            await self._storage.transact(lambda store: store.journal.drop_all(self._machine, keys))

    async def kept(self) -> Sequence[tuple[Cid, bytes, Route]]:
        """Oldest first."""

        def read(store: Store) -> list[tuple[str, bytes]]:
            return [(key, store.journal.replay(self._machine, key)[0]) for key in store.journal.keys(self._machine)]

        return [_kept(key, data) for key, data in await self._storage.run(read)]


def _kept(key: str, data: bytes) -> tuple[Cid, bytes, Route]:
    match cbor.decode(data):
        case [str(route), bytes(block)]:
            return Cid.parse(key), block, Route(route)
    raise StoreError(f"the outbox holds no receipt under {key}", hint="see `icn-lite bridge status`")
