"""nkeys: how NATS writes Ed25519 keys, so that a node logs in as itself, with the key that it has.

A public user key is base32( 0xA0 ‖ public key ‖ CRC-16/XMODEM little-endian ), 56 characters beginning with U
(NATS, ADR-14). The server sends a nonce, the client its signature over it.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from icn_lite.model.cose import Signer
from icn_lite.model.did import Did

PREFIX_USER: Final = 20 << 3


def public_nkey(did: Did) -> str:
    """The user nkey of a node, as it stands in the server's configuration."""
    data = bytes((PREFIX_USER,)) + did.public_key
    check = binascii.crc_hqx(data, 0).to_bytes(2, "little")
    return base64.b32encode(data + check).decode("ascii").rstrip("=")


def answer(signer: Signer, nonce: str) -> bytes:
    """The answer to a server's nonce, as nats-py wants it."""
    return base64.b64encode(signer.sign(nonce.encode("ascii")))
