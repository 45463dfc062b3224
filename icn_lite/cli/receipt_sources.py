"""Where `receipts` finds what it checks: the home, signed blocks in files, and CARv1 files.

Everything is read by CID and checked against it; a file that is brought for a module, an input or an
output and isn't the one that a receipt names is a check that failed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from icn_lite.cli.files import read_file
from icn_lite.model import unixfs
from icn_lite.model.anchor import MAX_ACK_BYTES, AnchorAck
from icn_lite.model.cid import DAG_CBOR, DAG_PB, TEXT_LENGTH, Cid
from icn_lite.model.cose import content_type, read
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError, StoreError, UsageError
from icn_lite.model.receipt import MAX_SIGNED_BYTES, ExecutionReceipt, read_receipt
from icn_lite.node.car import encode_header, encode_section, read_car
from icn_lite.store.db import Store
from icn_lite.store.receipts import MAX_LISTED, ReceiptRow

if TYPE_CHECKING:  # it brings the sandbox along: only for those who verify
    from icn_lite.node.verify import Check

MAX_CAR_BYTES: Final = 256 << 20  # held in memory; more receipts than a phone makes in years
MAX_BLOCK_BYTES: Final = 64 << 20  # a module, an input or an output
COSE_SIGN1: Final = 0x84  # an array of four: how every signed block begins


def is_cid(name: str) -> bool:
    """Whether a word is meant as a CID and not as a file."""
    return len(name) == TEXT_LENGTH and name.startswith("b") and not Path(name).exists()


def find_block(name: str, store: Store | None) -> bytes:
    """One receipt's signed block, by CID from the home or from a file."""
    if not is_cid(name):
        data = read_file(name, most=MAX_SIGNED_BYTES, what="receipt")
        if not data:
            raise DocumentError(f"{name} is empty", offset=0)
        return data
    block = store.receipts.get(Cid.parse(name)) if store is not None else None
    if block is None:
        raise StoreError(f"receipt {name} is not here", hint="`icn-lite receipts` lists those that are; or name a file")
    return block


class Sources:
    """The home's store, if there is one, and the files that were named."""

    def __init__(self, store: Store | None, files: Mapping[str, str]) -> None:
        """`files` names the module, the input or the output that a person brought."""
        self._store = store
        self._blocks: dict[Cid, bytes] = {}
        self._named: dict[str, tuple[str, Cid]] = {}
        for what, name in files.items():
            data = read_file(name, most=MAX_BLOCK_BYTES, what=what)
            cid = unixfs.blob_cid(data)
            self._blocks[cid] = data
            self._blocks[Cid.of_raw(data)] = data  # as one block, whatever its size, it is named rightly too
            self._named[what] = (name, cid)

    def misfits(self, receipt: ExecutionReceipt) -> list[Check]:
        """The named files that are not what the receipt names."""
        from icn_lite.node.verify import Check

        said = {"module": receipt.module, "input": receipt.input, "output": receipt.output}
        return [
            Check(what, "failed", f"{name} is {cid}, the receipt says {said[what] or 'there is none'}")
            for what, (name, cid) in self._named.items()
            if said[what] not in (cid, Cid.of_raw(self._blocks[cid]))
        ]

    def get(self, cid: Cid) -> bytes | None:
        """A block or a receipt by its CID, from files first; None where it is not at hand."""
        block = self._blocks.get(cid)
        if block is not None and cid.codec == DAG_PB and len(block) <= unixfs.CHUNK_BYTES:
            block = unixfs.join(cid, self._blocks.get)  # from a CAR file, which holds a large blob block by block
        if block is None and self._store is not None:
            block = self._store.blocks.get(cid)
            if block is None:
                block = self._store.receipts.get(cid)
        return block

    def receipts(self, names: Sequence[str], *, everything: bool) -> Iterator[tuple[str, bytes]]:
        """The signed blocks to check, each with the name that a person gave it."""
        for name in names:
            if is_cid(name):
                yield name, find_block(name, self._store)
            else:
                yield from self._from_file(name)
        if everything:
            for row in all_rows(self._store, None, None):
                block = self._store.receipts.get(row.cid) if self._store is not None else None
                if block is not None:  # an anchor keeps those whose bytes were let go
                    yield str(row.cid), block

    def _from_file(self, name: str) -> Iterator[tuple[str, bytes]]:
        data = read_file(name, most=MAX_CAR_BYTES, what="file of receipts")
        if data[:1] == bytes((COSE_SIGN1,)) or not _is_car(data):
            yield name, data
            return
        signed: list[tuple[str, bytes]] = []
        for cid, block in read_car(io.BytesIO(data)):
            self._blocks[cid] = block
            if cid.codec == DAG_CBOR and block[:1] == bytes((COSE_SIGN1,)) and not _is_ack(block):
                signed.append((f"{name}:{cid}", block))
        if not signed:
            raise UsageError(f"{name} holds no receipt", hint="export with `icn-lite receipts export FILE.car`")
        yield from signed


