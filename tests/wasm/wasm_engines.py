"""Two engines behind one function, for the tests of preparation: pywasm3 and wasmtime, both given `.code`."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import wasm3
import wasmtime

from icn_lite.sandbox.engine import Trap
from icn_lite.sandbox.engine_wasm3 import named_trap
from icn_lite.sandbox.engine_wasmtime import TRAPS
from icn_lite.wasm.hostfuncs import HostTable
from icn_lite.wasm.prepare import Prepared
from icn_lite.wasm.types import Import, TrapFlag

PLENTY = 1 << 50
Host = Callable[..., Any]


@dataclass(frozen=True)
class Outcome:
    """What a run gave: results as unsigned integers (floats as bits), or the trap and its flag, and the counter."""

    results: tuple[int, ...] | None
    trapped: bool
    flag: int
    fuel_left: int
    trap: str | None = None  # its name in receipts


OURS = {
    TrapFlag.OUT_OF_FUEL: "out_of_fuel",
    TrapFlag.CALL_STACK_EXHAUSTED: "call_stack_exhausted",
    TrapFlag.HOST_MEMORY: "host_memory",
    TrapFlag.UNREACHABLE: "unreachable",
}


def wasmtime_trap(trap: wasmtime.Trap) -> str:
    code = trap.trap_code
    if code is None:
        return trap.message
    return "out_of_fuel" if code.name == "OUT_OF_FUEL" else TRAPS[code.name]


_thread = threading.local()


def in_big_thread(work: Callable[[], Any], timeout_s: float | None = 600) -> Any:
    """Run with 256 MiB of native stack, which the interpreter's worst case needs."""
    if getattr(_thread, "is_big", False):
        return work()
    box: list[Any] = []

    def run() -> None:
        _thread.is_big = True
        try:
            box.append((True, work()))
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            box.append((False, error))

    old = threading.stack_size(256 * 1024 * 1024)
    try:
        thread = threading.Thread(target=run)
        thread.start()
    finally:
        threading.stack_size(old)
    thread.join(timeout_s)
    assert box, f"the run did not end in {timeout_s} s"
    good, value = box[0]
    if not good:
        raise value
    return value


def _unsigned(value: int, bits: int) -> int:
    return value & ((1 << bits) - 1)


def _signed(value: int, bits: int) -> int:
    value = _unsigned(value, bits)
    return value - (1 << bits) if value >> (bits - 1) else value


def _call_name(prepared: Prepared, name: str) -> tuple[str, tuple[int, ...]]:
    export = next(e for e in prepared.exports if e.name == name)
    assert export.type is not None
    widths = tuple(32 if t in (0x7F, 0x7D) else 64 for t in export.type.results)
    return export.bits or name, widths


def _unset(item: Import) -> Host:
    def call(*args: int) -> int:
        raise AssertionError(f"{item.module}.{item.name} was called")

    return call


