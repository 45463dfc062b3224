"""Blobs named as IPFS tools name them: vectors of another's importer, and only the canonical form is read."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.model import dag_pb, unixfs
from icn_lite.model.cid import DAG_CBOR, DAG_PB, RAW, Cid
from icn_lite.model.dag_pb import PbLink, PbNode
from icn_lite.model.errors import DocumentError
from icn_lite.model.unixfs import CHUNK_BYTES, MAX_BLOB_BYTES, MAX_LINKS, Child, FileNode

# npm ipfs-unixfs-importer 17.1.1 over SHAKE256("icn-lite unixfs"), see unixfs_oracle.mjs
VECTORS = (
    (0, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
    (1, "bafkreiewnr6eoes4orlvvgqrko3zt6xvlprtubhd3h4yoyfd52wdo4id34"),
    (262143, "bafkreie4vedgcfuqynop7mqvy236ed7kjkb5eoqlykilemzzrs6gp36oiu"),
    (262144, "bafkreiglwxpvp2zatolhdckku54hm66oc2voshibzequwn4svemhjinr34"),
    (262145, "bafybeibdho4syrmroqxbthpwlq635jgaa2s6jbdevon43qyezquubpy4ri"),
    (524288, "bafybeiggf4z7pmmfwcwpvtg3mbh4dkrlrbsfpyo5cacty7eccedyjh3e7y"),
    (524289, "bafybeiabhlyfponyxt5sijtjoa4t4vq5liawrvuvodmn7rn7vkpkhh63jq"),
    (1048576, "bafybeigsvn67df4zaghr7ucbkiklctggzu5633gh4nxyqzr46scf3g3sjq"),
    (10000000, "bafybeid4hzgzpj5cikjlk6lewdwxhpwumkbhhs7ou62bhostb2qe4a7zu4"),
    (45613056, "bafybeid56int2xbgumevlq26ldfx4fig6qx5x7pr73nqx6t6zdyln773ja"),  # 174 leaves: one level
    (45613057, "bafybeialpjgqux6rt3lvnj6dbovcnlfkq6lfccomevdqlvej5dfintzepa"),  # 175: two
    (45875201, "bafybeic2k2gbypdoscgyiprdnmdh76y7icdgjgz4jwztubk7jqpwdhiiiq"),
    (67108864, "bafybeihca74ngs2govtxgawtahhirrpbgpzvknvqywcgagtbwlmmyubche"),  # the largest
)
CIDS = st.builds(Cid, st.sampled_from([RAW, DAG_PB]), st.binary(min_size=32, max_size=32))
STREAM = hashlib.shake_256(b"icn-lite unixfs").digest(MAX_BLOB_BYTES)


@pytest.mark.parametrize(("size", "cid"), VECTORS)
def test_another_importer_names_blobs_alike(size: int, cid: str) -> None:
    data = STREAM[:size]
    assert str(unixfs.blob_cid(data)) == cid
    if size <= 1_048_576:
        assert unixfs.names(Cid.parse(cid), data)
        assert not unixfs.names(Cid.parse(cid), data + b"\0")
        assert not unixfs.names(Cid.parse(cid), data[:-1]) or not data


@pytest.mark.parametrize("size", [CHUNK_BYTES + 1, 1_000_000, 45_613_056, 45_613_057, MAX_BLOB_BYTES])
def test_a_tree_is_read_back(size: int) -> None:
    data = STREAM[:size]
    tree = unixfs.tree_of(data)
    blocks = dict(tree.nodes)
    assert all(cid.fits(block) and len(block) <= unixfs.MAX_NODE_BYTES for cid, block in tree.nodes)
    root = unixfs.decode_root(blocks[tree.root])
    assert (root.size, root.block) == (size, blocks[tree.root])
    below, leaves = [root], list[Cid]()
    while below:
        node = below.pop(0)
        for number, child in enumerate(node.children):
            if node.depth == 1:
                leaves.append(child.cid)
            else:
                below.append(unixfs.decode_child(blocks[child.cid], node, number))
    assert tuple(leaves) == tree.leaves
    assert all(
        cid.fits(data[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]) for number, cid in enumerate(tree.leaves)
    )


@pytest.mark.parametrize("size", [0, 5, CHUNK_BYTES + 1, 1_000_000, CHUNK_BYTES * (MAX_LINKS + 2)])
def test_blocks_are_joined(size: int) -> None:
    data = STREAM[:size]
    cid = unixfs.blob_cid(data)
    blocks = {cid: data}
    if size > CHUNK_BYTES:
        tree = unixfs.tree_of(data)
        blocks = dict(tree.nodes)
        blocks |= {leaf: data[at * CHUNK_BYTES : (at + 1) * CHUNK_BYTES] for at, leaf in enumerate(tree.leaves)}
    assert unixfs.join(cid, blocks.get) == data
    for missing in list(blocks)[:3]:
        assert unixfs.join(cid, {name: block for name, block in blocks.items() if name != missing}.get) is None


def test_a_leaf_of_another_length_is_refused() -> None:
    tree = unixfs.tree_of(STREAM[:600_000])
    with pytest.raises(DocumentError, match="a leaf of 262144 bytes, found 1"):
        unixfs.join(tree.root, {**dict.fromkeys(tree.leaves, b"x"), **dict(tree.nodes)}.get)


@pytest.mark.parametrize("size", [CHUNK_BYTES, MAX_BLOB_BYTES + 1])
def test_sizes_without_a_tree_are_refused(size: int) -> None:
    with pytest.raises(DocumentError, match="a file of more than"):
        unixfs.tree_of(bytes(size))
    with pytest.raises(DocumentError, match="a file of more than"):
        unixfs.decode_root(FileNode(size, 1, (_leaf(size),)).block)


def test_a_raw_block_of_any_size_keeps_its_name() -> None:
    data = STREAM[: CHUNK_BYTES + 1]
    assert unixfs.names(Cid.of_raw(data), data)
    assert unixfs.blob_cid(data) != Cid.of_raw(data)
    assert not unixfs.names(Cid(DAG_PB, hashlib.sha256(data).digest()), data)


def _leaf(size: int, tsize: int | None = None, codec: int = RAW) -> Child:
    return Child(Cid(codec, bytes(32)), size, size if tsize is None else tsize)


FULL, LAST = _leaf(CHUNK_BYTES), _leaf(5)


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (FileNode(CHUNK_BYTES + 5, 1, (FULL,)), "expected 2 links"),
        (FileNode(CHUNK_BYTES + 5, 1, (FULL, LAST, LAST)), "expected 2 links"),
        (FileNode(CHUNK_BYTES + 5, 1, (LAST, FULL)), "link 0"),
        (FileNode(CHUNK_BYTES + 4, 1, (FULL, LAST)), "link 1"),
        (FileNode(CHUNK_BYTES + 5, 1, (FULL, _leaf(5, codec=DAG_CBOR))), "link 1: expected codec 0x55"),
        (FileNode(CHUNK_BYTES + 5, 1, (FULL, _leaf(4, tsize=5))), "sizes of 2 children"),
        (FileNode(CHUNK_BYTES * MAX_LINKS + 5, 2, (FULL, LAST)), "link 0: expected codec 0x70"),
        (FileNode(2 * CHUNK_BYTES, 1, (_leaf(3), *[_leaf(1)] * MAX_LINKS)), "at most 174 links"),
    ],
)
def test_another_shape_than_the_size_has_is_refused(node: FileNode, why: str) -> None:
    assert unixfs.decode_root(FileNode(CHUNK_BYTES + 5, 1, (FULL, LAST)).block).children == (FULL, LAST)
    with pytest.raises(DocumentError, match=why):
        unixfs.decode_root(node.block)


def test_a_node_that_is_not_as_its_parent_says_is_refused() -> None:
    tree = unixfs.tree_of(STREAM[: CHUNK_BYTES * (MAX_LINKS + 2)])
    blocks = dict(tree.nodes)
    root = unixfs.decode_root(blocks[tree.root])
    first, second = (blocks[child.cid] for child in root.children)
    assert unixfs.decode_child(second, root, 1).size == 2 * CHUNK_BYTES
    with pytest.raises(DocumentError, match=f"expected a node over {CHUNK_BYTES * MAX_LINKS} bytes"):
        unixfs.decode_child(second, root, 0)
    with pytest.raises(DocumentError, match="expected a node over"):
        unixfs.decode_child(first, root, 1)
    wrong = FileNode(root.size, 2, (root.children[0], _leaf(2 * CHUNK_BYTES, tsize=7, codec=DAG_PB)))
    with pytest.raises(DocumentError, match="expected 7 bytes in the node and below"):
        unixfs.decode_child(second, wrong, 1)


def test_a_limit_of_the_caller_holds() -> None:
    block = unixfs.tree_of(STREAM[:1_000_000]).nodes[0][1]
    assert unixfs.decode_root(block, max_bytes=1_000_000).size == 1_000_000
    with pytest.raises(DocumentError, match="at most 999999"):
        unixfs.decode_root(block, max_bytes=999_999)


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"", "expected the data of a DAG-PB node"),
        (b"\x0a\x02\x08", "expected 2 bytes of data"),
        (b"\x0a\x82\x00\x08\x02", "shortest form"),
        (b"\x0a" + b"\xff" * 9, "too large"),
        (b"\x0a\x04\x08\x02\x12\x00", "canonical form"),  # with bytes of its own
        (b"\x0a\x02\x08\x01", "canonical form"),  # a directory
        (b"\x0a\x04\x08\x02\x18\x05\x12\x00", "expected 4 bytes of data"),  # links after the data
        (b"\x12\x02\x0a\x00\x0a\x00", "begins with a CID"),
        (bytes(unixfs.MAX_NODE_BYTES + 1), "at most 10240"),
    ],
)
def test_other_bytes_are_refused(block: bytes, why: str) -> None:
    with pytest.raises(DocumentError, match=why):
        unixfs.decode_root(block)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(at=st.integers(min_value=0), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused_or_another_node(at: int, bit: int) -> None:
    """What is accepted encodes to the very same bytes: there is one form of a node."""
    block = bytearray(unixfs.tree_of(STREAM[:600_000]).nodes[0][1])
    block[at % len(block)] ^= 1 << bit
    try:
        node = unixfs.decode_root(bytes(block))
    except DocumentError:
        return
    assert node.block == block


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    links=st.lists(st.builds(PbLink, CIDS, st.integers(0, (1 << 63) - 1)), max_size=4),
    data=st.binary(max_size=40),
)
def test_dag_pb_is_read_as_it_is_written(links: list[PbLink], data: bytes) -> None:
    node = PbNode(tuple(links), data)
    block = dag_pb.encode(node)
    assert dag_pb.decode(block, max_links=4) == node
    for cut in range(len(block)):
        with pytest.raises(DocumentError):
            dag_pb.decode(block[:cut], max_links=4)
    with pytest.raises(DocumentError):
        dag_pb.decode(block + b"\0", max_links=4)
