"""The governor: what the device may lend right now, and why. Pure.

    (profile, state, readings, now) -> (state, allowance)

Each rule looks at one quantity and demands a level and a duty; the strictest level and the smallest duty win, and
every demand that is not "run" gives its reason in words.

- Heat of the processor: a regulator holds it just under `soft_c` by the duty of guests; suspended from `hard_c` until
  `hard_resume_c`. An unknown temperature gives `unknown_duty_pm`, and a device that was too hot when its sensor fell
  silent stays suspended.
- Heat of the battery: a second regulator holds it under `hot_c`; suspended from there until `hot_resume_c`.
- Charge: suspended at `floor_pct` until `resume_pct`, plugged in or not, so that a weak charger charges first.
- Charging: until `charged_pct`, guests take at most `charge_loss_pm` of the current (`charging.py`); where nobody can
  read the current, they wait.
- Power: without mains, or when nobody knows, a device that works `only_when_charging` drains. A charger that cannot
  keep up without any guest counts as none.
- A battery that is expected and can't be read drains: unknown is never safe.

Between a limit and its resume value nothing changes, and a stricter level is kept for `dwell_s`, so that a sensor at
the edge cannot make the device flap. Strictness itself never waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from icn_lite.device.charging import ChargeGuard, Phase
from icn_lite.device.profile import BatteryPolicy, Profile, ThermalPolicy
from icn_lite.device.reading import Quantity, Reading, Readings
from icn_lite.device.regulator import BATTERY, CHIP, Regulator

FULL_DUTY_PM: Final = 1000
# Finer steps would change the allowance with every hundredth of a degree and mean nothing.
DUTY_STEP_PM: Final = 10
# Below this a device is called slow, and stays so until it is cool: not every dip of the regulator is a change.
SLOW_BELOW_PM: Final = 950
# How far under the soft limit the regulator aims: noise and a sudden load of others stay below soft_c + 1.
SOFT_MARGIN_MC: Final = 700
HOT_MARGIN_MC: Final = 150
# From this much over the soft limit guests stand still until the chip, which cools within seconds, is back.
OVER_SOFT_MC: Final = 300
CHARGED_HYSTERESIS_PCT: Final = 5
_NO_HISTORY: Final = Regulator()
_NO_PROBE: Final = ChargeGuard()
# A board under full load gains about 1 °C a second at most: older than this a temperature says nothing.
MAX_TEMP_AGE_MS: Final = 30_000
# A current is compared with one ten seconds before, so an answer from a cache says nothing.
MAX_CURRENT_AGE_MS: Final = 3_000
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
    chip: Regulator = _NO_HISTORY
    battery_hot: bool = False
    battery_warm: bool = False
    cell: Regulator = _NO_HISTORY
    charged: bool = False
    guard: ChargeGuard = _NO_PROBE
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
    now = _Now(profile, state, readings, now_ms)
    heat, chip, demands = now.processor()
    battery = _Battery.of(profile.battery, readings)
    cell, (battery_hot, battery_warm), hot_demands = now.cell(battery)
    battery_low, low_demands = _charge(profile.battery, state.battery_low, battery)
    charged, guard, charging_demands = now.charging(battery)
    power_demands = _power(profile.battery, battery, guard)
    wanted = _strictest([*demands, *hot_demands, *low_demands, *charging_demands, *power_demands])
    allowance, since_ms = _dwell(profile.thermal.dwell_s * 1000, state, wanted, now_ms)
    after = GovernorState(
        heat, chip, battery_hot, battery_warm, cell, charged, guard, battery_low, allowance, since_ms
    )
    return after, allowance


def _fresh(readings: Readings, quantity: Quantity) -> Reading:
    reading = readings.get(quantity)
    return reading.unless_older(MAX_TEMP_AGE_MS if quantity is Quantity.SOC_TEMP else MAX_BATTERY_AGE_MS)


@dataclass(frozen=True, slots=True)
class _Now:
    """One step's inputs, for the rules that remember something."""

    profile: Profile
    state: GovernorState
    readings: Readings
    now_ms: int

    def processor(self) -> tuple[Heat, Regulator, list[_Demand]]:
        policy, heat = self.profile.thermal, self.state.heat
        reading = _fresh(self.readings, Quantity.SOC_TEMP)
        temp_mc = reading.value
        if temp_mc is None:
            return heat, self.state.chip, [_unknown_heat(policy, heat, reading, self.state.chip)]
        chip = self.state.chip.step(temp_mc, policy.soft_c * 1000 - SOFT_MARGIN_MC, self.now_ms, CHIP)
        heat = _next_heat(policy, heat, temp_mc, chip)
        shown = f"processor at {_degrees(temp_mc)}"
        if heat is Heat.HOT:
            reason = f"{shown}: limit {policy.hard_c} °C, resumes at {policy.hard_resume_c} °C"
            return heat, _NO_HISTORY, [_Demand(Level.SUSPEND, 0, reason)]
        if heat is Heat.WARM:
            duty_pm = 0 if chip.temp_mc >= policy.soft_c * 1000 + OVER_SOFT_MC else _slow_duty_pm(chip)
            reason = f"{shown}: held under {policy.soft_c} °C, full speed again at {policy.soft_resume_c} °C"
            return heat, chip, [_Demand(Level.SLOW, duty_pm, reason)]
        return heat, chip, []

    def cell(self, battery: _Battery) -> tuple[Regulator, tuple[bool, bool], list[_Demand]]:
        policy, hot, warm = self.profile.battery, self.state.battery_hot, self.state.battery_warm
        if not battery.counts:
            return _NO_HISTORY, (False, False), []
        temp_mc = battery.temp.value
        if temp_mc is None:
            # Many batteries have no thermometer; one that was too hot keeps the device waiting all the same.
            reason = f"battery temperature unknown ({battery.temp.why_unknown}), and it was too hot when last seen"
            return _NO_HISTORY, (hot, False), [_Demand(Level.SUSPEND, 0, reason)] if hot else []
        limit_mc, resume_mc = policy.hot_c * 1000, policy.hot_resume_c * 1000
        cell = self.state.cell.step(temp_mc, limit_mc - HOT_MARGIN_MC, self.now_ms, BATTERY)
        hot = temp_mc >= limit_mc or (hot and temp_mc > resume_mc)
        warm = temp_mc > resume_mc and (warm or cell.duty_pm < SLOW_BELOW_PM)
        shown = f"battery at {_degrees(temp_mc)}"
        if hot:
            reason = f"{shown}: limit {policy.hot_c} °C, resumes at {policy.hot_resume_c} °C"
            return _NO_HISTORY, (hot, warm), [_Demand(Level.SUSPEND, 0, reason)]
        if warm:
            reason = f"{shown}: held under {policy.hot_c} °C"
            return cell, (hot, warm), [_Demand(Level.SLOW, _slow_duty_pm(cell), reason)]
        return cell, (hot, warm), []

    def charging(self, battery: _Battery) -> tuple[bool, ChargeGuard, list[_Demand]]:
        policy, pct = self.profile.battery, battery.pct.value
        if not battery.counts or pct is None or not battery.plugged:
            return False, _NO_PROBE, []
        least_pct = policy.charged_pct - (CHARGED_HYSTERESIS_PCT if self.state.charged else 0)
        if pct >= least_pct:
            return True, _NO_PROBE, []
        current_ua = battery.current_ua
        if current_ua is None:
            reason = f"charges first: at {pct} % of {policy.charged_pct} %, and nobody can read its current at once"
            return False, _NO_PROBE, [_Demand(Level.DRAIN, FULL_DUTY_PM, reason)]
        guests_pm = self.readings.get(Quantity.GUESTS).value or 0
        guard = self.state.guard.step(current_ua, guests_pm, self.now_ms)
        duty_pm = min(guard.duty_pm(policy.charge_loss_pm), FULL_DUTY_PM - DUTY_STEP_PM)
        reason = f"charging, at {pct} % of {policy.charged_pct} %: guests take at most {policy.charge_loss_pm} ‰ of it"
        return False, guard, [_Demand(Level.SLOW, duty_pm, reason)]


