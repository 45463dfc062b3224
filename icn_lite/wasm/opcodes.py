"""The instruction set as data (WebAssembly core specification 2.0, §5.4 and §7.3).

A new instruction is a row here and a test. Accepted: the MVP with mutable globals, sign extension, saturating
float-to-int conversion, multi-value, and bulk memory. Everything else has a row in `UNSUPPORTED` that says which
feature it belongs to, so that a refusal can name it.
"""

from __future__ import annotations

from typing import Final

I32: Final = 0x7F
I64: Final = 0x7E
F32: Final = 0x7D
F64: Final = 0x7C
ANY: Final = 0  # the operand of unreachable code, whose type nothing constrains

VALUE_TYPES: Final = frozenset((I32, I64, F32, F64))
TYPE_NAMES: Final = {
    I32: "i32", I64: "i64", F32: "f32", F64: "f64", ANY: "any",
    0x7B: "v128", 0x70: "funcref", 0x6F: "externref",
}  # fmt: skip

# What belongs to later features outside of bodies, so that a refusal can name them: a section, and forms of types.
TAG_SECTION: Final = 13
GC_FORMS: Final = frozenset((0x5F, 0x5E, 0x50, 0x4F, 0x4E))  # struct, array, sub, final sub, rec

# Instructions that need more than popping and pushing.
UNREACHABLE, NOP, BLOCK, LOOP, IF, ELSE, END = 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x0B
BR, BR_IF, BR_TABLE, RETURN, CALL, CALL_INDIRECT = 0x0C, 0x0D, 0x0E, 0x0F, 0x10, 0x11
DROP, SELECT, SELECT_T = 0x1A, 0x1B, 0x1C
LOCAL_GET, LOCAL_SET, LOCAL_TEE, GLOBAL_GET, GLOBAL_SET = 0x20, 0x21, 0x22, 0x23, 0x24
MEMORY_SIZE, MEMORY_GROW = 0x3F, 0x40
I32_CONST, I64_CONST, F32_CONST, F64_CONST = 0x41, 0x42, 0x43, 0x44
PREFIX = 0xFC

# Second byte of the 0xFC prefix.
MEMORY_INIT, DATA_DROP, MEMORY_COPY, MEMORY_FILL, ELEM_DROP, TABLE_SIZE = 8, 9, 10, 11, 13, 16

# Events of the bulk instructions are numbered past the one-byte opcodes.
EVENT_MEMORY_INIT, EVENT_DATA_DROP, EVENT_MEMORY_COPY, EVENT_MEMORY_FILL = 0x108, 0x109, 0x10A, 0x10B
EVENT_ELEM_DROP, EVENT_TABLE_SIZE = 0x10D, 0x110
# These take nothing from the stack and leave nothing there.
SILENT_EVENTS: Final = frozenset((EVENT_DATA_DROP, EVENT_ELEM_DROP))

# opcode -> (operands, operand type, result type): pops n operands of one type, pushes one.
Row = tuple[int, int, int]


def _simple() -> list[Row | None]:
    rows: list[Row | None] = [None] * 256

    def fill(first: int, last: int, row: Row) -> None:
        for opcode in range(first, last + 1):
            rows[opcode] = row

    fill(0x45, 0x45, (1, I32, I32))  # i32.eqz
    fill(0x46, 0x4F, (2, I32, I32))  # i32 comparisons
    fill(0x50, 0x50, (1, I64, I32))  # i64.eqz
    fill(0x51, 0x5A, (2, I64, I32))
    fill(0x5B, 0x60, (2, F32, I32))
    fill(0x61, 0x66, (2, F64, I32))
    fill(0x67, 0x69, (1, I32, I32))  # clz ctz popcnt
    fill(0x6A, 0x78, (2, I32, I32))
    fill(0x79, 0x7B, (1, I64, I64))
    fill(0x7C, 0x8A, (2, I64, I64))
    fill(0x8B, 0x91, (1, F32, F32))  # abs neg ceil floor trunc nearest sqrt
    fill(0x92, 0x98, (2, F32, F32))  # add sub mul div min max copysign
    fill(0x99, 0x9F, (1, F64, F64))
    fill(0xA0, 0xA6, (2, F64, F64))
    for opcode, operand, result in (
        (0xA7, I64, I32), (0xA8, F32, I32), (0xA9, F32, I32), (0xAA, F64, I32), (0xAB, F64, I32),
        (0xAC, I32, I64), (0xAD, I32, I64), (0xAE, F32, I64), (0xAF, F32, I64), (0xB0, F64, I64), (0xB1, F64, I64),
        (0xB2, I32, F32), (0xB3, I32, F32), (0xB4, I64, F32), (0xB5, I64, F32), (0xB6, F64, F32),
        (0xB7, I32, F64), (0xB8, I32, F64), (0xB9, I64, F64), (0xBA, I64, F64), (0xBB, F32, F64),
        (0xBC, F32, I32), (0xBD, F64, I64), (0xBE, I32, F32), (0xBF, I64, F64),
        (0xC0, I32, I32), (0xC1, I32, I32), (0xC2, I64, I64), (0xC3, I64, I64), (0xC4, I64, I64),
    ):  # fmt: skip
        rows[opcode] = (1, operand, result)
    return rows


