"""`icn-lite init`: identity, settings, seal."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from icn_lite.cli import main as cli
from icn_lite.node.config import Config, load_config
from icn_lite.node.keys import load_key, read_key_file


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    monkeypatch.setenv("ICN_LITE_HOME", str(path))
    for name in ("ICN_LITE_PASSPHRASE", "ICN_LITE_PASSPHRASE_FILE"):
        monkeypatch.delenv(name, raising=False)
    return path


def test_init_makes_an_identity(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["init", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"did", "peer_id", "home", "sealed", "config", "profile", "cooperative"}
    assert answer["sealed"] is False
    assert answer["did"] == str(read_key_file(home / "key").did)
    assert stat.S_IMODE((home / "key").stat().st_mode) == 0o600
    assert load_config(home / "config.toml", {}, {}) == Config()


def test_init_never_replaces(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["init"]) == 0
    before = (home / "key").read_bytes()
    assert cli.run(["init"]) == 1
    assert "already" in capsys.readouterr().err
    assert (home / "key").read_bytes() == before


def test_init_keeps_settings_that_stand_there(home: Path) -> None:
    home.mkdir(mode=0o700)
    (home / "config.toml").write_text("port = 1\n")
    assert cli.run(["init"]) == 0
    assert (home / "config.toml").read_text() == "port = 1\n"


def test_init_seals_by_file(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "passphrase"
    file.write_text("secret\n")
    assert cli.run(["init", "--json", "--passphrase-file", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["sealed"] is True
    assert load_key(home / "key", lambda: b"secret").sealed


def test_init_seals_by_environment_unless_told_otherwise(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICN_LITE_PASSPHRASE", "secret")
    assert cli.run(["init", "--unsealed"]) == 0
    assert read_key_file(home / "key").sealed is None
    assert cli.run(["init", "--home", str(home) + "2"]) == 0
    assert read_key_file(Path(str(home) + "2") / "key").sealed is not None


def test_init_refuses_what_makes_no_sense(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["init", "--unsealed", "--passphrase"]) == 2
    assert cli.run(["init", "--passphrase-file", "/absent"]) == 2
    assert cli.run(["init", "--passphrase"]) == 2  # no terminal to ask on
    assert "no terminal" in capsys.readouterr().err
    assert not home.exists()
