"""WebAssembly values as people type them and as receipts print them.

A value is its type and its bits: floats never pass through Python's float on their way, except when a person writes
`f64:1.5`. `parse_value` reads `i32:7`, `i64:-1`, `f32:0.5`, `f64:1.5`, `f64:0x3ff8000000000000`; `str()` gives
integers signed and floats as bits, so that `parse_value(str(v)) == v` for every value, NaNs included.
WebAssembly core specification §2.2 (values), §2.3.1 (number types).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast, get_args

from icn_lite.model.errors import UsageError

ValueType: TypeAlias = Literal["i32", "i64", "f32", "f64"]

VALUE_TYPES: Final[tuple[ValueType, ...]] = get_args(ValueType)
BITS: Final[dict[str, int]] = {"i32": 32, "i64": 64, "f32": 32, "f64": 64}
MAX_TEXT: Final = 400  # longer than any decimal a double needs; keeps int() and float() linear
_EXAMPLE: Final = "write it as i32:7, i64:-1, f64:1.5 or f64:0x3ff8000000000000"


@dataclass(frozen=True, slots=True)
class Value:
    """A number of one of the four types; `bits` is unsigned and fits the type."""

    type: ValueType
    bits: int

    def __post_init__(self) -> None:
        if self.type not in BITS:
            raise UsageError(f"expected one of the types {', '.join(VALUE_TYPES)}, found {self.type!r}")
        if not 0 <= self.bits < 1 << BITS[self.type]:
            raise UsageError(f"expected {BITS[self.type]} bits for {self.type}, found {self.bits:#x}")

    def __str__(self) -> str:
        width = BITS[self.type]
        if self.type.startswith("f"):
            return f"{self.type}:0x{self.bits:0{width // 4}x}"
        return f"{self.type}:{self.bits - (1 << width) if self.bits >> (width - 1) else self.bits}"

    def to_bytes(self) -> bytes:
        """The little-endian bytes, as the value would lie in a memory."""
        return self.bits.to_bytes(BITS[self.type] // 8, "little")


def parse_value(text: str) -> Value:
    """Read one argument of `--invoke`; integers may be signed or unsigned, decimal or 0x; raises `UsageError`."""
    kind, colon, number = text.strip().partition(":")
    if not colon or kind not in BITS:
        raise UsageError(f"expected a type and a number, found {text[:60]!r}", hint=_EXAMPLE)
    if len(number) > MAX_TEXT:
        raise UsageError(f"expected at most {MAX_TEXT} characters in a number, found {len(number)}", hint=_EXAMPLE)
    value_type = cast(ValueType, kind)
    try:
        bits = _float_bits(value_type, number) if value_type in ("f32", "f64") else _integer_bits(value_type, number)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"expected a number that fits {kind}, found {number[:60]!r}", hint=_EXAMPLE) from error
    return Value(value_type, bits)


def _integer_bits(value_type: ValueType, number: str) -> int:
    width = BITS[value_type]
    value = int(number, 0)
    if not -(1 << (width - 1)) <= value < 1 << width:
        raise OverflowError(number)
    return value % (1 << width)


def _float_bits(value_type: ValueType, number: str) -> int:
    """Bits of `0x…` as they stand, else the decimal rounded to the nearest."""
    width = BITS[value_type]
    if number.startswith("0x") and "." not in number and "p" not in number:
        bits = int(number, 16)
        if bits >= 1 << width:
            raise OverflowError(number)
        return bits
    value = float.fromhex(number) if "0x" in number else float(number)
    if math.isinf(value) and "inf" not in number.lower():
        raise OverflowError(number)
    packed = struct.pack("<f", value) if value_type == "f32" else struct.pack("<d", value)
    return int.from_bytes(packed, "little")
