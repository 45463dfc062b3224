"""The physical side of a simulated device: heat, battery, charger, weather, people, and sensors that lie a little.

Heat flows from the chip to the case to the room, two capacities with two resistances, so that the first-order model
that a governor may learn is never exactly right. The firmware throttles as the real one does. A battery takes a
constant current until 80 %, then less and less; its charger feeds the load first. Everything random comes from one
seed. Numbers of the hardware are of the size that public measurements of such devices show; they are nobody's data
sheet.
"""

from __future__ import annotations

import bisect
import math
import random
from dataclasses import dataclass, field
from typing import Final

from icn_lite.device.reading import Quantity, Reading, Readings, known, temperature, unknown

HOUR_S: Final = 3600
TAPER_FROM: Final = 0.80  # charge from which a lithium cell takes less and less current
TAPER_TO: Final = 0.06  # of the full current, at 100 %


@dataclass(frozen=True, slots=True)
class Hardware:
    """Watts, kelvins a watt, joules a kelvin; `work_w` with all workers at full duty."""

    idle_w: float
    work_w: float
    chip_k_w: float
    case_k_w: float
    chip_j_k: float
    case_j_k: float
    throttle_c: float
    battery_wh: float = 0.0
    charge_w: float = 0.0  # what the battery takes at most
    volts: float = 3.85
    user_w: float = 0.0  # more, while its owner uses it
    tells_use: bool = False  # a desktop says when it was last touched, Termux doesn't and hides others' load


HARDWARE: Final[dict[str, Hardware]] = {
    "pi-zero-2w": Hardware(0.7, 1.3, 7, 15, 0.9, 25, 80),
    "pi-3": Hardware(1.9, 2.4, 4, 8.5, 1.2, 45, 80),
    "pi-4": Hardware(2.7, 3.0, 3, 7, 1.5, 60, 80),
    "pi-5": Hardware(3.0, 5.5, 2, 4, 2.0, 80, 85),
    "orange-pi": Hardware(2.0, 3.5, 3, 6.5, 1.5, 55, 85),
    "generic-arm64": Hardware(2.0, 2.5, 4, 8, 1.3, 50, 85),
    "generic-armv7": Hardware(1.5, 2.0, 4, 9, 1.3, 45, 85),
    "termux-phone": Hardware(0.35, 3.0, 4, 5, 3.0, 130, 85, 15.0, 7.5, 3.85, 1.6),
    "termux-old-phone": Hardware(0.4, 2.2, 5, 6, 2.5, 110, 80, 9.0, 4.5, 3.8, 1.4),
    "x86-laptop": Hardware(7.0, 14.0, 0.9, 1.5, 20, 400, 97, 50.0, 30.0, 11.4, 6.0, tells_use=True),
    "server": Hardware(30.0, 45.0, 0.25, 0.35, 60, 900, 100),
}


@dataclass(frozen=True, slots=True)
class Weather:
    """A day's room temperature, sun, sensors and charger."""

    name: str
    mean_c: float
    swing_c: float
    sun_w_share: float  # of the device's own full power, on the case, at noon
    noise_c: float
    outages_a_day: float  # of the thermometer, a few minutes each
    charger_share: float  # of what the device needs to charge and work at once


WEATHERS: Final = (
    Weather("cellar", 17, 1, 0, 0.2, 0, 1.4),
    Weather("summer", 27, 4, 0.15, 0.5, 2, 1.1),
    Weather("weak-charger", 23, 2, 0.05, 0.8, 4, 0.62),
)


