"""What a run in a process of its own costs: time, runs a second, resident memory.

The baseline of a run is the same prepared module in the node's own process (parse, load, compile, call), which is
what the process is paid on top of; the peer is a fresh `python -I -S` for each run. A trivial guest, so that the
figures are the sandbox's. Every figure suffers on a busy machine: the load stands in the document's `machine`.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import wasm3

from icn_lite.node.prepared_cache import PreparedCache
from icn_lite.node.preparing import prepare_module
from icn_lite.resources import guest_module
from icn_lite.sandbox.engine_wasm3 import Wasm3Engine
from icn_lite.sandbox.forkserver import probe_engine
from icn_lite.sandbox.outcome import RunRequest
from icn_lite.sandbox.pool import Pool, PoolConfig
from icn_lite.wasm.limits import DEFAULT_LIMITS
from icn_lite.wasm.prepare import Prepared, prepare
from icn_lite.wasm.sections import sections as module_sections

SEQUENTIAL = 300
CONCURRENT = 400
ROUNDS = 3
FRESH = 15
LOADING_S = 0.5  # until the guest has been loaded and runs, on a slow device too
RUN_GOAL_MS = 2.5
RATE_GOAL = 350
ZYGOTE_GOAL_MB = 10.0
CHILD_GOAL_MB = 3.0
CACHE_GOAL_MS = 2.0
CACHED = 100
LARGE_KB = 100  # the module that the goals of preparing speak of

Row = dict[str, str | int | float | bool | None]

# (module (memory 1) (func (export "run") (result i32) (i32.const 42)))
TRIVIAL = bytes.fromhex("0061736d010000000105016000017f03020100050301000107070103" + "72756e00000a0601040041" + "2a0b")
# (module (func (export "run") (result i32) (loop (br 0)) (i32.const 0)))
SPIN = bytes.fromhex("0061736d010000000105016000017f0302010007070103" + "72756e00000a0b010900" + "03400c000b41000b")


def rows() -> Iterator[Row]:
    yield from _cache_rows()
    yield from asyncio.run(_wasm3_rows())
    if probe_engine("wasmtime") is None:
        yield from asyncio.run(_wasmtime_rows())


def _cache_rows() -> Iterator[Row]:
    """The second use of a module: hashing it, finding the file, checking its digest, decoding it. Files in memory."""
    yield _cached("second use of the demo's guest, from the cache", guest_module("manifest"))
    yield _cached(f"second use of a module of {LARGE_KB} kB, from the cache", _large_module())


def _cached(name: str, module: bytes) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        before = time.perf_counter()
        prepared = prepare(module)
        first_ms = (time.perf_counter() - before) * 1000
        cache = PreparedCache(Path(folder) / "prepared")
        prepare_module(module, DEFAULT_LIMITS, cache)
        spent = []
        for _ in range(CACHED):
            before = time.perf_counter()
            found = prepare_module(module, DEFAULT_LIMITS, cache)
            spent.append((time.perf_counter() - before) * 1000)
            if found != prepared:
                raise RuntimeError("the cache gave another module")
    second = statistics.median(spent)
    return {
        "name": name,
        "value": round(second, 2),
        "unit": "ms",
        "baseline": round(first_ms, 1),
        "goal": CACHE_GOAL_MS,
        "ok": second < CACHE_GOAL_MS,
    }


def _large_module() -> bytes:
    """The guest's functions over and over, each behind its own type: code like a compiler's, as long as wanted."""
    module = guest_module("manifest")
    sections = {section.name: module[section.start : section.end] for section in module_sections(module)}
    count, code = sections["code"][0], sections["code"][1:]
    times = LARGE_KB * 1000 // len(code)
    sections["function"] = _u32(count * times) + sections["function"][1:] * times
    sections["code"] = _u32(count * times) + code * times
    out = bytearray(module[:8])
    for section in module_sections(module):
        if section.id:
            body = sections[section.name]
            out += bytes((section.id,)) + _u32(len(body)) + body
    return bytes(out)


def _u32(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


async def _wasm3_rows() -> list[Row]:
    guest = prepare(TRIVIAL)
    found: list[Row] = []
    async with Pool(PoolConfig(workers=1)) as pool:
        warm = await _sequential_ms(pool, guest)
    inside, fresh = _in_process_ms(guest), _fresh_process_ms(guest)
    found.append(
        {
            "name": "warm run of a trivial guest, median",
            "value": round(warm, 2),
            "unit": "ms",
            "baseline": round(inside, 2),
            "peer": f"new process {fresh:.1f}",
            "goal": RUN_GOAL_MS,
            "ok": warm <= RUN_GOAL_MS,
        }
    )
    async with Pool(PoolConfig(workers=1, spares=0)) as pool:
        found.append(
            {
                "name": "… without a spare child",
                "value": round(await _sequential_ms(pool, guest), 2),
                "unit": "ms",
                "baseline": round(inside, 2),
            }
        )
    async with Pool(PoolConfig(workers=2, queue=CONCURRENT)) as pool:
        rate, cpu_ms = await _rate(pool, guest)
        found.append(
            {
                "name": "runs a second, two workers",
                "value": round(rate),
                "unit": "1/s",
                "goal": RATE_GOAL,
                "ok": rate >= RATE_GOAL,
            }
        )
        found.append(
            {"name": "processor time a run, node, zygote and child", "value": round(cpu_ms, 2), "unit": "ms CPU"}
        )
        found += await _memory(pool)
    return found


async def _wasmtime_rows() -> list[Row]:
    async with Pool(PoolConfig(workers=1, engine="wasmtime")) as pool:
        warm = await _sequential_ms(pool, prepare(TRIVIAL), SEQUENTIAL // 10)
    return [{"name": "warm run of a trivial guest, engine wasmtime", "value": round(warm, 2), "unit": "ms"}]


async def _sequential_ms(pool: Pool, guest: Prepared, count: int = SEQUENTIAL) -> float:
    request = RunRequest(guest)
    for _ in range(10):
        await pool.run(request)
    spent = []
    for _ in range(count):
        before = time.perf_counter()
        outcome = await pool.run(request)
        spent.append((time.perf_counter() - before) * 1000)
        if outcome.status != "completed":
            raise RuntimeError(f"the guest did not complete: {outcome.detail}")
    return statistics.median(spent)


def _in_process_ms(guest: Prepared) -> float:
    spent = []
    for _ in range(50):
        before = time.perf_counter()
        engine = Wasm3Engine(guest.stack_bytes)
        engine.load(guest.code, [])
        engine.set_global(guest.fuel_global, 1000)
        engine.call("run", [], ["i32"])
        spent.append((time.perf_counter() - before) * 1000)
    return statistics.median(spent)


def _fresh_process_ms(guest: Prepared) -> float:
    """A new interpreter that loads the engine and runs the same module, without any jail."""
    folder = str(Path(wasm3.__file__).parent)
    script = (
        f"import sys; sys.path.append({folder!r}); import wasm3; e = wasm3.Environment(); r = e.new_runtime(65536); "
        f"m = e.parse_module({guest.code!r}); r.load(m); m.set_global({guest.fuel_global!r}, 1000); "
        "r.find_function('run')()"
    )
    spent = []
    for _ in range(FRESH):
        before = time.perf_counter()
        subprocess.run([sys.executable, "-I", "-S", "-c", script], check=True)
        spent.append((time.perf_counter() - before) * 1000)
    return statistics.median(spent)


async def _rate(pool: Pool, guest: Prepared) -> tuple[float, float]:
    request = RunRequest(guest)
    rates, spent = [], []
    for _ in range(ROUNDS):
        own, zygote, before = time.process_time(), _zygote_cpu_s(pool), time.perf_counter()
        await asyncio.gather(*(pool.run(request) for _ in range(CONCURRENT)))
        rates.append(CONCURRENT / (time.perf_counter() - before))
        spent.append((time.process_time() - own + _zygote_cpu_s(pool) - zygote) * 1000 / CONCURRENT)
    return statistics.median(rates), statistics.median(spent)


def _zygote_cpu_s(pool: Pool) -> float:
    """Of the zygote and the children that it has reaped."""
    times = psutil.Process(pool.zygote_pid).cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


async def _memory(pool: Pool) -> list[Row]:
    zygote = psutil.Process(pool.zygote_pid).memory_info().rss / 1e6
    own = _bare_python_mb()
    running = asyncio.create_task(pool.run(RunRequest(prepare(SPIN), fuel_limit=2**60)))
    await asyncio.sleep(LOADING_S)
    child = _private_mb(pool.child_pids[0])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    found: list[Row] = [
        {
            "name": "resident memory of the zygote",
            "value": round(zygote, 2),
            "unit": "MB",
            "baseline": round(own, 2),
            "goal": ZYGOTE_GOAL_MB,
            "ok": zygote < ZYGOTE_GOAL_MB,
        }
    ]
    if child is not None:
        found.append(
            {
                "name": "private memory of a child",
                "value": round(child, 2),
                "unit": "MB",
                "goal": CHILD_GOAL_MB,
                "ok": child < CHILD_GOAL_MB,
            }
        )
    return found


def _private_mb(pid: int) -> float | None:
    """None where the kernel hides it."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    pages = [int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_")]
    return sum(pages) * 1024 / 1e6


def _bare_python_mb() -> float:
    """Resident memory of an interpreter that does nothing but wait."""
    command = [sys.executable, "-I", "-S", "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        rss = psutil.Process(process.pid).memory_info().rss
        process.kill()
    return float(rss) / 1e6
