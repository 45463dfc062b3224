"""What two nodes say to each other while they sync: asks and answers, in frames.

Nobody signs these, they travel within a session; what they bring (receipts, acknowledgements) is signed by its authors
and checked one by one. A frame is one document, deflated (RFC 1950): receipts of a chain share most of what is in them
beside hashes and signatures, so a batch takes about a third. Both lengths of a frame are bounded before it is read.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, TypeAlias

from icn_lite.model import document
from icn_lite.model.anchor import MAX_ACK_BYTES
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError
from icn_lite.model.receipt import Seq
from icn_lite.model.schema import MaxLen, Range

FRAME_BYTES: Final = 64 << 10  # one message over TCP; over UDP `most` asks for less
LEAST_ANSWER_BYTES: Final = 1_000  # one CoAP block without its options: a receipt or two
PLAIN_BYTES: Final = 256 << 10  # a frame inflated: some 300 receipts
LEVEL: Final = 3  # of deflate: 9 saves 3 % more and takes four times as long
MESSAGE_BYTES: Final = 48 << 10  # one round of a reconciliation
ID_BYTES: Final = 16
MAX_IDS: Final = 512
MAX_HEADS: Final = 256
MAX_GAPS: Final = 32  # that a head tells; who has more is told of the rest when these are filled
MAX_PARTS: Final = 64
MAX_BLOCKS: Final = 512
MAX_SEQ: Final = (1 << 53) - 1

ShortId: TypeAlias = Annotated[bytes, MaxLen(ID_BYTES, least=ID_BYTES)]
Count: TypeAlias = Annotated[int, Range(0, 1 << 53)]
End: TypeAlias = Annotated[int, Range(1, MAX_SEQ + 1)]
Blocks: TypeAlias = Annotated[
    tuple[Annotated[bytes, MaxLen(MAX_ACK_BYTES, least=1)], ...], MaxLen(MAX_BLOCKS)
]  # the larger of the two kinds
Message: TypeAlias = Annotated[bytes, MaxLen(MESSAGE_BYTES)]


@dataclass(frozen=True, slots=True, order=True)
class Stretch:
    """Sequence numbers from `first` to before `end`."""

    first: Seq
    end: End

    def __post_init__(self) -> None:
        if self.end <= self.first:
            raise DocumentError(f"end: expected above {self.first}, found {self.end}")


@dataclass(frozen=True, slots=True)
class Head:
    """What a node holds, or has held, of one chain. Two with the same `id` are the same receipts.

    `total` is the sum of the receipts' digests modulo 2^256; `tip` the last receipt, of a fork the one with the
    smallest CID; `forks` how many there are beyond one for each number; `gaps` the first numbers without any.
    """

    executor: Did
    next: End
    count: Count
    forks: Count
    total: Annotated[bytes, MaxLen(32, least=32)]
    tip: Cid
    gaps: Annotated[tuple[Stretch, ...], MaxLen(MAX_GAPS)] = ()

    @property
    def id(self) -> bytes:
        """Its name among all that a node holds."""
        return head_id(self.executor, self.next, self.count, self.total)


def head_id(executor: Did, following: int, count: int, total: bytes) -> bytes:
    """The name of a head from its parts."""
    numbers = following.to_bytes(8, "big") + count.to_bytes(8, "big")
    return hashlib.sha256(b"icn-lite/head/1" + executor.public_key + numbers + total).digest()[:ID_BYTES]


def ack_id(cid: Cid) -> bytes:
    """The name of an acknowledgement there."""
    return cid.digest[:ID_BYTES]


@dataclass(frozen=True, slots=True)
class Round:
    """One round of a reconciliation: of a chain, or without `of` of everything that the sides hold."""

    TAG: ClassVar[str] = "round"
    message: Message
    of: Did | None = None


@dataclass(frozen=True, slots=True)
class Explain:
    """What is behind these names?"""

    TAG: ClassVar[str] = "explain"
    ids: Annotated[tuple[ShortId, ...], MaxLen(MAX_IDS, least=1)]


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a chain; of its first number only what comes behind `after`, in the order of the CIDs as text."""

    executor: Did
    stretch: Stretch
    after: Cid | None = None


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bring these parts, in this order."""

    TAG: ClassVar[str] = "fetch"
    parts: Annotated[tuple[Part, ...], MaxLen(MAX_PARTS, least=1)]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """One receipt by its number and the beginning of its digest."""

    seq: Seq
    id: ShortId


@dataclass(frozen=True, slots=True)
class Pick:
    """Bring these receipts of one chain, in this order."""

    TAG: ClassVar[str] = "pick"
    executor: Did
    places: Annotated[tuple[Place, ...], MaxLen(MAX_IDS, least=1)]


@dataclass(frozen=True, slots=True)
class Give:
    """Take these."""

    TAG: ClassVar[str] = "give"
    blocks: Blocks


@dataclass(frozen=True, slots=True)
class SyncAsk:
    """One ask; its answer is to be at most `most` bytes."""

    KIND: ClassVar[str] = "icn-lite/sync-ask/1"
    AUTHOR: ClassVar[str] = ""
    ask: Round | Explain | Fetch | Pick | Give
    most: Annotated[int, Range(LEAST_ANSWER_BYTES, FRAME_BYTES)] = FRAME_BYTES


@dataclass(frozen=True, slots=True)
class Rounded:
    """The other side's round."""

    TAG: ClassVar[str] = "rounded"
    message: Message


