"""What the sandbox's tests share: guests from text, requests, a child outside any pool, attacks on the jail."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import wasmtime
from absent import engine_names

from icn_lite.sandbox import wire
from icn_lite.sandbox.children import Child, Children
from icn_lite.sandbox.forkserver import ENGINES, EngineSpec
from icn_lite.sandbox.outcome import RunRequest
from icn_lite.wasm.prepare import Prepared, prepare
from icn_lite.wasm.types import Export, FuncType

ENGINE_NAMES = engine_names()
DEADLINE_S = 30.0  # for what happens in milliseconds; only a failing test ever waits so long


@cache
def guest(text: str) -> Prepared:
    """A prepared module from WebAssembly text."""
    return prepare(bytes(wasmtime.wat2wasm(text)))


def request(text: str, **fields: object) -> RunRequest:
    """A run of a guest given as text, with a fuel limit that ends it in a second at the most."""
    return RunRequest(guest(text), **{"fuel_limit": 50_000_000, **fields})  # type: ignore[arg-type]


SPIN = '(module (func (export "run") (result i32) (loop (br 0)) (i32.const 0)))'
ANSWER = '(module (func (export "run") (result i32) (i32.const 42)))'

HOST = """
 (import "icn" "get_input" (func $get_input (param i32 i32) (result i32)))
 (import "icn" "put_output" (func $put_output (param i32 i32) (result i32)))
 (import "icn" "log" (func $log (param i32 i32)))
"""


def use_attack_engine() -> None:
    """Make the engine `attack` known: it runs Python in place of a guest, inside the real child; and its kin."""
    for name in ("attack", "scarce", "barren"):
        ENGINES[name] = EngineSpec(f"{name}_engine", f"{name.title()}Engine", f"{name}_engine")


def attack(code: str, **fields: object) -> RunRequest:
    """A run whose guest is Python: `attack_engine` executes `code`, and what it leaves in `result` is the result."""
    prepared = Prepared(
        code=code.encode(), meter="", fuel_global="fuel", trap_global="trap", imports=(),
        exports=(Export("run", "func", FuncType((), (0x7F,))),), start=None, has_memory=False, memory_min_pages=0,
        memory_max_pages=0, memory_export=None, functions=1, stack_bytes=1 << 20,
    )  # fmt: skip
    return RunRequest(prepared, **fields)  # type: ignore[arg-type]


@asynccontextmanager
async def lone_child(engine: str = "wasm3") -> AsyncIterator[tuple[Children, Child]]:
    """A child that nobody kills at a deadline: for what must end it without the node."""
    children = Children(engine, 0)
    try:
        yield children, await children.take()
    finally:
        await children.close()


async def send(child: Child, run: RunRequest) -> None:
    from icn_lite.sandbox.entry import plan_entry

    frame = b"".join(wire.encode_request(run, plan_entry(run), None))
    await asyncio.get_running_loop().sock_sendall(child.socket, frame)


def is_alive(pid: int) -> bool:
    """A zombie counts as dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_dead(pid: int) -> bool:
    return not is_alive(pid)


def state(pid: int) -> str:
    """R, S, T (stopped), Z, or X when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


async def until(condition: object, what: str) -> None:
    """Yield to the event loop until a condition of another process holds."""
    assert callable(condition)
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"waited {DEADLINE_S} s until {what}"
        await asyncio.to_thread(os.sched_yield)
