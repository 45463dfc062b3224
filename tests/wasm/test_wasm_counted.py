"""Loops whose rounds are known beforehand: what they cost is what wasmtime counts, in every form, for every limit."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import wasm_engines as engines
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st
from wasm_exact import check, flows

from icn_lite.wasm.counted import count_rounds, split_step
from icn_lite.wasm.prepare import prepare
from icn_lite.wasm.types import TrapFlag

WORD = 1 << 32


@dataclass(frozen=True)
class Form:
    """The end of a loop: how `$i` goes on, and what it is compared with."""

    text: str  # with {step} and {limit}
    to_zero: bool = False


FORMS = {
    "tee": Form("(br_if 0 (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const {step}))) {limit}))"),
    "set": Form("(local.set $i (i32.add (local.get $i) (i32.const {step}))) (br_if 0 (i32.ne (local.get $i) {limit}))"),
    "subtract": Form("(br_if 0 (i32.ne (local.tee $i (i32.sub (local.get $i) (i32.const {minus}))) {limit}))"),
    "zero": Form("(br_if 0 (local.tee $i (i32.add (local.get $i) (i32.const {step}))))", to_zero=True),
    "copy before": Form(
        "(local.set $j (local.get $i)) (local.set $i (i32.add (local.get $j) (i32.const {step})))"
        " (br_if 0 (i32.ne (local.get $i) {limit}))"
    ),
    "copy after": Form(
        "(local.set $j (i32.add (local.get $i) (i32.const {step}))) (local.set $i (local.get $j))"
        " (br_if 0 (i32.ne (local.get $j) {limit}))"
    ),
    "behind": Form(
        "(local.set $j (i32.add (local.get $i) (i32.const 5))) "
        "(local.set $i (i32.add (local.get $i) (i32.const {step}))) (br_if 0 (i32.ne (local.get $j) {limit}))"
    ),
}


def loop(form: str, step: int, start: int | None, limit: int | None, body: str = "") -> str:
    """A module whose loop runs from `start` to `limit`, each a parameter where it is None; the sum is the result."""
    text = FORMS[form].text.format(
        step=step, minus=-step, limit="(local.get $n)" if limit is None else f"(i32.const {limit})"
    )
    begin = "" if start is None else f"(local.set $i (i32.const {start}))"
    return f"""(module (memory 1) (func (export "run") (param $i i32) (param $n i32) (result i32)
      (local $j i32) (local $sum i32) {begin}
      (loop {body} (local.set $sum (i32.add (local.get $sum) (local.get $i))) {text})
      (local.get $sum)))"""


STEPS = st.sampled_from([1, -1, 2, -2, 3, -3, 4, 8, -8, 12, -12, 7, -40, 24, 1 << 16, -(1 << 31)])


@settings(max_examples=120, derandomize=True, deadline=None)
@given(
    form=st.sampled_from(sorted(FORMS)),
    step=STEPS,
    rounds=st.integers(1, 40),
    begin=st.one_of(st.sampled_from([0, 1, -1, WORD // 2, WORD // 2 - 1]), st.integers(0, WORD - 1)),
    constant_start=st.booleans(),
    constant_limit=st.booleans(),
)
def test_every_form_costs_what_wasmtime_counts(
    form: str, step: int, rounds: int, begin: int, constant_start: bool, constant_limit: bool
) -> None:
    if step == -(1 << 31):
        rounds = 1 + rounds % 2
    if step == 1 << 16:
        rounds = min(rounds, 30)
    limit = (begin + step * rounds) % WORD
    if FORMS[form].to_zero:
        begin, limit, constant_limit = (begin - limit) % WORD, 0, False
    if form == "behind":
        limit = (begin + step * (rounds - 1) + 5) % WORD
    text = loop(form, step, begin if constant_start else None, limit if constant_limit else None)
    flow = flows(text)[0]
    assert not flow.repeated, (form, text)
    assert bool(flow.counted) == (not constant_start or not (constant_limit or FORMS[form].to_zero))
    print(form, step, rounds, begin, check(text, [begin, limit]))


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("constant", [False, True])
def test_a_loop_that_steps_over_its_limit_is_out_of_fuel(form: str, constant: bool) -> None:
    """Never-ending loops: at once where their rounds are counted, else when the fuel is used up."""
    start, limit = (1, 0) if FORMS[form].to_zero else (0, 6 if form == "behind" else 5)
    text = loop(form, 4, start if constant else None, limit if constant else None)
    prepared = prepare(bytes(wasmtime.wat2wasm(text)))
    fuel = 100_000 if constant else engines.PLENTY
    for run in (engines.Wasm3Run(prepared), engines.WasmtimeRun(prepared)):
        outcome = run.call("run", [start, limit], fuel)
        assert (outcome.results, outcome.flag) == (None, TrapFlag.OUT_OF_FUEL)
        assert outcome.fuel_left < 0


@pytest.mark.parametrize(("step", "rounds"), [(1, WORD), (-1, WORD), (8, WORD // 8), (-12, WORD // 4), (3, WORD - 1)])
@pytest.mark.parametrize("constant", [False, True])
def test_the_longest_loops_are_charged_whole(step: int, rounds: int, constant: bool) -> None:
    limit = step * rounds % WORD
    body = "(if (i32.eq (local.get $sum) (i32.const -1)) (then (unreachable)))"
    text = loop("tee", step, 0 if constant else None, limit if constant else None, body)
    prepared = prepare(bytes(wasmtime.wat2wasm(text)))
    for run in (engines.Wasm3Run(prepared), engines.WasmtimeRun(prepared)):
        outcome = run.call("run", [0, limit], rounds * 5)
        assert (outcome.results, outcome.flag) == (None, TrapFlag.OUT_OF_FUEL)


def test_rounds_by_brute_force() -> None:
    """On a machine of 8 bits, where every loop can be tried."""
    for step in (1, -1, 2, -2, 3, 6, -12, 64, -128, 96):
        for distance in range(256):
            seen = next((t for t in range(1, 257) if t * step % 256 == distance), None)
            # the same loop on 32 bits: everything times 2^24
            assert count_rounds(7, 7 + (distance << 24), step << 24) == seen, (step, distance)
    shift, inverse = split_step(-40)
    assert (shift, inverse * -5 % WORD) == (3, 1)


NOT_COUNTED = {
    "the local changes in an arm": """(loop (if (i32.and (local.get $i) (i32.const 1))
        (then (local.set $i (i32.add (local.get $i) (i32.const 2)))))
        (br_if 0 (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 101))))""",
    "the change can be passed by": """(loop (block (br_if 0 (i32.eq (local.get $k) (i32.const 3)))
        (local.set $i (i32.add (local.get $i) (i32.const 1))))
        (local.set $k (i32.add (local.get $k) (i32.const 1)))
        (br_if 0 (i32.ne (local.get $i) (i32.const 50))))""",
    "the limit changes": """(loop (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br_if 0 (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))""",
    "the limit is the local": """(loop (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if 0 (i32.ne (local.get $i) (local.get $i))))""",
    "two ways back": """(loop $l (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $l (i32.and (local.get $i) (i32.const 3)))
        (br_if $l (i32.ne (local.get $i) (i32.const 64))))""",
    "a way out": """(block (loop (br_if 1 (i32.eq (local.get $i) (i32.const 33)))
        (br_if 0 (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100)))))""",
    "a return": """(loop (if (i32.eq (local.get $i) (i32.const 33)) (then (return (local.get $k))))
        (br_if 0 (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100))))""",
    "another comparison": """(loop
        (br_if 0 (i32.lt_s (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100))))""",
    "the limit comes first": """(loop
        (br_if 0 (i32.ne (local.get $n) (local.tee $i (i32.add (local.get $i) (i32.const 1))))))""",
    "no step": "(loop (br_if 0 (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 0))) (i32.const 10))))",
    "another local's step": """(loop (local.set $k (i32.add (local.get $k) (i32.const 1)))
        (br_if 0 (i32.ne (local.tee $i (i32.add (local.get $k) (i32.const 1))) (i32.const 100))))""",
    "a product": """(loop (local.set $k (i32.add (local.get $k) (i32.const 1)))
        (br_if 0 (i32.ne (local.tee $i (i32.mul (local.get $k) (i32.const 3))) (i32.const 99))))""",
}


@pytest.mark.parametrize("name", sorted(NOT_COUNTED))
def test_what_only_looks_like_a_counted_loop(name: str) -> None:
    """None of these is charged beforehand, but for one whose cycle goes through a second local, and all are exact."""
    text = f"""(module (func (export "run") (param $i i32) (param $n i32) (result i32) (local $k i32)
      {NOT_COUNTED[name]} (i32.add (local.get $i) (local.get $k))))"""
    flow = flows(text)[0]
    if name != "another local's step":
        assert flow.repeated
        assert not flow.counted
    if name != "no step":
        assert check(text, [0, 60])


NESTS = {
    "constant in constant": """(local.set $i (i32.const 0)) (loop $a (local.set $j (i32.const 20)) (loop $b
        (local.set $k (i32.add (local.get $k) (local.get $j)))
        (br_if $b (local.tee $j (i32.add (local.get $j) (i32.const -1)))))
        (br_if $a (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 3))) (i32.const 99))))""",
    "by its own index": """(local.set $i (i32.const 0)) (loop $a (local.set $j (i32.const 0)) (loop $b
        (local.set $k (i32.add (local.get $k) (local.get $j)))
        (br_if $b (i32.ne (local.tee $j (i32.add (local.get $j) (i32.const 1)))
                          (i32.add (local.get $i) (i32.const 1)))))
        (br_if $a (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 30))))""",
    "as long as a local": """(loop $a (local.set $j (local.get $i)) (loop $b
        (local.set $k (i32.add (local.get $k) (local.get $j)))
        (br_if $b (i32.ne (local.tee $j (i32.add (local.get $j) (i32.const 2))) (i32.const 100))))
        (br_if $a (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 2))) (local.get $n))))""",
    "arms and calls": """(loop $a (if (i32.and (local.get $i) (i32.const 2))
        (then (local.set $k (i32.add (local.get $k) (call $twice (local.get $i)))))
        (else (local.set $k (call $sum (i32.const 9)))))
        (drop (call $twice (call $twice (local.get $k))))
        (br_if $a (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 2))) (local.get $n))))""",
    "recursion": """(loop $a (local.set $k (i32.add (local.get $k) (call $down (local.get $i))))
        (br_if $a (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 2))) (local.get $n))))""",
    "a search inside": """(loop $a (local.set $j (local.get $i)) (loop $b
        (local.set $j (i32.add (i32.mul (local.get $j) (i32.const 5)) (i32.const 3)))
        (br_if $b (i32.and (local.get $j) (i32.const 7))))
        (block (loop $c (br_if 1 (i32.eqz (local.get $j)))
          (local.set $j (i32.shr_u (local.get $j) (i32.const 3))) (br $c)))
        (local.set $k (i32.add (local.get $k) (i32.const 1)))
        (br_if $a (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 2))) (local.get $n))))""",
    "memory work": """(loop $a (memory.fill (local.get $i) (i32.const 7) (i32.const 3))
        (local.set $k (i32.add (local.get $k) (i32.load8_u (local.get $i))))
        (drop (memory.grow (i32.const 0)))
        (br_if $a (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 2))) (local.get $n))))""",
    "an arm that leaves a block": """(loop $a (block $c
        (br_if $c (i32.and (local.get $i) (i32.const 4)))
        (local.set $j (i32.const 5)) (loop $b (local.set $k (i32.add (local.get $k) (i32.const 3)))
          (br_if $b (local.tee $j (i32.sub (local.get $j) (i32.const 1)))))
        (local.set $k (i32.add (local.get $k) (i32.const 1))))
        (br_if $a (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 2))) (local.get $n))))""",
    "a loop of one round": """(loop $a (loop (local.set $k (i32.add (local.get $k) (i32.const 1))))
        (br_if $a (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 2))) (local.get $n))))""",
}


@pytest.mark.parametrize("name", sorted(NESTS))
def test_nests_are_exact(name: str) -> None:
    text = f"""(module (memory 1 2)
      (func $twice (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
      (func $sum (param $n i32) (result i32) (local $s i32) (loop
        (local.set $s (i32.add (local.get $s) (local.get $n)))
        (br_if 0 (local.tee $n (i32.add (local.get $n) (i32.const -1))))) (local.get $s))
      (func $down (param $n i32) (result i32) (local $i i32) (local.set $i (i32.const 2))
        (if (i32.lt_s (local.get $n) (i32.const 3)) (then (return (i32.const 1))))
        (loop (local.set $n (call $down (i32.shr_u (local.get $n) (i32.const 1))))
          (br_if 0 (local.tee $i (i32.add (local.get $i) (i32.const -1)))))
        (local.get $n))
      (func (export "run") (param $i i32) (param $n i32) (result i32) (local $j i32) (local $k i32)
        {NESTS[name]} (local.get $k)))"""
    assert check(text, [0, 40])
    assert check(text, [38, 40])


def test_nothing_is_charged_in_nests_of_constant_loops() -> None:
    text = f"""(module (func (export "run") (param $n i32) (result i32) (local $i i32) (local $j i32) (local $k i32)
        {NESTS["constant in constant"]} (local.get $k)))"""
    flow = flows(text)[0]
    assert not flow.repeated
    assert not flow.counted
    assert not flow.charges  # the entry is charged by the caller
    assert len(flow.checked) == 1  # once, before the outer loop


def test_a_trap_inside_costs_the_same_on_every_engine() -> None:
    body = "(drop (i32.div_u (i32.const 1) (i32.sub (local.get $i) (i32.const 17))))"
    for start in (None, 0):
        assert check(loop("tee", 1, start, None, body), [0, 100]) is None


def test_sums_that_would_not_fit_are_not_made() -> None:
    """Loops in loops of 2^31 rounds each: the product is far over 64 bits, and the run is out of fuel at once."""
    inner = "(local.set $k (i32.add (local.get $k) (i32.const 1)))"
    for depth in range(5):
        inner = f"""(local.set {depth} (i32.const 0)) (loop {inner} (br_if 0 (i32.ne (local.tee {depth}
            (i32.add (local.get {depth}) (i32.const 1))) (i32.const -2147483648))))"""
    text = f"""(module (func $f (local i32 i32 i32 i32 i32) (local $k i32) {inner})
      (func (export "run") (param i32) (loop (call $f) (call $f)
        (br_if 0 (local.tee 0 (i32.add (local.get 0) (i32.const -1)))))))"""
    prepared = prepare(bytes(wasmtime.wat2wasm(text)))
    for fuel in (1000, 1 << 20, 1 << 34):  # the innermost loop alone costs more
        for run in (engines.Wasm3Run(prepared), engines.WasmtimeRun(prepared)):
            outcome = run.call("run", [1 << 31], fuel)
            assert (outcome.results, outcome.flag) == (None, TrapFlag.OUT_OF_FUEL)


def test_rounds_that_cost_too_much_are_not_charged_at_once() -> None:
    """A round of 2000 calls of about 2^20 fuel, 2^32 times, is more than 64 bits: it is charged round by round."""
    costly = f"""(local.set 0 (i32.const {(1 << 18) - 90000}))
        (loop (br_if 0 (local.tee 0 (i32.add (local.get 0) (i32.const -1)))))"""
    text = f"""(module (func $f (local i32) {costly})
      (func (export "run") (param i32) (loop {"(call $f)" * 2000}
        (br_if 0 (local.tee 0 (i32.add (local.get 0) (i32.const -1)))))))"""
    inner, outer = flows(text)
    assert not inner.repeated
    assert outer.repeated
    assert not outer.counted
    prepared = prepare(bytes(wasmtime.wat2wasm(text)))
    for fuel in (1000, 1 << 30):
        outcome = engines.Wasm3Run(prepared).call("run", [0], fuel)
        assert (outcome.results, outcome.flag) == (None, TrapFlag.OUT_OF_FUEL)
