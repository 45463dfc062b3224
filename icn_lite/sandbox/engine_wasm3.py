"""wasm3 behind the engine port (pywasm3 0.5.0).

What this module must never do, each learned from a crash: link before load, ask for the memory with no module
loaded, pass bytes as a name, pass other than the right number of arguments, keep a view of the memory across a call.
The binding quiets signalling NaNs in f32 results and arguments, which is why prepared modules export their float
functions a second time with integer types; the float path here is for modules that have no such twin.
"""

from __future__ import annotations

import wasm3

from icn_lite.sandbox.engine import Engine, EngineError, HostLink, Trap, to_bits, to_python

STACK_MARGIN_BYTES = 64 << 10  # arguments are copied past the top frame before the engine looks at its limit
SIGNATURE = {"i32": "i", "i64": "I", "f32": "f", "f64": "F"}
MAX_ARGUMENTS = 32  # the binding's own fixed buffer

# The beginnings of wasm3's messages (wasm3.h); a detail in parentheses may follow.
TRAPS = (
    ("[trap] out of bounds memory access", "out_of_bounds_memory_access"),
    ("[trap] integer divide by zero", "integer_divide_by_zero"),
    ("[trap] integer overflow", "integer_overflow"),
    ("[trap] invalid conversion to integer", "invalid_conversion_to_integer"),
    ("[trap] indirect call type mismatch", "indirect_call_type_mismatch"),
    ("[trap] undefined element", "out_of_bounds_table_access"),
    ("[trap] null table element", "uninitialized_element"),
    ("[trap] unreachable executed", "unreachable"),
    ("[trap] stack overflow", "call_stack_exhausted"),
    ("[trap] program called", "host_error"),
    ("data segment out of bounds", "out_of_bounds_memory_access"),
    ("table underflow", "out_of_bounds_table_access"),
    ("table overflow", "out_of_bounds_table_access"),
)
OUT_OF_MEMORY = ("memory allocation failed", "runtime ran out of memory", "linear memory limitation")


def named_trap(message: str) -> Exception:
    """wasm3's sentence as a trap of ours, or as a failure of the engine."""
    for text, name in TRAPS:
        if message.startswith(text):
            return Trap(name)
    return EngineError(f"wasm3: {message[:200]}", out_of_memory=message.startswith(OUT_OF_MEMORY))


class Wasm3Engine(Engine):
    """One environment, runtime and module, never freed: the process ends instead."""

    name = "wasm3"
    rehearses = True

    def __init__(self, stack_bytes: int) -> None:
        self._environment = wasm3.Environment()
        self._runtime = self._environment.new_runtime(stack_bytes + STACK_MARGIN_BYTES)
        self._code = b""
        self._loaded = False

    def load(self, code: bytes, links: list[HostLink]) -> None:
        self._code = code  # the parser keeps pointers into it
        try:
            self._module = self._environment.parse_module(code)
            self._runtime.load(self._module)
            for link in links:
                types = "".join(SIGNATURE[t] for t in link.results) or "v"
                signature = f"{types}({''.join(SIGNATURE[t] for t in link.params)})"
                self._module.link_function(link.module, link.name, signature, link.call)
        except RuntimeError as error:
            raise named_trap(str(error)) from None
        self._loaded = True

    def get_global(self, name: str) -> int:
        return int(self._module.get_global(name))

    def set_global(self, name: str, value: int) -> None:
        self._module.set_global(name, value)

    def call(self, name: str, args: list[tuple[str, int]], results: list[str]) -> list[int]:
        try:
            function = self._runtime.find_function(name)  # compiles it
            if function.num_args != len(args) or function.num_rets != len(results) or len(args) > MAX_ARGUMENTS:
                raise EngineError(f"{name} has {function.num_args} parameters and {function.num_rets} results")
            answer = function(*[to_python(kind, bits) for kind, bits in args])
        except RuntimeError as error:
            raise named_trap(str(error)) from None
        if not results:
            return []
        values = answer if isinstance(answer, tuple) else (answer,)
        return [to_bits(kind, value) for kind, value in zip(results, values, strict=True)]

    def memory(self) -> memoryview:
        if not self._loaded:  # the binding would crash
            return memoryview(b"")
        view = self._runtime.get_memory(0)
        return memoryview(b"") if view is None else view
