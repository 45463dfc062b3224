"""The handshake's four messages as they stand on the wire: DAG-CBOR maps, told apart by `type`, all bounded.

`noise.py` says what is done with them. Reading is strict (`model/schema.py`): one form, no unknown key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, TypeAlias, TypeVar

from icn_lite.model import cbor, schema
from icn_lite.model.did import KEY_LENGTH, Did
from icn_lite.model.errors import DocumentError
from icn_lite.model.invitation import ID_BYTES
from icn_lite.model.membership import MAX_SHOWN, MEMBERSHIP_BYTES
from icn_lite.model.schema import MaxLen, Range

VERSION: Final = 1
HANDSHAKE_BYTES: Final = 1_400  # one datagram that Ethernet and Wi-Fi carry in one piece
HELLO_BYTES: Final = 256  # not less than an offer, so that nobody is sent more than was sent in his name
COOKIE_BYTES: Final = 20  # generation (4) and MAC (16), see cookie.py
HINT_BYTES: Final = 8
MAX_HINTS: Final = 8  # cooperatives of one node
SID_BYTES: Final = 8
PROOF_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
MAX_LIFETIME_S: Final = 86_400
MAX_MESSAGES: Final = 1 << 40  # far below where a 48-bit counter ends

Key: TypeAlias = Annotated[bytes, MaxLen(KEY_LENGTH, least=KEY_LENGTH)]
Cookie: TypeAlias = Annotated[bytes, MaxLen(COOKIE_BYTES, least=COOKIE_BYTES)]
Hint: TypeAlias = Annotated[bytes, MaxLen(HINT_BYTES, least=HINT_BYTES)]
Signature: TypeAlias = Annotated[bytes, MaxLen(SIGNATURE_BYTES, least=SIGNATURE_BYTES)]
SealedPart: TypeAlias = Annotated[bytes, MaxLen(HANDSHAKE_BYTES)]
Certificates: TypeAlias = Annotated[tuple[Annotated[bytes, MaxLen(MEMBERSHIP_BYTES)], ...], MaxLen(MAX_SHOWN)]


@dataclass(frozen=True, slots=True)
class Hello:
    """Asks for an offer. Says nothing of who asks; the padding pays for the answer."""

    TAG: ClassVar[str] = "hello"
    version: Annotated[int, Range(VERSION, VERSION)]
    padding: Annotated[bytes, MaxLen(HELLO_BYTES)]


@dataclass(frozen=True, slots=True)
class Offer:
    """The responder's ephemeral key, a cookie for the asking address, and hints at its cooperatives."""

    TAG: ClassVar[str] = "offer"
    key: Key
    cookie: Cookie
    hints: Annotated[tuple[Hint, ...], MaxLen(MAX_HINTS)]


@dataclass(frozen=True, slots=True)
class Proof:
    """The cookie, the initiator's ephemeral key, and a sealed `SignedParty`."""

    TAG: ClassVar[str] = "proof"
    cookie: Cookie
    key: Key
    sealed: SealedPart


@dataclass(frozen=True, slots=True)
class Grant:
    """The responder's second ephemeral key and a sealed `SignedGranted`."""

    TAG: ClassVar[str] = "grant"
    key: Key
    sealed: SealedPart


@dataclass(frozen=True, slots=True)
class Party:
    """Who an initiator is: its certificates, or the invitation that it has."""

    did: Did
    certificates: Certificates
    invitation: Annotated[bytes, MaxLen(ID_BYTES, least=ID_BYTES)] | None = None
    token_proof: Annotated[bytes, MaxLen(PROOF_BYTES, least=PROOF_BYTES)] | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """Who a responder is, and the session that it grants."""

    did: Did
    certificates: Certificates
    sid: Annotated[bytes, MaxLen(SID_BYTES, least=SID_BYTES)]
    lifetime_s: Annotated[int, Range(1, MAX_LIFETIME_S)]
    messages: Annotated[int, Range(1, MAX_MESSAGES)]


@dataclass(frozen=True, slots=True)
class SignedParty:
    """A party with its signature over the transcript and itself."""

    said: Party
    signature: Signature


@dataclass(frozen=True, slots=True)
class SignedGranted:
    """What is granted, with the responder's signature over the transcript and itself."""

    said: Granted
    signature: Signature


T = TypeVar("T")


def encode(message: object) -> bytes:
    """The one form of a message; raises `DocumentError` for one that doesn't fit a datagram."""
    data = cbor.encode(schema.to_value(message))
    if len(data) > HANDSHAKE_BYTES:
        raise DocumentError(f"expected at most {HANDSHAKE_BYTES} bytes of a handshake, made {len(data)}")
    return data


def decode(cls: type[T], data: bytes) -> T:
    """Read a message of this class."""
    return schema.from_value(cls, cbor.decode(data, max_bytes=HANDSHAKE_BYTES))


def decode_asked(data: bytes) -> Hello | Proof:
    """Read what an initiator sends; a hello that is shorter than its answer is refused."""
    message: Hello | Proof = schema.from_value(Hello | Proof, cbor.decode(data, max_bytes=HANDSHAKE_BYTES))  # type: ignore[arg-type]
    if isinstance(message, Hello) and len(data) < HELLO_BYTES:
        raise DocumentError(f"expected a hello of at least {HELLO_BYTES} bytes, found {len(data)}")
    return message


def hello() -> bytes:
    """The first message, padded to `HELLO_BYTES`."""
    bare = len(encode(Hello(VERSION, bytes(HELLO_BYTES - 32))))
    return encode(Hello(VERSION, bytes(2 * HELLO_BYTES - 32 - bare)))
