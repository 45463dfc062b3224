"""The device's care: reads the sensors, asks the governor, and suspends or resumes what runs.

Heat acts by duty cycle before it stops anything: under `slow` guests run for the allowed share of every period and
stand still (SIGSTOP) for the rest. What the governor said last, and why, is what `status` and refusals show.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from icn_lite.device.governor import FULL_DUTY_PM, Allowance, GovernorState, Level, step
from icn_lite.device.profile import Profile
from icn_lite.device.reading import Quantity, Readings, known
from icn_lite.device.sensors.hub import SensorHub, clock_ms
from icn_lite.model.receipt import Health
from icn_lite.node.outlook import outlook_of
from icn_lite.sandbox.pool import Pool
from icn_lite.work.bidding import Outlook

BUSY_MS: Final = 2_000  # between readings while guests run; a board gains about 1 °C a second
IDLE_MS: Final = 20_000  # a device at rest changes slowly, and every wake-up costs
DUTY_PERIOD_MS: Final = 1_000
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
        self._state = GovernorState()
        self._begun = asyncio.Event()
        self._guests_pm = 0  # share of time that guests ran since the last look
        self.readings = Readings()
        self.allowance = self._told = Allowance(Level.RUN, FULL_DUTY_PM)

    async def look(self) -> None:
        """Read once and act on it."""
        sensed = await self._hub.read()
        self.readings = Readings((*sensed.items, known(Quantity.GUESTS, self._guests_pm, "node")))
        before = self.allowance
        self._state, self.allowance = step(self._profile, self._state, self.readings, clock_ms())
        if self.allowance.level is not before.level:
            reasons = "; ".join(self.allowance.reasons) or "nothing stands against it"
            log.info("allowance: %s (%s)", self.allowance.level.value, reasons)
        moved_pm = abs(self.allowance.duty_pm - self._told.duty_pm)
        if self.allowance.level is not self._told.level or moved_pm >= TELL_DUTY_PM:
            self._told = self.allowance
            self._changed()

    def begin(self) -> None:
        """A guest is about to run: look at the device at once."""
        self._begun.set()

    async def watch(self) -> None:
        """Look again and again; while guests run, keep to the duty cycle between two looks, else rest."""
        while True:
            await self.look()
            if self._pool.accepted:
                self._guests_pm = self.allowance.duty_pm if self.allowance.may_run else 0
                await self._keep_duty()
            else:
                self._guests_pm = 0
                self._let(run=self.allowance.may_run)
                await self._rest()

    async def _rest(self) -> None:
        """Stand still until the next look is due or a guest is about to run."""
        self._begun.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_MS / 1000):
                await self._begun.wait()

    async def _keep_duty(self) -> None:
        """Let guests run for their share of every period until the next look."""
        duty_pm = self.allowance.duty_pm if self.allowance.may_run else 0
        periods = BUSY_MS // DUTY_PERIOD_MS
        if duty_pm in (0, FULL_DUTY_PM):
            self._let(run=bool(duty_pm))
            await asyncio.sleep(BUSY_MS / 1000)
            return
        run_s = DUTY_PERIOD_MS * duty_pm / FULL_DUTY_PM / 1000
        for _ in range(periods):
            self._let(run=True)
            await asyncio.sleep(run_s)
            self._let(run=False)
            await asyncio.sleep(DUTY_PERIOD_MS / 1000 - run_s)

    def _let(self, *, run: bool) -> None:
        if run and self._pool.suspended:
            self._pool.resume()
        elif not run and not self._pool.suspended:
            self._pool.suspend()

    def outlook(self) -> Outlook:
        """What a bid is priced from."""
        return outlook_of(self._profile, self.allowance, self.readings)

    def why_not(self) -> str:
        """Why no new work may begin; empty if it may."""
        if self.allowance.may_bid:
            return ""
        return f"{self.allowance.level.value}: {'; '.join(self.allowance.reasons)}"

    def health(self) -> Health | None:
        """What a receipt says about the device; readings that are unknown are left out."""
        battery = self.readings.get(Quantity.BATTERY_PCT).value
        mains = self.readings.get(Quantity.ON_MAINS).value
        temp_mc = self.readings.get(Quantity.SOC_TEMP).value
        if battery is None and mains is None and temp_mc is None:
            return None
        return Health(battery, None if mains is None else bool(mains), temp_mc)
