"""What a child may say, and what becomes of the rest."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox_kit import ANSWER, HOST, request

from icn_lite.model import cbor
from icn_lite.sandbox import child, frames, hostabi, wire
from icn_lite.sandbox.entry import plan_entry
from icn_lite.sandbox.host import ALWAYS_PERMITTED
from icn_lite.sandbox.outcome import HOST_CALL_LIMIT, TRAPS, RunContext, RunOutcome
from icn_lite.sandbox.wasi import MODULE, WasiFunctions
from icn_lite.wasm.hostfuncs import HOST_FUNCTIONS
from icn_lite.wasm.types import TrapFlag

RUN = request(ANSWER, fuel_limit=1000, output_limit=50, log_limit=20)
ENTRY = plan_entry(RUN)
TIMING = wire.Timing("wasm3", 5)
GOOD: list[cbor.Value] = [child.DONE, "completed", None, "", None, [42], 990, 0, b"out", b"log", 3, 4000, [b"block"]]
FIELDS = (
    "kind", "status", "trap", "detail", "exit_code", "results", "fuel_left", "pages", "output", "log", "calls", "cpu",
    "blocks",
)  # fmt: skip


def read(**changed: cbor.Value) -> RunOutcome:
    fields = [changed.get(name, value) for name, value in zip(FIELDS, GOOD, strict=True)]
    return wire.read_done(wire.decode_answer(cbor.encode(fields)), RUN, ENTRY, TIMING)


def test_a_good_answer() -> None:
    outcome = read()
    assert (outcome.status, outcome.fuel_used, outcome.output, outcome.cpu_ms) == ("completed", 10, b"out", 4)
    assert (str(outcome.results[0]), outcome.log, outcome.host_calls) == ("i32:42", b"log", 3)
    assert outcome.blocks == (b"block",)
    assert read(status="failed", results=[]).blocks == ()
    assert read(output=b"").output == b"", "an i32 is a status, not an output"
    assert read(cpu=10**9).cpu_ms == 5, "no more processor time than there was time"
    assert read(status="out_of_fuel", fuel_left=-7, results=[]).fuel_used == 1000
    assert read(status="trapped", trap="unreachable", results=[]).trap == "unreachable"


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": 9}, {"status": "won"}, {"status": 1}, {"trap": "unreachable"}, {"status": "trapped"},
        {"status": "trapped", "trap": "bored"}, {"status": "failed", "trap": "unreachable"}, {"detail": b""},
        {"exit_code": -1}, {"exit_code": 1 << 32}, {"results": []}, {"results": [1, 2]}, {"results": [1 << 32]},
        {"results": [-1]}, {"results": ["1"]}, {"results": [True]}, {"fuel_left": 1001}, {"fuel_left": -(1 << 63) - 1},
        {"pages": -1}, {"pages": 161}, {"output": bytes(51)}, {"log": bytes(21)}, {"calls": HOST_CALL_LIMIT + 2},
        {"calls": -1}, {"cpu": -1}, {"output": "text"}, {"results": {"a": 1}}, {"blocks": [1]}, {"blocks": [bytes(48)]},
        {"blocks": [b""] * (hostabi.MAX_BLOCKS + 1)}, {"output": bytes(46)}, {"blocks": b""},
    ],
)  # fmt: skip
def test_answers_out_of_form_or_range_are_refused(changed: dict[str, cbor.Value]) -> None:
    with pytest.raises(wire.ProtocolError):
        read(**changed)


items = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 64), (1 << 64) - 1) | st.binary(max_size=60) | st.text(max_size=20)
    | st.sampled_from(sorted(TRAPS)) | st.sampled_from(["completed", "trapped", "failed"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)  # fmt: skip


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.sampled_from(FIELDS[1:]), items)
def test_one_wild_field_gives_a_sound_outcome_or_a_refusal(name: str, value: cbor.Value) -> None:
    try:
        outcome = read(**{name: value})
    except wire.ProtocolError:
        return
    assert outcome.status in ("completed", "trapped", "out_of_fuel", "failed")
    assert (outcome.trap is not None) is (outcome.status == "trapped")
    assert (outcome.failure is not None) is (outcome.status == "failed")
    assert 0 <= outcome.fuel_used <= 1000
    assert len(outcome.output) + sum(map(len, outcome.blocks)) <= 50
    assert len(outcome.log) <= 20
    assert 0 <= outcome.memory_pages_peak <= RUN.max_pages


def test_pieces_of_the_log_stay_within_its_limit() -> None:
    assert wire.read_log([child.LOG, b"four"], 4) == b"four"
    for fields in ([child.LOG, b"five!"], [child.LOG, b""], [child.LOG, "text"], [child.LOG], [child.LOG, b"a", b"b"]):
        with pytest.raises(wire.ProtocolError):
            wire.read_log(fields, 4)
    before = wire.Timing("wasm3", 5, b"said before; ")
    assert wire.read_done(list(GOOD), RUN, ENTRY, before).log == b"said before; log"
    with pytest.raises(wire.ProtocolError):
        wire.read_done(list(GOOD), RUN, ENTRY, wire.Timing("wasm3", 5, bytes(18)))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.binary(max_size=60))
def test_random_bytes_are_refused_or_read(data: bytes) -> None:
    try:
        fields = wire.decode_answer(data)
        wire.read_done(fields, RUN, ENTRY, TIMING)
    except wire.ProtocolError:
        return


@pytest.mark.parametrize("name", sorted(hostabi.REMOTE))
def test_calls_fit_their_row(name: str) -> None:
    pattern = hostabi.REMOTE[name]
    numbers: list[cbor.Value] = [1 for kind in pattern if kind in ("int", "out")]
    blocks: list[cbor.Value] = [b"x" for kind in pattern if kind not in ("int", "out")]
    call = wire.read_call([child.CALL, name, numbers, blocks])
    assert (call.name, len(call.numbers), len(call.blocks)) == (name, len(numbers), len(blocks))
    for wrong in ([*numbers, 1], blocks and [*numbers, b""]):
        if wrong:
            with pytest.raises(wire.ProtocolError):
                wire.read_call([child.CALL, name, wrong, blocks])
    with pytest.raises(wire.ProtocolError):
        wire.read_call([child.CALL, "host_format_disk", [], []])


def test_the_request_that_is_written_is_the_one_that_is_read() -> None:
    text = f'(module {HOST} (memory 1) (func (export "run") (param i32 i32) (result i32) (i32.const 0)))'
    context = RunContext("job", 2, "cid", True, 3, "stage", "input", ("a", "b"))
    run = request(text, input=b"in", context=context, seed=b"seed", timeout_ms=7)
    item = frames.decode(wire.encode_request(run, plan_entry(run), None)[1])
    assert isinstance(item, list)
    got = child.Request(item[1])
    assert (got.code, got.input, got.seed, got.arguments) == (run.prepared.code, b"in", b"seed", ["a", "b"])
    assert got.fuel_limit == run.fuel_limit
    assert got.facts == ["job", "cid", True, 3, "stage", "input"]
    assert got.limits[:4] == [7, run.max_pages, run.output_limit, run.log_limit]
    assert [row[:2] for row in got.imports] == [["icn", "get_input"], ["icn", "put_output"], ["icn", "log"]]
    assert {row[4] for row in got.imports} == {child.LINK_LOCAL}


def test_every_row_of_the_table_has_somebody_to_answer() -> None:
    """Local, remote or WASI, with as many parameters as its row: nothing falls between."""
    for (module, name), row in HOST_FUNCTIONS.items():
        if module == MODULE:
            method = getattr(WasiFunctions, name, None)
            if method is not None:
                assert method.__code__.co_argcount == len(row.params) + 1, name
        elif name in hostabi.LOCAL:
            assert name not in hostabi.REMOTE
            assert getattr(hostabi.IcnFunctions, name).__code__.co_argcount == len(row.params) + 1, name
        else:
            pattern = hostabi.REMOTE[name]
            assert sum(2 if kind in ("bytes", "out") else 1 for kind in pattern) == len(row.params), name
    assert {row.permission for row in HOST_FUNCTIONS.values()} >= ALWAYS_PERMITTED
    assert (child.FLAG_OUT_OF_FUEL, child.FLAG_STACK, child.FLAG_HOST_MEMORY) == (
        TrapFlag.OUT_OF_FUEL, TrapFlag.CALL_STACK_EXHAUSTED, TrapFlag.HOST_MEMORY,
    )  # fmt: skip
