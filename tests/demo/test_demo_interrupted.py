"""A demo that is stopped at any moment leaves no process and no lock."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from demo_world import Demo, demo

from icn_lite.node.submitting import NodeAtHome
from icn_lite.store.db import Store


def verifying(running: Demo) -> None:
    """Until the first shard has its verdict."""
    running.until("submitting")
    node = NodeAtHome(running.folder / "coordinator" / "control.sock")
    rows: object = []
    while not rows:
        rows = node.ask("jobs")
    assert isinstance(rows, list)
    assert isinstance(rows[0], dict)
    node.ask_map("wait", {"job": rows[0]["job"], "settled": 0}, timeout_s=90)


MOMENTS: dict[str, Callable[[Demo], None]] = {
    "starting": lambda running: running.until("starting three nodes"),
    "packing": lambda running: running.until("submitting"),
    "verifying": verifying,
    "re-verifying": lambda running: running.until("stopping the nodes"),
}


def check_nothing_left(running: Demo, *, clean: bool) -> None:
    assert running.left() == []
    for name in ("coordinator", "executor-1", "executor-2"):
        home = running.folder / name
        if not (home / "node.db").exists():
            continue  # it had not come so far
        with Store.open(home) as store:  # takes the lock
            assert store.ledger.sum() == 0
        if clean:
            assert not (home / "control.sock").exists()


@pytest.mark.parametrize("moment", MOMENTS)
def test_interrupted(tmp_path: Path, moment: str) -> None:
    with demo(tmp_path, "--json") as running:
        MOMENTS[moment](running)
        running.family()
        running.process.send_signal(signal.SIGINT)
        code, out = running.end()
        assert code == 130, running.said
        assert out == ""
        assert not any("Traceback" in line for line in running.said)
        check_nothing_left(running, clean=True)


def test_interrupted_twice_and_by_sigterm(tmp_path: Path) -> None:
    with demo(tmp_path, "--json") as running:
        verifying(running)
        running.family()
        running.process.send_signal(signal.SIGTERM)
        running.process.send_signal(signal.SIGINT)
        code, _ = running.end()
        assert code == 130, running.said
        check_nothing_left(running, clean=False)


def test_a_killed_demo_takes_its_nodes_along(tmp_path: Path) -> None:
    with demo(tmp_path, "--json") as running:
        verifying(running)
        assert len(running.family()) >= 5  # three nodes, and the helpers of two
        running.process.kill()
        running.end()
        check_nothing_left(running, clean=True)
