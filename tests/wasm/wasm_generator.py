"""Valid modules by chance: every supported instruction, bounded loops, calls, traps now and then.

From one seed comes one module in text form. Loops count down a local of their own at their head, so that a `br` to
the head can't make them endless; calls go to later functions only, except one that recurses on a small argument.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

I_UN = {
    "i32": ["clz", "ctz", "popcnt", "extend8_s", "extend16_s"],
    "i64": ["clz", "ctz", "popcnt", "extend8_s", "extend16_s", "extend32_s"],
}
I_BIN = ["add", "sub", "mul", "and", "or", "xor", "shl", "shr_s", "shr_u", "rotl", "rotr"]
I_DIV = ["div_s", "div_u", "rem_s", "rem_u"]
I_CMP = ["eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u"]
F_UN = ["abs", "neg", "ceil", "floor", "trunc", "nearest", "sqrt"]
F_BIN = ["add", "sub", "mul", "div", "min", "max", "copysign"]
F_CMP = ["eq", "ne", "lt", "gt", "le", "ge"]
LOADS = {
    "i32": ["load", "load8_s", "load8_u", "load16_s", "load16_u"],
    "i64": ["load", "load8_s", "load8_u", "load16_s", "load16_u", "load32_s", "load32_u"],
    "f32": ["load"],
    "f64": ["load"],
}
STORES = {
    "i32": ["store", "store8", "store16"],
    "i64": ["store", "store8", "store16", "store32"],
    "f32": ["store"],
    "f64": ["store"],
}
CONVERT = {
    "i32": [("wrap_i64", "i64"), ("reinterpret_f32", "f32"), ("trunc_sat_f64_s", "f64"), ("trunc_sat_f32_u", "f32"),
            ("trunc_f64_s", "f64"), ("trunc_f32_u", "f32")],
    "i64": [("extend_i32_s", "i32"), ("extend_i32_u", "i32"), ("reinterpret_f64", "f64"), ("trunc_sat_f64_u", "f64"),
            ("trunc_sat_f32_s", "f32"), ("trunc_f64_u", "f64")],
    "f32": [("convert_i32_s", "i32"), ("convert_i64_u", "i64"), ("demote_f64", "f64"), ("reinterpret_i32", "i32")],
    "f64": [("convert_i32_u", "i32"), ("convert_i64_s", "i64"), ("promote_f32", "f32"), ("reinterpret_i64", "i64")],
}  # fmt: skip
ALL = ("i32", "i64", "f32", "f64")


@dataclass
class Signature:
    """Parameters and result of a generated function."""

    params: list[str]
    result: str | None


@dataclass
class Generator:
    """One module."""

    seed: int
    floats: bool = True
    rng: Random = field(init=False)
    signatures: list[Signature] = field(default_factory=list)
    locals: list[str] = field(default_factory=list)
    labels: list[tuple[str, str | None]] = field(default_factory=list)  # name, carried type
    loops: list[str] = field(default_factory=list)
    current: int = 0
    fresh: int = 0
    nesting: int = 0
    budget: int = 0

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)

    def type(self) -> str:
        return self.rng.choice(ALL if self.floats else ALL[:2])

    def name(self, prefix: str) -> str:
        self.fresh += 1
        return f"${prefix}{self.fresh}"

    def const(self, t: str) -> str:
        r = self.rng
        if t[0] == "i":
            bits = int(t[1:])
            value = r.choice([r.randrange(-4, 20), r.randrange(-4, 20), r.randrange(-(1 << bits - 1), 1 << bits - 1),
                              -(1 << bits - 1), (1 << bits - 1) - 1])  # fmt: skip
            return f"({t}.const {value})"
        choice = r.choice(["0.0", "-0.0", "1.5", "-2.25", "1e30", "-1e9", "inf", "-inf", "nan", "-nan", "0x1p-130"])
        return f"({t}.const {choice})"

    def address(self) -> str:
        if self.rng.random() < 0.02:
            return self.expr("i32")
        return f"(i32.and {self.expr('i32')} (i32.const 0x7ff0))"

    def local(self, t: str) -> int | None:
        found = [i for i, lt in enumerate(self.locals) if lt == t]
        return self.rng.choice(found) if found else None

    def expr(self, t: str) -> str:
        r = self.rng
        self.nesting += 1
        self.budget -= 1
        try:
            if self.nesting > 5 or self.budget < 0 or r.random() < 0.25:
                i = self.local(t)
                if i is not None and r.random() < 0.7:
                    return f"(local.get {i})"
                return f"(global.get $g{t})" if r.random() < 0.2 else self.const(t)
            return r.choice(self.makers(t))(t)
        finally:
            self.nesting -= 1

    def makers(self, t: str) -> list:
        shared = [self.load, self.convert, self.select, self.if_expr, self.block_expr, self.tee, self.call_expr]
        if t[0] == "i":
            return [*shared, self.int_unary, self.int_binary, self.int_binary, self.int_binary, self.compare]
        return [*shared, self.float_unary, self.float_binary, self.float_binary]

    def int_unary(self, t: str) -> str:
        if t == "i32" and self.rng.random() < 0.3:
            other = self.rng.choice(["i32", "i64"])
            return f"({other}.eqz {self.expr(other)})"
        return f"({t}.{self.rng.choice(I_UN[t])} {self.expr(t)})"

    def int_binary(self, t: str) -> str:
        if self.rng.random() < 0.1:
            divisor = self.expr(t) if self.rng.random() < 0.1 else f"({t}.or {self.expr(t)} ({t}.const 1))"
            return f"({t}.{self.rng.choice(I_DIV)} {self.expr(t)} {divisor})"
        return f"({t}.{self.rng.choice(I_BIN)} {self.expr(t)} {self.expr(t)})"

    def compare(self, t: str) -> str:
        other = self.type()
        text = f"({other}.{self.rng.choice(I_CMP if other[0] == 'i' else F_CMP)} {self.expr(other)} {self.expr(other)})"
        return text if t == "i32" else f"(i64.extend_i32_u {text})"

    def float_unary(self, t: str) -> str:
        return f"({t}.{self.rng.choice(F_UN)} {self.expr(t)})"

    def float_binary(self, t: str) -> str:
        return f"({t}.{self.rng.choice(F_BIN)} {self.expr(t)} {self.expr(t)})"

    def load(self, t: str) -> str:
        return f"({t}.{self.rng.choice(LOADS[t])} offset={self.rng.randrange(40)} {self.address()})"

    def convert(self, t: str) -> str:
        rows = [row for row in CONVERT[t] if self.floats or row[1][0] == "i"]
        name, source = self.rng.choice(rows)
        if "trunc_f" in name and self.rng.random() < 0.9:
            name = name.replace("trunc_", "trunc_sat_")
        return f"({t}.{name} {self.expr(source)})"

    def select(self, t: str) -> str:
        form = f"(select (result {t})" if self.rng.random() < 0.2 else "(select"
        return f"{form} {self.expr(t)} {self.expr(t)} {self.expr('i32')})"

    def if_expr(self, t: str) -> str:
        condition = self.expr("i32")
        label = self.name("i")
        self.labels.append((label, t))
        arms = [f"{self.statements(1)} {self.expr(t)}" for _ in range(2)]
        self.labels.pop()
        return f"(if {label} (result {t}) {condition} (then {arms[0]}) (else {arms[1]}))"

    def block_expr(self, t: str) -> str:
        label = self.name("b")
        self.labels.append((label, t))
        inner = f"{self.statements(1)} {self.expr(t)}"
        self.labels.pop()
        return f"(block {label} (result {t}) {inner})"

    def tee(self, t: str) -> str:
        i = self.local(t)
        return self.const(t) if i is None else f"(local.tee {i} {self.expr(t)})"

    def call_expr(self, t: str) -> str:
        found = [i for i, s in enumerate(self.signatures) if i > self.current and s.result == t]
        if not found or self.budget < 10 or len(self.loops) > 1:
            return self.const(t)
        return self.call(self.rng.choice(found))

    def call(self, index: int) -> str:
        signature = self.signatures[index]
        args = " ".join(self.expr(p) for p in signature.params)
        if self.rng.random() < 0.3:
            slot = index if self.rng.random() < 0.95 else self.rng.randrange(len(self.signatures) + 2)
            if slot <= self.current:
                slot = index
            params = f"(param {' '.join(signature.params)})"
            result = f"(result {signature.result})" if signature.result else ""
            return f"(call_indirect {params} {result} {args} (i32.const {slot}))"
        return f"(call $f{index} {args})"

    def statements(self, most: int) -> str:
        return " ".join(self.statement() for _ in range(self.rng.randrange(most + 1)))

    def statement(self) -> str:
        r = self.rng
        self.budget -= 1
        if self.budget < 0:
            return "(nop)"
        self.nesting += 1
        try:
            return r.choice([
                self.set, self.set, self.set, self.global_set, self.store, self.store, self.if_statement,
                self.if_statement, self.block, self.loop, self.loop, self.branch, self.branch, self.leave, self.bulk,
                self.call_statement, self.drop, self.switch,
            ])()  # fmt: skip
        finally:
            self.nesting -= 1

    def set(self) -> str:
        i = self.rng.randrange(len(self.locals))
        return f"(local.set {i} {self.expr(self.locals[i])})"

    def global_set(self) -> str:
        t = self.type()
        return f"(global.set $g{t} {self.expr(t)})"

    def store(self) -> str:
        t = self.type()
        return f"({t}.{self.rng.choice(STORES[t])} offset={self.rng.randrange(40)} {self.address()} {self.expr(t)})"

    def drop(self) -> str:
        return f"(drop {self.expr(self.type())})"

    def if_statement(self) -> str:
        condition = self.expr("i32")
        label = self.name("i")
        self.labels.append((label, None))
        first = self.statements(3)
        other = f"(else {self.statements(3)})" if self.rng.random() < 0.5 else ""
        self.labels.pop()
        return f"(if {label} {condition} (then {first}) {other})"

    def block(self) -> str:
        label = self.name("b")
        self.labels.append((label, None))
        inner = self.statements(4)
        self.labels.pop()
        return f"(block {label} {inner})"

    def loop(self) -> str:
        r = self.rng
        if len(self.loops) > 2:
            return "(nop)"
        label, out, counter = self.name("l"), self.name("x"), self.name("k")
        self.loops.append(counter)
        count = r.choice([0, 1, 2, 3, 4, 5, 7, 9, 17])
        start = f"(local.set {counter} (i32.const {count}))"
        step = f"(local.tee {counter} (i32.sub (local.get {counter}) (i32.const 1)))"
        self.labels.append((out, None))
        head = f"(br_if {out} (i32.lt_s {step} (i32.const 0)))"
        self.labels.append((label, None))
        inner = self.statements(3)
        back = r.choice([f"(br {label})", f"(br_if {label} {self.expr('i32')})", f"(br_if {label} (i32.const 1))"])
        self.labels.pop()
        self.labels.pop()
        keep = self.locals_extra
        keep.append(counter)
        return f"(block {out} {start} (loop {label} {head} {inner} {back}))"

    def branch(self) -> str:
        if not self.labels:
            return "(nop)"
        label, carried = self.rng.choice(self.labels)
        value = self.expr(carried) if carried else ""
        if self.rng.random() < 0.7:
            text = f"(br_if {label} {value} {self.expr('i32')})"
            return f"(drop {text})" if carried else text
        return f"(if {self.expr('i32')} (then (br {label} {value})))"

    def switch(self) -> str:
        plain = [label for label, carried in self.labels if carried is None]
        if not plain:
            return "(nop)"
        targets = " ".join(self.rng.choice(plain) for _ in range(self.rng.randrange(1, 5)))
        index = self.expr("i32")
        return f"(if {self.expr('i32')} (then (br_table {targets} {index})))"

    def leave(self) -> str:
        result = self.signatures[self.current].result
        value = self.expr(result) if result else ""
        body = "(unreachable)" if self.rng.random() < 0.04 else f"(return {value})"
        return f"(if (i32.eqz {self.expr('i32')}) (then {body}))"

    def bulk(self) -> str:
        r = self.rng
        kind = r.randrange(4)
        if kind == 0:
            return f"(memory.fill {self.address()} {self.expr('i32')} (i32.const {r.randrange(60)}))"
        if kind == 1:
            return f"(memory.copy {self.address()} {self.address()} (i32.const {r.randrange(60)}))"
        if kind == 2 and not self.loops and self.current < 2:
            pages = r.choice([0, 0, 1])
            return f"(global.set $gi32 (memory.grow (i32.const {pages})))"
        return "(global.set $gi32 (memory.size))"

    def call_statement(self) -> str:
        found = list(range(self.current + 1, len(self.signatures)))
        if not found or len(self.loops) > 1 or self.budget < 10:
            return "(nop)"
        index = self.rng.choice(found)
        text = self.call(index)
        return f"(drop {text})" if self.signatures[index].result else text

    locals_extra: list[str] = field(default_factory=list)

    def function(self, index: int) -> str:
        signature = self.signatures[index]
        self.current = index
        self.locals = list(signature.params) + [self.type() for _ in range(self.rng.randrange(1, 6))]
        self.locals_extra, self.labels, self.loops, self.nesting = [], [], [], 0
        self.budget = self.rng.choice([6, 20, 60, 120])
        body = " ".join(self.statement() for _ in range(self.rng.randrange(1, 7)))
        end = self.expr(signature.result) if signature.result else ""
        declared = " ".join(self.locals[len(signature.params) :])
        extra = " ".join(f"(local {name} i32)" for name in self.locals_extra)
        params = f"(param {' '.join(signature.params)})"
        result = f"(result {signature.result})" if signature.result else ""
        return f'(func $f{index} (export "f{index}") {params} {result} (local {declared}) {extra} {body} {end})'

    def module(self) -> str:
        """The module in text form; exports f0.., memory, globals."""
        r = self.rng
        self.signatures = [
            Signature([self.type() for _ in range(r.randrange(3))], r.choice([None, self.type(), self.type()]))
            for _ in range(r.randrange(1, 6))
        ]
        functions = [self.function(i) for i in range(len(self.signatures))]
        table = " ".join(f"$f{i}" for i in range(len(functions)))
        size = len(functions) + 2
        variables = " ".join(f'(global $g{t} (export "g{t}") (mut {t}) {self.const(t)})' for t in ALL)
        recursive = (
            '(func $rec (export "rec") (param i32) (result i32) '
            "(if (result i32) (i32.lt_s (local.get 0) (i32.const 1)) (then (i32.const 1)) "
            "(else (i32.add (call $rec (i32.sub (local.get 0) (i32.const 1))) "
            "(call $rec (i32.sub (local.get 0) (i32.const 2)))))))"
        )
        in_table = "" if r.random() < 0.5 else f"(table {size} funcref) (elem (i32.const 0) {table})"
        if not in_table:
            in_table = f"(table {size} funcref) (elem (i32.const 0) $f{len(functions) - 1})"
        data = '(data (i32.const 100) "\\00\\01\\02\\ff\\fe\\80\\7f\\c0\\00\\00\\a0\\7f\\01\\00\\80\\7f")'
        return f'(module (memory (export "m") 1 90) {data} {variables} {in_table} {recursive} {" ".join(functions)})'
