"""Small functions of our own: ways in, host calls with their price, growth and bulk work, and the traps.

Each is written once and called by index; bodies never hold more of it than the call.
"""

from __future__ import annotations

from typing import Final

from icn_lite.wasm import opcodes as op
from icn_lite.wasm.encode import Draft, locals_of
from icn_lite.wasm.hostfuncs import HostFunction
from icn_lite.wasm.leb import write_signed, write_u32
from icn_lite.wasm.lowered import ZERO
from icn_lite.wasm.module import SizeRange
from icn_lite.wasm.opcodes import F32, F64, I32, I64
from icn_lite.wasm.types import FuncType, TrapFlag

# From a type to another: nothing, or a reinterpretation.
_CONVERT: Final = {
    (I32, I32): b"", (I64, I64): b"", (F32, F32): b"", (F64, F64): b"",
    (F32, I32): b"\xbc", (F64, I64): b"\xbd", (I32, F32): b"\xbe", (I64, F64): b"\xbf",
}  # fmt: skip
_VOID: Final = FuncType((), ())
_NO_LOCALS: Final = b"\x00"
_END: Final = b"\x0b"


class Shims:
    """Adds functions to a draft."""

    def __init__(self, draft: Draft, fuel: int, trap: int, depth: int, stack_bytes: int) -> None:
        self.draft = draft
        self.fuel = write_u32(fuel)
        self.trap = write_u32(trap)
        self.depth = write_u32(depth)
        self.stack_bytes = stack_bytes
        self.out_of_fuel = self.trapping(TrapFlag.OUT_OF_FUEL)
        self.exhausted = self.trapping(TrapFlag.CALL_STACK_EXHAUSTED)

    def trapping(self, flag: TrapFlag) -> int:
        """A function that sets the flag and traps."""
        return self.draft.function(_VOID, _NO_LOCALS + self.raise_flag(flag) + _END)

    def raise_flag(self, flag: TrapFlag) -> bytes:
        """Set the flag and trap."""
        return b"\x41" + write_signed(flag) + b"\x24" + self.trap + b"\x00"

    def block_type(self, results: tuple[int, ...]) -> bytes:
        """The block type of a block that gives these results."""
        if not results:
            return b"\x40"
        if len(results) == 1:
            return bytes(results)
        return write_signed(self.draft.type_index(FuncType((), results)))

    def check(self) -> bytes:
        """Trap when the counter is below zero."""
        return b"\x23" + self.fuel + b"\x42\x00\x53\x04\x40\x10" + write_u32(self.out_of_fuel) + _END

    def take(self, amount: int) -> bytes:
        """Charge a constant."""
        return b"\x23" + self.fuel + b"\x42" + write_signed(amount) + b"\x7d\x24" + self.fuel

    def take_local(self, index: int, price: int) -> bytes:
        """Charge a price for each unit of an i32 parameter."""
        each = b"" if price == 1 else b"\x42" + write_signed(price) + b"\x7e"
        return b"\x23" + self.fuel + b"\x20" + write_u32(index) + b"\xad" + each + b"\x7d\x24" + self.fuel

    def entry(self, target: int, wanted: FuncType, given: FuncType, folded: int, counts_depth: bool) -> int:
        """The way in from outside: budget of depth, entry cost, and the last look at the counter.

        `wanted` is the type of the target, `given` that of the way in.
        """
        before: list[bytes] = []
        if counts_depth:
            before.append(b"\x41" + write_signed(self.stack_bytes) + b"\x24" + self.depth)
        if folded:
            before.append(self.take(folded))
        return self.adapter(target, wanted, given, b"".join(before), self.check())

    def adapter(self, target: int, wanted: FuncType, given: FuncType, before: bytes = b"", after: bytes = b"") -> int:
        """A function of type `given` that calls one of type `wanted`, which may have the bits of floats as integers
        or floats for them, and parameters at the end that nobody reads.
        """
        body = [before]
        for i, (have, want) in enumerate(zip(given.params, wanted.params, strict=False)):
            body.append(b"\x20" + write_u32(i) + _CONVERT[have, want])
        body.extend(ZERO[t] for t in wanted.params[len(given.params) :])
        body.append(b"\x10" + write_u32(target) + after)
        local_types: tuple[int, ...] = ()
        if len(wanted.results) == 1:
            body.append(_CONVERT[wanted.results[0], given.results[0]])
        elif wanted.results != given.results:
            local_types, base = wanted.results, len(given.params)
            body.extend(b"\x21" + write_u32(base + i) for i in reversed(range(len(local_types))))
            for i, (have, want) in enumerate(zip(wanted.results, given.results, strict=True)):
                body.append(b"\x20" + write_u32(base + i) + _CONVERT[have, want])
        return self.draft.function(given, locals_of(local_types) + b"".join(body) + _END)

    def start(self, entry: int | None, fuel: int) -> int:
        """The start function with what its call costs."""
        call = b"" if entry is None else b"\x10" + write_u32(entry)
        return self.draft.function(_VOID, _NO_LOCALS + self.take(fuel) + self.check() + call + _END)

    def host(self, index: int, row: HostFunction, given: FuncType) -> int:
        """A host call with its price, of the type that guests call it by; a free one is called directly."""
        if not row.fuel_base and not row.fuel_per_byte and row.type == given:
            return index
        before = b""
        if row.fuel_base:
            before = self.take(row.fuel_base)
        if row.fuel_per_byte and row.byte_param is not None:
            before += self.take_local(row.byte_param, row.fuel_per_byte)
        return self.adapter(index, row.type, given, before + self.check())

    def helpers(self, events: set[int], memory: SizeRange | None) -> dict[int, bytes]:
        """The functions that stand for growth and bulk instructions, as far as the module has them."""
        found: dict[int, bytes] = {}
        if memory is None:
            return found
        if op.MEMORY_GROW in events:
            found[op.MEMORY_GROW] = write_u32(self.grow(memory.maximum or 0))
        for event, code in ((op.EVENT_MEMORY_COPY, b"\xfc\x0a\x00\x00"), (op.EVENT_MEMORY_FILL, b"\xfc\x0b\x00")):
            if event in events:
                found[event] = write_u32(self.bulk(code))
        return found

    def bulk(self, code: bytes) -> int:
        """`memory.copy` or `memory.fill`, one fuel a byte before the work."""
        body = _NO_LOCALS + self.take_local(2, 1) + self.check() + b"\x20\x00\x20\x01\x20\x02" + code + _END
        return self.draft.function(FuncType((I32, I32, I32), ()), body)

    def grow(self, maximum: int) -> int:
        """`memory.grow`: -1 above the maximum, which engines see differently; one fuel a page.

        Below the maximum the answer may only be the old size: an engine that can't allocate is a failure of the
        host, not something for the guest to see.
        """
        code = [
            b"\x01\x01\x7f",  # local 1: the old size
            b"\x20\x00\x41" + write_signed(maximum) + b"\x3f\x00\x6b\x4b\x04\x40\x41\x7f\x0f\x0b",
            self.take_local(0, 1) + self.check(),
            b"\x20\x00\x40\x00\x22\x01\x41\x7f\x46\x04\x40" + self.raise_flag(TrapFlag.HOST_MEMORY) + _END,
            b"\x20\x01" + _END,
        ]
        return self.draft.function(FuncType((I32,), (I32,)), b"".join(code))
