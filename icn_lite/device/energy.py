"""What guests cost in energy, learned from a battery's current and voltage. Pure, integers only.

While a battery carries the load alone, the power that flows out of it is the device's. When guests begin or stop, it
changes by what they take; screen, radio and everything else change too, but not with them. So changes are compared:

    power at full work = Σ Δpower · Δwork / Σ Δwork²

over all moments where the work changed, the older ones fading (least squares of one unknown with forgetting). Behind
a charger nothing is learned, because then the charger feeds guests and the battery's current stays what it is.

Before enough was seen, and on devices whose current nobody can read, the profile's figure stands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

MAX_GAP_MS: Final = 30_000  # between two readings that are compared; later the screen may be another
MIN_CHANGE_PM: Final = 250  # of work between two readings; smaller ones drown in what else changes
FADE_PM: Final = 950  # what an older change weighs: the last twenty count most
KNOWN_FROM: Final = 4 * 1_000_000  # Σ Δwork²: four full changes, so that a single one with the screen can't mislead
MAX_MW: Final = 500_000  # no device of this kind draws more
GIGA: Final = 1_000_000_000
# Where a battery doesn't tell its energy: a percent of 5 Wh, the smallest that runs a device for guests.
LEAST_PERCENT_MJ: Final = 180_000


@dataclass(frozen=True, slots=True)
class Energy:
    """What a device knows of its guests' power. The default knows nothing."""

    product: int = 0  # Σ Δpower · Δwork, mW · ‰
    square: int = 0  # Σ Δwork²
    power_mw: int | None = None  # the last reading while the battery alone carried the load
    work_pm: int = 0
    at_ms: int = 0

    def step(self, power_mw: int | None, work_pm: int, now_ms: int) -> Energy:
        """One reading later; `power_mw` out of the battery, None where a charger is connected or nobody knows."""
        if power_mw is None or not 0 <= power_mw <= MAX_MW:
            return self if self.power_mw is None else replace(self, power_mw=None)
        after = replace(self, power_mw=power_mw, work_pm=work_pm, at_ms=now_ms)
        change_pm = work_pm - self.work_pm
        if self.power_mw is None or not 0 < now_ms - self.at_ms <= MAX_GAP_MS or abs(change_pm) < MIN_CHANGE_PM:
            return after
        product = self.product * FADE_PM // 1000 + (power_mw - self.power_mw) * change_pm
        return replace(after, product=product, square=self.square * FADE_PM // 1000 + change_pm * change_pm)

    @property
    def work_mw(self) -> int | None:
        """Power of all workers at full work above rest; None while nobody knows."""
        if self.square < KNOWN_FROM:
            return None
        power_mw = self.product * 1000 // self.square
        return power_mw if 0 < power_mw <= MAX_MW else None

    def mj_per_gfuel(self, prior: int, fuel_per_s: int) -> int:
        """Millijoules for 10⁹ fuel, rounded up; `fuel_per_s` of all workers together, `prior` until it is known."""
        power_mw = self.work_mw
        if power_mw is None or fuel_per_s <= 0:
            return prior
        return -(-power_mw * GIGA // fuel_per_s)


def above_floor_mj(charge_pct: int, floor_pct: int, left_mj: int | None) -> int:
    """Energy above the floor; `left_mj` is all that the battery holds, as it says itself, or None."""
    above_pct = max(0, charge_pct - floor_pct)
    if left_mj is None or charge_pct <= 0:
        return above_pct * LEAST_PERCENT_MJ
    return left_mj * above_pct // charge_pct
