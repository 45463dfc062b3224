"""Opening a home: who may, with which file, and what is said when it can't be."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from store_samples import PYTHON, child_environment, run_of, signer_of

from icn_lite.model.errors import HomeInUse, StoreError
from icn_lite.store import schema
from icn_lite.store.database import PAGE_BYTES
from icn_lite.store.db import Store

HOLDER = """
import sys
from pathlib import Path
from icn_lite.store.db import Store
with Store.open(Path(sys.argv[1])) as store:
    store.journal.append("machine", "key", b"first")
    print("open", flush=True)
    sys.stdin.readline()
"""


def test_a_new_home_is_private_and_empty(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    with Store.open(home) as store:
        assert not store.after_unclean_end
        assert store.blocks.count == store.receipts.count() == store.jobs.count() == 0
        assert store.ledger.accounts() == ()
        assert store.ledger.sum() == 0
        assert store._db.number("PRAGMA page_size") == PAGE_BYTES
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert (home / "lock").read_text() == ""
    assert not (home / "node.db-wal").exists()


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.journal.append("machine", "key", b"event")
        store.counters.add("refused_bids", 3)
    with Store.open(tmp_path) as store:
        assert store.journal.replay("machine", "key") == [b"event"]
        assert store.counters.get("refused_bids") == 3


def test_closing_twice_does_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.close()
    store.close()


def test_a_second_process_is_refused_and_a_reader_is_not(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [PYTHON, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environment(),
        text=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder:
        try:
            assert holder.stdout.readline() == "open\n"
            with pytest.raises(HomeInUse, match=rf"in use by process {holder.pid} since \d\d\d\d-") as refused:
                Store.open(tmp_path)
            assert "stop that node" in refused.value.hint
            with Store.open(tmp_path, read_only=True) as reader:
                assert reader.journal.replay("machine", "key") == [b"first"]
                with pytest.raises(StoreError, match="for reading only"):
                    reader.journal.append("machine", "key", b"second")
                with pytest.raises(StoreError, match="for reading only"), reader.transaction():
                    pass
            # The reader neither took nor gave up the lock.
            with pytest.raises(HomeInUse):
                Store.open(tmp_path)
        finally:
            holder.stdin.write("\n")
            holder.stdin.close()
            assert holder.wait(timeout=30) == 0
    with Store.open(tmp_path) as store:
        assert not store.after_unclean_end


HOLDER_WITH_CHILD = """
import os, signal, subprocess, sys
from pathlib import Path
from icn_lite.store.db import Store
store = Store.open(Path(sys.argv[1]))
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.readline()"], stdin=0, stdout=2)
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_child_that_outlives_its_node_does_not_keep_the_home(tmp_path: Path) -> None:
    with subprocess.Popen(
        [PYTHON, "-c", HOLDER_WITH_CHILD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environment(),
        text=True,
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        assert holder.wait(timeout=30) == -signal.SIGKILL
        os.kill(child, 0)  # the child lives: it waits for its standard input
        with Store.open(tmp_path) as store:
            assert store.after_unclean_end
        holder.stdin.close()  # and now it ends


def test_another_thread_is_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store, ThreadPoolExecutor(1) as other:
        with pytest.raises(StoreError, match="thread"):
            other.submit(store.journal.append, "machine", "key", b"event").result()
        store.journal.append("machine", "key", b"event")
        assert store.journal.replay("machine", "key") == [b"event"]


def test_a_second_store_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path), pytest.raises(HomeInUse):
        Store.open(tmp_path)


def test_a_reader_sees_each_commit_and_nothing_before(tmp_path: Path) -> None:
    with Store.open(tmp_path) as writer, Store.open(tmp_path, read_only=True) as reader:
        with writer.transaction():
            writer.journal.append("machine", "key", b"event")
            assert reader.journal.replay("machine", "key") == []
        assert reader.journal.replay("machine", "key") == [b"event"]


def test_a_reader_needs_a_home(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no node has its home") as refused:
        Store.open(tmp_path / "nowhere", read_only=True)
    assert "icn-lite init" in refused.value.hint
    assert not (tmp_path / "nowhere").exists()


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't make"):
        Store.open(tmp_path / "file")


def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "node.db") as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    for read_only in (False, True):
        with pytest.raises(StoreError, match=f"version {schema.VERSION + 1}, this program knows") as refused:
            Store.open(tmp_path, read_only=read_only)
        assert "upgrade" in refused.value.hint


def test_a_reader_does_not_migrate(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "node.db") as connection:
        connection.execute("PRAGMA user_version = 0")
    connection.close()
    with pytest.raises(StoreError, match=f"version 0, expected {schema.VERSION}"):
        Store.open(tmp_path, read_only=True)


def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "node.db") as connection:
        connection.execute("CREATE TABLE theirs(a)")
    connection.close()
    with pytest.raises(StoreError, match="database of another program"):
        Store.open(tmp_path)
    with sqlite3.connect(tmp_path / "node.db") as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    connection.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node.db").write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(StoreError, match="damaged or no database"):
        Store.open(tmp_path)


def test_damage_is_found_after_an_unclean_end(tmp_path: Path) -> None:
    signer = signer_of(1)
    with Store.open(tmp_path) as store:
        for number in range(40):
            with store.transaction():
                run_of(store, signer, number)
        page = store._db.number("SELECT rootpage FROM sqlite_master WHERE name = 'accounts'")
    path = tmp_path / "node.db"
    damaged = bytearray(path.read_bytes())
    pointers = (page - 1) * PAGE_BYTES + 8
    damaged[pointers : pointers + 2] = damaged[pointers + 2 : pointers + 4]  # two rows in one place
    path.write_bytes(damaged)
    (tmp_path / "lock").write_text("pid=1\nsince=1970-01-01T00:00:00Z\n")
    with pytest.raises(StoreError, match="is damaged: ") as refused:
        Store.open(tmp_path)
    assert "copy it away" in refused.value.hint
    # The refusal doesn't make the end clean: the next start checks again.
    with pytest.raises(StoreError, match="is damaged: "):
        Store.open(tmp_path)


def test_a_migration_that_fails_leaves_the_version_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(tmp_path).close()
    broken = ("CREATE TABLE later(a INTEGER) STRICT", "CREATE TABLE later(a INTEGER) STRICT")
    with monkeypatch.context() as patched:
        patched.setattr(schema, "STEPS", (*schema.STEPS, broken))
        patched.setattr(schema, "VERSION", schema.VERSION + 1)
        with pytest.raises(StoreError, match="already exists"):
            Store.open(tmp_path)
    with Store.open(tmp_path) as store:
        assert store.blocks.count == 0
    with monkeypatch.context() as patched:
        patched.setattr(schema, "STEPS", (*schema.STEPS, broken[:1]))
        patched.setattr(schema, "VERSION", schema.VERSION + 1)
        with Store.open(tmp_path) as store:
            assert store.blocks.count == 0
    with pytest.raises(StoreError, match="knows up to"):
        Store.open(tmp_path)
