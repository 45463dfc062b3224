"""Receipts re-checked by a stock wasmtime: the untouched module under wasmtime's own fuel says the same, or why not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import wasmtime

from icn_lite.model.cid import Cid
from icn_lite.model.cose import KeySigner
from icn_lite.model.receipt import ExecutionReceipt, ReceiptStatus
from icn_lite.node.home import Home
from icn_lite.node.runner import RunOrder, prepare_order, run_locally
from icn_lite.node.stock import ENGINE, untouched
from icn_lite.node.verify import Blocks, rerun
from icn_lite.resources import guest_module
from icn_lite.store.db import Store

SIGNER = KeySigner(bytes([7] * 32))

FLOATS = """(module (func (export "run") (param f32 f64) (result f64 f32)
  (f64.div (f64.const 0) (f64.const 0)) (f32.sqrt (local.get 0))))"""
DIVIDE = '(module (func (export "run") (param i32) (result i32) (i32.div_s (i32.const 7) (local.get 0))))'
SPIN = '(module (func (export "run") (result i32) (loop (br 0)) (i32.const 0)))'
COUNT = """(module (func (export "run") (result i32) (local i32)
  (loop (br_if 0 (i32.lt_s (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 1000)))) (local.get 0)))"""
RECURSE = '(module (func $f (export "run") (result i32) (i32.add (call $f) (i32.const 1))))'
START = """(module (import "icn" "put_output" (func $put (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $begin (i32.store (i32.const 0) (i32.const 0x636261)) (drop (call $put (i32.const 0) (i32.const 2))))
  (start $begin) (table 2 funcref) (elem (i32.const 0) funcref (ref.func $begin) (ref.null func))
  (func (export "run") (result i32) (drop (call $put (i32.const 2) (i32.const 1))) (i32.const 5)))"""
DATA = """(module (memory (export "memory") 1) (data (i32.const 0) "abcdef") (data (i32.const 100) "") {}
  (func $f) (func (export "run") (result i32) (i32.load (i32.const 2))))"""
REFERENCES = "(table 3 funcref) (elem (i32.const 0) funcref (ref.func $f) (ref.null func))"
OWN_MEMORY = """(module (import "env" "memory" (memory 1 2))
  (import "icn" "get_input" (func $get (param i32 i32) (result i32)))
  (import "icn" "put_output" (func $put (param i32 i32) (result i32)))
  (func (export "run") (result i32) (call $put (i32.const 0) (call $get (i32.const 0) (i32.const 60000)))))"""
HIDDEN = OWN_MEMORY.replace('(import "env" "memory" (memory 1 2))', "").replace(
    "(func (export", "(memory 1) (func (export"
)
HIDDEN_ALONE = '(module (memory 1) (func (export "run") (result i32) (i32.load (i32.const 0))))'
GROW = """(module (memory (export "memory") 1)
  (func (export "run") (param i32) (result i32) (memory.grow (local.get 0))))"""
LEAVES = """(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (data (i32.const 0) "abcdef") (func $begin (call $exit (i32.const 3)))
  (start $begin) (func (export "_start")))"""
OWN_TABLE = """(module (import "env" "table" (table 2 funcref)) (elem (i32.const 0) $f) (type $t (func (result i32)))
  (func $f (result i32) (i32.const 9))
  (func (export "run") (result i32) (call_indirect (type $t) (i32.const 0))))"""
WORDS = """(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $random (i32.const 64) (i32.const 16)))
    (i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (i32.const 16))
    (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
    (call $exit (i32.load (i32.const 0)))))"""

ROUNDS_AHEAD = """(module (func (export "run") (result i32) (local $i i32) (local $last i32)
  (loop
    (local.set $last (i32.div_u (i32.const 100) (i32.sub (i32.const 7) (local.get $i))))
    (br_if 0 (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000000))))
  (local.get $last)))"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    made = Home(tmp_path_factory.mktemp("stock") / "home")
    made.create()
    return made


