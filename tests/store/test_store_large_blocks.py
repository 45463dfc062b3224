"""Large blocks are written and read past SQLite's copies of them, and nothing else about them differs."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from store_samples import roll_back

from icn_lite.model.cid import Cid
from icn_lite.model.errors import DiskFullError, DocumentError, StoreError
from icn_lite.store.blocks import LARGE_BYTES
from icn_lite.store.database import FILE_NAME
from icn_lite.store.db import Store


@pytest.mark.parametrize("size", [LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1])
def test_what_is_put_is_what_is_got(tmp_path: Path, size: int) -> None:
    data = bytes(range(251)) * (size // 251) + bytes(size % 251)
    cid = Cid.of_raw(data)
    with Store.open(tmp_path) as store:
        assert store.blocks.put(cid, data)
        assert not store.blocks.put(cid, data)
        assert store.blocks.get(cid) == data
        with pytest.raises(DocumentError, match="don't match their CID"):
            store.blocks.put(cid, data[:-1] + b"\1")
    with Store.open(tmp_path, read_only=True) as store:
        assert store.blocks.get(cid) == data
        assert store.blocks.total_bytes == size


def test_a_transaction_that_is_rolled_back_leaves_nothing_of_it(tmp_path: Path) -> None:
    data = bytes(LARGE_BYTES)
    with Store.open(tmp_path) as store:
        roll_back(store, lambda: store.blocks.put(Cid.of_raw(data), data))
        assert store.blocks.count == 0
        assert store.blocks.get(Cid.of_raw(data)) is None


def test_a_disk_that_is_full_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    data = bytes(LARGE_BYTES)
    with Store.open(tmp_path) as store:
        store.blocks.put(Cid.of_raw(b"small"), b"small")
        store._db.run("PRAGMA max_page_count = 500")
        with pytest.raises(DiskFullError):
            store.blocks.put(Cid.of_raw(data), data)
        assert not store.blocks.has(Cid.of_raw(data))
        assert store.blocks.get(Cid.of_raw(b"small")) == b"small"


def test_damage_on_the_disk_is_no_content(tmp_path: Path) -> None:
    data = bytes(LARGE_BYTES)
    cid = Cid.of_raw(data)
    with Store.open(tmp_path) as store:
        store.blocks.put(cid, data)
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    with connection, connection.blobopen("block_data", "data", 1) as blob:
        blob[LARGE_BYTES // 2] = 1
    connection.close()
    with Store.open(tmp_path) as store:
        with pytest.raises(StoreError, match="is damaged on the disk"):
            store.blocks.get(cid)
        assert store.blocks.delete(cid)
