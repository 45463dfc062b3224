"""A device at rest is left alone: no duty cycle with nothing to run, a look when a guest begins, greetings when due."""

from __future__ import annotations

import asyncio
from typing import cast

from icn_lite.device.catalogue import load_profile
from icn_lite.device.governor import FULL_DUTY_PM, Level
from icn_lite.device.reading import Readings
from icn_lite.device.sensors.hub import SensorHub
from icn_lite.model.cose import KeySigner
from icn_lite.node.care import Care
from icn_lite.node.peerbook import FIRST_RETRY_MS, PeerBook
from icn_lite.sandbox.pool import Pool, PoolConfig, Progress
from icn_lite.store.peers import Found


class Hub:
    """Sensors that know nothing; every look is counted."""

    def __init__(self) -> None:
        self.looks: asyncio.Queue[None] = asyncio.Queue()

    async def read(self, deadline_ms: int | None = None, *, busy: bool = True) -> Readings:
        self.looks.put_nowait(None)
        return Readings()


class Sandbox:
    """A pool that only remembers what it was told."""

    def __init__(self) -> None:
        self.config = PoolConfig(workers=1)
        self.accepted = 0
        self.under_way: list[Progress] = []
        self.suspended = False
        self.told: asyncio.Queue[str] = asyncio.Queue()

    def suspend(self) -> None:
        self.suspended = True
        self.told.put_nowait("suspend")

    def resume(self) -> None:
        self.suspended = False
        self.told.put_nowait("resume")


async def test_the_duty_cycle_keeps_still_until_a_guest_begins() -> None:
    hub, pool, changed = Hub(), Sandbox(), asyncio.Event()
    care = Care(load_profile("pi-5"), cast(SensorHub, hub), cast(Pool, pool), changed.set)
    watching = asyncio.create_task(care.watch())
    try:
        async with asyncio.timeout(10):
            await hub.looks.get()
            await changed.wait()
            assert (care.allowance.level, care.allowance.duty_pm < FULL_DUTY_PM) == (Level.SLOW, True)
            for _ in range(50):  # the watcher has every chance to do something
                await asyncio.sleep(0)
            assert hub.looks.empty()
            assert pool.told.empty()
            pool.accepted = 1
            care.begin()
            await hub.looks.get()
            assert await pool.told.get() == "suspend"  # after the share of the first period
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def test_the_next_greeting_is_known() -> None:
    book = PeerBook(KeySigner(b"\1" * 32).did)
    assert book.next_ms() is None
    book.propose(["coap://127.0.0.1:1"], Found.STATIC, 1_000)
    assert book.next_ms() == 1_000
    assert len(book.due(1_000, 8)) == 1
    assert book.next_ms() == 1_000 + FIRST_RETRY_MS
