"""What a sensor says: one quantity with its unit, source and age, or why it is unknown.

Unknown is a value of its own: it is never zero and never safe. A reading that is absurd (a battery at -213 °C, 0 %
while charging) is made unknown before anybody sees it, with the reason in words, so that nobody downstream has to
guess: where it is read if only its source can tell, else by `BOUNDS`, which hold for every source.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Self


class Quantity(Enum):
    """What can be read. The value is the quantity's name in `--json`."""

    BATTERY_PRESENT = "battery_present"
    BATTERY_PCT = "battery_pct"
    ON_MAINS = "on_mains"
    PLUGGED = "plugged"
    BATTERY_TEMP = "battery_temp"
    BATTERY_CURRENT = "battery_current"
    BATTERY_VOLTAGE = "battery_voltage"
    BATTERY_POWER = "battery_power"
    BATTERY_ENERGY = "battery_energy"
    BATTERY_TO_EMPTY = "battery_to_empty"
    BATTERY_TO_FULL = "battery_to_full"
    SOC_TEMP = "soc_temp"
    THROTTLED = "throttled"
    UNDERVOLTAGE = "undervoltage"
    CPU_FREQ_PM = "cpu_freq"
    CPU_CAP_PM = "cpu_cap"
    LOAD = "load"
    FOREIGN_LOAD_PM = "foreign_load"
    USER_IDLE_S = "user_idle"
    LOCAL_MINUTE = "local_minute"
    METERED = "metered"
    WIFI = "wifi"
    MEMORY_AVAILABLE = "memory_available"
    MEMORY_TOTAL = "memory_total"
    GUESTS = "guests"
    WORK_PM = "work"
    WORK_LEFT = "work_left"


UNITS = {
    Quantity.BATTERY_PRESENT: "bool",
    Quantity.BATTERY_PCT: "%",
    # 1 only while a charger carries the load: a charger that cannot keep up counts as battery
    Quantity.ON_MAINS: "bool",
    # 1 while a charger is connected, whether it keeps up or not
    Quantity.PLUGGED: "bool",
    Quantity.BATTERY_TEMP: "m°C",
    # positive into the battery; the sign that devices give is theirs and is used for nothing but display
    Quantity.BATTERY_CURRENT: "µA",
    Quantity.BATTERY_VOLTAGE: "µV",
    # what flows through the battery, in or out: never negative, of all batteries together
    Quantity.BATTERY_POWER: "mW",
    # what is left in all batteries together
    Quantity.BATTERY_ENERGY: "mJ",
    # as the device itself forecasts it; only while it discharges, or charges
    Quantity.BATTERY_TO_EMPTY: "s",
    Quantity.BATTERY_TO_FULL: "s",
    Quantity.SOC_TEMP: "m°C",
    # 1 while the firmware holds the processor back because of heat or supply: now, not "since boot"
    Quantity.THROTTLED: "bool",
    # 1 while the supply's voltage is too low
    Quantity.UNDERVOLTAGE: "bool",
    # the frequency that was asked for (not what runs), and the highest one that may be, of the highest there is
    Quantity.CPU_FREQ_PM: "‰",
    Quantity.CPU_CAP_PM: "‰",
    # one-minute load average divided by the number of processors
    Quantity.LOAD: "‰",
    # of all processors together, what processes other than this node's used since the last look
    Quantity.FOREIGN_LOAD_PM: "‰",
    # since somebody last touched the device; 0 while it is in use
    Quantity.USER_IDLE_S: "s",
    # of the local day, since midnight; unknown while the clock was never set
    Quantity.LOCAL_MINUTE: "min",
    # 1 while traffic that leaves the local network costs its owner
    Quantity.METERED: "bool",
    # 1 while the device is on Wi-Fi or on a cable, 0 while there is only mobile data or nothing
    Quantity.WIFI: "bool",
    Quantity.MEMORY_AVAILABLE: "MiB",
    Quantity.MEMORY_TOTAL: "MiB",
    # share of time that our own guests ran since the last reading; the node's own figure
    Quantity.GUESTS: "‰",
    # share of all workers' time that our own guests used since the last reading; the node's own figure
    Quantity.WORK_PM: "‰",
    # time at full duty until the longest of our running shards ends, 0 while none runs; the node's own estimate
    Quantity.WORK_LEFT: "ms",
}

# Colder or hotter than this no part of a running device is: the sensor is broken or absent.
COLDEST_MC = -40_000
HOTTEST_MC = 150_000

# Devices that can't read their gauge say 0 %; one that is really empty and charges is at 1 % within minutes.
EMPTY_ON_MAINS = "0 % while charging is absurd"

