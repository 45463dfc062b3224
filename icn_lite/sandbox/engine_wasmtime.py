"""wasmtime behind the engine port: the second engine, and the tests' oracle (extra `[wasmtime]`).

It runs the same prepared module, so fuel, traps and results are the module's own and don't depend on the engine.
Memory is bounds-checked in the code and not by reserving 4 GiB of addresses, so that small machines can use it;
compilation stays in the one thread that the jail allows.
"""

from __future__ import annotations

import ctypes

import wasmtime

from icn_lite.sandbox.engine import Engine, EngineError, HostLink, Trap, to_bits, to_python

# wasmtime refuses more than its coroutine stacks have. The depth budget of preparation, 1 MiB by default, counts the
# interpreter's frames; compiled ones are smaller, so the budget ends a recursion first.
STACK_BYTES = 2 << 20

TRAPS = {
    "UNREACHABLE": "unreachable",
    "INTEGER_DIVISION_BY_ZERO": "integer_divide_by_zero",
    "INTEGER_OVERFLOW": "integer_overflow",
    "BAD_CONVERSION_TO_INTEGER": "invalid_conversion_to_integer",
    "MEMORY_OUT_OF_BOUNDS": "out_of_bounds_memory_access",
    "HEAP_MISALIGNED": "out_of_bounds_memory_access",
    "TABLE_OUT_OF_BOUNDS": "out_of_bounds_table_access",
    "BAD_SIGNATURE": "indirect_call_type_mismatch",
    "INDIRECT_CALL_TO_NULL": "uninitialized_element",
    "STACK_OVERFLOW": "call_stack_exhausted",
}


class WasmtimeEngine(Engine):
    """One store and instance, never freed: the process ends instead."""

    name = "wasmtime"
    executable_memory = True

    def __init__(self, stack_bytes: int) -> None:
        config = wasmtime.Config()
        config.cranelift_nan_canonicalization = True
        config.parallel_compilation = False
        config.memory_init_cow = False
        config.memory_reservation = 0
        config.memory_guard_size = 0
        config.memory_reservation_for_growth = 0
        config.max_wasm_stack = STACK_BYTES
        self.configure(config)
        self._store = wasmtime.Store(wasmtime.Engine(config))
        self._memory: wasmtime.Memory | None = None

    def configure(self, config: wasmtime.Config) -> None:
        """For an engine that is another wasmtime."""

    def load(self, code: bytes, links: list[HostLink]) -> None:
        try:
            module = wasmtime.Module(self._store.engine, code)
            linker = wasmtime.Linker(self._store.engine)
            linker.allow_shadowing = True  # a module may import one function twice
            for link in links:
                types = [[getattr(wasmtime.ValType, t)() for t in row] for row in (link.params, link.results)]
                function = wasmtime.Func(self._store, wasmtime.FuncType(*types), link.call)
                linker.define(self._store, link.module, link.name, function)
            self._exports = linker.instantiate(self._store, module).exports(self._store)
        except wasmtime.Trap as trap:
            raise named_trap(trap) from None
        except wasmtime.WasmtimeError as error:
            raise EngineError(f"wasmtime: {str(error)[:200]}") from None
        memory = next((item for item in self._exports.values() if isinstance(item, wasmtime.Memory)), None)
        self._memory = memory

    def get_global(self, name: str) -> int:
        return int(self._global(name).value(self._store))

    def set_global(self, name: str, value: int) -> None:
        self._global(name).set_value(self._store, value)

    def _global(self, name: str) -> wasmtime.Global:
        found = self._exports.get(name)
        if not isinstance(found, wasmtime.Global):
            raise EngineError(f"no global {name} is exported")
        return found

    def call(self, name: str, args: list[tuple[str, int]], results: list[str]) -> list[int]:
        function = self._exports.get(name)
        if not isinstance(function, wasmtime.Func):
            raise EngineError(f"no function {name} is exported")
        try:
            answer = function(self._store, *[to_python(kind, bits) for kind, bits in args])
        except wasmtime.Trap as trap:
            raise self._trapped(trap) from None
        except wasmtime.WasmtimeError as error:
            raise EngineError(f"wasmtime: {str(error)[:200]}") from None
        if not results:
            return []
        values = answer if isinstance(answer, list) else [answer]
        return [to_bits(kind, value) for kind, value in zip(results, values, strict=True)]

    def _trapped(self, trap: wasmtime.Trap) -> Exception:
        return named_trap(trap)

    def memory(self) -> memoryview:
        if self._memory is None:
            return memoryview(b"")
        size = self._memory.data_len(self._store)
        address = ctypes.cast(self._memory.data_ptr(self._store), ctypes.c_void_p).value
        return memoryview((ctypes.c_ubyte * size).from_address(address or 0)).cast("B") if size else memoryview(b"")


def named_trap(trap: wasmtime.Trap) -> Exception:
    """wasmtime's code as a trap of ours, or as a failure of the engine."""
    code = trap.trap_code
    name = TRAPS.get(code.name) if code is not None else None
    return Trap(name) if name else EngineError(f"wasmtime: {trap.message[:200]}")
