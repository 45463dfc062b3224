"""What looking at the device costs, and how fast the demo's guest verifies, beside hashlib and the unmetered guest."""

from __future__ import annotations

import asyncio
import hashlib
import statistics
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import wasm3

from icn_lite.device.catalogue import load_profile
from icn_lite.device.governor import GovernorState, step
from icn_lite.device.sensors.hub import SensorHub
from icn_lite.device.sensors.rows import default_sources
from icn_lite.resources import guest_module
from icn_lite.wasm.prepare import prepare

RUNS = 7
READS = 50
STEPS = 500
DATA = bytes(range(256)) * 4096
FUEL = 10**12
FIXTURES = Path(__file__).resolve().parents[2] / "tests" / "device" / "fixtures"
# Three reads a minute when idle, and 5 ms of CPU for all of them.
READ_GOAL_MS = 1.6

Row = dict[str, str | int | float | bool | None]


def rows() -> Iterator[Row]:
    yield from _sensors()
    yield from _manifest()


def _sensors() -> Iterator[Row]:
    hub = SensorHub(default_sources(root=FIXTURES / "pi-4"))
    phone = SensorHub(default_sources(root=FIXTURES / "phone-sysfs"))
    board_ms, phone_ms = asyncio.run(_read_ms(hub)), asyncio.run(_read_ms(phone))
    yield {"name": "read all sensors (Pi 4's files)", "value": board_ms, "unit": "ms CPU", "goal": READ_GOAL_MS,
           "ok": board_ms <= READ_GOAL_MS}  # fmt: skip
    yield {"name": "read all sensors (a phone's files)", "value": phone_ms, "unit": "ms CPU"}
    readings = asyncio.run(hub.read())
    profile, state = load_profile("pi-4"), GovernorState()
    step_ms = _cpu_ms(lambda: step(profile, state, readings, 0), STEPS)
    yield {"name": "one step of the governor", "value": round(step_ms * 1000, 1), "unit": "µs CPU"}


async def _read_ms(hub: SensorHub) -> float:
    await hub.read()
    spent = []
    for _ in range(RUNS):
        before = time.process_time()
        for _ in range(READS):
            await hub.read()
        spent.append((time.process_time() - before) * 1000 / READS)
    return round(statistics.median(spent), 2)


def _manifest() -> Iterator[Row]:
    """One file of 1 MiB; the prepared and the plain guest take turns in the same process."""
    shard = struct.pack("<4sIIII32s", b"ICNM", 1, 1, 1, len(DATA), hashlib.sha256(DATA).digest()) + b"f" + DATA
    plain = guest_module("manifest")
    prepared = prepare(plain)
    metered_s, plain_s = [], []
    for _ in range(RUNS):
        metered_s.append(_verify_s(prepared.code, shard, prepared.fuel_global))
        plain_s.append(_verify_s(plain, shard, None))
    native = _cpu_ms(lambda: hashlib.sha256(DATA).digest(), 20) / 1000
    metered, unmetered = statistics.median(metered_s), statistics.median(plain_s)
    yield {
        "name": "manifest guest, SHA-256 of 1 MiB",
        "value": round(len(DATA) / metered / 1e6, 1),
        "unit": "MB/s",
        "baseline": round(len(DATA) / unmetered / 1e6, 1),
        "peer": f"hashlib {len(DATA) / native / 1e6:.0f}",
    }


def _verify_s(code: bytes, shard: bytes, fuel_global: str | None) -> float:
    """CPU seconds of one run."""
    environment = wasm3.Environment()
    runtime = environment.new_runtime(256 * 1024)
    module = environment.parse_module(code)
    runtime.load(module)

    def get_input(ptr: int, max_len: int) -> int:
        if max_len:
            runtime.get_memory(0)[ptr : ptr + len(shard)] = shard
        return len(shard)

    module.link_function("icn", "get_input", "i(ii)", get_input)
    module.link_function("icn", "put_output", "i(ii)", lambda ptr, size: 0)
    module.link_function("icn", "log", "v(ii)", lambda ptr, size: None)
    if fuel_global is not None:
        module.set_global(fuel_global, FUEL)
    run = runtime.find_function("run")
    before = time.process_time()
    code_of_exit = run()
    spent = time.process_time() - before
    if code_of_exit != 0:
        raise RuntimeError(f"the manifest guest ended with {code_of_exit}")
    return spent


def _cpu_ms(call: Callable[[], object], calls: int) -> float:
    """Median CPU milliseconds a call."""
    spent = []
    for _ in range(RUNS):
        before = time.process_time()
        for _ in range(calls):
            call()
        spent.append((time.process_time() - before) * 1000 / calls)
    return statistics.median(spent)
