"""The bench driver: rows of rooms become a table, one JSON document, and a file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from setup_checkout import LIMIT_S, TOP

GOOD = """
def rows():
    yield {"room": "good", "name": "sum", "value": 1.5, "unit": "ms", "baseline": 1, "peer": "2 ms (other)",
           "goal": "<= 2", "ok": True}
    yield {"room": "good", "name": "memory", "value": 9_000, "unit": "KiB"}
"""
BAD = {
    "unknown": 'def rows(): return [{"name": "x", "value": 1, "unit": "ms", "gaol": 1}]',
    "lacking": 'def rows(): return [{"name": "x", "value": 1}]',
    "text": 'def rows(): return [{"name": "x", "value": "1", "unit": "ms"}]',
    "broken": "def rows(): raise OSError('no such program')",
}


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOP / "tools" / "bench_driver.py"), "--folder", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.py").write_text(GOOD, encoding="utf-8")
    (tmp_path / "_shared.py").write_text("raise OSError\n", encoding="utf-8")
    return tmp_path


def test_json_is_one_document_on_stdout_and_in_the_file(folder: Path, tmp_path: Path) -> None:
    done = bench(folder, "--json", "--output", str(tmp_path / "out.json"))
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    full, short = document["rows"]
    assert full == {
        "room": "good", "name": "sum", "value": 1.5, "unit": "ms", "baseline": 1, "peer": "2 ms (other)",
        "goal": "<= 2", "ok": True,
    }  # fmt: skip
    assert (short["baseline"], short["peer"], short["goal"], short["ok"]) == (None, None, None, None)
    assert document["errors"] == []
    assert "bench: good" in done.stderr


def test_a_table_shows_every_row(folder: Path) -> None:
    done = bench(folder, "good")
    assert done.returncode == 0, done.stderr
    assert "sum" in done.stdout
    assert "9,000" in done.stdout


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_room_is_told_and_loses_no_other(folder: Path, kind: str) -> None:
    (folder / "bad.py").write_text(BAD[kind], encoding="utf-8")
    done = bench(folder, "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert [error["room"] for error in document["errors"]] == ["bad"]
    assert len(document["rows"]) == 2


def test_an_unknown_room_is_refused_with_the_known_ones(folder: Path) -> None:
    done = bench(folder, "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there are: good" in done.stderr
