"""The instructions that a generated program may hold, as rows: name, operand types, result type."""

from __future__ import annotations

from typing import Final

NUMBERS: Final = ("i32", "i64", "f32", "f64")

Row = tuple[str, tuple[str, ...], str]


def _rows() -> list[Row]:
    rows: list[Row] = []
    for t in ("i32", "i64"):
        rows += [(f"{t}.eqz", (t,), "i32")]
        rows += [
            (f"{t}.{n}", (t, t), "i32")
            for n in ("eq", "ne", *(f"{c}_{s}" for c in ("lt", "gt", "le", "ge") for s in "su"))
        ]
        rows += [(f"{t}.{n}", (t,), t) for n in ("clz", "ctz", "popcnt", "extend8_s", "extend16_s")]
        rows += [
            (f"{t}.{n}", (t, t), t)
            for n in ("add", "sub", "mul", "and", "or", "xor", "shl", "shr_s", "shr_u", "rotl", "rotr")
        ]
        for f in ("f32", "f64"):
            rows += [(f"{t}.trunc_sat_{f}_{s}", (f,), t) for s in "su"]
            rows += [(f"{f}.convert_{t}_{s}", (t,), f) for s in "su"]
    for t in ("f32", "f64"):
        rows += [(f"{t}.{n}", (t, t), "i32") for n in ("eq", "ne", "lt", "gt", "le", "ge")]
        rows += [(f"{t}.{n}", (t,), t) for n in ("abs", "neg", "ceil", "floor", "trunc", "nearest", "sqrt")]
        rows += [(f"{t}.{n}", (t, t), t) for n in ("add", "sub", "mul", "div", "min", "max", "copysign")]
    rows += [
        ("i64.extend32_s", ("i64",), "i64"), ("i32.wrap_i64", ("i64",), "i32"),
        ("i64.extend_i32_s", ("i32",), "i64"), ("i64.extend_i32_u", ("i32",), "i64"),
        ("f32.demote_f64", ("f64",), "f32"), ("f64.promote_f32", ("f32",), "f64"),
        ("i32.reinterpret_f32", ("f32",), "i32"), ("i64.reinterpret_f64", ("f64",), "i64"),
        ("f32.reinterpret_i32", ("i32",), "f32"), ("f64.reinterpret_i64", ("i64",), "f64"),
    ]  # fmt: skip
    return rows


PURE: Final = _rows()
"""What can't trap."""

DIVISIONS: Final[list[Row]] = [
    (f"{t}.{n}_{s}", (t, t), t) for t in ("i32", "i64") for n in ("div", "rem") for s in "su"
]
TRUNCATIONS: Final[list[Row]] = [
    (f"{t}.trunc_{f}_{s}", (f,), t) for t in ("i32", "i64") for f in ("f32", "f64") for s in "su"
]
LOADS: Final[list[tuple[str, str, int]]] = [  # name, type, width in bytes
    *((f"{t}.load", t, int(t[1:]) // 8) for t in NUMBERS),
    *((f"{t}.load{bits}_{s}", t, bits // 8) for t in ("i32", "i64") for bits in (8, 16) for s in "su"),
    ("i64.load32_s", "i64", 4),
    ("i64.load32_u", "i64", 4),
]
STORES: Final[list[tuple[str, str, int]]] = [
    *((f"{t}.store", t, int(t[1:]) // 8) for t in NUMBERS),
    *((f"{t}.store{bits}", t, bits // 8) for t in ("i32", "i64") for bits in (8, 16)),
    ("i64.store32", "i64", 4),
]