def _is_ack(block: bytes) -> bool:
    """Whether a signed block is an anchor's acknowledgement; what can't be read is left to those who check receipts."""
    try:
        return read(block, max_bytes=MAX_ACK_BYTES).content_type == content_type(AnchorAck.KIND)
    except DocumentError:
        return False


def _is_car(data: bytes) -> bool:
    """Whether the bytes begin like a CARv1: a short length, then a map with `roots` first."""
    return b"\x65roots" in data[:16]


def all_rows(store: Store | None, job: Cid | None, executor: Did | None) -> Iterator[ReceiptRow]:
    """All receipts of a store, page by page."""
    after = 0
    while store is not None:
        rows = store.receipts.list(job=job, executor=executor, after=after, limit=MAX_LISTED)
        yield from rows
        if len(rows) < MAX_LISTED:
            return
        after = rows[-1].number


@dataclass(frozen=True, slots=True)
class Exported:
    """A CARv1 file, and how many of each kind there are in it."""

    data: bytes
    receipts: int
    acks: int
    blocks: int  # jobs, modules, inputs, outputs


def export_car(store: Store | None, job: Cid | None, executor: Did | None, *, with_blocks: bool) -> Exported:
    """A CARv1 with receipts, what anchors say of their chains and, if wanted, the blocks that they name.

    Its roots are the last receipt of each executor. Receipts whose bytes were let go are left out.
    """
    body = bytearray()
    heads: dict[Did, Cid] = {}
    others: dict[Cid, None] = {}
    receipts = acks = blocks = 0
    for row in all_rows(store, job, executor):
        block = store.receipts.get(row.cid) if store is not None else None
        if block is None:
            continue
        body += encode_section(row.cid, block)
        heads[row.executor] = row.cid
        receipts += 1
        if with_blocks:
            others.update(dict.fromkeys(_named_blocks(read_receipt(block).document)))
        _check_size(len(body))
    for did in heads:
        for ack in store.acks.list(did) if store is not None else ():
            body += encode_section(ack.cid, store.acks.get(ack.cid) or b"" if store is not None else b"")
            acks += 1
            _check_size(len(body))
    for cid in others:
        data = store.blocks.get(cid) if store is not None else None
        for name, block in unixfs.sections(cid, data) if data is not None else ():
            body += encode_section(name, block)
            blocks += 1
            _check_size(len(body))
    return Exported(encode_header(heads.values()) + bytes(body), receipts, acks, blocks)


def _named_blocks(receipt: ExecutionReceipt) -> list[Cid]:
    named = (receipt.job, receipt.module, receipt.input, receipt.output, receipt.call)
    return [cid for cid in named if cid is not None]


def _check_size(size: int) -> None:
    if size > MAX_CAR_BYTES:
        raise StoreError(
            f"expected at most {MAX_CAR_BYTES} bytes in one file",
            hint="export by --job or --executor, or without --blocks",
        )
