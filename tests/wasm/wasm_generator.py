"""Valid modules by chance, over the whole supported instruction set: from one source of chance one module in text.

A source is `random.Random` with a seed, or what hypothesis gives for one, whose choices it can shrink.

A module exports `w0`, `w1`… with integers only (floats as bits, so that no binding touches a NaN), `f0`… for the same
functions with their own types, and `spill`, which writes all globals into the memory `m`.
"""

from __future__ import annotations

from random import Random

from wasm_generator_body import Body
from wasm_generator_state import MOST_WORK, Label, Signature, Surroundings, Types
from wasm_generator_values import constant
from wasm_ops import NUMBERS

from icn_lite.wasm.hostfuncs import HostFunction, HostTable, host_table
from icn_lite.wasm.opcodes import F32, F64, I32, I64

STEPS = 12  # calls that guarded functions may make of each other before they only return
SPILL_AT = 0x7F00
# A host function free of charge, as the untouched module in wasmtime has no prices: it only notes what it is given.
HOST: HostTable = host_table(
    (
        HostFunction("test", "note", (I32, I64, F32, F64), (I32,), "io", 0, 0, None),
        HostFunction("test", "mark", (), (), "io", 0, 0, None),
    )
)
BITS = {"i32": ("i32", "", ""), "i64": ("i64", "", ""),
        "f32": ("i32", "f32.reinterpret_i32", "i32.reinterpret_f32"),
        "f64": ("i64", "f64.reinterpret_i64", "i64.reinterpret_f64")}  # fmt: skip


