"""Runs a sensor's command so that it can neither block nor flood: a deadline, a byte bound, and its whole group killed.

`termux-battery-status` starts helpers of its own and can hang for ever after some ten calls; killing only the process
that was started would leave them.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Final

# A battery status has some 500 bytes; who prints more than this is no sensor.
MAX_OUTPUT_BYTES: Final = 64 * 1024
# What fits a pipe of any kernel at once, so that writing it can't block.
MAX_INPUT_BYTES: Final = 4096
# A killed process is gone within milliseconds; one in an uninterruptible wait is left to init.
REAP_S: Final = 1.0


class CommandFailed(Exception):
    """Why a command gave no usable output, in words."""


def run_command(argv: Sequence[str], deadline_ms: int, stdin: bytes = b"") -> bytes:
    """Standard output of `argv`, at most `MAX_OUTPUT_BYTES`, within `deadline_ms`. Raises `CommandFailed`.

    `stdin` is at most `MAX_INPUT_BYTES`; a command need not read it.
    """
    if len(stdin) > MAX_INPUT_BYTES:
        raise CommandFailed(f"expected at most {MAX_INPUT_BYTES} bytes for {argv[0]}, found {len(stdin)}")
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C"},  # words and decimal points are read by programs here
        )
    except OSError as error:
        raise CommandFailed(f"{argv[0]}: {error.strerror or error}") from error
    try:
        _feed(process, stdin)
        output = _drain(process, argv[0], time.monotonic() + deadline_ms / 1000)
    finally:
        _end(process)
    if process.returncode:
        raise CommandFailed(f"{argv[0]} ended with {process.returncode}")
    return output


def _feed(process: subprocess.Popen[bytes], stdin: bytes) -> None:
    if process.stdin is None:
        return
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(stdin)


def _drain(process: subprocess.Popen[bytes], name: str, deadline: float) -> bytes:
    """Read to the end of the pipe, which comes when the last of the group has closed it, and wait for the process."""
    assert process.stdout is not None
    handle = process.stdout.fileno()
    output = bytearray()
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([handle], [], [], left)[0]:
            raise CommandFailed(f"{name} gave no answer in time and was killed")
        chunk = os.read(handle, MAX_OUTPUT_BYTES)
        if not chunk:
            break
        output += chunk
        if len(output) > MAX_OUTPUT_BYTES:
            raise CommandFailed(f"{name} printed more than {MAX_OUTPUT_BYTES} bytes and was killed")
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{name} did not end in time and was killed") from error
    return bytes(output)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing behind: pipe closed, and unless it ended by itself, group killed and process reaped."""
    assert process.stdout is not None
    process.stdout.close()
    if process.returncode is not None:
        return  # reaped: its number may belong to another group by now
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(REAP_S)
