"""The Merkle guest against the definitions of RFC 9162, which `make.py` follows: roots and paths by recursion."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

import pytest
from verify_kit import mismatches, run_both
from verify_packer import load_packer

make = load_packer()
# Certificate Transparency's own test data: these leaves, and the roots of the first 1, 2, … 8 of them
CT_LEAVES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
             "606162636465666768696a6b6c6d6e6f")]  # fmt: skip
CT_ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)

Proof = tuple[int, bytes, list[bytes]]


def leaves_of(size: int) -> list[bytes]:
    return [bytes((i + j) % 256 for j in range(i * 7 % 150)) for i in range(size)]


def proofs_of(leaves: list[bytes]) -> list[Proof]:
    return [(i, leaf, make.tree_path(leaves, i)) for i, leaf in enumerate(leaves)]


def test_the_trees_of_certificate_transparency() -> None:
    for size, root in enumerate(CT_ROOTS, 1):
        leaves = CT_LEAVES[:size]
        assert make.tree_hash(leaves).hex() == root
        assert mismatches(run_both("merkle", make.merkle(size, bytes.fromhex(root), proofs_of(leaves))), size) == []


@pytest.mark.parametrize("size", [*range(9, 34), 63, 64, 65, 127, 128, 129])
def test_every_leaf_of_every_tree(size: int) -> None:
    leaves = leaves_of(size)
    assert mismatches(run_both("merkle", make.merkle(size, make.tree_hash(leaves), proofs_of(leaves))), size) == []


def damaged(proof: Proof) -> Iterator[Proof]:
    """A proof with one thing wrong."""
    index, leaf, path = proof
    for other in (index ^ 1, index + 1, index + 2, 1 << 63, (1 << 64) - 1):
        yield other, leaf, path
    yield index, leaf + b"\0", path
    yield index, bytes([*leaf[:-1], leaf[-1] ^ 1]) if leaf else b"\xff", path
    yield index, leaf, [*path, bytes(32)]
    yield index, leaf, [*path, *path]
    yield index, leaf, path[1:]
    yield index, leaf, path[:-1]
    yield index, leaf, path[::-1]
    for at in range(len(path)):
        for bit in (0, 255):
            node = (int.from_bytes(path[at], "big") ^ 1 << bit).to_bytes(32, "big")
            yield index, leaf, [*path[:at], node, *path[at + 1 :]]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 7, 8, 11])
def test_a_proof_with_anything_wrong_does_not_verify(size: int) -> None:
    leaves = leaves_of(size)
    good = proofs_of(leaves)
    root = make.tree_hash(leaves)
    wrong = [bad for proof in good for bad in damaged(proof) if bad not in good]
    mixed = [item for pair in zip(wrong, [*good] * len(wrong), strict=False) for item in pair]
    assert mismatches(run_both("merkle", make.merkle(size, root, mixed)), len(mixed)) == [*range(0, len(mixed), 2)]
    for other_root in (bytes(32), root[:-1] + bytes([root[-1] ^ 128])):
        assert mismatches(run_both("merkle", make.merkle(size, other_root, good)), size) == [*range(size)]


@pytest.mark.parametrize("size", [0, 4, 6, 9, 1 << 63, (1 << 64) - 1])
def test_another_size_of_the_tree_is_another_tree(size: int) -> None:
    leaves = leaves_of(5)
    found = mismatches(run_both("merkle", make.merkle(size, make.tree_hash(leaves), proofs_of(leaves))), 5)
    # which proofs show it depends on the shape: where the path of an index has the same turns, a size can't be told
    expected = [i for i, _, path in proofs_of(leaves) if turns(i, size) != turns(i, 5)]
    assert found == expected


def turns(index: int, size: int) -> list[str]:
    """On which side each node of the path stands, from the definition of the tree."""
    if index >= size:
        return ["none"]
    if size <= 1:
        return []
    half = 1 << (size - 1).bit_length() - 1
    return [*turns(index, half), "right"] if index < half else [*turns(index - half, size - half), "left"]


def test_a_leaf_is_not_taken_for_a_node() -> None:
    """The second preimage that trees without prefixes have: two hashes as a leaf."""
    leaves = leaves_of(4)
    inner = b"".join(make.tree_hash(leaves[i : i + 1]) for i in (0, 1))
    proof = (0, inner, [make.tree_hash(leaves[2:])])
    assert mismatches(run_both("merkle", make.merkle(2, make.tree_hash(leaves), [proof])), 1) == [0]


def test_the_deepest_proof_there_is() -> None:
    hashes = [hashlib.sha256(bytes([i])).digest() for i in range(64)]
    root = hashlib.sha256(b"\0leaf").digest()
    for node in hashes:
        root = hashlib.sha256(b"\1" + root + node).digest()
    proofs = [(0, b"leaf", hashes), (0, b"leaf", hashes[:63]), ((1 << 64) - 1, b"leaf", hashes)]
    assert mismatches(run_both("merkle", make.merkle((1 << 64) - 1, root, proofs)), 3) == [1, 2]


@pytest.mark.parametrize(
    ("shard", "exit_code"),
    [
        (make.merkle(1, bytes(32), [(0, b"", [bytes(32)] * 65)]), 4),
        (make.merkle(1, bytes(32), [(0, b"x", [])]) + b"x", 5),
        (make.merkle(1, bytes(32), [(0, b"x", [])])[:-1], 5),
        (make.merkle(1, bytes(32), [])[:-1], 1),
        (struct.pack("<4sIIQ32sQII", b"ICNT", 1, 1, 1, bytes(32), 0, 2**32 - 32, 1) + bytes(32), 5),
    ],
)
def test_a_shard_that_cannot_be_ends_with_a_code(shard: bytes, exit_code: int) -> None:
    run = run_both("merkle", shard)
    assert (run.result, run.output, len(run.log)) == (exit_code, b"", 1)
