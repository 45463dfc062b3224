"""What tests of metering share: the flow of a module, and the proof that its fuel is exact."""

from __future__ import annotations

from functools import lru_cache

import wasm_engines as engines
import wasmtime

from icn_lite.wasm.decode import decode
from icn_lite.wasm.flow import Flow
from icn_lite.wasm.limits import DEFAULT_LIMITS
from icn_lite.wasm.plan import make_plan
from icn_lite.wasm.prepare import Prepared, prepare
from icn_lite.wasm.types import TrapFlag
from icn_lite.wasm.validate import validate


def flows(text: str) -> list[Flow]:
    module = decode(bytes(wasmtime.wat2wasm(text)), DEFAULT_LIMITS)
    code = validate(module, DEFAULT_LIMITS)
    plan = make_plan(module, code, [])
    return [plan.functions[function.index].flow for function in code]


@lru_cache(maxsize=64)
def built(text: str) -> tuple[bytes, Prepared]:
    """A module, and the same prepared: made once for all arguments."""
    module = bytes(wasmtime.wat2wasm(text))
    return module, prepare(module)


def check(text: str, args: list[int], *, edges: bool = True) -> int | None:
    """Both engines agree with wasmtime's count, and the limit is exact; returns the fuel, or None for a trap."""
    module, prepared = built(text)
    small = engines.Wasm3Run(prepared).call("run", args)
    large = engines.WasmtimeRun(prepared).call("run", args)
    assert small == large
    expected = engines.Reference(module).call("run", args)
    assert small.results == expected.results
    if small.results is None:
        return None
    total = engines.PLENTY - small.fuel_left
    assert total == expected.fuel_used
    if edges:
        for fuel in {total, total - 1, total // 2, total - 2, 1, 0}:
            for run in (engines.Wasm3Run(prepared), engines.WasmtimeRun(prepared)):
                outcome = run.call("run", args, fuel)
                if fuel >= total:
                    assert (outcome.results, outcome.fuel_left) == (small.results, 0)
                else:
                    assert (outcome.results, outcome.flag) == (None, TrapFlag.OUT_OF_FUEL)
                    assert outcome.fuel_left < 0
    return total
