"""The home: the one folder that holds everything a node keeps.

    key          the node's identity (node/keys.py)
    config.toml  its settings (node/config.py)
    calibration.toml what `icn-lite bench` measured of the device (node/calibration.py)
    coops/       the cooperatives it belongs to (node/cooperatives.py)
    node.db      blocks, receipts, jobs, ledger (store/)
    lock         who is writing (store/lock.py)
    learned.json what the device found out about itself; may be deleted at any time (node/learning.py)
    prepared/    modules that were prepared before; may be deleted at any time (node/prepared_cache.py)
    control.sock the running node's ear for `status`, `cancel`, …
    run/         what does not outlive the process that made it

Promises: the folder belongs to this user and nobody else may write to it, else it is refused before anything in it
is read, because whoever can write here can swap the key or the settings. Where it lies: `--home`, else
`ICN_LITE_HOME`, else the platform's data folder (XDG Base Directory Specification; on macOS Application Support).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from icn_lite.model.errors import StoreError, UsageError

ENVIRONMENT_VARIABLE: Final = "ICN_LITE_HOME"
FOLDER_NAME: Final = "icn-lite"
FOLDER_MODE: Final = 0o700
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Home:
    """A home folder by its path; nothing is touched until `create` or `check`."""

    path: Path

    @property
    def key(self) -> Path:
        """The identity."""
        return self.path / "key"

    @property
    def config(self) -> Path:
        """The settings; the file may be absent."""
        return self.path / "config.toml"

    @property
    def calibration(self) -> Path:
        """What was measured of the device; the file may be absent."""
        return self.path / "calibration.toml"

    @property
    def database(self) -> Path:
        """The store."""
        return self.path / "node.db"

    @property
    def prepared(self) -> Path:
        """Prepared modules; the folder may be absent."""
        return self.path / "prepared"

    @property
    def cooperatives(self) -> Path:
        """Memberships, keys of cooperatives, invitations, revocations."""
        return self.path / "coops"

    @property
    def control_socket(self) -> Path:
        """Where a running node listens for the commands of its owner."""
        return self.path / "control.sock"

    @property
    def run(self) -> Path:
        """Scratch space of the running node."""
        return self.path / "run"

    @property
    def initialised(self) -> bool:
        """Whether an identity stands here."""
        return self.key.exists()

    def create(self) -> None:
        """Make the folder with its parents, or check the one that stands there."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=FOLDER_MODE, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"can't make the home folder {self.path}: {error.strerror}",
                hint=f"name a folder that you may write to with --home or {ENVIRONMENT_VARIABLE}",
            ) from error
        self.check()
        try:
            self.run.mkdir(mode=FOLDER_MODE, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"can't make {self.run}: {error.strerror}", hint="check the folder's permissions and the disk's space"
            ) from error

    def check(self) -> None:
        """Refuse a home that is missing, is not ours, or is open to others."""
        try:
            status = self.path.stat()
        except OSError as error:
            raise StoreError(
                f"no home at {self.path}: {error.strerror}", hint="run `icn-lite init`, or name the folder with --home"
            ) from error
        if not stat.S_ISDIR(status.st_mode):
            raise StoreError(f"expected a folder at {self.path}, found a file", hint="name another with --home")
        if status.st_uid != os.geteuid():
            raise StoreError(
                f"the home {self.path} belongs to user {status.st_uid}, this is user {os.geteuid()}",
                hint="run as its owner, or name another folder with --home",
            )
        if status.st_mode & _WRITABLE_BY_OTHERS:
            raise StoreError(
                f"others may write to the home {self.path} (mode {stat.S_IMODE(status.st_mode):04o})",
                hint=f"name a folder of its own with --home; if it is that: chmod 700 {self.path}",
            )


def locate_home(option: str | None, environ: Mapping[str, str], platform: str) -> Home:
    """The home that was named, or the platform's own; `platform` is `sys.platform`."""
    named = option or environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return Home(Path(named).expanduser().absolute())
    return Home(_data_folder(environ, platform) / FOLDER_NAME)


def _data_folder(environ: Mapping[str, str], platform: str) -> Path:
    named = environ.get("XDG_DATA_HOME", "")
    if named.startswith("/"):  # a relative one is to be ignored (XDG Base Directory Specification)
        return Path(named)
    user = environ.get("HOME", "")
    if not user.startswith("/"):
        raise UsageError(
            "can't tell where to keep data: HOME is not set",
            hint=f"name a folder with --home or {ENVIRONMENT_VARIABLE}",
        )
    if platform == "darwin":
        return Path(user) / "Library" / "Application Support"
    return Path(user) / ".local" / "share"
