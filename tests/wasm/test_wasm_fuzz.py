"""The fuzz targets, briefly and with a fixed seed; `tools/fuzz` runs them for as long as one likes."""

from __future__ import annotations

from random import Random

import pytest
import wasm_engines as engines
import wasm_fuzz
from wasm_fuzz import TARGETS, Tally

from icn_lite.model.errors import ModuleError
from icn_lite.wasm.prepare import prepare

RUNS = {"decoder": 3000, "validator": 1500, "rewriting": 700}
ENOUGH = {"decoder": "accepted", "validator": "accepted", "rewriting": "calls"}  # what must not be rare


@pytest.fixture(scope="module")
def seeds() -> list[bytes]:
    return wasm_fuzz.corpus(20)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_nothing_is_found(name: str, seeds: list[bytes]) -> None:
    tally = Tally()

    def run() -> None:
        for number in range(RUNS[name]):
            rng = Random(f"ci/{name}/{number}")
            try:
                TARGETS[name](wasm_fuzz.mutate(rng, seeds), rng, tally)
            except Exception as error:
                raise AssertionError(f"input ci/{name}/{number}: {error}") from error

    engines.in_big_thread(run)
    print(f"{RUNS[name]} inputs from {len(seeds)} seeds: {dict(tally.seen)}, slowest {tally.slowest_ms} ms")
    assert tally.seen[ENOUGH[name]] >= RUNS[name] // 100


def test_a_finding_would_be_one() -> None:
    """The targets find what they are for: a validator that takes anything, a module that is not valid."""
    broken = b"\0asm\1\0\0\0\1\4\1\x60\0\0\3\2\1\0\x0a\5\1\3\0\x45\x0b"  # i32.eqz of nothing
    assert wasm_fuzz.is_valid(broken) is not None
    with pytest.raises(ModuleError):
        prepare(broken)
    whole = b"\0asm\1\0\0\0"
    assert wasm_fuzz.is_valid(whole) is None
