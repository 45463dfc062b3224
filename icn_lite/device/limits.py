"""Every limit as a row: its reading, its threshold, what is left, what is expected, what it waits for. Pure.

What `icn-lite why` and `status` show. A row says `ok`; `holds` while guests run less because of it; `stops` while no
new work is taken because of it; `unknown` where nobody can read it (what that means is the governor's to say, in its
reasons). `wants` is what would have to change for work to begin, in words; empty where nothing has to.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from icn_lite.device.battery import CHARGED_HYSTERESIS_PCT, MAX_BATTERY_AGE_MS, Battery
from icn_lite.device.forecast import thermal_now
from icn_lite.device.governor import MAX_TEMP_AGE_MS, GovernorState, Heat, work_pm
from icn_lite.device.manners import MAX_AGE_MS, clock
from icn_lite.device.profile import Profile
from icn_lite.device.reading import Quantity, Reading, Readings

AHEAD_MS: Final = 600_000  # how far the forecasts of these rows look


class Standing(Enum):
    """How a limit stands."""

    OK = "ok"
    HOLDS = "holds"
    STOPS = "stops"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit; numbers in `unit`."""

    name: str
    unit: str
    reading: int | None
    why_unknown: str
    threshold: int
    resume: int  # the same as the threshold where there is no second one
    headroom: int | None  # to the threshold; negative beyond it
    forecast: int | None  # the reading in ten minutes, if all goes on as it does
    standing: Standing
    wants: str = ""


def limits(profile: Profile, state: GovernorState, readings: Readings) -> tuple[Limit, ...]:
    """The limits that this profile has."""
    rows = _Rows(profile, state, readings)
    battery = Battery.of(profile.battery, readings)
    found = rows.heat()
    if battery.counts:
        found += rows.charge(battery)
    return (*found, *rows.manners())


@dataclass(frozen=True, slots=True)
class _Rows:
    profile: Profile
    state: GovernorState
    readings: Readings

    def heat(self) -> list[Limit]:
        policy, heat = self.profile.thermal, self.state.heat
        reading = self.readings.get(Quantity.SOC_TEMP).unless_older(MAX_TEMP_AGE_MS)
        now = thermal_now(self.readings)
        ahead = None if now is None else self.state.learned.thermal.forecast(now, work_pm(self.readings), AHEAD_MS)
        soft = Standing.HOLDS if heat is Heat.WARM else Standing.OK
        hard = Standing.STOPS if heat is Heat.HOT else Standing.OK
        cool = f"the processor at {policy.hard_resume_c} °C or less"
        return [
            _above("processor, soft", reading, (policy.soft_c * 1000, policy.soft_resume_c * 1000), ahead, soft),
            _above("processor, hard", reading, (policy.hard_c * 1000, policy.hard_resume_c * 1000), ahead, hard, cool),
        ]

    def charge(self, battery: Battery) -> list[Limit]:
        policy, state = self.profile.battery, self.state.battery
        hot = Standing.STOPS if state.hot else Standing.HOLDS if state.warm else Standing.OK
        cool = f"the battery at {policy.hot_resume_c} °C or less"
        low = Standing.STOPS if state.low else Standing.OK
        ahead = _charge_ahead(battery, self.readings)
        rows = [
            _below("charge, floor", battery.pct, (policy.floor_pct, policy.resume_pct), ahead, low),
            _above("battery", battery.temp, (policy.hot_c * 1000, policy.hot_resume_c * 1000), None, hot, cool),
        ]
        if battery.pct.value is None:
            rows[0] = _unknown(rows[0], "a charge that can be read")
        if battery.plugged and not state.low:
            goal = (policy.charged_pct - (CHARGED_HYSTERESIS_PCT if state.charged else 0), policy.charged_pct)
            waits = battery.current_ua is None
            charging = Standing.OK if state.charged else Standing.STOPS if waits else Standing.HOLDS
            rows.append(_below("charge, first", battery.pct, goal, ahead, charging))
        if policy.only_when_charging:
            rows.append(self._mains(battery))
        return rows

    def _mains(self, battery: Battery) -> Limit:
        if battery.on_mains.value == 0 and battery.plugged:
            carries = self.state.battery.spare.duty_pm > 0 and self.state.battery.charged
            standing = Standing.HOLDS if carries or self.state.held.may_bid else Standing.STOPS
            return _below("charger", battery.on_mains, (1, 1), None, standing, "a charger that keeps up")
        row = _below("charger", battery.on_mains, (1, 1), None, _if(battery.discharges), "to be plugged in")
        return _unknown(row, "to know whether it charges")

    def manners(self) -> list[Limit]:
        profile, rows = self.profile, []
        if profile.hours.quiet:
            rows.append(self._hours())
        if profile.network.metered != "allow":
            metered = self._read(Quantity.METERED)
            row = _above("metered network", metered, (1, 0), None, _if(metered.value == 1), "an unmetered network")
            rows.append(_unknown(row, "an unmetered network") if profile.network.metered == "never" else row)
        if profile.network.wifi_only:
            wifi = self._read(Quantity.WIFI)
            row = _below("Wi-Fi or cable", wifi, (1, 1), None, _if(wifi.value == 0), "Wi-Fi or a cable")
            rows.append(_unknown(row, "Wi-Fi or a cable"))
        active = Standing.HOLDS if profile.activity.duty_pm else Standing.STOPS
        if profile.activity.idle_s:
            idle = self._read(Quantity.USER_IDLE_S)
            used = active if idle.value is not None and idle.value < profile.activity.idle_s else Standing.OK
            wants = f"nobody to touch it for {profile.activity.idle_s} s"
            rows.append(_below("user away", idle, (profile.activity.idle_s,) * 2, None, used, wants))
        if profile.activity.busy_pm < 1000:
            load, levels = (
                self._read(Quantity.FOREIGN_LOAD_PM),
                (profile.activity.busy_pm, profile.activity.busy_resume_pm),
            )
            wants = f"other programs' load at {levels[1]} ‰ or less"
            rows.append(_above("other programs", load, levels, None, active if self.state.busy else Standing.OK, wants))
        return rows

    def _hours(self) -> Limit:
        minute = self._read(Quantity.LOCAL_MINUTE)
        quiet = minute.value is None or self.profile.hours.is_quiet(minute.value)
        starts = min(self.profile.hours.quiet, key=lambda span: (span[0] - (minute.value or 0)) % 1440)
        wants = "to know the time" if minute.value is None else f"the time to be {clock(starts[1])}"
        if minute.value is not None and quiet:
            ends = [end for start, end in self.profile.hours.quiet if _within(minute.value, start, end)]
            wants = f"the time to be {clock(ends[0])}" if ends else wants
        left = None if minute.value is None else 0 if quiet else (starts[0] - minute.value) % 1440
        standing = Standing.STOPS if quiet else Standing.OK
        return Limit(
            "quiet hours",
            minute.unit,
            minute.value,
            minute.why_unknown,
            starts[0],
            starts[1],
            left,
            None,
            standing,
            wants if quiet else "",
        )

    def _read(self, quantity: Quantity) -> Reading:
        return self.readings.get(quantity).unless_older(MAX_AGE_MS)


