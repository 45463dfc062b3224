"""`icn-lite check`: accepted or refused, with reasons that an author can act upon."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import wasmtime

if TYPE_CHECKING:
    from conftest import Program

KEYS = {
    "accepted", "reason", "imports", "exports", "entry", "functions", "memory", "table", "stack_bytes", "features",
    "limits", "made_by", "module_bytes", "code_bytes", "custom_bytes", "prepared_bytes", "growth", "cached",
    "prepare_ms",
}  # fmt: skip
REASON = {"kind", "offset", "message", "function", "function_name", "section", "place", "hint", "flags"}


def test_an_accepted_module(icn: Program, guests: Path) -> None:
    done = icn("check", guests / "talk.wasm", "--json")
    answer = done.json
    assert done.code == 0
    assert set(answer) == KEYS
    assert answer["accepted"] is True
    assert answer["reason"] is None
    row = next(row for row in answer["imports"] if row["name"] == "log")
    assert row == {
        "module": "icn", "name": "log", "type": "(i32 i32) -> ()", "permission": "io", "fuel_base": 100,
        "fuel_per_byte": 1,
    }  # fmt: skip
    assert {"name": "run", "kind": "func", "type": "() -> (i32)"} in answer["exports"]
    assert answer["functions"] >= 1
    assert answer["prepared_bytes"] > 0
    assert answer["prepare_ms"] > 0
    told = icn("check", guests / "talk.wasm")
    assert told.code == 0
    assert "icn.put_output  (i32 i32) -> (i32)  io          100 + 1 a byte\n" in told.out


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "malformed"),
        (b"\0asm\1\0\0", "malformed"),
        (b"\0asm\2\0\0\0", "malformed"),
        (b"\0asm\1\0\0\0\1\xff", "malformed"),
        ('(module (import "env" "open" (func)))', "unsupported"),
        ("(module (memory 161))", "limit"),
        (b"\0asm\1\0\0\0\1\4\1\x60\0\0\3\2\1\0\x0a\5\1\3\0\x6a\x0b", "invalid"),  # i32.add on an empty stack
    ],
)
def test_a_refused_module(icn: Program, tmp_path: Path, data: bytes | str, kind: str) -> None:
    path = tmp_path / "m.wasm"
    path.write_bytes(bytes(wasmtime.wat2wasm(data)) if isinstance(data, str) else data)
    done = icn("check", path, "--json")
    answer = done.json
    assert done.code == 3
    assert set(answer) == KEYS | {"error"}
    assert answer["accepted"] is False
    assert answer["reason"]["kind"] == kind
    assert answer["reason"]["message"]
    assert set(answer["reason"]) == REASON
    assert answer["reason"]["hint"]
    assert answer["error"]["hint"]
    assert answer["error"]["code"] == "J008"
    told = icn("check", path)
    assert (told.code, told.out) == (3, "")
    assert kind in told.err


def test_pages_and_profiles_set_the_limits(icn: Program, tmp_path: Path) -> None:
    path = tmp_path / "m.wasm"
    path.write_bytes(bytes(wasmtime.wat2wasm("(module (memory 161))")))
    assert icn("check", path, "--pages", "161").code == 0
    assert icn("check", path, "--profile", "server").code == 0
    assert icn("check", path, "--profile", "termux-old-phone").code == 3


def test_the_prepared_module_is_written_for_any_engine(icn: Program, guests: Path, tmp_path: Path) -> None:
    out = tmp_path / "prepared.wasm"
    answer = icn("check", guests / "add.wasm", "--emit", out, "--json").json
    code = out.read_bytes()
    assert len(code) == answer["prepared_bytes"]
    wasmtime.Module(wasmtime.Engine(), code)
    refused = tmp_path / "none.wasm"
    assert icn("check", guests / "cut.wasm", "--emit", refused).code == 3
    assert not refused.exists()
    assert icn("check", guests / "add.wasm", "--emit", "-", "--json").code == 2


def test_a_file_over_the_limit_is_not_read_whole(icn: Program, tmp_path: Path) -> None:
    path = tmp_path / "big.wasm"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    done = icn("check", path, "--json")
    assert (done.code, done.json["reason"]["kind"]) == (3, "limit")
    refused = icn("run", path, "--json")
    assert (refused.code, refused.json["module"]) == (3, None)


SURVEYED = """(module
  (import "icn" "put_output" (func $put (param i32 i32) (result i32)))
  (memory (export "memory") 2 9) (table 3 funcref) (global (mut i32) (i32.const 0))
  (global (export "g") (mut i64) (i64.const 0)) (data (i32.const 0) "ab") (data (i32.const 9) "cd")
  (func $pair (param i32 i32 i32) (result i32 i32) (local i64 i64) (local.get 0) (local.get 1))
  (func (export "run") (result i32)
    (block (loop (if (i32.const 0) (then (nop)))
      (br_table 0 1 0 1 0 (i32.const 4))))
    (memory.fill (i32.const 0) (i32.const 1) (i32.const 2))
    (drop (memory.grow (i32.const 1)))
    (drop (i32.trunc_sat_f64_s (f64.mul (f64.const 1) (f64.const 2))))
    (drop (i64.extend8_s (i64.const 1)))
    (i32.add (call $pair (i32.const 1) (i32.const 2) (i32.const 3)))))"""


def test_what_an_accepted_module_needs(icn: Program, tmp_path: Path) -> None:
    path = tmp_path / "m.wasm"
    code = bytes(wasmtime.wat2wasm(SURVEYED))
    made = b"\x09producers\1\x0cprocessed-by\1\x05clang\x0619.1.7"
    path.write_bytes(code + bytes((0, len(made))) + made)
    answer = icn("check", path, "--json").json
    assert answer["memory"] == {"min": 2, "max": 9, "allowed": 9, "imported": False}
    assert answer["table"] == {"min": 3, "max": None}
    assert answer["entry"] == "run"
    assert answer["stack_bytes"] > 1 << 20
    assert answer["made_by"] == ["clang 19.1.7"]
    assert answer["features"] == [
        "bulk memory", "floating point", "memory.grow", "multi-value", "mutable globals", "saturating conversion",
        "sign extension",
    ]  # fmt: skip
    numbers = {"passive_bytes": 0} | {row["name"]: row["value"] for row in answer["limits"]}
    assert numbers == {
        "module_bytes": len(path.read_bytes()), "functions": 2, "types": 3, "imports": 1, "exports": 3, "globals": 2,
        "tables": 1, "table_entries": 3, "memory_pages": 2, "segments": 2, "locals": 5, "operands": 3, "nesting": 3,
        "params": 3, "results": 2, "br_table_entries": 4, "br_table_entries_total": 4, "block_work": 3 * 3,
        "function_bytes": numbers["function_bytes"], "name_bytes": 10, "passive_bytes": 0, "locals_total": 5,
        "carried_values": 2, "events": numbers["events"],
    }  # fmt: skip
    assert answer["module_bytes"] == len(path.read_bytes())
    assert answer["custom_bytes"] > len(made) + 2  # and the names that wat2wasm writes
    assert answer["growth"] == round(answer["prepared_bytes"] / (answer["module_bytes"] - answer["custom_bytes"]), 2)
    told = icn("check", path).out
    assert "entry     run: called without arguments, gives i32\n" in told
    assert "memory    2 pages at the start, 9 at most\n" in told
    assert "made by clang 19.1.7\n" in told
    (locals_row,) = [line.split() for line in told.splitlines() if line.startswith("locals ")]
    assert locals_row == ["locals", "5", "1400", "0", "%"]


def test_every_limit_of_a_module_is_shown(icn: Program, guests: Path) -> None:
    """All of `Limits` but the stack, which is no number of the module's."""
    from dataclasses import fields

    from icn_lite.wasm.limits import Limits

    shown = {row["name"] for row in icn("check", guests / "add.wasm", "--json").json["limits"]}
    assert {field.name for field in fields(Limits)} - shown == {"stack_bytes"}


