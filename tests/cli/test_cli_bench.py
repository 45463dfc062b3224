"""`icn-lite bench`: what it prints, what it writes, what it leaves alone; and who takes what it wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from icn_lite.model.cid import Cid
from icn_lite.node.calibration import Calibration, load_calibration, save_calibration
from icn_lite.node.clock import Clock
from icn_lite.store.db import Store
from icn_lite.work import benchmark

if TYPE_CHECKING:
    from conftest import Program

MADE = Calibration("server", 1_800_000_000, Cid.of_dag_cbor(b"r"), 7_000_000, 1 << 16, 10, 1, 2, 2, 3, 4, 5, 6)
QUICK = ("--rounds", "1", "--profile", "pi-zero-2w")


def test_bench_writes_a_calibrated_profile_and_a_receipt_to_re_run(icn: Program, home: Path) -> None:
    made = icn("bench", *QUICK, "--json")
    assert (made.code, made.err.count("\n")) == (0, 1)  # the new identity, and nothing else
    found = made.json
    calibration = load_calibration(home / "calibration.toml")
    assert calibration is not None
    assert (calibration.profile, str(calibration.benchmark)) == ("pi-zero-2w", found["receipt"])
    assert calibration.fuel_per_s == found["fuel_per_s"]["median"]
    assert found["overrides"]["prior.fuel_per_s"] == [100_000_000, calibration.fuel_per_s]
    assert found["fuel_per_s"]["least"] <= calibration.fuel_per_s <= found["fuel_per_s"]["most"]
    assert found["memory_pages"] == found["believed"]["memory_pages"] == calibration.memory_pages
    verified = icn("receipts", "verify", found["receipt"], "--rerun", "--json").json
    checks = {check["name"]: check["state"] for check in verified["receipts"][0]["checks"]}
    assert (checks["rerun"], checks["output"]) == ("passed", "passed")
    shown = icn("receipts", "show", found["receipt"], "--json").json["receipt"]
    assert (shown["module"], shown["fuel_used"]) == (benchmark.MODULE, benchmark.FUEL)


def test_profile_show_says_what_was_measured(icn: Program, home: Path) -> None:
    icn("init")
    assert icn("profile", "show", "server", "--json").json["calibration"] is None
    save_calibration(home / "calibration.toml", MADE)
    shown = icn("profile", "show", "server", "--json").json
    believed = shown["prior"]["fuel_per_s"]
    assert shown["calibration"]["overrides"] == {"prior.fuel_per_s": [believed, 7_000_000]}
    assert shown["calibration"]["benchmark"] == str(MADE.benchmark)
    told = icn("profile", "show", "server").out
    assert "Calibrated by `icn-lite bench`" in told
    assert f"overrides.prior.fuel_per_s  {believed} 7000000" in told
    assert icn("profile", "show", "pi-4", "--json").json["calibration"] is None  # another device's
    (home / "calibration.toml").write_text("nonsense = 1\n")
    assert "unknown key nonsense" in icn("profile", "show", "server", "--json").json["calibration"]["error"]


def test_a_dry_run_tells_people_and_writes_nothing(icn: Program, home: Path) -> None:
    icn("init")
    before = sorted(path.name for path in home.iterdir())
    told = icn("bench", *QUICK, "--dry-run")
    assert told.code == 0
    for word in ("profile ", "fuel ", "memory ", "start ", "sign ", "verify ", "prepare ", "the profile believes"):
        assert word in told.out
    assert "round 1 of 1" in told.err
    assert "nothing was written" in told.err
    assert sorted(path.name for path in home.iterdir()) == before


def test_beside_a_running_node_nothing_is_measured(icn: Program, home: Path) -> None:
    icn("init")
    (home / "control.sock").touch()
    with Store.open(home):
        refused = icn("bench", *QUICK, "--json")
    assert (refused.code, refused.json["error"]["kind"]) == (1, "home_in_use")
    assert not (home / "calibration.toml").exists()


@pytest.mark.parametrize("rounds", ["0", "101", "many"])
def test_rounds_have_bounds(icn: Program, rounds: str) -> None:
    assert icn("bench", "--rounds", rounds, "--json").code == 2


def test_up_refuses_a_calibration_that_was_damaged_and_falls_back_to_nothing(icn: Program, home: Path) -> None:
    icn("init")
    (home / "calibration.toml").write_text('profile = "server"\nhard_c = 200\n')
    refused = icn("up", "--port", "0", "--no-mdns", "--json")
    assert refused.code != 0
    assert "unknown key hard_c" in refused.json["error"]["message"]
    assert "(line 2)" in refused.json["error"]["message"]


def test_doctor_says_whether_the_device_was_measured(icn: Program, home: Path) -> None:
    def speed() -> tuple[str, str]:
        (found,) = [line for line in icn("doctor", "--json").json["findings"] if line["topic"] == "speed"]
        return found["state"], found["text"]

    icn("init")
    (home / "config.toml").write_text('profile = "server"\n')
    assert speed() == ("ok", "not measured; the profile believes 1,000,000,000 fuel a second")
    now_s = Clock().wall_s()
    save_calibration(home / "calibration.toml", replace(MADE, measured_at=now_s - 86_400))
    assert speed() == ("ok", "7,000,000 fuel a second, measured 1 d ago")
    save_calibration(home / "calibration.toml", replace(MADE, measured_at=now_s - 181 * 86_400))
    assert speed()[0] == "warning"
    (home / "calibration.toml").write_text("nonsense = 1\n")
    assert any("unknown key nonsense" in line["text"] for line in icn("doctor", "--json").json["findings"])
