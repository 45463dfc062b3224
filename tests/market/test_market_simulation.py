"""The market's simulator: repeatable, nothing earned that wasn't paid, and plots that a browser takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
SIMULATOR = ROOT / "tools/simulators/market.py"
TIMED = ("seconds",)  # figures of the machine, not of the market


def simulate(*arguments: str) -> str:
    """Run the simulator; returns what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(SIMULATOR), "--devices", "80", "--jobs", "25", "--seed", "7", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_day_of_the_market(tmp_path: Path) -> None:
    found = json.loads(simulate("--json", "--svg", str(tmp_path)))
    again = json.loads(simulate("--json"))
    assert set(found["strategies"]) == {"best_score", "lowest_price", "random"}
    for name, figures in found["strategies"].items():
        second = again["strategies"][name]
        for key in set(figures) - set(TIMED):
            assert figures[key] == second[key], key
        assert figures["jobs"] == 25
        assert 0 < figures["completed_share"] <= 1
        assert 0 <= figures["gini"] < 1
        assert 0 <= figures["wasted_share"] < 0.5
        assert figures["bids"] > 25
        assert figures["kj_a_job"] > 0
    # Every way of choosing meets the same bids at the first job, so what differs is the choice.
    by_price, by_lot = found["strategies"]["lowest_price"], found["strategies"]["random"]
    assert by_price["mana_a_job"] < by_lot["mana_a_job"]
    assert by_price["gini"] > by_lot["gini"]
    assert [row["bids"] for row in found["auction"]] == [1_000, 4_000, 16_000, 64_000]
    for plot in ("earnings.svg", "completed_share.svg", "kj_a_job.svg"):
        assert ElementTree.parse(tmp_path / plot).getroot().tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize("arguments", [("--devices", "1"), ("--jobs", "0")])
def test_a_market_of_nothing_is_refused(arguments: tuple[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, str(SIMULATOR), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 2
    assert "at least 2 devices and 1 job" in done.stderr
