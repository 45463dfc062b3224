"""Content identifiers: CIDv1, sha2-256, base32 lower-case (multiformats CID specification).

Only the three forms that the node makes are accepted: codec 0x55 (raw bytes), 0x70 (DAG-PB, the root of a blob that
is larger than a chunk, `unixfs.py`) and 0x71 (DAG-CBOR), each with a 32-byte sha2-256 digest. In bytes that is
`01 ‖ codec ‖ 12 20 ‖ digest` (36 bytes), as text `b` + base32, 59 characters.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final, Literal, Self

from icn_lite.model.digest import sha256
from icn_lite.model.errors import DocumentError

RAW: Final = 0x55
DAG_PB: Final = 0x70
DAG_CBOR: Final = 0x71
BYTES_LENGTH: Final = 36
TEXT_LENGTH: Final = 59
DIGEST_LENGTH: Final = 32

_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"
_STRAY_BITS: Final = 0b11  # 58 characters hold two bits more than 36 bytes

Codec = Literal[0x55, 0x70, 0x71]


@dataclass(frozen=True, slots=True, order=True)
class Cid:
    """The name of a block: its codec and the sha2-256 digest of its bytes."""

    codec: int
    digest: bytes

    def __post_init__(self) -> None:
        if self.codec not in (RAW, DAG_PB, DAG_CBOR):
            raise DocumentError(f"expected codec 0x55 (raw), 0x70 (dag-pb) or 0x71 (dag-cbor), found {self.codec:#x}")
        if len(self.digest) != DIGEST_LENGTH:
            raise DocumentError(f"expected a sha2-256 digest of 32 bytes, found {len(self.digest)}")

    @classmethod
    def of_raw(cls, data: bytes) -> Self:
        """The CID of one raw block; `unixfs.blob_cid` names blobs of any size."""
        return cls(RAW, sha256(data))

    @classmethod
    def of_dag_cbor(cls, block: bytes) -> Self:
        """The CID of an encoded DAG-CBOR document."""
        return cls(DAG_CBOR, sha256(block))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the 36-byte form; anything else is refused."""
        if len(data) != BYTES_LENGTH or data[0] != 1 or data[2:4] != b"\x12\x20":
            raise DocumentError(f"expected a CIDv1 with sha2-256 (36 bytes, 01 .. 12 20), found {data[:4].hex()}…")
        return cls(data[1], data[4:])

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the 59-character form `b…`; other bases, versions and hashes are refused."""
        if len(text) != TEXT_LENGTH or not text.startswith("b"):
            raise DocumentError(f"expected a CID of 59 characters beginning with 'b', found {text[:16]!r}…")
        if text != text.lower():
            raise DocumentError("expected a CID in lower-case base32")
        try:
            data = base64.b32decode(text[1:].upper() + "======"[: -len(text[1:]) % 8])
        except (binascii.Error, ValueError) as error:
            raise DocumentError(f"not base32: {text[:16]!r}…") from error
        if _ALPHABET.index(text[-1]) & _STRAY_BITS:
            raise DocumentError("expected a CID without stray bits in its last character")
        return cls.decode(data)

    def encode(self) -> bytes:
        """The 36-byte form."""
        return bytes((1, self.codec, 0x12, 0x20)) + self.digest

    def fits(self, data: bytes) -> bool:
        """Whether `data` is the block that this CID names; for blobs see `unixfs.names`."""
        return sha256(data) == self.digest

    def __str__(self) -> str:
        return "b" + base64.b32encode(self.encode()).decode("ascii").rstrip("=").lower()

    def __repr__(self) -> str:
        return f"Cid({self})"
