"""What the set-up (tools/setup.sh) decides about Python packages.

    setup_dists.py requirements TOP FOLDER LEVEL   write requirements.txt and constraints.txt for a level
    setup_dists.py heal                            throw out packages whose installation was interrupted
    setup_dists.py link TOP VENV                   make the checkout importable, and bin/icn-lite
    setup_dists.py compiles                        exit 0 when this Python can compile an extension

Uses the standard library only, since it runs before anything is installed. `pyproject.toml` says what is needed,
the files beside this one in which versions.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from pathlib import Path

# Each level holds the one before it.
LEVELS = {"run": (), "test": ("test",), "lint": ("test", "lint")}
COMPILE_LIMIT_S = 60

SCRIPT = """#!{python}
import sys

from icn_lite.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
"""


def wheels_are_missing() -> bool:
    """32-bit ARM and Android: see constraints-source.txt. The machine's name won't do, a 64-bit kernel may run
    a 32-bit system."""
    return struct.calcsize("P") == 4 or hasattr(sys, "getandroidapilevel") or sys.platform == "android"


def package_name(requirement: str) -> str:
    """The normalised name (PEP 503) at the start of a requirement."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    if found is None:
        raise SystemExit(f"setup_dists: expected a requirement, found {requirement!r}")
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def read_pins(path: Path) -> dict[str, list[str]]:
    """Package name -> its lines (several where their markers exclude each other); a bare name has none."""
    pins: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text:
            lines = pins.setdefault(package_name(text), [])
            if "==" in text:
                lines.append(text)
    return pins


def write_requirements(top: Path, folder: Path, level: str) -> None:
    project = tomllib.loads((top / "pyproject.toml").read_text(encoding="utf-8"))
    wanted: list[str] = list(project["project"]["dependencies"])
    for group in LEVELS[level]:
        wanted += project["dependency-groups"][group]
    pins = read_pins(top / "tools" / "constraints.txt") | read_pins(top / "tools" / "constraints-test.txt")
    if wheels_are_missing():
        pins |= read_pins(top / "tools" / "constraints-source.txt")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in wanted), encoding="utf-8")
    exact = [pin for lines in pins.values() for pin in lines]
    (folder / "constraints.txt").write_text("".join(f"{pin}\n" for pin in exact), encoding="utf-8")


def is_whole(info: Path) -> bool:
    """Whether every file that RECORD lists is there; pip writes RECORD last."""
    try:
        rows = (info / "RECORD").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    # A name that needs quoting in CSV has a comma or a quote in it; no package of ours has one.
    names = [row.rsplit(",", 2)[0] for row in rows if not row.startswith('"')]
    return all((info.parent / name).exists() for name in names if not name.endswith(".pyc"))


def heal() -> None:
    """Remove the metadata of half-installed packages, so that pip installs them again over what is there."""
    site = Path(sysconfig.get_path("purelib"))
    for info in (*site.glob("*.dist-info"), *site.glob("~*")):
        if info.name.startswith("~") or not is_whole(info):
            print(f"icn-lite set-up: {info.name} was left half installed: installing it again", file=sys.stderr)
            shutil.rmtree(info, ignore_errors=True)


def link(top: Path, venv: Path) -> None:
    site = Path(sysconfig.get_path("purelib"))
    (site / "icn_lite_checkout.pth").write_text(f"{top}\n", encoding="utf-8")
    script = venv / "bin" / "icn-lite"
    script.write_text(SCRIPT.format(python=venv / "bin" / "python"), encoding="utf-8")
    script.chmod(0o755)


def compiles() -> bool:
    """Try it: a compiler, the C library's headers and Python's own are three packages on Debian."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()
    include = f"-I{sysconfig.get_path('include')}"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.c"
        source.write_text("#include <Python.h>\n#include <stdio.h>\nint probe(void) { return 0; }\n", encoding="utf-8")
        command = [*compiler, include, "-c", str(source), "-o", str(source.with_suffix(".o"))]
        try:
            done = subprocess.run(command, capture_output=True, timeout=COMPILE_LIMIT_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0


def main(arguments: list[str]) -> int:
    match arguments:
        case ["requirements", top, folder, level] if level in LEVELS:
            write_requirements(Path(top), Path(folder), level)
        case ["heal"]:
            heal()
        case ["link", top, venv]:
            link(Path(top), Path(venv))
        case ["compiles"]:
            return 0 if compiles() else 1
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
