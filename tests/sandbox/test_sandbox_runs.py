"""Runs of real guests in real children: entries, traps, fuel, memory, host functions, on both engines."""

from __future__ import annotations

import hashlib

import pytest
from sandbox_kit import ANSWER, ENGINE_NAMES, HOST, SPIN, guest, request
from warm import warm_runs

from icn_lite.model.errors import FailureReason, HostAbiError, UsageError
from icn_lite.sandbox import hostabi
from icn_lite.sandbox.outcome import HOST_CALL_LIMIT, RunContext, RunOutcome, RunRequest
from icn_lite.sandbox.pool import Pool, PoolConfig, run_once
from icn_lite.sandbox.value import parse_value


async def on_both(*requests: RunRequest) -> list[RunOutcome]:
    """Run everything on both engines; what is a fact about the module must be equal."""
    outcomes: dict[str, list[RunOutcome]] = {}
    for engine in ENGINE_NAMES:
        outcomes[engine] = await warm_runs(requests, engine)
    for first, *others in zip(*outcomes.values(), strict=True):
        assert all(facts(other) == facts(first) for other in others)
    return outcomes["wasm3"]


def facts(outcome: RunOutcome) -> tuple[object, ...]:
    return (outcome.status, outcome.trap, outcome.exit_code, outcome.results, outcome.fuel_used, outcome.output,
            outcome.log, outcome.memory_pages_peak, outcome.host_calls, outcome.failure)  # fmt: skip


async def test_a_result_and_its_output() -> None:
    (outcome,) = await on_both(request(ANSWER))
    assert (outcome.status, outcome.exit_code, outcome.trap) == ("completed", None, None)
    assert [str(value) for value in outcome.results] == ["i32:42"]
    assert outcome.output == b""  # an i32 is a status, not an output
    assert outcome.engine == "wasm3"


async def test_results_of_every_type_keep_their_bits() -> None:
    text = """(module
      (func (export "i32") (param i32) (result i32) (local.get 0))
      (func (export "i64") (param i64) (result i64) (local.get 0))
      (func (export "f32") (param f32) (result f32) (local.get 0))
      (func (export "f64") (param f64) (result f64) (local.get 0))
      (func (export "two") (param i32 i64) (result i64 i32) (local.get 1) (local.get 0)))"""
    cases = {
        "i32": ["i32:-1", "i32:2147483647"],
        "i64": ["i64:-1", "i64:-9223372036854775808"],
        "f32": ["f32:0x3f800000", "f32:0x80000000", "f32:0x7f800000", "f32:0x00000001"],
        "f64": ["f64:0x3ff8000000000000", "f64:0x8000000000000000", "f64:0x0000000000000001"],
    }
    runs = [
        (text_, request(text, invoke=name, args=(parse_value(text_),))) for name, row in cases.items() for text_ in row
    ]
    for (given, _), outcome in zip(runs, await on_both(*(run for _, run in runs)), strict=True):
        assert [str(value) for value in outcome.results] == [given]
    args = (parse_value("i32:7"), parse_value("i64:-8"))
    (pair,) = await on_both(request(text, invoke="two", args=args))
    assert [str(value) for value in pair.results] == ["i64:-8", "i32:7"]


TRAPS = {
    "unreachable": "(unreachable)",
    "integer_divide_by_zero": "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
    "integer_overflow": "(drop (i32.div_s (i32.const -2147483648) (i32.const -1)))",
    "invalid_conversion_to_integer": "(drop (i32.trunc_f64_s (f64.const nan)))",
    "out_of_bounds_memory_access": "(drop (i32.load (i32.const 65536)))",
    "out_of_bounds_table_access": "(call_indirect (type $v) (i32.const 9))",
    "indirect_call_type_mismatch": "(call_indirect (type $v) (i32.const 0))",
    "uninitialized_element": "(call_indirect (type $v) (i32.const 1))",
    "call_stack_exhausted": "(call $deep)",
}


