"""The last hours of a device in a bounded series: one sample a minute, for people who ask why. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from icn_lite.device.demand import Allowance, Level
from icn_lite.device.reading import Quantity, Readings

EVERY_MS: Final = 60_000
KEPT: Final = 360  # six hours; 100 bytes each


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment."""

    at_ms: int  # of the monotonic clock
    level: Level
    duty_pm: int
    temp_mc: int | None
    charge_pct: int | None


class History:
    """Samples, the oldest first; a moment that comes too soon after the last one replaces nothing and is dropped."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=KEPT)

    def add(self, now_ms: int, allowance: Allowance, readings: Readings) -> None:
        """Keep this moment, if a minute has passed, the level has changed, or the clock went back."""
        last = self._samples[-1] if self._samples else None
        if last is not None and last.level is allowance.level and 0 <= now_ms - last.at_ms < EVERY_MS:
            return
        if last is not None and now_ms < last.at_ms:
            self._samples.clear()  # ages of what was before mean nothing any more
        temp, charge = readings.get(Quantity.SOC_TEMP).value, readings.get(Quantity.BATTERY_PCT).value
        self._samples.append(Sample(now_ms, allowance.level, allowance.duty_pm, temp, charge))

    def samples(self) -> tuple[Sample, ...]:
        """All that is kept."""
        return tuple(self._samples)
