"""Blocks and blobs by CID, within a budget of bytes.

A module, an input or an output is kept whole under its CID, also where that names a tree of blocks
(`model/unixfs.py`); `block` gives single blocks, those of such trees too, as peers ask for them. `put` refuses bytes
that don't match their CID. What a holder (a lease, a job, an unacknowledged receipt) has pinned stays; of the rest
the least recently used goes first when the budget is reached. "Recently" counts uses, not time: a Pi has no clock at
boot. A use is remembered in memory and written with the next commit, so reading wears no flash, and a crash forgets
at worst some order.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Final

from icn_lite.model import unixfs
from icn_lite.model.cid import DAG_PB, Cid
from icn_lite.model.errors import DiskFullError, DocumentError, StoreError
from icn_lite.store.database import Database

DEFAULT_BUDGET_BYTES: Final = 256 << 20  # modules, inputs and outputs of some hundred shards; 3 % of an 8 GB card
MAX_BLOCK_BYTES: Final = unixfs.MAX_BLOB_BYTES  # handled whole in memory: what the largest profile's guests hold
LARGE_BYTES: Final = 4 << 20  # from here on a block is written and read without the two copies that SQLite makes
NODE: Final = -1  # the number of a tree's nodes among its parts
MAX_TOUCHES: Final = 1_024  # uses remembered until the next commit; further ones only cost their place in the order
MAX_HOLDER_CHARS: Final = 128  # "lease:" and a CID, with room


class Blocks:
    """The block store of one node."""

    def __init__(self, database: Database, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> None:
        self._db = database
        self._touched: dict[str, None] = {}
        self.budget_bytes = budget_bytes
        database.write_along(self)

    def put(self, cid: Cid, data: bytes) -> bool:
        """Store a block or a blob; returns whether it is new. Raises `DocumentError` when the bytes are not its own."""
        if len(data) > MAX_BLOCK_BYTES:
            raise DocumentError(f"expected a block of at most {MAX_BLOCK_BYTES} bytes, found {len(data)}")
        tree = unixfs.tree_of(data) if cid.codec == DAG_PB and len(data) > unixfs.CHUNK_BYTES else None
        if not (cid.fits(data) if tree is None else cid == tree.root) or (cid.codec == DAG_PB and tree is None):
            raise DocumentError(f"{len(data)} bytes don't match their CID {cid}")
        if self.has(cid):
            self._touch(str(cid))
            return False
        with self._db.write():
            self._make_room(len(data))
            row = self._db.insert(
                "INSERT INTO blocks(cid, size, used) VALUES (?, ?, (SELECT coalesce(max(used), 0) + 1 FROM blocks))",
                (str(cid), len(data)),
            )
            if tree is not None:
                self._put_parts(row, tree, memoryview(data))
            elif len(data) < LARGE_BYTES:
                self._db.run("INSERT INTO block_data(id, data) VALUES (?, ?)", (row, data))
            else:
                self._db.run("INSERT INTO block_data(id, data) VALUES (?, zeroblob(?))", (row, len(data)))
                self._db.write_blob("block_data", "data", row, data)
        return True

    def _put_parts(self, row: int, tree: unixfs.Tree, data: memoryview) -> None:
        insert = "INSERT INTO parts(blob, number, cid, data) VALUES (?, ?, ?, ?)"
        for cid, block in tree.nodes:
            self._db.run(insert, (row, NODE, str(cid), block))
        for number, leaf in enumerate(tree.leaves):
            at = number * unixfs.CHUNK_BYTES
            self._db.run(insert, (row, number, str(leaf), bytes(data[at : at + unixfs.CHUNK_BYTES])))

    def get(self, cid: Cid) -> bytes | None:
        """A block or a whole blob, or None. It is checked again, so a decaying disk never passes for content."""
        found, data = self._read(cid)
        if not found:
            return None
        if data is None or not unixfs.names(cid, data):
            raise _damaged(cid)
        self._touch(str(cid))
        return data

    def block(self, cid: Cid) -> bytes | None:
        """The single block of a CID, or None: of a blob's tree its nodes and leaves, by the CID of each."""
        own = self.get(cid) if cid.codec != DAG_PB else None
        if own is not None:
            return own
        query = "SELECT blocks.cid, data FROM parts JOIN blocks ON blocks.id = blob WHERE parts.cid = ? LIMIT 1"
        row = self._db.row(query, (str(cid),))
        if row is None:
            return None
        blob, data = row
        if not isinstance(data, bytes) or not cid.fits(data):
            raise _damaged(cid)
        self._touch(str(blob))
        return data

    def has(self, cid: Cid) -> bool:
        """Whether the block is here."""
        return self._db.row("SELECT 1 FROM blocks WHERE cid = ?", (str(cid),)) is not None

    def size(self, cid: Cid) -> int | None:
        """The length of a block in bytes, or None where it isn't here."""
        row = self._db.row("SELECT size FROM blocks WHERE cid = ?", (str(cid),))
        return row[0] if row and isinstance(row[0], int) else None

    def delete(self, cid: Cid) -> bool:
        """Forget a block; returns whether it was here. A pinned one is refused, unless it is damaged."""
        with self._db.write():
            if self.pinned(cid) and self._whole(cid):
                raise StoreError(f"block {cid} is still needed", hint="unpin it for all its holders first")
            return self._db.run("DELETE FROM blocks WHERE cid = ?", (str(cid),)) > 0

    def _whole(self, cid: Cid) -> bool:
        _, data = self._read(cid)
        return data is not None and unixfs.names(cid, data)

    def _read(self, cid: Cid) -> tuple[bool, bytes | None]:
        """Whether there is such a block, and what is stored as its bytes, unchecked."""
        if cid.codec == DAG_PB:
            return self._read_parts(cid)
        query = """SELECT id, CASE WHEN length(data) < ? THEN data END FROM blocks JOIN block_data USING (id)
            WHERE cid = ?"""
        row = self._db.row(query, (LARGE_BYTES, str(cid)))
        if row is None:
            return False, None
        number, data = row
        if data is None and isinstance(number, int):
            data = self._db.read_blob("block_data", "data", number)
        return True, data if isinstance(data, bytes) else None

    def _read_parts(self, cid: Cid) -> tuple[bool, bytes | None]:
        """The chunks of a tree, joined one by one: all of them at once would take its memory twice."""
        blob = self._db.row("SELECT id FROM blocks WHERE cid = ?", (str(cid),))
        if blob is None:
            return False, None
        joined, number = io.BytesIO(), 0
        while row := self._db.row("SELECT data FROM parts WHERE blob = ? AND number = ?", (blob[0], number)):
            joined.write(row[0] if isinstance(row[0], bytes) else b"")
            number += 1
        return True, joined.getvalue()

    @property
    def total_bytes(self) -> int:
        """The bytes of all blocks."""
        return self._db.number("SELECT bytes FROM block_totals")

    @property
    def count(self) -> int:
        """How many blocks are here."""
        return self._db.number("SELECT blocks FROM block_totals")

    # Pins

    def pin(self, holder: str, cids: Iterable[Cid]) -> None:
        """Keep these blocks for `holder`, those that are still to come included."""
        if not 0 < len(holder) <= MAX_HOLDER_CHARS:
            raise StoreError(f"expected a holder of 1 to {MAX_HOLDER_CHARS} characters, found {len(holder)}")
        with self._db.write():
            for cid in cids:
                self._db.run("INSERT OR IGNORE INTO pins(cid, holder) VALUES (?, ?)", (str(cid), holder))

    def unpin(self, holder: str) -> int:
        """Let go of everything that `holder` keeps; returns how many blocks that were."""
        with self._db.write():
            return self._db.run("DELETE FROM pins WHERE holder = ?", (holder,))

    def release(self, prefix: str, keep_bytes: int) -> int:
        """Let go of holders whose names begin so, the first by name first, until the others keep at most so many bytes.

        Returns how many were let go.
        """
        query = """SELECT holder, coalesce(sum(size), 0) FROM pins LEFT JOIN blocks USING (cid)
            WHERE substr(holder, 1, ?) = ? GROUP BY holder ORDER BY holder DESC"""
        kept, gone = 0, list[str]()
        for holder, size in self._db.rows(query, (len(prefix), prefix)):
            kept += size if isinstance(size, int) else 0
            if kept > keep_bytes:
                gone.append(str(holder))
        for holder in gone:
            self.unpin(holder)
        return len(gone)

    def pinned(self, cid: Cid) -> bool:
        """Whether anyone needs the block."""
        return self._db.row("SELECT 1 FROM pins WHERE cid = ?", (str(cid),)) is not None

    def missing(self, holder: str) -> list[Cid]:
        """The blocks that `holder` keeps and that haven't arrived, in the order of their text."""
        query = "SELECT cid FROM pins WHERE holder = ? AND cid NOT IN (SELECT cid FROM blocks) ORDER BY cid"
        return [Cid.parse(str(row[0])) for row in self._db.rows(query, (holder,))]

    # Room

    def evict(self, budget_bytes: int) -> int:
        """Drop unpinned blocks, least recently used first, down to `budget_bytes`; returns the bytes that are left."""
        with self._db.write():
            return self._evict(budget_bytes)

    def _make_room(self, size: int) -> None:
        left = self._evict(self.budget_bytes - size)
        if left + size > self.budget_bytes:
            raise DiskFullError(
                f"a block of {size} bytes doesn't fit: {left} of {self.budget_bytes} bytes are taken by pinned blocks",
                hint="finish or cancel work, or raise the budget for blocks",
            )

    def _evict(self, budget_bytes: int) -> int:
        total = self.total_bytes
        if total <= budget_bytes:
            return total
        self.write_pending()
        oldest = """SELECT id FROM blocks WHERE NOT EXISTS (SELECT 1 FROM pins WHERE pins.cid = blocks.cid)
            ORDER BY used LIMIT 1"""
        while total > budget_bytes and (row := self._db.row(oldest)) is not None:
            self._db.run("DELETE FROM blocks WHERE id = ?", row)
            total = self.total_bytes
        return total

    def _touch(self, cid: str) -> None:
        if self._db.read_only:
            return
        self._touched.pop(cid, None)
        if len(self._touched) >= MAX_TOUCHES:
            self._touched.pop(next(iter(self._touched)))
        self._touched[cid] = None

    def write_pending(self) -> None:
        """Write the order of use since the last commit."""
        for cid in self._touched:
            self._db.run(
                "UPDATE blocks SET used = (SELECT coalesce(max(used), 0) + 1 FROM blocks) WHERE cid = ?", (cid,)
            )

    def forget_pending(self) -> None:
        """The order of use is on the disk."""
        self._touched.clear()


def _damaged(cid: Cid) -> StoreError:
    return StoreError(f"block {cid} is damaged on the disk", hint="delete it and fetch it again; check the disk")