class Wasm3Run:
    """An instance of a prepared module in pywasm3."""

    def __init__(self, prepared: Prepared, hosts: dict[str, Host] | None = None) -> None:
        self.prepared = prepared
        self.env = wasm3.Environment()
        self.runtime = self.env.new_runtime(prepared.stack_bytes)
        self.module = self.env.parse_module(prepared.code)
        self.runtime.load(self.module)
        letters = {0x7F: "i", 0x7E: "I", 0x7D: "f", 0x7C: "F"}
        for item in prepared.imports:
            given = "".join(letters[t] for t in item.type.results) or "v"
            taken = "".join(letters[t] for t in item.type.params)
            host = (hosts or {}).get(item.name) or _unset(item)
            self.module.link_function(item.module, item.name, f"{given}({taken})", host)

    def start(self, fuel: int = PLENTY) -> Outcome | None:
        """Run the start function, if there is one."""
        if self.prepared.start is None:
            return None
        return self._call(self.prepared.start, (), (), fuel)

    def call(self, name: str, args: Sequence[int] = (), fuel: int = PLENTY) -> Outcome:
        """Call an export; args and results are bits."""
        real, widths = _call_name(self.prepared, name)
        return self._call(real, widths, args, fuel)

    def _call(self, real: str, widths: tuple[int, ...], args: Sequence[int], fuel: int) -> Outcome:
        module, prepared = self.module, self.prepared
        module.set_global(prepared.fuel_global, fuel)
        module.set_global(prepared.trap_global, 0)
        function = self.runtime.find_function(real)
        signed = [_signed(a, 32 if t == 1 else 64) for a, t in zip(args, function.arg_types, strict=True)]
        results: tuple[int, ...] | None = None
        trap: str | None = None
        try:
            got = in_big_thread(lambda: function(*signed))
            if not widths:
                results = ()
            elif len(widths) == 1:
                results = (_unsigned(got, widths[0]),)
            else:
                results = tuple(_unsigned(v, w) for v, w in zip(got, widths, strict=True))
        except RuntimeError as error:
            named = named_trap(str(error))
            if not isinstance(named, Trap):
                raise
            trap = named.name
        flag = module.get_global(prepared.trap_global)
        return Outcome(results, results is None, flag, module.get_global(prepared.fuel_global), OURS.get(flag, trap))

    def memory(self) -> bytes:
        """The whole linear memory."""
        return bytes(self.runtime.get_memory(0) or b"")

    def read_global(self, name: str) -> int:
        """An exported integer global, signed or not as the binding has it."""
        return int(self.module.get_global(name))


@cache
def wasmtime_engine(fuel: bool) -> wasmtime.Engine:
    """One engine for prepared modules, one for untouched ones with fuel."""
    config = wasmtime.Config()
    config.cranelift_nan_canonicalization = True
    config.max_wasm_stack = 2 * 1024 * 1024 - 4096
    config.consume_fuel = fuel
    config.cranelift_opt_level = "none"  # thousands of small modules: compiling is most of the time
    return wasmtime.Engine(config)


@lru_cache(maxsize=64)
def compiled(code: bytes, fuel: bool) -> wasmtime.Module:
    """A module as wasmtime compiled it: most tests make several instances of one."""
    return wasmtime.Module(wasmtime_engine(fuel), code)


class WasmtimeRun:
    """An instance of a prepared module in wasmtime."""

    def __init__(self, prepared: Prepared, hosts: dict[str, Host] | None = None) -> None:
        self.prepared = prepared
        engine = wasmtime_engine(False)
        self.store = wasmtime.Store(engine)
        linker = wasmtime.Linker(engine)
        linker.allow_shadowing = True  # a module may import one function twice
        kinds = {
            0x7F: wasmtime.ValType.i32(), 0x7E: wasmtime.ValType.i64(),
            0x7D: wasmtime.ValType.f32(), 0x7C: wasmtime.ValType.f64(),
        }  # fmt: skip
        for item in prepared.imports:
            host = (hosts or {}).get(item.name) or _unset(item)
            kind = wasmtime.FuncType([kinds[t] for t in item.type.params], [kinds[t] for t in item.type.results])
            linker.define_func(item.module, item.name, kind, host)
        self.instance = linker.instantiate(self.store, compiled(prepared.code, False))
        self.exports = self.instance.exports(self.store)

    def start(self, fuel: int = PLENTY) -> Outcome | None:
        """Run the start function, if there is one."""
        if self.prepared.start is None:
            return None
        return self._call(self.prepared.start, (), (), fuel)

    def call(self, name: str, args: Sequence[int] = (), fuel: int = PLENTY) -> Outcome:
        """Call an export; args and results are bits."""
        real, widths = _call_name(self.prepared, name)
        return self._call(real, widths, args, fuel)

    def _call(self, real: str, widths: tuple[int, ...], args: Sequence[int], fuel: int) -> Outcome:
        prepared, store = self.prepared, self.store
        self.exports[prepared.fuel_global].set_value(store, fuel)
        self.exports[prepared.trap_global].set_value(store, 0)
        results: tuple[int, ...] | None = None
        trap: str | None = None
        function = self.exports[real]
        kinds = function.type(store).params
        signed = [_signed(a, 32 if str(k) == "i32" else 64) for a, k in zip(args, kinds, strict=True)]
        try:
            got = in_big_thread(lambda: function(store, *signed))
            values = [] if got is None else got if isinstance(got, list) else [got]
            results = tuple(_unsigned(v, w) for v, w in zip(values, widths, strict=True))
        except wasmtime.Trap as error:
            trap = wasmtime_trap(error)
        flag = self.exports[prepared.trap_global].value(store)
        left = self.exports[prepared.fuel_global].value(store)
        return Outcome(results, results is None, flag, left, OURS.get(flag, trap))

    def memory(self) -> bytes:
        """The whole linear memory."""
        memory = self.exports[self.prepared.memory_export]
        return bytes(memory.read(self.store, 0, memory.data_len(self.store)))

    def read_global(self, name: str) -> int:
        """An exported integer global, signed."""
        return int(self.exports[name].value(self.store))


