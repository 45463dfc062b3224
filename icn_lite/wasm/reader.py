"""Reading the parts that sections are made of: integers, names, types, ranges, constant expressions (§5.2 to §5.4).

Every count is bounded by the bytes that are left before anything is allocated for it, then by its limit.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from icn_lite.model.errors import ModuleError
from icn_lite.wasm.leb import read_signed, read_u32, write_signed
from icn_lite.wasm.limits import Limits
from icn_lite.wasm.module import Module, SizeRange
from icn_lite.wasm.opcodes import (
    END,
    F32,
    F32_CONST,
    F64,
    F64_CONST,
    GLOBAL_GET,
    I32,
    I32_CONST,
    I64,
    I64_CONST,
    TYPE_NAMES,
    VALUE_TYPES,
)

FUNCREF: Final = 0x70
EXTERNREF: Final = 0x6F
REF_HINT: Final = "compile with -mno-reference-types"


# The extended constant expressions (core specification 3.0 §3.4.14): i32 and i64 add, sub, mul; type and width.
_ARITHMETIC: Final = {
    0x6A: (I32, 32), 0x6B: (I32, 32), 0x6C: (I32, 32), 0x7C: (I64, 64), 0x7D: (I64, 64), 0x7E: (I64, 64),
}  # fmt: skip


class ConstExpr(NamedTuple):
    """A constant as one instruction without `end`, and the number of instructions that the guest wrote for it."""

    code: bytes
    instructions: int


def _work_out(opcode: int, left: int, right: int, bits: int) -> bytes:
    """The constant that an instruction gives."""
    number = left + right if opcode in (0x6A, 0x7C) else left - right if opcode in (0x6B, 0x7D) else left * right
    number &= (1 << bits) - 1
    number -= (number >> (bits - 1)) << bits
    return (b"\x41" if bits == 32 else b"\x42") + write_signed(number)


class Reader:
    """A position in a module, and what can be read there."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self.data = data
        self.limits = limits
        self.module = Module(data)
        self.pos = 0
        self.end = len(data)

    def u32(self) -> int:
        """An unsigned integer at the position."""
        value, self.pos = read_u32(self.data, self.pos, self.end)
        return value

    def byte(self) -> int:
        """One byte at the position."""
        if self.pos >= self.end:
            raise ModuleError("malformed", "unexpected end", offset=self.pos)
        self.pos += 1
        return self.data[self.pos - 1]

    def count(self, what: str, limit: int) -> int:
        """The length of a vector: bounded by the bytes that are left, then by the limit."""
        at = self.pos
        value = self.u32()
        if value > self.end - self.pos:
            raise ModuleError("malformed", f"{value} {what} announced, {self.end - self.pos} bytes left", offset=at)
        if value > limit:
            raise ModuleError("limit", f"{value} {what}, at most {limit} are allowed", offset=at)
        return value

    def name(self) -> str:
        """A UTF-8 name."""
        at = self.pos
        size = self.u32()
        if size > self.end - self.pos:
            raise ModuleError("malformed", f"name of {size} bytes exceeds its section", offset=at)
        raw = self.data[self.pos : self.pos + size]
        self.pos += size
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ModuleError("malformed", "name is not UTF-8", offset=self.pos - size + error.start) from error
        if size > self.limits.name_bytes:
            raise ModuleError("limit", f"name of {size} bytes, at most {self.limits.name_bytes}", offset=at)
        return text

    def value_type(self) -> int:
        """A value type that this room runs."""
        at = self.pos
        value = self.byte()
        if value in VALUE_TYPES:
            return value
        if value in (FUNCREF, EXTERNREF):
            raise ModuleError("unsupported", f"values of type {TYPE_NAMES[value]}", offset=at, hint=REF_HINT)
        if value == 0x7B:
            raise ModuleError("unsupported", "values of type v128", offset=at, hint="compile with -mno-simd128")
        raise ModuleError("malformed", f"unknown value type 0x{value:02x}", offset=at)

    def size_range(self, largest: int, what: str) -> SizeRange:
        """Limits of a table or memory."""
        at = self.pos
        flag = self.byte()
        if flag > 1:
            if what == "memory" and flag <= 7:
                if flag & 2:
                    raise ModuleError("unsupported", "shared memory", offset=at, hint="compile with -mno-atomics")
                raise ModuleError("unsupported", "64-bit memory", offset=at, hint="compile with --target=wasm32")
            raise ModuleError("malformed", f"unknown limits flag {flag}", offset=at)
        minimum = self.u32()
        maximum = self.u32() if flag else None
        if minimum > largest or (maximum is not None and maximum > largest):
            raise ModuleError("invalid", f"{what} size exceeds {largest}", offset=at)
        if maximum is not None and maximum < minimum:
            raise ModuleError("invalid", f"{what} minimum {minimum} exceeds maximum {maximum}", offset=at)
        return SizeRange(minimum, maximum)

    def const_expr(self, wanted: int) -> ConstExpr:
        """A constant expression: one constant, or sums, differences and products of integers, worked out here."""
        at = self.pos
        stack: list[tuple[int, bytes]] = []
        count = 0
        while True:
            here = self.pos
            opcode = self.byte()
            if opcode == END:
                break
            count += 1
            if opcode in _ARITHMETIC:
                value_type, bits = _ARITHMETIC[opcode]
                if len(stack) < 2 or stack[-1][0] != value_type or stack[-2][0] != value_type:
                    raise ModuleError(
                        "invalid", f"constant expression lacks two {TYPE_NAMES[value_type]} operands", offset=here
                    )
                right, left = (read_signed(raw, 1, len(raw), bits)[0] for _, raw in (stack.pop(), stack.pop()))
                stack.append((value_type, _work_out(opcode, left, right, bits)))
            else:
                stack.append(self.const_instruction(opcode, here))
        if len(stack) != 1:
            raise ModuleError("invalid", f"constant expression leaves {len(stack)} values, expected 1", offset=at)
        value_type, out = stack[0]
        if value_type != wanted:
            raise ModuleError(
                "invalid",
                f"constant has type {TYPE_NAMES[value_type]}, expected {TYPE_NAMES[wanted]}",
                offset=at,
            )
        return ConstExpr(out, count)

    def offset(self) -> tuple[int, int]:
        """Where an active segment begins, read as unsigned, and of how many instructions it was made."""
        expression = self.const_expr(I32)
        value, _ = read_signed(expression.code, 1, len(expression.code), 32)
        return value & 0xFFFFFFFF, expression.instructions

    def const_instruction(self, opcode: int, at: int) -> tuple[int, bytes]:
        """Type and bytes of one constant instruction."""
        if opcode == I32_CONST:
            value, self.pos = read_signed(self.data, self.pos, self.end, 32)
            return I32, b"\x41" + write_signed(value)
        if opcode == I64_CONST:
            value, self.pos = read_signed(self.data, self.pos, self.end, 64)
            return I64, b"\x42" + write_signed(value)
        if opcode in (F32_CONST, F64_CONST):
            width, value_type = (4, F32) if opcode == F32_CONST else (8, F64)
            if self.end - self.pos < width:
                raise ModuleError("malformed", "unexpected end in a constant", offset=at)
            self.pos += width
            return value_type, self.data[self.pos - width - 1 : self.pos]
        if opcode == GLOBAL_GET:
            index = self.u32()
            # Only imported globals may stand here, and there are none: an import that no row names was refused.
            raise ModuleError("invalid", f"constant reads global {index}, which is not an imported constant", offset=at)
        if opcode in (0xD0, 0xD2):
            raise ModuleError("unsupported", "reference constants", offset=at, hint=REF_HINT)
        raise ModuleError("invalid", f"instruction 0x{opcode:02x} in a constant expression", offset=at)
