"""Fixtures of the set-up's tests: miniature checkouts, fresh or prepared."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from setup_checkout import LIMIT_S, Checkout, make_checkout, python_with


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with pip and nothing else, for copies."""
    folder = tmp_path_factory.mktemp("template") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=LIMIT_S)
    return folder


@pytest.fixture
def checkout(tmp_path: Path, template: Path) -> Checkout:
    """A fresh one, with no environment yet."""
    return make_checkout(tmp_path, template)


@pytest.fixture(scope="session")
def prepared_once(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Checkout:
    """A prepared one, for tests that leave it as it is."""
    checkout = make_checkout(tmp_path_factory.mktemp("prepared"), template)
    done = checkout.run("hello")
    assert done.returncode == 0, done.stderr
    return checkout


@pytest.fixture
def prepared(prepared_once: Checkout, tmp_path: Path) -> Checkout:
    """A copy of a prepared checkout; moving it costs one short set-up without network."""
    folder = tmp_path / "moved"
    shutil.copytree(prepared_once.top.parent, folder, symlinks=True)
    (folder / "bin" / "calls.log").unlink(missing_ok=True)
    checkout = Checkout(folder / "a checkout", folder / "bin", dict(prepared_once.environ))
    done = checkout.run("hello")
    assert done.returncode == 0, done.stderr
    assert "making it with" not in done.stderr, "a moved checkout keeps its environment"
    return checkout


@pytest.fixture
def broken_python(checkout: Checkout, template: Path) -> Callable[[str], None]:
    """Replace python3 by one that fails when called with WHAT (a word of the set-up's probes)."""
    return lambda what: checkout.replace("python3", python_with(template, what), log=False)
