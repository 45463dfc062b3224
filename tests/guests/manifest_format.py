"""The manifest shard in Python: the oracle for the guest, written from tools/guests/README.md alone."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import dag_cbor

File = tuple[bytes, bytes, bytes]  # path, data, expected SHA-256


def file(path: str, data: bytes, *, good: bool = True) -> File:
    """A file with the right digest, or with one that is wrong in its last bit."""
    digest = bytearray(hashlib.sha256(data).digest())
    if not good:
        digest[-1] ^= 1
    return path.encode(), data, bytes(digest)


def pack(files: Sequence[File]) -> bytes:
    """The shard."""
    entries = b"".join(struct.pack("<II32s", len(path), len(data), digest) for path, data, digest in files)
    return (
        struct.pack("<4sII", b"ICNM", 1, len(files))
        + entries
        + b"".join(path for path, _, _ in files)
        + b"".join(data for _, data, _ in files)
    )


def report(files: Sequence[File]) -> bytes:
    """What the guest has to answer, by hashlib and dag-cbor."""
    wrong = [i for i, (_, data, digest) in enumerate(files) if hashlib.sha256(data).digest() != digest]
    return dag_cbor.encode(
        {"v": 1, "bytes": sum(len(data) for _, data, _ in files), "files": len(files), "mismatches": wrong}
    )
