"""What the shipped guests cost: size, fuel and time an item, beside a native library at the same work."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import cbor2
import nacl.bindings

from icn_lite.resources import guest_module
from icn_lite.sandbox.outcome import RunRequest
from icn_lite.sandbox.pool import Pool, PoolConfig
from icn_lite.wasm.prepare import prepare

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "tests" / "guests" / "vectors" / "verify" / "groth16.json"
RUNS = 5
FUEL = 10**11

Row = dict[str, str | int | float | bool | None]


@dataclass(frozen=True, slots=True)
class Work:
    """One shard, how many of `unit` are in it, and the same work by a library."""

    guest: str
    data: bytes
    count: int
    unit: str
    library: str
    native: Callable[[], object] | None


def rows() -> Iterator[Row]:
    for work in works():
        module = guest_module(work.guest)
        fuel, micros = asyncio.run(measure(module, work))
        peer = None if work.native is None else f"{work.library} {native_micros(work.native) / work.count:.3g}"
        yield {
            "name": f"{work.guest} ({len(module)} B): a {work.unit}, {fuel / work.count:,.0f} fuel",
            "value": round(micros / work.count, 1),
            "unit": "µs",
            "peer": peer,
        }


async def measure(module: bytes, work: Work) -> tuple[int, float]:
    """Fuel and microseconds of processor time (the child's, start-up included) of the whole shard; the median."""
    prepared = prepare(module)
    spent, fuel = [], 0
    async with Pool(PoolConfig(workers=1)) as pool:
        for _ in range(RUNS):
            outcome = await pool.run(RunRequest(prepared, input=work.data, fuel_limit=FUEL, timeout_ms=100_000))
            assert outcome.status == "completed", outcome
            assert [value.bits for value in outcome.results] == [0], outcome
            fuel = outcome.fuel_used
            spent.append(outcome.cpu_ms * 1000)
    return fuel, statistics.median(spent)


def native_micros(call: Callable[[], object]) -> float:
    spent = []
    for _ in range(RUNS):
        before = time.process_time_ns()
        call()
        spent.append((time.process_time_ns() - before) / 1000)
    return statistics.median(spent)


def works() -> Iterator[Work]:
    make, rng = packer(), random.Random(1)
    leaves = [rng.randbytes(100) for _ in range(1024)]
    proofs = [(i, leaf, make.tree_path(leaves, i)) for i, leaf in enumerate(leaves[:256])]
    yield Work("merkle", make.merkle(1024, make.tree_hash(leaves), proofs), 256, "proof of 10 nodes", "hashlib",
               lambda: [verify_path(proof) for proof in proofs])  # fmt: skip
    signed = list(signatures(rng, 64))
    packed = make.ed25519(signed)
    for name in ("ed25519", "ed25519_native"):
        yield Work(name, packed, 64, "signature", "libsodium", lambda: [verify(item) for item in signed])
    value = [{"id": i, "name": "a name", "values": [1, 2.5, -3, None, True], "text": "é" * 20} for i in range(4000)]
    for kind, data, read in (
        (make.CBOR, cbor2.dumps(value), cbor2.loads),
        (make.JSON, json.dumps(value, ensure_ascii=False).encode(), json.loads),
    ):
        name = "KiB of CBOR" if kind == make.CBOR else "KiB of JSON"
        library = "cbor2" if kind == make.CBOR else "json"
        yield Work("wellformed", make.wellformed([(kind, data)]), len(data) >> 10, name, library,
                   lambda read=read, data=data: read(data))  # type: ignore[misc]  # fmt: skip
    fixture = json.loads(FIXTURE.read_text(encoding="utf-8"))
    pairs = [(one["proof"], one["public"]) for one in fixture["proofs"]]
    yield Work("groth16", make.groth16(fixture["key"], pairs), 3, "proof with 2 inputs", "", None)


def packer() -> ModuleType:
    path = ROOT / "tools" / "guests" / "verify" / "make.py"
    spec = importlib.util.spec_from_file_location("verify_make", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def signatures(rng: random.Random, count: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    for _ in range(count):
        key, secret = nacl.bindings.crypto_sign_seed_keypair(rng.randbytes(32))
        message = rng.randbytes(200)
        yield message, key, nacl.bindings.crypto_sign(message, secret)[:64]


def verify(item: tuple[bytes, bytes, bytes]) -> bytes:
    message, key, signature = item
    return nacl.bindings.crypto_sign_open(signature + message, key)


def verify_path(proof: tuple[int, bytes, list[bytes]]) -> bytes:
    index, leaf, path = proof
    found = hashlib.sha256(b"\0" + leaf).digest()
    for node in path:
        pair = node + found if index & 1 else found + node
        found = hashlib.sha256(b"\1" + pair).digest()
        index >>= 1
    return found
