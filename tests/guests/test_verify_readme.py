"""The commands of the verification guests' README, run as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cbor2
import pytest
from guest_engines import GUESTS
from verify_kit import NAMES, code

ROOT = GUESTS.parents[1]
README = (GUESTS / "verify" / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
TIMEOUT_S = 120


def test_there_are_as_many_blocks_as_expected() -> None:
    assert len(BLOCKS) == 2


@pytest.mark.parametrize(("block", "bad"), [(0, []), (1, [0])])
def test_commands_do_what_they_say(block: int, bad: list[int], tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    launcher = programs / "icn-lite"
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m icn_lite.cli "$@"\n')
    launcher.chmod(0o755)
    folder = tmp_path / "checkout"
    (folder / "tools").mkdir(parents=True)
    shutil.copytree(GUESTS, folder / "tools" / "guests")
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "ICN_LITE_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run(["icn-lite", "init"], env=environment, check=True, capture_output=True, timeout=TIMEOUT_S)
    done = subprocess.run(
        ["sh", "-e", "-c", BLOCKS[block]], env=environment, cwd=folder, capture_output=True, text=True,
        check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert cbor2.loads((folder / "report.cbor").read_bytes())["mismatches"] == bad


def test_the_table_tells_the_sizes() -> None:
    for name in NAMES:
        assert f"| `{name}` | {len(code(name)):,} |" in README
