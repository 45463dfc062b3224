"""All sources together, read without ever holding up the node.

Files are read one after the other in one thread a look, which costs least and wakes the event loop once. A source that
takes longer than `PATIENCE_MS` (an attribute behind a dead I²C bus can hang uninterruptibly) keeps that thread, and
another one goes on with the rest: nothing is held up by it, it gets no second thread, and its last readings are given
with their growing age until the governor calls them unknown. So at most one thread a source is ever lost. Programs
(`asked.py`) have a thread each while they run, and are waited for only while they have never answered.

The hub owns the threads; they are daemons, so that a hanging sensor cannot keep the process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from icn_lite.device.reading import Reading, Readings
from icn_lite.device.sensors.source import Paced, Source, Spaced

# Files answer within milliseconds; what comes later is in the next look's readings.
DEADLINE_MS: Final = 1_000
# While a source has never answered its quantities are unknown, and a phone would start its day draining: wait longer.
FIRST_DEADLINE_MS: Final = 6_000
# All files of a phone are read within 20 ms even on an old one; after this one of them hangs, or the device is busy.
PATIENCE_MS: Final = 200
log = logging.getLogger(__name__)


def clock_ms() -> int:
    """The monotonic clock that ages are measured by."""
    return time.monotonic_ns() // 1_000_000


def read_sources(sources: Sequence[Source | Paced], now_ms: int) -> Readings:
    """Ask every source once, in this thread."""
    return Readings.of(reading for source in sources for reading in source.read(now_ms))


@dataclass(slots=True)
class _Slot:
    """One source, whether a thread is asking it, and what it said last and when."""

    source: Source | Paced
    asking: bool = False
    failed: bool = False
    said: tuple[int, Sequence[Reading]] | None = None

    def due(self, now_ms: int, said: Callable[[], Readings], *, busy: bool) -> bool:
        """Whether it is to be read at this look."""
        if self.asking:
            return False
        if isinstance(self.source, Paced):
            return self.source.due(now_ms, said, busy=busy)
        if isinstance(self.source, Spaced) and self.said is not None:
            return self.source.pace.due(now_ms - self.said[0], busy=busy)
        return True


@dataclass(slots=True)
class _Sweep:
    """Slots that one look reads, by one thread after the other; the last one read tells who waits."""

    queue: deque[_Slot]
    left: int
    tell: Callable[[], None]
    worker: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, worker: int) -> _Slot | None:
        """The next slot for this worker; None when there is none or another worker has taken over."""
        with self.lock:
            return self.queue.popleft() if worker == self.worker and self.queue else None

    def done(self) -> None:
        """One slot was read."""
        with self.lock:
            self.left -= 1
            last = self.left == 0
        if last:
            self.tell()

    def pass_on(self) -> int | None:
        """Number of a new worker for what is left to be begun; None if there is nothing."""
        with self.lock:
            if not self.queue:
                return None
            self.worker += 1
            return self.worker


class SensorHub:
    """The sources, and the last that each said."""

    def __init__(self, sources: Iterable[Source | Paced], clock: Callable[[], int] = clock_ms) -> None:
        self._slots = [_Slot(source) for source in sources]
        self._clock = clock
        self._starved = False  # of threads, at the last try
        self.heard: Callable[[], None] = lambda: None  # called in the loop when an answer came after its look ended

    async def read(self, deadline_ms: int | None = None, *, busy: bool = True) -> Readings:
        """Fresh readings; of sources that hang, the last ones with their age. One caller at a time.

        While the device is not `busy`, programs are asked less often, and late answers wake nobody.
        """
        now_ms = self._clock()
        due = [slot for slot in self._slots if slot.due(now_ms, self.last, busy=busy)]
        quick = [slot for slot in due if not isinstance(slot.source, Paced)]
        slow = [slot for slot in due if isinstance(slot.source, Paced)]
        new = [slot for slot in slow if slot.said is None]
        first = bool(new) or any(slot.said is None for slot in quick)
        waited, late = [self._sweep([slot]) for slot in new], list[_Waiting]()
        for slot in slow:
            if slot not in new:  # nobody waits for it: its answer is for the next look
                late.append(self._sweep([slot]))
        if quick:
            waited.append(self._sweep(quick))
        if deadline_ms is None:
            deadline_ms = FIRST_DEADLINE_MS if first else DEADLINE_MS
        await _wait(waited, deadline_ms / 1000)
        for sweep in (*waited, *late) if busy else ():
            if not sweep.done.done():
                sweep.done.add_done_callback(lambda _: self.heard())
        return self.last()

    def last(self) -> Readings:
        """What every source said last, with its age."""
        now_ms = self._clock()
        return Readings.of(reading for slot in self._slots for reading in _last_said(slot, now_ms))

    def problems(self) -> list[tuple[str, str]]:
        """Sources that are programs and failed at their last call: name, and why."""
        asked = [slot.source for slot in self._slots if isinstance(slot.source, Paced)]
        return [(source.name, source.problem) for source in asked if source.problem]

    def _sweep(self, slots: list[_Slot]) -> _Waiting:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop may have been closed while a source hung
                loop.call_soon_threadsafe(_finish, done)

        for slot in slots:
            slot.asking = True
        sweep = _Sweep(deque(slots), len(slots), tell)
        self._start(sweep, 0)
        return _Waiting(done, lambda: self._pass_on(sweep))

    def _pass_on(self, sweep: _Sweep) -> None:
        worker = sweep.pass_on()
        if worker is not None:
            self._start(sweep, worker)

    def _start(self, sweep: _Sweep, worker: int) -> None:
        try:
            threading.Thread(target=self._work, args=(sweep, worker), name="sensors", daemon=True).start()
        except RuntimeError as error:  # this device has no thread to give: what was not asked is asked at the next look
            if not self._starved:
                log.warning("sensors can't be read: %s", error)
            self._starved = True
            while (slot := sweep.take(worker)) is not None:
                slot.asking = False
                sweep.done()
        else:
            self._starved = False

    def _work(self, sweep: _Sweep, worker: int) -> None:
        while (slot := sweep.take(worker)) is not None:
            self._poll(slot)
            sweep.done()

    def _poll(self, slot: _Slot) -> None:
        now_ms = self._clock()
        try:
            slot.said = (now_ms, slot.source.read(now_ms))
        except Exception:  # a source never raises; should one do it all the same, the others are read
            if not slot.failed:
                log.exception("the sensor %s failed", slot.source.name)
            slot.failed = True
            slot.said = slot.said or (now_ms, ())
        finally:
            slot.asking = False


@dataclass(frozen=True, slots=True)
class _Waiting:
    """One sweep's end, and what to do when it takes too long."""

    done: asyncio.Future[None]
    pass_on: Callable[[], None]


async def _wait(sweeps: Sequence[_Waiting], deadline_s: float) -> None:
    """Until all have ended or the deadline; whoever hangs loses the rest of its queue to another thread."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + deadline_s
    while left := [sweep for sweep in sweeps if not sweep.done.done()]:
        wait_s = min(PATIENCE_MS / 1000, end_s - loop.time())
        if wait_s <= 0:
            return
        await asyncio.wait([sweep.done for sweep in left], timeout=wait_s)
        for sweep in left:
            if not sweep.done.done():
                sweep.pass_on()


def _last_said(slot: _Slot, now_ms: int) -> Iterator[Reading]:
    if slot.said is not None:
        said_ms, readings = slot.said
        yield from (reading.remembered(now_ms - said_ms) for reading in readings)


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():  # the waiter may have been cancelled
        done.set_result(None)