@dataclass(frozen=True)
class Untouched:
    """What wasmtime says about a module as the guest wrote it: results as bits, and its own count of fuel."""

    results: tuple[int, ...] | None
    fuel_used: int
    trap: str | None = None


_KINDS = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64"}


def _to_python(bits: int, kind: str) -> int | float:
    if kind == "f32":
        return float(struct.unpack("<f", struct.pack("<I", bits))[0])
    if kind == "f64":
        return float(struct.unpack("<d", struct.pack("<Q", bits))[0])
    return _signed(bits, int(kind[1:]))


def _to_bits(value: Any, kind: str) -> int:
    if kind == "f32":
        return int(struct.unpack("<I", struct.pack("<f", value))[0])
    if kind == "f64":
        return int(struct.unpack("<Q", struct.pack("<d", value))[0])
    return _unsigned(value, int(kind[1:]))


class Reference:
    """The untouched module in wasmtime, with fuel and canonical NaNs."""

    def __init__(self, module: bytes, host: HostTable | None = None, hosts: dict[str, Host] | None = None) -> None:
        engine = wasmtime_engine(True)
        self.store = wasmtime.Store(engine)
        self.store.set_fuel(PLENTY)
        linker = wasmtime.Linker(engine)
        for (owner, name), row in (host or {}).items():
            kind = wasmtime.FuncType(
                [getattr(wasmtime.ValType, _KINDS[t])() for t in row.params],
                [getattr(wasmtime.ValType, _KINDS[t])() for t in row.results],
            )
            linker.define_func(owner, name, kind, (hosts or {})[name])
        code = compiled(module, True)
        self.own: wasmtime.Memory | None = None
        for item in code.imports:
            if isinstance(item.type, wasmtime.MemoryType):  # what preparation makes the module's own
                self.own = wasmtime.Memory(self.store, item.type)
                linker.define(self.store, item.module, item.name or "", self.own)
        self.exports = linker.instantiate(self.store, code).exports(self.store)

    def used(self) -> int:
        """Fuel since the last setting."""
        return int(PLENTY - self.store.get_fuel())

    def call(self, name: str, args: Sequence[int] = (), fuel: int = PLENTY) -> Untouched:
        """Call an export; args and results are bits (of NaNs only that they are NaNs survives the binding)."""
        self.store.set_fuel(fuel)
        function = self.exports[name]
        kinds = function.type(self.store)
        values = [_to_python(a, str(k)) for a, k in zip(args, kinds.params, strict=True)]
        results: tuple[int, ...] | None = None
        trap: str | None = None
        try:
            got = function(self.store, *values)
            found = [] if got is None else got if isinstance(got, list) else [got]
            results = tuple(_to_bits(v, str(k)) for v, k in zip(found, kinds.results, strict=True))
        except wasmtime.Trap as error:
            trap = wasmtime_trap(error)
        return Untouched(results, int(fuel - self.store.get_fuel()), trap)

    def memory(self) -> bytes:
        """The whole linear memory, where it is exported or imported."""
        memory = self.own
        for item in self.exports.values():
            if isinstance(item, wasmtime.Memory):
                memory = item
        if memory is None:
            return b""
        return bytes(memory.read(self.store, 0, memory.data_len(self.store)))

    def read_global(self, name: str) -> int:
        """An exported integer global."""
        return int(self.exports[name].value(self.store))
