"""At a terminal: passphrases are asked for and not shown, tables fit, stdin and stdout carry data."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from icn_lite.node.keys import load_key

WAIT_S = 30


class Terminal:
    """A program whose stdin, stdout and stderr are a terminal of its own."""

    def __init__(self, *arguments: str, home: Path, columns: int = 60) -> None:
        self._master, slave = pty.openpty()
        environ = {
            **os.environ,
            "ICN_LITE_HOME": str(home),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "COLUMNS": str(columns),
            "TERM": "xterm-256color",
        }
        for name in ("ICN_LITE_PASSPHRASE", "ICN_LITE_PASSPHRASE_FILE"):
            environ.pop(name, None)
        # setsid --ctty makes the terminal the program's own, so that getpass finds it as /dev/tty.
        command = ["setsid", "--ctty", "--wait", sys.executable, "-m", "icn_lite.cli", *arguments]
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environ)
        os.close(slave)
        self.shown = ""

    def until(self, text: str) -> None:
        """Read until `text` was shown `once more`, or to the end for the empty text."""
        start = len(self.shown)
        deadline = time.monotonic() + WAIT_S
        while not text or text not in self.shown[start:]:
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"{text!r} did not appear within {WAIT_S} s; shown: {self.shown!r}")
            try:
                chunk = os.read(self._master, 4096)
            except OSError:  # Linux says EIO when the program closed its end
                chunk = b""
            if not chunk:
                assert not text, self.shown
                return
            self.shown += chunk.decode("utf-8", "replace")

    def type(self, text: str) -> None:
        os.write(self._master, text.encode() + b"\n")

    def end(self) -> int:
        self.until("")
        code = self.process.wait(WAIT_S)
        os.close(self._master)
        return code


def test_a_passphrase_is_asked_for_twice_and_not_shown(tmp_path: Path, guests: Path) -> None:
    home = tmp_path / "home"
    terminal = Terminal("init", "--passphrase", home=home)
    terminal.until("Passphrase")
    terminal.type("correct horse")
    terminal.until("epeat")
    terminal.type("correct horse")
    assert terminal.end() == 0
    assert "correct" not in terminal.shown
    assert load_key(home / "key", lambda: b"correct horse").sealed

    call = ["run", str(guests / "add.wasm"), "--invoke", "add", "i32:1", "i32:2"]
    for passphrase, code in (("correct horse", 0), ("wrong", 2)):
        again = Terminal(*call, home=home)
        again.until("Passphrase")
        again.type(passphrase)
        assert again.end() == code
        assert passphrase not in again.shown


def test_ctrl_c_at_the_question_is_quiet(tmp_path: Path) -> None:
    terminal = Terminal("init", "--passphrase", home=tmp_path / "home")
    terminal.until("Passphrase")
    os.write(terminal._master, b"\x03")
    assert terminal.end() == 130
    assert "Traceback" not in terminal.shown
    assert not (tmp_path / "home").exists()


def test_a_table_fits_the_terminal(tmp_path: Path) -> None:
    terminal = Terminal("profile", "list", home=tmp_path / "home", columns=50)
    assert terminal.end() == 0
    assert "Raspberry" in terminal.shown
    assert all(len(line.rstrip("\r")) <= 50 for line in terminal.shown.split("\n") if "\x1b" not in line)


@pytest.mark.parametrize("words", [[], ["--output", "-"]])
def test_a_guest_stands_in_a_pipe(tmp_path: Path, guests: Path, words: list[str]) -> None:
    data = bytes(range(256)) * 100
    environ = {**os.environ, "ICN_LITE_HOME": str(tmp_path / "home"), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "icn_lite.cli", "run", str(guests / "echo.wasm"), "--input", "-", *words]
    done = subprocess.run(command, input=data, env=environ, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, data)
    assert b"receipt bafy" in done.stderr