_BOOL = (0, 1)
_SHARE_PM = (0, 1000)
_MONTH_S = 30 * 86_400
# What a sensor can sensibly say, generously: a value outside is a fault of the sensor and no quantity at all.
BOUNDS = {
    Quantity.BATTERY_PRESENT: _BOOL,
    Quantity.BATTERY_PCT: (0, 100),
    Quantity.ON_MAINS: _BOOL,
    Quantity.PLUGGED: _BOOL,
    Quantity.BATTERY_TEMP: (COLDEST_MC, HOTTEST_MC),
    Quantity.BATTERY_CURRENT: (-100_000_000, 100_000_000),
    Quantity.BATTERY_VOLTAGE: (500_000, 1_000_000_000),
    Quantity.BATTERY_POWER: (0, 10_000_000),
    Quantity.BATTERY_ENERGY: (0, 360_000_000_000),  # 100 kWh
    Quantity.BATTERY_TO_EMPTY: (0, _MONTH_S),
    Quantity.BATTERY_TO_FULL: (0, _MONTH_S),
    Quantity.SOC_TEMP: (COLDEST_MC, HOTTEST_MC),
    Quantity.THROTTLED: _BOOL,
    Quantity.UNDERVOLTAGE: _BOOL,
    Quantity.CPU_FREQ_PM: (0, 2000),  # a boost may lie above the highest nominal frequency
    Quantity.CPU_CAP_PM: (0, 2000),
    Quantity.LOAD: (0, 10_000_000),
    Quantity.FOREIGN_LOAD_PM: _SHARE_PM,
    Quantity.USER_IDLE_S: (0, 3650 * 86_400),
    Quantity.LOCAL_MINUTE: (0, 1439),
    Quantity.METERED: _BOOL,
    Quantity.WIFI: _BOOL,
    Quantity.MEMORY_AVAILABLE: (0, 1 << 30),
    Quantity.MEMORY_TOTAL: (1, 1 << 30),
    Quantity.GUESTS: _SHARE_PM,
    Quantity.WORK_PM: _SHARE_PM,
    Quantity.WORK_LEFT: (0, _MONTH_S * 1000),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One quantity. Either `value` is an integer in the quantity's unit, or `why_unknown` says why not."""

    quantity: Quantity
    value: int | None
    source: str
    age_ms: int = 0
    why_unknown: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.why_unknown):
            raise ValueError(f"{self.quantity.value}: expected a value or a reason, not both and not neither")

    @property
    def unit(self) -> str:
        """Unit of `value`."""
        return UNITS[self.quantity]

    def unless_older(self, max_age_ms: int) -> Reading:
        """The same reading, or an unknown one when its age is beyond `max_age_ms` or makes no sense."""
        if self.value is None or 0 <= self.age_ms <= max_age_ms:
            return self
        if self.age_ms < 0:
            why = "the reading lies in the future: a clock has jumped"
        else:
            why = f"the last reading is {self.age_ms // 1000} s old, accepted are {max_age_ms // 1000} s"
        return replace(self, value=None, why_unknown=why)

    def aged(self, by_ms: int) -> Self:
        """The same reading, `by_ms` later."""
        return replace(self, age_ms=self.age_ms + by_ms)

    def remembered(self, by_ms: int) -> Reading:
        """The same reading, `by_ms` later, of a source that has not spoken since.

        That there is a battery does not grow old: one whose source fell silent is there and unknown, not gone.
        """
        if self.quantity is Quantity.BATTERY_PRESENT and self.value == 1:
            return self
        return self.aged(by_ms)

    def unless_absurd(self) -> Reading:
        """The same reading, or an unknown one when no device can have such a value."""
        low, high = BOUNDS[self.quantity]
        if self.value is None or low <= self.value <= high:
            return self
        return replace(self, value=None, why_unknown=f"{self.value} {self.unit} is absurd")


def known(quantity: Quantity, value: int, source: str) -> Reading:
    """A reading taken just now."""
    return Reading(quantity, value, source)


def unknown(quantity: Quantity, source: str, why: str) -> Reading:
    """A reading that could not be had."""
    return Reading(quantity, None, source, why_unknown=why)


def temperature(quantity: Quantity, temp_mc: int, source: str) -> Reading:
    """A temperature, unknown when no running device can have it."""
    if COLDEST_MC <= temp_mc <= HOTTEST_MC:
        return known(quantity, temp_mc, source)
    return unknown(quantity, source, f"{temp_mc // 1000} °C is absurd")


# Where sources may know different parts of the matter, not the first one that speaks is right, but this one: a battery
# that anybody sees is there, and a device that is used anywhere is in use.
_RIGHT = {Quantity.BATTERY_PRESENT: max, Quantity.USER_IDLE_S: min}


def _better(held: Reading, other: Reading) -> Reading:
    """Of two readings of one quantity the one to believe; `held` comes from the preferred source."""
    if held.value is None or other.value is None:
        return other if held.value is None and other.value is not None else held
    right = _RIGHT.get(held.quantity)
    return other if right is not None and right(held.value, other.value) != held.value else held


@dataclass(frozen=True, slots=True)
class Readings:
    """At most one reading a quantity: the first known one of those given, else the first unknown one."""

    items: tuple[Reading, ...] = ()

    @classmethod
    def of(cls, readings: Iterable[Reading]) -> Readings:
        """From sources in the order of preference; absurd values become unknown here."""
        best: dict[Quantity, Reading] = {}
        for reading in readings:
            sane, held = reading.unless_absurd(), best.get(reading.quantity)
            best[reading.quantity] = sane if held is None else _better(held, sane)
        charge, mains = best.get(Quantity.BATTERY_PCT), best.get(Quantity.ON_MAINS)
        if charge is not None and charge.value == 0 and mains is not None and mains.value == 1:
            best[Quantity.BATTERY_PCT] = replace(charge, value=None, why_unknown=EMPTY_ON_MAINS)
        return cls(tuple(best[q] for q in Quantity if q in best))

    def get(self, quantity: Quantity) -> Reading:
        """The reading of a quantity; unknown when no sensor gives one."""
        for reading in self.items:
            if reading.quantity is quantity:
                return reading
        return unknown(quantity, "none", "no sensor on this device gives it")

    def aged(self, by_ms: int) -> Readings:
        """All of them, `by_ms` later."""
        return Readings(tuple(reading.aged(by_ms) for reading in self.items))
