"""Decisions: what both ways cost is charged before them, and every way costs what wasmtime counts."""

from __future__ import annotations

import pytest
from wasm_exact import check, flows

LOAD = "(local.set $k (i32.mul (local.get $k) (i32.const 3)))"  # 4 fuel
ODD = "(i32.and (local.get $i) (i32.const 1))"
HIGH = "(i32.gt_u (local.get $i) (i32.const 5))"
WAYS = {
    "if and else": f"(block $a (block $b (br_if $b {ODD}) {LOAD} {LOAD} (br $a)) {LOAD})",
    "early return": f"(block $b (br_if $b {ODD}) {LOAD} (return (local.get $k))) {LOAD} {LOAD}",
    "three ways": f"""(block $a (block $b (block $c (br_if $c {ODD}) {LOAD} (br $a))
        {LOAD} (br_if $b {HIGH}) {LOAD} (br $a)) {LOAD})""",
    "and": f"(block $a (block $b (br_if $b {ODD}) {LOAD} (br_if $b {HIGH}) {LOAD} (br $a)) {LOAD} {LOAD})",
    "or": f"(block $a (block $b (br_if $b {ODD}) (br_if $b {HIGH}) {LOAD} (br $a)) {LOAD} {LOAD})",
    "a way out between": f"""(block $a (block $b (br_if $b {ODD}) {LOAD} (br_if $a {HIGH}) {LOAD}
        (br_if $b {HIGH}) {LOAD} (br $a)) {LOAD})""",
    "a return between": f"""(block $a (block $b (br_if $b {ODD}) (if {HIGH} (then (return (i32.const 7))))
        (br_if $b {HIGH}) {LOAD} (br $a)) {LOAD})""",
    "falls through": f"(block $a (block $b (br_if $b {ODD}) {LOAD} (br_if $a {HIGH}) {LOAD}) {LOAD})",
    "from deeper": f"""(block $a (block $b (if {HIGH} (then {LOAD} (br $b))) (br_if $b {ODD}) {LOAD} (br $a))
        {LOAD} {LOAD})""",
    "an if left early": f"(block $a (if {HIGH} (then (br_if 0 {ODD}) {LOAD} (br $a))) {LOAD} {LOAD})",
    "a loop left by a branch": f"""(block $a (loop $l (local.set $k (i32.shr_u (local.get $k) (i32.const 1)))
        (br_if $l (i32.and (local.get $k) (i32.const 1))) {LOAD} (br $a)) {LOAD})""",
    "a table": f"(block $a (block $b (br_table $a $b $a {ODD})) {LOAD} {LOAD})",
    "a trap": f"(block $a (block $b (br_if $b {HIGH}) {LOAD} (br_if $b {ODD}) (br $a)) {LOAD} (unreachable))",
    "out of a search": f"""(block $a (br_if $a {ODD}) {LOAD}
        (local.set $k (i32.and (i32.shr_u (local.get $i) (i32.const 1)) (i32.const 3)))
        (loop $l (local.set $k (i32.add (local.get $k) (i32.const 4)))
          (br_if $a (i32.gt_u (local.get $k) (i32.const 40))) (br_if $l (i32.and (local.get $k) (i32.const 3))))
        (return (local.get $k))) {LOAD} {LOAD}""",
    "inside an if": f"""(if {HIGH} (then (block $a (block $b (br_if $b {ODD}) {LOAD} (br $a)) {LOAD} {LOAD}))
        (else {LOAD}))""",
    "twice": f"""(block $a (block $b (br_if $b {ODD}) {LOAD} (br $a)) {LOAD} {LOAD})
        (block $a (block $b (br_if $b {HIGH}) {LOAD} (br $a)) {LOAD} {LOAD})""",
    "one in the other": f"""(block $a (block $b (br_if $b {ODD}) {LOAD} (br $a))
        (block $c (block $d (br_if $d {HIGH}) {LOAD} (br $c)) {LOAD} {LOAD}))""",
}
AROUND = {
    "alone": "{body}",
    "in a counted loop": """(loop $l {body}
        (br_if $l (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 21))))""",
    "in a search": """(loop $l {body} (local.set $i (i32.add (local.get $i) (i32.const 3)))
        (br_if $l (i32.and (local.get $i) (i32.const 12))))""",
    "in a long search": """(loop $l {body} {body} {body} (local.set $i (i32.add (local.get $i) (i32.const 3)))
        (br_if $l (i32.and (local.get $i) (i32.const 12))))""",
}


@pytest.mark.parametrize("name", sorted(WAYS))
@pytest.mark.parametrize("around", sorted(AROUND))
def test_every_way_costs_what_wasmtime_counts(name: str, around: str) -> None:
    text = f"""(module (func (export "run") (param $i i32) (result i32) (local $k i32) (local.set $k (i32.const 1))
        {AROUND[around].format(body=WAYS[name])} {LOAD} (local.get $k)))"""
    for value in (0, 1, 6, 7, 20):
        check(text, [value])


def test_the_cheaper_way_charges_nothing() -> None:
    for name in ("if and else", "early return"):
        text = f"""(module (func (param $i i32) (result i32) (local $k i32) {WAYS[name]} (local.get $k)))"""
        (flow,) = flows(text)
        assert len(flow.charges) == 1, flow.charges  # the entry is charged by the caller
