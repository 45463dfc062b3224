"""The Groth16 guest on proofs that snarkjs made, and on everything that must not pass for one.

`vectors/verify/groth16.json` was made by snarkjs 0.7.6: its own key ceremony and prover, whose verifier takes all
three proofs. What is damaged here is damaged in the packed bytes.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from guest_engines import run_wasm3, run_wasmtime
from verify_kit import VECTORS, code, mismatches
from verify_packer import load_packer

make = load_packer()
ORDER = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
P = 0x1A0111EA397FE69A4B1BA7B6434BACD764774B84F38512BF6730D2A0F6B0F6241EABFFFEB153FFFFB9FEFFFFFFFFAAAB
FIXTURE = json.loads((VECTORS / "groth16.json").read_text())
KEY: dict[str, Any] = FIXTURE["key"]
PROOFS: list[tuple[dict[str, Any], list[str]]] = [(one["proof"], one["public"]) for one in FIXTURE["proofs"]]
HEADER, G1, G2 = 16, 96, 192
ENTRY = 2 * G1 + G2
INFINITY = b"\x40"


def verdicts(shard: bytes, items: int) -> list[bool]:
    """By wasmtime, which is the faster of the two; wasm3 is asked once."""
    bad = set(mismatches(run_wasmtime(code("groth16"), shard), items))
    return [i not in bad for i in range(items)]


def negated(point: list[str]) -> list[str]:
    return [point[0], str(P - int(point[1])), point[2]]


def test_what_snarkjs_proved_holds_and_with_other_inputs_it_does_not() -> None:
    shuffled = [(proof, public) for proof, _ in PROOFS for _, public in PROOFS]
    shard = make.groth16(KEY, [*PROOFS, *shuffled])
    expected = [3 + i for i in range(9) if i % 4]
    assert mismatches(run_wasmtime(code("groth16"), shard), 12) == expected
    one_of_each = make.groth16(KEY, [PROOFS[2], (PROOFS[2][0], PROOFS[1][1])])
    assert run_wasm3(code("groth16"), one_of_each) == run_wasmtime(code("groth16"), one_of_each)
    assert verdicts(one_of_each, 2) == [True, False]


def test_one_input_off_by_one_or_not_reduced_does_not_hold() -> None:
    proof, (first, second) = PROOFS[0]
    changed = [
        [str(int(first) + 1), second], [first, str(int(second) - 1)], [second, first], ["0", "0"],
        # the same number, but written another way: an input has one form
        [str(int(first) + ORDER), second], [first, str(int(second) + ORDER)], [str(ORDER), second],
        [str((1 << 256) - 1), second],
    ]  # fmt: skip
    shard = make.groth16(KEY, [(proof, public) for public in [[first, second], *changed]])
    assert verdicts(shard, 9) == [True] + [False] * 8


def test_a_proof_with_another_point_does_not_hold() -> None:
    proof, public = PROOFS[0]
    other, _ = PROOFS[1]
    changed = [
        *({**proof, name: other[name]} for name in ("pi_a", "pi_b", "pi_c")),
        {**proof, "pi_a": negated(proof["pi_a"])}, {**proof, "pi_c": negated(proof["pi_c"])},
        {**proof, "pi_a": proof["pi_c"], "pi_c": proof["pi_a"]},
        {**proof, "pi_a": ["0", "1", "0"]}, {**proof, "pi_b": [["0", "0"], ["1", "0"], ["0", "0"]]},
        {**proof, "pi_c": ["0", "1", "0"]},
    ]  # fmt: skip
    shard = make.groth16(KEY, [(one, public) for one in [proof, *changed]])
    assert verdicts(shard, 10) == [True] + [False] * 9


def outside_g1() -> bytes:
    """A point of the curve y² = x³ + 4 that is not in the group of prime order: nearly every one is such."""
    x = 0
    while True:
        square = (x**3 + 4) % P
        y = pow(square, (P + 1) // 4, P)
        if y * y % P == square:
            return x.to_bytes(48, "big") + y.to_bytes(48, "big")
        x += 1


POINTS = {
    "not on the curve": bytes(47) + b"\x01" + bytes(47) + b"\x01",
    "not in the group": outside_g1(),
    "beyond the field": P.to_bytes(48, "big") + bytes(48),
    "said to be compressed": b"\x80" + bytes(95),
    "compressed": b"\x97" + bytes(95),
    "infinity with something behind": INFINITY + bytes(94) + b"\x01",
    "a flag for nothing": b"\x20" + bytes(95),
    "zero": bytes(96),
}


def test_a_point_that_is_none_does_not_hold() -> None:
    shards = make.groth16(KEY, [PROOFS[0]] * (1 + 2 * len(POINTS) + 4))
    damaged = bytearray(shards)
    at = HEADER + ENTRY
    for point in POINTS.values():
        damaged[at : at + G1] = point
        damaged[at + ENTRY + G1 + G2 : at + 2 * ENTRY] = point
        at += 2 * ENTRY
    # B: both coordinates in turn off by one bit, compressed, zero
    for where, bits in ((G1 + 95, 1), (G1 + G2 - 1, 1), (G1, 0x80), (G1, 0x20)):
        damaged[at + where] ^= bits
        at += ENTRY
    count = 1 + 2 * len(POINTS) + 4
    assert verdicts(bytes(damaged), count) == [True] + [False] * (count - 1)


def test_no_proofs_is_an_answer_and_a_key_without_inputs_is_one() -> None:
    assert verdicts(make.groth16(KEY, []), 0) == []
    short = {**KEY, "IC": KEY["IC"][:1]}
    assert verdicts(make.groth16(short, [(PROOFS[0][0], [])]), 1) == [False]


def test_a_proof_by_the_equation_itself() -> None:
    """A key whose terms cancel: proofs can be written down, with points at infinity among them."""
    g1 = [KEY["vk_alpha_1"], negated(KEY["vk_alpha_1"])]
    key = {**KEY, "vk_gamma_2": KEY["vk_beta_2"], "vk_delta_2": KEY["vk_beta_2"], "IC": [g1[1], ["0", "1", "0"]]}
    # α·β − α·β + C·β = A·B: with C = A = α and B = β it holds for any input, the input's point being none
    proof = {"pi_a": g1[0], "pi_b": KEY["vk_beta_2"], "pi_c": g1[0]}
    other = {**proof, "pi_c": g1[1]}
    # and with nothing on either side
    nothing = {"pi_a": ["0", "1", "0"], "pi_b": [["0", "0"], ["1", "0"], ["0", "0"]], "pi_c": ["0", "1", "0"]}
    shard = make.groth16(key, [(proof, ["5"]), (other, ["5"]), (nothing, ["0"])])
    assert verdicts(shard, 3) == [True, False, True]


@pytest.mark.parametrize("what", ["alpha", "beta", "gamma", "delta", "ic"])
def test_a_key_with_a_point_that_is_none_is_refused(what: str) -> None:
    at = HEADER + ENTRY + {"alpha": 0, "beta": G1, "gamma": G1 + G2, "delta": G1 + 2 * G2, "ic": G1 + 3 * G2}[what]
    shard = bytearray(make.groth16(KEY, PROOFS[:1]))
    shard[at + 60] ^= 1
    run = run_wasmtime(code("groth16"), bytes(shard))
    assert (run.result, run.output) == (4, b"")
    assert run.log == ("groth16: a point of the verifying key is not in its group",)


@pytest.mark.parametrize("name", ["vk_alpha_1", "vk_gamma_2"])
def test_a_key_with_nothing_in_it_is_refused(name: str) -> None:
    empty = ["0", "1", "0"] if name.endswith("_1") else [["0", "0"], ["1", "0"], ["0", "0"]]
    run = run_wasmtime(code("groth16"), make.groth16({**KEY, name: empty}, PROOFS[:1]))
    assert (run.result, run.output) == (4, b"")


@pytest.mark.parametrize(
    ("change", "exit_code"),
    [
        (lambda s: s + b"x", 5), (lambda s: s[:-1], 5), (lambda s: s[:12] + b"\x01\x04\0\0" + s[16:], 4),
        (lambda s: s[:12] + b"\x03\0\0\0" + s[16:], 5), (lambda s: s[:15], 1), (lambda s: s[:8] + b"\x09" + s[9:], 4),
    ],
)  # fmt: skip
def test_a_shard_that_cannot_be_ends_with_a_code(change: Any, exit_code: int) -> None:
    run = run_wasmtime(code("groth16"), change(make.groth16(KEY, PROOFS[:1])))
    assert (run.result, run.output, len(run.log)) == (exit_code, b"", 1)
