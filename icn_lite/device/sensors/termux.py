"""The battery of an Android phone, through Termux:API's `termux-battery-status`.

The command can hang after some calls, so it runs under a deadline, at most once in `MIN_INTERVAL_MS`, and after a
failure not again before a back-off that doubles up to `MAX_BACKOFF_MS`. Between calls the last answer is given with
its age; the governor decides when it is too old. Keys: present, temperature (°C), percentage, plugged, status,
voltage (mV), current (µA, sign and unit vary by device).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Final

from icn_lite.device.reading import Quantity, Reading, known, temperature, unknown
from icn_lite.device.sensors.command import CommandFailed, run_command

COMMAND: Final = ("termux-battery-status",)
_SOURCE: Final = "termux-battery-status"
# Phones were seen to answer in 0.2 to 2 s, and to hang for ever after that.
DEADLINE_MS: Final = 5_000
MIN_INTERVAL_MS: Final = 30_000
MAX_BACKOFF_MS: Final = 600_000
_MISSING_KEY: Final = "the command does not say"
_QUANTITIES: Final = (
    Quantity.BATTERY_PRESENT,
    Quantity.BATTERY_PCT,
    Quantity.ON_MAINS,
    Quantity.PLUGGED,
    Quantity.BATTERY_TEMP,
)

Run = Callable[[Sequence[str], int], bytes]


class TermuxBattery:
    """`termux-battery-status`, cached."""

    name = _SOURCE

    def __init__(self, command: Sequence[str] = COMMAND, run: Run = run_command) -> None:
        self._command = tuple(command)
        self._run = run
        self._answer: tuple[Reading, ...] = ()
        self._answered_ms = 0
        self._next_ms: int | None = None
        self._backoff_ms = MIN_INTERVAL_MS
        self._failure = ""

    def read(self, now_ms: int) -> Sequence[Reading]:
        """The last answer, asked for anew when it is time."""
        # a clock that went back must not silence the sensor until it catches up
        if self._next_ms is None or now_ms >= self._next_ms or now_ms < self._next_ms - MAX_BACKOFF_MS:
            self._ask(now_ms)
        if not self._answer:
            return [unknown(q, _SOURCE, self._failure) for q in _QUANTITIES]
        return [reading.aged(now_ms - self._answered_ms) for reading in self._answer]

    def _ask(self, now_ms: int) -> None:
        try:
            answer = parse_status(self._run(self._command, DEADLINE_MS))
        except CommandFailed as error:
            self._failure = str(error)
            self._next_ms = now_ms + self._backoff_ms
            self._backoff_ms = min(2 * self._backoff_ms, MAX_BACKOFF_MS)
            return
        self._answer, self._answered_ms = answer, now_ms
        self._next_ms, self._backoff_ms = now_ms + MIN_INTERVAL_MS, MIN_INTERVAL_MS


def parse_status(output: bytes) -> tuple[Reading, ...]:
    """Readings from the command's JSON. Raises `CommandFailed` when it is none."""
    try:
        status: object = json.loads(output)
    except (ValueError, RecursionError) as error:
        raise CommandFailed(f"expected JSON, found {output[:40]!r}") from error
    if not isinstance(status, dict):
        raise CommandFailed(f"expected a JSON object, found {output[:40]!r}")
    present = 0 if status.get("present") is False else 1
    mains = _mains(status)
    readings = [
        known(Quantity.BATTERY_PRESENT, present, _SOURCE),
        _charge(_integer(status.get("percentage")), charging=mains.value == 1),
        mains,
        _plugged(status.get("plugged")),
        _temperature(status.get("temperature")),
    ]
    voltage_mv, current_ua = _integer(status.get("voltage")), _integer(status.get("current"))
    if voltage_mv is not None:
        readings.append(known(Quantity.BATTERY_VOLTAGE, voltage_mv * 1000, _SOURCE))
    if current_ua is not None:
        readings.append(known(Quantity.BATTERY_CURRENT, current_ua, _SOURCE))
    return tuple(readings)


def _integer(value: object) -> int | None:
    """A JSON number rounded towards zero; anything else, and what no int can be, is None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return int(value)
    except (OverflowError, ValueError):  # JSON as Python reads it knows Infinity and NaN
        return None


def _charge(pct: int | None, *, charging: bool) -> Reading:
    if pct is None:
        return unknown(Quantity.BATTERY_PCT, _SOURCE, f"{_MISSING_KEY} percentage")
    if not 0 <= pct <= 100:
        return unknown(Quantity.BATTERY_PCT, _SOURCE, f"{pct} % is absurd")
    if pct == 0 and charging:
        return unknown(Quantity.BATTERY_PCT, _SOURCE, "0 % while charging is absurd")
    return known(Quantity.BATTERY_PCT, pct, _SOURCE)


def _mains(status: dict[str, object]) -> Reading:
    """`status` says which way the current flows, `plugged` whether a charger is there: both must agree for mains."""
    flow, plugged = status.get("status"), status.get("plugged")
    if flow == "DISCHARGING" or plugged == "UNPLUGGED":
        return known(Quantity.ON_MAINS, 0, _SOURCE)
    if flow in ("CHARGING", "FULL") or (flow == "NOT_CHARGING" and isinstance(plugged, str)):
        return known(Quantity.ON_MAINS, 1, _SOURCE)
    return unknown(Quantity.ON_MAINS, _SOURCE, f"status {flow!r}, plugged {plugged!r}"[:100])


def _plugged(plugged: object) -> Reading:
    """`UNPLUGGED`, or `PLUGGED_` and by what."""
    if isinstance(plugged, str) and plugged:
        return known(Quantity.PLUGGED, int(plugged != "UNPLUGGED"), _SOURCE)
    return unknown(Quantity.PLUGGED, _SOURCE, f"plugged {plugged!r}"[:100])


def _temperature(value: object) -> Reading:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return unknown(Quantity.BATTERY_TEMP, _SOURCE, f"{_MISSING_KEY} temperature")
    temp_mc = _integer(value * 1000)
    if temp_mc is None:
        return unknown(Quantity.BATTERY_TEMP, _SOURCE, f"{value} °C is absurd")
    return temperature(Quantity.BATTERY_TEMP, temp_mc, _SOURCE)
