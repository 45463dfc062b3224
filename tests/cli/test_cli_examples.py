"""Every `--help` ends with examples, and every example that can run here does, as it is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from icn_lite.cli import main as cli
from icn_lite.cli.framework import Command, Group
from icn_lite.resources import profile_files

# Commands whose examples start nodes; the tests of those commands run them.
STARTS_NODES = frozenset(
    {"up", "submit", "cancel", "demo", "bench", "bridge", "attach", "why", "work", "invite", "join", "renew", "import"}
)
NOT_RUN = {
    "icn-lite init --passphrase": "asks on a terminal",
    "icn-lite init --home /srv/icn --passphrase-file /etc/icn-passphrase": "writes outside the test's folder",
}


def commands(root: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command of the program with the words that call it."""
    yield path, root
    if isinstance(root, click.Group):
        context = click.Context(root)
        for name in root.list_commands(context):
            found = root.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name))


ALL = dict(commands(cli.program))
EXAMPLES = [
    example
    for path, found in ALL.items()
    if isinstance(found, (Command, Group)) and not STARTS_NODES.intersection(path)
    for example in found.examples
    if example not in NOT_RUN
]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_has_help_with_an_example_of_its_own(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*path, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Examples:" in text
    assert "--json" in text
    examples = text.split("Examples:")[1].split("\n")
    shown = [line.strip() for line in examples if line.strip()]
    assert shown
    for line in shown:
        assert " ".join(("icn-lite", *path)).strip() in line


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_answers_a_senseless_line_in_json(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*path, "--json", "--nonsense"]) == 2
    shown = capsys.readouterr()
    assert shown.err == ""
    error = json.loads(shown.out)["error"]
    assert error["kind"] == "usage"
    assert error["hint"] == f"`{' '.join(('icn-lite', *path))} --help` shows what it takes"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, guests: Path) -> Path:
    """A folder with the files that the examples name, and `icn-lite` on the path."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "add.wasm").write_bytes((guests / "add.wasm").read_bytes())
    (folder / "echo.wasm").write_bytes((guests / "echo.wasm").read_bytes())
    (folder / "notes.txt").write_text("notes\n")
    (folder / "my-board.toml").write_text(profile_files()["pi-4"])
    program = folder / "bin" / "icn-lite"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m icn_lite.cli "$@"\n')
    program.chmod(0o755)
    prelude = "icn-lite run add.wasm --invoke add i32:2 i32:40 --json > run.json && "
    prelude += 'icn-lite receipts show $(sed -n \'s/.*"receipt": "\\(.*\\)".*/\\1/p\' run.json) --raw > receipt.cose'
    shell(folder, prelude)
    return folder


def shell(folder: Path, line: str, **extra: str) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "HOME": str(folder / "user"),
        **extra,
    }
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_example_works_as_written(example: str, place: Path, tmp_path: Path) -> None:
    made = json.loads((place / "run.json").read_text())
    extra = {"RECEIPT": made["receipt"], "JOB": made["job"]}
    if example.startswith("icn-lite init"):
        extra["ICN_LITE_HOME"] = str(tmp_path / "home")
    (place / "user" / ".config" / "fish" / "completions").mkdir(parents=True, exist_ok=True)
    done = shell(place, example, **extra)
    assert done.returncode == 0, done.stderr
    if "--json" in example:
        json.loads(done.stdout)


def test_what_is_not_run_is_still_an_example() -> None:
    every = {example for found in ALL.values() if isinstance(found, (Command, Group)) for example in found.examples}
    assert every >= NOT_RUN.keys()
