"""The governor: what the device may lend right now, and why. Pure.

    (profile, state, readings, now) -> (state, allowance)

Each rule looks at one quantity and demands a level and a duty; the strictest level and the smallest duty win, and
every demand that is not "run" gives its reason in words.

- Heat of the processor: a regulator holds it just under `soft_c` by the duty of guests; suspended from `hard_c` until
  `hard_resume_c`. An unknown temperature gives `unknown_duty_pm`, and a device that was too hot when its sensor fell
  silent stays suspended.
- The battery: its heat, its charge, its charger (`battery.py`).
- Hours, network, the device's user and other programs, a faltering supply (`manners.py`).

Between a limit and its resume value nothing changes, and a stricter level is kept for `dwell_s`, so that a sensor at
the edge cannot make the device flap. Strictness itself never waits.

Where guests cost the battery, a shard that runs may only end if that is within `SOON_MS` of the change; else it is
stopped where it stands. The node says how long its shards may still take (`WORK_LEFT`), and where it doesn't, none of
them is taken to end soon.

Beside that, each step teaches the models of heat and energy (`Learned`), from which `forecast.py` reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from icn_lite.device import manners
from icn_lite.device.battery import MAX_BATTERY_AGE_MS, Battery, BatteryState
from icn_lite.device.battery import rules as battery_rules
from icn_lite.device.demand import (
    FULL_DUTY_PM,
    STRICTNESS,
    Allowance,
    Demand,
    Level,
    drain,
    slow,
    strictest,
    suspend,
)
from icn_lite.device.energy import Energy
from icn_lite.device.profile import Profile, ThermalPolicy
from icn_lite.device.reading import Quantity, Reading, Readings
from icn_lite.device.regulator import CHIP, SLOW_BELOW_PM, Regulator, degrees, slow_duty_pm
from icn_lite.device.thermal import Thermal

__all__ = [
    "FULL_DUTY_PM",
    "MAX_BATTERY_AGE_MS",
    "MAX_TEMP_AGE_MS",
    "SOON_MS",
    "Allowance",
    "GovernorState",
    "Heat",
    "Learned",
    "Level",
    "step",
    "work_pm",
]

# How far under the soft limit the regulator aims: noise and a sudden load of others stay below soft_c + 1.
SOFT_MARGIN_MC: Final = 700
# From this much over the soft limit guests stand still until the chip, which cools within seconds, is back.
OVER_SOFT_MC: Final = 300
# A board under full load gains about 1 °C a second at most: older than this a temperature says nothing.
MAX_TEMP_AGE_MS: Final = 30_000
# BOINC goes on for over a minute after a plug was pulled. What is almost done may end, at the cost of a few joules.
SOON_MS: Final = 30_000
MAX_LEARNED_AGE_MS: Final = 3_000  # a temperature from a cache belongs to the work of then
_NO_HISTORY: Final = Regulator()
_NO_BATTERY: Final = BatteryState()
_UNTAUGHT: Final = (Thermal(), Energy())


class Heat(Enum):
    """Where the processor's temperature is, with its history."""

    COOL = "cool"
    WARM = "warm"
    HOT = "hot"


@dataclass(frozen=True, slots=True)
class Learned:
    """What the device found out about itself; kept over restarts."""

    thermal: Thermal = _UNTAUGHT[0]
    energy: Energy = _UNTAUGHT[1]


_NOTHING: Final = Learned()
_AT_FIRST: Final = Allowance(Level.RUN, FULL_DUTY_PM)


@dataclass(frozen=True, slots=True)
class GovernorState:
    """What the governor remembers from one step to the next. The default is a device just started."""

    heat: Heat = Heat.COOL
    chip: Regulator = _NO_HISTORY
    battery: BatteryState = _NO_BATTERY
    busy: bool = False  # with other programs
    draining_since_ms: int | None = None  # when guests began to cost the battery
    held: Allowance = _AT_FIRST
    held_since_ms: int | None = None  # when `held` became as strict as it is; None before the first step
    learned: Learned = _NOTHING


def step(profile: Profile, state: GovernorState, readings: Readings, now_ms: int) -> tuple[GovernorState, Allowance]:
    """One step; `now_ms` is a monotonic clock, and one that jumps back only restarts the dwell."""
    heat, chip, hot = _processor(profile.thermal, state, readings, now_ms)
    battery, charge = battery_rules(profile.battery, state.battery, readings, now_ms)
    busy, used = manners.activity(profile.activity, state.busy, readings)
    polite = [*manners.hours(profile.hours, readings), *manners.network(profile.network, readings), *used]
    since_ms, demands = _soon(
        [*hot, *charge, *polite, *manners.supply(readings)], state.draining_since_ms, readings, now_ms
    )
    allowance, held_ms = _dwell(profile.thermal.dwell_s * 1000, state, strictest(demands), now_ms)
    learned = _learn(profile, state.learned, readings, now_ms)
    return GovernorState(heat, chip, battery, busy, since_ms, allowance, held_ms, learned), allowance


def work_pm(readings: Readings) -> int:
    """The share of all processors at work since the last reading: our guests, and others where that is known."""
    own = readings.get(Quantity.WORK_PM).value
    if own is None:
        own = readings.get(Quantity.GUESTS).value or 0
    return min(FULL_DUTY_PM, own + (readings.get(Quantity.FOREIGN_LOAD_PM).unless_older(MAX_TEMP_AGE_MS).value or 0))


