"""The two Ed25519 guests against libsodium: one in WebAssembly alone, one by the host's helper, same findings."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from functools import cache

import nacl.bindings
import pytest
from absent import engine_names
from nacl.exceptions import BadSignatureError
from verify_kit import code, mismatches, run_both
from verify_packer import load_packer

from icn_lite.sandbox.outcome import RunRequest
from icn_lite.sandbox.pool import Pool, PoolConfig
from icn_lite.wasm.prepare import prepare

make = load_packer()
Item = tuple[bytes, bytes, bytes]  # message, key, signature

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]
NEUTRAL: Point = (0, 1)

# RFC 8032 §7.1: secret key, message, signature
RFC_8032 = (
    ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
     "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
    ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
     "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
    ("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
     "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"),
)  # fmt: skip


def plus(a: Point, b: Point) -> Point:
    """The curve's law of addition (RFC 8032 §5.1.4), which has no exceptions."""
    (x1, y1), (x2, y2) = a, b
    product = D * x1 * x2 * y1 * y2
    return (
        (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P,
    )


def times(scalar: int, point: Point) -> Point:
    out = NEUTRAL
    for bit in f"{scalar:b}":
        out = plus(out, out)
        if bit == "1":
            out = plus(out, point)
    return out


def encode(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def decode(y: int, odd: int = 0) -> Point | None:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    root = pow(square, (P + 3) // 8, P)
    if root * root % P != square:
        root = root * pow(2, (P - 1) // 4, P) % P
    if root * root % P != square:
        return None
    return (root if root & 1 == odd else -root % P, y)


BASE = decode(4 * pow(5, -1, P) % P)
assert BASE is not None


def small_order_points() -> list[Point]:
    """All eight: what is left of any point after a multiplication by L."""
    y = 2
    while True:
        point = decode(y)
        if point is not None:
            torsion = times(L, point)
            if times(4, torsion) != NEUTRAL:
                return [times(i, torsion) for i in range(8)]
        y += 1


TORSION = small_order_points()


def challenge(r: bytes, key: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % L


def sign(secret: int, nonce: int, message: bytes, key: bytes, r: bytes) -> Item:
    """A signature by the equation, for a key and an R that the caller may have tampered with."""
    s = (nonce + challenge(r, key, message) * secret) % L
    return message, key, r + s.to_bytes(32, "little")


def libsodium(item: Item) -> bool:
    message, key, signature = item
    try:
        nacl.bindings.crypto_sign_open(signature + message, key)
    except BadSignatureError:
        return False
    return True


def found(items: list[Item]) -> list[int]:
    return mismatches(run_both("ed25519", make.ed25519(items)), len(items))


def expected(items: list[Item]) -> list[int]:
    return [i for i, item in enumerate(items) if not libsodium(item)]


def test_the_examples_of_the_rfc() -> None:
    items = []
    for secret, message, signature in RFC_8032:
        key, _ = nacl.bindings.crypto_sign_seed_keypair(bytes.fromhex(secret))
        items.append((bytes.fromhex(message), key, bytes.fromhex(signature)))
    assert found(items) == expected(items) == []


def test_messages_of_every_length_and_any_one_bit_changed() -> None:
    rng = random.Random(8032)
    items: list[Item] = []
    for length in [*range(8), 47, 48, 63, 64, 65, 111, 112, 127, 128, 129, 300]:
        key, secret = nacl.bindings.crypto_sign_seed_keypair(rng.randbytes(32))
        message = rng.randbytes(length)
        signature = nacl.bindings.crypto_sign(message, secret)[:64]
        items.append((message, key, signature))
        for part in range(1 if not message else 0, 3):
            changed = [bytearray(message), bytearray(key), bytearray(signature)]
            at = rng.randrange(len(changed[part]))
            changed[part][at] ^= 1 << rng.randrange(8)
            items.append((bytes(changed[0]), bytes(changed[1]), bytes(changed[2])))
    assert found(items) == expected(items)
    assert 0 < len(expected(items)) < len(items)


@cache
def crafted() -> tuple[tuple[str, Item], ...]:
    return tuple(make_crafted())


def make_crafted() -> Iterator[tuple[str, Item]]:
    """What implementations disagree about: malleable S, keys and R of small order, non-canonical, of mixed order."""
    assert BASE is not None
    rng = random.Random(25519)
    secret, nonce = rng.randrange(L), rng.randrange(L)
    public, commitment = times(secret, BASE), times(nonce, BASE)
    key, r = encode(public), encode(commitment)
    good = sign(secret, nonce, b"good", key, r)
    yield "good", good
    s = int.from_bytes(good[2][32:], "little")
    for more in (L, 2 * L, 7 * L, 8 * L):
        if s + more < 1 << 256:
            yield "S beyond L", (good[0], key, r + (s + more).to_bytes(32, "little"))
    for s in (0, 1, L - 1, L, 2**253 - 1, 2**256 - 1):
        yield "some S", (b"", key, r + s.to_bytes(32, "little"))
    for point in TORSION:
        for y in {point[1], point[1] + P} if point[1] + P < 1 << 255 else {point[1]}:
            for sign_bit in (0, 1):
                small = (y | sign_bit << 255).to_bytes(32, "little")
                yield "key of small order", sign(0, nonce, b"", small, r)
                yield "R of small order", sign(secret, 0, b"", key, small)
                yield "both", (b"", small, small + bytes(32))
    for y in (P, P + 1, P + 2, 2**255 - 1):
        yield "key that is not canonical", (b"", y.to_bytes(32, "little"), good[2])
        yield "R that is not canonical", (b"good", key, y.to_bytes(32, "little") + good[2][32:])
    for y in range(2, 12):
        yield "any y", (b"", y.to_bytes(32, "little"), good[2])
    for count in range(40):
        message = bytes([count])
        torsion, other = rng.choice(TORSION), rng.choice(TORSION)
        mixed = encode(plus(public, torsion))
        yield "key of mixed order", sign(secret, nonce, message, mixed, r)
        tampered = encode(plus(commitment, other))
        yield "R of mixed order", sign(secret, nonce, message, key, tampered)
        yield "both of mixed order", sign(secret, nonce, message, mixed, tampered)


def test_what_implementations_disagree_about() -> None:
    names, items = zip(*crafted(), strict=True)
    verdicts: dict[str, set[bool]] = {}
    for name, item in zip(names, items, strict=True):
        verdicts.setdefault(name, set()).add(libsodium(item))
    # The oracle itself is what the guest promises: strict, and without the cofactor.
    assert verdicts["good"] == {True}
    assert verdicts["key of mixed order"] == verdicts["both of mixed order"] == {True, False}
    refused = {"S beyond L", "some S", "key of small order", "R of small order", "both", "key that is not canonical",
               "R that is not canonical", "any y"}  # fmt: skip
    assert all(verdicts[name] == {False} for name in refused)
    assert found(list(items)) == expected(list(items))


@pytest.mark.parametrize("engine", engine_names())
async def test_the_helper_and_the_guest_agree(engine: str) -> None:
    items = [item for _, item in crafted()][::4]
    data = make.ed25519(items)
    async with Pool(PoolConfig(workers=1, engine=engine)) as pool:
        runs = [
            await pool.run(RunRequest(prepare(code(name)), input=data, fuel_limit=10**10))
            for name in ("ed25519", "ed25519_native")
        ]
    pure, native = runs
    assert (pure.status, native.status) == ("completed", "completed")
    assert pure.output == native.output
    assert native.host_calls == len(items) + 3  # length, input, output
    assert native.fuel_used < pure.fuel_used // 5


@pytest.mark.parametrize(
    ("shard", "exit_code"),
    [(make.ed25519([(b"m", bytes(32), bytes(64))]) + b"x", 5), (make.ed25519([(b"m", bytes(32), bytes(64))])[:-1], 5)],
)
def test_a_shard_that_cannot_be_ends_with_a_code(shard: bytes, exit_code: int) -> None:
    run = run_both("ed25519", shard)
    assert (run.result, run.output, len(run.log)) == (exit_code, b"", 1)