@dataclass(frozen=True, slots=True)
class Habits:
    """What people do in a day: plugged in and in use, as spans of seconds."""

    plugged: tuple[tuple[int, int], ...]
    used: tuple[tuple[int, int], ...]
    plugged_edges: tuple[int, ...]  # when it begins and ends in turn, for a quick answer
    used_edges: tuple[int, ...]

    @classmethod
    def of(cls, rng: random.Random, hours: int) -> Habits:
        """Nights at the charger, some afternoons too; a few dozen minutes of use a day, mostly unplugged."""
        plugged, used = [(0, int(rng.uniform(6.0, 8.0) * HOUR_S))], []
        for day in range(math.ceil(hours / 24)):
            base = day * 24
            evening, morning = base + rng.uniform(20.5, 23), base + 24 + rng.uniform(6, 8)
            plugged.append((int(evening * HOUR_S), int(morning * HOUR_S)))
            noon = base + rng.uniform(11, 16)
            plugged.append((int(noon * HOUR_S), int((noon + rng.uniform(1, 3)) * HOUR_S)))
            for _ in range(14):
                start = base + rng.uniform(7, 23)
                used.append((int(start * HOUR_S), int(start * HOUR_S + rng.uniform(60, 900))))
        return cls(tuple(plugged), tuple(used), _edges(plugged), _edges(used))

    def is_plugged(self, now_s: float) -> bool:
        """Whether the charger is connected."""
        return bisect.bisect_right(self.plugged_edges, now_s) % 2 == 1

    def is_used(self, now_s: float) -> bool:
        """Whether somebody looks at the screen."""
        return bisect.bisect_right(self.used_edges, now_s) % 2 == 1

    def unused_s(self, now_s: float) -> float:
        """How long nobody has; a night, where nobody did yet."""
        if self.is_used(now_s):
            return 0.0
        return min((now_s - end for _, end in self.used if end <= now_s), default=8 * HOUR_S)


def _edges(spans: list[tuple[int, int]]) -> tuple[int, ...]:
    """Beginnings and ends of the union of spans, ascending."""
    edges: list[int] = []
    for start, end in sorted(spans):
        if edges and start <= edges[-1]:
            edges[-1] = max(edges[-1], end)
        else:
            edges += [start, end]
    return tuple(edges)


@dataclass(slots=True)
class Body:
    """A device's physical state; `step` lets time pass."""

    hardware: Hardware
    weather: Weather
    habits: Habits
    chip_c: float = 0.0
    case_c: float = 0.0
    charge_wh: float = 0.0
    battery_w: float = 0.0  # into the battery, in the last step
    speed: float = 1.0  # what the firmware leaves of the clock

    @classmethod
    def at_rest(cls, hardware: Hardware, weather: Weather, habits: Habits, charge_share: float) -> Body:
        """At the temperatures that it has at midnight without work."""
        body = cls(hardware, weather, habits, charge_wh=hardware.battery_wh * charge_share)
        body.case_c = body.room_c(0) + hardware.idle_w * hardware.case_k_w
        body.chip_c = body.case_c + hardware.idle_w * hardware.chip_k_w
        return body

    def room_c(self, now_s: float) -> float:
        """The room: warmest in the afternoon."""
        return self.weather.mean_c + self.weather.swing_c * math.sin((now_s / HOUR_S - 9) * math.pi / 12)

    def sun_w(self, now_s: float) -> float:
        """Sun on the case between nine and five."""
        hour = now_s / HOUR_S % 24
        share = max(0.0, math.sin((hour - 9) * math.pi / 8)) if 9 < hour < 17 else 0.0
        return share * self.weather.sun_w_share * (self.hardware.idle_w + self.hardware.work_w)

    @property
    def charge_pct(self) -> float:
        """Charge in percent."""
        return 100 * self.charge_wh / self.hardware.battery_wh

    def load_w(self, now_s: float, duty: float) -> float:
        """What everything but charging draws."""
        hardware = self.hardware
        user_w = hardware.user_w if hardware.user_w and self.habits.is_used(now_s) else 0.0
        return hardware.idle_w + user_w + hardware.work_w * duty * self.speed

    def into_battery_w(self, now_s: float, load_w: float) -> float:
        """Watts into the battery under a load; negative out of it."""
        if not self.habits.is_plugged(now_s):
            return -load_w
        hardware, share = self.hardware, self.charge_wh / self.hardware.battery_wh
        taper = 1.0 if share < TAPER_FROM else 1 - (share - TAPER_FROM) / (1 - TAPER_FROM) * (1 - TAPER_TO)
        takes_w = hardware.charge_w * taper if share < 1 else 0.0
        charger_w = self.weather.charger_share * (hardware.charge_w + hardware.idle_w + hardware.work_w)
        return min(takes_w, charger_w - load_w)

    def step(self, now_s: float, seconds: float, duty: float) -> None:
        """Let `seconds` pass with guests at `duty` (0 to 1)."""
        hardware = self.hardware
        self.speed = 0.5 if self.chip_c >= hardware.throttle_c else 1.0
        load_w = self.load_w(now_s, duty)
        losses_w = self.sun_w(now_s)
        if hardware.battery_wh:
            self.battery_w = self.into_battery_w(now_s, load_w)
            self.charge_wh += self.battery_w * seconds / 3600
            self.charge_wh = max(0.0, min(hardware.battery_wh, self.charge_wh))
            losses_w += 0.06 * abs(self.battery_w)  # internal resistance
        flow_w = (self.chip_c - self.case_c) / hardware.chip_k_w
        # The chip is fast against a step of two seconds: solved exactly, the case by Euler.
        settled_c = self.case_c + load_w * hardware.chip_k_w
        decay = math.exp(-seconds / (hardware.chip_k_w * hardware.chip_j_k))
        self.chip_c = settled_c + (self.chip_c - settled_c) * decay
        out_w = (self.case_c - self.room_c(now_s)) / hardware.case_k_w
        self.case_c += (flow_w + losses_w - out_w) * seconds / hardware.case_j_k


