"""Writes `vectors/fuel-1.json`: what stock wasmtime, on whatever machine this is run, says of programs.

`python tests/wasm/wasm_vectors.py` writes it anew, from untouched modules on wasmtime with `consume_fuel` and canonical
NaNs, never from our own output. `test_wasm_vectors.py` then asks the same of the sandbox on every architecture.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from random import Random
from typing import Any

TOP = Path(__file__).resolve().parents[2]
FILE = Path(__file__).parent / "vectors" / "fuel-1.json"
KERNELS = TOP / "tools" / "bench_kernels"
PROGRAMS = 24


def cid_of(module: bytes) -> str:
    from icn_lite.model.cid import Cid

    return str(Cid.of_raw(module))


def rows() -> list[dict[str, Any]]:
    """One row a module: its CID, where it is, and calls, each on a fresh instance."""
    import wasmtime
    from wasm_calls import calls_of
    from wasm_generator import Generator

    from icn_lite.wasm.prepare import prepare

    found = []
    for path in sorted(KERNELS.glob("*.wasm")):
        module = path.read_bytes()
        found.append({"cid": cid_of(module), "file": path.name, "calls": [answer(module, "run", [n]) for n in (1, 2)]})
    seed = 0
    while len(found) < len(list(KERNELS.glob("*.wasm"))) + PROGRAMS:
        generator = Generator(seed, floats=seed % 4 != 3, size=60)
        seed += 1
        module = bytes(wasmtime.wat2wasm(generator.text))
        if generator.loose or "(import" in generator.text:
            continue
        prepared = prepare(module)
        if prepared.start is not None:
            continue  # the cost of starting is another test's
        calls = [answer(module, name, args) for name, args in calls_of(prepared, Random(seed)) if name != "spill"]
        packed = base64.b64encode(module).decode()
        found.append({"cid": cid_of(module), "module": packed, "calls": calls})
    return found


def answer(module: bytes, name: str, args: list[int]) -> dict[str, Any]:
    """What the untouched module gives: results as bits and fuel, or its trap."""
    from wasm_engines import Reference

    reference = Reference(module)
    widths = [32 if str(kind) == "i32" else 64 for kind in reference.exports[name].type(reference.store).results]
    theirs = reference.call(name, args)
    row: dict[str, Any] = {"call": name, "args": args}
    if theirs.results is None:
        return {**row, "trap": theirs.trap}
    assert all(bits < 1 << width for bits, width in zip(theirs.results, widths, strict=True))
    return {**row, "results": list(theirs.results), "fuel": theirs.fuel_used}


if __name__ == "__main__":
    sys.path[:0] = [str(TOP), str(Path(__file__).parent)]
    FILE.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows()) + "\n]\n")
