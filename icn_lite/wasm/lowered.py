"""The types of a module as the prepared one has them: f32 as the i32 of its bits.

The interpreter quiets signalling f32 NaNs in its registers, and it mixes two or more values of a block up when the
last is a float. So every f32 that functions take, give or share through a global is an i32 in the prepared module,
and so is (as an i64) every f64 among two or more results. `nan` converts where a body computes with them.

`call_indirect` compares types. Two types that differ for the guest must not become one, so a type that would is
given parameters that nobody reads (*markers*), as far as the table or a `call_indirect` knows both. The types of the
markers count in base three, so that there are few of them however many types there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from icn_lite.wasm.body import FunctionCode
from icn_lite.wasm.leb import write_signed
from icn_lite.wasm.module import Global, Module
from icn_lite.wasm.opcodes import F32, F64, I32, I64
from icn_lite.wasm.types import FuncType

# More values of a block than this, with a float among them, come out of the interpreter in the wrong places.
_SAFE_VALUES: Final = 1
_INTEGER: Final = {F32: I32, F64: I64}
_MARKERS: Final = (I32, I64, F64)
ZERO: Final = {I32: b"\x41\x00", I64: b"\x42\x00", F64: b"\x44" + bytes(8)}


def crowded(types: tuple[int, ...]) -> bool:
    """Whether values of these types have to be integers for the interpreter to keep their order."""
    return len(types) > _SAFE_VALUES and (F32 in types or F64 in types)


def bits_type(value: FuncType) -> FuncType:
    """The type with integers in place of all floats."""
    return FuncType(
        tuple(_INTEGER.get(t, t) for t in value.params),
        tuple(_INTEGER.get(t, t) for t in value.results),
    )


def without_singles(types: tuple[int, ...]) -> tuple[int, ...]:
    """Integers in place of every f32, and of every f64 where the types are many."""
    if crowded(types):
        return tuple(_INTEGER.get(t, t) for t in types)
    return tuple(I32 if t == F32 else t for t in types)


def lower(value: FuncType) -> FuncType:
    """A function's type in the prepared module, without markers."""
    if F32 not in value.params and F32 not in value.results and not crowded(value.results):
        return value
    return FuncType(tuple(I32 if t == F32 else t for t in value.params), without_singles(value.results))


@dataclass(slots=True)
class Lowered:
    """The prepared module's types, by the guest's; `module` is the guest's with them in place."""

    module: Module
    types: dict[FuncType, FuncType]
    markers: dict[FuncType, tuple[int, ...]]  # of the guest's types, where there are any
    indices: dict[FuncType, int] = field(default_factory=dict)

    def type_index(self, wanted: FuncType) -> int:
        """The index of a type, added when it is new."""
        types = self.module.types
        if not self.indices:
            self.indices.update((value, i) for i, value in reversed(list(enumerate(types))))
        if wanted not in self.indices:
            self.indices[wanted] = len(types)
            types.append(wanted)
        return self.indices[wanted]

    def block_type(self, kind: FuncType) -> bytes:
        """A block type (§5.3.6)."""
        if not kind.params and len(kind.results) < 2:
            return bytes(kind.results) or b"\x40"
        return write_signed(self.type_index(kind))


def lower_types(module: Module, code: Sequence[FunctionCode]) -> Lowered:
    """Find the types; the module's own bodies are left to `nan`."""
    types = {value: lower(value) for value in module.types}
    markers: dict[FuncType, tuple[int, ...]] = {}
    if any(value != lowered for value, lowered in types.items()):
        compared = _compared(module, code)
        taken = {value for value in compared if types[value] == value}
        used: dict[FuncType, int] = {}  # by type: how many markers were tried
        for value in compared:
            base = types[value]
            if base == value:
                continue
            marked = base
            while marked in taken:
                used[base] = used.get(base, 0) + 1
                markers[value] = _marker(used[base])
                marked = FuncType(base.params + markers[value], base.results)
            taken.add(marked)
            types[value] = marked
    globals_ = [_global(variable) for variable in module.globals]
    return Lowered(replace(module, types=[types[value] for value in module.types], globals=globals_), types, markers)


def _marker(number: int) -> tuple[int, ...]:
    """A number from 1 on as types (bijective base three)."""
    digits: list[int] = []
    while number:
        number, digit = divmod(number - 1, len(_MARKERS))
        digits.append(_MARKERS[digit])
    return tuple(digits)


def _compared(module: Module, code: Sequence[FunctionCode]) -> list[FuncType]:
    """The types that a `call_indirect` may compare, in the order of the type section."""
    in_table = {f for element in module.elements for f in element.functions if f is not None}
    found = {module.type_of(function) for function in in_table}
    for function in code:
        callees = map(function.events.callee, function.calls)
        found.update(module.types[-1 - callee] for callee in callees if callee < 0)
    return [value for value in dict.fromkeys(module.types) if value in found]


def _global(variable: Global) -> Global:
    """A global without f32: the bits of its constant."""
    if variable.value_type != F32:
        return variable
    bits = int.from_bytes(variable.init[1:], "little", signed=True)
    return Global(I32, variable.mutable, b"\x41" + write_signed(bits))
