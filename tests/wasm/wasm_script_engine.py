"""An engine for tests: many calls into one instance of a guest, in one child.

The pool runs one entry of one module and lets the child end. The specification's suite calls many exports of one
instance in turn. So this engine, which a real zygote loads and which runs in the real jail, takes a module together
with a list of calls, hands both to the product's own engine (`Wasm3Engine`, unchanged: it is what loads, links, calls
and names the traps), and gives the answers as the run's output, through the product's own `put_output`.
"""

from __future__ import annotations

from icn_lite.sandbox import child, frames
from icn_lite.sandbox.engine import EngineError, HostLink, Trap
from icn_lite.sandbox.engine_wasm3 import Wasm3Engine

CALL, GET = 0, 1  # kinds of step
RETURNED, TRAPPED, FAILED = 0, 1, 2  # kinds of answer
FLAGS = {child.FLAG_STACK: "call_stack_exhausted", child.FLAG_OUT_OF_FUEL: "out_of_fuel"}


class ScriptEngine(Wasm3Engine):
    """`load` takes [code, fuel global, trap global, steps]; its only export is `script`."""

    name = "script"
    rehearses = False  # what a spare rehearses is a module, no script

    def __init__(self, stack_bytes: int) -> None:
        super().__init__(stack_bytes)
        self._report: bytes | None = None

    def load(self, code: bytes, links: list[HostLink]) -> None:
        module, self._fuel, self._trap, self._steps = frames.decode(code)
        self._put = links[-1]
        super().load(module, links[:-1])

    def call(self, name: str, args: list[tuple[str, int]], results: list[str]) -> list[int]:
        answers = [self._step(step) for step in self._steps]
        self._report = frames.encode(answers)
        self.set_global(self._fuel, 0)  # what the last call left says nothing about the script
        self.set_global(self._trap, 0)
        written = self._put.call(0, len(self._report))
        if written != 0:
            raise EngineError(f"put_output answered {written}")
        return []

    def _step(self, step: list) -> list:
        kind, name, fuel, args, results = step
        if kind == GET:
            return [RETURNED, None, [self.get_global(name) % (1 << (32 if results == ["i32"] else 64))], 0]
        self.set_global(self._fuel, fuel)
        self.set_global(self._trap, 0)
        status, trap, values = RETURNED, None, []
        try:
            values = super().call(name, [(kind, bits) for kind, bits in args], results)
        except Trap as error:
            status, trap = TRAPPED, FLAGS.get(self.get_global(self._trap), error.name)
        except EngineError as error:
            status, trap = FAILED, str(error)
        return [status, trap, values, self.get_global(self._fuel)]

    def memory(self) -> memoryview:
        return super().memory() if self._report is None else memoryview(self._report)
