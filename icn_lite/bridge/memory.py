"""An upstream in memory: several bridges of one process meet at a `MemoryHub`.

It keeps every promise of the port, and can be cut off and mended: what the other rooms are tested against, and what
shows in few lines how an adapter has to behave.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from icn_lite.bridge.upstream import (
    Acknowledged,
    BidMade,
    Delivery,
    Event,
    Evidence,
    Health,
    JobAnnounced,
    LeaseGiven,
    LeaseReturned,
    ReceiptCame,
    Route,
    State,
)
from icn_lite.model import unixfs
from icn_lite.model.bid import Bid
from icn_lite.model.cid import Cid
from icn_lite.model.document import Sealed
from icn_lite.model.errors import UpstreamError
from icn_lite.model.messages import (
    AssignJobV1,
    CapabilityAdvertisementV1,
    JobAnnouncementV1,
    LeaseReturnV1,
    ReceiptAckV1,
)
from icn_lite.model.receipt import ExecutionReceipt

MAX_WAITING: Final = 4_096  # events of one bridge; the oldest go
MAX_BLOCKS: Final = 1_024


@dataclass(slots=True)
class _Box:
    """What waits for one bridge, by a key that makes a repetition the same."""

    waiting: OrderedDict[str, Event] = field(default_factory=OrderedDict)
    given: set[str] = field(default_factory=set)
    tries: dict[str, int] = field(default_factory=dict)
    rung: asyncio.Event = field(default_factory=asyncio.Event)


class MemoryHub:
    """What the bridges of one process have in common."""

    def __init__(self) -> None:
        self.boxes: dict[str, _Box] = {}
        self.receipts: dict[Cid, bytes] = {}
        self.acks: dict[Cid, Sealed[ReceiptAckV1]] = {}
        self.blocks: OrderedDict[Cid, bytes] = OrderedDict()
        self.adverts: dict[str, bytes] = {}
        self.cut = False

    def upstream(self, name: str) -> MemoryUpstream:
        """The side of one bridge; the same name again is the same bridge after a restart."""
        self.boxes.setdefault(name, _Box())
        return MemoryUpstream(self, name)

    def mend(self) -> None:
        """Be reached again after `cut`."""
        self.cut = False
        for box in self.boxes.values():
            box.rung.set()

    def post(self, to: str, key: str, event: Event) -> None:
        """Lay an event into a bridge's box."""
        box = self.boxes.get(to)
        if box is None:
            raise UpstreamError(f"no bridge {to!r} is known here")
        box.waiting.setdefault(key, event)
        while len(box.waiting) > MAX_WAITING:
            box.given.discard(box.waiting.popitem(last=False)[0])
        box.rung.set()


class MemoryUpstream:
    """One bridge's side of a `MemoryHub`."""

    anchors = False

    def __init__(self, hub: MemoryHub, name: str) -> None:
        self._hub = hub
        self._own = Route(name)
        self._open = False
        self._error = ""
        self._sent = 0
        self._received = 0

    @property
    def name(self) -> str:
        """`memory:NAME`."""
        return f"memory:{self._own}"

    async def start(self) -> None:
        """Be there; what was given out before a restart and not confirmed comes again."""
        self._open = True
        self._hub.boxes[self._own].given.clear()
        self._hub.boxes[self._own].rung.set()

    async def close(self) -> None:
        """Be gone."""
        self._open = False
        self._hub.boxes[self._own].rung.set()

    async def announce(self, job: Sealed[JobAnnouncementV1]) -> None:
        """To every other bridge."""
        self._reach()
        for name in self._hub.boxes:
            if name != self._own:
                self._hub.post(name, f"job:{job.cid}", JobAnnounced(job, self._own))

    async def advertise(self, advert: Sealed[CapabilityAdvertisementV1]) -> None:
        """The newest of each node is kept."""
        self._reach()
        self._hub.adverts[str(advert.signer)] = advert.block

    async def bid(self, bid: Sealed[Bid], route: Route) -> None:
        """To the bridge that announced the job."""
        self._reach()
        self._hub.post(route, f"bid:{bid.cid}", BidMade(bid, self._own))

    async def assign(self, lease: Sealed[AssignJobV1], route: Route) -> None:
        """To the bridge that carried the bid."""
        self._reach()
        self._hub.post(route, f"lease:{lease.cid}", LeaseGiven(lease, self._own))

    async def give_back(self, given: Sealed[LeaseReturnV1], route: Route) -> None:
        """To the bridge that announced the job."""
        self._reach()
        self._hub.post(route, f"return:{given.cid}", LeaseReturned(given, self._own))

    async def put_receipt(self, receipt: Sealed[ExecutionReceipt], route: Route) -> Evidence:
        """To the bridge that announced the job, once by its CID."""
        self._reach()
        if receipt.cid in self._hub.receipts:
            return Evidence.KNOWN
        self._hub.post(route, f"receipt:{receipt.cid}", ReceiptCame(receipt, self._own))
        self._hub.receipts[receipt.cid] = receipt.block
        return Evidence.STORED

    async def acknowledge(self, ack: Sealed[ReceiptAckV1]) -> None:
        """Kept by its receipt, and told to everybody."""
        self._reach()
        receipt = ack.document.receipt
        if self._hub.acks.setdefault(receipt, ack) is ack:
            for name in self._hub.boxes:
                self._hub.post(name, f"ack:{ack.cid}", Acknowledged(ack))

    async def acknowledgement(self, receipt: Cid) -> Sealed[ReceiptAckV1] | None:
        """As it was laid down."""
        self._reach()
        return self._hub.acks.get(receipt)

    async def put_block(self, cid: Cid, data: bytes) -> None:
        """Kept, the last ones."""
        self._reach()
        self._hub.blocks[cid] = data
        while len(self._hub.blocks) > MAX_BLOCKS:
            self._hub.blocks.popitem(last=False)

    async def get_block(self, cid: Cid, most: int) -> bytes | None:
        """As it was laid down, if it is what its CID says."""
        self._reach()
        data = self._hub.blocks.get(cid)
        return data if data is not None and len(data) <= most and unixfs.names(cid, data) else None

    async def events(self) -> AsyncIterator[Delivery]:
        """What lies in the box and was not given out."""
        box = self._hub.boxes[self._own]
        while self._open:
            key = next((key for key in box.waiting if key not in box.given), None) if not self._hub.cut else None
            if key is None:
                box.rung.clear()
                await box.rung.wait()
                continue
            box.given.add(key)
            box.tries[key] = box.tries.get(key, 0) + 1
            self._received += 1
            yield _Given(box, key, box.waiting[key], box.tries[key])

    def health(self) -> Health:
        """How it stands."""
        state = State.CLOSED if not self._open else State.WAITING if self._hub.cut else State.UP
        return Health(state, self._error, self._sent, self._received)

    def _reach(self) -> None:
        if self._hub.cut or not self._open:
            self._error = "the hub is not reached"
            raise UpstreamError(f"{self.name}: {self._error}")
        self._sent += 1


@dataclass(frozen=True, slots=True)
class _Given:
    box: _Box
    key: str
    event: Event
    tries: int

    async def confirm(self) -> None:
        """It doesn't come again."""
        self.box.waiting.pop(self.key, None)
        self.box.tries.pop(self.key, None)
        self.box.given.discard(self.key)

    async def postpone(self, delay_ms: int) -> None:
        """It comes again after the others."""
        if self.key in self.box.waiting:
            self.box.waiting.move_to_end(self.key)
            asyncio.get_running_loop().call_later(delay_ms / 1000, self._again)

    def _again(self) -> None:
        self.box.given.discard(self.key)
        self.box.rung.set()
