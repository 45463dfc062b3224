"""Random modules over the whole supported instruction set: prepared on two engines, untouched on wasmtime.

`ICN_LITE_LONG=1` makes a hundred times as many; `ICN_LITE_SEED` moves where it begins.
"""

from __future__ import annotations

import os
from collections import Counter
from random import Random

import pytest
import wasm_engines as engines
import wasm_walk
import wasmtime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wasm_calls import calls_of
from wasm_generator import HOST, Generator
from wasm_oracle import Checker

from icn_lite.wasm import opcodes as op

LONG = os.environ.get("ICN_LITE_LONG") == "1"
FIRST = int(os.environ.get("ICN_LITE_SEED", "0"))
MODULES = 2500 if LONG else 25  # in each of four parts

# Every instruction that a guest may use: the MVP, sign extension, saturation, bulk memory on memories.
SUPPORTED = frozenset(
    (
        *range(0x06), 0x0B, *range(0x0C, 0x12), op.DROP, op.SELECT, op.SELECT_T, *range(0x20, 0x25), *op.LOADS,
        *op.STORES, op.MEMORY_SIZE, op.MEMORY_GROW, *range(0x41, 0x45), *(c for c, row in enumerate(op.SIMPLE) if row),
        *(0xFC00 + code for code in op.SATURATING), *range(0xFC08, 0xFC0C),
    )
)  # fmt: skip


def check_module(rng: Random, floats: bool, size: int = 120) -> Counter[str]:
    """One module on three machines."""
    generator = Generator(rng, floats=floats, size=size)
    module = bytes(wasmtime.wat2wasm(generator.text))
    checker = Checker(module, HOST, exact=not generator.loose)
    found = checker.check(calls_of(checker.prepared, rng), rng)
    return Counter(modules=1, completed=found.completed, trapped=found.trapped, out_of_fuel=found.out_of_fuel)


@pytest.mark.parametrize("part", range(4))
def test_random_modules_agree(part: int) -> None:
    seen: Counter[str] = Counter()

    def run() -> None:
        for seed in range(FIRST + part * MODULES, FIRST + (part + 1) * MODULES):
            try:
                seen.update(check_module(Random(seed), floats=seed % 4 != 3))
            except Exception as error:
                raise AssertionError(f"seed {seed}: {error}") from error

    engines.in_big_thread(run)
    print(dict(seen))
    assert seen["modules"] == MODULES
    assert seen["completed"] > 3 * MODULES
    assert seen["trapped"] > MODULES // 50
    assert seen["out_of_fuel"] > MODULES


@settings(
    derandomize=True,
    deadline=None,
    max_examples=2000 if LONG else 15,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(st.randoms(use_true_random=False), st.booleans())
def test_hypothesis_finds_no_module_that_disagrees(source: Random, floats: bool) -> None:
    """The same with hypothesis's choices, which it can make smaller when something is found."""
    engines.in_big_thread(lambda: check_module(source, floats, size=30))


def test_the_generator_knows_every_supported_instruction() -> None:
    seen: Counter[int] = Counter()
    for seed in range(150):
        seen.update(wasm_walk.opcodes(bytes(wasmtime.wat2wasm(Generator(seed).text))))
    assert set(seen) <= SUPPORTED
    missing = SUPPORTED - set(seen)
    print(f"{len(SUPPORTED)} instructions, {len(missing)} never generated: {sorted(map(hex, missing))}")
    assert len(missing) <= len(SUPPORTED) // 20


def test_a_seed_gives_the_same_module_again() -> None:
    assert Generator(7).text == Generator(7).text
    assert Generator(7).text != Generator(8).text
