"""The pool: deadlines, signals from outside, cancelling, suspending, queues, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
from sandbox_kit import ANSWER, DEADLINE_S, SPIN, is_alive, is_dead, request, state, until

import icn_lite
from icn_lite.model.errors import FailureReason, IcnLiteError, NotSupported, UsageError
from icn_lite.sandbox.forkserver import SandboxError, Zygote, ZygoteGone
from icn_lite.sandbox.host import HostAnswer, HostCall
from icn_lite.sandbox.outcome import RunContext
from icn_lite.sandbox.pool import Pool, PoolConfig

ROOT = Path(icn_lite.__file__).resolve().parents[1]
HERE = Path(__file__).resolve().parent
LONG = {"fuel_limit": 2**60, "timeout_ms": 60_000}


async def started(pool: Pool, count: int = 1) -> list[int]:
    """Wait until so many guests run."""
    await until(lambda: len(pool.child_pids) >= count, f"{count} children run")
    return pool.child_pids


async def ok(pool: Pool) -> bool:
    return (await pool.run(request(ANSWER))).status == "completed"


async def test_a_run_past_its_deadline_is_killed() -> None:
    async with Pool() as pool:
        begun = time.monotonic()
        outcome = await pool.run(request(SPIN, fuel_limit=2**60, timeout_ms=100))
        assert (outcome.status, outcome.failure) == ("failed", FailureReason.CPU_TIMEOUT)
        assert "100 ms" in outcome.detail
        assert time.monotonic() - begun < DEADLINE_S
        assert outcome.wall_ms >= 100
        assert await ok(pool)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT])
async def test_a_child_killed_from_outside_fails_and_the_pool_goes_on(number: signal.Signals) -> None:
    async with Pool() as pool:
        task = asyncio.create_task(pool.run(request(SPIN, **LONG)))
        (pid,) = await started(pool)
        os.kill(pid, number)
        outcome = await task
        assert (outcome.status, outcome.failure) == ("failed", FailureReason.CRASH_OR_PANIC)
        assert outcome.detail
        assert await ok(pool)


async def test_a_stopped_child_is_killed_at_its_deadline() -> None:
    async with Pool() as pool:
        task = asyncio.create_task(pool.run(request(SPIN, fuel_limit=2**60, timeout_ms=300)))
        (pid,) = await started(pool)
        os.kill(pid, signal.SIGSTOP)
        outcome = await task
        assert (outcome.status, outcome.failure) == ("failed", FailureReason.CPU_TIMEOUT)
        assert await ok(pool)
    assert not is_alive(pid)


async def test_a_killed_zygote_is_replaced() -> None:
    async with Pool() as pool:
        task = asyncio.create_task(pool.run(request(SPIN, **LONG)))
        (pid,) = await started(pool)
        first = pool.zygote_pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: not is_alive(pid), "the child died with it")
        await until(lambda: pool.child_pids not in ([], [pid]), "the run begins once more")
        (again,) = pool.child_pids
        assert pool.zygote_pid is not None
        second = pool.zygote_pid
        assert second != first
        os.kill(second, signal.SIGKILL)
        outcome = await task
        assert (outcome.status, outcome.failure) == ("failed", FailureReason.CRASH_OR_PANIC)
        await until(lambda: not is_alive(again), "the second child is gone too")
        assert await ok(pool)


async def test_a_zygote_killed_between_runs_is_not_even_noticed() -> None:
    async with Pool() as pool:
        for _ in range(3):
            assert await ok(pool)
            # None: it was found dead already, while the child of the run was put away.
            if pool.zygote_pid is not None:
                os.kill(pool.zygote_pid, signal.SIGKILL)
        assert await ok(pool)


async def test_a_killed_spare_is_not_even_noticed() -> None:
    async with Pool() as pool:
        for _ in range(3):
            await until(lambda: pool.spare_pids, "there is a spare")
            (spare,) = pool.spare_pids
            os.kill(spare, signal.SIGKILL)
            await until(partial(is_dead, spare), "the spare is dead")
            assert await ok(pool)


async def test_cancelling_the_caller_kills_the_child() -> None:
    async with Pool(PoolConfig(workers=1)) as pool:
        task = asyncio.create_task(pool.run(request(SPIN, **LONG)))
        (pid,) = await started(pool)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not is_alive(pid), "the child was killed")
        assert await ok(pool)


async def test_cancelling_one_that_waits_starts_nothing() -> None:
    async with Pool(PoolConfig(workers=1)) as pool:
        first = asyncio.create_task(pool.run(request(SPIN, **LONG)))
        pids = await started(pool)
        second = asyncio.create_task(pool.run(request(SPIN, **LONG)))
        await until(lambda: pool.accepted == 2, "the second waits")
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert pool.child_pids == pids
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await ok(pool)


async def test_suspend_stops_the_run_and_its_clock() -> None:
    async with Pool() as pool:
        task = asyncio.create_task(pool.run(request(SPIN, fuel_limit=2**60, timeout_ms=400)))
        (pid,) = await started(pool)
        pool.suspend()
        assert pool.suspended
        await until(lambda: state(pid) == "T", "the child is stopped")
        # Past the deadline on the wall, not on the run's clock; and nothing new starts meanwhile.
        other = asyncio.create_task(pool.run(request(ANSWER)))
        end = time.monotonic() + 0.6
        await until(lambda: time.monotonic() > end, "the wall clock is past the deadline")
        assert not task.done()
        assert not other.done()
        assert state(pid) == "T"
        pool.resume()
        assert (await other).status == "completed"
        outcome = await task
        assert outcome.failure is FailureReason.CPU_TIMEOUT


async def test_closing_while_suspended_leaves_nothing() -> None:
    pool = Pool()
    async with pool:
        task = asyncio.create_task(pool.run(request(SPIN, **LONG)))
        pids = await started(pool)
        pool.suspend()
    assert (await task).status == "failed"
    assert not any(map(is_alive, pids))


async def test_the_queue_is_bounded_and_no_more_than_workers_run() -> None:
    async with Pool(PoolConfig(workers=2, queue=3)) as pool:
        tasks = [asyncio.create_task(pool.run(request(SPIN, **LONG))) for _ in range(5)]
        await started(pool, 2)
        with pytest.raises(SandboxError):
            await pool.run(request(ANSWER))
        assert len(pool.child_pids) == 2
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await ok(pool)


async def test_a_request_that_can_not_run_takes_no_place() -> None:
    async with Pool(PoolConfig(workers=1, queue=0)) as pool:
        with pytest.raises(UsageError):
            await pool.run(request(ANSWER, invoke="nothing"))
        assert pool.accepted == 0
        assert await ok(pool)


async def test_after_close_no_process_is_left_and_nothing_runs() -> None:
    pool = Pool()
    async with pool:
        task = asyncio.create_task(pool.run(request(SPIN, **LONG)))
        pids = await started(pool)
        await until(lambda: pool.spare_pids, "there is a spare")
        pids = [*pids, *pool.spare_pids, pool.zygote_pid or 0]
    assert (await task).status == "failed"
    assert not any(map(is_alive, pids))
    with pytest.raises(SandboxError):
        await pool.run(request(ANSWER))


NODE = """
import asyncio, sys
sys.path[:0] = [{root!r}, {here!r}, {root!r} + "/tests"]
from sandbox_kit import SPIN, request, until
from icn_lite.sandbox.pool import Pool

