"""Prepared modules on the disk, so that the second use of a module costs a read and not a preparation.

A file is named by a digest of everything that its content depends on: the module's CID, the meter version, the limits,
the host table, and which version of the preparing code wrote it. No engine is among them: all run the same module.

What is promised. A prepared module is trusted by the sandbox, so a file counts only if it is ours alone (a plain file
of this user in a folder of this user, closed to others) and if its content has the digest that stands in it; anything
else is deleted and the module prepared again. Files appear whole or not at all, by renaming. All of them together
stay under `MAX_BYTES`; those go first that were used least lately. A disk that can't be written to costs time only.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Final

import icn_lite
from icn_lite import wasm
from icn_lite.model import cbor
from icn_lite.model.cid import Cid
from icn_lite.model.digest import sha256
from icn_lite.model.errors import DocumentError
from icn_lite.wasm.hostfuncs import HOST_FUNCTIONS
from icn_lite.wasm.limits import Limits
from icn_lite.wasm.prepared import FUEL_SCHEDULE, METER, Prepared
from icn_lite.wasm.types import KINDS, Export, FuncType, Import

MAX_BYTES: Final = 32 << 20  # some hundred modules of usual size; a phone has that much to spare
MAX_ENTRY_BYTES: Final = MAX_BYTES // 2  # the largest module that is accepted, 4 MiB, becomes 8 to 12
MAGIC: Final = b"icnprep1"
DIGEST_BYTES: Final = 32
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # never through a link, never wait at a pipe
log = logging.getLogger(__name__)


class BadEntry(Exception):
    """A file that is no entry of ours."""


def cache_key(module: Cid, limits: Limits) -> str:
    """The name of a module's entry under these limits."""
    parts = (str(module), METER, FUEL_SCHEDULE, repr(limits), _host_table(), _preparing_code())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@cache
def _host_table() -> str:
    return hashlib.sha256(repr(sorted(HOST_FUNCTIONS.items())).encode()).hexdigest()


@cache
def _preparing_code() -> str:
    """Which version of the code prepares here: the release, and the files of the room by size and time.

    The meter's version stands for what a run *means*. A fault in the rewriting that left a guest unbounded would be
    cured without a new meter, and must not live on in old files.
    """
    rows = [icn_lite.__version__]
    for folder in wasm.__path__:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:  # a package within an archive has no folder
            files = ((entry.name, entry.stat()) for entry in entries if entry.name.endswith(".py"))
            rows += sorted(f"{name} {status.st_size} {status.st_mtime_ns}" for name, status in files)
    return "\n".join(rows)


def encode_entry(prepared: Prepared) -> bytes:
    """A prepared module as the content of a file."""
    facts: dict[str, cbor.Value] = {field.name: getattr(prepared, field.name) for field in fields(Prepared)}
    facts["imports"] = [[i.module, i.name, bytes(i.type.params), bytes(i.type.results)] for i in prepared.imports]
    facts["exports"] = [
        [e.name, e.kind, None if e.type is None else [bytes(e.type.params), bytes(e.type.results)], e.bits]
        for e in prepared.exports
    ]
    body = cbor.encode(facts)
    return MAGIC + sha256(body) + body


def decode_entry(data: bytes) -> Prepared:
    """The other way; raises `BadEntry`."""
    head = len(MAGIC) + DIGEST_BYTES
    if data[: len(MAGIC)] != MAGIC:
        raise BadEntry("it doesn't begin as a prepared module does")
    body = data[head:]
    if sha256(body) != data[len(MAGIC) : head]:
        raise BadEntry("its digest doesn't fit its content")
    try:
        facts = cbor.decode(body, max_bytes=MAX_ENTRY_BYTES)
        return _prepared(facts)
    except (DocumentError, TypeError, ValueError, KeyError) as error:
        raise BadEntry(f"its content is of another form: {error}") from error


