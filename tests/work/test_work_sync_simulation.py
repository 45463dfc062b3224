"""Small worlds that sync over a bad network: no invariant breaks, a seed replays exactly, bugs on purpose are found.

`ICN_LITE_LONG=1` runs ten thousand worlds, as `tools/sim_mesh --runs 10000` does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "simulators"))

from mesh_world import BUGS, World

SIMULATORS = Path(__file__).resolve().parents[2] / "tools" / "simulators"
RUNS = 10_000 if os.environ.get("ICN_LITE_LONG") else 12
SEARCHED = 60  # worlds in which a bug has to show; the numbers below are where it shows at once


def test_no_world_breaks_an_invariant() -> None:
    forks = 0
    for number in range(RUNS):
        world = World(f"test:{number}")
        world.run()
        assert world.violations == [], f"seed test:{number}"
        forks += sum(map(len, world.reported.values()))
    assert forks > 0  # else there was nothing to find


@pytest.mark.parametrize(
    ("bug", "first"),
    [
        ("ack-before-commit", 60),
        ("send-before-commit", 8),
        ("pay-every-copy", 6),
        ("drop-forks", 3),
        ("believe-took", 1),
        ("believe-anyone", 12),
        ("stale-head", 0),
    ],
)
def test_a_bug_on_purpose_is_found(bug: str, first: int) -> None:
    assert bug in BUGS
    for number in range(first, first + SEARCHED):
        world = World(f"1:{number}", bug)
        world.run()
        if world.violations:
            break
    else:
        pytest.fail(f"{SEARCHED} worlds with {bug} and no violation")
    again = World(f"1:{number}", bug)
    again.run()
    assert (again.violations, again.trace.digest()) == (world.violations, world.trace.digest())
    healthy = World(f"1:{number}")
    healthy.run()
    assert healthy.violations == []


def test_every_bug_is_tried() -> None:
    tried = test_a_bug_on_purpose_is_found.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {bug for bug, _ in tried} == BUGS.keys()


def test_the_program_tells_the_same_of_a_seed_in_every_process() -> None:
    told = []
    for hashing in ("1", "2"):
        environ = {**os.environ, "PYTHONHASHSEED": hashing, "PYTHONPATH": str(SIMULATORS.parents[1])}
        command = [
            sys.executable,
            str(SIMULATORS / "mesh.py"),
            "--scenario",
            "sync",
            "--runs",
            "2",
            "--seed",
            "5",
            "--json",
        ]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=True)
        told.append({name: value for name, value in json.loads(done.stdout).items() if name != "seconds"})
    assert told[0] == told[1]
    assert (told[0]["runs"], told[0]["violations"], told[0]["first_bad_seed"]) == (2, 0, None)
    assert told[0]["events"] > 100
    one = [*command[:-1], "--runs", "1", "--first", "1", "--bug", "stale-head", "--json"]
    bad = subprocess.run(one, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert bad.returncode == 1
    assert json.loads(bad.stdout)["first_bad_seed"] == "5:1"
