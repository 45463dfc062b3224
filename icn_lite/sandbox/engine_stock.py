"""wasmtime with nothing of ours in it: the module as its author made it, under wasmtime's own fuel.

With this engine a receipt is checked by somebody else's measure: `consume_fuel` counts, NaN canonicalisation settles
the floats, and the module is not rewritten at all. It stands behind the same port, so it has the same jail, host
functions and entry rule. What preparation would have done is done from outside:

- The counter is the store's fuel, under the names that prepared modules give to theirs.
- A host function's price is taken from the store before it is called.
- `icn:start` instantiates, which is where wasmtime runs and charges a start function.
- The limit of pages stands before the module's bytes (`pack`), since the module itself may allow itself more.
- wasmtime's default is to map a new memory with its data in it, from a file in memory; the jail forbids files, so here
  it copies, and counts a unit a byte for that. `pack` says what instantiating counts by default, and that is kept.

A module that doesn't export its memory keeps it from host functions here; preparing is what opens it otherwise.
"""

from __future__ import annotations

import wasmtime

from icn_lite.sandbox.engine import EngineError, HostLink, Trap
from icn_lite.sandbox.engine_wasmtime import WasmtimeEngine, named_trap
from icn_lite.wasm.hostfuncs import HOST_FUNCTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

START = "icn:start"
FUEL = "icn:fuel"
PAGE_BYTES = 65536
HEAD_BYTES = 12
OUT_OF_FUEL = 1  # icn_lite.wasm.types.TrapFlag
U32 = 0xFFFFFFFF


def unpack(code: bytes) -> tuple[int, int, int, bytes]:
    """Pages; what instantiation counts by default or -1 where a start function runs; what copying adds; the module.

    `node/stock.py` packs them, which can't import this: wasmtime may be absent.
    """
    pages, fuel, copied = (int.from_bytes(code[at : at + 4], "little", signed=True) for at in (0, 4, 8))
    return pages, fuel, copied, code[HEAD_BYTES:]


class StockEngine(WasmtimeEngine):
    """One store and one untouched module."""

    name = "wasmtime-stock"

    def __init__(self, stack_bytes: int) -> None:
        super().__init__(stack_bytes)
        self._flag = 0
        self._owed = 0  # fuel for copying, until the module is instantiated
        self._memory_name: str | None = None

    def configure(self, config: wasmtime.Config) -> None:
        config.consume_fuel = True

    def load(self, code: bytes, links: list[HostLink]) -> None:
        pages, self._start_fuel, self._copied, module = unpack(code)
        self._store.set_limits(memory_size=pages * PAGE_BYTES)
        try:
            self._module = wasmtime.Module(self._store.engine, module)
            self._linker = wasmtime.Linker(self._store.engine)
            for link in links:
                types = [[getattr(wasmtime.ValType, t)() for t in row] for row in (link.params, link.results)]
                call = self._charged(link)
                function = wasmtime.Func(self._store, wasmtime.FuncType(*types), call, access_caller=True)
                self._linker.define(self._store, link.module, link.name, function)
            for item in self._module.imports:
                if isinstance(item.type, wasmtime.MemoryType):
                    self._memory = wasmtime.Memory(self._store, item.type)
                    self._linker.define(self._store, item.module, item.name or "", self._memory)
                elif isinstance(item.type, wasmtime.TableType):
                    table = wasmtime.Table(self._store, item.type, None)
                    self._linker.define(self._store, item.module, item.name or "", table)
        except wasmtime.WasmtimeError as error:
            raise EngineError(f"wasmtime: {str(error)[:200]}") from None
        exports = self._module.exports
        self._memory_name = next((e.name for e in exports if isinstance(e.type, wasmtime.MemoryType)), None)

    def get_global(self, name: str) -> int:
        return self._store.get_fuel() + self._owed if name == FUEL else self._flag

    def set_global(self, name: str, value: int) -> None:
        if name == FUEL:
            self._store.set_fuel(value)

    def call(self, name: str, args: list[tuple[str, int]], results: list[str]) -> list[int]:
        if name != START:
            return super().call(name, args, results)
        before, self._owed = self._store.get_fuel(), max(0, self._copied)
        try:
            self._exports = self._linker.instantiate(self._store, self._module).exports(self._store)
        except wasmtime.Trap as trap:
            raise self._trapped(trap) from None
        except wasmtime.WasmtimeError as error:
            raise EngineError(f"wasmtime: {str(error)[:200]}") from None
        own = self._store.get_fuel() + self._copied if self._start_fuel < 0 else before - self._start_fuel
        self._store.set_fuel(own)
        self._owed = 0
        memory = next((item for item in self._exports.values() if isinstance(item, wasmtime.Memory)), None)
        self._memory = self._memory or memory
        return []

    def _trapped(self, trap: wasmtime.Trap) -> Exception:
        if trap.trap_code is not None and trap.trap_code.name == "OUT_OF_FUEL":
            return self._out_of_fuel()
        return named_trap(trap)

    def _out_of_fuel(self) -> Trap:
        self._flag = OUT_OF_FUEL
        return Trap("unreachable")

    def _charged(self, link: HostLink) -> Callable[..., int | None]:
        """A host function at its price, with the memory that it may need even while the module starts."""
        row = HOST_FUNCTIONS[link.module, link.name]

        def call(caller: wasmtime.Caller, *args: int) -> int | None:
            length = 0 if row.byte_param is None else args[row.byte_param] & U32
            left = self._store.get_fuel() - row.fuel_base - row.fuel_per_byte * length
            if left < 0:
                raise self._out_of_fuel()
            self._store.set_fuel(left)
            if self._memory is None and self._memory_name is not None:
                found = caller.get(self._memory_name)
                self._memory = found if isinstance(found, wasmtime.Memory) else None
            return link.call(*args)

        return call