class Generator:
    """One module; `text` is its form, `loose` whether the reference may count more for a growth that fails."""

    def __init__(self, source: Random | int, *, floats: bool = True, size: int = 120) -> None:
        self.rng = Random(source) if isinstance(source, int) else source
        self.floats = floats
        self.size = size
        self.loose = False
        self.functions: list[Signature] = []
        self.text = self._module()

    def _types(self, most: int) -> Types:
        kinds = NUMBERS if self.floats else NUMBERS[:2]
        return tuple(self.rng.choice(kinds) for _ in range(self.rng.randrange(most + 1)))

    def _module(self) -> str:
        r = self.rng
        imports = [Signature("$note", ("i32", "i64", "f32", "f64"), ("i32",)), Signature("$mark", (), ())]
        imports = imports if r.random() < 0.3 else []
        count = r.randrange(1, 7)
        self.functions = [
            Signature(f"$f{i}", self._types(3), self._types(r.choice([1, 1, 1, 2, 4])), guarded=r.random() < 0.3)
            for i in range(count)
        ]
        everyone = imports + self.functions
        globals_ = {t: [f"$g{t}{i}" for i in range(2)] for t in NUMBERS}
        constants = {t: [f"$c{t}"] for t in NUMBERS}
        slots: list[int | None] = [r.choice([None, *range(len(everyone))]) for _ in range(r.randrange(1, 12))]
        segments = r.choice([0, 0, 2, 3])
        self.around = Surroundings(
            r, self.floats, globals_, constants, list(imports), everyone, slots, min(segments, 1), segments
        )
        bodies = {s.name: self._function(s) for s in reversed(self.functions)}
        parts = [
            *(['(import "test" "note" (func $note (param i32 i64 f32 f64) (result i32)))',
               '(import "test" "mark" (func $mark))'] if imports else []),
            self._memory(),
            *self._globals(globals_, constants),
            *self._table(slots, everyone),
            *self._data(segments),
            *(bodies[s.name] for s in self.functions),
            *(self._wrapper(i, s) for i, s in enumerate(self.functions)),
            self._spill(globals_),
            *self._start(),
        ]  # fmt: skip
        self.loose = self.around.loose
        return "(module\n" + "\n".join(parts) + ")"

    def _function(self, me: Signature) -> str:
        r = self.rng
        locals_ = [*me.params, *self._types(5)]
        body = Body(self.around, me, locals_, left=r.choice([8, 25, 60, self.size]))
        body.labels = [Label(me.results)]
        if me.guarded:
            # Counts down what wrappers have set; without any left it gives constants.
            consts = " ".join(constant(r, t) for t in me.results)
            body.emit(f"global.get $steps i32.const 0 i32.le_s if {consts} return end")
            body.emit("global.get $steps i32.const 1 i32.sub global.set $steps")
        body.statements(r.choice([2, 4, 7]))
        if r.random() < 0.05:
            body.leave()
            body.dead()
        body.values(me.results)
        me.worst = body.cost * (STEPS if me.guarded else 1) + 1
        if me.worst < MOST_WORK:
            self.around.callable.append(me)
        declared = " ".join(f"(local {t})" for t in locals_[len(me.params) :])
        counters = " ".join(f"(local {name} i32)" for name in body.counters)
        lines = "\n  ".join(body.out)
        return f"(func {me.name} {self._typed(me.params, me.results)} {declared} {counters}\n  {lines})"

    @staticmethod
    def _typed(params: Types, results: Types) -> str:
        return _words("param", params) + _words("result", results)

    def _memory(self) -> str:
        return self.rng.choice(
            ['(memory $m (export "m") 1 90)', '(memory $m (export "m") 1 150)', '(memory $m (export "m") 2 40)']
        )

    def _globals(self, variables: dict[str, list[str]], constants: dict[str, list[str]]) -> list[str]:
        lines = ["(global $steps (mut i32) (i32.const 5))"]
        for t in NUMBERS:
            lines += [f"(global {name} (mut {t}) ({constant(self.rng, t)}))" for name in variables[t]]
            lines += [f"(global {name} {t} ({constant(self.rng, t)}))" for name in constants[t]]
        lines.append('(export "gi32" (global $gi320)) (export "gi64" (global $gi640))')
        return lines

    def _table(self, slots: list[int | None], everyone: list[Signature]) -> list[str]:
        size = len(slots) + self.rng.randrange(3)
        lines = [f"(table {size} {self.rng.choice(['', str(size + 5)])} funcref)"]
        written = self.rng.random() < 0.4  # as expressions, in one segment
        if written:
            items = " ".join("(ref.null func)" if i is None else f"(ref.func {everyone[i].name})" for i in slots)
            lines.append(f"(elem (i32.const 0) funcref {items})")
        else:
            lines += [f"(elem (i32.const {at}) {everyone[i].name})" for at, i in enumerate(slots) if i is not None]
        if self.rng.random() < 0.2:
            lines.append(f"(elem func {self.functions[0].name})")
        if self.rng.random() < 0.2:
            lines.append(f"(elem declare funcref (ref.func {self.functions[-1].name}))")
        return lines

    def _data(self, segments: int) -> list[str]:
        text = "".join(f"\\{self.rng.randrange(256):02x}" for _ in range(24))
        lines = ['(data $long "%s")' % (text * 3)] if segments else []
        lines.append(f'(data (i32.const 100) "{text}\\00\\00\\a0\\7f\\01\\00\\80\\7f\\ff\\ff\\ff\\ff\\00\\00\\c0\\ff")')
        if segments > 2:
            lines.append('(data "ab")')
        return lines

    def _wrapper(self, index: int, me: Signature) -> str:
        params = " ".join(BITS[t][0] for t in me.params)
        results = " ".join(BITS[t][0] for t in me.results)
        lines = [f"i32.const {self.rng.randrange(STEPS)}", "global.set $steps"]
        for i, t in enumerate(me.params):
            lines += [f"local.get {i}", BITS[t][1]]
        lines.append(f"call {me.name}")
        if any(t[0] == "f" for t in me.results):
            first = len(me.params)
            lines += [f"local.set {first + i}" for i in reversed(range(len(me.results)))]
            for i, t in enumerate(me.results):
                lines += [f"local.get {first + i}", BITS[t][2]]
        declared = " ".join(f"(local {t})" for t in me.results)
        direct = f'(export "f{index}" (func {me.name}))'
        head = f'(func (export "w{index}") (param {params}) (result {results}) {declared}'
        return f"{direct} {head} {' '.join(filter(None, lines))})"

    def _spill(self, variables: dict[str, list[str]]) -> str:
        lines, at = [], SPILL_AT
        for t in NUMBERS:
            for name in variables[t]:
                lines.append(f"({t}.store (i32.const {at}) (global.get {name}))")
                at += 8
        return f'(func (export "spill") {" ".join(lines)})'

    def _start(self) -> list[str]:
        if self.rng.random() < 0.8:
            return []
        return [
            "(func $start global.get $gi320 i32.const 3 i32.add global.set $gi320 i32.const 9 i32.const 8 i32.store)",
            "(start $start)",
        ]


def _words(word: str, types: Types) -> str:
    return f"({word} {' '.join(types)}) " if types else ""
