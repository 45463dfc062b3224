"""The node's small parts: tasks that nobody loses, a store on a thread of its own, clocks that don't run backwards."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from icn_lite.market.settle import grant
from icn_lite.model.cose import KeySigner
from icn_lite.model.errors import HomeInUse, PeerError, StoreError
from icn_lite.node import clock as clocks
from icn_lite.node import tasks as module
from icn_lite.node.clock import EARLIEST_PLAUSIBLE_S, Clock
from icn_lite.node.storage import Storage
from icn_lite.node.tasks import Tasks
from icn_lite.store.db import Store

DID = KeySigner(b"\x07" * 32).did


async def test_an_error_of_a_task_is_said_and_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    tasks, done = Tasks(), asyncio.Event()

    async def known() -> None:
        raise PeerError("nobody there")

    async def unknown() -> None:
        raise ZeroDivisionError("a fault")

    async def good() -> None:
        done.set()

    for work, name in ((known(), "a greeting"), (unknown(), "a fetch"), (good(), "a bid")):
        tasks.spawn(work, name)
    await asyncio.wait_for(done.wait(), 10)
    await tasks.close()
    lines = [record.getMessage() for record in caplog.records]
    assert "a greeting: nobody there" in lines
    assert "a fetch failed" in lines


async def test_closing_ends_what_runs_and_takes_nothing_more() -> None:
    tasks, began, ended = Tasks(), asyncio.Event(), []

    async def forever() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    async def late() -> None:
        ended.append("never")

    tasks.spawn(forever(), "forever")
    await asyncio.wait_for(began.wait(), 10)
    await tasks.close()
    tasks.spawn(late(), "late")
    await tasks.close()
    assert ended == ["ended"]


async def test_tasks_are_bounded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "MAX_TASKS", 2)
    tasks, go, ran = Tasks(), asyncio.Event(), []

    async def work(number: int) -> None:
        await go.wait()
        ran.append(number)

    for number in range(3):
        tasks.spawn(work(number), f"task {number}")
    assert "task 2 was dropped" in caplog.text
    go.set()
    while tasks._running:
        await asyncio.wait(tuple(tasks._running))
    assert ran == [0, 1]


async def test_the_store_works_on_a_thread_of_its_own_in_order(tmp_path: Path) -> None:
    storage = Storage(tmp_path, 1 << 20)
    await storage.open()
    threads: list[str] = []

    def note(store: Store, number: int) -> int:
        threads.append(threading.current_thread().name)
        return number

    results = await asyncio.gather(*(storage.run(lambda store, n=n: note(store, n)) for n in range(50)))
    assert results == list(range(50))
    assert len(set(threads)) == 1
    assert threads[0].startswith("store")
    await storage.close()
    with pytest.raises(RuntimeError):  # the thread has ended
        await storage.run(lambda store: None)


async def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    storage = Storage(tmp_path, 1 << 20)
    await storage.open()

    def work(store: Store) -> None:
        opening = grant(DID, 5, "opening")
        store.ledger.transfer(opening.id, opening.cause, opening.entries)
        raise StoreError("in the middle")

    with pytest.raises(StoreError, match="in the middle"):
        await storage.transact(work)
    assert await storage.run(lambda store: store.ledger.accounts()) == ()
    await storage.close()


async def test_what_a_cancelled_caller_began_is_ended(tmp_path: Path) -> None:
    storage = Storage(tmp_path, 1 << 20)
    await storage.open()
    began, go = threading.Event(), threading.Event()

    def work(store: Store) -> None:
        began.set()
        go.wait(20)
        opening = grant(DID, 5, "opening")
        store.ledger.transfer(opening.id, opening.cause, opening.entries)

    caller = asyncio.create_task(storage.transact(work))
    await asyncio.to_thread(began.wait, 20)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go.set()
    assert len(await storage.run(lambda store: store.ledger.accounts())) == 2
    await storage.close()


async def test_one_home_one_node(tmp_path: Path) -> None:
    first, second = Storage(tmp_path, 1 << 20), Storage(tmp_path, 1 << 20)
    await first.open()
    with pytest.raises(HomeInUse):
        await second.open()
    await first.close()
    third = Storage(tmp_path, 1 << 20)
    await third.open()
    await third.close()


def test_the_clock_goes_on_from_where_the_journal_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    uptime_ns = [5_000_000_000]
    monkeypatch.setattr(clocks.time, "monotonic_ns", lambda: uptime_ns[0])
    clock = Clock()
    assert clock.now_ms() == 5_000
    clock.advance_to(90_000)  # the journal of the boot before
    assert clock.now_ms() == 90_000
    clock.advance_to(10_000)
    assert clock.now_ms() == 90_000
    uptime_ns[0] += 1_000_000
    assert clock.now_ms() == 90_001
    assert clock.claim().uptime_ms == 5_001  # a claim is about this boot


def test_a_wall_clock_that_was_never_set_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    wall_s = [float(EARLIEST_PLAUSIBLE_S)]
    monkeypatch.setattr(clocks.time, "time", lambda: wall_s[0])
    assert Clock().claim().source == "system"
    wall_s[0] = 1_000.9
    claim = Clock().claim()
    assert (claim.wall_s, claim.source) == (1_000, "unset")
    wall_s[0] = -5.0
    assert Clock().claim().wall_s == 0


def test_a_boot_is_told_even_where_the_system_keeps_it_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Clock().claim().boot == Clock().claim().boot
    monkeypatch.setattr(clocks, "BOOT_ID_FILE", tmp_path / "denied")
    clock = Clock()
    assert len(clock.claim().boot) == 16
    assert clock.claim().boot == clock.claim().boot
