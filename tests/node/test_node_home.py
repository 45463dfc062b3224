"""The home folder: where it lies, what is made, what is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from icn_lite.model.errors import StoreError, UsageError
from icn_lite.node.home import Home, locate_home


@pytest.mark.parametrize(
    ("option", "environ", "platform", "expected"),
    [
        ("/a", {"ICN_LITE_HOME": "/b", "HOME": "/u"}, "linux", "/a"),
        (None, {"ICN_LITE_HOME": "/b", "XDG_DATA_HOME": "/x", "HOME": "/u"}, "linux", "/b"),
        (None, {"ICN_LITE_HOME": "", "XDG_DATA_HOME": "/x", "HOME": "/u"}, "linux", "/x/icn-lite"),
        (None, {"XDG_DATA_HOME": "relative", "HOME": "/u"}, "linux", "/u/.local/share/icn-lite"),
        (None, {"HOME": "/u"}, "android", "/u/.local/share/icn-lite"),
        (None, {"HOME": "/u"}, "darwin", "/u/Library/Application Support/icn-lite"),
    ],
)
def test_the_home_lies_where_it_was_named(
    option: str | None, environ: dict[str, str], platform: str, expected: str
) -> None:
    assert locate_home(option, environ, platform).path == Path(expected)


def test_without_any_name_the_caller_is_told_how_to_give_one() -> None:
    with pytest.raises(UsageError) as caught:
        locate_home(None, {}, "linux")
    assert "--home" in caught.value.hint


def test_a_relative_home_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate_home("here", {}, "linux").path == tmp_path / "here"


def test_a_new_home_is_for_its_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "home")
    previous = os.umask(0)
    try:
        home.create()
    finally:
        os.umask(previous)
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.run.stat().st_mode) == 0o700
    home.create()  # a second time changes nothing
    assert not home.initialised


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_home_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    home = Home(tmp_path / "home")
    home.create()
    home.path.chmod(mode)
    for use in (home.check, home.create):
        with pytest.raises(StoreError) as caught:
            use()
        assert f"{mode:04o}" in caught.value.message
        assert f"chmod 700 {home.path}" in caught.value.hint


def test_a_home_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / "home")
    home.create()
    monkeypatch.setattr("icn_lite.node.home.os.geteuid", lambda: os.getuid() + 1)
    with pytest.raises(StoreError, match="belongs to user"):
        home.check()


def test_a_missing_home_a_file_and_an_impossible_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        Home(tmp_path / "none").check()
    assert "icn-lite init" in caught.value.hint
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(StoreError, match="found a file"):
        Home(file).check()
    with pytest.raises(StoreError, match="can't make the home"):
        Home(file / "below").create()
