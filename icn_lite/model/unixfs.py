"""Blobs and their CIDs: modules, inputs and outputs of any size, named as IPFS tools name files (UnixFS).

A blob of at most `CHUNK_BYTES` is one raw block. A larger one is cut into chunks of that size, which are raw leaves
of a balanced tree of DAG-PB nodes with at most `MAX_LINKS` links each; the root's CID is the blob's. That is what
`ipfs add --cid-version=1` computes, for every size. The shape follows from the size alone, so a CID is a function of
the bytes, and every node is checked against the one shape that its size allows.

    1 MiB                     4 leaves under the root
    45,613,057 bytes          175 leaves: the root has two children, with 174 leaves and with one
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from icn_lite.model import dag_pb
from icn_lite.model.cid import DAG_PB, RAW, Cid
from icn_lite.model.dag_pb import PbLink, PbNode, read_varint, varint
from icn_lite.model.digest import sha256
from icn_lite.model.errors import DocumentError

CHUNK_BYTES: Final = 262_144  # the default of IPFS tools (`size-262144`)
MAX_LINKS: Final = 174  # theirs too: a node then has less than 8 KiB
MAX_BLOB_BYTES: Final = 64 << 20  # what a store keeps as one blob, and a guest can be given: two levels of nodes
MAX_NODE_BYTES: Final = 10_240  # 174 links of 47 bytes, their sizes of 4, and the frame, with room
_FILE: Final = b"\x08\x02"  # UnixFS data: field 1, type "File"; its bytes (field 2) stand in the leaves
_FILE_SIZE: Final = 0x18  # field 3
_BLOCK_SIZE: Final = 0x20  # field 4, once for each child


@dataclass(frozen=True, slots=True)
class Child:
    """One link of a node: the block, the bytes of the file below it, and those of all blocks below it."""

    cid: Cid
    file_bytes: int
    dag_bytes: int


@dataclass(frozen=True, slots=True)
class FileNode:
    """A node of a file's tree. Its children are leaves when `depth` is 1."""

    size: int
    depth: int
    children: tuple[Child, ...]

    @property
    def block(self) -> bytes:
        """The node's bytes."""
        links = tuple(PbLink(child.cid, child.dag_bytes) for child in self.children)
        sizes = b"".join(bytes((_BLOCK_SIZE,)) + varint(child.file_bytes) for child in self.children)
        return dag_pb.encode(PbNode(links, _FILE + bytes((_FILE_SIZE,)) + varint(self.size) + sizes))


@dataclass(frozen=True, slots=True)
class Tree:
    """A blob's tree: its root, the blocks of its nodes (the root first), and the CIDs of its leaves in order."""

    root: Cid
    nodes: tuple[tuple[Cid, bytes], ...]
    leaves: tuple[Cid, ...]


def blob_cid(data: bytes) -> Cid:
    """The CID of a blob: of raw bytes up to a chunk, of the tree's root above."""
    return Cid.of_raw(data) if len(data) <= CHUNK_BYTES else tree_of(data).root


def names(cid: Cid, data: bytes) -> bool:
    """Whether `cid` names these bytes: as one block (raw, DAG-CBOR), or as a file (DAG-PB)."""
    if cid.codec != DAG_PB:
        return cid.fits(data)
    return CHUNK_BYTES < len(data) <= MAX_BLOB_BYTES and tree_of(data).root == cid


def tree_of(data: bytes) -> Tree:
    """The tree of a blob that is larger than a chunk."""
    check_size(len(data))
    view = memoryview(data)
    level = [
        Child(Cid(RAW, sha256(chunk)), len(chunk), len(chunk))
        for chunk in (view[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))
    ]
    leaves = tuple(child.cid for child in level)
    nodes: list[tuple[Cid, bytes]] = []
    for depth in range(1, depth_of(len(data)) + 1):
        made = [_joined(tuple(level[at : at + MAX_LINKS]), depth) for at in range(0, len(level), MAX_LINKS)]
        nodes[:0] = [(child.cid, block) for child, block in made]
        level = [child for child, _ in made]
    return Tree(level[0].cid, tuple(nodes), leaves)


def _joined(children: tuple[Child, ...], depth: int) -> tuple[Child, bytes]:
    """The node over some children, as a child of the next level, and its block."""
    size = sum(child.file_bytes for child in children)
    block = FileNode(size, depth, children).block
    below = sum(child.dag_bytes for child in children)
    return Child(Cid(DAG_PB, sha256(block)), size, len(block) + below), block