@pytest.mark.parametrize(
    ("text", "entry", "words"),
    [
        ('(module (func (export "_start")))', "_start", "a WASI program"),
        ('(module (memory 1) (func (export "run") (param i32 i32) (result i32) (i32.const 0)))', "run", "at 1024"),
        ('(module (func (export "add") (param i32)))', None, "name one of its functions: add"),
        ("(module)", None, "none by itself"),
    ],
)
def test_the_entry_is_told(icn: Program, tmp_path: Path, text: str, entry: str | None, words: str) -> None:
    path = tmp_path / "m.wasm"
    path.write_bytes(bytes(wasmtime.wat2wasm(text)))
    assert icn("check", path, "--json").json["entry"] == entry
    assert words in icn("check", path).out


def test_a_refusal_names_function_place_and_flags(icn: Program, tmp_path: Path) -> None:
    path = tmp_path / "m.wasm"
    path.write_bytes(bytes(wasmtime.wat2wasm("(module (func) (func $shine (drop (i32x4.splat (i32.const 1)))))")))
    done = icn("check", path, "--json")
    reason = done.json["reason"]
    assert done.code == 3
    assert (reason["function"], reason["function_name"], reason["section"]) == (1, "shine", "code")
    assert reason["place"] == f"function 1 (shine), byte {reason['offset']:#x} (3 bytes into its body)"
    assert reason["flags"]["clang"] == "-mno-simd128"
    told = icn("check", path)
    assert (told.code, told.out) == (3, "")
    assert f"  where  {reason['place']}\n" in told.err
    assert "  clang  -mno-simd128\n" in told.err
    assert "  rustc  -C target-feature=-simd128\n" in told.err
    ran = icn("run", path)
    assert (ran.code, "  where  function 1 (shine)" in ran.err) == (3, True)


def test_the_second_time_comes_from_the_cache(icn: Program, guests: Path, home: Path) -> None:
    first = icn("check", guests / "talk.wasm", "--json").json
    assert first["cached"] is False
    assert not home.exists()  # a command that only looks makes no home, and keeps nothing
    icn("init")
    assert icn("check", guests / "talk.wasm", "--json").json["cached"] is False
    again = icn("check", guests / "talk.wasm", "--json").json
    assert again["cached"] is True
    assert {**again, "cached": False, "prepare_ms": 0} == {**first, "prepare_ms": 0}
    assert "taken from the cache" in icn("check", guests / "talk.wasm").out
    assert icn("check", guests / "talk.wasm", "--fresh", "--json").json["cached"] is False
    assert icn("check", guests / "talk.wasm", "--pages", "7", "--json").json["cached"] is False


def test_a_run_keeps_what_it_prepared_even_before_there_was_a_home(icn: Program, guests: Path, home: Path) -> None:
    assert icn("run", guests / "talk.wasm").code == 0
    assert len(list((home / "prepared").iterdir())) == 1
    assert icn("check", guests / "talk.wasm", "--json").json["cached"] is True
    assert icn("run", guests / "talk.wasm").code == 0
    assert len(list((home / "prepared").iterdir())) == 1


def test_a_home_that_others_may_write_to_gives_no_prepared_modules(icn: Program, guests: Path, home: Path) -> None:
    icn("init")
    assert icn("check", guests / "talk.wasm").code == 0
    home.chmod(0o777)
    try:
        assert icn("check", guests / "talk.wasm", "--json").json["cached"] is False
    finally:
        home.chmod(0o700)
