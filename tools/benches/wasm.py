"""Preparation: what it takes, and what metering and canonical NaNs cost a guest on the interpreter, kernel by kernel.

Every figure stands beside the same kernel untouched, run in turns with it in the same process, and is the median over
several places in memory: where the engine's code lies decides how the host predicts its jumps. Metering is measured
with the repairs of NaNs left out, the repairs with the metering left out, and once more both together as `prepare`
gives them. The peer is wasmtime's own fuel, measured in the same way on Cranelift and on Pulley, its interpreter.
"""

from __future__ import annotations

import math
import statistics
import threading
import time
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest.mock import patch

import wasm3

from icn_lite.wasm import prepare as preparation
from icn_lite.wasm.body import FunctionCode
from icn_lite.wasm.decode import decode
from icn_lite.wasm.encode import Draft, encode
from icn_lite.wasm.flow import Flow
from icn_lite.wasm.hostfuncs import HOST_FUNCTIONS, HostFunction
from icn_lite.wasm.limits import DEFAULT_LIMITS, Limits
from icn_lite.wasm.module import Module
from icn_lite.wasm.opcodes import I32
from icn_lite.wasm.plan import FunctionPlan, Plan, make_plan
from icn_lite.wasm.prepare import Prepared, prepare
from icn_lite.wasm.types import FuncType
from icn_lite.wasm.validate import validate

FOLDER = Path(__file__).resolve().parents[1] / "bench_kernels"
GUESTS = Path(__file__).resolve().parents[1] / "guests" / "build"
# Rounds that take 5 to 50 ms on a PC.
ROUNDS = {
    "calls": 200_000, "collatz": 20_000, "coremark_like": 100, "crc32": 200, "fib": 26, "hashtable": 30,
    "levenshtein": 6, "mandelbrot": 120, "matmul": 10, "nbody": 8000, "quicksort": 3, "sha256": 1000, "sieve": 1,
    "spectral": 60, "strlen": 80, "vm": 400_000,
}  # fmt: skip
FLOAT_KERNELS = frozenset(("mandelbrot", "matmul", "nbody", "spectral"))
RUNS = 21
PLACES = 9  # how often each engine is made anew, its code each time elsewhere
RUNS_A_PLACE = 5
GEOMEAN_GOAL_PCT = 8
WORST_GOAL_PCT = 35
PREPARE_GOAL_MS = 120
MEMORY_GOAL_TIMES = 20
LARGE_BYTES = 100_000
PLENTY = 1 << 60

Row = dict[str, str | int | float | bool | None]
Call = Callable[[int], object]


def rows() -> list[Row]:
    """The table of this room."""
    found: list[Row] = []
    _in_big_thread(lambda: found.extend(_rows()))
    return found


def _in_big_thread(work: Callable[[], None]) -> None:
    """The interpreter recurses natively: 64 MiB of stack instead of the thread's usual 8."""
    old = threading.stack_size(64 * 1024 * 1024)
    thread = threading.Thread(target=work)
    thread.start()
    threading.stack_size(old)
    thread.join()


def _rows() -> list[Row]:
    found = [_prepare_row(), _memory_row()]
    metering: list[float] = []
    nans: list[float] = []
    both: list[float] = []
    peers: dict[str, list[float]] = {"Cranelift": [], "Pulley": []}
    for name, rounds in ROUNDS.items():
        module = (FOLDER / f"{name}.wasm").read_bytes()
        forms = [None, build(module, nans=False), prepare(module)]
        if name in FLOAT_KERNELS:
            forms.append(build(module, metering=False))
        untouched_s, ratios = _turns([partial(_wasm3, module, form) for form in forms], rounds)
        metering.append(ratios[0])
        both.append(ratios[1])
        said = []
        for peer, known in peers.items():
            ratio = _wasmtime(module, rounds, peer)
            if ratio is not None:
                known.append(ratio)
                said.append(f"{peer} {_pct(ratio):.0f} %")
        base = f"{untouched_s * 1e3:.1f} ms untouched"
        beside = "wasmtime fuel: " + ", ".join(said) if said else None
        found.append(_overhead(f"metering: {name}", ratios[0], base, beside, WORST_GOAL_PCT))
        if len(ratios) > 2:
            nans.append(ratios[2])
            found.append(_overhead(f"canonical NaNs: {name}", ratios[2], base, None, None))
    means = ", ".join(f"{peer} {_pct(_geomean(known)):.0f} %" for peer, known in peers.items() if known)
    beside = "wasmtime fuel: " + means if means else None
    base = "untouched, on pywasm3"
    return [
        *found,
        _overhead(f"metering: geomean of {len(metering)} programs", _geomean(metering), base, beside, GEOMEAN_GOAL_PCT),
        _overhead("metering: worst", max(metering), base, None, WORST_GOAL_PCT),
        _overhead(f"canonical NaNs: geomean of {len(nans)}", _geomean(nans), base, None, GEOMEAN_GOAL_PCT),
        _overhead(f"metering and NaNs: geomean of {len(both)}", _geomean(both), base, None, None),
    ]


def _overhead(name: str, ratio: float, baseline: str, peer: str | None, goal_pct: int | None) -> Row:
    return {
        "room": "wasm",
        "name": name,
        "value": round(_pct(ratio), 1),
        "unit": "%",
        "baseline": baseline,
        "peer": peer,
        "goal": None if goal_pct is None else f"at most {goal_pct} %",
        "ok": None if goal_pct is None else _pct(ratio) <= goal_pct,
    }


def _pct(ratio: float) -> float:
    return 100 * (ratio - 1)


def _geomean(ratios: Sequence[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, ratios)))


