"""Values that describe a module to others: function types, imports, exports, trap flags."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from icn_lite.wasm.opcodes import TYPE_NAMES

ExternKind = Literal["func", "table", "memory", "global"]
KINDS: tuple[ExternKind, ...] = ("func", "table", "memory", "global")


@dataclass(frozen=True, slots=True)
class FuncType:
    """Parameter and result types, as the bytes of the binary format (0x7F is i32)."""

    params: tuple[int, ...]
    results: tuple[int, ...]

    def __str__(self) -> str:
        def words(types: tuple[int, ...]) -> str:
            return " ".join(TYPE_NAMES.get(t, hex(t)) for t in types)

        return f"({words(self.params)}) -> ({words(self.results)})"


@dataclass(frozen=True, slots=True)
class Import:
    """A function that the prepared module imports."""

    module: str
    name: str
    type: FuncType


@dataclass(frozen=True, slots=True)
class Export:
    """An export of the guest's own.

    `bits` names a second, reserved export of the same function that takes and gives i32 and i64 in place of f32 and
    f64, bit for bit, for callers whose binding would quiet a NaN; it is None where the type has no float.
    """

    name: str
    kind: ExternKind
    type: FuncType | None = None
    bits: str | None = None


class TrapFlag(IntEnum):
    """Why the prepared module ran into its own `unreachable`; read from `Prepared.trap_global`."""

    NONE = 0
    OUT_OF_FUEL = 1
    CALL_STACK_EXHAUSTED = 2
    HOST_MEMORY = 3  # the engine could not give pages that the limits allow: a failure of the host, not of the guest
    UNREACHABLE = 4  # the guest's own instruction
