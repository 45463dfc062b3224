"""The governor's rules for a battery: its heat, its charge, its charger. Pure.

- Heat: a regulator holds it under `hot_c` by the duty of guests; suspended from there until `hot_resume_c`.
- Charge: suspended at `floor_pct` until `resume_pct`, plugged in or not, so that a weak charger charges first.
- Charging: until `charged_pct`, guests take at most `charge_loss_pm` of the current (`charging.py`); where nobody can
  read the current, they wait. Then they have what the charger has to spare: where it can't carry them the battery
  would, so their duty falls until it can.
- Power: without mains, or when nobody knows, a device that works `only_when_charging` drains. A charger that cannot
  keep up without any guest counts as none.
- A battery that is expected and can't be read drains: unknown is never safe.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from icn_lite.device.charging import ChargeGuard, Phase, Spare
from icn_lite.device.demand import Demand, drain, slow, suspend
from icn_lite.device.profile import BatteryPolicy
from icn_lite.device.reading import Quantity, Reading, Readings
from icn_lite.device.regulator import BATTERY, SLOW_BELOW_PM, Regulator, degrees, slow_duty_pm

HOT_MARGIN_MC: Final = 150  # how far under its limit the regulator aims
CHARGED_HYSTERESIS_PCT: Final = 5
# A current is compared with one ten seconds before, so an answer from a cache says nothing.
MAX_CURRENT_AGE_MS: Final = 3_000
# Charge moves slowly, and Termux is asked twice a minute at most; three missed answers are too many.
MAX_BATTERY_AGE_MS: Final = 120_000
_NO_HISTORY: Final = Regulator()
_NO_PROBE: Final = ChargeGuard()
_ALL: Final = Spare()


@dataclass(frozen=True, slots=True)
class BatteryState:
    """What the rules remember from one step to the next."""

    hot: bool = False
    warm: bool = False
    cell: Regulator = _NO_HISTORY
    charged: bool = False
    guard: ChargeGuard = _NO_PROBE
    spare: Spare = _ALL
    low: bool = False


@dataclass(frozen=True, slots=True)
class Battery:
    """The battery's readings; `counts` says whether the device is to be treated as one that has a battery."""

    counts: bool
    why_unsure: str
    pct: Reading
    on_mains: Reading
    temp: Reading
    plugged: bool
    current_ua: int | None  # into the battery

    @classmethod
    def of(cls, policy: BatteryPolicy, readings: Readings) -> Battery:
        """One of three things: a battery is there, there is none, or nobody can say."""
        present = _fresh(readings, Quantity.BATTERY_PRESENT)
        on_mains, plugged = _fresh(readings, Quantity.ON_MAINS), _fresh(readings, Quantity.PLUGGED)
        magnitude_ua = readings.get(Quantity.BATTERY_CURRENT).unless_older(MAX_CURRENT_AGE_MS).value
        # The sign of a gauge is the device's own; the direction is what the charger's state says.
        current_ua = None if magnitude_ua is None else abs(magnitude_ua) * (1 if on_mains.value == 1 else -1)
        if present.value is not None and policy.expected != "yes":
            counts = present.value == 1
        else:  # a phone whose battery nobody sees still has one
            counts = policy.expected != "no"
        return cls(
            counts,
            present.why_unknown,
            _fresh(readings, Quantity.BATTERY_PCT),
            on_mains,
            _fresh(readings, Quantity.BATTERY_TEMP),
            plugged.value == 1 or on_mains.value == 1,
            current_ua,
        )

    @property
    def discharges(self) -> bool:
        """Whether the battery gives, as far as anybody knows."""
        return self.on_mains.value == 0

    def alone_mw(self, readings: Readings) -> int | None:
        """Power out of a battery that carries the device alone; None otherwise, or when nobody knows."""
        if not self.counts or not self.discharges or readings.get(Quantity.PLUGGED).value != 0:
            return None
        return readings.get(Quantity.BATTERY_POWER).unless_older(MAX_CURRENT_AGE_MS).value


def rules(
    policy: BatteryPolicy, state: BatteryState, readings: Readings, now_ms: int
) -> tuple[BatteryState, list[Demand]]:
    """What all the rules demand, and what they remember."""
    battery = Battery.of(policy, readings)
    if not battery.counts:
        return BatteryState(), []
    state, hot = _heat(policy, state, battery, now_ms)
    state, low = _charge(policy, state, battery)
    state, charging = _charging(policy, state, battery, _Guests(readings.get(Quantity.GUESTS).value or 0, now_ms))
    return state, [*hot, *low, *charging, *_power(policy, state, battery)]


