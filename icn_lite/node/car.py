"""CARv1, the file form of blocks (IPLD Content Addressable aRchives, version 1): what IPFS tools read and write.

A file is a header `{roots, version: 1}` and then sections, each an unsigned LEB128 length, a CID and its bytes.
Reading is streamed and strict: every block is checked against its CID, every length is bounded before it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from icn_lite.model import cbor, unixfs
from icn_lite.model.cid import BYTES_LENGTH, DAG_CBOR, Cid
from icn_lite.model.dag_pb import MAX_VARINT_BYTES, varint
from icn_lite.model.errors import DocumentError

MAX_HEADER_BYTES: Final = 64 * 1024  # some thousand roots; more need no header to be found
MAX_SECTION_BYTES: Final = 32 << 20  # the largest block that the store takes
MAX_ROOTS: Final = 1_000
MAX_BLOCKS: Final = 200_000  # in a file that is indexed: some 40 MB of index
COSE_SIGN1: Final = b"\x84"  # an array of four: how every signed block begins


def encode_header(roots: Iterable[Cid]) -> bytes:
    """The header's section."""
    listed: list[cbor.Value] = [*roots]
    header = cbor.encode({"roots": listed[:MAX_ROOTS], "version": 1})
    return varint(len(header)) + header


def encode_section(cid: Cid, data: bytes) -> bytes:
    """One block's section."""
    return varint(BYTES_LENGTH + len(data)) + cid.encode() + data


def read_car(stream: BinaryIO) -> Iterator[tuple[Cid, bytes]]:
    """The blocks of a file, each checked; raises `DocumentError` with the offset of what is wrong."""
    offset, header = _read_section(stream, 0, MAX_HEADER_BYTES)
    if header is None:
        raise DocumentError("expected a CAR header, found an empty file", offset=0)
    value = cbor.decode(header)
    if not isinstance(value, dict) or value.get("version") != 1 or not isinstance(value.get("roots"), list):
        raise DocumentError("expected the header of a CARv1 file: {roots, version: 1}", offset=0)
    while True:
        start = offset
        offset, section = _read_section(stream, start, MAX_SECTION_BYTES)
        if section is None:
            return
        try:
            cid = Cid.decode(section[:BYTES_LENGTH])
        except DocumentError as error:
            raise DocumentError(error.reason, offset=start) from error
        if not cid.fits(section[BYTES_LENGTH:]):
            raise DocumentError(f"the block's bytes don't match its CID {cid}", offset=start)
        yield cid, section[BYTES_LENGTH:]


class CarFile:
    """A CARv1 file whose blocks are looked up by CID, checked when they are indexed. Only the index is in memory."""

    def __init__(self, path: str) -> None:
        self._stream = Path(path).open("rb")  # noqa: SIM115 -- closed by __exit__
        self._places: dict[Cid, tuple[int, int]] = {}
        self._signed: list[Cid] = []

    def __enter__(self) -> CarFile:
        try:
            for cid, data in read_car(self._stream):
                self._places[cid] = (self._stream.tell() - len(data), len(data))
                if len(self._places) > MAX_BLOCKS:
                    raise DocumentError(f"expected at most {MAX_BLOCKS} blocks in one file")
                if cid.codec == DAG_CBOR and data[:1] == COSE_SIGN1:
                    self._signed.append(cid)
        except BaseException:
            self._stream.close()
            raise
        return self

    def __exit__(self, *problem: object) -> None:
        self._stream.close()

    def signed(self) -> Iterator[bytes]:
        """What looks like a signed document, in the file's order."""
        return (block for cid in self._signed if (block := self.block(cid)) is not None)

    def block(self, cid: Cid) -> bytes | None:
        """One block."""
        place = self._places.get(cid)
        if place is None:
            return None
        offset, size = place
        self._stream.seek(offset)
        return self._stream.read(size)

    def blob(self, cid: Cid) -> bytes | None:
        """A blob put together from its blocks; None where one is missing."""
        return unixfs.join(cid, self.block)


def _read_section(stream: BinaryIO, offset: int, most: int) -> tuple[int, bytes | None]:
    """The next section and where it ends; None at the end of the file."""
    length, size = _read_length(stream, offset)
    if size == 0:
        return offset, None
    if length > most:
        raise DocumentError(f"expected a section of at most {most} bytes, found {length}", offset=offset)
    data = stream.read(length)
    if len(data) != length:
        raise DocumentError(f"expected {length} bytes, found {len(data)}: the file is cut off", offset=offset + size)
    return offset + size + length, data


def _read_length(stream: BinaryIO, offset: int) -> tuple[int, int]:
    """An unsigned LEB128 and how many bytes it took; (0, 0) at the end of the file."""
    value = size = 0
    while True:
        byte = stream.read(1)
        if not byte:
            if size:
                raise DocumentError("the file is cut off within a length", offset=offset + size)
            return 0, 0
        value |= (byte[0] & 0x7F) << 7 * size
        size += 1
        if byte[0] < 0x80:
            return value, size
        if size == MAX_VARINT_BYTES:
            raise DocumentError(f"expected a length of at most {MAX_VARINT_BYTES} bytes", offset=offset)
