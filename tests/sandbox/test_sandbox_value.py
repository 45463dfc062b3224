"""Values: what people type, what receipts print."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.model.errors import UsageError
from icn_lite.sandbox.value import BITS, VALUE_TYPES, Value, parse_value

values = st.sampled_from(VALUE_TYPES).flatmap(
    lambda kind: st.integers(0, (1 << BITS[kind]) - 1).map(lambda bits: Value(kind, bits))
)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(values)
def test_text_and_back_is_the_same_bits(value: Value) -> None:
    assert parse_value(str(value)) == value


@pytest.mark.parametrize(
    ("text", "kind", "bits", "printed"),
    [
        ("i32:7", "i32", 7, "i32:7"),
        ("i32:-1", "i32", 0xFFFFFFFF, "i32:-1"),
        ("i32:4294967295", "i32", 0xFFFFFFFF, "i32:-1"),
        ("i32:0x10", "i32", 16, "i32:16"),
        ("i64:-1", "i64", (1 << 64) - 1, "i64:-1"),
        ("f64:1.5", "f64", 0x3FF8000000000000, "f64:0x3ff8000000000000"),
        ("f64:0x3ff8000000000000", "f64", 0x3FF8000000000000, "f64:0x3ff8000000000000"),
        ("f32:0.5", "f32", 0x3F000000, "f32:0x3f000000"),
        ("f32:0x7fa00000", "f32", 0x7FA00000, "f32:0x7fa00000"),  # a signalling NaN keeps its bits
        ("f64:0x1.8p0", "f64", 0x3FF8000000000000, "f64:0x3ff8000000000000"),
        ("f64:-inf", "f64", 0xFFF0000000000000, "f64:0xfff0000000000000"),
    ],
)
def test_examples(text: str, kind: str, bits: int, printed: str) -> None:
    value = parse_value(text)
    assert (value.type, value.bits, str(value)) == (kind, bits, printed)


@settings(derandomize=True, deadline=None)
@given(st.floats())
def test_decimal_doubles_are_rounded_as_python_does(number: float) -> None:
    bits = parse_value(f"f64:{number!r}").bits
    assert math.isnan(number) or struct.pack("<Q", bits) == struct.pack("<d", number)


@pytest.mark.parametrize(
    "text",
    ["", "7", "i32", "i32:", "i16:1", "i32:1.5", "i32:4294967296", "i32:-2147483649", "i64:18446744073709551616",
     "f32:0x100000000", "f64:0x10000000000000000", "f64:one", "f32:1e400", "i32:" + "9" * 1000, "f64: : "],
)  # fmt: skip
def test_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_value(text)
    assert "i32:7" in refusal.value.hint


def test_a_value_fits_its_type() -> None:
    with pytest.raises(UsageError):
        Value("i32", 1 << 32)
    with pytest.raises(UsageError):
        Value("i128", 0)  # type: ignore[arg-type]
    assert Value("i64", 258).to_bytes() == b"\x02\x01" + bytes(6)
