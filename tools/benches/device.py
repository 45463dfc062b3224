"""What looking at the device costs, and how fast the demo's guest verifies, beside hashlib and the unmetered guest."""

from __future__ import annotations

import asyncio
import hashlib
import os
import statistics
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import wasm3

from icn_lite.device.catalogue import load_profile
from icn_lite.device.governor import GovernorState, step
from icn_lite.device.sensors.command import run_command
from icn_lite.device.sensors.hub import SensorHub
from icn_lite.device.sensors.rows import default_sources
from icn_lite.node.care import IDLE_MS
from icn_lite.resources import guest_module
from icn_lite.wasm.prepare import prepare

RUNS = 7
READS = 50
STEPS = 500
DATA = bytes(range(256)) * 4096
FUEL = 10**12
FIXTURES = Path(__file__).resolve().parents[2] / "tests" / "device" / "fixtures"
LAPTOP = "laptop-two-batteries"
MINUTES = 20
PROGRAMS = 20
# Of CPU for everything that is read in an idle minute.
MINUTE_GOAL_MS = 5

Row = dict[str, str | int | float | bool | None]


def rows() -> Iterator[Row]:
    yield from _sensors()
    yield from _manifest()


def _sensors() -> Iterator[Row]:
    for name, tree in (("a Pi 4's files", "pi-4"), ("a phone's files", "phone-sysfs"), ("a laptop's", LAPTOP)):
        spent = [asyncio.run(_idle_minutes_ms(tree)) for _ in range(RUNS)]
        minute_ms = round(statistics.median(spent), 2)
        yield {"name": f"sensors, a minute idle ({name})", "value": minute_ms, "unit": "ms CPU", "goal": MINUTE_GOAL_MS,
               "ok": minute_ms <= MINUTE_GOAL_MS}  # fmt: skip
    look_ms = asyncio.run(_look_ms("phone-sysfs"))
    yield {"name": "sensors, a look under load (a phone's files)", "value": look_ms, "unit": "ms CPU"}
    wakes = asyncio.run(_wakes("phone-sysfs"))
    yield {"name": "wake-ups of the loop a look", "value": wakes, "unit": "", "goal": 1, "ok": wakes <= 1}
    yield {"name": "asking one program (/bin/true)", "value": _program_ms(), "unit": "ms CPU"}
    readings = asyncio.run(SensorHub(default_sources(root=FIXTURES / "pi-4")).read())
    profile, state = load_profile("pi-4"), GovernorState()
    step_ms = _cpu_ms(lambda: step(profile, state, readings, 0), STEPS)
    yield {"name": "one step of the governor", "value": round(step_ms * 1000, 1), "unit": "µs CPU"}


async def _idle_minutes_ms(tree: str) -> float:
    """CPU of all threads for a minute of looks as an idle node takes them, on a clock that needn't be waited for."""
    now_ms = [0]
    hub = SensorHub(default_sources(root=FIXTURES / tree), clock=lambda: now_ms[0])
    await hub.read(busy=False)
    before = time.process_time()
    for now_ms[0] in range(IDLE_MS, MINUTES * 60_000 + 1, IDLE_MS):
        await hub.read(busy=False)
    return (time.process_time() - before) * 1000 / MINUTES


async def _look_ms(tree: str) -> float:
    hub = SensorHub(default_sources(root=FIXTURES / tree))
    await hub.read()
    spent = []
    for _ in range(RUNS):
        before = time.process_time()
        for _ in range(READS):
            await hub.read()
        spent.append((time.process_time() - before) * 1000 / READS)
    return round(statistics.median(spent), 2)


async def _wakes(tree: str) -> float:
    """How often another thread wakes the loop, a look."""
    hub, loop = SensorHub(default_sources(root=FIXTURES / tree)), asyncio.get_running_loop()
    await hub.read()
    calls = 0
    wake = loop.call_soon_threadsafe

    def counted(*args: Any, **kwargs: Any) -> asyncio.Handle:
        nonlocal calls
        calls += 1
        return wake(*args, **kwargs)

    loop.call_soon_threadsafe = counted  # type: ignore[method-assign]
    for _ in range(READS):
        await hub.read()
    return calls / READS


def _program_ms() -> float:
    """CPU of this process and of the program."""
    spent = []
    for _ in range(RUNS):
        before = sum(os.times()[:4])
        for _ in range(PROGRAMS):
            run_command(("/bin/true",), 10_000)
        spent.append((sum(os.times()[:4]) - before) * 1000 / PROGRAMS)
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
