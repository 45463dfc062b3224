"""What `prepare` gives, apart from how it is made: a node at rest knows the one and has not loaded the other (1 MB)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from icn_lite.wasm.types import Export, Import

# The version of everything in this room that changes what `prepare` writes; part of the cache key and of receipts.
METER: Final = "icn-meter/2"
FUEL_SCHEDULE: Final = "icn-fuel-1"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A module ready to run.

    `fuel_global` and `trap_global` name exported mutable globals (i64 and i32). `start`, when not None, names an
    export that has to be called once before any other. `stack_bytes` is what the guest's frames may take at most: a
    runner gives the engine's own stack that size, and its thread at least as much native stack again.
    """

    code: bytes
    meter: str
    fuel_global: str
    trap_global: str
    imports: tuple[Import, ...]
    exports: tuple[Export, ...]
    start: str | None
    has_memory: bool
    memory_min_pages: int
    memory_max_pages: int
    memory_export: str | None
    functions: int
    stack_bytes: int
