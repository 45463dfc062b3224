"""A killed node and a power cut lose nothing that was acknowledged."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from store_samples import PYTHON, check_runs, child_environment, run_of, signer_of

from icn_lite.store.db import Store

SEED = 20_261_121
SIGNER = signer_of(1)

# Commits runs and says so after each. With a second argument it kills itself after so many steps of SQLite's machine.
WRITER = """
import os, signal, sys
from pathlib import Path
from store_samples import run_of, signer_of
from icn_lite.store.db import Store
store = Store.open(Path(sys.argv[1]))
number = store.journal.length("executor", "runs")
if len(sys.argv) > 2:
    left = int(sys.argv[2])
    def step():
        global left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0
    store._db._connection.set_progress_handler(step, 1)
while number < 900:
    with store.transaction():
        run_of(store, signer_of(1), number)
    number += 1
    print(number, flush=True)
"""


def _start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PYTHON, "-c", WRITER, str(home), *arguments], stdout=subprocess.PIPE, env=child_environment(), text=True
    )


def _check(home: Path, acknowledged: int) -> int:
    """Reopen after a kill: whole runs only, at least the acknowledged ones, at most one more."""
    with Store.open(home) as store:
        assert store.after_unclean_end
        kept = check_runs(store, SIGNER)
    assert acknowledged <= kept <= acknowledged + 1
    return kept


def test_killed_from_outside_at_many_points(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    choose = random.Random(SEED)
    kept = 0
    for _ in range(12):
        child = _start(tmp_path)
        assert child.stdout is not None
        acknowledged = kept
        with child:
            for _ in range(choose.randrange(1, 16)):
                acknowledged = int(child.stdout.readline())
            child.kill()
            # What it said between our last look and its death counts too.
            for line in child.stdout.read().splitlines():
                acknowledged = int(line)
        assert child.returncode == -signal.SIGKILL
        kept = _check(tmp_path, acknowledged)
    assert kept >= 12


def test_killed_in_the_middle_of_statements(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    choose = random.Random(SEED)
    kept = 0
    for _ in range(12):
        with _start(tmp_path, str(choose.randrange(1, 6_000))) as child:
            assert child.stdout is not None
            said = child.stdout.read().split()
        assert child.returncode == -signal.SIGKILL
        kept = _check(tmp_path, int(said[-1]) if said else kept)


def test_a_reader_sees_what_a_killed_node_committed(tmp_path: Path) -> None:
    with _start(tmp_path) as child:
        assert child.stdout is not None
        acknowledged = int(child.stdout.readline())
        child.kill()
        acknowledged = int((child.stdout.read().split() or [acknowledged])[-1])
    with Store.open(tmp_path, read_only=True) as reader:
        assert acknowledged <= check_runs(reader, SIGNER) <= acknowledged + 1
    # Reading has not made the end clean.
    assert _check(tmp_path, acknowledged) >= acknowledged


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """A home whose commits all lie in the write-ahead log, and where in the log each of them ends."""
    home = tmp_path_factory.mktemp("logged") / "home"
    Store.open(home).close()
    ends: list[int] = []
    with Store.open(home) as store:
        store._db.run("PRAGMA wal_autocheckpoint = 0")
        for number in range(16):
            with store.transaction():
                run_of(store, SIGNER, number)
            ends.append((home / "node.db-wal").stat().st_size)
        copy = home.parent / "copy"
        copy.mkdir()
        for name in ("node.db", "node.db-wal", "lock"):
            shutil.copy(home / name, copy / name)
    return copy, ends


def _truncate(log: bytearray, at: int, choose: random.Random) -> None:
    del log[at:]


def _flip(log: bytearray, at: int, choose: random.Random) -> None:
    log[at] ^= choose.randrange(1, 256)


def _zero(log: bytearray, at: int, choose: random.Random) -> None:
    log[at:] = bytes(len(log) - at)


def _garble(log: bytearray, at: int, choose: random.Random) -> None:
    log[at:] = choose.randbytes(len(log) - at)


@pytest.mark.parametrize("damage", [_truncate, _flip, _zero, _garble])
def test_a_torn_log_keeps_every_commit_before_the_tear(
    tmp_path: Path, logged: tuple[Path, list[int]], damage: object
) -> None:
    """A power cut may leave any tail of the log unwritten; what was synced before it has to be read again."""
    print(f"seed {SEED}")
    assert callable(damage)
    source, ends = logged
    choose = random.Random(SEED)
    log = (source / "node.db-wal").read_bytes()
    for round_number in range(20):
        home = tmp_path / str(round_number)
        shutil.copytree(source, home)
        torn = bytearray(log)
        at = choose.choice(ends) - choose.randrange(1, 4_200) if round_number % 2 else choose.randrange(len(log))
        damage(torn, at, choose)
        (home / "node.db-wal").write_bytes(torn)
        with Store.open(home) as store:
            assert store.after_unclean_end
            kept = check_runs(store, SIGNER)
            assert kept >= sum(end <= at for end in ends), f"torn at {at}"
            with store.transaction():
                run_of(store, SIGNER, kept)
            assert check_runs(store, SIGNER) == kept + 1
        shutil.rmtree(home)
