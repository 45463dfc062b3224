"""The port to a larger network: what a bridge says there, what it hears, and how it stands.

Documents pass an upstream as the signed blocks that their authors made; an adapter never signs for anybody. Whom a
document came through is a `Route`, a word of the upstream's own that is given back to it for the answer: so adapters
keep nothing that has to survive them.

Every call either returns evidence that the other side has the document on its disk, or raises: `UpstreamError` where
asking again may help, `UpstreamRefused` where it won't, `NotSupported` for what this upstream has no words for. Calls
may be repeated: each document is known by its CID. Events come at least once and are confirmed after they were
committed; what isn't confirmed comes again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, NewType, Protocol, TypeAlias

from icn_lite.model.bid import Bid
from icn_lite.model.cid import Cid
from icn_lite.model.document import Sealed
from icn_lite.model.messages import (
    AssignJobV1,
    CapabilityAdvertisementV1,
    JobAnnouncementV1,
    LeaseReturnV1,
    ReceiptAckV1,
)
from icn_lite.model.receipt import ExecutionReceipt

Route = NewType("Route", str)
NOWHERE: Final = Route("")  # for upstreams that need none
MAX_ROUTE_CHARACTERS: Final = 128  # a route is kept beside each job; a DID takes 56


class Evidence(Enum):
    """Why a receipt needn't be kept for an upstream any longer."""

    STORED = "stored"  # the engine has it on its disk (a PubAck)
    ACCEPTED = "accepted"  # a full node anchored it
    KNOWN = "known"  # it was there before
    CONFIRMED = "confirmed"  # somebody else was asked for it, and had it


class State(Enum):
    """How an upstream stands."""

    CLOSED = "closed"
    CONNECTING = "connecting"
    UP = "up"
    WAITING = "waiting"  # it failed; the next try is some time away


@dataclass(frozen=True, slots=True)
class Health:
    """How an upstream stands, for people: what state, what was wrong last, how much went through."""

    state: State
    last_error: str = ""
    sent: int = 0
    received: int = 0

    def sentence(self) -> str:
        """One line about it."""
        words = {
            State.CLOSED: "not started",
            State.CONNECTING: "connecting",
            State.UP: "connected",
            State.WAITING: "not reached, tried again soon",
        }[self.state]
        return f"{words}; last error: {self.last_error}" if self.last_error else words


@dataclass(frozen=True, slots=True)
class JobAnnounced:
    """Somebody behind another bridge announced a job, `age_ms` ago as far as the upstream tells."""

    announcement: Sealed[JobAnnouncementV1]
    route: Route
    age_ms: int = 0


@dataclass(frozen=True, slots=True)
class BidMade:
    """Somebody bids on a job that was announced from here."""

    bid: Sealed[Bid]
    route: Route


@dataclass(frozen=True, slots=True)
class LeaseGiven:
    """Somebody here gets a lease."""

    lease: Sealed[AssignJobV1]
    route: Route


@dataclass(frozen=True, slots=True)
class LeaseReturned:
    """Shards of a job that was announced from here come back unrun."""

    given: Sealed[LeaseReturnV1]
    route: Route


@dataclass(frozen=True, slots=True)
class ReceiptCame:
    """A receipt for a job that was announced from here."""

    receipt: Sealed[ExecutionReceipt]
    route: Route


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An originator has a receipt that was put here."""

    ack: Sealed[ReceiptAckV1]


Event: TypeAlias = JobAnnounced | BidMade | LeaseGiven | LeaseReturned | ReceiptCame | Acknowledged


class Delivery(Protocol):
    """An event on its way: one of the two has to be called, or it comes again by itself."""

    @property
    def event(self) -> Event:
        """What happened."""
        ...

    @property
    def tries(self) -> int:
        """How often it was given out, this time included, as far as the upstream tells."""
        ...

    async def confirm(self) -> None:
        """It is done with, and on our disk if it had to be."""
        ...

    async def postpone(self, delay_ms: int) -> None:
        """Nothing could be done with it now; it shall come again."""
        ...


class Upstream(Protocol):
    """A larger network."""

    @property
    def name(self) -> str:
        """What people call it: its address without secrets."""
        ...

    @property
    def anchors(self) -> bool:
        """Whether it takes every receipt that passes, of whatever job, and not only those that its jobs ask for."""
        ...

    async def start(self) -> None:
        """Begin to connect; returns at once, whether anybody answers shows in `health`."""
        ...

    async def close(self) -> None:
        """End everything that `start` began."""
        ...

    async def announce(self, job: Sealed[JobAnnouncementV1]) -> None:
        """Tell the other side of a job here."""
        ...

    async def advertise(self, advert: Sealed[CapabilityAdvertisementV1]) -> None:
        """Tell what somebody here can do."""
        ...

    async def bid(self, bid: Sealed[Bid], route: Route) -> None:
        """Carry a bid to where its job was announced."""
        ...

    async def assign(self, lease: Sealed[AssignJobV1], route: Route) -> None:
        """Carry a lease to where its bid was made."""
        ...

    async def give_back(self, given: Sealed[LeaseReturnV1], route: Route) -> None:
        """Carry shards back to where their job was announced."""
        ...

    async def put_receipt(self, receipt: Sealed[ExecutionReceipt], route: Route) -> Evidence:
        """Carry a receipt to where its job was announced."""
        ...

    async def acknowledge(self, ack: Sealed[ReceiptAckV1]) -> None:
        """Lay down an originator's acknowledgement where it is found by its receipt."""
        ...

    async def acknowledgement(self, receipt: Cid) -> Sealed[ReceiptAckV1] | None:
        """The acknowledgement of a receipt, if it is there."""
        ...

    async def put_block(self, cid: Cid, data: bytes) -> None:
        """Lay down a block or blob for whoever works on a job."""
        ...

    async def get_block(self, cid: Cid, most: int) -> bytes | None:
        """A block or blob of at most so many bytes that is what its CID says, or None."""
        ...

    def events(self) -> AsyncIterator[Delivery]:
        """What happens, until `close`; one caller at a time."""
        ...

    def health(self) -> Health:
        """How it stands now."""
        ...
