"""The governor: what the device may lend right now, and why. Pure.

    (profile, state, readings, now) -> (state, allowance)

Each rule looks at one quantity and demands a level and a duty; the strictest level and the smallest duty win, and
every demand that is not "run" gives its reason in words.

- Heat of the processor: slow from `soft_c` (duty falls from full to `slow_duty_pm` towards `hard_c`), suspended from
  `hard_c`; leaving either needs the resume value. An unknown temperature gives `unknown_duty_pm`, and a device that was
  too hot when its sensor fell silent stays suspended.
- Heat of the battery: suspended from `hot_c` until `hot_resume_c`.
- Charge: suspended at `floor_pct` until `resume_pct`, plugged in or not, so that a weak charger charges first.
- Power: without mains, or when nobody knows, a device that works `only_when_charging` drains.
- A battery that is expected and can't be read drains: unknown is never safe.

Between a limit and its resume value nothing changes, and a stricter level is kept for `dwell_s`, so that a sensor at
the edge cannot make the device flap. Strictness itself never waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from icn_lite.device.profile import BatteryPolicy, Profile, ThermalPolicy
from icn_lite.device.reading import Quantity, Reading, Readings

FULL_DUTY_PM: Final = 1000
# Finer steps would change the allowance with every tenth of a degree and mean nothing.
DUTY_STEP_PM: Final = 50
# While cooling between soft_c and soft_resume_c the device works nearly fully, but is still called slow.
COOLING_DUTY_PM: Final = 950
# A board under full load gains about 1 °C a second at most: older than this a temperature says nothing.
MAX_TEMP_AGE_MS: Final = 30_000
# Charge moves slowly, and Termux is asked twice a minute at most; three missed answers are too many.
MAX_BATTERY_AGE_MS: Final = 120_000


class Level(Enum):
    """What may happen, from the most to the least."""

    RUN = "run"
    SLOW = "slow"
    DRAIN = "drain"  # finish what runs, take nothing new
    SUSPEND = "suspend"


_STRICTNESS: Final = {level: rank for rank, level in enumerate(Level)}


class Heat(Enum):
    """Where the processor's temperature is, with its history."""

    COOL = "cool"
    WARM = "warm"
    HOT = "hot"


@dataclass(frozen=True, slots=True)
class Allowance:
    """The governor's answer."""

    level: Level
    duty_pm: int  # share of time that guests may run, in ‰; 0 when suspended
    reasons: tuple[str, ...] = ()

    @property
    def may_bid(self) -> bool:
        """New work may be taken."""
        return self.level in (Level.RUN, Level.SLOW)

    @property
    def may_run(self) -> bool:
        """Work that was taken may go on."""
        return self.level is not Level.SUSPEND


@dataclass(frozen=True, slots=True)
class GovernorState:
    """What the governor remembers from one step to the next. The default is a device just started."""

    heat: Heat = Heat.COOL
    battery_hot: bool = False
    battery_low: bool = False
    held: Allowance = Allowance(Level.RUN, FULL_DUTY_PM)
    held_since_ms: int | None = None  # when `held` became as strict as it is; None before the first step


@dataclass(frozen=True, slots=True)
class _Demand:
    level: Level
    duty_pm: int
    reason: str


def step(profile: Profile, state: GovernorState, readings: Readings, now_ms: int) -> tuple[GovernorState, Allowance]:
    """One step; `now_ms` is a monotonic clock, and one that jumps back only restarts the dwell."""
    heat, heat_demands = _processor_heat(profile.thermal, state.heat, _fresh(readings, Quantity.SOC_TEMP))
    battery = _Battery.of(profile.battery, readings)
    battery_hot, hot_demands = _battery_heat(profile.battery, state.battery_hot, battery)
    battery_low, low_demands = _charge(profile.battery, state.battery_low, battery)
    wanted = _strictest([*heat_demands, *hot_demands, *low_demands, *_power(profile.battery, battery)])
    allowance, since_ms = _dwell(profile.thermal.dwell_s * 1000, state, wanted, now_ms)
    return GovernorState(heat, battery_hot, battery_low, allowance, since_ms), allowance


