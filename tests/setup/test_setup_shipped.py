"""What ships: the wheel's content, the data that icn-lite finds in it, and our shell scripts."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from setup_checkout import LIMIT_S, TOP

from icn_lite import resources
from icn_lite.model.errors import UsageError

SHELL = ("tools/run", "tools/test", "tools/bench", "tools/setup.sh", ".ci/run", "tools/guests/build.sh")
IN_WHEEL = """
import sys
from icn_lite import resources
assert resources.__file__.startswith(sys.argv[1]), resources.__file__
print(",".join(resources.profile_files()), ",".join(resources.guest_names()), len(resources.guest_module("manifest")))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    [path] = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_its_data_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0].split("-")[0] for name in names} == {"icn_lite"}
    for path in (TOP / "firmware_profiles").glob("*.toml"):
        assert f"icn_lite/data/firmware_profiles/{path.name}" in names
    for path in (TOP / "tools" / "guests" / "build").glob("*.wasm"):
        assert f"icn_lite/data/guests/{path.name}" in names
    assert not [name for name in names if "__pycache__" in name]


def test_an_installed_wheel_finds_its_data_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", IN_WHEEL, str(tmp_path)], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    profiles, guests, size = done.stdout.split()
    assert profiles.split(",") == list(resources.profile_files())
    assert guests.split(",") == resources.guest_names()
    assert int(size) == len(resources.guest_module("manifest"))


def test_the_checkout_has_profiles_and_guests() -> None:
    assert resources.profile_files()
    assert all("=" in text for text in resources.profile_files().values())
    assert "manifest" in resources.guest_names()
    assert resources.guest_module("manifest").startswith(b"\0asm\1\0\0\0")


@pytest.mark.parametrize("name", ["nobody", "", "../build/manifest", "manifest.wasm", "MANIFEST", "manifest\0"])
def test_an_unknown_guest_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match="expected the name of a guest") as caught:
        resources.guest_module(name)
    assert "manifest" in caught.value.hint


@pytest.mark.parametrize("script", SHELL)
def test_shell_scripts_pass_shellcheck(script: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is missing")
    done = subprocess.run(
        ["shellcheck", "-x", "-P", ".", script], cwd=TOP, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", ["tools/run", "tools/test", "tools/bench", ".ci/run", "tools/guests/build.sh"])
def test_what_is_to_be_called_can_be_called(script: str) -> None:
    assert (TOP / script).stat().st_mode & 0o111


def test_every_dependency_has_an_exact_version() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
    sys.path.insert(0, str(TOP / "tools"))
    try:
        from setup_dists import package_name, read_pins
    finally:
        sys.path.pop(0)
    run = read_pins(TOP / "tools" / "constraints.txt")
    test = read_pins(TOP / "tools" / "constraints-test.txt")
    assert not run.keys() & test.keys(), "one place for every version"
    for requirement in project["project"]["dependencies"]:
        assert run[package_name(requirement)]
    for group in project["dependency-groups"].values():
        for requirement in group:
            assert test[package_name(requirement)]
    assert read_pins(TOP / "tools" / "constraints-source.txt").keys() <= run.keys() | test.keys()
