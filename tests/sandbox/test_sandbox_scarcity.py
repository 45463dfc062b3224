"""The pool where processes are few: refused forks, a phone's single child, floods of requests, a zygote that hangs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sandbox_kit import ANSWER, DEADLINE_S, SPIN, attack, is_alive, request, state, until, use_attack_engine

from icn_lite.sandbox import forkserver, pool
from icn_lite.sandbox.forkserver import ENGINES, ProcessRefused, SandboxError
from icn_lite.sandbox.pool import Pool, PoolConfig

LONG = {"fuel_limit": 2**60, "timeout_ms": 60_000}
PHONE = PoolConfig(workers=1, queue=4, spares=0)


@pytest.fixture(autouse=True)
def engines() -> Iterator[None]:
    before = dict(ENGINES)
    use_attack_engine()
    yield
    ENGINES.clear()
    ENGINES.update(before)


async def test_a_fork_that_is_refused_for_a_moment_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "FORK_WAITS_S", (0.0,) * 3)
    async with Pool(PoolConfig(workers=1, engine="scarce", spares=0)) as few:
        for _ in range(2):
            assert (await few.run(attack("result = 5"))).results[0].bits == 5


async def test_a_device_that_gives_no_process_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "FORK_WAITS_S", (0.0,) * 3)
    async with Pool(PoolConfig(workers=2, engine="barren", spares=1)) as none:
        for _ in range(3):
            with pytest.raises(ProcessRefused, match="refuses another process") as caught:
                await none.run(attack("result = 5"))
            assert "developer options" in caught.value.hint
        assert none.accepted == 0
        assert none.zygote_pid is not None  # it is alive: the refusal isn't its fault
    assert not psutil.Process().children()


@pytest.mark.parametrize("how", ["cancelled", "closed"])
async def test_a_run_that_waits_for_a_process_can_be_given_up(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "FORK_WAITS_S", (3600.0,))
    refused = asyncio.Event()
    original = pool.ProcessRefused.__init__

    def told(self: ProcessRefused, *arguments: str, **names: str) -> None:
        refused.set()
        original(self, *arguments, **names)

    monkeypatch.setattr(pool.ProcessRefused, "__init__", told)
    async with asyncio.timeout(DEADLINE_S):
        async with Pool(PoolConfig(workers=1, engine="barren", spares=0)) as none:
            task = asyncio.create_task(none.run(attack("result = 5")))
            await refused.wait()
            if how == "cancelled":
                task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
    assert isinstance(outcome, asyncio.CancelledError if how == "cancelled" else ProcessRefused)
    assert none.accepted == 0


async def test_a_phone_has_one_process_beside_the_zygote_at_most() -> None:
    async with Pool(PHONE) as phone:
        assert phone.zygote_pid is not None
        zygote = psutil.Process(phone.zygote_pid)
        assert zygote.children() == []
        tasks = [asyncio.create_task(phone.run(request(SPIN, **LONG))) for _ in range(3)]
        for task in tasks:
            await until(lambda: len(phone.child_pids) == 1, "one runs")
            assert [child.pid for child in zygote.children()] == phone.child_pids
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (await phone.run(request(ANSWER))).status == "completed"
        await until(lambda: zygote.children() == [], "nothing is left")
        assert phone.spare_pids == []


async def test_a_flood_of_requests_is_refused_past_the_queue_and_served_before() -> None:
    async with Pool(PoolConfig(workers=2, queue=30)) as busy:
        most = 0
        tasks = [asyncio.create_task(busy.run(request(ANSWER))) for _ in range(500)]
        while not all(task.done() for task in tasks):
            most = max(most, len(busy.child_pids))
            await asyncio.sleep(0)
        results = await asyncio.gather(*tasks, return_exceptions=True)
    served = [result for result in results if not isinstance(result, BaseException)]
    refused = [result for result in results if isinstance(result, SandboxError)]
    assert (len(served), len(refused)) == (32, 468)
    assert {outcome.status for outcome in served} == {"completed"}
    assert most <= 2


async def test_closing_with_many_runs_under_way_ends_all() -> None:
    closing = Pool(PoolConfig(workers=4, queue=20, spares=2))
    async with closing:
        tasks = [asyncio.create_task(closing.run(request(SPIN, **LONG))) for _ in range(12)]
        await until(lambda: len(closing.child_pids) == 4, "four run")
        pids = [*closing.child_pids, *closing.spare_pids, closing.zygote_pid or 0]
    outcomes = await asyncio.gather(*tasks)
    assert {outcome.status for outcome in outcomes} == {"failed"}
    assert not any(map(is_alive, pids))
    assert closing.accepted == 0


async def test_a_zygote_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkserver, "EXCHANGE_TIMEOUT_S", 0.2)
    async with Pool(PHONE) as phone:
        assert phone.zygote_pid is not None
        first = phone.zygote_pid
        os.kill(first, signal.SIGSTOP)
        await until(lambda: state(first) == "T", "the zygote hangs")
        assert (await phone.run(request(ANSWER))).status == "completed"
        assert phone.zygote_pid != first
        assert not is_alive(first)


async def test_a_zygote_that_keeps_dying_is_given_up_with_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at every fork: the run fails, and the pool works again once that ends."""
    original = forkserver.Zygote.fork

    async def killed(self: forkserver.Zygote, *arguments: int, **names: bool) -> forkserver.ChildProcess:
        os.kill(self.pid, signal.SIGKILL)
        return await original(self, *arguments, **names)

    async with Pool(PHONE) as phone:
        with monkeypatch.context() as patch:
            patch.setattr(forkserver.Zygote, "fork", killed)
            with pytest.raises(SandboxError, match="keeps ending"):
                await phone.run(request(ANSWER))
        assert (await phone.run(request(ANSWER))).status == "completed"


async def test_an_engine_that_can_not_be_loaded_in_the_zygote_is_named(tmp_path: Path) -> None:
    ENGINES["broken"] = forkserver.EngineSpec("no_such_engine", "NoEngine", "attack_engine")
    with pytest.raises(forkserver.NotSupported, match="no_such_engine"):
        await Pool(PoolConfig(engine="broken")).__aenter__()
