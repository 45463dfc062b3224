"""Shards of files to verify: the format of the guest `manifest` (tools/guests/README.md, "The manifest shard").

A shard holds files with their expected SHA-256; the guest answers with the indices of those that differ. Files are
packed by size, first fit from the largest down, so that shards are alike in weight; a file larger than the target is
a shard of its own.
"""

from __future__ import annotations

import base64
import importlib.metadata
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from icn_lite.model import cbor
from icn_lite.model.errors import DocumentError

MAGIC: Final = b"ICNM"
VERSION: Final = 1
HEADER_BYTES: Final = 12
ENTRY_BYTES: Final = 40
MAX_PATH_BYTES: Final = 4096
FUEL_A_BYTE: Final = 120  # measured 87 of SHA-256, with room for padding and small files
FUEL_A_FILE: Final = 20_000  # measured 6,208


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file that a RECORD manifest lists with its SHA-256 (PyPA "Recording installed projects")."""

    name: str
    path: Path
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Report:
    """What the guest found in a shard; `mismatches` are indices into the shard's files."""

    files: int
    bytes: int
    mismatches: tuple[int, ...]


def listed_files() -> Iterator[ListedFile]:
    """Every file of every installed package that has a SHA-256 in its RECORD and is still there, once, by name."""
    seen: dict[Path, ListedFile] = {}
    for distribution in importlib.metadata.distributions():
        for file in distribution.files or ():
            if file.hash is None or file.hash.mode != "sha256":
                continue  # RECORD itself, and byte code made at installation
            path = Path(str(distribution.locate_file(file))).resolve()
            if path in seen or not path.is_file():
                continue
            digest = base64.urlsafe_b64decode(file.hash.value + "=" * (-len(file.hash.value) % 4))
            seen[path] = ListedFile(str(file), path, path.stat().st_size, digest)
    yield from sorted(seen.values(), key=lambda listed: listed.name)


def plan(files: Iterable[ListedFile], target_bytes: int) -> list[list[ListedFile]]:
    """Groups of files of about `target_bytes` each, none larger unless it is a single file."""
    groups: list[list[ListedFile]] = []
    sizes: list[int] = []
    open_from = 0  # groups before this one are full enough to be passed over
    for file in sorted(files, key=lambda listed: (-listed.size, listed.name)):
        size = shard_bytes(file)
        for index in range(open_from, len(groups)):
            if sizes[index] + size <= target_bytes:
                groups[index].append(file)
                sizes[index] += size
                break
        else:
            groups.append([file])
            sizes.append(size)
        while open_from < len(groups) and sizes[open_from] + ENTRY_BYTES >= target_bytes:
            open_from += 1
    return groups


def shard_bytes(file: ListedFile) -> int:
    """What a file takes in a shard."""
    return ENTRY_BYTES + len(file.name.encode("utf-8")) + file.size


def pack(files: list[tuple[str, bytes, bytes]]) -> bytes:
    """A shard from (name, content, expected SHA-256)."""
    names = [name.encode("utf-8") for name, _, _ in files]
    for name in names:
        if not 0 < len(name) <= MAX_PATH_BYTES:
            raise DocumentError(f"expected a name of 1 to {MAX_PATH_BYTES} bytes, found {len(name)}")
    entries = b"".join(
        struct.pack("<II32s", len(name), len(content), digest)
        for name, (_, content, digest) in zip(names, files, strict=True)
    )
    header = struct.pack("<4sII", MAGIC, VERSION, len(files))
    return b"".join((header, entries, *names, *(content for _, content, _ in files)))


def fuel_for(shard: bytes, files: int) -> int:
    """A generous fuel limit for a shard."""
    return 1_000_000 + FUEL_A_BYTE * len(shard) + FUEL_A_FILE * files


def read_report(output: bytes) -> Report:
    """Read the guest's answer; raises `DocumentError`."""
    value = cbor.decode(output)
    if not isinstance(value, dict) or value.keys() != {"v", "bytes", "files", "mismatches"} or value["v"] != VERSION:
        raise DocumentError("expected a report {v: 1, bytes, files, mismatches}", offset=0)
    total, files, mismatches = value["bytes"], value["files"], value["mismatches"]
    if not isinstance(total, int) or not isinstance(files, int) or not isinstance(mismatches, list):
        raise DocumentError("expected numbers and a list in the report", offset=0)
    indices = tuple(index for index in mismatches if isinstance(index, int) and 0 <= index < files)
    if len(indices) != len(mismatches):
        raise DocumentError("a mismatch names a file that the shard doesn't have", offset=0)
    return Report(files, total, indices)
