"""The specification's own test suite through preparation and the real sandbox: pool, zygote, jailed child, wasm3.

Each module runs in a child of its own, with its assertions as a script (`wasm_script_engine.py`) for the product's own
engine. The first call of every module is made a second time the ordinary way, as a run of the pool.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import wasm_script_engine as script
import wasm_suite
from wasm_suite import LIMITS, NEEDED, SPECTEST, Call, Instance

from icn_lite.model import cbor
from icn_lite.model.errors import ModuleError
from icn_lite.sandbox.entry import INTEGER_TWIN, type_words
from icn_lite.sandbox.forkserver import ENGINES, EngineSpec
from icn_lite.sandbox.outcome import RunOutcome, RunRequest
from icn_lite.sandbox.pool import Pool, PoolConfig
from icn_lite.sandbox.value import Value
from icn_lite.wasm.opcodes import I32
from icn_lite.wasm.prepare import Prepared, prepare
from icn_lite.wasm.types import Export, FuncType, Import

pytestmark = NEEDED

# What runs, and what does not and why: these figures change only with a reason.
RAN = {
    "module": 936, "module unsupported": 189, "assert_return": 19802, "assert_trap": 504, "assert_exhaustion": 15,
    "action": 92, "ordinary run": 581,
}  # fmt: skip
LEFT_OUT = {
    wasm_suite.REFERENCES: 2904, wasm_suite.TEXT: 567, wasm_suite.NUL: 479,
    wasm_suite.LINKED: 89,
}  # fmt: skip
FUEL = 1 << 40
AT_ONCE = 8  # modules in flight: more would only wait
PUT_OUTPUT = Import("icn", "put_output", FuncType((I32, I32), (I32,)))


@dataclass
class Answer:
    """What the child says of one step."""

    status: int
    trap: str | None
    results: list[int]
    fuel_left: int


def scripted(prepared: Prepared, calls: list[Call]) -> RunRequest:
    """One run that makes all calls of an instance, its start function first."""
    exports = {export.name: export for export in prepared.exports}
    steps: list[cbor.Value] = []
    if prepared.start is not None:
        steps.append([script.CALL, prepared.start, FUEL, [], []])
    for call in calls:
        if call.is_get:
            steps.append([script.GET, call.name, 0, [], [row["type"] for row in call.expected]])
            continue
        export = exports[call.name]
        assert export.type is not None
        twin = export.bits is not None
        params, results = type_words(export.type.params), type_words(export.type.results)
        if twin:
            params, results = tuple(INTEGER_TWIN[t] for t in params), tuple(INTEGER_TWIN[t] for t in results)
        args: list[cbor.Value] = [[kind, bits] for kind, bits in zip(params, call.args, strict=True)]
        steps.append([script.CALL, export.bits or call.name, FUEL, args, list(results)])
    return RunRequest(
        replace(
            prepared,
            code=cbor.encode([prepared.code, prepared.fuel_global, prepared.trap_global, steps]),
            exports=(Export("script", "func", FuncType((), ())),),
            start=None,
            imports=(*prepared.imports, PUT_OUTPUT),
        ),
        invoke="script",
        max_pages=LIMITS.memory_pages,
    )


def answers_of(outcome: RunOutcome) -> list[Answer]:
    rows = cbor.decode(outcome.output, max_bytes=len(outcome.output))
    assert isinstance(rows, list)
    return [Answer(*row) for row in rows]  # type: ignore[misc]


def right(call: Call, answer: Answer) -> bool:
    if call.kind in ("assert_trap", "assert_exhaustion"):
        return answer.status == script.TRAPPED and answer.trap == call.trap
    return answer.status == script.RETURNED and call.holds(answer.results)


class Tally:
    """What ran, what is wrong, what was left out."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.left_out: Counter[str] = Counter()  # assertions by reason

    async def instance(self, pool: Pool, single: Pool, instance: Instance) -> None:
        try:
            prepared = prepare(instance.module, LIMITS, SPECTEST)
        except ModuleError as error:
            if instance.calls:
                self.left_out[wasm_suite.reason_of(error)] += len(instance.calls)
            self.ran[f"module {error.reason}"] += 1
            return
        self.ran["module"] += 1
        outcome = await pool.run(scripted(prepared, instance.calls))
        if outcome.status != "completed":
            self.wrong.append(f"{instance}: {outcome.status} {outcome.detail}")
            return
        answers = answers_of(outcome)[prepared.start is not None :]
        assert len(answers) == len(instance.calls)
        for call, answer in zip(instance.calls, answers, strict=True):
            self.ran[call.kind] += 1
            if not right(call, answer):
                self.wrong.append(f"{instance} line {call.line}: {call.name}{call.args} gave {answer}")
        if instance.calls and not instance.calls[0].is_get:
            spent = sum(FUEL - answer.fuel_left for answer in answers_of(outcome)[: 1 + (prepared.start is not None)])
            await self.ordinary(single, instance, prepared, spent)

    async def ordinary(self, single: Pool, instance: Instance, prepared: Prepared, spent: int) -> None:
        """The first call again, as an ordinary run, which has to spend the same."""
        call = instance.calls[0]
        args = tuple(Value(kind, bits) for kind, bits in zip(call.arg_types, call.args, strict=True))
        request = RunRequest(prepared, call.name, args, fuel_limit=FUEL, max_pages=LIMITS.memory_pages)
        outcome = await single.run(request)
        self.ran["ordinary run"] += 1
        if call.trap is not None:
            good = (outcome.status, outcome.trap) == ("trapped", call.trap)
        else:
            good = outcome.status == "completed" and call.holds([value.bits for value in outcome.results])
        if not good or outcome.fuel_used != spent:
            self.wrong.append(f"{instance} line {call.line}: {call.name}{call.args} ran alone to {outcome}")


@pytest.fixture(scope="module", autouse=True)
def folder_goes() -> Iterator[None]:
    yield
    wasm_suite.clean_up()


async def run_all(pool: Pool, single: Pool) -> Tally:
    tally = Tally()
    places = asyncio.Semaphore(AT_ONCE)

    async def one(instance: Instance) -> None:
        async with places:
            await tally.instance(pool, single, instance)

    await asyncio.gather(*map(one, wasm_suite.load().instances))
    return tally


async def test_every_assertion_holds_in_the_sandbox() -> None:
    # Named by its place in the checkout, so that the zygote finds wasm3 in the folder of its own.
    ENGINES["script"] = EngineSpec("tests.wasm.wasm_script_engine", "ScriptEngine", "wasm3")
    async with Pool(PoolConfig(workers=2, engine="script")) as pool, Pool(PoolConfig(workers=2)) as single:
        tally = await run_all(pool, single)
    print(dict(tally.ran))
    left_out = Counter(reason for _, _, reason in wasm_suite.load().left_out) + tally.left_out
    print("\n".join(f"left out: {count} {reason}" for reason, count in left_out.most_common()))
    assert not tally.wrong, "\n".join(tally.wrong[:20])
    assert dict(tally.ran) == RAN
    assert left_out == LEFT_OUT