@dataclass(slots=True)
class Sensors:
    """What the device's sensors say of its body: whole percents, noise, outages, absurd values now and then."""

    body: Body
    rng: random.Random
    silent: tuple[tuple[float, float], ...] = field(default_factory=tuple)

    @classmethod
    def of(cls, body: Body, rng: random.Random, hours: int) -> Sensors:
        """With the outages that the weather brings."""
        count = round(body.weather.outages_a_day * hours / 24)
        starts = [rng.uniform(0, hours * HOUR_S) for _ in range(count)]
        return cls(body, rng, tuple((start, start + rng.uniform(20, 400)) for start in starts))

    def read(self, now_s: float, guests_pm: int) -> Readings:
        """All readings at this moment; `guests_pm` is the share of time that guests ran since the last ones."""
        body, hardware = self.body, self.body.hardware
        readings = [
            self._chip(now_s),
            known(Quantity.GUESTS, guests_pm, "sim"),
            known(Quantity.WIFI, 1, "sim"),
            known(Quantity.METERED, 0, "sim"),
        ]
        if hardware.tells_use:
            load_pm = 1000 * hardware.user_w / hardware.work_w if body.habits.is_used(now_s) else 0
            readings += [
                known(Quantity.USER_IDLE_S, int(body.habits.unused_s(now_s)), "sim"),
                known(Quantity.FOREIGN_LOAD_PM, max(0, min(1000, int(self.rng.gauss(load_pm, 15)))), "sim"),
            ]
        if body.hardware.battery_wh:
            mains = body.habits.is_plugged(now_s) and body.battery_w >= 0
            current_ua = body.battery_w / body.hardware.volts * 1e6 * self.rng.gauss(1, 0.01)
            readings += [
                known(Quantity.BATTERY_PRESENT, 1, "sim"),
                known(Quantity.BATTERY_PCT, int(body.charge_pct), "sim"),
                known(Quantity.ON_MAINS, int(mains), "sim"),
                known(Quantity.PLUGGED, int(body.habits.is_plugged(now_s)), "sim"),
                temperature(Quantity.BATTERY_TEMP, int(body.case_c * 10) * 100, "sim"),
                known(Quantity.BATTERY_CURRENT, int(current_ua), "sim"),
                known(Quantity.BATTERY_VOLTAGE, int(body.hardware.volts * 1e6), "sim"),
                known(Quantity.BATTERY_POWER, int(abs(current_ua) * body.hardware.volts / 1000), "sim"),
                known(Quantity.BATTERY_ENERGY, int(body.charge_wh * 3.6e6), "sim"),
            ]
        else:
            readings.append(known(Quantity.BATTERY_PRESENT, 0, "sim"))
        return Readings.of(readings)

    def _chip(self, now_s: float) -> Reading:
        if any(start <= now_s < end for start, end in self.silent):
            return unknown(Quantity.SOC_TEMP, "sim", "the sensor is silent")
        if self.rng.random() < 0.0005:
            return temperature(Quantity.SOC_TEMP, -213_000, "sim")
        noisy_c = self.body.chip_c + self.rng.gauss(0, self.body.weather.noise_c)
        return temperature(Quantity.SOC_TEMP, int(noisy_c * 1000), "sim")
