"""Branches and calls of generated functions, and the code behind a branch that can't run."""

from __future__ import annotations

from wasm_generator_blocks import Blocks
from wasm_generator_state import MOST_WORK, Signature, Types
from wasm_ops import DIVISIONS, PURE, STORES, TRUNCATIONS


class Branches(Blocks):
    """Whatever goes elsewhere."""

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
