"""What an Android phone tells through Termux:API: its battery, its Wi-Fi.

`termux-battery-status` can hang after some ten calls, `termux-wifi-connectioninfo` fails without any network; both
run under `asked.py`'s deadline, pace and back-off. Form of their JSON: `BatteryStatusAPI.java` and `WifiAPI.java` of
termux-api. Keys of the battery: present, percentage, plugged, status, temperature (°C), voltage (mV),
current (µA, sign and unit vary by device); of the Wi-Fi: supplicant_state, ip (of the active network), or API_ERROR.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from icn_lite.device.reading import Quantity, Reading, known, temperature, unknown
from icn_lite.device.sensors.asked import Asked, Run, parse_object, whole
from icn_lite.device.sensors.command import CommandFailed, run_command
from icn_lite.device.sensors.source import Pace

BATTERY_COMMAND: Final = "termux-battery-status"
WIFI_COMMAND: Final = "termux-wifi-connectioninfo"
# Phones were seen to answer in 0.2 to 2 s, and to hang for ever after that.
BATTERY_PACE: Final = Pace(busy_ms=30_000, idle_ms=60_000, deadline_ms=5_000)
WIFI_PACE: Final = Pace(busy_ms=60_000, idle_ms=100_000, deadline_ms=5_000)
_MISSING_KEY: Final = "the command does not say"
# What Android and iOS give to those who use their mobile data over Wi-Fi.
_HOTSPOTS: Final = tuple(ipaddress.ip_network(text) for text in ("192.168.43.0/24", "172.20.10.0/28"))


class TermuxBattery(Asked):
    """`termux-battery-status`."""

    def __init__(self, run: Run = run_command) -> None:
        quantities = (Quantity.BATTERY_PRESENT, Quantity.BATTERY_PCT, Quantity.ON_MAINS, Quantity.PLUGGED)
        super().__init__(BATTERY_COMMAND, (*quantities, Quantity.BATTERY_TEMP), BATTERY_PACE, run)

    def _ask(self, now_ms: int) -> Sequence[Reading]:
        return parse_status(self._output(BATTERY_COMMAND))


class TermuxWifi(Asked):
    """`termux-wifi-connectioninfo`."""

    def __init__(self, run: Run = run_command) -> None:
        super().__init__(WIFI_COMMAND, (Quantity.WIFI, Quantity.METERED), WIFI_PACE, run)

    def _ask(self, now_ms: int) -> Sequence[Reading]:
        return parse_wifi(self._output(WIFI_COMMAND))


def parse_status(output: bytes) -> tuple[Reading, ...]:
    """The battery, from the command's JSON. Raises `CommandFailed` when it is none."""
    status = parse_object(output)
    if isinstance(status.get("API_ERROR"), str):
        raise CommandFailed(f"Termux:API says: {status['API_ERROR']}"[:200])
    present = 0 if status.get("present") is False else 1
    mains = _mains(status)
    readings = [
        known(Quantity.BATTERY_PRESENT, present, BATTERY_COMMAND),
        _charge(whole(status.get("percentage")), charging=mains.value == 1),
        mains,
        _plugged(status.get("plugged")),
        _temperature(status.get("temperature")),
    ]
    voltage_uv, current_ua = whole(status.get("voltage"), 1000), whole(status.get("current"))
    if voltage_uv is not None:
        readings.append(known(Quantity.BATTERY_VOLTAGE, voltage_uv, BATTERY_COMMAND))
    if current_ua is not None:
        readings.append(known(Quantity.BATTERY_CURRENT, current_ua, BATTERY_COMMAND))
    return tuple(readings)


def _charge(pct: int | None, *, charging: bool) -> Reading:
    if pct is None:
        return unknown(Quantity.BATTERY_PCT, BATTERY_COMMAND, f"{_MISSING_KEY} percentage")
    if pct == 0 and charging:
        return unknown(Quantity.BATTERY_PCT, BATTERY_COMMAND, "0 % while charging is absurd")
    return known(Quantity.BATTERY_PCT, pct, BATTERY_COMMAND)


def _mains(status: dict[str, object]) -> Reading:
    """`status` says which way the current flows, `plugged` whether a charger is there: both must agree for mains."""
    flow, plugged = status.get("status"), status.get("plugged")
    if flow == "DISCHARGING" or plugged == "UNPLUGGED":
        return known(Quantity.ON_MAINS, 0, BATTERY_COMMAND)
    if flow in ("CHARGING", "FULL") or (flow == "NOT_CHARGING" and isinstance(plugged, str)):
        return known(Quantity.ON_MAINS, 1, BATTERY_COMMAND)
    return unknown(Quantity.ON_MAINS, BATTERY_COMMAND, f"status {flow!r}, plugged {plugged!r}"[:100])


def _plugged(plugged: object) -> Reading:
    """`UNPLUGGED`, or `PLUGGED_` and by what; a number that Android doesn't know (`PLUGGED_-1`) says nothing."""
    if isinstance(plugged, str) and plugged and not plugged.startswith("PLUGGED_-"):
        return known(Quantity.PLUGGED, int(plugged != "UNPLUGGED"), BATTERY_COMMAND)
    return unknown(Quantity.PLUGGED, BATTERY_COMMAND, f"plugged {plugged!r}"[:100])


def _temperature(value: object) -> Reading:
    temp_mc = whole(value, 1000)
    if temp_mc is None:
        return unknown(Quantity.BATTERY_TEMP, BATTERY_COMMAND, f"{_MISSING_KEY} a temperature")
    return temperature(Quantity.BATTERY_TEMP, temp_mc, BATTERY_COMMAND)


def parse_wifi(output: bytes) -> tuple[Reading, ...]:
    """Whether there is Wi-Fi and whether it is somebody's mobile data. Raises `CommandFailed` when nobody can tell."""
    info = parse_object(output)
    state = info.get("supplicant_state")
    if not isinstance(state, str):
        raise CommandFailed(f"{_MISSING_KEY} supplicant_state: {info.get('API_ERROR', 'nothing')!r}"[:200])
    if state != "COMPLETED":  # then what leaves the phone is mobile data
        return known(Quantity.WIFI, 0, WIFI_COMMAND), known(Quantity.METERED, 1, WIFI_COMMAND)
    why = "Termux doesn't tell whether this Wi-Fi is metered"
    metered = unknown(Quantity.METERED, WIFI_COMMAND, why)
    if _is_hotspot(info.get("ip")):
        metered = known(Quantity.METERED, 1, f"{WIFI_COMMAND}, a phone's hotspot")
    return known(Quantity.WIFI, 1, WIFI_COMMAND), metered


def _is_hotspot(address: object) -> bool:
    try:
        ip = ipaddress.ip_address(address if isinstance(address, str) else "")
    except ValueError:
        return False
    return any(ip in network for network in _HOTSPOTS)
