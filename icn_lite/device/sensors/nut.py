"""A UPS behind Network UPS Tools on this machine, through `upsc`.

`upsc -l` names the UPSes, `upsc NAME` prints `variable: value` lines. Variables: `ups.status` (flags OL on line, OB on
battery, LB low, CHRG, DISCHRG, …), `battery.charge` (%), `battery.runtime` (s), `battery.temperature` (°C),
`battery.voltage` (V); NUT's "Variable names" appendix. Drivers make mistakes: a PiJuice was reported with -213 °C.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from icn_lite.device.files import parse_decimal
from icn_lite.device.reading import Quantity, Reading, known, unknown
from icn_lite.device.sensors.asked import Asked, Run
from icn_lite.device.sensors.command import CommandFailed, run_command
from icn_lite.device.sensors.source import Pace

COMMAND: Final = "upsc"
PACE: Final = Pace(busy_ms=10_000, idle_ms=60_000)
_NAME: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,63}")  # no option, no other host
_QUANTITIES: Final = (Quantity.BATTERY_PRESENT, Quantity.BATTERY_PCT, Quantity.ON_MAINS, Quantity.PLUGGED)
# variable -> its quantity and how many decimal places its unit is away from ours
_NUMBERS: Final = {
    "battery.charge": (Quantity.BATTERY_PCT, 0),
    "battery.runtime": (Quantity.BATTERY_TO_EMPTY, 0),
    "battery.temperature": (Quantity.BATTERY_TEMP, 3),
    "battery.voltage": (Quantity.BATTERY_VOLTAGE, 6),
}


class Nut(Asked):
    """The first UPS that `upsc -l` names."""

    def __init__(self, run: Run = run_command) -> None:
        super().__init__(COMMAND, _QUANTITIES, PACE, run)
        self._ups = ""

    def _ask(self, now_ms: int) -> Sequence[Reading]:
        if not self._ups:
            names = self._output(COMMAND, "-l").decode("utf-8", "replace").split()
            self._ups = next((name for name in names if _NAME.fullmatch(name)), "")
        if not self._ups:
            raise CommandFailed("upsc names no UPS on this machine")
        try:
            return parse_ups(self._output(COMMAND, self._ups))
        except CommandFailed:
            self._ups = ""  # it may have another name by now
            raise


def parse_ups(output: bytes) -> tuple[Reading, ...]:
    """What the variables say. Raises `CommandFailed` where there is no `ups.status`."""
    lines = (line.partition(":") for line in output.decode("utf-8", "replace").splitlines())
    variables = {name.strip(): value.strip() for name, _, value in lines}
    flags = set(variables.get("ups.status", "").split())
    if not flags:
        raise CommandFailed("upsc gives no ups.status")
    readings = [
        known(Quantity.BATTERY_PRESENT, 1, COMMAND),
        _line(Quantity.ON_MAINS, flags),
        _line(Quantity.PLUGGED, flags),
    ]
    for variable, (quantity, places) in _NUMBERS.items():
        if variable in variables:
            readings.append(_number(variable, variables[variable], quantity, places))
    return tuple(readings)


def _line(quantity: Quantity, flags: set[str]) -> Reading:
    """On line, and for `ON_MAINS` not discharging all the same: a line that cannot carry the load counts as battery."""
    if "OB" in flags or (quantity is Quantity.ON_MAINS and "DISCHRG" in flags):
        return known(quantity, 0, COMMAND)
    if "OL" in flags:
        return known(quantity, 1, COMMAND)
    return unknown(quantity, COMMAND, f"ups.status is {' '.join(sorted(flags))}"[:100])


def _number(variable: str, text: str, quantity: Quantity, places: int) -> Reading:
    value = parse_decimal(text, places)
    if value is None:
        return unknown(quantity, COMMAND, f"{variable}: expected a number, found {text[:40]!r}")
    return known(quantity, value, COMMAND)
