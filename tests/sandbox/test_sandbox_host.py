"""Every host function, called from inside a guest on both engines: each success, each error, and its price in fuel."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import pytest_asyncio
from nacl.signing import SigningKey
from sandbox_kit import ENGINE_NAMES, guest

from icn_lite.model.cid import Cid
from icn_lite.model.errors import HostAbiError, IcnLiteError
from icn_lite.sandbox import hostabi, hosttable
from icn_lite.sandbox.host import ALWAYS_PERMITTED, BUILT_IN, HostAnswer, HostCall
from icn_lite.sandbox.outcome import RunContext, RunOutcome, RunRequest
from icn_lite.sandbox.pool import Pool, PoolConfig
from icn_lite.sandbox.value import Value
from icn_lite.wasm.hostfuncs import HostFunction
from icn_lite.wasm.opcodes import I32

E = HostAbiError
README = Path(hosttable.__file__).parent / "README.md"
ROWS = {row.name: row for row in hosttable.rows()}
PERMISSIONS = frozenset({"interactive", "economy", "mesh"})
PAGES = 20
SIZE = PAGES << 16  # more than a call may send to the node
INPUT = bytes(range(256)) * 2
OUT = 4096  # where guests have their buffers; the input lies at 0
TEXT_AT, TEXT = 8192, b"a line"

# How a local function's parameters are read; `hostabi.REMOTE` says it of the others.
SHAPES: dict[str, tuple[str | int, ...]] = {
    **hostabi.REMOTE,
    "get_input": ("out",),
    "input_len": (),
    "read_input": ("int", "out"),
    "put_output": ("bytes",),
    "log": ("bytes",),
    "host_log_message": ("int", "bytes"),
    "host_job_get_id": ("out",),
    "host_job_get_initial_input_cid": ("out",),
    "host_job_is_interactive": (),
    "host_job_report_progress": ("int", "bytes"),
    "host_workflow_get_current_stage_index": (),
    "host_workflow_get_current_stage_id": ("out",),
    "host_workflow_get_current_stage_input_cid": ("bytes", "out"),
    "host_data_read_cid": ("bytes", "int", "out"),
    "host_data_write_buffer": ("bytes", "out"),
    "sha256": ("bytes", 32),
    "blake2b": ("bytes", "out"),
}

# Past the end, across it, round 2^32, negative: (pointer, length).
BAD_RANGES = ((SIZE, 1), (SIZE - 1, 2), (0, SIZE + 1), (-1, 1), (-4, 8), (0, -1), (-1, -1), (65000, -65000),
              (0, 2**31 - 1), (-(2**31), 2**31 - 1))  # fmt: skip


class Node:
    """Serves everything: a number, or bytes for the buffer; fails or answers as it is told to."""

    def __init__(self) -> None:
        self.calls: list[HostCall] = []

    def serves(self, name: str) -> bool:
        return name not in BUILT_IN

    async def call(self, context: RunContext, call: HostCall) -> HostAnswer:
        self.calls.append(call)
        if context.job_id == "the node fails":
            raise IcnLiteError("the mesh is away")
        if context.job_id == "too much":
            return HostAnswer(9, b"nine byte")
        if context.job_id == "refused":
            return HostAnswer.refused(E.INVALID_STATE)
        return HostAnswer(5, b"hello") if "out" in hostabi.REMOTE[call.name] else HostAnswer(7)


@dataclass(frozen=True, slots=True)
class Case:
    """A call and what it must give; `left` is what lies at `OUT` afterwards."""

    name: str
    what: str
    args: tuple[int, ...]
    result: int | None
    left: bytes = b""
    log: bytes = b""
    output: bytes = b""  # by the call itself
    blocks: tuple[bytes, ...] = ()
    served: bool = True
    permissions: frozenset[str] = PERMISSIONS
    context: RunContext = field(default_factory=lambda: FACTS)
    input: bytes = INPUT
    output_limit: int = 4096
    calls_node: bool = False

    @property
    def id(self) -> str:
        return f"{self.name}: {self.what}"


INPUT_CID = str(Cid.of_raw(INPUT))
FACTS = RunContext(job_id="job-1", initial_input_cid=INPUT_CID, interactive=True, stage_index=3, stage_id="sum",
                   stage_input_cid="the stage's")  # fmt: skip
NO_FACTS = RunContext()


def good_args(name: str) -> tuple[int, ...]:
    """Arguments whose pointers are all right: texts of one byte, buffers of 64."""
    args: list[int] = []
    for kind in SHAPES[name]:
        if kind == "int":
            args.append(3)
        elif kind == "out":
            args += [OUT, 64]
        elif kind == "bytes":
            args += [TEXT_AT, 0 if name == STAGE_CID else 1]  # a stage's input has the empty key
        else:
            args.append(OUT)
    return tuple(args)


def bad_pointers() -> Iterator[Case]:
    """Every pointer of every function, out of the memory in every way; nothing is changed and nobody is asked."""
    for name, shape in SHAPES.items():
        at = 0
        for kind in shape:
            if kind == "int":
                at += 1
                continue
            for pointer, length in (
                BAD_RANGES if not isinstance(kind, int) else ((SIZE, 0), (SIZE - kind + 1, 0), (-1, 0))
            ):
                args = list(good_args(name))
                args[at : at + (1 if isinstance(kind, int) else 2)] = (
                    [pointer] if isinstance(kind, int) else [pointer, length]
                )
                result = None if name == "log" else E.MEMORY_ACCESS
                if name == "blake2b" and kind == "out":
                    result = E.INVALID_PARAMETERS if not 1 <= length <= 64 else E.MEMORY_ACCESS
                if name == "host_data_read_cid" and at == 0 and length & 0xFFFFFFFF > 128:
                    result = E.INVALID_PARAMETERS
                what = f"bad pointer {at}: {pointer} {length}"
                yield Case(name, what, tuple(args), result, context=replace(FACTS, stage_input_cid="a"))
            at += 1 if isinstance(kind, int) else 2


def of_the_node() -> Iterator[Case]:
    """What holds of all functions that the node answers."""
    for name, shape in hostabi.REMOTE.items():
        if name in BUILT_IN:
            continue
        args, has_buffer = good_args(name), "out" in shape
        left = b"hello" if has_buffer else b""
        yield Case(name, "served", args, 5 if has_buffer else 7, left=left, calls_node=True)
        yield Case(name, "not served", args, E.NOT_SUPPORTED, served=False)
        yield Case(name, "neither served nor permitted", args, E.NOT_SUPPORTED, served=False, permissions=frozenset())
        said = {what: RunContext(job_id=what, interactive=True) for what in ("the node fails", "too much", "refused")}
        yield Case(name, "the node fails", args, E.UNKNOWN, context=said["the node fails"], calls_node=True)
        yield Case(name, "the node refuses", args, E.INVALID_STATE, context=said["refused"], calls_node=True)
        if ROWS[name].permission not in ALWAYS_PERMITTED:
            yield Case(name, "not permitted", args, E.NOT_PERMITTED, permissions=frozenset())
        if name.startswith("host_interactive_"):
            job = RunContext(job_id="j")
            yield Case(name, "not an interactive job", args, E.NOT_INTERACTIVE, context=job)
            yield Case(name, "nor served", args, E.NOT_INTERACTIVE, context=job, served=False)
            yield Case(name, "nor permitted", args, E.NOT_INTERACTIVE, context=job, permissions=frozenset())
        if has_buffer:
            small = list(args)
            at = sum(1 if kind == "int" else 2 for kind in shape[: shape.index("out")])
            small[at + 1] = 8
            yield Case(
                name, "small buffer", tuple(small), E.BUFFER_TOO_SMALL, context=said["too much"], calls_node=True
            )
            small[at + 1] = 0
            yield Case(name, "how long is it", tuple(small), 5, calls_node=True)
        if "bytes" in shape:
            large = list(args)
            at = sum(1 if kind == "int" else 2 for kind in shape[: shape.index("bytes")])
            large[at : at + 2] = [0, hostabi.MAX_REMOTE_BYTES + 1]
            yield Case(name, "too large", tuple(large), E.RESOURCE_LIMIT)


KEY = SigningKey(bytes([1] * 32))
SIGNED = KEY.sign(b"hello").signature + bytes(KEY.verify_key) + b"hello"
STAGE_CID = "host_workflow_get_current_stage_input_cid"
READ, WRITE = "host_data_read_cid", "host_data_write_buffer"
CID_INPUT = INPUT_CID.encode() + INPUT  # so that the guest has the CID's text at 0
CID_FACTS = RunContext(initial_input_cid=INPUT_CID)
TEXTS = {
    "host_job_get_id": b"job-1",
    "host_job_get_initial_input_cid": INPUT_CID.encode(),
    "host_workflow_get_current_stage_id": b"sum",
}


def of_the_child() -> Iterator[Case]:
    """What the child answers by itself."""
    yield Case("get_input", "all of it", (OUT, 1024), 512, left=INPUT)
    yield Case("get_input", "the beginning", (OUT, 3), 3, left=INPUT[:3])
    yield Case("get_input", "how long is it", (-1, 0), 512)
    yield Case("get_input", "none", (OUT, 8), 0, input=b"")
    yield Case("input_len", "all", (), 512)
    yield Case("read_input", "a part", (5, OUT, 4), 4, left=INPUT[5:9])
    yield Case("read_input", "the end", (500, OUT, 64), 12, left=INPUT[500:])
    yield Case("read_input", "past the end", (512, OUT, 64), 0)
    yield Case("read_input", "an offset of more than 31 bits", (-1, OUT, 64), 0)
    yield Case("read_input", "nothing", (5, OUT, 0), 0)
    yield Case("put_output", "a line", (TEXT_AT, 6), 0, output=TEXT)
    yield Case("put_output", "nothing, at the very end", (SIZE, 0), 0)
    yield Case("put_output", "to the limit", (0, 4096), 0, output=INPUT.ljust(4096, b"\0"))
    yield Case("put_output", "past the limit", (0, 4097), E.RESOURCE_LIMIT)
    yield Case("log", "a line", (TEXT_AT, 6), None, log=b"a line\n")
    yield Case("log", "nothing", (0, 0), None, log=b"\n")
    for level, word in enumerate(("trace", "debug", "info", "warn", "error")):
        yield Case("host_log_message", word, (level, TEXT_AT, 6), 0, log=word.encode() + b": a line\n")
    for level in (-1, 5, 2**31 - 1):
        yield Case("host_log_message", f"level {level}", (level, TEXT_AT, 6), E.INVALID_PARAMETERS)
    for percent in (0, 7, 100):
        line = b"progress: %d %% a line\n" % percent
        yield Case("host_job_report_progress", f"{percent} %", (percent, TEXT_AT, 6), 0, log=line)
    for percent in (-1, 101, -(2**31)):
        yield Case("host_job_report_progress", f"{percent} %", (percent, TEXT_AT, 6), E.INVALID_PARAMETERS)
    for name, text in TEXTS.items():
        yield Case(name, "told", (OUT, len(text)), len(text), left=text)
        yield Case(name, "small buffer", (OUT, len(text) - 1), E.BUFFER_TOO_SMALL)
        yield Case(name, "how long is it", (-1, 0), len(text))
        yield Case(name, "there is none", (OUT, 64), E.NOT_FOUND, context=NO_FACTS)
    yield Case(STAGE_CID, "told", (0, 0, OUT, 64), 11, left=b"the stage's")
    yield Case(STAGE_CID, "small buffer", (0, 0, OUT, 10), E.BUFFER_TOO_SMALL)
    yield Case(STAGE_CID, "how long is it", (0, 0, -1, 0), 11)
    yield Case(STAGE_CID, "no such key", (TEXT_AT, 6, OUT, 64), E.NOT_FOUND)
    yield Case(STAGE_CID, "there is none", (0, 0, OUT, 64), E.NOT_FOUND, context=NO_FACTS)
    for interactive in (False, True):
        yield Case(
            "host_job_is_interactive", f"{interactive}", (), interactive, context=RunContext(interactive=interactive)
        )
    yield Case("host_workflow_get_current_stage_index", "3", (), 3)
    own = RunContext(initial_input_cid=str(Cid.of_raw(CID_INPUT)), stage_input_cid=INPUT_CID)
    yield Case(READ, "the input", (0, 59, 59, OUT, 64), 64, left=INPUT[:64], context=own, input=CID_INPUT)
    yield Case(READ, "how long is it", (0, 59, 0, -1, 0), len(CID_INPUT), context=own, input=CID_INPUT)
    yield Case(READ, "past its end", (0, 59, -1, OUT, 64), 0, context=own, input=CID_INPUT)
    later = RunContext(initial_input_cid=INPUT_CID, stage_input_cid=str(Cid.of_raw(CID_INPUT)))
    yield Case(
        READ, "the job's input in a later stage", (0, 59, 0, OUT, 64), E.NOT_FOUND, context=later, input=CID_INPUT
    )
    first = RunContext(initial_input_cid=INPUT_CID)
    yield Case(READ, "the job's input", (0, 59, 59, OUT, 64), 64, left=INPUT[:64], context=first, input=CID_INPUT)
    yield Case(READ, "another block", (0, 59, 0, OUT, 64), E.NOT_FOUND, context=NO_FACTS, input=CID_INPUT)
    yield Case(READ, "no CID", (0, 0, 0, OUT, 64), E.NOT_FOUND, context=NO_FACTS)
    yield Case(READ, "128 characters", (0, 128, 0, OUT, 64), E.NOT_FOUND)
    yield Case(READ, "129 characters", (0, 129, 0, OUT, 64), E.INVALID_PARAMETERS)
    yield Case(WRITE, "kept", (TEXT_AT, 6, OUT, 59), 59, left=str(Cid.of_raw(TEXT)).encode(), blocks=(TEXT,))
    yield Case(WRITE, "an empty one", (0, 0, OUT, 64), 59, left=str(Cid.of_raw(b"")).encode(), blocks=(b"",))
    yield Case(WRITE, "small buffer", (TEXT_AT, 6, OUT, 58), E.BUFFER_TOO_SMALL)
    yield Case(WRITE, "how long is a CID", (TEXT_AT, 6, -1, 0), 59)
    yield Case(WRITE, "to the limit", (0, 4096, OUT, 59), 59, blocks=(INPUT.ljust(4096, b"\0"),))
    yield Case(WRITE, "past the limit", (0, 4097, OUT, 59), E.RESOURCE_LIMIT)
    yield Case("sha256", "a line", (TEXT_AT, 6, OUT), 0, left=hashlib.sha256(TEXT).digest())
    for size in (1, 32, 64):
        digest = hashlib.blake2b(TEXT, digest_size=size).digest()
        yield Case("blake2b", f"{size} bytes", (TEXT_AT, 6, OUT, size), 0, left=digest)
    for size in (0, 65, -1):
        yield Case("blake2b", f"{size} bytes", (TEXT_AT, 6, OUT, size), E.INVALID_PARAMETERS)
    yield Case("ed25519_verify", "holds", (96, 5, 0, 64), 1, input=SIGNED)
    yield Case("ed25519_verify", "another message", (96, 4, 0, 64), 0, input=SIGNED)
    yield Case("ed25519_verify", "another key", (96, 5, 0, 65), 0, input=SIGNED)
    yield Case("ed25519_verify", "too large", (0, hostabi.MAX_REMOTE_BYTES - 95, 0, 64), E.RESOURCE_LIMIT)


CASES = {case.id: case for cases in (bad_pointers(), of_the_node(), of_the_child()) for case in cases}


def caller(row: HostFunction) -> str:
    """A guest that puts the input at 0 and a text at TEXT_AT, calls with what it is given, and tells its buffer."""
    words = {t: "i32" if t == I32 else "i64" for t in (*row.params, *row.results)}
    params = " ".join(words[t] for t in row.params)
    result = f"(result {words[row.results[0]]})" if row.results else ""
    gets = " ".join(f"(local.get {i})" for i in range(len(row.params)))
    size = len(row.params)
    kept = f"(local $r {words[row.results[0]]})" if row.results else ""
    call = f"(call $f {gets})"
    return f"""(module
      (import "icn" "{row.name}" (func $f (param {params}) {result}))
      (import "icn" "get_input" (func $get (param i32 i32) (result i32)))
      (import "icn" "put_output" (func $put (param i32 i32) (result i32)))
      (memory {PAGES}) (data (i32.const {TEXT_AT}) "{TEXT.decode()}")
      (func (export "call") (param {params}) (param i32) {result} {kept}
        (drop (call $get (i32.const 0) (i32.const 4096)))
        {f"(local.set {size + 1} {call})" if row.results else call}
        (drop (call $put (i32.const {OUT}) (local.get {size})))
        {f"(local.get {size + 1})" if row.results else ""}))"""


def price_of(case: Case) -> int:
    """What the run costs, counted by hand: the guest's operators, its two other calls, and the price in the table."""
    row = ROWS[case.name]
    own = 1 + 3 + len(row.params) + 1 + 3 + 2 * len(row.results)
    others = (100 + 4096) + (100 + len(case.left))
    length = case.args[row.byte_param] & 0xFFFFFFFF if row.byte_param is not None else 0
    return own + others + row.fuel_base + row.fuel_per_byte * length


