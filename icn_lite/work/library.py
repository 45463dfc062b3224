"""What the sync machines need of the place where receipts are kept, and answering from it.

`Library` is the store's (`store/library.py`) or a simulated one. `respond` answers what a peer asks of it; a library
behind it gives only what it holds, so nothing a peer asks can do harm but by its length, which is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from icn_lite.model.anchor import AnchorAck
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import UsageError
from icn_lite.model.receipt import ExecutionReceipt
from icn_lite.model.sync import (
    FRAME_BYTES,
    MAX_BLOCKS,
    MESSAGE_BYTES,
    PLAIN_BYTES,
    Brought,
    Explain,
    Explained,
    Fetch,
    Head,
    Part,
    Pick,
    Place,
    Round,
    Rounded,
    Stretch,
    SyncAsk,
    write_answer,
)
from icn_lite.work.reconcile import Items, answer

BATCH_BYTES: Final = PLAIN_BYTES - 4_096  # of receipts in one frame; the rest is their list's
EXPLAINED: Final = 64  # heads in one answer of full length, some 300 bytes each; less where less is asked for
Known: TypeAlias = Sealed[ExecutionReceipt] | Sealed[AnchorAck]


@dataclass(frozen=True, slots=True)
class Fork:
    """Two receipts of one executor that exclude each other; both are kept. `broken`: one names another predecessor."""

    executor: Did
    seq: int
    receipts: tuple[Cid, Cid]
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of documents that were handed to a library."""

    new: tuple[Cid, ...] = ()  # receipts and acknowledgements that were not there before
    forks: tuple[Fork, ...] = ()  # found with them
    refused: int = 0  # beyond a bound of the library


@dataclass(frozen=True, slots=True)
class Found:
    """A receipt of a library, as it is read."""

    seq: int
    cid: Cid
    block: bytes


class Library(Protocol):
    """The chains and acknowledgements of one node."""

    def inventory(self) -> Items:
        """One item for each chain and each acknowledgement, all with the number 0."""
        ...

    def explain(self, ids: Sequence[bytes]) -> tuple[list[Head], list[bytes]]:
        """The heads and the signed acknowledgements behind names of the inventory."""
        ...

    def head(self, executor: Did) -> Head | None:
        """What is held of a chain."""
        ...

    def chain(self, executor: Did) -> Items:
        """Its receipts, by their numbers."""
        ...

    def total(self, executor: Did, stretches: Sequence[Stretch]) -> bytes:
        """The sum of the digests of what is or was held there, as in a head."""
        ...

    def read(self, part: Part) -> Iterator[Found]:
        """The receipts of a part, by number and by CID as text; those whose bytes were let go are left out."""
        ...

    def pick(self, executor: Did, place: Place) -> bytes | None:
        """One receipt."""
        ...

    def take(self, documents: Sequence[Known]) -> Taken:
        """Keep what was verified, all in one transaction; what is known changes nothing."""
        ...


def respond(ask: SyncAsk, library: Library) -> bytes:
    """The frame that answers an ask, other than `Give`: what is given has to be verified first."""
    asked = ask.ask
    match asked:
        case Round(message, of):
            items = library.inventory() if of is None else library.chain(of)
            return write_answer(Rounded(answer(items, message, min(MESSAGE_BYTES, ask.most))))
        case Explain(ids):
            room = max(1, EXPLAINED * ask.most // FRAME_BYTES)
            heads, acks = library.explain(ids[:room])
            return write_answer(Explained(tuple(heads), tuple(acks), min(len(ids), room)))
        case Fetch():
            return _filled(_fetched(library, asked), ask.most)
        case Pick(executor, places):
            found = (library.pick(executor, place) for place in places)
            return _filled((block for block in found if block is not None), ask.most)
        case _:
            raise UsageError("what is given is not answered from the library alone")


def _fetched(library: Library, fetch: Fetch) -> Iterator[bytes]:
    for part in fetch.parts:
        yield from (found.block for found in library.read(part))


def batch(blocks: Iterator[bytes], most: int = BATCH_BYTES) -> tuple[list[bytes], bool]:
    """As many blocks as fit, at least one, and whether there are more."""
    chosen: list[bytes] = []
    size = 0
    for block in blocks:
        if chosen and (size + len(block) > most or len(chosen) == MAX_BLOCKS):
            return chosen, True
        chosen.append(block)
        size += len(block) + 4
    return chosen, False


def _filled(blocks: Iterator[bytes], most: int) -> bytes:
    """The fullest frame of at most `most` bytes; one receipt always has room."""
    chosen, more = batch(blocks, min(BATCH_BYTES, most * 6))  # receipts of one chain shrink to a sixth at best
    while True:
        frame = write_answer(Brought(tuple(chosen), more))
        if len(frame) <= most or len(chosen) <= 1:
            return frame
        chosen, more = chosen[: max(1, min(len(chosen) - 1, len(chosen) * most // len(frame)))], True
