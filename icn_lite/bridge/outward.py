"""What leaves for one upstream: the line, the durable outbox behind it, and the task that sends.

A receipt is in the outbox before anybody hears that it was taken, and leaves it only by the upstream's evidence. So a
bridge that is killed at any moment sends again, and the upstream knows a receipt by its CID. One that the upstream
refuses for good stays in the outbox, is put aside and tried again after `ASIDE_MS`: it may be the upstream's fault.
Announcements and advertisements live in memory only: their authors repeat them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

from icn_lite.bridge.backoff import Backoff
from icn_lite.bridge.line import Kind, Line, Waiting
from icn_lite.bridge.upstream import NOWHERE, Health, Route, Upstream
from icn_lite.model import cose
from icn_lite.model.cid import Cid
from icn_lite.model.document import Document, Sealed, decode
from icn_lite.model.errors import (
    DocumentError,
    IcnLiteError,
    Later,
    NotSupported,
    StoreError,
    UpstreamError,
    UpstreamRefused,
)
from icn_lite.model.messages import CapabilityAdvertisementV1, JobAnnouncementV1
from icn_lite.model.receipt import ExecutionReceipt

SEND_S: Final = 20.0  # one document; a leaf asks its hub within that
ASIDE_MS: Final = 3_600_000  # between two tries of what was refused
MAX_ASIDE: Final = 4_096  # receipts put aside; more are turned away as at the high-water mark
WINDOW: Final = 64  # documents on their way at once: 1,000 a second over a way of 60 ms
REST_S: Final = 60.0  # without anything to send, look again at what was put aside
log = logging.getLogger(__name__)
D = TypeVar("D", bound=Document)


class Outbox(Protocol):
    """Receipts on the disk, for one upstream."""

    async def keep(self, cid: Cid, block: bytes, route: Route) -> None:
        """Returns once it is on the disk."""
        ...

    async def clear(self, cids: Sequence[Cid]) -> None:
        """These needn't be kept any longer."""
        ...

    async def kept(self) -> Sequence[tuple[Cid, bytes, Route]]:
        """What is kept, oldest first."""
        ...