def _within(minute: int, start: int, end: int) -> bool:
    return start <= minute < end if start < end else minute >= start or minute < end


def _if(stops: bool) -> Standing:
    return Standing.STOPS if stops else Standing.OK


def _above(
    name: str, reading: Reading, levels: tuple[int, int], ahead: int | None, standing: Standing, wants: str = ""
) -> Limit:
    """A limit that a reading must not reach from below; `levels` are threshold and resume value."""
    headroom = None if reading.value is None else levels[0] - reading.value
    return _limit(name, reading, levels, (headroom, ahead), (standing, wants))


def _below(
    name: str, reading: Reading, levels: tuple[int, int], ahead: int | None, standing: Standing, wants: str = ""
) -> Limit:
    """A limit that a reading must not fall to."""
    headroom = None if reading.value is None else reading.value - levels[0]
    return _limit(name, reading, levels, (headroom, ahead), (standing, wants or f"a charge of {levels[1]} % or more"))


def _limit(
    name: str,
    reading: Reading,
    levels: tuple[int, int],
    left: tuple[int | None, int | None],
    stands: tuple[Standing, str],
) -> Limit:
    standing, wants = stands
    if reading.value is None and standing is Standing.OK:
        standing = Standing.UNKNOWN
    wanted = wants if standing is Standing.STOPS else ""
    return Limit(name, reading.unit, reading.value, reading.why_unknown, *levels, *left, standing, wanted)


def _unknown(row: Limit, wants: str) -> Limit:
    """The same row, where not knowing stops work too."""
    if row.reading is not None:
        return row
    return Limit(
        row.name, row.unit, None, row.why_unknown, row.threshold, row.resume, None, None, Standing.STOPS, wants
    )


def _charge_ahead(battery: Battery, readings: Readings) -> int | None:
    """The charge in ten minutes, from the battery's own power and energy."""
    pct, mains = battery.pct.value, battery.on_mains.value
    power = readings.get(Quantity.BATTERY_POWER).unless_older(MAX_BATTERY_AGE_MS).value
    energy = readings.get(Quantity.BATTERY_ENERGY).unless_older(MAX_BATTERY_AGE_MS).value
    if not pct or mains is None or power is None or not energy:
        return None
    change = power * AHEAD_MS // 1000 * pct // energy
    return max(0, min(100, pct + (change if mains else -change)))
