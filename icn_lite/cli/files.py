"""Reading and writing the files that people name; `-` is stdin or stdout. Every size is bounded before it is read."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from icn_lite.model.errors import StoreError, UsageError

STANDARD: Final = "-"


def read_file(name: str, *, most: int, what: str) -> bytes:
    """The bytes of a file of at most `most` bytes."""
    try:
        if name == STANDARD:
            data = sys.stdin.buffer.read(most + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(most + 1)
    except OSError as error:
        raise UsageError(f"can't read the {what} {name}: {error.strerror}", hint="check the path") from error
    if len(data) > most:
        raise UsageError(f"expected a {what} of at most {most} bytes, found more in {name}")
    return data


def write_file(name: str, data: bytes) -> None:
    """Write a file whole or not at all; `-` is stdout. Devices and pipes are written to as they are."""
    if name == STANDARD:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"can't write {name}: {error.strerror}", hint="check the folder and free space") from error
