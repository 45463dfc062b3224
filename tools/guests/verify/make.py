#!/usr/bin/env python3
"""Pack inputs for the verification guests; README.md, "Inputs", has the formats. Python's own library is enough.

    make.py merkle leaf1.txt leaf2.txt … > tree.bin          a tree of these leaves with a proof for each
    make.py merkle --proofs proofs.json > proofs.bin         {"size", "root", "proofs": [{"index", "leaf", "path"}]}
    make.py ed25519 signatures.json > signatures.bin         [{"message", "key", "signature"}]
    make.py wellformed a.json b.cbor … > items.bin           what an item is, its name's ending says
    make.py groth16 key.json proof.json public.json … > proofs.bin   as snarkjs writes them, curve bls12381

Bytes in JSON are hexadecimal. The result goes to standard output, so that it can be the input of a run:

    python3 make.py merkle *.txt > tree.bin && icn-lite run ../build/merkle.wasm --input tree.bin --output report.cbor
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

VERSION = 1
CBOR, JSON = 1, 2
FP_BYTES = 48

Proof = tuple[int, bytes, Sequence[bytes]]  # index, leaf, path


def shard(magic: bytes, entries: Sequence[bytes], data: Sequence[bytes], extra: bytes = b"") -> bytes:
    """A header, `extra` of the guest's own, entries, data."""
    return b"".join((struct.pack("<4sII", magic, VERSION, len(entries)), extra, *entries, *data))


def merkle(size: int, root: bytes, proofs: Sequence[Proof]) -> bytes:
    """Inclusion proofs in one tree (RFC 9162 §2.1.3)."""
    entries = [struct.pack("<QII", index, len(leaf), len(path)) for index, leaf, path in proofs]
    nodes = [node for _, _, path in proofs for node in path]
    return shard(b"ICNT", entries, [*(leaf for _, leaf, _ in proofs), *nodes], struct.pack("<Q32s", size, root))


def tree_hash(leaves: Sequence[bytes]) -> bytes:
    """The root of a list of leaves (RFC 9162 §2.1.1)."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    half = _largest_power_below(len(leaves))
    return hashlib.sha256(b"\1" + tree_hash(leaves[:half]) + tree_hash(leaves[half:])).digest()


def tree_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The inclusion proof of one leaf, from its sibling to below the root (RFC 9162 §2.1.3.1)."""
    if len(leaves) == 1:
        return []
    half = _largest_power_below(len(leaves))
    if index < half:
        return [*tree_path(leaves[:half], index), tree_hash(leaves[half:])]
    return [*tree_path(leaves[half:], index - half), tree_hash(leaves[:half])]


def _largest_power_below(count: int) -> int:
    return 1 << (count - 1).bit_length() - 1


def ed25519(items: Sequence[tuple[bytes, bytes, bytes]]) -> bytes:
    """(message, key, signature) of each."""
    entries = [struct.pack("<I32s64s", len(message), key, signature) for message, key, signature in items]
    return shard(b"ICNS", entries, [message for message, _, _ in items])


def wellformed(items: Sequence[tuple[int, bytes]]) -> bytes:
    """(kind, bytes) of each."""
    return shard(b"ICNW", [struct.pack("<II", len(data), kind) for kind, data in items], [data for _, data in items])


def groth16(key: dict[str, Any], proofs: Sequence[tuple[dict[str, Any], Sequence[str]]]) -> bytes:
    """A verifying key and (proof, public inputs) as snarkjs writes them."""
    points = [g1(key["vk_alpha_1"]), *(g2(key[f"vk_{name}_2"]) for name in ("beta", "gamma", "delta"))]
    entries = [g1(proof["pi_a"]) + g2(proof["pi_b"]) + g1(proof["pi_c"]) for proof, _ in proofs]
    inputs = [int(value).to_bytes(32, "big") for _, public in proofs for value in public]
    data = [*points, *map(g1, key["IC"]), *inputs]
    return shard(b"ICNZ", entries, data, struct.pack("<I", len(key["IC"]) - 1))


def g1(point: Sequence[str]) -> bytes:
    """ZCash's uncompressed form of (x, y, 1)."""
    x, y, z = map(int, point)
    return _fp(x) + _fp(y) if z else b"\x40".ljust(2 * FP_BYTES, b"\0")


def g2(point: Sequence[Sequence[str]]) -> bytes:
    """The same over the quadratic extension; there the imaginary part comes first."""
    (x0, x1), (y0, y1), z = ([int(part) for part in pair] for pair in point)
    return _fp(x1) + _fp(x0) + _fp(y1) + _fp(y0) if any(z) else b"\x40".ljust(4 * FP_BYTES, b"\0")


def _fp(value: int) -> bytes:
    return value.to_bytes(FP_BYTES, "big")


def _merkle_command(args: argparse.Namespace) -> bytes:
    if args.proofs:
        given = json.loads(args.proofs.read_text())
        proofs = [
            (one["index"], bytes.fromhex(one["leaf"]), [bytes.fromhex(node) for node in one["path"]])
            for one in given["proofs"]
        ]
        return merkle(given["size"], bytes.fromhex(given["root"]), proofs)
    leaves = [path.read_bytes() for path in args.leaves]
    return merkle(len(leaves), tree_hash(leaves), [(i, leaf, tree_path(leaves, i)) for i, leaf in enumerate(leaves)])


def _ed25519_command(args: argparse.Namespace) -> bytes:
    given = json.loads(args.file.read_text())
    names = ("message", "key", "signature")
    return ed25519([tuple(bytes.fromhex(one[name]) for name in names) for one in given])  # type: ignore[misc]


def _wellformed_command(args: argparse.Namespace) -> bytes:
    return wellformed([(JSON if path.suffix == ".json" else CBOR, path.read_bytes()) for path in args.files])


def _groth16_command(args: argparse.Namespace) -> bytes:
    if len(args.files) % 2:
        raise SystemExit("expected a proof and its public inputs in turn: proof.json public.json …")
    key, *rest = [json.loads(path.read_text()) for path in (args.key, *args.files)]
    curves = {one.get("curve") for one in (key, *rest[::2])}
    if curves != {"bls12381"}:
        raise SystemExit(f"expected proofs over bls12381, found {', '.join(map(str, curves))}")
    return groth16(key, list(zip(rest[::2], rest[1::2], strict=True)))


def main(argv: Sequence[str]) -> bytes:
    parser = argparse.ArgumentParser(description="Pack inputs for the verification guests, to standard output.")
    commands = parser.add_subparsers(required=True, metavar="KIND")
    one = commands.add_parser("merkle", help="inclusion proofs (RFC 9162)")
    one.add_argument("leaves", type=Path, nargs="*", metavar="LEAF")
    one.add_argument("--proofs", type=Path)
    one.set_defaults(make=_merkle_command)
    one = commands.add_parser("ed25519", help="signatures (RFC 8032)")
    one.add_argument("file", type=Path, metavar="SIGNATURES.json")
    one.set_defaults(make=_ed25519_command)
    one = commands.add_parser("wellformed", help="CBOR and JSON items")
    one.add_argument("files", type=Path, nargs="+", metavar="FILE")
    one.set_defaults(make=_wellformed_command)
    one = commands.add_parser("groth16", help="proofs over BLS12-381 with their key")
    one.add_argument("key", type=Path)
    one.add_argument("files", type=Path, nargs="+", metavar="PROOF.json PUBLIC.json")
    one.set_defaults(make=_groth16_command)
    args = parser.parse_args(argv)
    packed: bytes = args.make(args)
    return packed


if __name__ == "__main__":
    sys.stdout.buffer.write(main(sys.argv[1:]))
