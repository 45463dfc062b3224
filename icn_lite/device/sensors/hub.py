"""All sources together, read without ever holding up the node.

`SensorHub.read` asks each source in a thread of its own and waits at most a second for all (the first time six).
While a source hangs (an attribute behind a dead I²C bus can, uninterruptibly) it gets no second thread and holds up no
other: its last readings are given with their growing age, until the governor calls them unknown. The hub owns the
threads; they are daemons, so that a hanging sensor cannot keep the process from ending.
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
# While a source has never answered its quantities are unknown, and a phone would start its day draining: wait longer.
FIRST_DEADLINE_MS: Final = 6_000


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
    said: tuple[int, Sequence[Reading]] | None = None


class SensorHub:
    """The sources, and the last that each said."""

    def __init__(self, sources: Sequence[Source], clock: Callable[[], int] = clock_ms) -> None:
        self._slots = [_Slot(source) for source in sources]
        self._clock = clock

    async def read(self, deadline_ms: int | None = None) -> Readings:
        """Fresh readings; of sources that hang, the last ones with their age. One caller at a time."""
        idle = [slot for slot in self._slots if not slot.asking]
        if deadline_ms is None:
            deadline_ms = DEADLINE_MS if all(slot.said for slot in idle) else FIRST_DEADLINE_MS
        if idle:
            await asyncio.wait([self._ask(slot) for slot in idle], timeout=deadline_ms / 1000)
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
        if slot.said is not None:
            said_ms, readings = slot.said
            yield from (reading.aged(now_ms - said_ms) for reading in readings)


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():  # the waiter may have been cancelled
        done.set_result(None)