async def main():
    async with Pool() as pool:
        task = asyncio.create_task(pool.run(request(SPIN, fuel_limit=2**60, timeout_ms=60_000)))
        await until(lambda: pool.child_pids and pool.spare_pids, "a guest runs")
        print(pool.zygote_pid, *pool.child_pids, *pool.spare_pids, flush=True)
        await task

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
async def test_a_killed_node_takes_all_its_processes_along(number: signal.Signals) -> None:
    script = NODE.format(root=str(ROOT), here=str(HERE))
    node = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert node.stdout is not None
    pids = [int(pid) for pid in (await asyncio.wait_for(node.stdout.readline(), DEADLINE_S)).split()]
    assert len(pids) == 3
    node.send_signal(number)
    await asyncio.wait_for(node.wait(), DEADLINE_S)
    for pid in pids:
        await until(partial(is_dead, pid), f"process {pid} is gone")


async def test_an_engine_that_is_not_there_is_said_at_once() -> None:
    with pytest.raises(NotSupported, match="v8"):
        await Pool(PoolConfig(engine="v8")).__aenter__()


@pytest.mark.parametrize("fields", [{"workers": 0}, {"workers": 1000}, {"queue": -1}, {"spares": 3}, {"spares": -1}])
def test_configurations_out_of_range_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        PoolConfig(**fields)  # type: ignore[arg-type]


