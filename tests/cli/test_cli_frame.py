"""The frame of the command line: lazy commands, one JSON document, exit codes, quiet ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from icn_lite.cli import main as cli
from icn_lite.cli.framework import Command, Group
from icn_lite.cli.output import Output, printable
from icn_lite.model import errors

HEAVY = ("aiocoap", "zeroconf", "wasm3", "rich", "nacl", "cbor2", "psutil", "sqlite3", "asyncio")


def program(*arguments: str, home: Path | None = None, **extra: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOME": "/nonexistent", **extra}
    if home is not None:
        environ["ICN_LITE_HOME"] = str(home)
    return subprocess.run(
        [sys.executable, "-m", "icn_lite.cli", *arguments], env=environ, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["init", "--help"], ["--version", "--json"]])
def test_help_and_version_load_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom icn_lite.cli.main import run\n"
        f"code = run({arguments!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_every_row_is_a_command_with_that_name_and_a_line_of_help() -> None:
    context = cli.program.make_context("icn-lite", ["--help"], resilient_parsing=True)
    for name, row in cli.COMMANDS.items():
        found = cli.program.get_command(context, name)
        assert isinstance(found, (Command, Group)), name
        assert found.name == name
        assert row.help.endswith(".")
        assert found.examples, f"{name} has no example"


def test_version() -> None:
    done = program("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("icn-lite ")
    assert json.loads(program("--json", "--version").stdout)["version"] in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--json", "nonsense"],
        ["init", "--json", "--nonsense"],
        ["--json", "completion", "tcsh"],
        ["--json", "init", "x"],
    ],
)
def test_a_usage_error_is_json_too(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments) == 2
    shown = capsys.readouterr()
    assert shown.err == ""
    error = json.loads(shown.out)["error"]
    assert set(error) == {"code", "kind", "message", "hint"}
    assert error["kind"] == "usage"
    assert "--help" in error["hint"]


def test_a_misspelt_command_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["inti"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Did you mean 'init'?" in shown.err


@pytest.mark.parametrize("place", [0, 1])
def test_global_options_stand_before_or_after_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: int
) -> None:
    arguments = ["init"]
    arguments[place:place] = ["--home", str(tmp_path / "home"), "--json"]
    assert cli.run(arguments) == 0
    assert json.loads(capsys.readouterr().out)["home"] == str(tmp_path / "home")


ERRORS = [
    (errors.UsageError("m", hint="h"), 2),
    (errors.ModuleError("limit", "m", offset=3), 3),
    (errors.DeviceRefuses("m"), 6),
    (errors.PeerError("m"), 7),
    (errors.VerificationError("m"), 8),
    (errors.SignatureError("m"), 8),
    (errors.DocumentError("m", offset=1), 8),
    (errors.StoreError("m"), 1),
    (errors.DiskFullError("m"), 1),
    (RuntimeError("boom"), 1),
]


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("as_json", [True, False])
def test_every_error_has_its_exit_code_and_one_line(
    error: Exception, code: int, as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(cli.program, "invoke", fail)
    assert cli.run(["--json", "init"] if as_json else ["init"]) == code
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    if as_json:
        assert shown.err == ""
        assert json.loads(shown.out)["error"]["message"]
    else:
        assert shown.out == ""
        assert shown.err.startswith("icn-lite: ")


def test_debug_shows_where(tmp_path: Path) -> None:
    done = program("--debug", "init", "--json", home=Path("/proc/nothing"))
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert json.loads(done.stdout)["error"]["kind"] == "store"


def test_ctrl_c_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.program, "invoke", interrupt)
    assert cli.run(["init"]) == 130
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err


def test_a_reader_that_leaves_is_no_fault(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "icn_lite.cli", "--help"], env=environ, stdout=write, stderr=subprocess.PIPE, timeout=60
    )
    os.close(write)
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == b""


def test_a_locale_without_unicode_is_survived() -> None:
    done = program("nonsense✓", LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert cli.run(["completion", shell]) == 0
    assert b"_ICN_LITE_COMPLETE" in capsysbinary.readouterr().out


def test_the_shell_is_told_the_commands() -> None:
    done = program(_ICN_LITE_COMPLETE="bash_complete", COMP_WORDS="icn-lite ini", COMP_CWORD="1")
    assert done.stdout.split() == ["plain,init"]


def test_texts_of_others_cannot_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("a\x1b[2Jb\x9bc\x7fd\r\n\te") == "a\ufffd[2Jb\ufffdc\ufffdd\ufffd\n\te"
    out = Output(as_json=False)
    out.table(["Name", "Size>"], [["\x1b[31m[bold]x", "1"]], title="T")
    out.line("\x1bx")
    assert "\x1b" not in capsys.readouterr().out
    out.document({"name": "\x1b"})
    assert json.loads(capsys.readouterr().out) == {"name": "\x1b"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is missing here")
@pytest.mark.parametrize("arguments", [["--version"], ["--json", "nonsense"], ["completion", "bash"]])
def test_an_answer_that_cannot_be_written_is_said(arguments: list[str]) -> None:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "icn_lite.cli", *arguments],
            env=environ,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert done.returncode == 1
    assert b"can't write the answer" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_survived(tmp_path: Path, closed: str) -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "ICN_LITE_HOME": str(tmp_path / "home"),
    }
    command = f"exec {sys.executable} -m icn_lite.cli init {closed}"
    done = subprocess.run(["sh", "-c", command], env=environ, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "home" / "key").stat().st_size < 200  # no answer found its way into a file
