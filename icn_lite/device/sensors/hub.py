"""All sources together, read without ever holding up the node.

`SensorHub.read` asks each source in a thread of its own and waits at most `deadline_ms` for all. While a source hangs
(an attribute behind a dead I²C bus can, uninterruptibly) it gets no second thread and holds up no other: its last
readings are given with their growing age, until the governor calls them unknown. The hub owns the threads; they are
daemons, so that a hanging sensor cannot keep the process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from icn_lite.device.reading import Reading, Readings
from icn_lite.device.sensors.linux_power import LinuxPower
from icn_lite.device.sensors.linux_thermal import LinuxThermal
from icn_lite.device.sensors.source import Source
from icn_lite.device.sensors.system import System
from icn_lite.device.sensors.termux import TermuxBattery

# Files answer within milliseconds; Termux may take its own 5 s, and is cached when it comes later.
DEADLINE_MS: Final = 1_000


def clock_ms() -> int:
    """The monotonic clock that ages are measured by."""
    return time.monotonic_ns() // 1_000_000


def default_sources(*, termux: bool = False, root: Path = Path("/")) -> list[Source]:
    """The rows in order of preference: what comes first wins where it knows something."""
    first: list[Source] = [TermuxBattery()] if termux else []
    # a root of one's own is a captured tree: this machine's load and memory would not belong to it
    last: list[Source] = [System()] if root == Path("/") else []
    return [*first, LinuxPower(root), LinuxThermal(root), *last]


def read_sources(sources: Sequence[Source], now_ms: int) -> Readings:
    """Ask every source once, in this thread."""
    return Readings.of(reading for source in sources for reading in source.read(now_ms))


@dataclass(slots=True)
class _Slot:
    """One source, whether a thread is asking it, and what it said last and when."""

    source: Source
    asking: bool = False
    said: tuple[int, Sequence[Reading]] = (0, ())


class SensorHub:
    """The sources, and the last that each said."""

    def __init__(self, sources: Sequence[Source], clock: Callable[[], int] = clock_ms) -> None:
        self._slots = [_Slot(source) for source in sources]
        self._clock = clock

    async def read(self, deadline_ms: int = DEADLINE_MS) -> Readings:
        """Fresh readings; of sources that hang, the last ones with their age. One caller at a time."""
        started = [self._ask(slot) for slot in self._slots if not slot.asking]
        if started:
            await asyncio.wait(started, timeout=deadline_ms / 1000)
        now_ms = self._clock()
        return Readings.of(reading for slot in self._slots for reading in self._last_said(slot, now_ms))

    def _ask(self, slot: _Slot) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        slot.asking = True
        name = f"sensor-{slot.source.name}"
        threading.Thread(target=self._poll, args=(slot, loop, done), name=name, daemon=True).start()
        return done

    def _poll(self, slot: _Slot, loop: asyncio.AbstractEventLoop, done: asyncio.Future[None]) -> None:
        try:
            now_ms = self._clock()
            slot.said = (now_ms, slot.source.read(now_ms))
        finally:
            slot.asking = False
            with contextlib.suppress(RuntimeError):  # the loop may have been closed while the source hung
                loop.call_soon_threadsafe(_finish, done)

    @staticmethod
    def _last_said(slot: _Slot, now_ms: int) -> Iterator[Reading]:
        said_ms, readings = slot.said
        for reading in readings:
            yield reading.aged(now_ms - said_ms)


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():  # the waiter may have been cancelled
        done.set_result(None)