def _prepared(facts: cbor.Value) -> Prepared:
    """What the digest vouches for was written by `encode_entry`; only another version could have meant it otherwise."""
    if not isinstance(facts, dict) or facts.keys() != {field.name for field in fields(Prepared)}:
        raise ValueError("other fields")
    imports = tuple(
        Import(_text(module), _text(name), _type(params, results))
        for module, name, params, results in _rows(facts["imports"])
    )
    exports = tuple(
        Export(
            _text(name),
            KINDS[KINDS.index(_text(kind))],
            None if signature is None else _type(*_row(signature)),
            None if bits is None else _text(bits),
        )
        for name, kind, signature, bits in _rows(facts["exports"])
    )
    return Prepared(**{**facts, "imports": imports, "exports": exports})  # type: ignore[arg-type]  # see above


def _rows(value: cbor.Value) -> Iterator[list[cbor.Value]]:
    return (_row(item) for item in _row(value))


def _row(value: cbor.Value) -> list[cbor.Value]:
    if not isinstance(value, list):
        raise TypeError("expected a list")
    return value


def _text(value: cbor.Value) -> str:
    if not isinstance(value, str):
        raise TypeError("expected text")
    return value


def _type(params: cbor.Value, results: cbor.Value) -> FuncType:
    if not isinstance(params, bytes) or not isinstance(results, bytes):
        raise TypeError("expected bytes")
    return FuncType(tuple(params), tuple(results))


class PreparedCache:
    """The files of one home. Several processes may use them at the same time."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def get(self, key: str) -> Prepared | None:
        """The prepared module of that key, or None; what is wrong is deleted."""
        try:
            with self._opened() as folder:
                try:
                    return decode_entry(self._read(folder, key))
                except BadEntry as error:
                    log.warning("the prepared module %s is made again: %s", key, error)
                    self._drop(folder, key)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("prepared modules can't be read: %s", error)
        return None

    def put(self, key: str, prepared: Prepared) -> None:
        """Keep it, if it fits and the disk allows."""
        data = encode_entry(prepared)
        if len(data) > min(MAX_ENTRY_BYTES, self._max_bytes):
            return
        try:
            with contextlib.suppress(FileExistsError):
                self._folder.mkdir(mode=FOLDER_MODE)
            with self._opened() as folder:
                self._write(folder, key, data)
                self._trim(folder)
        except OSError as error:
            log.warning("a prepared module can't be kept: %s", error)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """The folder's descriptor, if nobody else may write there; raises `OSError`."""
        folder = os.open(self._folder, _OPEN | os.O_DIRECTORY)
        try:
            _check_ours(os.fstat(folder), str(self._folder))
            yield folder
        finally:
            os.close(folder)

    def _read(self, folder: int, key: str) -> bytes:
        try:
            descriptor = os.open(key, _OPEN, dir_fd=folder)
        except FileNotFoundError:
            raise
        except OSError as error:  # a link
            raise BadEntry(error.strerror) from error
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            try:
                _check_ours(status, key)
            except PermissionError as error:
                raise BadEntry(str(error)) from error
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_ENTRY_BYTES:
                raise BadEntry("it is no file of a size that is written here")
            data = file.read(MAX_ENTRY_BYTES)
            os.utime(descriptor)  # used now
        return data

    def _write(self, folder: int, key: str, data: bytes) -> None:
        """No fsync: what a power cut leaves is found out by its digest, and can be made again."""
        temporary = f"{key}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, FILE_MODE, dir_fd=folder)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
            os.rename(temporary, key, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            self._drop(folder, temporary)
            raise

    def _trim(self, folder: int) -> None:
        """Delete what was used least lately; a file that somebody else is just writing is the newest."""
        with os.scandir(folder) as entries:
            found = []
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # another process trims too
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime_ns, entry.name, status.st_size))
        total = sum(size for _, _, size in found)
        for _, name, size in sorted(found):
            if total <= self._max_bytes:
                return
            self._drop(folder, name)
            total -= size

    @staticmethod
    def _drop(folder: int, name: str) -> None:
        with contextlib.suppress(OSError):  # gone already, or a folder that somebody made here
            os.unlink(name, dir_fd=folder)


def _check_ours(status: os.stat_result, name: str) -> None:
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{name} belongs to somebody else, or others may write to it")
