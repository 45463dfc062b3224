"""The sensors of `icn-lite doctor`: which answer, which are unknown and why, and what the profile does about it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from icn_lite.device.profile import Profile
    from icn_lite.device.reading import Quantity, Reading, Readings
    from icn_lite.device.sensors.hub import SensorHub
    from icn_lite.node.config import Config

# Other programs' load is what happens between two looks.
BETWEEN_LOOKS_S: Final = 0.4
_TERMUX: Final = "`pkg install termux-api`, and the application Termux:API with the permissions that it asks for"
# Programs that somebody counts on, and what to do when they don't answer.
_HINTS: Final = {
    "sensor_command": "run it by hand: it has to print one JSON object within two seconds",
    "termux-battery-status": _TERMUX,
    "termux-wifi-connectioninfo": _TERMUX,
    "vcgencmd": "it needs the group `video`",
    "upsc": "see whether `upsc -l` names a UPS",
}


def look(profile: Profile, config: Config) -> Iterator[tuple[bool, str, str]]:
    """Whether all is well, a sentence, and a hint: one for what is known, one for each thing that is not."""
    from icn_lite.device.reading import Quantity
    from icn_lite.node.sensing import sensors_of

    hub = sensors_of(profile, config)
    readings = asyncio.run(_read(hub))
    known = [reading for reading in readings.items if reading.value is not None]
    told = ", ".join(f"{reading.quantity.value} {_shown(reading)}" for reading in known)
    yield True, f"{len(known)} known: {told}" if known else "none answers", ""
    for quantity in Quantity:
        reading = readings.get(quantity)
        if reading.value is not None or not (reading in readings.items or quantity in _needed(profile, readings)):
            continue
        needs = _needed(profile, readings).get(quantity, "")
        yield not needs, f"{quantity.value} is unknown: {reading.why_unknown} ({reading.source})", needs
    for name, why in hub.problems():
        yield name not in _HINTS, f"{name} doesn't answer: {why}", _HINTS.get(name, "")


async def _read(hub: SensorHub) -> Readings:
    await hub.read()
    await asyncio.sleep(BETWEEN_LOOKS_S)
    return await hub.read()


def _shown(reading: Reading) -> str:
    """A reading for people: degrees and yes or no in place of m°C and 1 or 0."""
    value, unit = reading.value or 0, reading.unit
    if unit == "bool":
        return "yes" if value else "no"
    if unit == "m°C":
        return f"{value // 1000} °C"
    return f"{value} {unit}"


def _needed(profile: Profile, readings: Readings) -> dict[Quantity, str]:
    """What this profile acts on, with what it does without it."""
    from icn_lite.device.reading import Quantity

    found: dict[Quantity, str] = {}
    duty_pm = profile.thermal.unknown_duty_pm
    if duty_pm < 1000:
        found[Quantity.SOC_TEMP] = f"guests run {duty_pm / 10:g} % of the time at most (thermal.unknown_duty_pm)"
    if profile.battery.expected == "yes" or readings.get(Quantity.BATTERY_PRESENT).value == 1:
        found |= dict.fromkeys((Quantity.BATTERY_PCT, Quantity.ON_MAINS), "no new work is taken without it")
    if profile.network.wifi_only:
        found[Quantity.WIFI] = "no new work is taken without it (network.wifi_only)"
    if profile.network.metered == "never":
        found[Quantity.METERED] = "no new work is taken without it (network.metered)"
    if profile.hours.quiet:
        found[Quantity.LOCAL_MINUTE] = "set the clock (NTP): without it all hours are quiet"
    return found
