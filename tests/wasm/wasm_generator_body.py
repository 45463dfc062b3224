"""Bodies of generated functions: flat text that a stack machine reads, valid by construction, and certain to end.

Every piece asks for the types it has to leave on the stack; statements leave nothing.
"""

from __future__ import annotations

from wasm_generator_branches import Branches
from wasm_generator_state import Label
from wasm_ops import STORES


class Body(Branches):
    """Statements."""

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