def made(home: Home, code: bytes | str, *words: str, **fields: object) -> tuple[ExecutionReceipt, Blocks]:
    """A receipt of a run on wasm3, and where its blocks are."""
    module = bytes(wasmtime.wat2wasm(code)) if isinstance(code, str) else code
    order = RunOrder(module, words=words, **{"fuel_limit": 1_000_000, **fields})  # type: ignore[arg-type]
    done = run_locally(order, prepare_order(order), home, SIGNER)
    assert done.receipt is not None, done.unstored

    def blocks(cid: Cid) -> bytes | None:
        with Store.open(home.path, read_only=True) as store:
            return store.blocks.get(cid)

    return done.receipt.document, blocks


@pytest.mark.parametrize(
    ("code", "words", "fields"),
    [
        (guest_module("sum"), (), {}),
        (guest_module("echo"), (), {"input": b"some bytes " * 100}),
        (FLOATS, ("f32:2", "f64:1"), {"invoke": "run"}),
        (FLOATS, ("f32:-1", "f64:1"), {"invoke": "run"}),
        (COUNT, (), {}),
        (START, (), {}),
        (DATA.format(""), (), {}),
        (DATA.format("(start $f)"), (), {}),
        (DATA.format(REFERENCES), (), {}),
        (DATA.format("(start $f)" + REFERENCES), (), {}),
        (DATA.format("(start $f)" + REFERENCES).replace("abcdef", ""), (), {}),
        (guest_module("manifest"), (), {"input": b"no manifest"}),
        (OWN_MEMORY, (), {"input": b"through a memory of the host's"}),
        (GROW, ("i32:3",), {"invoke": "run"}),
        (HIDDEN_ALONE, (), {}),
        (LEAVES, (), {}),
        (OWN_TABLE, (), {}),
        (WORDS, ("one", "two"), {"input": b"seed"}),
    ],
)  # fmt: skip
def test_a_completed_run_is_the_same_to_the_unit(
    home: Home, code: bytes | str, words: tuple[str, ...], fields: dict[str, object]
) -> None:
    receipt, blocks = made(home, code, *words, **fields)
    assert receipt.status is ReceiptStatus.COMPLETED
    check = rerun(receipt, blocks, ENGINE)
    assert check.state == "passed", check.detail
    assert f"fuel ({receipt.fuel_used})" in check.detail


@pytest.mark.parametrize("more", [-1, 1])
@pytest.mark.parametrize("code", [COUNT, GROW])
def test_one_unit_more_or_less_is_a_lie(home: Home, code: str, more: int) -> None:
    receipt, blocks = made(home, code, *(("i32:3",) if code is GROW else ()), invoke="run")
    lied = rerun(replace(receipt, fuel_used=receipt.fuel_used + more), blocks, ENGINE)
    assert lied.state == "failed", lied.detail
    assert f"is {receipt.fuel_used} here" in lied.detail


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"output": Cid.of_raw(b"another")}, "output"),
        ({"results": ("i64:5051",)}, "results"),
        ({"host_calls": 3}, "host calls"),
        ({"status": ReceiptStatus.TRAPPED, "trap": "unreachable", "output": None, "results": ()}, "unreachable"),
    ],
)
def test_a_receipt_that_lies_is_caught(home: Home, changes: dict[str, object], words: str) -> None:
    receipt, blocks = made(home, guest_module("sum"))
    check = rerun(replace(receipt, **changes), blocks, ENGINE)  # type: ignore[arg-type]
    assert check.state == "failed"
    assert words in check.detail


def test_a_trap_is_the_same_trap_and_its_fuel_the_meters(home: Home) -> None:
    receipt, blocks = made(home, DIVIDE, "i32:0", invoke="run")
    check = rerun(receipt, blocks, ENGINE)
    assert (check.state, "the same trap" in check.detail) == ("passed", True)
    assert rerun(replace(receipt, fuel_used=receipt.fuel_used + 1), blocks, ENGINE).state == "failed"
    other = rerun(replace(receipt, trap="unreachable"), blocks, ENGINE)
    assert (other.state, "integer_divide_by_zero" in other.detail) == ("failed", True)


