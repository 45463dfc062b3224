"""Documents: versioned values with a kind, as DAG-CBOR payloads and as signed blocks.

A document class is a frozen dataclass with `KIND` (`icn-lite/receipt/1`, also the signature's external_aad) and
`AUTHOR`, the name of the field that must equal the signer. Its encoding carries the version under `v`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Generic, Protocol, TypeVar, cast

from icn_lite.model import cbor, cose, schema
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError, SignatureError

VERSION_KEY: Final = "v"


class Document(Protocol):
    """What the functions below need of a document class."""

    KIND: ClassVar[str]
    AUTHOR: ClassVar[str]


D = TypeVar("D", bound=Document)


@dataclass(frozen=True, slots=True)
class Sealed(Generic[D]):
    """A document together with the signed block that it came from or went into."""

    document: D
    signer: Did
    block: bytes
    cid: Cid


def encode(document: Document) -> bytes:
    """The DAG-CBOR payload of a document; raises `DocumentError` for one too large for any reader."""
    value = cast(dict[str, cbor.Value], schema.to_value(document))
    payload = cbor.encode({VERSION_KEY: _version(document.KIND), **value})
    if len(payload) > cbor.MAX_DOCUMENT_BYTES:
        raise DocumentError(f"expected at most {cbor.MAX_DOCUMENT_BYTES} bytes of {document.KIND}, made {len(payload)}")
    return payload


def decode(cls: type[D], payload: bytes) -> D:
    """Read a payload; unknown version, unknown key and every bound are refused with the offset."""
    value = cbor.decode(payload)
    if not isinstance(value, dict):
        raise DocumentError(f"expected a map ({cls.KIND})", offset=0)
    version = value.pop(VERSION_KEY, None)
    if version != _version(cls.KIND) or isinstance(version, bool):
        at = cbor.offset_of(payload, (VERSION_KEY,))
        raise DocumentError(f"expected version {_version(cls.KIND)} of {cls.KIND}, found {version!r}", offset=at)
    try:
        # Every key but those that are None has to stand, so bytes that are read are the one form that `encode` writes.
        return schema.from_value(cls, value)
    except schema.SchemaError as error:
        raise DocumentError(error.reason, offset=cbor.offset_of(payload, error.path)) from error


def seal(document: D, signer: cose.Signer) -> Sealed[D]:
    """Sign a document with its author's key; what no reader would accept is refused here, before it is signed."""
    if getattr(document, document.AUTHOR) != signer.did:
        raise SignatureError(f"expected {document.AUTHOR} to be the signer {signer.did}")
    payload = encode(document)
    decode(type(document), payload)
    block = cose.sign(document.KIND, payload, signer)
    return Sealed(document, signer.did, block, Cid.of_dag_cbor(block))


def unseal(cls: type[D], block: bytes, *, max_bytes: int = cbor.MAX_DOCUMENT_BYTES) -> Sealed[D]:
    """Check form, kind, signature and author of a signed block, in this order, and read its document."""
    signed = cose.verify(cls.KIND, block, max_bytes=max_bytes)
    document = decode(cls, signed.payload)
    author = getattr(document, document.AUTHOR)
    if author != signed.signer:
        raise SignatureError(f"expected the signature of {cls.AUTHOR} {author}, found that of {signed.signer}")
    return Sealed(document, signed.signer, block, signed.cid)


def _version(kind: str) -> int:
    return int(kind.rsplit("/", 1)[1])
