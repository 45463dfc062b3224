"""Answers that come after their look has ended are told of while guests run, and not while the device rests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from icn_lite.device.reading import Quantity, Reading, Readings, known
from icn_lite.device.sensors.hub import SensorHub
from icn_lite.device.sensors.source import Paced

WAIT_S = 30.0


class Program(Paced):
    """Answers when the test lets it; the first time at once."""

    name = "program"

    def __init__(self) -> None:
        self.let = threading.Event()
        self.let.set()

    def due(self, now_ms: int, said: Callable[[], Readings], *, busy: bool) -> bool:
        return True

    def read(self, now_ms: int) -> Sequence[Reading]:
        assert self.let.wait(WAIT_S)
        return [known(Quantity.ON_MAINS, 0, self.name)]

    @property
    def problem(self) -> str:
        return ""


@pytest.mark.parametrize("busy", [True, False])
async def test_a_late_answer_wakes_who_cares_while_guests_run(busy: bool) -> None:
    program, heard, ended = Program(), asyncio.Event(), asyncio.Event()
    hub = SensorHub([program])
    hub.heard = heard.set
    await hub.read(busy=busy)
    assert not heard.is_set()  # it was waited for
    program.let.clear()
    await hub.read(busy=busy)
    assert not heard.is_set()
    program.let.set()
    if busy:
        async with asyncio.timeout(WAIT_S):
            await heard.wait()
        assert hub.last().get(Quantity.ON_MAINS).value == 0
        return
    (slot,) = hub._slots
    while slot.asking:
        ended.set()
        await asyncio.to_thread(ended.is_set)  # a turn of the loop and of another thread
    for _ in range(5):
        await asyncio.sleep(0)
    assert not heard.is_set()
