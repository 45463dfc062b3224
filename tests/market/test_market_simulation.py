"""The market's simulator: repeatable, nothing earned that wasn't paid, and plots that a browser takes."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from market_samples import bid_of, cid_of

from icn_lite.market import select as select_module
from icn_lite.market.select import Offer
from icn_lite.model.job import SelectionStrategy

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
    found = json.loads(simulate("--json", "--scaling", "--svg", str(tmp_path)))
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
    assert [row["bids"] for row in found["auction"]["rows"]] == [250, 1_000, 4_000, 16_000]
    assert len(found["day"]["rows"]) == 4
    assert 0.5 < found["auction"]["growth"] < 1.2  # 1 is n log n; processor time, with room for a busy machine
    for plot in ("earnings.svg", *(f"{key}.svg" for key in ("completed_share", "gini", "kj_a_job", "wasted_share"))):
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


def test_growth_is_the_exponent_over_n_log_n(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SIMULATOR.parent))
    from market_costs import growth
    from market_day import gini

    sizes = [100, 1_000, 10_000]
    for exponent in (0.5, 1.0, 2.0):
        rows = [{"bids": n, "seconds": 1e-7 * (n * math.log2(n)) ** exponent} for n in sizes]
        assert abs(growth(rows) - exponent) < 1e-9
    assert gini([5, 5, 5, 5]) == 0
    assert gini([0, 0, 0, 8]) == 0.75
    assert gini([0, 0]) == 0


def test_choosing_compares_no_more_than_n_log_n_times() -> None:
    """Counted, where the clock would tell about the machine: of 4 000 offers in a seeded order."""
    count, compared = 4_000, 0

    class Counted(bytes):
        def __lt__(self, other: bytes) -> bool:
            nonlocal compared
            compared += 1
            return bytes(self) < bytes(other)

    dice = random.Random(5)
    offers = [Offer(cid_of(number), bid_of(number), dice.randrange(10**6)) for number in range(count)]
    for strategy, key in select_module._KEYS.items():
        compared = 0
        expected = sorted(offers, key=lambda offer, key=key: Counted(key(offer)))  # type: ignore[misc]
        assert compared <= count * math.log2(count)
        if strategy is not SelectionStrategy.RANDOM:
            assert select_module.select(offers, strategy, count) == tuple(expected)