def test_what_ran_out_of_fuel_needs_more_than_the_limit(home: Home) -> None:
    receipt, blocks = made(home, SPIN, fuel_limit=10_000)
    assert receipt.trap == "out_of_fuel"
    assert rerun(receipt, blocks, ENGINE).state == "passed"
    assert rerun(replace(receipt, fuel_used=9_999), blocks, ENGINE).state == "failed"
    enough, more = made(home, COUNT)
    short, short_blocks = made(home, COUNT, fuel_limit=enough.fuel_used - 1)
    assert short.trap == "out_of_fuel"
    assert rerun(short, short_blocks, ENGINE).state == "passed"
    lied = rerun(replace(short, fuel_limit=enough.fuel_used), more, ENGINE)
    assert lied.state == "failed", lied.detail


def test_what_the_meter_alone_can_tell_is_asked_of_the_prepared_module(home: Home) -> None:
    receipt, blocks = made(home, RECURSE, fuel_limit=100_000_000)
    assert receipt.trap == "call_stack_exhausted"
    check = rerun(receipt, blocks, ENGINE)
    assert (check.state, "with the prepared module: same" in check.detail) == ("passed", True)
    assert rerun(replace(receipt, fuel_used=receipt.fuel_used - 1), blocks, ENGINE).state == "failed"
    receipt, blocks = made(home, DIVIDE, "i32:0", invoke="run")
    near = replace(receipt, trap="out_of_fuel", fuel_limit=receipt.fuel_used, fuel_used=receipt.fuel_used)
    check = rerun(near, blocks, ENGINE)
    assert (check.state, "only the meter tells" in check.detail) == ("failed", True)


def test_a_trap_in_a_loop_whose_rounds_were_charged_before_it_is_no_lie(home: Home) -> None:
    """Far more fuel than the limit is charged before the loop, and the untouched module traps in an early round."""
    receipt, blocks = made(home, ROUNDS_AHEAD, fuel_limit=5_000_000)
    assert receipt.trap == "out_of_fuel"
    check = rerun(receipt, blocks, ENGINE)
    assert (check.state, "only the meter tells" in check.detail) == ("passed", True), check.detail
    richer, blocks = made(home, ROUNDS_AHEAD, fuel_limit=50_000_000)
    assert richer.trap == "integer_divide_by_zero"
    assert rerun(replace(richer, trap="out_of_fuel", fuel_used=50_000_000), blocks, ENGINE).state == "failed"


def test_a_memory_that_only_preparing_opens(home: Home) -> None:
    receipt, blocks = made(home, HIDDEN, input=b"x")
    check = rerun(receipt, blocks, ENGINE)
    assert check.state == "passed", check.detail
    assert "exports no memory" in check.detail
    assert rerun(replace(receipt, fuel_used=receipt.fuel_used - 1), blocks, ENGINE).state == "failed"


def test_pages_past_the_limit_are_refused_here_too(home: Home) -> None:
    """The job's pages bound the untouched module; what wasmtime charges for the refusal is no lie of the executor."""
    receipt, blocks = made(home, GROW, "i32:4000", invoke="run")
    assert receipt.results == ("i32:-1",)
    check = rerun(receipt, blocks, ENGINE)
    assert check.state == "passed", check.detail
    assert rerun(replace(receipt, fuel_used=receipt.fuel_used - 1), blocks, ENGINE).state == "failed"


def test_the_prepared_and_the_untouched_module_are_different_bytes() -> None:
    """The check would be worth nothing if it ran what we wrote."""
    module = guest_module("sum")
    prepared = prepare_order(RunOrder(module))
    assert untouched(prepared, module, 160).code.endswith(module)
    assert module not in prepared.code


def test_the_word_of_the_command_is_the_engine_of_the_pool() -> None:
    from icn_lite.sandbox import engine_stock
    from icn_lite.sandbox.forkserver import ENGINES, probe_engine

    assert ENGINES[ENGINE].module == engine_stock.__name__
    module = guest_module("sum")
    packed = untouched(prepare_order(RunOrder(module)), module, 258).code
    assert engine_stock.unpack(packed) == (258, 0, 0, module)
    assert probe_engine(ENGINE) is None