def build(module: bytes, *, metering: bool = True, nans: bool = True) -> Prepared:
    """What `prepare` makes, with one of its two changes left out: only to measure the other."""

    def validate_without_floats(decoded: Module, limits: Limits) -> list[FunctionCode]:
        code = validate(decoded, limits)
        for function in code:
            function.floats = False
        return code

    def plan_nothing(decoded: Module, code: Sequence[FunctionCode], rows: Sequence[HostFunction]) -> Plan:
        plan = make_plan(decoded, code, rows)
        for function in code:
            ends = plan.functions[function.index].flow.ends
            plan.functions[function.index] = FunctionPlan(flow=Flow(ends=ends))
        return plan

    with ExitStack() as stack:
        if not nans:
            stack.enter_context(patch.object(preparation, "validate", validate_without_floats))
        if not metering:
            stack.enter_context(patch.object(preparation, "make_plan", plan_nothing))
        return prepare(module)


def _prepare_row() -> Row:
    """Prepare time for 100 KB of module, over the guests that the demo runs and all kernels."""
    modules = [path.read_bytes() for path in sorted([*GUESTS.glob("*.wasm"), *FOLDER.glob("*.wasm")])]
    size = sum(map(len, modules))
    times = []
    for _ in range(RUNS):
        started = time.process_time()
        for module in modules:
            prepare(module, DEFAULT_LIMITS, HOST_FUNCTIONS)
        times.append(time.process_time() - started)
    value = statistics.median(times) * 1e3 * 100_000 / size
    return {
        "room": "wasm",
        "name": "prepare 100 KB of module",
        "value": round(value, 1),
        "unit": "ms",
        "goal": f"at most {PREPARE_GOAL_MS} ms",
        "ok": value <= PREPARE_GOAL_MS,
    }


def _memory_row() -> Row:
    """The most that preparing one module of 100 KB holds at a time, module and result included."""
    module = _large(decode((FOLDER / "coremark_like.wasm").read_bytes(), DEFAULT_LIMITS))
    tracemalloc.start()
    prepare(module, DEFAULT_LIMITS, HOST_FUNCTIONS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    value = peak / len(module)
    return {
        "room": "wasm",
        "name": f"prepare: memory, by a module of {len(module) // 1000} KB",
        "value": round(value, 1),
        "unit": "times",
        "goal": f"at most {MEMORY_GOAL_TIMES} times",
        "ok": value <= MEMORY_GOAL_TIMES,
    }


def _large(small: Module) -> bytes:
    """A module with the same functions again and again."""
    draft = Draft(types=list(small.types), memory=small.memory, table=small.table, globals=list(small.globals))
    bodies = [small.data[body.start : body.end] for body in small.bodies]
    for _ in range(LARGE_BYTES // sum(map(len, bodies))):
        for kind, body in zip(small.func_types, bodies, strict=True):
            draft.function(small.types[kind], body)
    return encode(draft)


def _turns(made: Sequence[Callable[[int], Call]], rounds: int) -> tuple[float, list[float]]:
    """The best time of the first, and how much longer each other one takes: the median over all places.

    At every place the best of a few runs, in turns so that a busy machine disturbs all alike.
    """
    first = math.inf
    ratios: list[list[float]] = [[] for _ in made[1:]]
    for place in range(PLACES):
        calls = [make(place) for make in made]
        best = [math.inf] * len(made)
        for _ in range(RUNS_A_PLACE):
            for i, call in enumerate(calls):
                started = time.process_time()
                call(rounds)
                best[i] = min(best[i], time.process_time() - started)
        first = min(first, best[0])
        for known, each in zip(ratios, best[1:], strict=True):
            known.append(each / best[0])
    return first, [statistics.median(known) for known in ratios]


def _padding() -> bytes:
    """A module of small functions: each that the engine compiles moves what it compiles next."""
    kind = FuncType((I32,), (I32,))
    draft = Draft(types=[kind])
    for number in range(PLACES):
        body = b"\x00" + b"\x20\x00\x41\x01\x6a\x21\x00" * (number + 1) + b"\x20\x00\x0b"  # local 0 += 1, often
        draft.exports.append((f"pad{number}", "func", draft.function(kind, body)))
    return encode(draft)


def _wasm3(untouched: bytes, prepared: Prepared | None, place: int) -> Call:
    environment = wasm3.Environment()
    runtime = environment.new_runtime(prepared.stack_bytes if prepared else 1 << 20)
    runtime.load(environment.parse_module(_padding()))
    for number in range(place):
        runtime.find_function(f"pad{number}")(1)
    module = environment.parse_module(prepared.code if prepared else untouched)
    runtime.load(module)
    function = runtime.find_function("run")

    def call(rounds: int, kept: object = environment) -> object:
        del kept  # the binding frees nothing, but holds no reference either
        if prepared is not None:
            module.set_global(prepared.fuel_global, PLENTY)
        return function(rounds)

    return call


def _wasmtime(module: bytes, rounds: int, engine_name: str) -> float | None:
    """What wasmtime's own fuel costs on one of its engines, or None where wasmtime is not installed."""
    try:
        import wasmtime
    except ImportError:
        return None

    def engine(fuel: bool, place: int) -> Call:
        del place  # its code lies at the beginning of a page
        config = wasmtime.Config()
        config.consume_fuel = fuel
        if engine_name == "Pulley":
            config.target = "pulley64"
        store = wasmtime.Store(wasmtime.Engine(config))
        instance = wasmtime.Instance(store, wasmtime.Module(store.engine, module), [])

        def call(rounds: int) -> object:
            if fuel:
                store.set_fuel(PLENTY)
            return instance.exports(store)["run"](store, rounds)

        return call

    _, (ratio,) = _turns([partial(engine, False), partial(engine, True)], rounds)
    return ratio
