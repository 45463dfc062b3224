"""`icn-lite why`: the same numbers for people and programs, with a node and without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from icn_lite.cli.care_report import BLOCKS, LEVELS, PLOT_COLUMNS, plot, tell
from icn_lite.cli.output import Output

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Program

KEYS = {"profile", "allowance", "duty_pm", "may_bid", "reasons", "wants", "limits", "readings", "history"}
LIMIT_KEYS = {
    "name", "unit", "reading", "unknown", "threshold", "resume", "headroom", "forecast", "standing", "wants",
}  # fmt: skip


def limit(**changed: Any) -> dict[str, Any]:
    return {
        "name": "charge, floor", "unit": "%", "reading": 58, "unknown": None, "threshold": 60, "resume": 65,
        "headroom": -2, "forecast": 61, "standing": "stops", "wants": "a charge of 65 % or more", **changed,
    }  # fmt: skip


def device(**changed: Any) -> dict[str, Any]:
    return {
        "profile": "termux-old-phone", "allowance": "suspend", "duty_pm": 0, "may_bid": False,
        "reasons": ["battery at 58 %: floor 60 %, resumes at 65 %"], "wants": ["a charge of 65 % or more"],
        "limits": [limit()], "history": [], **changed,
    }  # fmt: skip


def history(count: int) -> list[dict[str, Any]]:
    return [
        {
            "age_s": (count - 1 - index) * 60,
            "allowance": "run" if index < count // 2 else "suspend",
            "duty_pm": 1000 if index < count // 2 else 0,
            "temp_mc": 40_000 + index * 100,
            "charge_pct": None if index == 3 else 70,
        }
        for index in range(count)
    ]


def test_without_a_node_the_sensors_are_read_once(icn: Program, home: Path) -> None:
    assert icn("why", "--json").code == 1  # no home yet
    icn("init")
    answer = icn("why", "--json").json
    assert set(answer) >= KEYS | {"running"}
    assert (answer["running"], answer["history"]) == (False, [])
    assert answer["limits"]
    assert all(set(row) == LIMIT_KEYS for row in answer["limits"])
    shown = icn("why")
    assert shown.out.startswith(f"allowance  {answer['allowance']}, ")
    assert all(row["name"] in shown.out for row in answer["limits"])
    assert "no node runs on this home" in shown.err


def test_a_profile_that_stops_says_what_it_waits_for(icn: Program, home: Path) -> None:
    icn("init")
    (home / "config.toml").write_text('profile = "termux-phone"\n', encoding="utf-8")
    answer = icn("why", "--json").json
    assert (answer["profile"], answer["may_bid"]) == ("termux-phone", False)
    assert "a charge that can be read" in answer["wants"]
    assert "work begins with a charge that can be read" in icn("why").out


def test_rows_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    heat = limit(name="processor, soft", unit="m°C", reading=66_400, threshold=70_000, resume=64_000, headroom=3_600,
                 forecast=None, standing="ok", wants=None)  # fmt: skip
    blind = limit(
        name="charger", unit="bool", reading=None, unknown="denied", threshold=1, resume=1, headroom=None, forecast=None
    )
    tell(Output(as_json=False), device(limits=[limit(), heat, blind]))
    shown = capsys.readouterr().out
    assert "because  battery at 58 %" in shown
    assert "work begins with a charge of 65 % or more" in shown
    rows = {line.split("  ")[0]: line.split() for line in shown.splitlines()}
    assert rows["charge, floor"][2:] == ["58", "%", "60", "%", "65", "%", "-2", "%", "61", "%", "stops"]
    assert rows["processor, soft"][2:] == ["66.4", "°C", "70.0", "°C", "64.0", "°C", "3.6", "°C", "ok"]
    assert rows["charger"][1:] == ["unknown", "yes", "stops:", "denied"]


@pytest.mark.parametrize("count", [2, 7, 60, 360])
def test_the_plot_fits_a_terminal(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    plot(Output(as_json=False), device(history=history(count)))
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == ["allowance", "duty", "processor", "charge"]
    levels, duty, heat, charge = (line[12 : 12 + PLOT_COLUMNS] for line in lines)
    assert set(levels) == {LEVELS["run"], LEVELS["suspend"]}
    assert (duty[0], duty[-1]) == (BLOCKS[-1], BLOCKS[0])
    assert [BLOCKS.index(block) for block in heat] == sorted(BLOCKS.index(block) for block in heat)
    assert charge.strip()
    assert all(len(line) <= 12 + PLOT_COLUMNS + len("  100 to 1000 °C") for line in lines)


def test_a_plot_without_history_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    for count in (0, 1):
        plot(Output(as_json=False), device(history=history(count)))
    assert capsys.readouterr().out == ""


def test_a_history_that_nobody_could_read_shows_no_curve(capsys: pytest.CaptureFixture[str]) -> None:
    silent = [{**sample, "temp_mc": None, "charge_pct": None} for sample in history(5)]
    plot(Output(as_json=False), device(history=silent))
    assert "processor" not in capsys.readouterr().out
