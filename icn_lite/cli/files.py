"""Reading and writing the files that people name; `-` is stdin or stdout. Every size is bounded before it is read."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from icn_lite.cli.output import write_stdout
from icn_lite.model.errors import StoreError, UsageError

STANDARD: Final = "-"


def read_file(name: str, *, most: int, what: str) -> bytes:
    """The bytes of a file of at most `most` bytes."""
    data = _read(name, most + 1, what)
    if len(data) > most:
        raise UsageError(f"expected {what} of at most {most} bytes, found more in {name}")
    return data


def read_module(name: str, limit: int) -> bytes:
    """A module's bytes; of one over `limit` one byte more than that, enough for preparation to refuse it."""
    return _read(name, limit + 1, "module")


def _read(name: str, most: int, what: str) -> bytes:
    try:
        if name == STANDARD:
            return sys.stdin.buffer.read(most)
        with Path(name).open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise UsageError(f"can't read the {what} {name}: {error.strerror}", hint="check the path") from error


def write_file(name: str, data: bytes) -> None:
    """Write a file whole or not at all; `-` is stdout. Devices, pipes and links are written through as they are."""
    if name == STANDARD:
        write_stdout(data)
        return
    path = Path(name)
    try:
        # /dev/stdout is a link to what may be a plain file: the link must never be replaced.
        if path.is_symlink() or (path.exists() and not path.is_file()):
            path.write_bytes(data)
            return
        temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
        try:
            temporary.write_bytes(data)
            if path.exists():
                shutil.copymode(path, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"can't write {name}: {error.strerror}", hint="check the folder and free space") from error
