"""Values of generated functions: every piece leaves one of a type that it was asked for, and traps seldom."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from wasm_generator_state import State, Types
from wasm_ops import DIVISIONS, LOADS, PURE, TRUNCATIONS

MASK = 0x7FF0  # addresses stay in the first page but for some


class Values(State):
    """Leaves, operators, loads, growth."""

    def values(self, wanted: Types) -> None:
        """Leave exactly these on the stack."""
        if len(wanted) > 1 and self.left > 0 and self.nesting < 5 and self.chance(0.4):
            self.compound(wanted)
            return
        for t in wanted:
            self.value(t)

    def value(self, t: str) -> None:
        self.left -= 1
        if self.nesting > 5 or self.left < 0 or self.chance(0.2):
            self.leaf(t)
            return
        self.nesting += 1
        makers: list[Callable[[str], None]] = [self.plain] * 6 + [
            self.load, self.divide, self.select, self.tee, self.leaf, self.compound_one, self.compound_one,
            self.special,
        ]  # fmt: skip
        self.rng.choice(makers)(t)
        self.nesting -= 1

    def leaf(self, t: str) -> None:
        r = self.rng.random()
        found = [i for i, kind in enumerate(self.locals) if kind == t]
        if found and r < 0.55:
            self.emit("local.get", self.rng.choice(found))
        elif r < 0.7:
            self.emit("global.get", self.rng.choice(self.around.globals[t] + self.around.constants[t]))
        elif t == "i32" and r < 0.74:
            self.emit("memory.size")
        else:
            self.emit(constant(self.rng, t))

    def plain(self, t: str) -> None:
        rows = [row for row in PURE if row[2] == t and (self.around.floats or not any(p[0] == "f" for p in row[1]))]
        name, params, _ = self.rng.choice(rows)
        for p in params:
            self.value(p)
        self.emit(name)

    def divide(self, t: str) -> None:
        """Divisions and truncations, which may trap: mostly with operands that don't."""
        if t[0] == "f":
            self.plain(t)
            return
        if self.around.floats and self.chance(0.5):
            name, (source,), _ = self.rng.choice([row for row in TRUNCATIONS if row[2] == t])
            if self.chance(0.04):
                self.value(source)
            else:
                self.value("i32")
                self.emit("i32.const 0x7fffff")
                self.emit("i32.and")
                self.emit(f"{source}.convert_i32_u")
            self.emit(name)
            return
        name = self.rng.choice([row for row in DIVISIONS if row[2] == t])[0]
        self.value(t)
        self.value(t)
        if not self.chance(0.04):
            if "div_s" in name:
                self.emit(f"{t}.const 0x7f")
                self.emit(f"{t}.and")
            self.emit(f"{t}.const 1")
            self.emit(f"{t}.or")
        self.emit(name)

    def address(self) -> None:
        self.value("i32")
        if not self.chance(0.01):
            self.emit(f"i32.const {MASK:#x}")
            self.emit("i32.and")

    def offset(self, width: int) -> str:
        at = self.rng.choice([0, 0, self.rng.randrange(64), self.rng.randrange(0x7000)])
        if self.chance(0.004):
            at = self.rng.choice([65535, 65536, 0xFFFFFFFF, 0x7FFFFFFF])
        align = f" align={1 << self.rng.randrange(width.bit_length())}" if self.chance(0.3) else ""
        return f"offset={at}{align}"

    def load(self, t: str) -> None:
        name, _, width = self.rng.choice([row for row in LOADS if row[1] == t])
        self.address()
        self.emit(name, self.offset(width))

    def select(self, t: str) -> None:
        self.value(t)
        self.value(t)
        self.value("i32")
        self.emit(f"select (result {t})" if self.chance(0.3) else "select")

    def tee(self, t: str) -> None:
        found = [i for i, kind in enumerate(self.locals) if kind == t]
        self.value(t)
        if found:
            self.emit("local.tee", self.rng.choice(found))

    def special(self, t: str) -> None:
        """Growing, and branches that leave their values behind."""
        carriers = [depth for depth, label in enumerate(reversed(self.labels)) if label.carries == (t,)]
        if carriers and self.chance(0.7):
            self.value(t)
            self.value("i32")
            self.emit("br_if", self.rng.choice(carriers))
        elif t == "i32" and self.weight == 1:
            self.grow()
        else:
            self.plain(t)

    def grow(self) -> None:
        if self.chance(0.05):
            self.around.loose = True
            self.emit("i32.const", self.rng.choice([-1, 65536, 100, 0x7FFFFFFF]))
            self.emit("memory.grow")
            return
        self.emit("memory.size")
        self.emit("i32.const 12")
        self.emit("i32.lt_u")
        self.emit("if (result i32)")
        self.emit("i32.const", self.rng.randrange(3))
        self.emit("memory.grow")
        self.emit("else")
        self.emit("i32.const -7")
        self.emit("end")

    def compound_one(self, t: str) -> None:
        self.compound((t,))

    def compound(self, wanted: Types) -> None:
        """Values out of a block, a loop, an if, a call."""
        self.nesting += 1
        makers: list[Callable[[Types], None]] = [self.block, self.block, self.branching, self.loop, self.call]
        self.rng.choice(makers)(wanted)
        self.nesting -= 1


def constant(rng: Random, t: str) -> str:
    """A constant: small, extreme, or a NaN with bits of its own."""
    if t[0] == "i":
        bits = int(t[1:])
        small = rng.randrange(-4, 20)
        value = rng.choice(
            [small, small, small, rng.getrandbits(bits), 1 << (bits - 1), (1 << (bits - 1)) - 1, 0xFFFF, 0x80]
        )
        return f"{t}.const {value}"
    payload = rng.randrange(1, 1 << (23 if t == "f32" else 52))
    nan = f"{rng.choice(['', '-'])}nan:{payload:#x}"
    words = ["0", "-0", "1.5", "-2.25", "1e30", "-1e9", "inf", "-inf", "nan", "-nan", nan, nan, "0x1p-130", "16777217",
             "3e9", "-0.75"]  # fmt: skip
    return f"{t}.const {rng.choice(words)}"