async def test_two_hundred_runs_leave_nothing_behind() -> None:
    """No process, no descriptor, no memory: neither in the node nor in the zygote."""
    async with Pool() as pool:
        for _ in range(10):
            await ok(pool)
        assert pool.zygote_pid is not None
        zygote, node = psutil.Process(pool.zygote_pid), psutil.Process()

        def counts() -> tuple[int, int]:
            return node.num_fds(), zygote.num_fds()

        async def settled() -> None:
            await until(lambda: len(pool.spare_pids) == 1 and not pool.child_pids, "all is put away")
            await until(lambda: len(zygote.children()) == 1, "only the spare is left")

        await settled()
        before, memory = counts(), zygote.memory_info().rss
        outcomes = [await pool.run(request(ANSWER)) for _ in range(100)]
        outcomes += await asyncio.gather(*(pool.run(request(ANSWER)) for _ in range(60)))
        outcomes += [await pool.run(request(SPIN, fuel_limit=10)) for _ in range(40)]
        assert len(outcomes) == 200
        assert {outcome.status for outcome in outcomes[:160]} == {"completed"}
        await settled()
        # One or two come and go with the event loop; a leak would be two hundred.
        assert all(now <= then + 2 for now, then in zip(counts(), before, strict=True)), (counts(), before)
        assert zygote.memory_info().rss - memory < 256 << 10


async def test_no_state_crosses_from_one_run_to_the_next() -> None:
    text = """(module (memory 1) (global $g (mut i32) (i32.const 0))
      (func (export "run") (result i32)
        (global.set $g (i32.add (global.get $g) (i32.const 1)))
        (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
        (i32.add (i32.load (i32.const 0)) (i32.mul (global.get $g) (i32.const 10)))))"""
    async with Pool() as pool:
        for _ in range(3):
            assert str((await pool.run(request(text))).results[0]) == "i32:11"


class Mana:
    """A node that serves two functions."""

    def __init__(self) -> None:
        self.calls: list[tuple[RunContext, HostCall]] = []

    def serves(self, name: str) -> bool:
        return name in ("host_account_get_mana", "host_get_pending_mesh_jobs", "host_submit_mesh_job")

    async def call(self, context: RunContext, call: HostCall) -> HostAnswer:
        self.calls.append((context, call))
        if call.name == "host_submit_mesh_job":
            raise IcnLiteError("the mesh is away")
        if call.name == "host_get_pending_mesh_jobs":
            data = b"3456789"[: call.numbers[0]]
            return HostAnswer(len(data), data)
        return HostAnswer(1 << 40)


GUEST_OF_THE_NODE = """(module
  (import "icn" "host_account_get_mana" (func $mana (result i64)))
  (import "icn" "host_get_reputation" (func $reputation (result i64)))
  (import "icn" "host_submit_mesh_job" (func $submit (param i32 i32) (result i32)))
  (import "icn" "host_get_pending_mesh_jobs" (func $read (param i32 i32) (result i32)))
  (import "icn" "put_output" (func $put (param i32 i32) (result i32)))
  (memory 1)
  (func (export "mana") (result i64) (call $mana))
  (func (export "reputation") (result i64) (call $reputation))
  (func (export "submit") (result i32) (call $submit (i32.const 0) (i32.const 7)))
  (func (export "read") (param i32 i32) (result i32)
    (call $put (i32.const 100) (call $read (local.get 0) (local.get 1)))))"""