def _fresh(readings: Readings, quantity: Quantity) -> Reading:
    return readings.get(quantity).unless_older(MAX_BATTERY_AGE_MS)


def _heat(
    policy: BatteryPolicy, state: BatteryState, battery: Battery, now_ms: int
) -> tuple[BatteryState, list[Demand]]:
    temp_mc = battery.temp.value
    if temp_mc is None:
        # Many batteries have no thermometer; one that was too hot keeps the device waiting all the same.
        reason = f"battery temperature unknown ({battery.temp.why_unknown}), and it was too hot when last seen"
        return replace(state, cell=_NO_HISTORY, warm=False), [suspend(reason)] if state.hot else []
    limit_mc, resume_mc = policy.hot_c * 1000, policy.hot_resume_c * 1000
    cell = state.cell.step(temp_mc, limit_mc - HOT_MARGIN_MC, now_ms, BATTERY)
    hot = temp_mc >= limit_mc or (state.hot and temp_mc > resume_mc)
    warm = temp_mc > resume_mc and (state.warm or cell.duty_pm < SLOW_BELOW_PM)
    shown = f"battery at {degrees(temp_mc)}"
    if hot:
        reason = f"{shown}: limit {policy.hot_c} °C, resumes at {policy.hot_resume_c} °C"
        return replace(state, cell=_NO_HISTORY, hot=True, warm=warm), [suspend(reason)]
    held = [slow(slow_duty_pm(cell), f"{shown}: held under {policy.hot_c} °C")] if warm else []
    return replace(state, cell=cell, hot=False, warm=warm), held


def _charge(policy: BatteryPolicy, state: BatteryState, battery: Battery) -> tuple[BatteryState, list[Demand]]:
    pct = battery.pct.value
    if pct is None:
        why = battery.why_unsure or battery.pct.why_unknown
        if state.low:
            return state, [suspend(f"battery charge unknown ({why}), and it was low when last seen")]
        return state, [drain(f"battery charge unknown ({why})", soon=True)]
    low = pct <= policy.floor_pct or (state.low and pct < policy.resume_pct)
    reason = f"battery at {pct} %: floor {policy.floor_pct} %, resumes at {policy.resume_pct} %"
    return replace(state, low=low), [suspend(reason)] if low else []


@dataclass(frozen=True, slots=True)
class _Guests:
    """How much guests ran since the last step, and the time of this one."""

    pm: int
    now_ms: int


def _charging(
    policy: BatteryPolicy, state: BatteryState, battery: Battery, guests: _Guests
) -> tuple[BatteryState, list[Demand]]:
    pct = battery.pct.value
    if pct is None or not battery.plugged:
        return replace(state, charged=False, guard=_NO_PROBE, spare=_ALL), []
    if pct >= policy.charged_pct - (CHARGED_HYSTERESIS_PCT if state.charged else 0):
        spare = state.spare.step(gives=battery.discharges, guests_pm=guests.pm)
        state = replace(state, charged=True, guard=_NO_PROBE, spare=spare)
        if spare.duty_pm >= SLOW_BELOW_PM:
            return state, []
        return state, [slow(spare.duty_pm, f"the charger carries guests for {spare.duty_pm} ‰ of the time only")]
    if battery.current_ua is None:
        reason = f"charges first: at {pct} % of {policy.charged_pct} %, and nobody can read its current at once"
        return replace(state, charged=False, guard=_NO_PROBE, spare=_ALL), [drain(reason, soon=True)]
    guard = state.guard.step(battery.current_ua, guests.pm, guests.now_ms)
    reason = f"charging, at {pct} % of {policy.charged_pct} %: guests take at most {policy.charge_loss_pm} ‰ of it"
    duty_pm = guard.duty_pm(policy.charge_loss_pm)
    return replace(state, charged=False, guard=guard, spare=_ALL), [slow(duty_pm, reason)]


def _power(policy: BatteryPolicy, state: BatteryState, battery: Battery) -> list[Demand]:
    if not policy.only_when_charging or battery.on_mains.value == 1:
        return []
    if battery.on_mains.value is None:
        return [drain(f"nobody knows whether it is charging ({battery.on_mains.why_unknown})", soon=True)]
    if not battery.plugged:
        return [drain("on battery; it works only while charging", soon=True)]
    if state.charged:
        carried = state.spare.duty_pm > 0
    else:  # what flows out now may flow for guests: the guard and the floor see to that
        guard = state.guard
        carried = battery.current_ua is not None and (guard.phase is not Phase.NONE or (guard.rest_ua or 0) >= 0)
    return [] if carried else [drain("the charger cannot keep up; it works only while charging", soon=True)]
