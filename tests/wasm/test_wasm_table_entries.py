"""Functions in the table: who calls through it pays the least entry cost of the type, the dearer ones the rest."""

from __future__ import annotations

import pytest
import wasmtime
from wasm_exact import check

from icn_lite.wasm.prepare import prepare

CALL = "(call_indirect (type $t) (local.get $i) (i32.rem_u (local.get $i) (i32.const {entries})))"
LOAD = "(local.set 0 (i32.mul (local.get 0) (i32.const 3)))"


def module(body: str, entries: int = 4, types: str = "i32", more: str = "") -> str:
    """Four functions of one type, from cheap to dear; the last recurses through the table."""
    return f"""(module (type $t (func (param i32) (result {types})))
      (type $other (func (param i64))) (table {max(entries, 5)} funcref)
      (elem (i32.const 0) $cheap $dear $loop $deep)
      (func $cheap (type $t) ({types}.const 3))
      (func $dear (type $t) {LOAD * 4} ({types}.const 5))
      (func $loop (type $t) (local $n i32) (local.set $n (i32.const 30)) (loop {LOAD}
        (br_if 0 (local.tee $n (i32.add (local.get $n) (i32.const -1))))) ({types}.const 7))
      (func $deep (type $t) (if (result {types}) (i32.gt_u (local.get 0) (i32.const 2))
        (then (call_indirect (type $t) (i32.shr_u (local.get 0) (i32.const 2))
          (i32.and (local.get 0) (i32.const 3))))
        (else ({types}.const 2))))
      {more}
      (func (export "run") (param $i i32) (result i32) (local $k i32) {body} (local.get $k)))"""


BODIES = {
    "only through the table": "(drop {call})",
    "both ways": "(drop {call}) (drop (call $dear (local.get $i))) (drop (call $loop (local.get $i)))"
    " (drop (call $deep (local.get $i)))",
    "directly": "(drop (call $dear (local.get $i))) (drop (call $cheap (local.get $i)))",
    "in a counted loop": """(local.set $k (i32.const 20)) (loop (drop {call}) (drop (call $dear (local.get $k)))
        (br_if 0 (local.tee $k (i32.sub (local.get $k) (i32.const 1)))))""",
    "in a search": """(loop (drop {call}) (drop (call $deep (local.get $i)))
        (br_if 0 (i32.and (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 7))))""",
}


@pytest.mark.parametrize("name", sorted(BODIES))
@pytest.mark.parametrize("types", ["i32", "f32", "f64"])
def test_calls_through_the_table_are_exact(name: str, types: str) -> None:
    text = module(BODIES[name].format(call=CALL.format(entries=4)), types=types)
    for value in (0, 1, 2, 3, 7, 1003):
        assert check(text, [value])


def test_an_empty_entry_and_another_type_trap_alike() -> None:
    text = module("(drop " + CALL.format(entries=5) + ")")
    assert check(text, [4]) is None
    wrong = "(call_indirect (type $other) (i64.const 1) (local.get $i))"
    assert check(module(wrong), [1]) is None


def test_an_exported_entry_costs_what_wasmtime_counts() -> None:
    for name in ("$cheap", "$dear", "$loop", "$deep"):
        text = module("(drop " + CALL.format(entries=4) + ")").replace('(func (export "run")', '(func (export "main")')
        assert check(text.replace(f"(func {name} ", f'(func {name} (export "run") '), [1003])


def test_twins_are_made_only_where_both_ways_are_gone() -> None:
    sizes = [
        len(prepare(bytes(wasmtime.wat2wasm(module(BODIES[name].format(call=CALL.format(entries=4)))))).code)
        for name in ("only through the table", "in a counted loop")
    ]
    assert sizes[0] < sizes[1]
