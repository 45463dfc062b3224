"""Structural limits: what a module may contain before anything is allocated for it.

`icn-runtime.md` (WasmSecurityLimits) names 160 pages, 100 globals, 1000 functions, 10 tables of 10,000 and a stack
of 1024 KiB. Programs that people already have (an interpreter, anything on wasi-libc) hold more functions than
that, so `DEFAULT_LIMITS` is roomier there and `CORE_LIMITS` keeps the letter. Profiles override single fields with
`dataclasses.replace`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PAGE_BYTES: Final = 65536


@dataclass(frozen=True, slots=True)
class Limits:
    """Every field is an inclusive maximum."""

    # Preparing takes about 1 µs a byte on a PC and 6 µs on a Pi 4; 4 MiB keeps that under half a minute.
    module_bytes: int = 4 * 1024 * 1024
    # A big compiled program (Lua, zlib, a Rust binary) has 300 to 3000.
    functions: int = 20_000
    # A signature stands once in what compilers write; a large C++ program has a few hundred.
    types: int = 4096
    # The table of host functions has less than a hundred rows.
    imports: int = 256
    # Each becomes one or two functions more, and the engine searches them by name one after the other.
    exports: int = 1024
    # clang emits one to five, AssemblyScript one for each module-level variable.
    globals: int = 1000
    # The engine knows one; 0 refuses guests with function pointers.
    tables: int = 1
    # Function pointers and vtables; `icn-runtime.md` has 10,000.
    table_entries: int = 10_000
    # Pages a guest may start with or grow to: 160 pages are 10 MiB (`icn-runtime.md`).
    memory_pages: int = 160
    # A program split by -fdata-sections has one a variable; each takes an object of 100 bytes here.
    segments: int = 20_000
    # Passive data becomes about two bytes of code each, and ten of what the engine compiles it to: 3 MB at the most.
    passive_bytes: int = 256 * 1024
    # Locals and operands share the engine's frame of 2000 values; beyond that its compiler gives up or crashes.
    locals: int = 1400
    operands: int = 400
    # Of all functions together: three bytes declare 1400 of them, and each takes 8 bytes while a module is prepared.
    # A large program has ten a function.
    locals_total: int = 500_000
    # A deeper nest of blocks overflows the engine's recursive compiler (50,000 do for certain, 1000 never).
    nesting: int = 500
    # They are copied at every call; compilers pass more than a few in memory.
    params: int = 100
    # Of functions, and what a block takes or gives. A call with 1000 results and full locals crashes the engine's
    # compiler; compilers emit no more than a handful.
    results: int = 16
    # Values that blocks take, and those of branches and calls with several: each is moved by itself, in ten bytes and
    # ten microseconds. Compilers emit hardly any.
    carried_values: int = 100_000
    # `br_table` compiles in quadratic time: 200,000 entries take half a second.
    br_table_entries: int = 5000
    br_table_entries_total: int = 100_000
    # The engine's compiler scans all locals at every block: blocks × (locals + operands), summed over the module;
    # 20 million take it about a second.
    block_work: int = 20_000_000
    # Branches, calls, ends and what else is looked at by itself: each takes up to 400 bytes and 20 microseconds while a
    # module is prepared, in the node's own memory. Programs have one in 10 to 60 bytes; 4 MiB of nothing else would
    # take 600 MB.
    events: int = 400_000
    # The largest body of SQLite or Lua has 50 KiB; one function is what the engine compiles without a pause.
    function_bytes: int = 512 * 1024
    # Names go into messages and into the engine's tables; a mangled C++ name can have some hundred bytes.
    name_bytes: int = 1024
    # Frames that a guest may pile up, in bytes of engine stack; `icn-runtime.md` and icn-core give 1024 KiB.
    stack_bytes: int = 1024 * 1024


DEFAULT_LIMITS: Final = Limits()

# The letter of `icn-runtime.md`, for cooperatives that want it.
CORE_LIMITS: Final = Limits(functions=1000, globals=100, table_entries=10_000, memory_pages=160)
