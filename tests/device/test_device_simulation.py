"""The governor in its simulated body: no harm, most of what an oracle could lend, and the same figures every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONG = os.environ.get("ICN_LITE_LONG") == "1"
CASES = [("pi-4", "summer"), ("termux-phone", "weak-charger"), ("x86-laptop", "cellar"), ("pi-3", "weak-charger")]


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the simulator."""
    command = [sys.executable, str(ROOT / "tools/simulators/device.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=1_800, env=environment, check=False)


@pytest.mark.parametrize(("profile", "weather"), CASES)
def test_a_night_and_a_morning_do_no_harm(profile: str, weather: str) -> None:
    hours = "24" if LONG else "5"
    done = simulate("--profile", profile, "--weather", weather, "--hours", hours, "--json", "--seed", "4")
    [run] = json.loads(done.stdout)["runs"]
    harmless = {"over_hard_s", "over_soft_share", "below_floor_pct", "charge_delay_share", "changes_per_hour"}
    assert not harmless & set(run["missed"]), run
    assert run["used_of_oracle"] >= (0.9 if LONG else 0.8)
    assert run["boinc"]["used_of_oracle"] >= 0
    assert run["forecast_miss_c"] is None or run["forecast_miss_c"] < 1.5  # noise alone is 0.2 to 0.8 °C
    if profile == "pi-3":  # nothing holds BOINC back from a soft limit that it doesn't know
        assert run["boinc"]["over_soft_share"] > 0.1


def test_the_same_seed_gives_the_same_day() -> None:
    runs = [json.loads(simulate("--profile", "pi-zero-2w", "--hours", "1", "--json").stdout)["runs"] for _ in range(2)]
    assert runs[0] == runs[1]
    assert [run["weather"] for run in runs[0]] == ["cellar", "summer", "weak-charger"]
    assert set(runs[0][0]) >= {
        "over_hard_s",
        "over_soft_share",
        "below_floor_pct",
        "charge_delay_share",
        "used_of_oracle",
        "changes_per_hour",
        "boinc",
    }


def test_no_hours_are_refused() -> None:
    done = simulate("--hours", "0")
    assert done.returncode == 2
    assert "1 to 744 hours" in done.stderr
