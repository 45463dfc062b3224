"""Floats come through bit for bit: signalling NaNs in f32, canonical NaNs, many values of one block."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product

import pytest
import wasm_engines as engines
import wasmtime
from wasm_float_programs import Program

from icn_lite.wasm.hostfuncs import HostFunction, host_table
from icn_lite.wasm.opcodes import F32, I32
from icn_lite.wasm.prepare import prepare

LONG = os.environ.get("ICN_LITE_LONG") == "1"
PROGRAMS = 250 if LONG else 12  # in each of four parts
BOTH = (engines.Wasm3Run, engines.WasmtimeRun)
SIGNALLING = 0x7FA00001
NEGATIVE_SIGNALLING = 0xFFA12345
BITS = (0, 0x80000000, 0x3F800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000, 0x7FC00123, SIGNALLING,
        NEGATIVE_SIGNALLING, 0x7F800001, 1, 0x80000001)  # fmt: skip


def wat(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def agree(module: bytes, calls: list[tuple[str, list[int]]]) -> list[tuple[int, ...] | None]:
    """Call functions that take and give integers on all engines, in order; results and fuel have to be one."""
    prepared = prepare(module)
    reference = engines.Reference(module)
    runs = [engine(prepared) for engine in BOTH]
    found: list[tuple[int, ...] | None] = []
    for name, args in calls:
        expected = reference.call(name, args)
        outcomes = [run.call(name, args) for run in runs]
        for outcome in outcomes:
            assert outcome.results == expected.results, (name, [hex(a) for a in args], outcome, expected)
            assert outcome == outcomes[0]
            if expected.results is not None:
                assert engines.PLENTY - outcome.fuel_left == expected.fuel_used, (name, args)
        found.append(expected.results)
    return found


# Ways for an f32 to pass through, each with the bits of one in local 0 and a condition in local 1; `$x` is a local.
WAYS = {
    "local": "(local.set $x (f32.reinterpret_i32 (local.get 0))) (local.get $x)",
    "tee": "(local.tee $x (f32.reinterpret_i32 (local.get 0)))",
    "param and result": "(call $same (f32.reinterpret_i32 (local.get 0)))",
    "indirect": "(call_indirect (type $f) (f32.reinterpret_i32 (local.get 0)) (i32.const 0))",
    "memory": "(i32.store (i32.const 8) (local.get 0)) (f32.load (i32.const 8))",
    "memory and local": "(i32.store (i32.const 8) (local.get 0)) (local.set $x (f32.load (i32.const 8))) "
                        "(f32.store (i32.const 12) (local.get $x)) (f32.load (i32.const 12))",
    "global": "(global.set $g (f32.reinterpret_i32 (local.get 0))) (global.get $g)",
    "select": "(select (f32.reinterpret_i32 (local.get 0)) (f32.const 1) (local.get 1))",
    "select with a type": "(select (result f32) (f32.const 1) (f32.reinterpret_i32 (local.get 0)) (local.get 1))",
    "select of computed": "(select (f32.add (f32.const 1) (f32.const 2)) (f32.reinterpret_i32 (local.get 0)) "
                          "(local.get 1))",
    "block": "(block (result f32) (f32.reinterpret_i32 (local.get 0)))",
    "br": "(block (result f32) (br 0 (f32.reinterpret_i32 (local.get 0))))",
    "br_if": "(block (result f32) (f32.reinterpret_i32 (local.get 0)) (br_if 0 (local.get 1)) (drop) (f32.const 2))",
    "br_if not taken": "(block (result f32) (br_if 0 (f32.reinterpret_i32 (local.get 0)) (i32.const 0)))",
    "br_if on top of another": "(f32.reinterpret_i32 (local.get 0)) (block (result f32) (f32.const 1) "
                               "(br_if 0 (local.get 1))) (drop)",
    "br_table": "(block (result f32) (block (result f32) (f32.reinterpret_i32 (local.get 0)) "
                "(br_table 0 1 0 (local.get 1))) (f32.neg))",
    "if": "(if (result f32) (local.get 1) (then (f32.reinterpret_i32 (local.get 0))) (else (f32.const 3)))",
    "if that computes": "(if (result f32) (local.get 1) (then (f32.reinterpret_i32 (local.get 0))) "
                        "(else (f32.div (f32.const 0) (f32.const 0))))",
    "if without else": "(f32.reinterpret_i32 (local.get 0)) (local.get 1) (if (param f32) (result f32) (then "
                       "(f32.neg)))",
    "loop": "(f32.reinterpret_i32 (local.get 0)) (loop (param f32) (result f32) (f32.neg) "
            "(local.set 1 (i32.add (local.get 1) (i32.const 1))) (br_if 0 (i32.lt_s (local.get 1) (i32.const 4))))",
    "return": "(call $returns (f32.reinterpret_i32 (local.get 0)) (local.get 1))",
    "two results": "(call $pair (f32.reinterpret_i32 (local.get 0)) (f32.const 1)) (drop)",
    "two results, second": "(call $pair (f32.const 1) (f32.reinterpret_i32 (local.get 0))) (local.set $x) (drop) "
                           "(local.get $x)",
    "two results, added": "(call $pair (f32.const 1) (f32.reinterpret_i32 (local.get 0))) (f32.add)",
    "neg": "(f32.neg (f32.reinterpret_i32 (local.get 0)))",
    "abs": "(f32.abs (f32.reinterpret_i32 (local.get 0)))",
    "copysign": "(f32.copysign (f32.reinterpret_i32 (local.get 0)) (f32.const -1))",
    "copysign's sign": "(f32.copysign (f32.const 1) (f32.reinterpret_i32 (local.get 0)))",
    "copysign of both": "(f32.copysign (f32.neg (f32.reinterpret_i32 (local.get 0))) "
                        "(f32.reinterpret_i32 (local.get 0)))",
    "copysign of a computed NaN": "(f32.copysign (f32.reinterpret_i32 (local.get 0)) (f32.div (f32.const 0) "
                                  "(f32.const 0)))",
    "arithmetic": "(f32.add (f32.reinterpret_i32 (local.get 0)) (f32.const 1))",
    "arithmetic on a local": "(local.set $x (f32.reinterpret_i32 (local.get 0))) (f32.mul (local.get $x) "
                             "(local.get $x))",
    "a local for both": "(local.set $x (f32.reinterpret_i32 (local.get 0))) (f32.store (i32.const 0) (f32.sqrt "
                        "(local.get $x))) (f32.store (i32.const 4) (local.get $x)) (f32.load (i32.const 4))",
    "a local that is computed or not": "(local.set $x (f32.reinterpret_i32 (local.get 0))) (if (local.get 1) (then "
                                       "(local.set $x (f32.sub (local.get $x) (local.get $x))))) (local.get $x)",
    "min": "(f32.min (f32.reinterpret_i32 (local.get 0)) (f32.const 1))",
    "promote": "(f32.demote_f64 (f64.promote_f32 (f32.reinterpret_i32 (local.get 0))))",
    "constant": "(f32.const nan:0x200001)",
    "constant in a local": "(local.set $x (f32.const -nan:0x1)) (local.get $x)",
    "constant to a call": "(call $same (f32.const nan:0x200001))",
    "constant global": "(global.get $c)",
    "loop that is unrolled": "(loop (result f32) (f32.reinterpret_i32 (local.get 0)) (local.set 1 (i32.add "
                             "(local.get 1) (i32.const 1))) (br_if 0 (i32.lt_s (local.get 1) (i32.const 5))))",
    "drop": "(f32.reinterpret_i32 (local.get 0)) (f32.const 7) (drop)",
}  # fmt: skip


def test_an_f32_that_passes_through_keeps_its_bits() -> None:
    functions = "".join(
        f'(func (export "{name}") (param i32 i32) (result i32) (local $x f32) {code} (i32.reinterpret_f32))'
        for name, code in WAYS.items()
    )
    module = wat(f"""(module (memory 1) (type $f (func (param f32) (result f32))) (table 1 funcref)
      (elem (i32.const 0) $same) (global $g (mut f32) (f32.const 0)) (global $c f32 (f32.const nan:0x200001))
      (func $same (type $f) (local.get 0))
      (func $returns (param f32 i32) (result f32) (if (local.get 1) (then (return (local.get 0)))) (f32.const 5))
      (func $pair (param f32 f32) (result f32 f32) (local.get 0) (local.get 1)) {functions})""")
    calls = [(name, [bits, flag]) for name in WAYS for bits in BITS for flag in (0, 1, 2)]
    engines.in_big_thread(lambda: agree(module, calls))
    through = agree(module, [(name, [SIGNALLING, 1]) for name in ("local", "param and result", "select", "if", "loop")])
    assert through == [(bits,) for bits in [SIGNALLING] * 4 + [SIGNALLING | 1 << 31]]


def test_what_comes_from_outside_keeps_its_bits() -> None:
    module = wat("""(module (global $g (mut f32) (f32.const 0))
      (func (export "same") (param f32 f64) (result f32) (local.get 0))
      (func (export "put") (param f32) (global.set $g (local.get 0)))
      (func (export "get") (result f32) (global.get $g))
      (func (export "many") (param f32 f64) (result f64 i32 f32 f64) (local.get 1) (i32.const 4) (local.get 0)
        (f64.add (local.get 1) (f64.const 1))))""")
    prepared = prepare(module)
    for engine in BOTH:
        run = engine(prepared)
        for bits in BITS:
            assert run.call("same", [bits, 0]).results == (bits,)
            run.call("put", [bits])
            assert run.call("get").results == (bits,)
            assert run.call("many", [bits, 2 << 61]).results == (2 << 61, 4, bits, 0x4008000000000000)


def test_hosts_are_given_floats() -> None:
    table = host_table((HostFunction("icn", "half", (F32, I32), (F32,), "io", 5, 0, None),))
    module = wat("""(module (import "icn" "half" (func $half (param f32 i32) (result f32))) (table 1 funcref)
      (elem (i32.const 0) $half)
      (func (export "run") (param i32) (result f32)
        (f32.add (call $half (f32.const 3) (i32.const 1))
                 (call_indirect (param f32 i32) (result f32) (f32.const 5) (i32.const 0) (i32.const 0)))))""")
    seen: list[float] = []

    def half(number: float, flag: int) -> float:
        seen.append(number)
        return number / 2

    for engine in BOTH:
        assert engine(prepare(module, host=table), {"half": half}).call("run", [0]).results == (0x40800000,)
    assert seen == [3, 5, 3, 5]


def test_types_that_differ_in_floats_only_stay_different() -> None:
    """An f32 and an i32 parameter are one thing to the prepared module, but not to a `call_indirect`."""
    kinds = ("i32", "f32")
    types = list(product(kinds, kinds, kinds))
    functions = "".join(
        f"(func $f{n} (type $t{n}) (local i64 f32) (local.set 2 (i64.const {n})) (local.set 3 (f32.const {n})) "
        f"({r}.{'convert_i64_s' if r == 'f32' else 'wrap_i64'} (local.get 2)))"
        for n, (_, _, r) in enumerate(types)
    )
    declared = "".join(f"(type $t{n} (func (param {a} {b}) (result {r})))" for n, (a, b, r) in enumerate(types))
    callers = "".join(
        f'(func (export "d{n}") (result i32) (call $f{n} ({a}.const 1) ({b}.const 2)) {to_int(r)})'
        f'(func (export "i{n}") (param i32) (result i32) (call_indirect (type $t{n}) ({a}.const 1) ({b}.const 2) '
        f"(local.get 0)) {to_int(r)})"
        for n, (a, b, r) in enumerate(types)
    )
    entries = " ".join(f"$f{n}" for n in range(len(types)))
    module = wat(f'(module {declared} (table 9 funcref) (elem (i32.const 0) {entries}) {functions} {callers} '
                 '(export "f" (func $f7)))')  # fmt: skip
    calls = [(f"i{n}", [slot]) for n in range(len(types)) for slot in range(9)]
    found = agree(module, [(f"d{n}", []) for n in range(len(types))] + calls)
    assert [result is not None for result in found] == [True] * 8 + [slot == n for n in range(8) for slot in range(9)]
    for engine in BOTH:
        assert engine(prepare(module)).call("f", [1, 2]).results == (0x40E00000,)


def test_many_types_that_become_one_stay_different_and_small() -> None:
    types = ["".join(f" {'f32' if n >> b & 1 else 'i32'}" for b in range(9)) for n in range(512)]
    module = wat("(module (table 512 funcref) " + "".join(f"(func $f{n} (param{t}))" for n, t in enumerate(types))
                 + f"(elem (i32.const 0) {' '.join(f'$f{n}' for n in range(512))}) "
                 + "".join(f'(func (export "{n}") (param i32) {" ".join(f"({k}.const 0)" for k in types[n].split())} '
                           f"(call_indirect (param{types[n]}) (local.get 0)))" for n in (0, 7, 511)) + ")")  # fmt: skip
    prepared = prepare(module)
    assert len(prepared.code) < 3 * len(module)
    for engine in BOTH:
        run = engine(prepared)
        for n in (0, 7, 511):
            for slot in (0, 7, 8, 511):
                assert run.call(str(n), [slot]).trapped == (slot != n)


def to_int(kind: str) -> str:
    return "(i32.trunc_f32_s)" if kind == "f32" else ""


# many values


def tuples() -> Iterator[tuple[str, ...]]:
    """All types of up to two values, every third of three (or all), every 28th of four (or every seventh)."""
    kinds = ("i32", "i64", "f32", "f64")
    for size, step in ((1, 1), (2, 1), (3, 1 if LONG else 3), (4, 7 if LONG else 28)):
        yield from list(product(kinds, repeat=size))[::step]


def digest_of(types: tuple[str, ...]) -> str:
    """Values on the stack to one i64 that tells their order and their bits; locals $i32 … take them."""
    out = ["(local.set $h (i64.const 0))"]
    for kind in reversed(types):
        bits = {"i32": "(i64.extend_i32_u (local.get $i32))", "i64": "(local.get $i64)",
                "f32": "(i64.extend_i32_u (i32.reinterpret_f32 (local.get $f32)))",
                "f64": "(i64.reinterpret_f64 (local.get $f64))"}[kind]  # fmt: skip
        turned = "(i64.mul (local.get $h) (i64.const 0x9E3779B97F4A7C15))"
        out.append(f"(local.set ${kind}) (local.set $h (i64.add {turned} {bits}))")
    return "".join(out) + "(local.get $h)"


def values_of(types: tuple[str, ...], first: int, computed: bool) -> str:
    """Different values: parameters as they come, or computed ones."""
    out = []
    for i, kind in enumerate(types):
        if computed or kind[0] == "i":
            out.append(f"({kind}.add (local.get ${kind}p) ({kind}.const {first + i}))")
        else:
            out.append(f"(local.get ${kind}p)")
    return " ".join(out)


def shapes(types: tuple[str, ...], computed: bool) -> dict[str, str]:
    """Ways for these types to be carried."""
    results = f"(result {' '.join(types)})"
    params = f"(param {' '.join(types)})"
    one, two = values_of(types, 1, computed), values_of(types, 7, not computed)
    drops = "(drop)" * len(types)
    return {
        "block": f"(block {results} {one})",
        "br": f"(block {results} {one} (br 0))",
        "br_if": f"(block {results} {one} (br_if 0 (local.get $c)) {drops} {two})",
        "if": f"(if {results} (local.get $c) (then {one}) (else {two}))",
        "if with parameters": f"{one} (local.get $c) (if {params} {results} (then {drops} {two}) (else))",
        "if without else": f"{one} (local.get $c) (if {params} {results} (then {drops} {two}))",
        "loop": f"{one} (loop {params} {results} (local.set $c (i32.add (local.get $c) (i32.const 1))) "
                f"(br_if 0 (i32.lt_u (local.get $c) (i32.const 3))))",
        "loop by br": f"{one} (loop {params} {results} (local.set $c (i32.add (local.get $c) (i32.const 1))) "
                      f"(if {params} {results} (i32.lt_u (local.get $c) (i32.const 3)) (then (br 1))))",
        "br over others": f"(block {results} (f64.const 1) (f32.const 2) {one} (br 0))",
        "br_if over others": f"(block {results} {two} {one} (br_if 0 (local.get $c)) {drops})",
        "br_if over a float": f"(f64.add (local.get $f64p) (f64.const 1)) (block {results} (f64.add (local.get $f64p) "
                              f"(f64.const 2)) {one} (br_if 0 (local.get $c)) {drops} (local.set $f64p) {one}) {drops} "
                              f"(local.set $f64p) {two} (drop) ({types[-1]}.add (local.get ${types[-1]}p) "
                              f"({types[-1]}.const 3))",
        "br out of two": f"(block {results} (block (f64.sub (local.get $f64p) (f64.const 1)) {one} (br_if 1 (local.get "
                         f"$c)) {drops} (drop)) {two})",
        "br_table": f"(block {results} (block {results} {one} (br_table 0 1 (local.get $c))) {drops} {two})",
        "call": f"{one} (local.get $c) (call $swap)",
    }  # fmt: skip


@pytest.mark.parametrize("part", range(4))
def test_values_keep_their_order_whatever_their_types(part: int) -> None:
    engines.in_big_thread(lambda: [compare_order(types) for types in list(tuples())[part::4]])


def compare_order(types: tuple[str, ...]) -> None:
    functions, calls = [], []
    for computed in (False, True):
        for shape, code in shapes(types, computed).items():
            name = f"{shape} of {' '.join(types)}, {'computed' if computed else 'plain'}"
            functions.append(
                f'(func (export "{name}") (param $c i32) (param $i32p i32) (param $i64p i64) (result i64) '
                f"(local $h i64) (local $i32 i32) (local $i64 i64) (local $f32 f32) (local $f64 f64) "
                f"(local $f32p f32) (local $f64p f64) (local.set $f32p (f32.reinterpret_i32 (local.get $i32p))) "
                f"(local.set $f64p (f64.reinterpret_i64 (local.get $i64p))) {code} {digest_of(types)})"
            )
            calls += [(name, [c, SIGNALLING, 0xFFF0000000000123]) for c in (0, 1, 2)]
    gets = " ".join(f"(local.get {i})" for i in range(len(types)))
    swap = (f"(func $swap (param {' '.join(types)} i32) (result {' '.join(types)}) {gets} (br_if 0 (local.get "
            f"{len(types)})) {'(drop)' * len(types)} {gets} (return))")  # fmt: skip
    agree(wat(f"(module {swap} {''.join(functions)})"), calls)


def test_a_local_that_is_pushed_twice_is_two_values() -> None:
    """The engine has one place for both, and a block that took one of them put its result there."""
    module = wat("""(module (func (export "run") (param i32) (result i64) (local i64) (local.set 1 (i64.const 7))
      (select (local.get 1) (local.get 1) (loop (param i64) (result i64) (drop) (i64.const 1)) (local.get 0))))""")
    assert agree(module, [("run", [0]), ("run", [1])]) == [(1,), (7,)]


def test_a_float_beneath_a_branch_that_carries_one_survives() -> None:
    """Only the way of the branch saved it; the other way read a place that nobody had written."""
    module = wat("""(module (func (export "run") (param i32) (result i64) (local f64) (local.set 1 (f64.const 3))
      (i64.reinterpret_f64 (block (result f64) (f64.add (local.get 1) (f64.const 10)) (local.get 1)
        (br_if 0 (local.get 0)) (f64.mul)))))""")
    assert agree(module, [("run", [0]), ("run", [1])]) == [(0x4043800000000000,), (0x4008000000000000,)]


def test_a_branch_that_carries_a_float_writes_nowhere_else() -> None:
    """It wrote what lay beneath 240,008 bytes past its frame: here into another function's, or past the stack."""
    module = wat("""(module (func $deep (param i32 f64) (result f64) (local i64 i64 i64 i64)
        (if (i32.eqz (local.get 0)) (then (return (local.get 1))))
        (f64.add (block (result f64) (local.get 1) (br 0 (local.get 1)))
                 (call $deep (i32.sub (local.get 0) (i32.const 1)) (f64.add (local.get 1) (f64.const 1)))))
      (func (export "run") (param i32) (result i64) (i64.reinterpret_f64 (call $deep (local.get 0) (f64.const 1)))))""")
    prepared = prepare(module)
    assert b"\x02\x7c" not in prepared.code  # no block that gives an f64
    agree(module, [("run", [depth]) for depth in (0, 1, 100, 500)])


@pytest.mark.parametrize("part", range(4))
def test_programs_that_pass_floats_about_agree(part: int) -> None:
    def run() -> int:
        done = 0
        for seed in range(part * PROGRAMS, (part + 1) * PROGRAMS):
            module = wat(Program(seed).text())
            given = ([0, SIGNALLING, 0x7FF4 << 48], [1, 0xFFC00001, 3], [5, 0x3FC00000, 1 << 63])
            try:
                done += sum(found is not None for found in agree(module, [("run", args) for args in given]))
            except AssertionError as error:
                raise AssertionError(f"seed {seed}") from error
        return done

    assert engines.in_big_thread(run) > 2 * PROGRAMS
