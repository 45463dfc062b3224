"""Receipts and acknowledgements from a file into the home: the same checks as for what a neighbour gives.

What a file holds beside them is passed over and counted. An acknowledgement counts only where its signer is an anchor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from icn_lite.model import cose
from icn_lite.model.anchor import MAX_ACK_BYTES, AnchorAck
from icn_lite.model.cid import DAG_CBOR, Cid
from icn_lite.model.errors import DocumentError
from icn_lite.model.receipt import ExecutionReceipt
from icn_lite.node.anchors import Anchors
from icn_lite.node.car import COSE_SIGN1
from icn_lite.node.library import StoreLibrary
from icn_lite.store.db import Store
from icn_lite.work.sync import read_known, verified_all

BATCH_BYTES: Final = 48 << 10  # of blocks in one transaction; in one frame to a running node
BATCH: Final = 256
_KINDS: Final = frozenset(map(cose.content_type, (ExecutionReceipt.KIND, AnchorAck.KIND)))


@dataclass(frozen=True, slots=True)
class Imported:
    """How many were new, and what else there was."""

    receipts: int = 0
    acks: int = 0
    known: int = 0  # here already, or nobody's word that counts
    refused: int = 0  # beyond what is kept
    forks: int = 0  # found with them

    def __add__(self, other: Imported) -> Imported:
        return Imported(
            self.receipts + other.receipts,
            self.acks + other.acks,
            self.known + other.known,
            self.refused + other.refused,
            self.forks + other.forks,
        )


def is_known_kind(cid: Cid, block: bytes) -> bool:
    """Whether a block of a file is a signed receipt or acknowledgement, by its form."""
    if cid.codec != DAG_CBOR or block[:1] != COSE_SIGN1 or len(block) > MAX_ACK_BYTES:
        return False
    try:
        return cose.read(block, max_bytes=MAX_ACK_BYTES).content_type in _KINDS
    except DocumentError:
        return False


def batches(blocks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Signed blocks in portions of one transaction."""
    batch: list[bytes] = []
    size = 0
    for block in blocks:
        if batch and (size + len(block) > BATCH_BYTES or len(batch) == BATCH):
            yield batch
            batch, size = [], 0
        batch.append(block)
        size += len(block)
    if batch:
        yield batch


def import_blocks(store: Store, anchors: Anchors, blocks: list[bytes]) -> Imported:
    """Verify and keep one batch, whole or not at all; raises `DocumentError` or `SignatureError`."""
    documents = verified_all(blocks, read_known)
    counted = [one for one in documents if not isinstance(one.document, AnchorAck) or anchors.counts(one.document)]
    with store.transaction():
        taken = StoreLibrary(store).take(counted)
    acks = {one.cid for one in counted if isinstance(one.document, AnchorAck)}
    new_acks = sum(cid in acks for cid in taken.new)
    known = len(blocks) - len(taken.new) - taken.refused
    return Imported(len(taken.new) - new_acks, new_acks, known, taken.refused, len(taken.forks))
