"""The two engines behind the port give the same answers for the same prepared module, whatever the module."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import wasmtime
from absent import NEEDS_WASMTIME
from sandbox_kit import ENGINE_NAMES, request
from warm import warm_run

from icn_lite.model.errors import FailureReason
from icn_lite.sandbox.engine import to_bits, to_python
from icn_lite.sandbox.entry import type_words
from icn_lite.sandbox.outcome import RunOutcome, RunRequest
from icn_lite.sandbox.pool import Pool, PoolConfig, run_once
from icn_lite.sandbox.value import BITS, VALUE_TYPES, Value
from icn_lite.wasm.limits import DEFAULT_LIMITS
from icn_lite.wasm.prepare import prepare

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wasm"))
from wasm_generator import HOST, Generator

SEEDS = range(700, 780 if os.environ.get("ICN_LITE_LONG") == "1" else 712)
BITS_OF_INTEREST = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FF8000000000001, 0x7FF0000000000001, 0x7FA00000, 0x80)


def facts(outcome: RunOutcome) -> RunOutcome:
    """Everything but what tells about the device."""
    return replace(outcome, engine="", cpu_ms=0, wall_ms=0)


def runs_of(seed: int) -> list[RunRequest]:
    """Each exported function of a generated module, once with arguments by chance, with much fuel or little."""
    rng = Random(seed)
    prepared = prepare(bytes(wasmtime.wat2wasm(Generator(seed).text)), host=HOST)
    requests = []
    for export in prepared.exports:
        if export.type is None:
            continue
        args = []
        for kind in type_words(export.type.params):
            bits = rng.choice([rng.getrandbits(64), rng.choice(BITS_OF_INTEREST), rng.randrange(20)])
            args.append(Value(kind, bits % (1 << BITS[kind])))
        fuel = rng.choice([10**7, 10**7, rng.randrange(2000)])
        requests.append(RunRequest(prepared, invoke=export.name, args=tuple(args), fuel_limit=fuel))
    return requests


@NEEDS_WASMTIME
async def test_generated_modules_end_alike() -> None:
    print(f"seeds {SEEDS.start} to {SEEDS.stop - 1}")
    seen: set[str] = set()
    requests = [run for seed in SEEDS for run in runs_of(seed)]
    outcomes = []
    for engine in ENGINE_NAMES:
        async with Pool(PoolConfig(engine=engine, queue=len(requests))) as pool:
            outcomes.append(await asyncio.gather(*(pool.run(each) for each in requests)))
    for each, first, second in zip(requests, *outcomes, strict=True):
        assert facts(first) == facts(second), each.invoke
        assert first.status != "failed", first.detail
        seen.add(first.status)
    assert seen == {"completed", "trapped", "out_of_fuel"}


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_a_recursion_through_forty_loops_traps_and_does_not_crash(engine: str) -> None:
    """Each enclosing loop costs native stack; the depth budget ends it long before the stack does."""
    loops, ends = "(loop " * 40, ")" * 40
    text = f"""(module (func $f (param i32) (result i32)
      {loops} (drop (call $f (i32.add (local.get 0) (i32.const 1)))) {ends} (i32.const 1))
      (func (export "run") (result i32) (call $f (i32.const 0))))"""
    outcome = warm_run(request(text), engine)
    assert (outcome.status, outcome.trap) == ("trapped", "call_stack_exhausted")


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_a_megabyte_passes_through(engine: str) -> None:
    text = """(module (import "icn" "put_output" (func $put (param i32 i32) (result i32)))
      (memory 40) (func (export "run") (param i32 i32) (result i32) (call $put (local.get 0) (local.get 1))))"""
    data = Random(1).randbytes(2 << 20)
    outcome = warm_run(request(text, input=data), engine)
    assert (outcome.status, outcome.output == data) == ("completed", True)


def test_floats_keep_their_bits_but_for_signalling_nans() -> None:
    rng = Random(7)
    for kind in VALUE_TYPES:
        quiet = {"f32": 0x400000, "f64": 1 << 51}.get(kind, 0)
        for _ in range(2000):
            bits = rng.choice([rng.getrandbits(BITS[kind]), rng.choice(BITS_OF_INTEREST) % (1 << BITS[kind])])
            assert to_bits(kind, to_python(kind, bits)) in (bits, bits | quiet)


def test_pages_that_the_device_can_not_give_fail_the_run() -> None:
    """Not -1 to the guest: that answer would depend on the device. The child is made to believe in a small limit."""
    text = """(module (memory 1) (func (export "run") (result i32) (memory.grow (i32.const 20000))))"""
    prepared = prepare(bytes(wasmtime.wat2wasm(text)), replace(DEFAULT_LIMITS, memory_pages=30_000))
    outcome = run_once(RunRequest(replace(prepared, memory_max_pages=10), max_pages=10, fuel_limit=10**6))
    assert (outcome.status, outcome.failure) == ("failed", FailureReason.OUT_OF_MEMORY)
    assert "pages" in outcome.detail
