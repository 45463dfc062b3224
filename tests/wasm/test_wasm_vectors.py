"""The same results and fuel on every architecture: wasmtime made the vectors, the sandbox answers where this runs."""

from __future__ import annotations

import asyncio
import base64
import json
import platform
from typing import Any

import wasm_vectors
from wasm_vectors import FILE, KERNELS

from icn_lite.sandbox.outcome import RunRequest
from icn_lite.sandbox.pool import Pool, PoolConfig
from icn_lite.sandbox.value import Value, ValueType
from icn_lite.wasm.prepare import Prepared, prepare

WORDS: dict[int, ValueType] = {0x7F: "i32", 0x7E: "i64"}


async def ask(pool: Pool, prepared: Prepared, row: dict[str, Any], limit: int) -> dict[str, Any]:
    """The row as the sandbox would have written it."""
    export = next(e for e in prepared.exports if e.name == row["call"])
    assert export.type is not None
    args = tuple(Value(WORDS[t], bits) for t, bits in zip(export.type.params, row["args"], strict=True))
    outcome = await pool.run(RunRequest(prepared, row["call"], args, fuel_limit=limit, timeout_ms=120_000))
    asked = {"call": row["call"], "args": row["args"]}
    if outcome.status != "completed":
        return {**asked, "trap": outcome.trap or outcome.status}
    return {**asked, "results": [value.bits for value in outcome.results], "fuel": outcome.fuel_used}


async def test_results_and_fuel_are_what_wasmtime_said() -> None:
    rows = json.loads(FILE.read_text())
    made = 0
    async with Pool(PoolConfig(workers=2)) as pool:
        for row in rows:
            module = base64.b64decode(row["module"]) if "module" in row else (KERNELS / row["file"]).read_bytes()
            assert wasm_vectors.cid_of(module) == row["cid"], "the module is not the one that was asked about"
            prepared = prepare(module)
            for call in row["calls"]:
                assert await ask(pool, prepared, call, 1 << 40) == call, row["cid"]
                if "fuel" in call:
                    short, exact = await asyncio.gather(
                        ask(pool, prepared, call, call["fuel"] - 1), ask(pool, prepared, call, call["fuel"])
                    )
                    assert exact == call
                    assert short["trap"] == "out_of_fuel"
                made += 1
    print(f"{made} calls of {len(rows)} modules on {platform.machine()}")
    assert made > 60
