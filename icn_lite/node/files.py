"""Writing small files of the home: whole or not at all, after a power cut too."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from icn_lite.model.errors import StoreError


def write_whole(path: Path, data: bytes) -> None:
    """Write under another name, sync, rename, sync the folder; only this user may read it. Raises `StoreError`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        temporary.rename(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StoreError(f"can't write {path}: {error.strerror}", hint="check permissions and free space") from error
