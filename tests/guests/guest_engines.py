"""Runs a guest as it stands on two engines, with the three host functions that the kit's examples need.

This is the guest's own test bench: no preparation, no sandbox. It mimics `get_input(ptr, max_len)` (copies at most
`max_len` bytes; 0 asks for the total length), `put_output(ptr, len)` (appends, answers 0) and `log(ptr, len)`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import wasm3
import wasmtime

GUESTS = Path(__file__).resolve().parents[2] / "tools" / "guests"
BUILD = GUESTS / "build"
PAGE_BYTES = 65536
PAGES = 160


@dataclass(frozen=True, slots=True)
class GuestRun:
    """What one run left: the entry's result, its output, its log lines, and the memory it ended with."""

    result: int
    output: bytes
    log: tuple[str, ...]
    pages: int


class _Host:
    """The host's side, over whatever reads and writes the guest's memory."""

    def __init__(self, data: bytes, put_result: int = 0) -> None:
        self.data = data
        self.put_result = put_result
        self.output = bytearray()
        self.log: list[str] = []

    def get_input(self, max_len: int, write: Callable[[bytes], None]) -> int:
        if max_len == 0:
            return len(self.data)
        taken = self.data[:max_len]
        write(taken)
        return len(taken)

    def put_output(self, data: bytes) -> int:
        self.output += data
        return self.put_result


def run_wasm3(code: bytes, data: bytes, *, put_result: int = 0) -> GuestRun:
    """Run `run: () -> i32` under wasm3."""
    host = _Host(data, put_result)
    env = wasm3.Environment()
    runtime = env.new_runtime(256 * 1024)
    module = env.parse_module(code)
    runtime.load(module)

    def get_input(ptr: int, max_len: int) -> int:
        def write(taken: bytes) -> None:
            memory = runtime.get_memory(0)
            memory[ptr : ptr + len(taken)] = taken

        return host.get_input(max_len, write)

    def put_output(ptr: int, size: int) -> int:
        return host.put_output(bytes(runtime.get_memory(0)[ptr : ptr + size]))

    def log(ptr: int, size: int) -> None:
        host.log.append(bytes(runtime.get_memory(0)[ptr : ptr + size]).decode())

    for name, signature, function in (
        ("get_input", "i(ii)", get_input),
        ("put_output", "i(ii)", put_output),
        ("log", "v(ii)", log),
    ):
        with contextlib.suppress(RuntimeError):  # a guest that does not import it
            module.link_function("icn", name, signature, function)
    result = runtime.find_function("run")()
    memory = runtime.get_memory(0)
    return GuestRun(result, bytes(host.output), tuple(host.log), len(memory) // PAGE_BYTES if memory else 0)


@cache
def module_engine() -> wasmtime.Engine:
    """One engine for all runs, so that a module is compiled once."""
    return wasmtime.Engine()


@cache
def _compile(code: bytes) -> wasmtime.Module:
    return wasmtime.Module(module_engine(), code)


def run_wasmtime(code: bytes, data: bytes, *, pages: int = PAGES, put_result: int = 0) -> GuestRun:
    """Run `run: () -> i32` under wasmtime with at most `pages` of memory."""
    host = _Host(data, put_result)
    module = _compile(code)
    store = wasmtime.Store(module_engine())
    store.set_limits(memory_size=pages * PAGE_BYTES)
    linker = wasmtime.Linker(module_engine())
    i32 = wasmtime.ValType.i32()

    def memory_of(caller: wasmtime.Caller) -> wasmtime.Memory:
        memory = caller["memory"]
        assert isinstance(memory, wasmtime.Memory)
        return memory

    def get_input(caller: wasmtime.Caller, ptr: int, max_len: int) -> int:
        return host.get_input(max_len, lambda taken: memory_of(caller).write(caller, taken, ptr) and None)

    def put_output(caller: wasmtime.Caller, ptr: int, size: int) -> int:
        return host.put_output(bytes(memory_of(caller).read(caller, ptr, ptr + size)))

    def log(caller: wasmtime.Caller, ptr: int, size: int) -> None:
        host.log.append(memory_of(caller).read(caller, ptr, ptr + size).decode())

    linker.define_func("icn", "get_input", wasmtime.FuncType([i32, i32], [i32]), get_input, access_caller=True)
    linker.define_func("icn", "put_output", wasmtime.FuncType([i32, i32], [i32]), put_output, access_caller=True)
    linker.define_func("icn", "log", wasmtime.FuncType([i32, i32], []), log, access_caller=True)
    instance = linker.instantiate(store, module)
    exports = instance.exports(store)
    result = exports["run"](store)
    memory = exports["memory"] if "memory" in exports.keys() else None  # noqa: SIM118 - InstanceExports iterates values
    return GuestRun(result, bytes(host.output), tuple(host.log), memory.size(store) if memory else 0)
