"""DAG-PB, the block format of IPFS files (IPLD DAG-PB specification), only in its canonical form.

A node is a protobuf message: links (field 2, each with hash, name and size) and then data (field 1). What decodes
here encodes to the same bytes again; fields in another order, unknown ones, names and numbers in long form are
refused. `unixfs.py` says what such nodes mean here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from icn_lite.model.cid import BYTES_LENGTH, Cid
from icn_lite.model.errors import DocumentError

MAX_VARINT_BYTES: Final = 9  # of an unsigned number below 2^63
_LINK: Final = 0x12  # field 2, a message
_DATA: Final = 0x0A  # field 1, bytes
_HASH: Final = bytes((0x0A, BYTES_LENGTH))  # in a link: field 1, bytes, of one length always
_NAME: Final = bytes((0x12, 0x00))  # in a link: field 2, an empty text; links of a file have no names
_SIZE: Final = 0x18  # in a link: field 3, a number


@dataclass(frozen=True, slots=True)
class PbLink:
    """One link: a block, and how many bytes it has with everything below it (`Tsize`)."""

    cid: Cid
    size: int


@dataclass(frozen=True, slots=True)
class PbNode:
    """One node: its links in order, and its data."""

    links: tuple[PbLink, ...]
    data: bytes


def encode(node: PbNode) -> bytes:
    """The block of a node."""
    out = bytearray()
    for link in node.links:
        body = _HASH + link.cid.encode() + _NAME + bytes((_SIZE,)) + varint(link.size)
        out += bytes((_LINK,)) + varint(len(body)) + body
    return bytes(out) + bytes((_DATA,)) + varint(len(node.data)) + node.data


def decode(block: bytes, *, max_links: int) -> PbNode:
    """Read a block; raises `DocumentError` with the offset for everything that `encode` would not have written."""
    links: list[PbLink] = []
    at = 0
    while block[at : at + 1] == bytes((_LINK,)):
        if len(links) == max_links:
            raise DocumentError(f"expected at most {max_links} links", offset=at)
        length, start = read_varint(block, at + 1)
        links.append(_link(block, start, start + length))
        at = start + length
    if block[at : at + 1] != bytes((_DATA,)):
        raise DocumentError("expected the data of a DAG-PB node (0a) after its links", offset=at)
    length, start = read_varint(block, at + 1)
    if start + length != len(block):
        raise DocumentError(f"expected {length} bytes of data to the end, found {len(block) - start}", offset=start)
    return PbNode(tuple(links), block[start:])


def _link(block: bytes, at: int, end: int) -> PbLink:
    name = at + len(_HASH) + BYTES_LENGTH
    size = name + len(_NAME)
    if end > len(block) or block[at : at + len(_HASH)] != _HASH:
        raise DocumentError(f"expected a link that begins with a CID of {BYTES_LENGTH} bytes", offset=at)
    if block[name:size] != _NAME or block[size : size + 1] != bytes((_SIZE,)):
        raise DocumentError("expected a link with an empty name and a size", offset=name)
    number, found = read_varint(block, size + 1)
    if found != end:
        raise DocumentError("expected a link to end after its size", offset=found)
    return PbLink(Cid.decode(block[at + len(_HASH) : name]), number)


def varint(value: int) -> bytes:
    """An unsigned LEB128, as protobuf writes numbers."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, in shortest form, and where it ends."""
    value = 0
    for index, byte in enumerate(data[at : at + MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if index and not byte:
                raise DocumentError("expected a number in its shortest form", offset=at)
            return value, at + index + 1
    raise DocumentError("expected a number, found the end or one that is too large", offset=at)