@pytest.mark.parametrize("name", sorted(TRAPS))
async def test_every_trap_has_its_name(name: str) -> None:
    text = f"""(module (memory 1) (table 3 funcref) (elem (i32.const 0) $other) (elem (i32.const 2) $other)
      (type $v (func)) (func $other (result i32) (i32.const 1))
      (func $deep (call $deep))
      (func (export "run") (result i32) {TRAPS[name]} (i32.const 0)))"""
    (outcome,) = await on_both(request(text))
    assert (outcome.status, outcome.trap, outcome.results, outcome.failure) == ("trapped", name, (), None)
    assert 0 < outcome.fuel_used <= outcome.fuel_limit


async def test_fuel_of_exactly_what_it_takes_and_one_less() -> None:
    text = """(module (func (export "run") (result i32) (local $i i32)
      (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100))))
      (local.get $i)))"""
    (free,) = await on_both(request(text))
    exact, short = await on_both(
        request(text, fuel_limit=free.fuel_used), request(text, fuel_limit=free.fuel_used - 1)
    )
    assert (exact.status, exact.fuel_used) == ("completed", free.fuel_used)
    assert (short.status, short.fuel_used, short.results) == ("out_of_fuel", free.fuel_used - 1, ())


async def test_an_endless_loop_runs_out_of_fuel() -> None:
    spin, nothing = await on_both(request(SPIN, fuel_limit=100_000), request(SPIN, fuel_limit=0))
    assert (spin.status, spin.fuel_used, spin.trap) == ("out_of_fuel", 100_000, None)
    assert (nothing.status, nothing.fuel_used) == ("out_of_fuel", 0)


async def test_the_peak_of_memory() -> None:
    text = """(module (memory 2 100) (func (export "run") (result i32)
      (drop (memory.grow (i32.const 5))) (memory.grow (i32.const 1000))))"""
    (outcome,) = await on_both(request(text))
    assert (outcome.memory_pages_peak, str(outcome.results[0])) == (7, "i32:-1")


async def test_the_start_function_runs_first() -> None:
    text = """(module (global $g (mut i32) (i32.const 1)) (func $s (global.set $g (i32.const 9))) (start $s)
      (func (export "run") (result i32) (global.get $g)))"""
    (outcome,) = await on_both(request(text))
    assert str(outcome.results[0]) == "i32:9"


async def test_input_at_1024_or_where_alloc_says() -> None:
    body = """(func (export "run") (param i32 i32) (result i32)
      (i32.add (i32.load8_u (local.get 0)) (i32.mul (local.get 0) (i32.const 1000))))"""
    plain = f"(module (memory 1) {body})"
    with_alloc = f'(module (memory 1) (func (export "alloc") (param i32) (result i32) (i32.const 2000)) {body})'
    at_default, at_alloc = await on_both(request(plain, input=b"\x07"), request(with_alloc, input=b"\x08"))
    assert str(at_default.results[0]) == f"i32:{1024 * 1000 + 7}"
    assert str(at_alloc.results[0]) == f"i32:{2000 * 1000 + 8}"


@pytest.mark.parametrize("pointer", ["-1", "65535", "65536", "2147483647"])
async def test_an_allocator_that_gives_no_room_traps(pointer: str) -> None:
    text = f"""(module (memory 1) (func (export "alloc") (param i32) (result i32) (i32.const {pointer}))
      (func (export "run") (param i32 i32) (result i32) (i32.const 0)))"""
    (outcome,) = await on_both(request(text, input=b"two"))
    assert (outcome.status, outcome.trap) == ("trapped", "host_error")