def request_for(case: Case) -> RunRequest:
    row = ROWS[case.name]
    kinds = ["i32" if t == I32 else "i64" for t in row.params]
    given = zip([*kinds, "i32"], [*case.args, len(case.left)], strict=True)
    args = tuple(Value(kind, value % (1 << (64 if kind == "i64" else 32))) for kind, value in given)  # type: ignore[arg-type]
    return RunRequest(
        guest(caller(row)), invoke="call", args=args, input=case.input, fuel_limit=1 << 40, context=case.context,
        permissions=case.permissions, output_limit=case.output_limit,
    )  # fmt: skip


@pytest.fixture(params=ENGINE_NAMES, scope="module")
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pools(engine: str) -> AsyncIterator[dict[bool, tuple[Pool, Node]]]:
    """With a node that serves everything, and without."""
    node = Node()
    async with (
        Pool(PoolConfig(engine=engine, workers=1), node) as with_node,
        Pool(PoolConfig(engine=engine, workers=1)) as alone,
    ):
        yield {True: (with_node, node), False: (alone, Node())}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ROWS)
async def test_every_answer_of_a_function(name: str, pools: dict[bool, tuple[Pool, Node]]) -> None:
    for case in (case for case in CASES.values() if case.name == name):
        pool, node = pools[case.served]
        node.calls.clear()
        outcome = await pool.run(request_for(case))
        check(case, outcome)
        assert bool(node.calls) is case.calls_node, case.id