def _fresh(readings: Readings, quantity: Quantity) -> Reading:
    reading = readings.get(quantity)
    return reading.unless_older(MAX_TEMP_AGE_MS if quantity is Quantity.SOC_TEMP else MAX_BATTERY_AGE_MS)


def _processor_heat(policy: ThermalPolicy, heat: Heat, reading: Reading) -> tuple[Heat, list[_Demand]]:
    temp_mc = reading.value
    if temp_mc is None:
        return heat, [_unknown_heat(policy, heat, reading)]
    heat = _next_heat(policy, heat, temp_mc)
    shown = f"processor at {_degrees(temp_mc)}"
    if heat is Heat.HOT:
        reason = f"{shown}: limit {policy.hard_c} °C, resumes at {policy.hard_resume_c} °C"
        return heat, [_Demand(Level.SUSPEND, 0, reason)]
    if heat is Heat.WARM:
        duty_pm = _warm_duty_pm(policy, temp_mc)
        reason = f"{shown}: slow from {policy.soft_c} °C, full speed again at {policy.soft_resume_c} °C"
        return heat, [_Demand(Level.SLOW, duty_pm, reason)]
    return heat, []


def _next_heat(policy: ThermalPolicy, heat: Heat, temp_mc: int) -> Heat:
    if temp_mc >= policy.hard_c * 1000 or (heat is Heat.HOT and temp_mc > policy.hard_resume_c * 1000):
        return Heat.HOT
    if temp_mc >= policy.soft_c * 1000 or (heat is not Heat.COOL and temp_mc > policy.soft_resume_c * 1000):
        return Heat.WARM
    return Heat.COOL


def _unknown_heat(policy: ThermalPolicy, heat: Heat, reading: Reading) -> _Demand:
    why = f"processor temperature unknown ({reading.why_unknown})"
    if heat is Heat.HOT:
        return _Demand(Level.SUSPEND, 0, f"{why}, and it was too hot when last seen")
    if policy.unknown_duty_pm == 0:
        return _Demand(Level.SUSPEND, 0, why)
    if policy.unknown_duty_pm == FULL_DUTY_PM and heat is Heat.COOL:
        return _Demand(Level.RUN, FULL_DUTY_PM, "")
    return _Demand(Level.SLOW, min(policy.unknown_duty_pm, COOLING_DUTY_PM), why)


