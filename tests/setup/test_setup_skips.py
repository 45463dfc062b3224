"""CI skips nothing that it could run: ICN_TEST_NO_SKIPS=1 turns a skip into a failure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from setup_checkout import LIMIT_S, TOP

SUITE = {
    "passes": "def test_passes(): pass\n",
    "skips": "import pytest\ndef test_skips():\n    pytest.skip('wabt is missing')\n",
    "marked": "import pytest\n@pytest.mark.skipif(True, reason='clang is missing')\ndef test_marked(): pass\n",
    "whole": "import pytest\npytest.skip('lua is missing', allow_module_level=True)\n",
    "expected": "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_expected(): assert False\n",
}


def run_suite(folder: Path, names: list[str], no_skips: str) -> subprocess.CompletedProcess[str]:
    for shared in ("conftest.py", "absent.py"):
        shutil.copy(TOP / "tests" / shared, folder / shared)
    for name in names:
        (folder / f"test_{name}.py").write_text(SUITE[name], encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    environ = {**os.environ, "ICN_TEST_NO_SKIPS": no_skips}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False)


@pytest.mark.parametrize("name", ["skips", "marked", "whole"])
def test_a_skip_fails_ci_and_is_named(tmp_path: Path, name: str) -> None:
    done = run_suite(tmp_path, ["passes", name], "1")
    assert done.returncode == 1, done.stdout
    assert f"test_{name}.py" in done.stdout.partition("skipped, though ICN_TEST_NO_SKIPS=1")[2]
    assert "is missing" in done.stdout


def test_elsewhere_a_skip_is_a_skip(tmp_path: Path) -> None:
    done = run_suite(tmp_path, ["passes", "skips", "marked", "whole"], "")
    assert done.returncode == 0, done.stdout
    assert "1 passed, 3 skipped" in done.stdout


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    assert run_suite(tmp_path, ["passes", "expected"], "1").returncode == 0
