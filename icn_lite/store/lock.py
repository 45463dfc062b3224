"""One writer for one home: an exclusive lock on the file `lock`, with a note of who holds it.

The kernel releases the lock when its process ends in whatever way, so a lock is never stale; the note (`pid` and
`since`) is only for people and for noticing an unclean end: whoever closes well empties it. The descriptor is not
inherited by programs that are started; a child that is forked without starting a program must close it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path
from typing import Final, Self

from icn_lite.model.errors import HomeInUse, StoreError

FILE_NAME: Final = "lock"
MAX_NOTE_BYTES: Final = 256  # two short lines; whatever else stands in the file is not read


class HomeLock:
    """The exclusive lock on a home, held until `release`."""

    def __init__(self, descriptor: int, *, after_unclean_end: bool) -> None:
        self._descriptor: int | None = descriptor
        self.after_unclean_end = after_unclean_end

    @classmethod
    def acquire(cls, home: Path) -> Self:
        """Take the lock at once or raise `HomeInUse` naming the process that holds it."""
        path = home / FILE_NAME
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"can't open {path}: {error.strerror}", hint="check the folder's owner and permissions, or use --home"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            note = _read_note(descriptor)
            os.close(descriptor)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise StoreError(
                    f"can't lock {path}: {error.strerror}", hint="put the home on a local file system with flock"
                ) from error
            holder, since = note.get("pid", "unknown"), note.get("since", "an unknown time")
            raise HomeInUse(
                f"{home} is in use by process {holder} since {since}",
                hint="stop that node, or give this one another folder with --home",
            ) from error
        unclean = bool(_read_note(descriptor))
        lock = cls(descriptor, after_unclean_end=unclean)
        lock._write_note(f"pid={os.getpid()}\nsince={_now()}\n")
        return lock

    def release(self, *, clean: bool = True) -> None:
        """Give the lock up; `clean` says that the database was closed in order."""
        if self._descriptor is None:
            return
        if clean:
            self._write_note("")
        os.close(self._descriptor)
        self._descriptor = None

    def _write_note(self, note: str) -> None:
        """Write the note; a disk without room for it must not keep a node from opening or closing."""
        assert self._descriptor is not None
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, note.encode("ascii"), 0)
            os.fsync(self._descriptor)  # the note has to outlive a power cut, or that end would pass as clean
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
                raise


def _read_note(descriptor: int) -> dict[str, str]:
    text = os.pread(descriptor, MAX_NOTE_BYTES, 0).decode("ascii", errors="replace")
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _now() -> str:
    """The wall clock in UTC, for people; nothing is decided by it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