@dataclass(frozen=True, slots=True)
class Explained:
    """What the first `covered` names stand for; one that stands for nothing any more is left out."""

    TAG: ClassVar[str] = "explained"
    heads: Annotated[tuple[Head, ...], MaxLen(MAX_HEADS)]
    acks: Blocks
    covered: Annotated[int, Range(1, MAX_IDS)]


@dataclass(frozen=True, slots=True)
class Brought:
    """Receipts, in the order in which they were asked for; `more` if the answer had no room for the rest."""

    TAG: ClassVar[str] = "brought"
    blocks: Blocks
    more: bool


@dataclass(frozen=True, slots=True)
class Took:
    """How many of those given were new."""

    TAG: ClassVar[str] = "took"
    new: Count


@dataclass(frozen=True, slots=True)
class SyncAnswer:
    """One answer."""

    KIND: ClassVar[str] = "icn-lite/sync-answer/1"
    AUTHOR: ClassVar[str] = ""
    answer: Rounded | Explained | Brought | Took


Asked: TypeAlias = Round | Explain | Fetch | Pick | Give
Answered: TypeAlias = Rounded | Explained | Brought | Took


def write_ask(ask: SyncAsk) -> bytes:
    """The frame of an ask."""
    return zlib.compress(document.encode(ask), LEVEL)


def write_answer(answer: Answered) -> bytes:
    """The frame of an answer."""
    return zlib.compress(document.encode(SyncAnswer(answer)), LEVEL)


def read_ask(frame: bytes) -> SyncAsk:
    """An ask, or `DocumentError`."""
    return document.decode(SyncAsk, _inflated(frame))


def read_answer(frame: bytes) -> Answered:
    """An answer, or `DocumentError`."""
    return document.decode(SyncAnswer, _inflated(frame)).answer


def _inflated(frame: bytes) -> bytes:
    """A frame's document; not one byte more than its bound is ever made of it."""
    if len(frame) > FRAME_BYTES:
        raise DocumentError(f"expected a frame of at most {FRAME_BYTES} bytes, found {len(frame)}")
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(frame, PLAIN_BYTES)
    except zlib.error as error:
        raise DocumentError(f"expected a deflated frame: {error}", offset=0) from error
    if not inflater.eof or inflater.unused_data:
        raise DocumentError(f"expected one whole frame of at most {PLAIN_BYTES} bytes inflated")
    return plain
