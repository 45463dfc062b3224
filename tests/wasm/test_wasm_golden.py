"""Repairs as they are written: pairs of `.wat` files, of a module and of what becomes of its own parts.

Their functions are short and straight, so that their callers pay for them and nothing of the metering stands inside.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import wasmtime

from icn_lite.wasm.prepare import prepare

GOLDEN = Path(__file__).parent / "golden"

pytestmark = pytest.mark.skipif(shutil.which("wasm2wat") is None, reason="wasm2wat is missing (Debian package wabt)")


def own_parts(code: bytes, functions: int) -> str:
    """The text of a prepared module without our functions, types and names."""
    text = subprocess.run(["wasm2wat", "-"], input=code, check=True, capture_output=True).stdout.decode()
    fields = re.split(r"\n  (?=\()", text.rstrip().removesuffix(")"))[1:]
    kept = []
    for field in fields:
        number = re.match(r"\(func \(;(\d+);\)", field)
        if field.startswith(("(type", "(export")) or (number and int(number[1]) >= functions):
            continue
        kept.append(field)
    globals_ = [field for field in kept if field.startswith("(global")]
    ours = set(globals_[-3:])  # fuel, trap, depth
    return "\n".join(field for field in kept if field not in ours) + "\n"


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.wat") if ".out" not in path.name))
def test_a_repair_is_written_as_it_stands_here(name: str) -> None:
    module = bytes(wasmtime.wat2wasm((GOLDEN / f"{name}.wat").read_text()))
    prepared = prepare(module)
    assert own_parts(prepared.code, prepared.functions) == (GOLDEN / f"{name}.out.wat").read_text()
