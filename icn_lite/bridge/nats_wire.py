"""From messages of NATS to events and back: reading mail, confirming it, bounds for objects, errors in words."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, TypeAlias, TypeVar

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg

from icn_lite.bridge.upstream import BidMade, Event, JobAnnounced, LeaseGiven, LeaseReturned, ReceiptCame, Route
from icn_lite.model import receipt as receipts
from icn_lite.model.bid import Bid
from icn_lite.model.document import Document, Sealed, unseal
from icn_lite.model.messages import AssignJobV1, JobAnnouncementV1, LeaseReturnV1

D = TypeVar("D", bound=Document)

_Reader: TypeAlias = Callable[[bytes, Route], Event]


def _reader(cls: type[D], make: Callable[[Sealed[D], Route], Event]) -> _Reader:
    return lambda block, route: make(unseal(cls, block), route)


_READERS: Final[dict[str, _Reader]] = {
    "job": _reader(JobAnnouncementV1, JobAnnounced),
    "bid": _reader(Bid, BidMade),
    "lease": _reader(AssignJobV1, LeaseGiven),
    "return": _reader(LeaseReturnV1, LeaseReturned),
}


def read_work(message: Msg) -> Event:
    """A piece of mail; raises for what is none."""
    _, _, _, _, kind, sender = message.subject.split(".")
    event = _READERS[kind](message.data, Route(sender))
    return replace(event, age_ms=_age_ms(message)) if isinstance(event, JobAnnounced) else event


def read_receipt(message: Msg) -> Event:
    """A receipt; raises for what is none."""
    return ReceiptCame(receipts.read_receipt(message.data), Route(message.subject.rsplit(".", 1)[1]))


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """An event and the message that brought it; an acknowledgement's doorbell has none."""

    event: Event
    message: Msg | None
    unconfirmed: dict[int, Given]

    @property
    def tries(self) -> int:
        """As the hub counts."""
        return self.message.metadata.num_delivered if self.message is not None else 1

    async def confirm(self) -> None:
        """It doesn't come again, unless this word is lost: then what it says is known."""
        await self._say(lambda message: message.ack())

    async def postpone(self, delay_ms: int) -> None:
        """It comes again."""
        await self._say(lambda message: message.nak(delay_ms / 1000 if delay_ms else None))

    async def _say(self, word: Callable[[Msg], Coroutine[object, object, None]]) -> None:
        self.unconfirmed.pop(id(self), None)
        if self.message is not None:
            with contextlib.suppress(nats.errors.Error, OSError):
                await word(self.message)


class TooMuch(Exception):
    """An object with more bytes than its own description says."""


class Bounded(io.BytesIO):
    """Takes so many bytes and no more."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._left = most

    def write(self, data: object) -> int:
        assert isinstance(data, bytes)
        self._left -= len(data)
        if self._left < 0:
            raise TooMuch
        return super().write(data)


def _age_ms(message: Msg) -> int:
    """How long a message lay on the hub, if our clock is right; a job whose bidding is over needs no bids."""
    return max(0, round((datetime.now(UTC) - message.metadata.timestamp).total_seconds() * 1000))


def digest_text(digest: bytes) -> str:
    return "SHA-256=" + base64.urlsafe_b64encode(digest).decode("ascii")


def sentence(error: Exception) -> str:
    """What went wrong, in one line without the library's prefix."""
    if isinstance(error, nats.js.errors.NoStreamResponseError | nats.js.errors.ServiceUnavailableError):
        return "the hub is not reached"
    if isinstance(error, nats.js.errors.APIError) and error.description:
        return error.description
    if isinstance(error, TimeoutError | nats.errors.TimeoutError):
        return "no answer in time"
    return str(error).removeprefix("nats: ").strip() or type(error).__name__
