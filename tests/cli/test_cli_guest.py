"""`icn-lite guest new`: what it writes builds, runs and is a job; nothing is overwritten."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from icn_lite.cli import main as cli
from icn_lite.cli.guest import LANGUAGES
from icn_lite.node.jobfile import read_job_file

BUILD_TIMEOUT_S = 60


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_a_new_guest_is_all_that_a_job_needs_but_the_module(
    language: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    assert cli.run(["guest", "new", language, str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == sorted(path.name for path in folder.iterdir())
    assert {*LANGUAGES[language][:2], "build.sh", "job.toml", "input.txt"} == set(told["files"])
    assert os.access(folder / "build.sh", os.X_OK)
    (folder / "count.wasm").write_bytes(b"")
    job = read_job_file(folder / "job.toml")
    assert (job.module, list(folder.glob("input*"))) == (folder / "count.wasm", [folder / "input.txt"])


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "count.c").write_text("mine")
    assert cli.run(["guest", "new", "c", str(tmp_path)]) == 1
    assert "holds count.c already" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["count.c"]
    assert (tmp_path / "count.c").read_text() == "mine"


def test_a_folder_that_cannot_be_and_a_language_that_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert cli.run(["guest", "new", "c", str(tmp_path / "file" / "below")]) == 1
    assert "can't be written" in capsys.readouterr().err
    assert cli.run(["guest", "new", "cobol"]) == 2
    assert "cobol" in capsys.readouterr().err


def test_a_new_c_guest_builds_and_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("clang") or not shutil.which("wasm-ld"):
        pytest.skip("clang and wasm-ld are not installed (apt-get install clang lld)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ICN_LITE_HOME", str(tmp_path / "home"))
    assert cli.run(["guest", "new", "c"]) == 0
    assert "OUT=. ./build.sh count.c" in capsys.readouterr().out
    monkeypatch.chdir("c-guest")
    subprocess.run(
        ["./build.sh", "count.c"], env={**os.environ, "OUT": "."}, check=True, capture_output=True,
        timeout=BUILD_TIMEOUT_S,
    )  # fmt: skip
    assert cli.run(["check", "count.wasm"]) == 0
    assert cli.run(["run", "count.wasm", "--input", "input.txt", "--output", "answer.txt"]) == 0
    assert Path("answer.txt").read_text() == "2 7 38\n"
