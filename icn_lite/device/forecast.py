"""What the governor expects of the next hours: how fast, how long, at what cost. Pure.

A bid is made from these four numbers, the present level and its headroom. Each says what it is without knowledge:
a duty that heat may lower is the present one until the model of heat is certain; an end that nobody can see is None;
energy in a battery that doesn't tell it is the least that such a battery can hold; energy of fuel is the profile's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from icn_lite.device.battery import Battery
from icn_lite.device.energy import above_floor_mj
from icn_lite.device.governor import MAX_TEMP_AGE_MS, SOFT_MARGIN_MC, GovernorState, work_pm
from icn_lite.device.manners import MAX_AGE_MS, quiet_in_min
from icn_lite.device.profile import Profile
from icn_lite.device.reading import Quantity, Readings
from icn_lite.device.thermal import Now

LEAST_DUTY_PM: Final = 20  # below this a device is as good as stopped
MINUTE_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Forecast:
    """The next hours, as far as they can be seen."""

    duty_pm: int  # the present one
    lasts_ms: int | None  # how long, until heat lowers it; None: no end in sight
    later_pm: int  # … to this one, at which the processor settles under its soft limit
    work_ms: int | None  # of wall time until guests are stopped; None: no end in sight
    why: str  # what stops them then; empty: nothing
    reserve_mj: int | None  # above the battery's floor; None where a charger or no battery feeds the device
    energy_mj_per_gfuel: int  # of 10⁹ fuel above what the device uses at rest


def forecast(profile: Profile, state: GovernorState, readings: Readings, fuel_per_s: int) -> Forecast:
    """The forecast; `fuel_per_s` of all workers together."""
    lasts_ms, later_pm = _heat(profile, state, readings)
    work_ms, why = _quiet_ms(profile, readings), "quiet hours"
    if lasts_ms is not None and later_pm < LEAST_DUTY_PM and (work_ms is None or lasts_ms < work_ms):
        work_ms, why = lasts_ms, "heat"
    energy = state.learned.energy.mj_per_gfuel(profile.prior.energy_mj_per_gfuel, fuel_per_s)
    return Forecast(
        duty_pm=state.held.duty_pm,
        lasts_ms=lasts_ms,
        later_pm=later_pm,
        work_ms=work_ms,
        why="" if work_ms is None else why,
        reserve_mj=reserve_mj(profile, readings),
        energy_mj_per_gfuel=energy,
    )


def _heat(profile: Profile, state: GovernorState, readings: Readings) -> tuple[int | None, int]:
    """How long the processor stays under its soft limit at the present duty, and the duty that it can bear."""
    held_pm, thermal = state.held.duty_pm, state.learned.thermal
    now = thermal_now(readings)
    if now is None or held_pm == 0:
        return None, held_pm
    limit_mc = profile.thermal.soft_c * 1000 - SOFT_MARGIN_MC
    rest_mc, ends_mc = thermal.settles_mc(0), thermal.settles_mc(held_pm)
    lasts_ms = thermal.reaches_ms(now, held_pm, limit_mc)
    if rest_mc is None or ends_mc is None or ends_mc <= limit_mc or lasts_ms is None:
        return None, held_pm
    return lasts_ms, held_pm * max(0, limit_mc - rest_mc) // max(1, ends_mc - rest_mc)


def thermal_now(readings: Readings) -> Now | None:
    """Where a forecast of heat begins; None without a temperature."""
    temp_mc = readings.get(Quantity.SOC_TEMP).unless_older(MAX_TEMP_AGE_MS).value
    return None if temp_mc is None else Now(temp_mc, work_pm(readings))


def _quiet_ms(profile: Profile, readings: Readings) -> int | None:
    """Time until quiet hours; a minute less than the clock says, because it is at most so wrong."""
    if not profile.hours.quiet:
        return None
    minute = readings.get(Quantity.LOCAL_MINUTE).unless_older(MAX_AGE_MS).value
    if minute is None:
        return 0
    left = quiet_in_min(profile.hours, minute)
    return None if left is None else max(0, left - 1) * MINUTE_MS


def reserve_mj(profile: Profile, readings: Readings) -> int | None:
    """Energy above the floor of a battery that feeds the device; None behind a charger, or without a battery."""
    battery = Battery.of(profile.battery, readings)
    if not battery.counts or battery.on_mains.value == 1:
        return None
    pct = battery.pct.value
    if pct is None:
        return 0
    left = readings.get(Quantity.BATTERY_ENERGY).unless_older(MAX_AGE_MS).value
    return above_floor_mj(pct, profile.battery.floor_pct, left)