async def test_input_output_log() -> None:
    text = f"""(module {HOST}
      (import "icn" "read_input" (func $read_input (param i32 i32 i32) (result i32)))
      (import "icn" "input_len" (func $input_len (result i32)))
      (memory 1)
      (func (export "run") (result i32) (local $n i32)
        (local.set $n (call $get_input (i32.const 100) (i32.const 5)))
        (drop (call $put_output (i32.const 100) (local.get $n)))
        (local.set $n (call $read_input (i32.const 6) (i32.const 200) (i32.const 100)))
        (drop (call $put_output (i32.const 200) (local.get $n)))
        (call $log (i32.const 200) (local.get $n))
        (i32.add (call $get_input (i32.const 0) (i32.const 0)) (call $input_len))))"""
    (outcome,) = await on_both(request(text, input=b"hello world"))
    assert (outcome.output, outcome.log, outcome.host_calls) == (b"helloworld", b"world\n", 7)
    assert str(outcome.results[0]) == "i32:22"


async def test_bad_pointers_answer_and_change_nothing() -> None:
    """Past the end, across it, round 2^32, negative: each answers MemoryAccess."""
    text = f"""(module {HOST} (memory 1)
      (func (export "put") (param i32 i32) (result i32) (call $put_output (local.get 0) (local.get 1)))
      (func (export "get") (param i32 i32) (result i32) (call $get_input (local.get 0) (local.get 1)))
      (func (export "say") (param i32 i32) (result i32) (call $log (local.get 0) (local.get 1)) (i32.const 1)))"""
    bad = [(65536, 1), (65535, 2), (0, 65537), (-1, 1), (0, -1), (-1, -1), (65000, -65000), (-4, 8), (0, 2**31 - 1)]
    runs = [
        request(text, invoke=name, args=(parse_value(f"i32:{p}"), parse_value(f"i32:{n}")), input=b"x" * 70000,
                fuel_limit=2**40)
        for name in ("put", "get", "say")
        for p, n in bad
    ]  # fmt: skip
    for run, outcome in zip(runs, await on_both(*runs), strict=True):
        expected = 1 if run.invoke == "say" else int(HostAbiError.MEMORY_ACCESS)
        assert (outcome.status, str(outcome.results[0])) == ("completed", f"i32:{expected}"), run.args
        assert outcome.log == b""
    # At the edge itself all is well.
    edge = request(text, invoke="put", args=(parse_value("i32:65535"), parse_value("i32:1")))
    empty = request(text, invoke="put", args=(parse_value("i32:65536"), parse_value("i32:0")))
    for outcome in await on_both(edge, empty):
        assert str(outcome.results[0]) == "i32:0"


async def test_a_flood_of_output_is_refused_and_of_log_is_cut() -> None:
    text = f"""(module {HOST} (memory 1)
      (func (export "run") (result i32) (local $i i32) (local $refused i32)
        (loop $l
          (if (call $put_output (i32.const 0) (i32.const 60000)) (then
            (local.set $refused (i32.add (local.get $refused) (i32.const 1)))))
          (call $log (i32.const 0) (i32.const 60000))
          (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100))))
        (local.get $refused)))"""
    (outcome,) = await on_both(request(text, output_limit=150_000, log_limit=70_000))
    assert str(outcome.results[0]) == "i32:98"
    assert (len(outcome.output), len(outcome.log)) == (120_000, 70_000)


async def test_too_many_host_calls_trap() -> None:
    text = f"""(module {HOST} (memory 1) (func (export "run") (result i32)
      (loop (call $log (i32.const 0) (i32.const 0)) (br 0)) (i32.const 0)))"""
    async with Pool() as pool:
        outcome = await pool.run(request(text, fuel_limit=2**40))
        assert (outcome.status, outcome.trap, outcome.host_calls) == ("trapped", "host_error", HOST_CALL_LIMIT)
        assert (await pool.run(request(ANSWER))).status == "completed"