SIMPLE: Final = _simple()

# Saturating conversions, second byte of 0xFC: (operand type, result type).
SATURATING: Final[dict[int, tuple[int, int]]] = {
    0: (F32, I32), 1: (F32, I32), 2: (F64, I32), 3: (F64, I32),
    4: (F32, I64), 5: (F32, I64), 6: (F64, I64), 7: (F64, I64),
}  # fmt: skip

# opcode -> (type, largest alignment exponent)
LOADS: Final[dict[int, tuple[int, int]]] = {
    0x28: (I32, 2), 0x29: (I64, 3), 0x2A: (F32, 2), 0x2B: (F64, 3),
    0x2C: (I32, 0), 0x2D: (I32, 0), 0x2E: (I32, 1), 0x2F: (I32, 1),
    0x30: (I64, 0), 0x31: (I64, 0), 0x32: (I64, 1), 0x33: (I64, 1), 0x34: (I64, 2), 0x35: (I64, 2),
}  # fmt: skip
STORES: Final[dict[int, tuple[int, int]]] = {
    0x36: (I32, 2), 0x37: (I64, 3), 0x38: (F32, 2), 0x39: (F64, 3),
    0x3A: (I32, 0), 0x3B: (I32, 1), 0x3C: (I64, 0), 0x3D: (I64, 1), 0x3E: (I64, 2),
}  # fmt: skip

# What a refusal says about opcodes that this room knows but does not run: feature, compiler flag that avoids it.
UNSUPPORTED: Final[dict[int, tuple[str, str]]] = {
    0x06: ("exception handling", "compile without exceptions"),
    0x07: ("exception handling", "compile without exceptions"),
    0x08: ("exception handling", "compile without exceptions"),
    0x09: ("exception handling", "compile without exceptions"),
    0x0A: ("exception handling", "compile without exceptions"),
    0x12: ("tail calls", "compile with -mno-tail-call"),
    0x13: ("tail calls", "compile with -mno-tail-call"),
    0x14: ("typed function references", "compile for the MVP feature set"),
    0x15: ("typed function references", "compile for the MVP feature set"),
    0x18: ("exception handling", "compile without exceptions"),
    0x19: ("exception handling", "compile without exceptions"),
    0x1F: ("exception handling", "compile without exceptions"),
    0x25: ("reference types (table.get)", "compile with -mno-reference-types"),
    0x26: ("reference types (table.set)", "compile with -mno-reference-types"),
    0xD0: ("reference types (ref.null)", "compile with -mno-reference-types"),
    0xD1: ("reference types (ref.is_null)", "compile with -mno-reference-types"),
    0xD2: ("reference types (ref.func)", "compile with -mno-reference-types"),
    0xFB: ("garbage collection", "compile for the MVP feature set"),
    0xFD: ("SIMD", "compile with -mno-simd128"),
    0xFE: ("threads", "compile with -mno-atomics"),
}
UNSUPPORTED_PREFIXED: Final[dict[int, str]] = {
    12: "table.init", 14: "table.copy", 15: "table.grow", 17: "table.fill",
}  # fmt: skip
