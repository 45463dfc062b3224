"""Regression 1: an empty table entry past the last element segment was outside the table to wasm3 alone."""

from __future__ import annotations

import pytest
import wasmtime
from absent import engine_names
from warm import warm_run

from icn_lite.sandbox.outcome import RunRequest
from icn_lite.sandbox.value import parse_value
from icn_lite.wasm.prepare import prepare

TABLES = {
    "no segment": "(table 3 funcref)",
    "entries at the beginning": "(table 3 funcref) (elem (i32.const 0) $nothing)",
    "entries at the end": "(table 3 funcref) (elem (i32.const 2) $nothing)",
    "no entries at all": "(table 0 funcref)",
}


@pytest.mark.parametrize("table", TABLES, ids=str)
@pytest.mark.parametrize("engine", engine_names())
def test_empty_entries_are_told_from_what_is_outside(table: str, engine: str) -> None:
    text = f"""(module {TABLES[table]} (type $t (func)) (func $nothing)
        (func (export "call") (param i32) local.get 0 call_indirect (type $t)))"""
    prepared = prepare(bytes(wasmtime.wat2wasm(text)))
    size = 0 if table == "no entries at all" else 3
    filled = {"entries at the beginning": 0, "entries at the end": 2}.get(table)
    for index in range(5):
        request = RunRequest(prepared, invoke="call", args=(parse_value(f"i32:{index}"),))
        outcome = warm_run(request, engine)
        expected = (
            None if index == filled else "uninitialized_element" if index < size else "out_of_bounds_table_access"
        )
        assert outcome.trap == expected, index
