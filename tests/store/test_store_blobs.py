"""Blobs that are trees: kept whole under their root, given block by block, evicted and pinned as one."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import pytest
from store_samples import roll_back

from icn_lite.model import unixfs
from icn_lite.model.cid import DAG_PB, Cid
from icn_lite.model.errors import DiskFullError, DocumentError, StoreError
from icn_lite.model.unixfs import CHUNK_BYTES
from icn_lite.store import schema
from icn_lite.store.db import Store

STREAM = hashlib.shake_256(b"store").digest(4 << 20)
DATA = STREAM[: 3 * CHUNK_BYTES + 5]
TREE = unixfs.tree_of(DATA)


@pytest.mark.parametrize("size", [CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 4 << 20])
def test_a_blob_comes_back_whole_and_in_blocks(tmp_path: Path, size: int) -> None:
    data = STREAM[:size]
    tree = unixfs.tree_of(data)
    with Store.open(tmp_path) as store:
        assert store.blocks.put(tree.root, data)
        assert not store.blocks.put(tree.root, data)
    with Store.open(tmp_path) as store:
        assert store.blocks.get(tree.root) == data
        assert (store.blocks.size(tree.root), store.blocks.total_bytes, store.blocks.count) == (size, size, 1)
        for cid, block in tree.nodes:
            assert store.blocks.block(cid) == block
        for number, leaf in enumerate(tree.leaves):
            assert store.blocks.block(leaf) == data[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]
        assert store.blocks.get(tree.leaves[0]) is None, "a leaf is no blob of its own"
        assert not store.blocks.has(tree.leaves[0])


def test_a_block_is_given_as_it_was_put(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        raw = Cid.of_raw(DATA)
        store.blocks.put(raw, DATA)
        assert store.blocks.block(raw) == store.blocks.get(raw) == DATA
        assert store.blocks.block(TREE.root) is None
        assert store.blocks.block(TREE.leaves[0]) is None


@pytest.mark.parametrize(
    ("cid", "data"),
    [
        (TREE.root, DATA[:-1]),
        (TREE.root, DATA + b"\0"),
        (TREE.root, TREE.nodes[0][1]),  # the root's own block is not the blob
        (Cid(DAG_PB, hashlib.sha256(b"small").digest()), b"small"),
        (Cid(DAG_PB, hashlib.sha256(DATA).digest()), DATA),
        (TREE.leaves[0], DATA),
    ],
)
def test_bytes_that_the_cid_does_not_name_are_refused(tmp_path: Path, cid: Cid, data: bytes) -> None:
    with Store.open(tmp_path) as store:
        with pytest.raises(DocumentError, match="don't match"):
            store.blocks.put(cid, data)
        assert store.blocks.count == 0


def test_a_blob_is_evicted_whole_and_pinned_whole(tmp_path: Path) -> None:
    other = STREAM[CHUNK_BYTES : 3 * CHUNK_BYTES]  # has chunks in common with DATA
    other_tree = unixfs.tree_of(other)
    with Store.open(tmp_path, block_budget_bytes=len(DATA) + CHUNK_BYTES) as store:
        store.blocks.put(TREE.root, DATA)
        store.blocks.pin("lease:1", [TREE.root])
        with pytest.raises(DiskFullError, match="pinned"):
            store.blocks.put(other_tree.root, other)
        assert store.blocks.get(TREE.root) == DATA
        store.blocks.unpin("lease:1")
        store.blocks.put(other_tree.root, other)
        assert store.blocks.get(TREE.root) is None
        assert store.blocks.block(TREE.root) is store.blocks.block(TREE.leaves[0]) is None
        assert store.blocks.block(TREE.leaves[1]) == other[:CHUNK_BYTES], "the other blob has it too"
        store.blocks.delete(other_tree.root)
        assert store.blocks.total_bytes == 0
        assert store._db.number("SELECT count(*) FROM parts") == 0


def test_asking_for_a_leaf_is_using_the_blob(tmp_path: Path) -> None:
    with Store.open(tmp_path, block_budget_bytes=len(DATA) + 10) as store:
        store.blocks.put(TREE.root, DATA)
        store.blocks.put(Cid.of_raw(b"later"), b"later")
        store.blocks.block(TREE.leaves[2])
        store.blocks.put(Cid.of_raw(b"newest"), b"newest")
        assert store.blocks.has(TREE.root)
        assert not store.blocks.has(Cid.of_raw(b"later"))


def test_equal_chunks_are_kept_in_their_places(tmp_path: Path) -> None:
    zeros = bytes(3 * CHUNK_BYTES)
    cid = unixfs.blob_cid(zeros)
    with Store.open(tmp_path) as store:
        store.blocks.put(cid, zeros)
        assert store.blocks.get(cid) == zeros
        assert store.blocks.block(Cid.of_raw(bytes(CHUNK_BYTES))) == bytes(CHUNK_BYTES)


def test_a_transaction_that_fails_leaves_no_part(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        roll_back(store, lambda: store.blocks.put(TREE.root, DATA))
        assert store.blocks.block(TREE.root) is None
        assert store._db.number("SELECT count(*) FROM parts") == 0


def test_a_damaged_part_never_passes_for_content(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.blocks.put(TREE.root, DATA)
    connection = sqlite3.connect(tmp_path / "node.db")
    with connection:
        connection.execute("UPDATE parts SET data = zeroblob(length(data)) WHERE number = 1")
    connection.close()
    with Store.open(tmp_path) as store:
        assert store.blocks.block(TREE.leaves[0]) == DATA[:CHUNK_BYTES]
        for ask in (lambda: store.blocks.get(TREE.root), lambda: store.blocks.block(TREE.leaves[1])):
            with pytest.raises(StoreError, match="damaged"):
                ask()
        store.blocks.pin("lease", [TREE.root])
        assert store.blocks.delete(TREE.root)
        assert store.blocks.put(TREE.root, DATA)


def test_a_home_of_the_version_before_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = Cid.of_raw(DATA)
    with monkeypatch.context() as patched:
        patched.setattr(schema, "STEPS", schema.STEPS[:1])
        patched.setattr(schema, "VERSION", 1)
        with Store.open(tmp_path) as store:
            store.blocks.put(raw, DATA)
    with Store.open(tmp_path) as store:
        assert store.blocks.get(raw) == DATA
        store.blocks.put(TREE.root, DATA)
        assert store.blocks.get(TREE.root) == DATA


def test_holders_are_released_oldest_first_by_their_names(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        for number in range(5):
            data = bytes([number]) * 100
            store.blocks.put(Cid.of_raw(data), data)
            store.blocks.pin(f"output:{number}", [Cid.of_raw(data), Cid.of_raw(b"to come %d" % number)])
            store.blocks.pin("lease:1", [Cid.of_raw(data)] if number == 0 else [])
        assert store.blocks.release("output:", 500) == 0
        assert store.blocks.release("output:", 299) == 3
        assert [store.blocks.pinned(Cid.of_raw(bytes([number]) * 100)) for number in range(5)] == [
            True, False, False, True, True,
        ], "the first is still needed by a lease"  # fmt: skip
        assert store.blocks.release("lease:", 0) == 1
        assert store.blocks.release("output:", 0) == 2
