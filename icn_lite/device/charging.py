"""Keeps guests from slowing a charge: what they take of the charging current, and the duty that leaves the rest.

While a battery fills, a short probe compares two currents: ten seconds with guests, ten seconds without. They follow
each other at once, because a charging current changes by itself within minutes. As long as a charger has enough,
guests take nothing from the battery and run freely; behind a weak one they may take `loss_pm` of the current at rest,
no more. Without a readable current nothing runs before the battery is charged: that is the governor's rule, not here.

Integers: µA into the battery, per mille, milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

PHASE_MS: Final = 10_000  # a gauge averages over a few seconds
SETTLE_MS: Final = 4_000  # of a phase: readings before that still have some of the one before
PROBE_EVERY_MS: Final = 15 * 60_000  # a charge takes hours; ten seconds of rest in this time cost 1.1 %
TAPER_EVERY_MS: Final = 3 * 60_000  # near its end the current falls by itself, and a charger has more and more to spare
# After a probe in which no guest ran: it told nothing, and a rest without guests costs nothing.
AGAIN_MS: Final = 30_000
TAPER_PM: Final = 80  # a fall of the current at rest from one probe to the next that shows the end coming
CHANGED_PM: Final = 100  # a fall of the current with guests below that without, after which the last probe is no guide
MIN_REST_UA: Final = 30_000  # below this the battery is full, or the gauge is noise
PROBE_LOSS_PM: Final = 4  # of the charge: what the probes themselves take behind a weak charger
NOISE_PM: Final = 30  # a smaller share of the current at rest is the gauge's noise, not what guests take
MIN_GUESTS_PM: Final = 300  # with guests running less than this a phase tells nothing
CAREFUL_PM: Final = 100  # duty before the first probe came to an end


class Phase(Enum):
    """What a probe does now."""

    NONE = "none"
    LOADED = "loaded"
    REST = "rest"


@dataclass(frozen=True, slots=True)
class ChargeGuard:
    """The state between two steps; the default knows nothing and begins with a probe."""

    phase: Phase = Phase.NONE
    since_ms: int = 0
    loaded_ua: int | None = None
    loaded_pm: int = 0
    rest_ua: int | None = None
    tapers: bool = False
    drop_ua: int | None = None  # what guests take from the charge at full duty
    probed_ms: int | None = None

    def step(self, current_ua: int, guests_pm: int, now_ms: int) -> ChargeGuard:
        """One reading while charging; `guests_pm` is the share of time that guests ran since the last one."""
        passed_ms = now_ms - self.since_ms
        if self.phase is Phase.NONE or not 0 <= passed_ms <= 3 * PHASE_MS:
            every_ms = TAPER_EVERY_MS if self.tapers and self.drop_ua else PROBE_EVERY_MS
            if self.drop_ua is None or self._changed(current_ua):
                every_ms = AGAIN_MS
            if self.probed_ms is not None and 0 <= now_ms - self.probed_ms < every_ms:
                return self if self.phase is Phase.NONE else replace(self, phase=Phase.NONE)
            return replace(self, phase=Phase.LOADED, since_ms=now_ms, loaded_ua=None)
        if self.phase is Phase.LOADED:
            return self._loaded(current_ua, guests_pm, now_ms, passed_ms)
        if passed_ms < PHASE_MS:
            return self
        return self._compare(None if guests_pm else current_ua, now_ms)

    def _changed(self, current_ua: int) -> bool:
        """Whether guests that took nothing from the charge may do so now: somebody uses the device, or it is warmer."""
        return self.drop_ua == 0 and self.rest_ua is not None and current_ua * 1000 < self.rest_ua * (1000 - CHANGED_PM)

    def _loaded(self, current_ua: int, guests_pm: int, now_ms: int, passed_ms: int) -> ChargeGuard:
        """A reading with guests; what comes early still has some of the phase before."""
        after = self
        if passed_ms >= SETTLE_MS and guests_pm >= MIN_GUESTS_PM:
            known_ua = self.loaded_ua if self.loaded_ua is not None else current_ua
            after = replace(self, loaded_ua=(known_ua + current_ua) // 2, loaded_pm=guests_pm)
        return replace(after, phase=Phase.REST, since_ms=now_ms) if passed_ms >= PHASE_MS else after

    def _compare(self, rest_ua: int | None, now_ms: int) -> ChargeGuard:
        """The end of a probe; `rest_ua` is None where guests did not stand still."""
        if rest_ua is None:
            return replace(self, phase=Phase.NONE, probed_ms=now_ms)
        drop_ua = self.drop_ua
        if self.loaded_ua is not None:
            taken_ua = max(0, rest_ua - self.loaded_ua)
            drop_ua = 0 if taken_ua * 1000 < abs(rest_ua) * NOISE_PM else taken_ua * 1000 // self.loaded_pm
        tapers = self.rest_ua is not None and rest_ua * 1000 < self.rest_ua * (1000 - TAPER_PM)
        return replace(self, phase=Phase.NONE, rest_ua=rest_ua, tapers=tapers, drop_ua=drop_ua, probed_ms=now_ms)

    def duty_pm(self, loss_pm: int) -> int:
        """The duty that takes at most `loss_pm` of the charging current at rest."""
        if self.phase is Phase.REST:
            return 0
        if self.phase is Phase.LOADED:
            return 1000
        if self.rest_ua is None or self.drop_ua is None:
            return CAREFUL_PM
        if self.drop_ua == 0 or self.rest_ua < MIN_REST_UA:
            return 1000
        return max(0, min(1000, self.rest_ua * (loss_pm - PROBE_LOSS_PM) // self.drop_ua))


SPARE_DOWN_PM: Final = 100  # at every look at a battery that gives: twenty seconds from full work to none
SPARE_UP_PM: Final = 10  # at every look at one that doesn't, so that a tenth is tried again in twenty seconds


@dataclass(frozen=True, slots=True)
class Spare:
    """What a charger has to spare for guests once the battery is charged, found by trying."""

    duty_pm: int = 1000

    def step(self, *, gives: bool, guests_pm: int) -> Spare:
        """One look: less while the battery gives in spite of the charger, slowly more while it doesn't."""
        if gives:
            return Spare(max(0, min(self.duty_pm, max(guests_pm, SPARE_DOWN_PM)) - SPARE_DOWN_PM))
        return Spare(min(1000, self.duty_pm + SPARE_UP_PM))
