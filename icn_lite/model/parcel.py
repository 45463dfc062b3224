"""Parcels: signed documents on their way through nodes that need not understand them.

A `Parcel` is what its sender signs: for whom (nobody named: everybody), for which resource, what, until when, and the
sender's memberships, so that whoever it reaches can judge a sender that it never met. Its CID names it everywhere. An
`Envelope` is what each node on the way may change: how many hops are left and how old the parcel is. A `Reply` is what
came of a parcel for one node, signed by that node, so that no relay can answer in its place.

A lifetime is a duration, counted by each node on the way, and beside it a wall-clock claim for nodes that have one.
What is inside `body` is a signed block of its own kind; a relay does not read it.
"""

from __future__ import annotations

from dataclasses import dataclass
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
MAX_PARCEL_BYTES: Final = MAX_BODY_BYTES + 3 * 1024  # with two memberships and a signature
MAX_ENVELOPE_BYTES: Final = MAX_PARCEL_BYTES + 128
MAX_REPLY_BYTES: Final = 4096  # an acknowledgement or problem details, a kilobyte each
MAX_HOPS: Final = 64  # a line of fifty nodes; what loops is stopped by its name, this bounds what has forgotten it
MAX_LIFETIME_MS: Final = 600_000  # as long as an advertisement counts

Route: TypeAlias = Annotated[str, MaxLen(32, least=2), Ascii()]
Certificate: TypeAlias = Annotated[bytes, MaxLen(MEMBERSHIP_BYTES, least=1)]
LifetimeMs: TypeAlias = Annotated[int, Range(1, MAX_LIFETIME_MS)]
AgeMs: TypeAlias = Annotated[int, Range(0, MAX_LIFETIME_MS)]
Hops: TypeAlias = Annotated[int, Range(0, MAX_HOPS)]
Code: TypeAlias = Annotated[str, MaxLen(4, least=4), Ascii()]


@dataclass(frozen=True, slots=True)
class Parcel:
    """`body` for the resource `path` of `to`, or of everybody."""

    KIND: ClassVar[str] = "icn-lite/parcel/1"
    AUTHOR: ClassVar[str] = "sender"
    sender: Did
    path: Route
    body: Annotated[bytes, MaxLen(MAX_BODY_BYTES, least=1)]
    certificates: Annotated[tuple[Certificate, ...], MaxLen(MAX_SHOWN)]
    lifetime_ms: LifetimeMs
    nonce: Nonce
    to: Did | None = None
    expires_at: EpochS | None = None  # left out where the sender's clock was never set


@dataclass(frozen=True, slots=True)
class Reply:
    """What `author` answers to a parcel: a CoAP code (`2.04`) and a body, problem details where it refuses."""

    KIND: ClassVar[str] = "icn-lite/reply/1"
    AUTHOR: ClassVar[str] = "author"
    author: Did
    parcel: Cid
    code: Code
    body: Annotated[bytes, MaxLen(MAX_REPLY_BYTES - 512)]
    retry_after_s: Annotated[int, Range(0, 86_400)] | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """A parcel between two neighbours. Nobody signs this: it says what only concerns the next one."""

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


def read_reply(block: bytes, parcel: Cid, author: Did | None) -> Reply:
    """The reply to this very parcel, by the one whom it was for."""
    sealed = document.unseal(Reply, block, max_bytes=MAX_REPLY_BYTES)
    if sealed.document.parcel != parcel:
        raise VerificationError(f"a reply to parcel {sealed.document.parcel}, asked was {parcel}")
    if author is not None and sealed.signer != author:
        raise VerificationError(f"a reply by {sealed.signer}, asked was {author}")
    return sealed.document


def over(parcel: Parcel, age_ms: int, now_s: int | None) -> bool:
    """Whether a parcel's time is over; `now_s` is None where the own clock was never set.

    The wall clock is believed to a day, as with memberships: it keeps what was recorded from coming back for ever.
    """
    if age_ms >= parcel.lifetime_ms:
        return True
    return now_s is not None and parcel.expires_at is not None and now_s > parcel.expires_at + SKEW_S
