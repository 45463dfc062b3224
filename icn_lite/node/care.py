"""The device's care: reads the sensors, asks the governor, and suspends or resumes what runs.

Heat acts by duty cycle before it stops anything: under `slow` guests run for the allowed share of every period and
stand still (SIGSTOP) for the rest. A reading acts at once: between the moment when the sensors have answered and the
signals to the guests nothing waits, and a sensor that answers late (a program, a slow bus) is acted on when it does.
What the governor said last, why, and what it expects is what `status`, `why`, bids and refusals show.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from icn_lite.device.demand import FULL_DUTY_PM, Allowance, Level
from icn_lite.device.forecast import Forecast, forecast
from icn_lite.device.governor import GovernorState, Learned, step
from icn_lite.device.history import History
from icn_lite.device.profile import Profile
from icn_lite.device.reading import Quantity, Reading, Readings, known
from icn_lite.device.sensors.hub import SensorHub, clock_ms
from icn_lite.model.receipt import Health
from icn_lite.node.outlook import outlook_of
from icn_lite.sandbox.pool import Pool
from icn_lite.work.bidding import Outlook

BUSY_MS: Final = 2_000  # between readings while guests run; a board gains about 1 °C a second
IDLE_MS: Final = 30_000  # a device at rest changes slowly, and every wake-up costs
DUTY_PERIOD_MS: Final = 1_000
ANSWER_MS: Final = 150  # while guests run a look waits no longer for its sensors; what comes later wakes it
# The duty moves by small steps all the time; others are told when it has moved by this much since they were told.
TELL_DUTY_PM: Final = 100
log = logging.getLogger(__name__)


class Care:
    """One device's governor at work."""

    def __init__(self, profile: Profile, hub: SensorHub, pool: Pool, changed: Callable[[], None]) -> None:
        self._profile = profile
        self._hub = hub
        self._pool = pool
        self._changed = changed
        self._begun = asyncio.Event()
        self._busy = False  # whether guests ran at the last look
        self._guests_pm = 0  # share of time that guests ran since the last look
        self._workers = max(1, pool.config.workers)
        self.fuel_per_s: Callable[[], int] = lambda: profile.prior.fuel_per_s  # of one worker
        self.state = GovernorState()
        self.readings = Readings()
        self.history = History()
        self.allowance = self._told = Allowance(Level.RUN, FULL_DUTY_PM)

    # -- what was learned before

    @property
    def learned(self) -> Learned:
        """What the device found out about itself."""
        return self.state.learned

    def remember(self, learned: Learned) -> None:
        """Begin with what was learned before the last end."""
        self.state = replace(self.state, learned=learned)

    # -- looking

    async def look(self) -> None:
        """Read once and act on it."""
        busy = bool(self._pool.accepted)
        self._act_on(await self._hub.read(ANSWER_MS if busy and self.readings.items else None, busy=busy))

    def _act_on(self, sensed: Readings) -> None:
        """One step of the governor; guests that must not go on are stopped before this returns."""
        before, now_ms = self.allowance, clock_ms()
        self.readings = Readings((*sensed.items, *self._own()))
        self.state, self.allowance = step(self._profile, self.state, self.readings, now_ms)
        if not self.allowance.may_run:
            self._let(run=False)
        self.history.add(now_ms, self.allowance, self.readings)
        if self.allowance.level is not before.level:
            reasons = "; ".join(self.allowance.reasons) or "nothing stands against it"
            log.info("allowance: %s (%s)", self.allowance.level.value, reasons)
        moved_pm = abs(self.allowance.duty_pm - self._told.duty_pm)
        turned = self.allowance.level is not self._told.level or self.allowance.may_bid is not self._told.may_bid
        if turned or moved_pm >= TELL_DUTY_PM:
            self._told = self.allowance
            self._changed()

    def _own(self) -> tuple[Reading, ...]:
        """What the node itself knows: how much its guests worked, and how long they may still take."""
        running = min(len(self._pool.under_way), self._workers)
        return (
            known(Quantity.GUESTS, self._guests_pm, "node"),
            known(Quantity.WORK_PM, self._guests_pm * running // self._workers, "node"),
            known(Quantity.WORK_LEFT, self._left_ms(), "node"),
        )

    def _left_ms(self) -> int:
        """Of the longest run, at full duty: by its fuel limit, and once that was wrong by its timeout."""
        longest_ms = 0
        for run in self._pool.under_way:
            expected_ms = run.fuel_limit * 1000 // max(1, self.fuel_per_s()) - run.active_ms
            most_ms = max(1, run.timeout_ms - run.active_ms)
            longest_ms = max(longest_ms, min(expected_ms, most_ms) if expected_ms > 0 else most_ms)
        return longest_ms

    def begin(self) -> None:
        """A guest is about to run: look at the device at once, unless that is done all the time because others run."""
        if not self._busy:
            self._begun.set()

    async def watch(self) -> None:
        """Look again and again; while guests run, keep to the duty cycle between two looks, else rest."""
        self._hub.heard = self._begun.set
        while True:
            self._begun.clear()
            await self.look()
            self._busy = bool(self._pool.accepted)
            if self._busy:
                self._guests_pm = self.allowance.duty_pm if self.allowance.may_run else 0
                await self._keep_duty()
            else:
                self._guests_pm = 0
                self._let(run=self.allowance.may_run)
                await self._pause(IDLE_MS)

    async def _pause(self, pause_ms: int) -> bool:
        """Wait; whether it is time to look before that: a guest has begun, or a sensor has answered late."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_ms / 1000):
                await self._begun.wait()
                return True
        return False

    async def _keep_duty(self) -> None:
        """Let guests run for their share of every period until the next look."""
        duty_pm = self.allowance.duty_pm if self.allowance.may_run else 0
        if duty_pm in (0, FULL_DUTY_PM):
            self._let(run=bool(duty_pm))
            await self._pause(BUSY_MS)
            return
        run_ms = DUTY_PERIOD_MS * duty_pm // FULL_DUTY_PM
        for _ in range(BUSY_MS // DUTY_PERIOD_MS):
            self._let(run=True)
            if await self._pause(run_ms):
                return
            self._let(run=False)
            if await self._pause(DUTY_PERIOD_MS - run_ms):
                return

    def _let(self, *, run: bool) -> None:
        if run and self._pool.suspended:
            self._pool.resume()
        elif not run and not self._pool.suspended:
            self._pool.suspend()

    # -- what it says

    def forecast(self) -> Forecast:
        """The next hours."""
        return forecast(self._profile, self.state, self.readings, self.fuel_per_s() * self._workers)

    def outlook(self) -> Outlook:
        """What a bid is priced from."""
        return outlook_of(self._profile, self.forecast(), self.readings)

    def why_not_take(self) -> str:
        """Why no new work may be taken; empty if it may."""
        return "" if self.allowance.may_bid else self._why()

    def why_not(self) -> str:
        """Why nothing that was taken may begin; empty if it may."""
        return "" if self.allowance.may_begin else self._why()

    def _why(self) -> str:
        reasons = "; ".join(self.allowance.reasons)
        return reasons if self.allowance.may_begin else f"{self.allowance.level.value}: {reasons}"

    def health(self) -> Health | None:
        """What a receipt says about the device; readings that are unknown are left out."""
        battery = self.readings.get(Quantity.BATTERY_PCT).value
        mains = self.readings.get(Quantity.ON_MAINS).value
        temp_mc = self.readings.get(Quantity.SOC_TEMP).value
        if battery is None and mains is None and temp_mc is None:
            return None
        return Health(battery, None if mains is None else bool(mains), temp_mc)
