"""Blocks of generated functions: `block`, `if`, and loops that count down, all with parameters and results."""

from __future__ import annotations

from wasm_generator_state import MOST_WORK, Label, Types
from wasm_generator_values import Values


class Blocks(Values):
    """Whatever has an `end`."""

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
