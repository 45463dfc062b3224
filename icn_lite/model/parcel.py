"""Parcels and notices: signed documents on their way through nodes that need not understand them.

A `Parcel` is for somebody. It tells those on its way who sends it to whom, until when, and the sender's memberships, so
that whoever it reaches can judge a sender that it never met; what it asks (`Question`) is in its `Letter`, sealed
for the receiver (`mesh/letter.py`). A `Reply` is what came of it, signed by that receiver, so that no relay can answer
in its place; the `Answer` in it is sealed too. A `Notice` is for everybody, so nothing in it is sealed. Their CIDs name
them everywhere. An `Envelope` is what each node on the way may change: how many hops are left and how old it is.

A lifetime is a duration, counted by each node on the way, and beside it a wall-clock claim for nodes that have one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, ClassVar, Final, TypeAlias

from icn_lite.model import document
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import DocumentError, VerificationError
from icn_lite.model.membership import MAX_SHOWN, MEMBERSHIP_BYTES, SKEW_S
from icn_lite.model.schema import Ascii, MaxLen, Range
from icn_lite.model.units import EpochS, Nonce

MAX_BODY_BYTES: Final = 8 << 10  # a lease takes 4 KiB; a job that needs more names its shards in a plan
MAX_PARCEL_BYTES: Final = MAX_BODY_BYTES + 3584  # with two memberships, three keys and a signature
MAX_ENVELOPE_BYTES: Final = MAX_PARCEL_BYTES + 128
MAX_REPLY_BYTES: Final = 4096  # an acknowledgement or problem details, a kilobyte each
MAX_ANSWER_BYTES: Final = 3 << 10  # and what is around it
PADDED_BYTES: Final = 256  # lengths are told in steps of this: a bid looks like a receipt
MAX_SEALED_BYTES: Final = MAX_BODY_BYTES + 2 * PADDED_BYTES  # a path, its frame, padding and tag
KEY_BYTES: Final = 32  # X25519 (RFC 7748)
MAX_HOPS: Final = 64  # a line of fifty nodes; what loops is stopped by its name, this bounds what has forgotten it
MAX_LIFETIME_MS: Final = 600_000  # as long as an advertisement counts

Route: TypeAlias = Annotated[str, MaxLen(32, least=2), Ascii()]
Certificate: TypeAlias = Annotated[bytes, MaxLen(MEMBERSHIP_BYTES, least=1)]
LifetimeMs: TypeAlias = Annotated[int, Range(1, MAX_LIFETIME_MS)]
AgeMs: TypeAlias = Annotated[int, Range(0, MAX_LIFETIME_MS)]
MailboxKey: TypeAlias = Annotated[bytes, MaxLen(KEY_BYTES, least=KEY_BYTES)]
EphemeralKey: TypeAlias = Annotated[bytes, MaxLen(KEY_BYTES, least=KEY_BYTES)]
Hops: TypeAlias = Annotated[int, Range(0, MAX_HOPS)]
Code: TypeAlias = Annotated[str, MaxLen(4, least=4), Ascii()]


class Method(Enum):
    """How a question is asked (RFC 7252 §5.8)."""

    GET = "GET"
    POST = "POST"


@dataclass(frozen=True, slots=True)
class Notice:
    """`body` for the resource `path` of everybody."""

    KIND: ClassVar[str] = "icn-lite/notice/1"
    AUTHOR: ClassVar[str] = "sender"
    sender: Did
    path: Route
    body: Annotated[bytes, MaxLen(MAX_BODY_BYTES, least=1)]
    certificates: Annotated[tuple[Certificate, ...], MaxLen(MAX_SHOWN)]
    lifetime_ms: LifetimeMs
    nonce: Nonce
    mailbox: MailboxKey  # the sender's: letters to it are sealed for this key
    expires_at: EpochS | None = None  # left out where the sender's clock was never set


@dataclass(frozen=True, slots=True)
class Letter:
    """What only the receiver can open: a `Question`, sealed by `ephemeral` for its mailbox key `sealed_for`."""

    sealed_for: MailboxKey
    ephemeral: EphemeralKey
    sealed: Annotated[bytes, MaxLen(MAX_SEALED_BYTES, least=1)]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A letter for `to`; without one its sender asks for the mailbox key of `to`."""

    KIND: ClassVar[str] = "icn-lite/parcel/1"
    AUTHOR: ClassVar[str] = "sender"
    sender: Did
    to: Did
    certificates: Annotated[tuple[Certificate, ...], MaxLen(MAX_SHOWN)]
    lifetime_ms: LifetimeMs
    nonce: Nonce
    mailbox: MailboxKey
    letter: Letter | None = None
    expires_at: EpochS | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a receiver, inside a letter: as a request of `mesh/table.py`."""

    KIND: ClassVar[str] = "icn-lite/question/1"
    AUTHOR: ClassVar[str] = ""
    method: Method
    path: Annotated[str, MaxLen(128, least=2), Ascii()]  # with a CID; and with what follows a question mark
    body: Annotated[bytes, MaxLen(MAX_BODY_BYTES)] = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back: a CoAP code (`2.04`) and a body, problem details where it refuses."""

    KIND: ClassVar[str] = "icn-lite/answer/1"
    AUTHOR: ClassVar[str] = ""
    code: Code
    body: Annotated[bytes, MaxLen(MAX_ANSWER_BYTES)]
    retry_after_s: Annotated[int, Range(0, 86_400)] | None = None