def _slow_duty_pm(regulator: Regulator) -> int:
    return min(regulator.duty_pm // DUTY_STEP_PM * DUTY_STEP_PM, FULL_DUTY_PM - DUTY_STEP_PM)


def _next_heat(policy: ThermalPolicy, heat: Heat, temp_mc: int, chip: Regulator) -> Heat:
    if temp_mc >= policy.hard_c * 1000 or (heat is Heat.HOT and temp_mc > policy.hard_resume_c * 1000):
        return Heat.HOT
    if heat is not Heat.COOL:
        return Heat.WARM if chip.temp_mc > policy.soft_resume_c * 1000 else Heat.COOL
    enters_mc = (policy.soft_c + policy.soft_resume_c) * 500
    return Heat.WARM if chip.duty_pm < SLOW_BELOW_PM and chip.temp_mc >= enters_mc else Heat.COOL


def _unknown_heat(policy: ThermalPolicy, heat: Heat, reading: Reading, chip: Regulator) -> _Demand:
    why = f"processor temperature unknown ({reading.why_unknown})"
    if heat is Heat.HOT:
        return _Demand(Level.SUSPEND, 0, f"{why}, and it was too hot when last seen")
    if policy.unknown_duty_pm == 0:
        return _Demand(Level.SUSPEND, 0, why)
    if policy.unknown_duty_pm == FULL_DUTY_PM and heat is Heat.COOL:
        return _Demand(Level.RUN, FULL_DUTY_PM, "")
    # What held the limit while it could be seen goes on holding it, at most.
    return _Demand(Level.SLOW, min(policy.unknown_duty_pm, SLOW_BELOW_PM, _slow_duty_pm(chip)), why)


@dataclass(frozen=True, slots=True)
class _Battery:
    """The battery's readings; `counts` says whether the device is to be treated as one that has a battery."""

    counts: bool
    why_unsure: str
    pct: Reading
    on_mains: Reading
    temp: Reading
    plugged: bool
    current_ua: int | None  # into the battery

    @classmethod
    def of(cls, policy: BatteryPolicy, readings: Readings) -> _Battery:
        """One of three things: a battery is there, there is none, or nobody can say."""
        present = _fresh(readings, Quantity.BATTERY_PRESENT)
        on_mains, plugged = _fresh(readings, Quantity.ON_MAINS), _fresh(readings, Quantity.PLUGGED)
        magnitude_ua = readings.get(Quantity.BATTERY_CURRENT).unless_older(MAX_CURRENT_AGE_MS).value
        # The sign of a gauge is the device's own; the direction is what the charger's state says.
        current_ua = None if magnitude_ua is None else abs(magnitude_ua) * (1 if on_mains.value == 1 else -1)
        unsure = present.why_unknown
        if present.value is not None and policy.expected != "yes":
            counts = present.value == 1
        else:  # a phone whose battery nobody sees still has one
            counts = policy.expected != "no"
        return cls(
            counts,
            unsure,
            _fresh(readings, Quantity.BATTERY_PCT),
            on_mains,
            _fresh(readings, Quantity.BATTERY_TEMP),
            plugged.value == 1 or on_mains.value == 1,
            current_ua,
        )


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


def _power(policy: BatteryPolicy, battery: _Battery, guard: ChargeGuard) -> list[_Demand]:
    if not battery.counts or not policy.only_when_charging or battery.on_mains.value == 1:
        return []
    if battery.on_mains.value is None:
        reason = f"nobody knows whether it is charging ({battery.on_mains.why_unknown})"
        return [_Demand(Level.DRAIN, FULL_DUTY_PM, reason)]
    if not battery.plugged:
        return [_Demand(Level.DRAIN, FULL_DUTY_PM, "on battery; it works only while charging")]
    if battery.current_ua is not None and (guard.phase is not Phase.NONE or (guard.rest_ua or 0) >= 0):
        return []  # plugged in, and what flows out now flows for guests: the guard and the floor see to it
    return [_Demand(Level.DRAIN, FULL_DUTY_PM, "the charger cannot keep up; it works only while charging")]


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