def _learn(profile: Profile, learned: Learned, readings: Readings, now_ms: int) -> Learned:
    """Teach both models; a reading from a cache says nothing about now."""
    temp = readings.get(Quantity.SOC_TEMP)
    thermal, energy = learned.thermal, learned.energy
    if temp.value is not None and 0 <= temp.age_ms <= MAX_LEARNED_AGE_MS:
        thermal = thermal.step(temp.value, work_pm(readings), now_ms)
    alone_mw = Battery.of(profile.battery, readings).alone_mw(readings)
    return Learned(thermal, energy.step(alone_mw, work_pm(readings), now_ms))


def _processor(
    policy: ThermalPolicy, state: GovernorState, readings: Readings, now_ms: int
) -> tuple[Heat, Regulator, list[Demand]]:
    reading = readings.get(Quantity.SOC_TEMP).unless_older(MAX_TEMP_AGE_MS)
    temp_mc = reading.value
    if temp_mc is None:
        return state.heat, state.chip, [_unknown_heat(policy, state.heat, reading, state.chip)]
    chip = state.chip.step(temp_mc, policy.soft_c * 1000 - SOFT_MARGIN_MC, now_ms, CHIP)
    heat = _next_heat(policy, state.heat, temp_mc, chip)
    shown = f"processor at {degrees(temp_mc)}"
    if heat is Heat.HOT:
        reason = f"{shown}: limit {policy.hard_c} °C, resumes at {policy.hard_resume_c} °C"
        return heat, _NO_HISTORY, [suspend(reason)]
    if heat is Heat.WARM:
        duty_pm = 0 if chip.temp_mc >= policy.soft_c * 1000 + OVER_SOFT_MC else slow_duty_pm(chip)
        reason = f"{shown}: held under {policy.soft_c} °C, full speed again at {policy.soft_resume_c} °C"
        return heat, chip, [slow(duty_pm, reason)]
    return heat, chip, []


def _next_heat(policy: ThermalPolicy, heat: Heat, temp_mc: int, chip: Regulator) -> Heat:
    if temp_mc >= policy.hard_c * 1000 or (heat is Heat.HOT and temp_mc > policy.hard_resume_c * 1000):
        return Heat.HOT
    if heat is not Heat.COOL:
        return Heat.WARM if chip.temp_mc > policy.soft_resume_c * 1000 else Heat.COOL
    enters_mc = (policy.soft_c + policy.soft_resume_c) * 500
    return Heat.WARM if chip.duty_pm < SLOW_BELOW_PM and chip.temp_mc >= enters_mc else Heat.COOL


def _unknown_heat(policy: ThermalPolicy, heat: Heat, reading: Reading, chip: Regulator) -> Demand:
    why = f"processor temperature unknown ({reading.why_unknown})"
    if heat is Heat.HOT:
        return suspend(f"{why}, and it was too hot when last seen")
    if policy.unknown_duty_pm == 0:
        return suspend(why)
    if policy.unknown_duty_pm == FULL_DUTY_PM and heat is Heat.COOL:
        return Demand(Level.RUN, FULL_DUTY_PM, "")
    # What held the limit while it could be seen goes on holding it, at most.
    return slow(min(policy.unknown_duty_pm, SLOW_BELOW_PM, slow_duty_pm(chip)), why)


def _soon(
    demands: list[Demand], since_ms: int | None, readings: Readings, now_ms: int
) -> tuple[int | None, list[Demand]]:
    """Where guests cost the battery: whether what runs may end. Since when they do, and the demands with the answer."""
    costly = [demand for demand in demands if demand.soon]
    if not costly:
        return None, demands
    since_ms = now_ms if since_ms is None else min(since_ms, now_ms)
    left = readings.get(Quantity.WORK_LEFT).unless_older(MAX_TEMP_AGE_MS)
    if left.value == 0:
        return since_ms, demands
    if left.value is None:
        return since_ms, [*demands, suspend(f"nobody knows when the running shard ends ({left.why_unknown})")]
    passed_ms, left_s = now_ms - since_ms, -(-left.value // 1000)
    if passed_ms + left.value <= SOON_MS:
        return since_ms, [*demands, drain(f"the running shard may take {left_s} s more, and may end")]
    reason = f"the running shard may take {left_s} s more, of at most {SOON_MS // 1000} s: stopped where it stands"
    return since_ms, [*demands, suspend(reason)]


def _dwell(dwell_ms: int, state: GovernorState, wanted: Allowance, now_ms: int) -> tuple[Allowance, int]:
    """One of three things: stricter or the first (at once), as strict (the clock runs on), milder (after the dwell)."""
    since_ms, held = state.held_since_ms, state.held
    if since_ms is None or STRICTNESS[wanted.level] > STRICTNESS[held.level]:
        return wanted, now_ms
    since_ms = min(since_ms, now_ms)
    if wanted.level is held.level:
        return wanted, since_ms
    left_ms = since_ms + dwell_ms - now_ms
    if left_ms <= 0:
        return wanted, now_ms
    settling = f"settling for {-(-left_ms // 1000)} s more after: {_causes(held)}"
    duty_pm = min(held.duty_pm, wanted.duty_pm)
    return Allowance(held.level, duty_pm, (settling, *wanted.reasons), wanted.fetches), since_ms


def _causes(held: Allowance) -> str:
    """What led to the held level, without an earlier settling in front."""
    first = held.reasons[0] if held.reasons else held.level.value
    return first.rpartition(" after: ")[2]
