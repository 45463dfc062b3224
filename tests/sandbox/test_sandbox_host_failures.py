"""What a run leaves when it is ended: its status, its log, a node that lives and a next run that is unharmed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
import wasmtime
from sandbox_kit import ANSWER, ENGINE_NAMES, HOST, attack, request, state, until, use_attack_engine

from icn_lite.model.errors import FailureReason, UsageError
from icn_lite.sandbox import hostabi
from icn_lite.sandbox.outcome import RunOutcome, RunRequest
from icn_lite.sandbox.pool import Pool, PoolConfig, run_once
from icn_lite.sandbox.value import parse_value
from icn_lite.wasm.limits import DEFAULT_LIMITS
from icn_lite.wasm.prepare import prepare

LONG = {"fuel_limit": 1 << 60, "timeout_ms": 60_000}
SOON = {"fuel_limit": 1 << 60, "timeout_ms": 300}  # a deadline that a test may wait for

# Says a word and goes on for ever; says `n` lines and, if asked, goes on for ever; calls `n` times.
SAYS_AND_SPINS = f"""(module {HOST} (memory 1) (data (i32.const 0) "so far so good")
  (func (export "run") (result i32) (call $log (i32.const 0) (i32.const 14)) (loop (br 0)) (i32.const 0)))"""
SAYS_LINES = f"""(module {HOST} (memory 1) (data (i32.const 0) "line 0000")
  (func (export "say") (param $n i32) (param $spin i32) (result i32) (local $i i32)
    (loop $l
      (i32.store8 (i32.const 5) (i32.add (i32.const 48) (i32.div_u (local.get $i) (i32.const 1000))))
      (i32.store8 (i32.const 6) (i32.add (i32.const 48)
        (i32.rem_u (i32.div_u (local.get $i) (i32.const 100)) (i32.const 10))))
      (i32.store8 (i32.const 7) (i32.add (i32.const 48)
        (i32.rem_u (i32.div_u (local.get $i) (i32.const 10)) (i32.const 10))))
      (i32.store8 (i32.const 8) (i32.add (i32.const 48) (i32.rem_u (local.get $i) (i32.const 10))))
      (call $log (i32.const 0) (i32.const 9))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
    (if (local.get $spin) (then (loop (br 0))))
    (local.get $i)))"""
CALLS = f"""(module {HOST} (memory 1) (func (export "call") (param $n i32) (result i32)
  (loop $l (drop (call $put_output (i32.const 0) (i32.const 1)))
    (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
  (i32.const 0)))"""


def lines(count: int) -> bytes:
    return b"".join(b"line %04d\n" % i for i in range(count))


def said(count: int, *, spin: int = 0, **fields: object) -> RunRequest:
    return request(SAYS_LINES, invoke="say", args=(parse_value(f"i32:{count}"), parse_value(f"i32:{spin}")), **fields)


@pytest.fixture(params=ENGINE_NAMES)
async def pool(request: pytest.FixtureRequest) -> AsyncIterator[Pool]:
    async with Pool(PoolConfig(engine=request.param, workers=1)) as made:
        yield made
        unharmed = await made.run(said(2))
        assert (unharmed.status, unharmed.log, str(unharmed.results[0])) == ("completed", lines(2), "i32:2")


async def has_said(pool: Pool, size: int) -> int:
    """Wait until so much of a log has come; the number of the child that said it."""
    await until(lambda: any(len(run.log) >= size for run in pool._runs), f"the guest said {size} bytes")
    return pool.child_pids[0]


async def kill(pool: Pool, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


async def stop(pool: Pool, pid: int) -> None:
    """Until the deadline: a minute or a day, the pool's clock is the only one that counts."""
    os.kill(pid, signal.SIGSTOP)


async def leave_alone(pool: Pool, pid: int) -> None:
    """The deadline comes by itself."""


async def suspend_and_let_go(pool: Pool, pid: int) -> None:
    """Stopped for heat: its deadline stands still, and comes afterwards."""
    pool.suspend()
    await until(lambda: state(pid) == "T", "the child is stopped")
    pool.resume()


@pytest.mark.parametrize(
    ("end", "limits", "failure"),
    [
        (kill, LONG, FailureReason.CRASH_OR_PANIC),
        (stop, SOON, FailureReason.CPU_TIMEOUT),
        (leave_alone, SOON, FailureReason.CPU_TIMEOUT),
        (suspend_and_let_go, SOON, FailureReason.CPU_TIMEOUT),
    ],
)
async def test_what_was_said_outlives_the_run(
    pool: Pool, end: Callable[[Pool, int], Awaitable[None]], limits: dict[str, int], failure: FailureReason
) -> None:
    task = asyncio.create_task(pool.run(request(SAYS_AND_SPINS, **limits)))
    await end(pool, await has_said(pool, 15))
    outcome = await task
    assert (outcome.status, outcome.failure, outcome.log) == ("failed", failure, b"so far so good\n")
    assert outcome.detail


async def test_a_child_that_is_stopped_and_let_go_ends_as_if_nothing_had_been(pool: Pool) -> None:
    plain = await pool.run(said(hostabi.LOG_FRAMES_AT_ONCE + 500))
    task = asyncio.create_task(pool.run(said(hostabi.LOG_FRAMES_AT_ONCE + 500)))
    pid = await has_said(pool, 100)
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGCONT)
    outcome = await task
    assert facts(outcome) == facts(plain)
    assert outcome.log == lines(hostabi.LOG_FRAMES_AT_ONCE + 500)


def facts(outcome: RunOutcome) -> tuple[object, ...]:
    return (outcome.status, outcome.results, outcome.fuel_used, outcome.log, outcome.host_calls)


async def test_a_flood_of_lines_is_cut_at_the_limit_and_most_of_it_is_there_after_a_kill(pool: Pool) -> None:
    flood = lines(5000)
    whole = await pool.run(said(5000, log_limit=30_000))
    assert whole.log == flood[:30_000]
    task = asyncio.create_task(pool.run(said(5000, spin=1, log_limit=30_000, **LONG)))
    at_least = 30_000 - hostabi.LOG_PIECE_BYTES
    os.kill(await has_said(pool, at_least), signal.SIGKILL)
    ended = await task
    assert ended.status == "failed"
    assert at_least <= len(ended.log) <= 30_000
    assert flood.startswith(ended.log)


GROWS = f"""(module {HOST} (memory 1 20000) (data (i32.const 0) "so far so good")
  (func (export "run") (result i32)
    (call $log (i32.const 0) (i32.const 14))
    (drop (memory.grow (i32.const 12000)))
    (i32.const 0)))"""


async def test_memory_that_the_device_cannot_give_is_a_failure_with_its_log() -> None:
    """The jail makes room for the pages of the run: a module prepared for more finds a device that has none left.

    On wasm3 only, since children with wasmtime have no limit of address space.
    """
    prepared = prepare(bytes(wasmtime.wat2wasm(GROWS)), replace(DEFAULT_LIMITS, memory_pages=20_000))
    assert prepared.memory_max_pages == 20_000
    run = RunRequest(replace(prepared, memory_max_pages=160), fuel_limit=1 << 60)
    async with Pool(PoolConfig(workers=1)) as pool:
        outcome = await pool.run(run)
        assert (outcome.status, outcome.failure) == ("failed", FailureReason.OUT_OF_MEMORY), outcome
        assert outcome.log == b"so far so good\n"
        assert (await pool.run(said(2))).log == lines(2)


async def test_fewer_host_calls_than_everywhere_are_the_devices_failure(pool: Pool) -> None:
    def calls(count: int, allowed: int) -> RunRequest:
        return request(CALLS, invoke="call", args=(parse_value(f"i32:{count}"),), host_calls=allowed)

    enough, too_few, none = [await pool.run(calls(count, allowed)) for count, allowed in ((7, 7), (8, 7), (1, 0))]
    assert (enough.status, enough.host_calls, len(enough.output)) == ("completed", 7, 7)
    assert (too_few.status, too_few.failure, too_few.host_calls) == ("failed", FailureReason.OUT_OF_MEMORY, 7)
    assert "7 host calls" in too_few.detail
    assert (none.status, none.host_calls) == ("failed", 0)


@pytest.mark.parametrize("fields", [{"host_calls": -1}, {"host_calls": hostabi.HOST_CALL_LIMIT + 1}])
def test_limits_out_of_range_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        request(ANSWER, **fields)


def test_a_child_that_floods_the_node_with_pieces_of_log_is_bounded() -> None:
    use_attack_engine()
    piece = bytes.fromhex("0000000482034178")  # [LOG, "x"], as bytes of length one
    code = f"while True:\n    for fd in range(3, 12):\n        try:\n            os.write(fd, {piece!r})\n        except OSError:\n            pass\n"  # noqa: E501
    outcome = run_once(attack(code, timeout_ms=20_000, log_limit=1000), engine="attack")
    assert (outcome.status, outcome.failure) == ("failed", FailureReason.CRASH_OR_PANIC)
    assert "protocol" in outcome.detail
    assert outcome.log == b"x" * 1000


BLOCKS = """(module
  (import "icn" "host_data_write_buffer" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "icn" "host_data_read_cid" (func $read (param i32 i32 i32 i32 i32) (result i32)))
  (import "icn" "put_output" (func $put (param i32 i32) (result i32)))
  (memory 1)
  (func (export "many") (param $n i32) (result i32) (local $i i32) (local $refused i32)
    (loop $l
      (i32.store (i32.const 0) (local.get $i))
      (if (i32.lt_s (call $write (i32.const 0) (i32.const 4) (i32.const 100) (i32.const 59)) (i32.const 0))
        (then (local.set $refused (i32.add (local.get $refused) (i32.const 1)))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
    (local.get $refused))
  (func (export "twice") (param $bytes i32) (result i32)
    (drop (call $write (i32.const 0) (local.get $bytes) (i32.const 2000) (i32.const 59)))
    (drop (call $write (i32.const 0) (local.get $bytes) (i32.const 3000) (i32.const 59)))
    (drop (call $put (i32.const 2000) (i32.const 59)))
    (drop (call $put (i32.const 3000) (i32.const 59)))
    (call $read (i32.const 3000) (i32.const 59) (i32.const 0) (i32.const 4000) (i32.const 1000))))"""


async def test_blocks_that_a_run_writes_count_as_output(pool: Pool) -> None:
    async def run(name: str, number: int, **fields: object) -> RunOutcome:
        return await pool.run(request(BLOCKS, invoke=name, args=(parse_value(f"i32:{number}"),), **fields))

    many = await run("many", hostabi.MAX_BLOCKS + 3)
    assert str(many.results[0]) == "i32:3"  # one after the most was refused, as often as it was tried
    assert many.blocks == tuple(i.to_bytes(4, "little") for i in range(hostabi.MAX_BLOCKS))
    twice = await run("twice", 100, output_limit=100 + 2 * 59)
    assert (twice.blocks, len(twice.output), str(twice.results[0])) == ((bytes(100),), 118, "i32:100")
    assert twice.output[:59] == twice.output[59:] == hostabi.raw_cid(bytes(100))
    short = await run("twice", 100, output_limit=100 + 2 * 59 - 1)
    assert len(short.output) == 59
    trapped = await run("many", 3, fuel_limit=3000)
    assert (trapped.status, trapped.blocks) == ("out_of_fuel", ())
