"""Identities: `did:key` over Ed25519 (W3C did:key, multicodec 0xed), and the libp2p PeerId of the same key."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final, Self

from icn_lite.model.errors import DocumentError

KEY_LENGTH: Final = 32
PREFIX: Final = "did:key:z"
MAX_TEXT_LENGTH: Final = 64  # 56 characters for Ed25519; the bound stops the quadratic base58 decoder
CACHED_DIDS: Final = 1024  # neighbours of a local mesh; base58 costs more than the rest of reading a document
_MULTICODEC_ED25519_PUB: Final = b"\xed\x01"
_PEER_ID_PREFIX: Final = b"\x00\x24\x08\x01\x12\x20"  # identity multihash of the protobuf PublicKey{Ed25519}
_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS: Final = {character: value for value, character in enumerate(_ALPHABET)}


def base58_encode(data: bytes) -> str:
    """Bytes to base58btc text."""
    number = int.from_bytes(data, "big")
    characters: list[str] = []
    while number:
        number, digit = divmod(number, 58)
        characters.append(_ALPHABET[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(characters))


def base58_decode(text: str) -> bytes:
    """base58btc text (at most `MAX_TEXT_LENGTH` characters) to bytes."""
    if len(text) > MAX_TEXT_LENGTH:
        raise DocumentError(f"expected at most {MAX_TEXT_LENGTH} base58 characters, found {len(text)}")
    number = 0
    for position, character in enumerate(text):
        digit = _DIGITS.get(character)
        if digit is None:
            raise DocumentError(f"{character!r} at position {position} is no base58 character")
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")


@dataclass(frozen=True, slots=True, order=True)
class Did:
    """The identity of a node: one Ed25519 public key (32 bytes)."""

    public_key: bytes

    def __post_init__(self) -> None:
        if len(self.public_key) != KEY_LENGTH:
            raise DocumentError(f"expected an Ed25519 public key of 32 bytes, found {len(self.public_key)}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `did:key:z6Mk…`; other methods and key types are refused."""
        return cls(_parse_key(text))

    @property
    def peer_id(self) -> str:
        """The libp2p PeerId of the same key, `12D3KooW…`."""
        return base58_encode(_PEER_ID_PREFIX + self.public_key)

    @property
    def short(self) -> str:
        """A few characters for tables; not unique, never used to decide anything."""
        return str(self)[len(PREFIX) + 4 :][:8]

    def __str__(self) -> str:
        return _format_key(self.public_key)

    def __repr__(self) -> str:
        return f"Did({self})"


@functools.lru_cache(maxsize=CACHED_DIDS)
def _format_key(public_key: bytes) -> str:
    return PREFIX + base58_encode(_MULTICODEC_ED25519_PUB + public_key)


@functools.lru_cache(maxsize=CACHED_DIDS)
def _parse_key(text: str) -> bytes:
    if not text.startswith(PREFIX):
        raise DocumentError(f"expected a DID beginning with {PREFIX!r}, found {text[:16]!r}")
    data = base58_decode(text[len(PREFIX) :])
    if data[:2] != _MULTICODEC_ED25519_PUB:
        raise DocumentError(f"expected an Ed25519 key (multicodec ed 01), found {data[:2].hex(' ')}")
    public_key = data[2:]
    if len(public_key) != KEY_LENGTH:
        raise DocumentError(f"expected an Ed25519 public key of 32 bytes, found {len(public_key)}")
    if _format_key(public_key) != text:
        raise DocumentError("expected the shortest base58 form of the DID")
    return public_key
