"""The shipped guests as a node runs them: prepared, in the sandbox, within every shipped profile's limits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from guest_engines import BUILD
from manifest_format import file, pack, report

from icn_lite.device.catalogue import list_profiles, load_profile
from icn_lite.sandbox.outcome import RunRequest
from icn_lite.sandbox.pool import Pool, PoolConfig
from icn_lite.wasm.limits import DEFAULT_LIMITS
from icn_lite.wasm.prepare import prepare

GUESTS = ("echo", "manifest", "sum")
VECTORS = Path(__file__).parent / "vectors"
FUEL = 10**10


def guest(name: str) -> bytes:
    return (BUILD / f"{name}.wasm").read_bytes()


@pytest.mark.parametrize("profile", list_profiles())
@pytest.mark.parametrize("name", GUESTS)
def test_every_profile_takes_the_shipped_guests(name: str, profile: str) -> None:
    chosen = load_profile(profile)
    limits = replace(DEFAULT_LIMITS, memory_pages=chosen.guest.memory_pages, **chosen.wasm)
    prepared = prepare(guest(name), limits)
    assert prepared.memory_max_pages <= chosen.guest.memory_pages


@pytest.mark.parametrize("profile", list_profiles())
def test_every_profile_is_within_what_a_run_may_ask_for(profile: str) -> None:
    policy = load_profile(profile).guest
    request = RunRequest(
        prepare(guest("sum")),
        timeout_ms=policy.timeout_s * 1000,
        max_pages=policy.memory_pages,
        output_limit=policy.output_bytes,
        log_limit=policy.log_bytes,
    )
    assert request.max_pages == policy.memory_pages


async def test_vectors_hold_in_the_sandbox() -> None:
    prepared = prepare(guest("manifest"))
    async with Pool(PoolConfig(workers=1)) as pool:
        for path in sorted(VECTORS.glob("*.json")):
            vector = json.loads(path.read_text())
            outcome = await pool.run(RunRequest(prepared, input=bytes.fromhex(vector["input"]), fuel_limit=FUEL))
            assert outcome.status == "completed", f"{path.stem}: {outcome}"
            assert [value.bits for value in outcome.results] == [vector["exit_code"]]
            if vector["exit_code"] == 0:  # else the sandbox makes the exit code the output, which is its own affair
                assert outcome.output.hex() == vector["output"]
            assert bool(outcome.log) == (vector["exit_code"] != 0)


async def test_a_megabyte_costs_what_the_readme_says() -> None:
    files = [file("large", bytes(1 << 20))]
    async with Pool(PoolConfig(workers=1)) as pool:
        outcome = await pool.run(RunRequest(prepare(guest("manifest")), input=pack(files), fuel_limit=FUEL))
    assert outcome.output == report(files)
    # 86.5 fuel a byte, and one a byte for what the host copies
    assert 87 << 20 < outcome.fuel_used < 88 << 20
