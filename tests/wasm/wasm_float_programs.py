"""Programs by chance that pass floats about, signalling NaNs among them: locals, calls, globals, memory, blocks.

From one seed comes one module in text form. Functions call later ones only, and loops count, so that every run ends.
`run` takes two integers, which become floats by reinterpretation, and gives a digest of all bits that it sees.
"""

from __future__ import annotations

from random import Random

FLOATS = ("f32", "f64")
TYPES = ("i32", "f32", "f32", "f64")
UNARY = ("abs", "neg", "sqrt", "ceil", "nearest")
BINARY = ("add", "sub", "mul", "div", "min", "max", "copysign", "copysign")
COMPARE = ("eq", "ne", "lt", "ge")
CONSTANTS = {
    "f32": ("0", "-0", "1.5", "inf", "nan", "-nan", "nan:0x200001", "-nan:0x1", "nan:0x400001", "0x1p-149"),
    "f64": ("0", "-0", "2.5", "-inf", "nan", "-nan:0x8000000000000", "nan:0x4000000000001", "0x1p-1074"),
    "i32": ("0", "1", "-1", "0x7fa00001", "0xffc00000", "0x7f800001"),
}


class Program:
    """One module."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.signatures = [self.signature() for _ in range(self.rng.randrange(2, 6))]
        self.current = 0
        self.locals: list[str] = []
        self.labels: list[tuple[str, ...]] = []  # what each open label carries
        self.budget = 0
        self.fresh = 0

    def signature(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        pick = self.rng.choice
        params = tuple(pick(TYPES) for _ in range(self.rng.randrange(4)))
        return params, tuple(pick(TYPES) for _ in range(pick((0, 1, 1, 1, 2, 3))))

    def expr(self, kind: str, depth: int) -> str:
        """Code that leaves one value."""
        rng = self.rng
        self.budget -= 1
        if depth <= 0 or self.budget < 0:
            return self.leaf(kind)
        makers = [self.leaf, self.compute, self.compute, self.reinterpret, self.load, self.select, self.block, self.if_,
                  self.tee, self.call, self.carry, self.loop]  # fmt: skip
        maker = rng.choice(makers)
        return maker(kind) if maker == self.leaf else maker(kind, depth - 1)

    def leaf(self, kind: str) -> str:
        rng = self.rng
        found = [i for i, t in enumerate(self.locals) if t == kind]
        if found and rng.random() < 0.6:
            return f"(local.get {rng.choice(found)})"
        return f"(global.get ${kind})" if rng.random() < 0.3 else f"({kind}.const {rng.choice(CONSTANTS[kind])})"

    def compute(self, kind: str, depth: int) -> str:
        rng = self.rng
        if kind == "i32":
            t = rng.choice(FLOATS)
            return f"({t}.{rng.choice(COMPARE)} {self.expr(t, depth)} {self.expr(t, depth)})"
        if rng.random() < 0.4:
            return f"({kind}.{rng.choice(UNARY)} {self.expr(kind, depth)})"
        return f"({kind}.{rng.choice(BINARY)} {self.expr(kind, depth)} {self.expr(kind, depth)})"

    def reinterpret(self, kind: str, depth: int) -> str:
        if kind == "f32":
            if self.rng.random() < 0.3:
                return f"(f32.demote_f64 {self.expr('f64', depth)})"
            return f"(f32.reinterpret_i32 {self.expr('i32', depth)})"
        if kind == "f64":
            if self.rng.random() < 0.5:
                return f"(f64.promote_f32 {self.expr('f32', depth)})"
            return f"(f64.reinterpret_i64 (i64.extend_i32_s {self.expr('i32', depth)}))"
        if self.rng.random() < 0.3:
            return f"(i32.wrap_i64 (i64.reinterpret_f64 {self.expr('f64', depth)}))"
        return f"(i32.reinterpret_f32 {self.expr('f32', depth)})"

    def address(self) -> str:
        return f"(i32.const {8 * self.rng.randrange(16)})"

    def load(self, kind: str, depth: int) -> str:
        del depth
        return f"({kind}.load {self.address()})"

    def select(self, kind: str, depth: int) -> str:
        typed = f" (result {kind})" if self.rng.random() < 0.4 else ""
        return f"(select{typed} {self.expr(kind, depth)} {self.expr(kind, depth)} {self.expr('i32', depth - 1)})"

    def tee(self, kind: str, depth: int) -> str:
        found = [i for i, t in enumerate(self.locals) if t == kind]
        return f"(local.tee {self.rng.choice(found)} {self.expr(kind, depth)})" if found else self.expr(kind, depth)

    def inside(self, kinds: tuple[str, ...], depth: int) -> str:
        """The body of a block that a branch may leave."""
        self.labels.append(kinds)
        code = self.statement(depth) + " ".join(self.expr(t, depth) for t in kinds)
        self.labels.pop()
        return code

    def block(self, kind: str, depth: int) -> str:
        return f"(block (result {kind}) {self.inside((kind,), depth)})"

    def if_(self, kind: str, depth: int) -> str:
        condition = self.expr("i32", depth - 1)
        one, other = self.inside((kind,), depth), self.inside((kind,), depth)
        return f"(if (result {kind}) {condition} (then {one}) (else {other}))"

    def loop(self, kind: str, depth: int) -> str:
        """Twice round, with a value that goes round."""
        self.locals.append("counter")
        counter = len(self.locals) - 1
        value = self.expr(kind, depth)
        self.labels.append(("loop",))  # no branch but ours
        body = f"(drop) {self.expr(kind, depth)}" if self.rng.random() < 0.5 else f"({kind}.{self.turn(kind)})"
        self.labels.pop()
        back = f"(br_if 0 (i32.and (local.get {counter}) (i32.const 1)))"
        step = f"(local.set {counter} (i32.add (local.get {counter}) (i32.const 1)))"
        return f"{value} (loop (param {kind}) (result {kind}) {body} {step} {back})"

    def turn(self, kind: str) -> str:
        return "eqz" if kind == "i32" else self.rng.choice(("neg", "abs", "sqrt"))

    def carry(self, kind: str, depth: int) -> str:
        """Several values out of a block, one of which is used."""
        rng = self.rng
        kinds = tuple(rng.choice(TYPES) for _ in range(rng.randrange(1, 3)))
        last = rng.random() < 0.5
        kinds = (*kinds, kind) if last else (kind, *kinds)
        code = f"(block (result {' '.join(kinds)}) {self.inside(kinds, depth - 1)})"
        if last:
            taken = self.spare(kind)
            return f"{code} (local.set {taken}) {'(drop) ' * (len(kinds) - 1)} (local.get {taken})"
        return f"{code} {'(drop) ' * (len(kinds) - 1)}"

    def spare(self, kind: str) -> int:
        self.locals.append(kind)
        return len(self.locals) - 1

    def call(self, kind: str, depth: int) -> str:
        later = [n for n in range(self.current + 1, len(self.signatures)) if self.signatures[n][1][:1] == (kind,)]
        if not later:
            return self.compute(kind, depth)
        number = self.rng.choice(later)
        params, results = self.signatures[number]
        args = " ".join(self.expr(t, depth - 1) for t in params)
        drops = "(drop) " * (len(results) - 1)
        if self.rng.random() < 0.4:
            return f"(call_indirect (type $t{number}) {args} (i32.const {number})) {drops}"
        return f"(call $f{number} {args}) {drops}"

    def statement(self, depth: int) -> str:
        """Code that leaves nothing, often a branch out."""
        rng = self.rng
        kind = rng.choice(TYPES)
        choice = rng.randrange(6)
        if depth <= 0 or self.budget < 0 or choice == 0:
            return ""
        if choice == 1:
            return f"({kind}.store {self.address()} {self.expr(kind, depth)}) "
        if choice == 2:
            return f"(global.set ${kind} {self.expr(kind, depth)}) "
        if choice == 3:
            found = [i for i, t in enumerate(self.locals) if t == kind]
            return f"(local.set {rng.choice(found)} {self.expr(kind, depth)}) " if found else ""
        target = rng.randrange(len(self.labels))
        kinds = self.labels[-1 - target]
        if "loop" in kinds:
            return ""
        same = [d for d in range(len(self.labels)) if self.labels[-1 - d] == kinds]
        table = choice == 4 and len(same) > 1
        if table:
            self.labels.append(("loop",))  # the block that keeps what follows a br_table alive
        under = self.expr(rng.choice(TYPES), 1) if rng.random() < 0.5 else ""
        values = " ".join(self.expr(t, depth - 1) for t in kinds)
        condition = self.expr("i32", depth - 1)
        if table:
            self.labels.pop()
            return f"(block {under} {values} {condition} (br_table {same[0] + 1} {same[-1] + 1})) "
        drop = "(drop) " if under else ""
        return f"{under} {values} {condition} (br_if {target}) {'(drop) ' * len(kinds)} {drop}"

    def function(self, number: int) -> str:
        params, results = self.signatures[number]
        self.current, self.budget = number, 60
        own = tuple(self.rng.choice(TYPES) for _ in range(4))
        self.locals = [*params, *own]
        self.labels = [results]
        body = "".join(self.statement(3) for _ in range(3)) + " ".join(self.expr(t, 4) for t in results)
        extra = " ".join("i32" if t == "counter" else t for t in self.locals[len(params) :])
        return f"(func $f{number} (type $t{number}) (local {extra}) {body})"

    def text(self) -> str:
        """The module."""
        functions = [self.function(n) for n in range(len(self.signatures))]
        types = "".join(
            f"(type $t{n} (func (param {' '.join(params)}) (result {' '.join(results)})))"
            for n, (params, results) in enumerate(self.signatures)
        )
        calls = []
        for n, (params, results) in enumerate(self.signatures):
            given = {"i32": "(local.get 0)", "f32": "(f32.reinterpret_i32 (local.get 1))",
                     "f64": "(f64.reinterpret_i64 (local.get 2))"}  # fmt: skip
            calls.append(f"(call $f{n} {' '.join(given[t] for t in params)}) " + "".join(
                {"i32": "(call $see)", "f32": "(i32.reinterpret_f32) (call $see)",
                 "f64": "(i64.reinterpret_f64) (call $see64)"}[t] for t in reversed(results)))  # fmt: skip
        entries = " ".join(f"$f{n}" for n in range(len(functions)))
        return f"""(module (memory (export "m") 1)
          (data (i32.const 0) "\\01\\00\\a0\\7f\\00\\00\\80\\ff\\ff\\ff\\ff\\ff")
          {types} (table {len(functions)} funcref) (elem (i32.const 0) {entries})
          (global $i32 (mut i32) (i32.const 0x7fa00001)) (global $f32 (mut f32) (f32.const -nan:0x200001))
          (global $f64 (mut f64) (f64.const nan:0x4000000000000)) (global $h (mut i64) (i64.const 0))
          (func $see64 (param i64) (global.set $h (i64.add (local.get 0) (i64.mul (global.get $h)
            (i64.const 0x100000001b3)))))
          (func $see (param i32) (call $see64 (i64.extend_i32_u (local.get 0))))
          {"".join(functions)}
          (func (export "run") (param i32 i32 i64) (result i64) {"".join(calls)}
            (call $see (i32.reinterpret_f32 (global.get $f32))) (call $see64 (i64.reinterpret_f64 (global.get $f64)))
            (local.set 0 (i32.const 0))
            (loop $l (call $see64 (i64.load (local.get 0))) (local.set 0 (i32.add (local.get 0) (i32.const 8)))
              (br_if $l (i32.lt_u (local.get 0) (i32.const 128))))
            (global.get $h)))"""