def check(case: Case, outcome: RunOutcome) -> None:
    assert outcome.status == "completed", (case.id, outcome)
    row = ROWS[case.name]
    if row.results:
        width = 64 if row.results[0] != I32 else 32
        assert case.result is not None
        found = outcome.results[0].bits
        assert found == int(case.result) % (1 << width), (case.id, found - (found >> width - 1 << width))
    put = case.output + case.left
    if row.results and row.results[0] != I32 and not put:
        put = outcome.results[0].to_bytes()  # what a function that returns an i64 has as its output
    assert outcome.output == put, case.id
    assert (outcome.log, outcome.blocks) == (case.log, case.blocks), case.id
    assert outcome.fuel_used == price_of(case), case.id
    assert outcome.host_calls == 3, case.id


def test_every_error_of_the_table_is_provoked_and_no_other_occurs() -> None:
    for name, row in ROWS.items():
        results = [case.result for case in CASES.values() if case.name == name]
        provoked = {E(result) for result in results if result is not None and result < 0}
        if hosttable.answered_by(row) == "node":
            assert E.INVALID_STATE in provoked  # the node's own word
            provoked.remove(E.INVALID_STATE)
        assert provoked == hosttable.errors(row), name
        assert any(result is None or result >= 0 for result in results), name


def test_every_parameter_of_every_function_has_its_kind() -> None:
    assert set(SHAPES) == set(ROWS)
    for name, row in ROWS.items():
        assert sum(2 if kind in ("bytes", "out") else 1 for kind in SHAPES[name]) == len(row.params), name


