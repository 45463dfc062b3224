"""A profile of one's own: made from the nearest, checked, and never replaced by another one when it is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from icn_lite.resources import profile_files

if TYPE_CHECKING:
    from conftest import Program

PI_4 = profile_files()["pi-4"]
UP = ("up", "--port", "0", "--bind", "127.0.0.1", "--no-mdns", "--json")


def spoiled(key: str, value: str) -> tuple[str, int]:
    """The Pi 4's profile with one value replaced, and its line."""
    text, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", PI_4, count=1)
    assert count == 1
    return text, 1 + next(at for at, line in enumerate(text.splitlines()) if line.startswith(f"{key} ="))


BAD = {
    "an unknown key": (*(lambda text: (text, 1))("coulour = 3\n" + PI_4), "unknown key coulour"),
    "a limit below its resume value": (*spoiled("soft_c", "60"), "must be above thermal.soft_resume_c"),
    "a load below its resume value": (*spoiled("busy_pm", "100"), "must be above activity.busy_resume_pm"),
    "a negative page count": (*spoiled("memory_pages", "-1"), "guest.memory_pages: expected 1 to 65536, found -1"),
    "an hour that isn't": (*spoiled("quiet", '["22:00-24:30"]'), "hours.quiet: expected a list of spans"),
    "a choice that isn't": (*spoiled("metered", '"sometimes"'), "network.metered: expected one of allow, avoid, never"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_a_refused_profile_starts_nothing_at_all(icn: Program, home: Path, tmp_path: Path, name: str) -> None:
    text, line, reason = BAD[name]
    mine = tmp_path / "mine.toml"
    mine.write_text(text)
    assert icn("init").code == 0
    before = sorted(path.name for path in home.iterdir())
    for arguments in (
        (*UP, "--profile", mine),
        ("profile", "check", mine, "--json"),
        ("check", mine, "--profile", mine, "--json"),
    ):
        done = icn(*arguments)
        error = json.loads(done.out)["error"]
        assert (done.code, error["kind"]) == (2, "invalid_profile")
        assert reason in error["message"]
        assert error["message"].startswith("profile mine: ")
        assert error["message"].endswith(f"(line {line})")
    assert sorted(path.name for path in home.iterdir()) == before, "no store, no socket: nothing was begun"


def test_one_that_is_gone_is_not_replaced(icn: Program, tmp_path: Path) -> None:
    assert icn("init").code == 0
    done = icn(*UP, "--profile", tmp_path / "gone.toml")
    assert done.code == 2
    assert "No such file" in json.loads(done.out)["error"]["message"]


def test_in_the_settings_as_well(icn: Program, home: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(spoiled("memory_pages", "0")[0])
    assert icn("init").code == 0
    (home / "config.toml").write_text(f"profile = {json.dumps(str(mine))}\n")
    assert json.loads(icn(*UP).out)["error"]["kind"] == "invalid_profile"
