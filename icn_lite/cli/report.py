"""How a process of this program ends: its streams, its errors in one line or one document, its exit code.

Shared by the command line (`main.py`) and by the process of a node (`daemon.py`), which never loads the former.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from typing import Final

from icn_lite.cli.output import Output, printable
from icn_lite.model.errors import IcnLiteError

PROGRAM: Final = "icn-lite"
EXIT_INTERRUPTED: Final = 130  # 128 + SIGINT
EXIT_BROKEN_PIPE: Final = 141  # 128 + SIGPIPE, what a shell shows for `yes | head`


def report(out: Output, error: IcnLiteError, *, debug: bool) -> int:
    """Tell a program or a person what went wrong; returns the exit code."""
    if debug:
        sys.stderr.write(printable("".join(traceback.format_exception(error))))
    if out.as_json:
        out.document({"error": error.as_json()})
        return error.exit_code
    out.note(f"{PROGRAM}: {error.message}")
    if error.hint:
        out.note(f"  hint: {error.hint}")
    return error.exit_code


def as_fault(error: Exception) -> IcnLiteError:
    """An error that nobody expected, as one that can be told."""
    fault = IcnLiteError(
        f"unexpected {type(error).__name__}: {error}", hint="this is a fault of icn-lite; --debug shows where"
    )
    fault.__cause__ = error
    return fault


def drop_stdout() -> None:
    """Nobody takes what is left; Python would complain about it once more while it shuts down."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def settle_streams() -> None:
    """Three open streams that take every text."""
    _open_missing()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _open_missing() -> None:
    """Whoever starts us with closed streams must not find an answer in the middle of a database."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdin = sys.stdin or open(0, encoding="utf-8")  # noqa: SIM115 -- it stays open to the end
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8")  # noqa: SIM115
