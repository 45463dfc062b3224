"""SHA-256 of what may be large.

OpenSSL's is up to eight times as fast as Python's own where the processor has instructions for it, and loading it takes
4 MB. A node's process begins without it (`cli/daemon.py`) and loads it with the first block that it pays for; small
documents never need it. Where there is no OpenSSL, Python's own does the same.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hashlib import _Hash

LARGE_BYTES: Final = 32_768  # hashed in a fifth of a millisecond by Python's own


def sha256(data: bytes | memoryview) -> bytes:
    """The digest of these bytes."""
    return (hashlib.sha256 if len(data) < LARGE_BYTES else bulk())(data).digest()


@functools.cache
def bulk() -> Callable[..., _Hash]:
    """What makes the hash of something large."""
    try:
        import _hashlib
    except ImportError:
        return hashlib.sha256
    return _hashlib.openssl_sha256