async def test_calls_to_the_node() -> None:
    from icn_lite.sandbox.value import parse_value

    node = Mana()
    allowed = frozenset({"economy", "mesh"})
    async with Pool(host=node) as pool:

        async def result(name: str, permissions: frozenset[str] = allowed, *args: str) -> str:
            run = request(GUEST_OF_THE_NODE, invoke=name, permissions=permissions, args=tuple(map(parse_value, args)),
                          context=RunContext(job_id="j"), fuel_limit=2**40)  # fmt: skip
            outcome = await pool.run(run)
            assert outcome.status == "completed", outcome
            return str(outcome.results[0]) + (":" + outcome.output.decode("latin-1")[:4] if name == "read" else "")

        assert await result("mana") == f"i64:{1 << 40}"
        assert await result("reputation") == "i64:-6"  # nobody serves it: NotSupported
        assert await result("mana", frozenset()) == "i64:-5"  # policy forbids it: NotPermitted
        assert await result("submit") == "i32:-1"  # the node could not: Unknown
        assert await result("read", allowed, "i32:100", "i32:4") == "i32:0:3456"
        # A buffer outside the memory is refused before the node is asked; putting -3 bytes is refused as well.
        calls = len(node.calls)
        assert await result("read", allowed, "i32:65535", "i32:4") == "i32:-3:"
        assert len(node.calls) == calls
    assert node.calls[-1][1] == HostCall("host_get_pending_mesh_jobs", (4,), ())
    assert node.calls[0][0].job_id == "j"


async def test_a_node_that_never_answers_ends_at_the_deadline() -> None:
    class Silent(Mana):
        async def call(self, context: RunContext, call: HostCall) -> HostAnswer:
            await asyncio.Event().wait()
            raise AssertionError

    async with Pool(host=Silent()) as pool:
        run = request(GUEST_OF_THE_NODE, invoke="mana", permissions=frozenset({"economy"}), timeout_ms=200)
        outcome = await asyncio.wait_for(pool.run(run), DEADLINE_S)
        assert (outcome.status, outcome.failure) == ("failed", FailureReason.CPU_TIMEOUT)


async def test_ed25519_is_verified_by_the_pool_itself() -> None:
    from nacl.signing import SigningKey

    key = SigningKey(bytes([1] * 32))
    signature = key.sign(b"hello").signature
    data = b"hello".ljust(8, b"\0") + signature + bytes(key.verify_key)
    text = """(module (import "icn" "ed25519_verify" (func $verify (param i32 i32 i32 i32) (result i32)))
      (memory 1)
      (func (export "run") (param i32 i32) (result i32)
        (call $verify (local.get 0) (i32.const 5) (i32.add (local.get 0) (i32.const 8))
                      (i32.add (local.get 0) (i32.const 72)))))"""
    async with Pool() as pool:
        good = await pool.run(request(text, input=data))
        bad = await pool.run(request(text, input=b"J" + data[1:]))
        assert (str(good.results[0]), str(bad.results[0])) == ("i32:1", "i32:0")


async def test_a_zygote_closed_under_its_reader_spoils_no_later_socket() -> None:
    """The reader is told at once, and the number of its socket may be used again."""
    for _ in range(3):
        keeper = Zygote("wasm3")
        await keeper.start()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            os.kill(keeper.pid, signal.SIGSTOP)  # so that it answers nothing
            asked = asyncio.create_task(keeper.fork(theirs.fileno(), ahead=True))
            await asyncio.sleep(0)
            keeper.close()
            with pytest.raises(ZygoteGone):
                await asyncio.wait_for(asked, DEADLINE_S)
        pairs = [socket.socketpair() for _ in range(8)]
        for left, right in pairs:
            left.setblocking(False)
            reading = asyncio.create_task(asyncio.get_running_loop().sock_recv(left, 1))
            await asyncio.sleep(0)
            right.send(b"x")
            assert await asyncio.wait_for(reading, DEADLINE_S) == b"x"
        for left, right in pairs:
            left.close()
            right.close()