async def test_native_digests() -> None:
    text = """(module
      (import "icn" "sha256" (func $sha (param i32 i32 i32) (result i32)))
      (import "icn" "blake2b" (func $blake (param i32 i32 i32 i32) (result i32)))
      (import "icn" "put_output" (func $put (param i32 i32) (result i32)))
      (memory 1) (data (i32.const 0) "abc")
      (func (export "run") (result i32)
        (drop (call $sha (i32.const 0) (i32.const 3) (i32.const 64)))
        (drop (call $blake (i32.const 0) (i32.const 3) (i32.const 96) (i32.const 48)))
        (drop (call $put (i32.const 64) (i32.const 80)))
        (i32.add (call $blake (i32.const 0) (i32.const 3) (i32.const 96) (i32.const 65))
                 (call $sha (i32.const 0) (i32.const 3) (i32.const 65505)))))"""
    (outcome,) = await on_both(request(text))
    assert outcome.output == hashlib.sha256(b"abc").digest() + hashlib.blake2b(b"abc", digest_size=48).digest()
    assert str(outcome.results[0]) == f"i32:{HostAbiError.INVALID_PARAMETERS + HostAbiError.MEMORY_ACCESS}"


async def test_the_job_tells_about_itself() -> None:
    text = """(module
      (import "icn" "host_job_get_id" (func $id (param i32 i32) (result i32)))
      (import "icn" "host_job_get_initial_input_cid" (func $cid (param i32 i32) (result i32)))
      (import "icn" "host_job_is_interactive" (func $inter (result i32)))
      (import "icn" "host_workflow_get_current_stage_index" (func $index (result i32)))
      (import "icn" "host_workflow_get_current_stage_id" (func $stage (param i32 i32) (result i32)))
      (import "icn" "put_output" (func $put (param i32 i32) (result i32)))
      (memory 1)
      (func (export "run") (result i32)
        (drop (call $put (i32.const 0) (call $id (i32.const 0) (i32.const 100))))
        (drop (call $put (i32.const 0) (call $stage (i32.const 0) (i32.const 100))))
        (i32.add (i32.mul (call $index) (i32.const 1000))
          (i32.add (call $inter) (call $id (i32.const 0) (i32.const 0)))))
      (func (export "small") (result i32) (call $id (i32.const 0) (i32.const 2)))
      (func (export "none") (result i32) (call $cid (i32.const 0) (i32.const 100)))
      (func (export "outside") (result i32) (call $id (i32.const 65535) (i32.const 100))))"""
    context = RunContext(job_id="job-1", stage_index=3, stage_id="sum", interactive=True)
    runs = [request(text, invoke=name, context=context) for name in ("run", "small", "none", "outside")]
    told, small, none, outside = await on_both(*runs)
    assert (told.output, str(told.results[0])) == (b"job-1sum", "i32:3006")
    assert str(small.results[0]) == f"i32:{HostAbiError.BUFFER_TOO_SMALL}"
    assert str(none.results[0]) == f"i32:{HostAbiError.NOT_FOUND}"
    assert str(outside.results[0]) == f"i32:{HostAbiError.MEMORY_ACCESS}"


def test_a_module_prepared_for_more_pages_than_the_run_allows_is_refused() -> None:
    with pytest.raises(UsageError):
        request('(module (memory 100 150) (func (export "run") (result i32) (i32.const 0)))', max_pages=120)


async def test_a_module_that_the_engine_refuses_fails_and_harms_nobody() -> None:
    from dataclasses import replace

    prepared = replace(guest(ANSWER), code=b"\0asm\1\0\0\0\xff\xff")
    for engine in ENGINE_NAMES:
        async with Pool(PoolConfig(engine=engine)) as pool:
            outcome = await pool.run(RunRequest(prepared))
            assert (outcome.status, outcome.failure) == ("failed", FailureReason.UNSUPPORTED_OPERATION)
            assert engine in outcome.detail
            assert (await pool.run(request(ANSWER))).status == "completed"


def test_run_once_needs_no_event_loop() -> None:
    assert run_once(request(ANSWER)).status == "completed"


def test_the_childs_numbers_are_the_enums() -> None:
    names = ("INVALID_PARAMETERS", "MEMORY_ACCESS", "BUFFER_TOO_SMALL", "NOT_PERMITTED", "NOT_SUPPORTED", "NOT_FOUND",
             "RESOURCE_LIMIT", "NOT_INTERACTIVE")  # fmt: skip
    assert {name: getattr(hostabi, name) for name in names} == {name: int(HostAbiError[name]) for name in names}
