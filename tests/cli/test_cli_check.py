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