def decode_root(block: bytes, *, max_bytes: int = MAX_BLOB_BYTES) -> FileNode:
    """Read a root; raises `DocumentError` unless it is the root that a blob of its size has."""
    node, size = _decode(block)
    check_size(size, max_bytes)
    return _checked(node, size, depth_of(size))


def decode_child(block: bytes, parent: FileNode, number: int) -> FileNode:
    """Read a node below another, which must be as its parent says."""
    child = parent.children[number]
    node, size = _decode(block)
    if size != child.file_bytes:
        raise DocumentError(f"expected a node over {child.file_bytes} bytes, found {size}")
    below = len(block) + sum(link.size for link in node.links)
    if below != child.dag_bytes:
        raise DocumentError(f"expected {child.dag_bytes} bytes in the node and below it, found {below}")
    return _checked(node, size, parent.depth - 1)


def sections(cid: Cid, data: bytes) -> Iterator[tuple[Cid, bytes]]:
    """A document or a small blob as it is; of a large one every block, so that IPFS tools find the file."""
    if cid.codec != DAG_PB:
        yield cid, data
        return
    tree = tree_of(data)
    yield from tree.nodes
    for number, leaf in enumerate(tree.leaves):
        yield leaf, data[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]


def join(root: Cid, block_of: Callable[[Cid], bytes | None]) -> bytes | None:
    """A blob put together from single blocks, or None where one is missing; raises `DocumentError` for a wrong one."""
    first = block_of(root)
    if first is None or root.codec != DAG_PB:
        return first
    out = io.BytesIO()
    waiting = [(decode_root(first), 0)]
    while waiting:  # depth first: the next child of the node on top
        node, number = waiting.pop()
        if number == len(node.children):
            continue
        waiting.append((node, number + 1))
        child = node.children[number]
        block = block_of(child.cid)
        if block is None:
            return None
        if node.depth > 1:
            waiting.append((decode_child(block, node, number), 0))
        elif len(block) == child.file_bytes:
            out.write(block)
        else:
            raise DocumentError(f"expected a leaf of {child.file_bytes} bytes, found {len(block)}")
    return out.getvalue()


def check_size(size: int, max_bytes: int = MAX_BLOB_BYTES) -> None:
    """Refuse a size that no tree here has."""
    if not CHUNK_BYTES < size <= max_bytes:
        raise DocumentError(f"expected a file of more than {CHUNK_BYTES} and at most {max_bytes} bytes, found {size}")


def depth_of(size: int) -> int:
    """How many levels of nodes stand above the leaves of a file of `size` bytes."""
    depth, held = 1, CHUNK_BYTES * MAX_LINKS
    while held < size:
        depth, held = depth + 1, held * MAX_LINKS
    return depth


def _decode(block: bytes) -> tuple[PbNode, int]:
    """The node of a block, and the size that it tells."""
    if len(block) > MAX_NODE_BYTES:
        raise DocumentError(f"expected a node of at most {MAX_NODE_BYTES} bytes, found {len(block)}")
    node = dag_pb.decode(block, max_links=MAX_LINKS)
    start = len(block) - len(node.data)
    if node.data[: len(_FILE) + 1] != _FILE + bytes((_FILE_SIZE,)):
        raise DocumentError("expected the data of a UnixFS file in canonical form: 08 02 18 …", offset=start)
    size, _ = read_varint(node.data, len(_FILE) + 1)
    return node, size


def _checked(node: PbNode, size: int, depth: int) -> FileNode:
    """The node as a part of a file's tree, if it is the one that a file of this size has there."""
    sizes = tuple(_sizes(size, CHUNK_BYTES * MAX_LINKS ** (depth - 1)))
    if len(node.links) != len(sizes):
        raise DocumentError(f"expected {len(sizes)} links for {size} bytes, found {len(node.links)}")
    codec = RAW if depth == 1 else DAG_PB
    for number, (link, below) in enumerate(zip(node.links, sizes, strict=True)):
        if link.cid.codec != codec or (depth == 1 and link.size != below):
            raise DocumentError(f"link {number}: expected codec {codec:#x} over {below} bytes, found {link}")
    children = tuple(Child(link.cid, below, link.size) for link, below in zip(node.links, sizes, strict=True))
    found = FileNode(size, depth, children)
    expected = _FILE + bytes((_FILE_SIZE,)) + varint(size)
    expected += b"".join(bytes((_BLOCK_SIZE,)) + varint(below) for below in sizes)
    if node.data != expected:
        raise DocumentError(f"expected the sizes of {len(sizes)} children of a file of {size} bytes, in their order")
    return found


def _sizes(size: int, span: int) -> Iterator[int]:
    """How many bytes each child holds: `span`, and the last one the rest."""
    for at in range(0, size, span):
        yield min(span, size - at)
