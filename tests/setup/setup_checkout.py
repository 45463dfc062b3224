"""A checkout in miniature: the real set-up scripts around a package that needs nothing, so that no test needs a
network. What the scripts call (apt-get, sudo, pkg, id) can be replaced, and every call is written down."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
LIMIT_S = 120  # a first environment takes 3 s on an idle machine, far more on a busy board
PYPROJECT = """[project]
name = "icn-lite"
dependencies = [{dependencies}]
[dependency-groups]
test = []
lint = []
"""
MAIN = """import json, sys

def main():
    print(json.dumps({"arguments": sys.argv[1:], "program": sys.argv[0].rsplit("/", 1)[-1]}))
"""
# Everything the scripts may call; a test's PATH holds these and its own replacements, nothing else.
PROGRAMS = (
    "sh", "cat", "cut", "dirname", "env", "flock", "ln", "ls", "mkdir", "mv", "printf", "readlink", "rm", "sha256sum",
    "cksum", "sleep", "uname", "cp", "grep", "dpkg", "id", "true", "gcc", "cc", "as", "ld",
)  # fmt: skip


@dataclass
class Checkout:
    """One miniature checkout with its own PATH and home."""

    top: Path
    bin: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def venv(self) -> Path:
        return self.top / ".venv"

    @property
    def calls(self) -> list[str]:
        """What replaced programs were called with, one line a call."""
        log = self.bin / "calls.log"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def replace(self, name: str, body: str = "exit 0", *, log: bool = True) -> None:
        """Put a program of ours in the PATH; its calls are written down before its body runs."""
        program = self.bin / name
        program.unlink(missing_ok=True)
        note = f'echo "{name} $*" >>"{self.bin}/calls.log"\n' if log else ""
        program.write_text(f"#!/bin/sh\n{note}{body}\n", encoding="utf-8")
        program.chmod(0o755)

    def remove(self, name: str) -> None:
        (self.bin / name).unlink(missing_ok=True)

    def environment(self, **more: str) -> dict[str, str]:
        return {"PATH": str(self.bin), "HOME": str(self.top.parent), "LANG": "C.UTF-8", **self.environ, **more}

    def run(
        self, *arguments: str, script: str | Path = "run", cwd: Path | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        command = [str(self.top / "tools" / script), *arguments]
        return subprocess.run(
            command, cwd=cwd or self.top.parent, env=self.environment(**more), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.top / "tools" / "run"), *arguments], env=self.environment(**more), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def forbid_pip(self) -> None:
        """From now on a call of pip in the environment leaves a line in `calls` and fails."""
        for main in self.venv.glob("lib/python*/site-packages/pip/__main__.py"):
            log = str(self.bin / "calls.log")
            main.write_text(f"import sys\nopen({log!r}, 'a').write('pip\\n')\nsys.exit(9)\n", encoding="utf-8")


def python_with(template: Path | None, breaks: str = "nothing is broken") -> str:
    """The body of a python3 that fails where its arguments contain BREAKS, and copies TEMPLATE, an environment that
    a real one made, instead of making another (which takes seconds)."""
    lines = [f'case "$*" in *"{breaks}"*) exit 1 ;; esac']
    if template is not None:
        lines.append(f'[ "$#,$1,$2" != 3,-m,venv ] || exec cp -a "{template}/." "$3"')
    return "\n".join([*lines, f'exec "{sys.executable}" "$@"'])


def make_checkout(folder: Path, template: Path | None, dependencies: str = "") -> Checkout:
    top = folder / "a checkout"
    programs = folder / "bin"
    programs.mkdir(parents=True)
    (top / "icn_lite" / "cli").mkdir(parents=True)
    (top / "tools").mkdir()
    for name in ("run", "test", "bench", "setup.sh", "setup_dists.py"):
        shutil.copy(TOP / "tools" / name, top / "tools" / name)
    for name in ("constraints.txt", "constraints-source.txt", "constraints-test.txt", "constraints-pycose.txt"):
        (top / "tools" / name).write_text("", encoding="utf-8")
    (top / "pyproject.toml").write_text(PYPROJECT.format(dependencies=dependencies), encoding="utf-8")
    (top / "icn_lite" / "cli" / "main.py").write_text(MAIN, encoding="utf-8")
    # Debian's Python names its compiler in full, x86_64-linux-gnu-gcc; without one the set-up would ask for it.
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    for name in {*PROGRAMS, compiler.rsplit("/", 1)[-1]}:
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    checkout = Checkout(top, programs)
    checkout.replace("python3", python_with(template), log=False)
    checkout.environ["PIP_NO_INDEX"] = "1"
    return checkout
