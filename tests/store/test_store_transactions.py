"""Transactions: all or nothing, on a full disk too."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
from store_samples import PYTHON, check_runs, child_environment, run_of, signer_of

from icn_lite.model.cid import Cid
from icn_lite.model.errors import DiskFullError, DocumentError, FailureReason, JobErrorCode, LedgerError, StoreError
from icn_lite.store.db import Store


def run_and_fail(store: Store, error: type[BaseException]) -> None:
    """A run whose transaction is left by `error`."""
    with store.transaction():
        run_of(store, signer_of(1), 0)
        raise error


def carry_on_when_full(store: Store) -> None:
    """A caller that takes no notice of a full disk."""
    with store.transaction():
        store.journal.append("machine", "key", b"first")
        with pytest.raises(DiskFullError):
            store.journal.append("machine", "key", bytes(100_000))
        with pytest.raises(StoreError, match="failed earlier"):
            store.journal.append("machine", "key", b"second")


def fill(store: Store, first: int) -> None:
    """Runs from number `first` on, until the store refuses."""
    for number in range(first, 1_000):
        with store.transaction():
            run_of(store, signer_of(1), number)


def test_an_exception_undoes_everything(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        for error in (ValueError, asyncio.CancelledError, KeyboardInterrupt):
            with pytest.raises(error):
                run_and_fail(store, error)
        assert check_runs(store, signer_of(1)) == 0
        with store.transaction():
            run_of(store, signer_of(1), 0)
        assert check_runs(store, signer_of(1)) == 1


def test_a_second_transaction_inside_is_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        with store.transaction():
            store.journal.append("machine", "key", b"kept")
            with pytest.raises(StoreError, match="already open"), store.transaction():
                pass
            assert store.in_transaction
        assert store.journal.replay("machine", "key") == [b"kept"]
        assert not store.in_transaction


def test_a_refused_change_leaves_no_part_of_itself_in_the_transaction(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        with store.transaction():
            store.journal.append("machine", "key", b"before")
            with pytest.raises(LedgerError):
                store.ledger.transfer("t", "cause", [("mint", -5), ("a", 7), ("b", -2)])
            with pytest.raises(DocumentError):
                store.blocks.put(Cid.of_raw(b"a"), b"b")
            store.journal.append("machine", "key", b"after")
        assert store.journal.replay("machine", "key") == [b"before", b"after"]
        assert store.ledger.accounts() == ()
        assert store.ledger.get("t") is None


def test_a_full_database_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    signer = signer_of(1)
    with Store.open(tmp_path) as store:
        for number in range(5):
            with store.transaction():
                run_of(store, signer, number)
        pages = store._db.number("PRAGMA page_count")
        store._db.run(f"PRAGMA max_page_count = {pages + 20}")
        with pytest.raises(DiskFullError, match="no room left") as full:
            fill(store, 5)
        assert full.value.reason is FailureReason.DISK_FULL
        assert full.value.code is JobErrorCode.RESOURCE_EXHAUSTED
        kept = check_runs(store, signer)
        assert 5 <= kept < 1_000
        store._db.run("PRAGMA max_page_count = 1000000")
        with store.transaction():
            run_of(store, signer, kept)
        assert check_runs(store, signer) == kept + 1


def test_a_transaction_that_ran_full_can_not_be_committed(tmp_path: Path) -> None:
    """SQLite may roll back by itself; what the caller writes afterwards must not stand alone."""
    with Store.open(tmp_path) as store:
        store._db.run(f"PRAGMA max_page_count = {store._db.number('PRAGMA page_count') + 2}")
        with pytest.raises(StoreError, match="failed earlier"):
            carry_on_when_full(store)
        assert store.journal.replay("machine", "key") == []


FILL = """
import sys
from pathlib import Path
from store_samples import run_of, signer_of, check_runs
from icn_lite.model.errors import DiskFullError
from icn_lite.store.db import Store
home = Path(sys.argv[1])
store = Store.open(home)
acknowledged = 0
ballast = home.parent / "ballast"
ballast.write_bytes(bytes(400_000))
full = 0
while full < 3:
    try:
        with store.transaction():
            run_of(store, signer_of(1), acknowledged)
    except DiskFullError:
        full += 1
    else:
        acknowledged += 1
assert check_runs(store, signer_of(1)) == acknowledged, acknowledged
try:
    store.close()
except DiskFullError:
    pass
ballast.unlink()
with Store.open(home) as store:
    assert check_runs(store, signer_of(1)) == acknowledged, acknowledged
    with store.transaction():
        run_of(store, signer_of(1), acknowledged)
print(acknowledged)
"""


def _can_mount() -> bool:
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    attempt = [unshare, "-rm", "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"]
    return subprocess.run(attempt, capture_output=True, timeout=30, check=False).returncode == 0


@pytest.mark.skipif(not _can_mount(), reason="`unshare -rm` may not mount a tmpfs here (util-linux or user namespaces)")
def test_a_real_full_disk_loses_nothing_that_was_acknowledged() -> None:
    command = 'mount -t tmpfs -o size=2m none /mnt && mkdir /mnt/home && exec "$0" -W error -c "$1" /mnt/home'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command, PYTHON, FILL],
        capture_output=True,
        text=True,
        env=child_environment(),
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5
