"""Bytes to be moved: seeded, and cut into the blocks of a blob."""

from __future__ import annotations

import random

from icn_lite.model import unixfs
from icn_lite.model.cid import Cid
from icn_lite.model.unixfs import CHUNK_BYTES

SEED = 20_261_121


def some_bytes(size: int) -> bytes:
    return random.Random(SEED + size).randbytes(size)


def blocks_of(data: bytes) -> dict[Cid, bytes]:
    """Every block of a blob's tree."""
    tree = unixfs.tree_of(data)
    leaves = {leaf: data[at * CHUNK_BYTES : (at + 1) * CHUNK_BYTES] for at, leaf in enumerate(tree.leaves)}
    return dict(tree.nodes) | leaves
