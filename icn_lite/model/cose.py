"""Signed documents: untagged COSE_Sign1 over DAG-CBOR (RFC 9052 §4.2, RFC 9053 §2.2 EdDSA).

A signed document is the array `[protected, {}, payload, signature]`. The protected header is
`{1: -8 (EdDSA), 3: content type, 4: kid = the signer's DID as text}`; the unprotected map is empty, which makes
the array valid DAG-CBOR as well. `external_aad` is the kind of document (`icn-lite/receipt/1`), so a signature of
one kind never passes as another. The payload is the DAG-CBOR encoding of the document.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final, Protocol

import cbor2
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from icn_lite.model import cbor
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError, SignatureError

EDDSA: Final = -8
SIGNATURE_LENGTH: Final = 64
SEED_LENGTH: Final = 32
CACHED_HEADERS: Final = 256  # some ten kinds by the neighbours of a local mesh
_HEADER_ALG: Final = 1
_HEADER_CONTENT_TYPE: Final = 3
_HEADER_KID: Final = 4


class Signer(Protocol):
    """Whoever holds a key: gives its DID and 64-byte Ed25519 signatures."""

    @property
    def did(self) -> Did: ...

    def sign(self, message: bytes) -> bytes: ...


class KeySigner:
    """A signer over a 32-byte Ed25519 seed held in memory."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_LENGTH:
            raise SignatureError(f"expected an Ed25519 seed of 32 bytes, found {len(seed)}")
        self._key = SigningKey(seed)
        self.did = Did(bytes(self._key.verify_key))

    def sign(self, message: bytes) -> bytes:
        """Plain Ed25519 over `message` (RFC 8032 §5.1.6)."""
        return bytes(self._key.sign(message).signature)


@dataclass(frozen=True, slots=True)
class Signed:
    """A COSE_Sign1 whose form was checked; `verify` checks the signature."""

    block: bytes
    protected: bytes
    payload: bytes
    signature: bytes
    signer: Did
    content_type: str

    @property
    def cid(self) -> Cid:
        """The CID of the signed block."""
        return Cid.of_dag_cbor(self.block)


def content_type(kind: str) -> str:
    """The media type of a kind: `icn-lite/receipt/1` is `application/vnd.icn-lite.receipt.1+cbor`."""
    family, name, version = kind.split("/")
    return f"application/vnd.{family}.{name}.{version}+cbor"


def sign(kind: str, payload: bytes, signer: Signer) -> bytes:
    """Sign a DAG-CBOR payload as a document of `kind`; returns the COSE_Sign1 block."""
    protected = _protected(kind, signer.did)
    signature = signer.sign(_to_be_signed(kind, protected, payload))
    return cbor.encode([protected, {}, payload, signature])


def verify(kind: str, block: bytes, *, max_bytes: int = cbor.MAX_DOCUMENT_BYTES) -> Signed:
    """Read a COSE_Sign1 of `kind` and check its signature; raises `DocumentError` or `SignatureError`."""
    signed = read(block, max_bytes=max_bytes)
    if signed.content_type != content_type(kind):
        raise SignatureError(f"expected a document of kind {kind}, found {signed.content_type}")
    if signed.protected != _protected(kind, signed.signer):
        raise SignatureError("expected the protected header in its one canonical form")
    if not verify_bytes(signed.signer, _to_be_signed(kind, signed.protected, signed.payload), signed.signature):
        raise SignatureError(f"the signature of {signed.signer} over this {kind} does not hold")
    return signed


def verify_bytes(signer: Did, message: bytes, signature: bytes) -> bool:
    """Whether a plain Ed25519 signature over `message` holds."""
    if len(signature) != SIGNATURE_LENGTH:
        return False
    try:
        VerifyKey(signer.public_key).verify(message, signature)
    except (BadSignatureError, ValueError):
        return False
    return True


def read(block: bytes, *, max_bytes: int = cbor.MAX_DOCUMENT_BYTES) -> Signed:
    """Read the form of a COSE_Sign1 without checking its signature or kind."""
    value = cbor.decode(block, max_bytes=max_bytes)
    if not isinstance(value, list) or len(value) != 4:
        raise DocumentError("expected a COSE_Sign1: an array of four", offset=0)
    protected, unprotected, payload, signature = value
    if not isinstance(protected, bytes):
        raise DocumentError("expected a protected header as bytes", offset=cbor.offset_of(block, (0,)))
    if unprotected != {}:
        raise DocumentError("expected an empty unprotected header", offset=cbor.offset_of(block, (1,)))
    if not isinstance(payload, bytes):
        raise DocumentError("expected an attached payload", offset=cbor.offset_of(block, (2,)))
    if not isinstance(signature, bytes) or len(signature) != SIGNATURE_LENGTH:
        raise DocumentError("expected a signature of 64 bytes", offset=cbor.offset_of(block, (3,)))
    try:
        kind, signer = _read_protected(protected)
    except (DocumentError, UnicodeDecodeError) as error:
        raise DocumentError(f"protected header: {error}", offset=cbor.offset_of(block, (0,))) from error
    return Signed(block, protected, payload, signature, signer, kind)


@functools.lru_cache(maxsize=CACHED_HEADERS)
def _protected(kind: str, signer: Did) -> bytes:
    header = {_HEADER_ALG: EDDSA, _HEADER_CONTENT_TYPE: content_type(kind), _HEADER_KID: str(signer).encode("ascii")}
    return bytes(cbor2.dumps(header, canonical=True))


def _read_protected(protected: bytes) -> tuple[str, Did]:
    """The content type and signer of a protected header.

    Its integer keys are outside DAG-CBOR, so it is read by position: the one form that `_protected` writes.
    """
    head = bytes((0xA3, _HEADER_ALG, 0x27, _HEADER_CONTENT_TYPE))
    if not protected.startswith(head):
        raise DocumentError("expected a protected header {1: -8, 3: content type, 4: kid}", offset=0)
    media_type, rest = _string(protected, len(head), 3)
    if protected[rest : rest + 1] != bytes((_HEADER_KID,)):
        raise DocumentError("expected key 4 (kid)", offset=rest)
    kid, end = _string(protected, rest + 1, 2)
    if end != len(protected):
        raise DocumentError("expected nothing after the kid", offset=end)
    return media_type.decode("utf-8"), Did.parse(kid.decode("ascii"))


def _string(data: bytes, at: int, major: int) -> tuple[bytes, int]:
    """A definite byte (2) or text (3) string of at most 255 bytes at `at`, and where it ends."""
    head = data[at : at + 2]
    if len(head) == 2 and head[0] == (major << 5 | 24) and head[1] >= 24:
        start, length = at + 2, head[1]
    elif head and head[0] >> 5 == major and head[0] & 31 < 24:
        start, length = at + 1, head[0] & 31
    else:
        raise DocumentError("expected a short string", offset=at)
    if start + length > len(data):
        raise DocumentError(f"expected {length} bytes", offset=start)
    return data[start : start + length], start + length


def _to_be_signed(kind: str, protected: bytes, payload: bytes) -> bytes:
    """RFC 9052 §4.4: the Sig_structure."""
    return bytes(cbor2.dumps(["Signature1", protected, kind.encode("ascii"), payload]))