@dataclass(frozen=True, slots=True)
class SealedAnswer:
    """An `Answer`, sealed by `ephemeral` for whoever sealed the letter."""

    ephemeral: EphemeralKey
    sealed: Annotated[bytes, MaxLen(MAX_ANSWER_BYTES + PADDED_BYTES + 64, least=1)]


@dataclass(frozen=True, slots=True)
class Reply:
    """What `author` answers to a parcel; without an answer it could not open it, and asks for one for `mailbox`."""

    KIND: ClassVar[str] = "icn-lite/reply/1"
    AUTHOR: ClassVar[str] = "author"
    author: Did
    parcel: Cid
    mailbox: MailboxKey
    answer: SealedAnswer | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """A parcel or notice between two neighbours. Nobody signs this: it says what only concerns the next one."""

    KIND: ClassVar[str] = "icn-lite/envelope/1"
    AUTHOR: ClassVar[str] = ""
    parcel: Annotated[bytes, MaxLen(MAX_PARCEL_BYTES, least=1)]
    hops: Hops  # how often it may still be handed on
    age_ms: AgeMs  # since it was sent, as far as the nodes on its way counted
    wait_ms: AgeMs = 0  # how long whoever hands it over waits for the reply


def read_envelope(data: bytes) -> Envelope:
    """An envelope in its one form."""
    if len(data) > MAX_ENVELOPE_BYTES:
        raise DocumentError(f"expected at most {MAX_ENVELOPE_BYTES} bytes of an envelope, found {len(data)}")
    return document.decode(Envelope, data)


def read_parcel(block: bytes) -> Sealed[Parcel]:
    """A parcel that its sender signed."""
    return document.unseal(Parcel, block, max_bytes=MAX_PARCEL_BYTES)


def read_notice(block: bytes) -> Sealed[Notice]:
    """A notice that its sender signed."""
    return document.unseal(Notice, block, max_bytes=MAX_PARCEL_BYTES)


def read_reply(block: bytes, parcel: Cid, author: Did | None) -> Reply:
    """The reply to this very parcel, by the one whom it was for."""
    sealed = document.unseal(Reply, block, max_bytes=MAX_REPLY_BYTES)
    if sealed.document.parcel != parcel:
        raise VerificationError(f"a reply to parcel {sealed.document.parcel}, asked was {parcel}")
    if author is not None and sealed.signer != author:
        raise VerificationError(f"a reply by {sealed.signer}, asked was {author}")
    return sealed.document


def over(parcel: Parcel | Notice, age_ms: int, now_s: int | None) -> bool:
    """Whether a parcel's time is over; `now_s` is None where the own clock was never set.

    The wall clock is believed to a day, as with memberships: it keeps what was recorded from coming back for ever.
    """
    if age_ms >= parcel.lifetime_ms:
        return True
    return now_s is not None and parcel.expires_at is not None and now_s > parcel.expires_at + SKEW_S