def _warm_duty_pm(policy: ThermalPolicy, temp_mc: int) -> int:
    """Full at `soft_c`, `slow_duty_pm` at `hard_c`, linear between, rounded down to a step."""
    room_mc = policy.hard_c * 1000 - temp_mc
    span_mc = (policy.hard_c - policy.soft_c) * 1000
    duty_pm = policy.slow_duty_pm + (FULL_DUTY_PM - policy.slow_duty_pm) * room_mc // span_mc
    return max(DUTY_STEP_PM, min(COOLING_DUTY_PM, duty_pm // DUTY_STEP_PM * DUTY_STEP_PM))


@dataclass(frozen=True, slots=True)
class _Battery:
    """The battery's readings; `counts` says whether the device is to be treated as one that has a battery."""

    counts: bool
    why_unsure: str
    pct: Reading
    on_mains: Reading
    temp: Reading

    @classmethod
    def of(cls, policy: BatteryPolicy, readings: Readings) -> _Battery:
        """One of three things: a battery is there, there is none, or nobody can say."""
        present = _fresh(readings, Quantity.BATTERY_PRESENT)
        unsure = present.why_unknown
        if present.value is not None and policy.expected != "yes":
            counts = present.value == 1
        else:  # a phone whose battery nobody sees still has one
            counts = policy.expected != "no"
        return cls(
            counts,
            unsure,
            _fresh(readings, Quantity.BATTERY_PCT),
            _fresh(readings, Quantity.ON_MAINS),
            _fresh(readings, Quantity.BATTERY_TEMP),
        )


def _battery_heat(policy: BatteryPolicy, hot: bool, battery: _Battery) -> tuple[bool, list[_Demand]]:
    if not battery.counts:
        return False, []
    temp_mc = battery.temp.value
    if temp_mc is None:
        # Many batteries have no thermometer; one that was too hot keeps the device waiting all the same.
        reason = f"battery temperature unknown ({battery.temp.why_unknown}), and it was too hot when last seen"
        return hot, [_Demand(Level.SUSPEND, 0, reason)] if hot else []
    hot = temp_mc >= policy.hot_c * 1000 or (hot and temp_mc > policy.hot_resume_c * 1000)
    reason = f"battery at {_degrees(temp_mc)}: limit {policy.hot_c} °C, resumes at {policy.hot_resume_c} °C"
    return hot, [_Demand(Level.SUSPEND, 0, reason)] if hot else []


def _charge(policy: BatteryPolicy, low: bool, battery: _Battery) -> tuple[bool, list[_Demand]]:
    if not battery.counts:
        return False, []
    pct = battery.pct.value
    if pct is None:
        why = battery.why_unsure or battery.pct.why_unknown
        if low:
            return low, [_Demand(Level.SUSPEND, 0, f"battery charge unknown ({why}), and it was low when last seen")]
        return low, [_Demand(Level.DRAIN, FULL_DUTY_PM, f"battery charge unknown ({why})")]
    low = pct <= policy.floor_pct or (low and pct < policy.resume_pct)
    reason = f"battery at {pct} %: floor {policy.floor_pct} %, resumes at {policy.resume_pct} %"
    return low, [_Demand(Level.SUSPEND, 0, reason)] if low else []


def _power(policy: BatteryPolicy, battery: _Battery) -> list[_Demand]:
    if not battery.counts or not policy.only_when_charging or battery.on_mains.value == 1:
        return []
    if battery.on_mains.value is None:
        reason = f"nobody knows whether it is charging ({battery.on_mains.why_unknown})"
    else:
        reason = "on battery; it works only while charging"
    return [_Demand(Level.DRAIN, FULL_DUTY_PM, reason)]


def _strictest(demands: Sequence[_Demand]) -> Allowance:
    level = max((demand.level for demand in demands), key=_STRICTNESS.__getitem__, default=Level.RUN)
    duty_pm = min((demand.duty_pm for demand in demands), default=FULL_DUTY_PM)
    return Allowance(level, duty_pm, tuple(demand.reason for demand in demands if demand.reason))


def _dwell(dwell_ms: int, state: GovernorState, wanted: Allowance, now_ms: int) -> tuple[Allowance, int]:
    """One of three things: stricter or the first (at once), as strict (the clock runs on), milder (after the dwell)."""
    since_ms, held = state.held_since_ms, state.held
    if since_ms is None or _STRICTNESS[wanted.level] > _STRICTNESS[held.level]:
        return wanted, now_ms
    since_ms = min(since_ms, now_ms)
    if wanted.level is held.level:
        return wanted, since_ms
    left_ms = since_ms + dwell_ms - now_ms
    if left_ms <= 0:
        return wanted, now_ms
    settling = f"settling for {-(-left_ms // 1000)} s more after: {_causes(held)}"
    duty_pm = min(held.duty_pm, wanted.duty_pm)
    return Allowance(held.level, duty_pm, (settling, *wanted.reasons)), since_ms


def _causes(held: Allowance) -> str:
    """What led to the held level, without an earlier settling in front."""
    first = held.reasons[0] if held.reasons else held.level.value
    return first.rpartition(" after: ")[2]


def _degrees(temp_mc: int) -> str:
    """Whole degrees, towards the sky: 78.2 reads as 79 when the limit is 79."""
    return f"{-(-temp_mc // 1000)} °C"