def test_names_of_the_specification_have_rows() -> None:
    """Those of DESIGN.md, "Guests", and of the specification's Host ABI, collected by hand."""
    assert set(ROWS) >= {
        "get_input", "put_output", "log", "sha256", "blake2b", "ed25519_verify",
        "host_job_get_id", "host_job_get_initial_input_cid", "host_job_is_interactive", "host_job_report_progress",
        "host_workflow_get_current_stage_index", "host_workflow_get_current_stage_id",
        "host_workflow_get_current_stage_input_cid", "host_interactive_prompt_for_input",
        "host_interactive_peek_input_len", "host_interactive_receive_input", "host_interactive_send_output",
        "host_data_read_cid", "host_data_write_buffer", "host_log_message",
        "host_account_get_mana", "host_account_spend_mana", "host_account_credit_mana", "host_get_reputation",
        "host_submit_mesh_job", "host_get_pending_mesh_jobs", "host_anchor_receipt",
        "host_create_governance_proposal", "host_cast_governance_vote", "host_execute_governance_proposal",
        "host_verify_zk_proof", "host_generate_zk_proof",
    }  # fmt: skip


def test_the_readme_shows_the_table() -> None:
    text = README.read_text(encoding="utf-8")
    begin, end = "<!-- host functions -->\n", "<!-- end of host functions -->"
    assert text[text.index(begin) + len(begin) : text.index(end)] == hosttable.markdown()