class Outward:
    """What leaves for one upstream. `before` is called before each receipt: what it promises has to be there first."""

    def __init__(
        self, upstream: Upstream, outbox: Outbox, backoff: Backoff, now_ms: Callable[[], int], line: Line | None = None
    ) -> None:
        self.upstream = upstream
        self.line = Line() if line is None else line
        self.last_error = ""
        self.delivered = 0
        self.before: Callable[[Upstream, Sealed[ExecutionReceipt]], Awaitable[None]] = _nothing
        self._outbox = outbox
        self._backoff = backoff
        self._now_ms = now_ms
        self._aside: OrderedDict[Cid, tuple[Waiting, int]] = OrderedDict()
        self._more = asyncio.Event()

    # -- in

    async def start(self) -> None:
        """Take up what the outbox holds."""
        for cid, block, route in await self._outbox.kept():
            self.line.restore(Waiting(Kind.RECEIPT, cid, block, route))
        self._more.set()

    async def take_receipt(self, receipt: Sealed[ExecutionReceipt], route: Route) -> None:
        """Keep a receipt for this upstream; raises `Later` where there is no room, `StoreError` where no disk is."""
        if receipt.cid in self.line or receipt.cid in self._aside:
            return
        if len(self._aside) >= MAX_ASIDE:
            raise Later(f"{MAX_ASIDE} receipts were refused by {self.upstream.name}", retry_after_s=3_600)
        self.line.check_room(Kind.RECEIPT, self._now_ms())
        await self._outbox.keep(receipt.cid, receipt.block, route)
        self.line.restore(Waiting(Kind.RECEIPT, receipt.cid, receipt.block, route))
        self._more.set()

    def announce(self, job: Sealed[JobAnnouncementV1]) -> None:
        """Tell of a job, unless its bidding is over before that; raises `Later` where there is no room."""
        now_ms = self._now_ms()
        until_ms = now_ms + job.document.bidding_ms
        self.line.add(Waiting(Kind.ANNOUNCEMENT, job.cid, job.block, NOWHERE, until_ms), now_ms)
        self._more.set()

    def advertise(self, advert: Sealed[CapabilityAdvertisementV1]) -> None:
        """Tell what somebody can do, if there is room."""
        try:
            self.line.add(Waiting(Kind.ADVERT, advert.cid, advert.block), self._now_ms())
        except Later:
            self.line.dropped += 1
        else:
            self._more.set()

    # -- out

    async def run(self) -> None:
        """Send what waits, some at a time, for as long as the bridge lives."""
        while True:
            self._take_up_aside()
            items = self.line.first(WINDOW, self._now_ms())
            if not items:
                self._more.clear()
                await self._wait()
            elif not await self._leave(items):
                await asyncio.sleep(self._backoff.failed_ms() / 1000)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(REST_S):
                await self._more.wait()
        except TimeoutError:
            pass

    async def _leave(self, items: Sequence[Waiting]) -> bool:
        """Send some documents at once; False where a pause is due."""
        errors = await asyncio.gather(*(self._try(item) for item in items))
        gone = [item for item, error in zip(items, errors, strict=True) if error is None]
        try:
            await self._outbox.clear([item.cid for item in gone if item.kind is Kind.RECEIPT])
        except StoreError as error:
            self._failed(error.message)  # they are sent again, and known over there
            return False
        for item in gone:
            self.line.remove(item.cid)
        self.delivered += len(gone)
        for item, fault in zip(items, errors, strict=True):
            if fault is not None and not _passes(fault):
                self._put_aside(item, fault)
        passing = next((fault for fault in errors if fault is not None and _passes(fault)), None)
        if passing is None:
            self._backoff.succeeded()
            if not self._aside:
                self.last_error = ""
            return True
        self._failed(passing.message)
        return False

    async def _try(self, item: Waiting) -> IcnLiteError | None:
        """Send one document; what went wrong, if anything did."""
        try:
            async with asyncio.timeout(SEND_S):
                await self._send(item)
        except TimeoutError:
            return UpstreamError(f"{self.upstream.name}: no answer within {SEND_S:.0f} s")
        except IcnLiteError as error:
            return error
        return None

    async def _send(self, item: Waiting) -> None:
        match item.kind:
            case Kind.RECEIPT:
                receipt = _known(ExecutionReceipt, item)
                await self.before(self.upstream, receipt)
                await self.upstream.put_receipt(receipt, item.route)
            case Kind.ANNOUNCEMENT:
                await self.upstream.announce(_known(JobAnnouncementV1, item))
            case Kind.ADVERT:
                await self.upstream.advertise(_known(CapabilityAdvertisementV1, item))

    def _put_aside(self, item: Waiting, error: IcnLiteError) -> None:
        self.line.remove(item.cid)
        if not isinstance(error, NotSupported):
            self.last_error = error.message
            log.warning("%s: %s", self.upstream.name, error.message)
        if item.kind is Kind.RECEIPT:
            self._aside[item.cid] = (item, self._now_ms() + ASIDE_MS)

    def _take_up_aside(self) -> None:
        now_ms = self._now_ms()
        while self._aside:
            cid, (item, due_ms) = next(iter(self._aside.items()))
            if due_ms > now_ms:
                return
            del self._aside[cid]
            self.line.restore(item)

    def _failed(self, why: str) -> None:
        if why != self.last_error:
            log.warning("%s: %s", self.upstream.name, why)
        self.last_error = why

    # -- how it stands

    @property
    def aside(self) -> int:
        """Receipts that the upstream refused; they are kept."""
        return len(self._aside)

    def health(self) -> Health:
        """The upstream's health, with the last error of sending where it has none of its own."""
        health = self.upstream.health()
        if health.last_error or not self.last_error:
            return health
        return Health(health.state, self.last_error, health.sent, health.received)


def _passes(error: IcnLiteError) -> bool:
    """Whether trying again soon may help; else the document itself is not taken, or can't be read any more."""
    return isinstance(error, UpstreamError | StoreError | Later) and not isinstance(error, UpstreamRefused)


def _known(cls: type[D], item: Waiting) -> Sealed[D]:
    """A document whose signatures were checked before it was let in; of a disk that decayed only the CID tells."""
    signed = cose.read(item.block)
    if signed.cid != item.cid:
        raise DocumentError(f"expected document {item.cid}, the outbox holds {signed.cid} in its place")
    return Sealed(decode(cls, signed.payload), signed.signer, item.block, item.cid)


async def _nothing(upstream: Upstream, receipt: Sealed[ExecutionReceipt]) -> None:
    """A receipt that promises nothing."""
