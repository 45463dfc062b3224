"""SHA-256 and BLAKE2b from Python's own C modules.

`hashlib` would map OpenSSL into every child (3 MB resident) for the same two functions.
"""

from __future__ import annotations

import _blake2

try:
    from _sha2 import sha256 as _sha256  # type: ignore[import-not-found,unused-ignore]  # Python 3.12 and later
except ImportError:
    from _sha256 import sha256 as _sha256  # type: ignore[import-not-found,unused-ignore]

BLAKE2B_MAX_BYTES = 64
CID_BYTES = 59  # of a CIDv1 with a SHA-256 as text
BASE32 = b"abcdefghijklmnopqrstuvwxyz234567"  # RFC 4648 §6, as multibase `b` has it


def sha256(data: bytes) -> bytes:
    return bytes(_sha256(data).digest())


def blake2b(data: bytes, digest_bytes: int) -> bytes:
    return bytes(_blake2.blake2b(data, digest_size=digest_bytes).digest())


def raw_cid(data: bytes) -> bytes:
    """The CIDv1 of a raw block as text; `model.cid` would bring half of the model into the child."""
    binary = int.from_bytes(b"\x01\x55\x12\x20" + sha256(data), "big") << 2  # 288 bits to 58 digits of five
    return b"b" + bytes(BASE32[binary >> shift & 31] for shift in range(285, -1, -5))


class RandomStream:
    """Bytes that depend on the seed alone: SHA-256 of a label, the seed and a counter, block after block."""

    LABEL = b"icn-lite/random/1"

    def __init__(self, seed: bytes) -> None:
        self._prefix = self.LABEL + len(seed).to_bytes(4, "big") + seed
        self._counter = 0
        self._left = b""

    def take(self, length: int) -> bytes:
        out = bytearray(self._left[:length])
        self._left = self._left[length:]
        while len(out) < length:
            block = sha256(self._prefix + self._counter.to_bytes(8, "big"))
            self._counter += 1
            want = length - len(out)
            out += block[:want]
            self._left = block[want:]
        return bytes(out)
