"""Bodies of generated functions: flat text that a stack machine reads, valid by construction, and certain to end.

Every piece asks for the types it has to leave on the stack. What a piece may cost is followed through loops and calls
(`weight`, `Signature.worst`), so that no program runs longer than it should.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from wasm_ops import DIVISIONS, LOADS, NUMBERS, PURE, STORES, TRUNCATIONS

Types = tuple[str, ...]
MOST_WORK = 60_000  # instructions that one call of a function may run
MASK = 0x7FF0  # addresses stay in the first page but for some


@dataclass
class Signature:
    """A function that can be called: `worst` bounds what one call runs; `guarded` ones count their calls."""

    name: str
    params: Types
    results: Types
    worst: int = 0
    guarded: bool = False


@dataclass
class Surroundings:
    """What all functions of a module share."""

    rng: Random
    floats: bool
    globals: dict[str, list[str]]  # mutable, by type
    constants: dict[str, list[str]]  # immutable globals, by type
    callable: list[Signature]  # complete, so their cost is known
    all: list[Signature]
    slots: list[int | None]  # the table: index into `all`
    passive: int  # data segments that memory.init may name
    segments: int  # all data segments
    loose: bool = False  # a memory.grow may fail, so the reference's fuel may differ


@dataclass
class Label:
    carries: Types


@dataclass
class Body:
    """One function at work."""

    around: Surroundings
    me: Signature
    locals: list[str]
    out: list[str] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    counters: list[str] = field(default_factory=list)
    weight: int = 1
    cost: int = 0
    nesting: int = 0
    left: int = 60
    loops: int = 0

    @property
    def rng(self) -> Random:
        return self.around.rng

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def emit(self, *words: object) -> None:
        self.out.append(" ".join(map(str, words)))
        self.cost += self.weight

    def type(self) -> str:
        return self.rng.choice(NUMBERS if self.around.floats else NUMBERS[:2])

    def types(self, most: int) -> Types:
        return tuple(self.type() for _ in range(self.rng.randrange(most + 1)))

    # values

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

    # control

    def typed(self, params: Types, results: Types) -> str:
        words = f" (param {' '.join(params)})" if params else ""
        return words + (f" (result {' '.join(results)})" if results else "")

    def inside(self, label: Label, params: Types, results: Types) -> None:
        """The content of a block: its parameters are on the stack, its results will be."""
        self.labels.append(label)
        kept = 0
        if self.chance(0.3):
            while kept < min(len(params), len(results)) and params[kept] == results[kept]:
                kept += 1
        self.consume(params[kept:])
        self.statements(3)
        if self.chance(0.12):
            self.leave()
            self.dead()
            if self.chance(0.5):
                self.labels.pop()
                return  # what is missing, nothing provides
            self.values(results)
        else:
            self.values(results[kept:])
        self.labels.pop()

    def consume(self, types: Types) -> None:
        """Take values off the stack, the last first."""
        for t in reversed(types):
            found = [i for i, kind in enumerate(self.locals) if kind == t]
            if found and self.chance(0.7):
                self.emit("local.set", self.rng.choice(found))
            elif self.chance(0.3):
                self.emit("global.set", self.rng.choice(self.around.globals[t]))
            else:
                self.emit("drop")

    def block(self, results: Types) -> None:
        params = self.types(3) if self.chance(0.4) else ()
        self.values(params)
        self.emit("block" + self.typed(params, results))
        self.inside(Label(results), params, results)
        self.emit("end")

    def branching(self, results: Types) -> None:
        params = self.types(2) if self.chance(0.3) else ()
        self.values(params)
        self.value("i32")
        self.emit("if" + self.typed(params, results))
        self.inside(Label(results), params, results)
        if params != results or self.chance(0.6):
            self.emit("else")
            self.inside(Label(results), params, results)
        self.emit("end")

    def loop(self, results: Types) -> None:
        """A loop that counts down a local of its own, at its head or at its end."""
        if self.loops > 2:
            self.block(results)
            return
        counter, rounds = f"$k{len(self.counters)}", self.rng.choice([0, 1, 1, 2, 3, 4, 5, 7, 8, 9, 17, 40])
        if self.weight * rounds > 300 or self.cost > MOST_WORK:
            rounds = 1
        self.counters.append(counter)
        params = self.types(2) if self.chance(0.3) else ()
        self.values(params)
        if self.chance(0.3):  # rounds that depend on data
            self.value("i32")
            self.emit("i32.const", (1 << rounds.bit_length()) - 1)
            self.emit("i32.and")
            rounds = (1 << rounds.bit_length()) - 1
        else:
            self.emit("i32.const", rounds)
        self.emit("local.set", counter)
        self.loops += 1
        weight = self.weight
        self.weight *= rounds + 1
        (self.counted_at_head if self.chance(0.6) else self.counted_at_end)(counter, params, results)
        self.weight = weight
        self.loops -= 1

    def step(self, counter: str) -> None:
        self.emit("local.get", counter)
        self.emit("i32.const 1")
        self.emit("i32.sub")
        self.emit("local.tee", counter)

    def counted_at_head(self, counter: str, params: Types, results: Types) -> None:
        self.emit("block" + self.typed(params, results))
        self.labels.append(Label(results))
        self.emit("loop" + self.typed(params, results))
        self.labels.append(Label(("nobody",)))  # before it has counted, nothing may go back
        self.values(results)
        self.step(counter)
        self.emit("i32.const 0")
        self.emit("i32.lt_s")
        self.emit("br_if 1")
        for _ in results:
            self.emit("drop")
        self.labels[-1] = Label(params)
        self.consume(params)
        self.statements(4)
        self.values(params)
        if self.chance(0.5):
            self.emit("br 0")
            self.dead()
        else:
            self.value("i32")
            if self.chance(0.2):
                self.emit("i32.const 1")
                self.emit("i32.or")
            self.emit("br_if 0")
            self.consume(params)
            self.values(results)
        self.labels.pop()
        self.emit("end")
        self.labels.pop()
        self.emit("end")

    def counted_at_end(self, counter: str, params: Types, results: Types) -> None:
        self.emit("loop" + self.typed(params, results))
        self.labels.append(Label(("nobody",)))  # a branch to the head would not count
        self.consume(params)
        self.statements(4)
        self.values(params)
        self.step(counter)
        self.emit("i32.const 0")
        self.emit("i32.gt_s")
        self.emit("br_if 0")
        self.consume(params)
        self.values(results)
        self.labels.pop()
        self.emit("end")

    def reachable(self) -> list[int]:
        return [depth for depth, label in enumerate(reversed(self.labels)) if label.carries != ("nobody",)]

    def leave(self) -> None:
        """A branch that is always taken."""
        depths = self.reachable()
        r = self.rng.random()
        if not depths or r < 0.2:
            self.values(self.me.results)
            self.emit("return")
        elif r < 0.3 and self.chance(0.15):
            self.emit("unreachable")
        elif r < 0.6:
            self.switch(depths)
        else:
            depth = self.rng.choice(depths)
            self.values(self.labels[-1 - depth].carries)
            self.emit("br", depth)

    def switch(self, depths: list[int]) -> None:
        carries = self.labels[-1 - self.rng.choice(depths)].carries
        same = [depth for depth in depths if self.labels[-1 - depth].carries == carries]
        self.values(carries)
        self.value("i32")
        if self.chance(0.7):
            self.emit("i32.const 7")
            self.emit("i32.and")
        targets = [self.rng.choice(same) for _ in range(self.rng.choice([1, 2, 3, 5, 8, 20]))]
        self.emit("br_table", *targets)

    def dead(self) -> None:
        """Code that can't run: its operands come from nowhere."""
        weight, self.weight = self.weight, 0
        known: list[str] = []
        for _ in range(self.rng.choice([0, 0, 1, 3, 6])):
            r = self.rng.random()
            if r < 0.6:
                name, params, result = self.rng.choice(PURE + DIVISIONS + TRUNCATIONS)
                have = known[max(0, len(known) - len(params)) :]
                if have == list(params[len(params) - len(have) :]):
                    del known[len(known) - len(have) :]
                    known.append(result)
                    self.emit(name)
            elif r < 0.7 and not known:
                self.emit("select")
                self.emit("drop")
            elif r < 0.8 and not known:
                name, _, width = self.rng.choice(STORES)
                self.emit(name, self.offset(width))
            elif r < 0.9:
                self.emit("drop")
                del known[-1:]
            else:
                self.statement()
        for _ in known:
            self.emit("drop")
        self.weight = weight

    # calls

    def call(self, results: Types) -> None:
        """A call whose results begin with what is wanted."""
        found = [s for s in self.affordable() if s.results[: len(results)] == results]
        if not found:
            for t in results:
                self.leaf(t)
            return
        target = self.rng.choice(found)
        self.invoke(target)
        for _ in target.results[len(results) :]:
            self.emit("drop")

    def affordable(self) -> list[Signature]:
        most = MOST_WORK if not self.weight else (MOST_WORK - self.cost) // self.weight
        others = [s for s in self.around.all if s.guarded] if self.me.guarded else []
        return others + [s for s in self.around.callable if s not in others and s.worst < most]

    def invoke(self, target: Signature) -> None:
        self.values(target.params)
        if not (target.guarded and self.me.guarded):
            self.cost += target.worst * self.weight
        slots = [
            slot
            for slot, index in enumerate(self.around.slots)
            if index is not None and self.around.all[index] is target
        ]
        if not slots or self.chance(0.6):
            self.emit("call", target.name)
            return
        if self.chance(0.03):  # a null, a stranger, or past the end
            slot = self.rng.choice([*self.harmless(target), len(self.around.slots), -1])
            self.emit("i32.const", slot)
        elif self.me.guarded and self.weight <= 1 and self.chance(0.2):
            self.value("i32")
            self.emit("i32.const 15")
            self.emit("i32.and")
        else:
            self.emit("i32.const", self.rng.choice(slots))
        self.emit("call_indirect" + self.typed(target.params, target.results))

    def harmless(self, target: Signature) -> list[int]:
        """Slots whose call traps."""
        found = []
        for slot, index in enumerate(self.around.slots):
            other = target if index is None else self.around.all[index]
            if index is None or (other.params, other.results) != (target.params, target.results):
                found.append(slot)
        return found

    # statements

    def statements(self, most: int) -> None:
        for _ in range(self.rng.randrange(most + 1)):
            self.statement()

    def statement(self) -> None:
        self.left -= 1
        if self.left < 0 or self.nesting > 6:
            self.emit("nop")
            return
        self.nesting += 1
        self.rng.choice([
            self.set_local, self.set_local, self.set_global, self.store, self.store, self.block_only, self.loop_only,
            self.loop_only, self.if_only, self.if_only, self.maybe_leave, self.maybe_leave, self.bulk, self.call_only,
            self.call_only, self.drop, self.branch_if,
        ])()  # fmt: skip
        self.nesting -= 1

    def set_local(self) -> None:
        if self.locals:
            i = self.rng.randrange(len(self.locals))
            self.value(self.locals[i])
            self.emit("local.set", i)

    def set_global(self) -> None:
        t = self.type()
        self.value(t)
        self.emit("global.set", self.rng.choice(self.around.globals[t]))

    def store(self) -> None:
        rows = [row for row in STORES if self.around.floats or row[1][0] == "i"]
        name, t, width = self.rng.choice(rows)
        self.address()
        self.value(t)
        self.emit(name, self.offset(width))

    def block_only(self) -> None:
        self.block(())

    def loop_only(self) -> None:
        self.loop(())

    def if_only(self) -> None:
        self.branching(())

    def drop(self) -> None:
        self.value(self.type())
        self.emit("drop")

    def branch_if(self) -> None:
        depths = self.reachable()
        if depths:
            depth = self.rng.choice(depths)
            carries = self.labels[-1 - depth].carries
            self.values(carries)
            self.value("i32")
            self.emit("br_if", depth)
            self.consume(carries)

    def maybe_leave(self) -> None:
        self.value("i32")
        self.emit("if")
        self.labels.append(Label(()))
        self.leave()
        self.dead()
        self.labels.pop()
        self.emit("end")

    def call_only(self) -> None:
        found = self.affordable()
        if found:
            target = self.rng.choice(found)
            self.invoke(target)
            self.consume(target.results)

    def bulk(self) -> None:
        r = self.rng
        size = self.rng.choice([0, 1, 3, 8, 60, 300])
        kind = r.randrange(4 if self.around.segments else 2)
        if kind == 3:
            self.emit("data.drop", r.randrange(self.around.segments))
            return
        self.address()
        if kind == 0:
            self.value("i32")
        elif kind == 1:
            self.address()
        else:
            size = r.choice([0, 1, 2, 5])
            self.emit("i32.const", r.choice([0, 0, 1, 3, 40]) if self.chance(0.05) else 0)
        self.emit("i32.const", -1 if self.chance(0.004) else size)
        self.cost += size * self.weight
        # Segment 0 is passive and long enough for every size here; others trap, active ones as if dropped.
        segment = r.randrange(self.around.segments) if kind == 2 and self.chance(0.05) else 0
        self.emit(("memory.fill", "memory.copy", f"memory.init {segment}")[kind])


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
