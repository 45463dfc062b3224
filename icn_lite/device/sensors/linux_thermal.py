"""The hottest processor temperature, from Linux' thermal zones, else from `hwmon`.

Kernel documentation: `Documentation/driver-api/thermal/sysfs-api.rst` and `Documentation/hwmon/sysfs-interface.rst`;
both give m°C. Some phones give whole degrees: a number that would be under 0.2 °C is one of those. What would be under
1.5 °C may be tenths of a degree, and nobody knows. Zones that measure something else (a battery, a modem, a limit in
mA, Qualcomm's `soc`, which is a state of charge) are told by their type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from icn_lite.device.files import list_folder, read_int, read_text
from icn_lite.device.reading import COLDEST_MC, HOTTEST_MC, Quantity, Reading, known, unknown

_SOURCE: Final = "thermal"
# Below this a number cannot be thousandths of a degree of anything that runs, and is taken for degrees.
_DEGREES_BELOW: Final = 200
# 200 to 1499 are 20 to 149.9 °C in tenths, or barely above freezing: taken for the latter, a hot phone would seem cold.
_TENTHS_BELOW: Final = 1_500

_PROCESSOR: Final = re.compile(
    r"cpu|soc|pkg|package|core|bcm2\d{3}|tsens|mtktscpu|big|little|cluster|k10temp|zenpower", re.IGNORECASE
)
_OTHER: Final = re.compile(
    r"batt|bms|charger|chg|usb|wifi|iwl|modem|mdm|xo|pa-|pa_|pm\d+|pmic|bcl|vbat|ibat|step|lmh|lvl|trip|limit|nvme"
    r"|camera|skin|quiet|case|ambient|drivetemp|dimm|jc42|ath\d|mt79|vph|^soc$",
    re.IGNORECASE,
)


# What a board has does not change; a module that is loaded later is found at the next look around.
LOOK_AROUND_MS: Final = 600_000


@dataclass(frozen=True, slots=True)
class _Sensor:
    kind: str
    label: str
    path: Path


class LinuxThermal:
    """`/sys/class/thermal` and `/sys/class/hwmon` under `root`.

    A profile may name the zones or chips that it trusts, by patterns: of the first pattern that fits any which can be
    read, the hottest. Else the hottest zone that names a processor, else the hottest that names nothing else; then the
    same of the chips.
    """

    name = _SOURCE

    def __init__(self, root: Path = Path("/"), preferred: Sequence[str] = ()) -> None:
        self._thermal = root / "sys/class/thermal"
        self._hwmon = root / "sys/class/hwmon"
        self._preferred = tuple(preferred)
        self._groups: tuple[tuple[_Sensor, ...], ...] = ()  # sensors of one rank together, the best rank first
        self._why = ""
        self._looked_ms: int | None = None

    def read(self, now_ms: int) -> Sequence[Reading]:
        """One reading of the processor's temperature."""
        if self._looked_ms is None or not 0 <= now_ms - self._looked_ms < LOOK_AROUND_MS:
            self._look_around(now_ms)
        problems = [self._why] if self._why else []
        for group in self._groups:
            read = [(temp_mc, sensor) for sensor in group if (temp_mc := _temp_mc(sensor, problems)) is not None]
            if read:
                hottest_mc, sensor = max(read, key=lambda found: found[0])
                return [known(Quantity.SOC_TEMP, hottest_mc, f"{sensor.kind} {sensor.label}")]
        self._looked_ms = None
        why = problems[0] if problems else "no thermal zone and no hwmon gives one"
        return [unknown(Quantity.SOC_TEMP, _SOURCE, why)]

    def _ranked(self, sensors: Sequence[_Sensor]) -> Iterator[tuple[_Sensor, ...]]:
        for pattern in self._preferred:
            yield tuple(sensor for sensor in sensors if fnmatchcase(sensor.label, pattern))
        for kind in ("thermal_zone", "hwmon"):
            others = [s for s in sensors if s.kind == kind and not _OTHER.search(s.label)]
            yield tuple(sensor for sensor in others if _PROCESSOR.search(sensor.label))
            yield tuple(sensor for sensor in others if not _PROCESSOR.search(sensor.label))

    def _look_around(self, now_ms: int) -> None:
        zones, zones_why, zones_missing = list_folder(self._thermal)
        chips, chips_why, chips_missing = list_folder(self._hwmon)
        refused = [zones_why] if zones_why and not zones_missing else []
        refused += [chips_why] if chips_why and not chips_missing else []
        sensors = [
            _Sensor("thermal_zone", read_text(zone / "type").text or zone.name, zone / "temp")
            for zone in zones
            if zone.name.startswith("thermal_zone")
        ]
        self._groups = tuple(self._ranked([*sensors, *(sensor for chip in chips for sensor in _of_chip(chip))]))
        self._why = refused[0] if refused else ""
        self._looked_ms = now_ms


def _of_chip(folder: Path) -> list[_Sensor]:
    label = read_text(folder / "name").text or folder.name
    inputs = [entry for entry in list_folder(folder)[0] if re.fullmatch(r"temp\d+_input", entry.name)]
    return [_Sensor("hwmon", label, entry) for entry in inputs]


def _temp_mc(sensor: _Sensor, problems: list[str]) -> int | None:
    """What it shows; None with a problem where no running processor can have it."""
    number = read_int(sensor.path)
    if number.value is None:
        problems.append(f"{sensor.label}: {number.why}")
        return None
    if _DEGREES_BELOW <= number.value < _TENTHS_BELOW:
        problems.append(f"{sensor.label}: {number.value} may be thousandths or tenths of a degree")
        return None
    temp_mc = number.value * 1000 if 0 < abs(number.value) < _DEGREES_BELOW else number.value
    # exactly 0 is what idle or disabled zones of phones say
    if temp_mc == 0 or not COLDEST_MC <= temp_mc <= HOTTEST_MC:
        problems.append(f"{sensor.label}: {number.value} is absurd as a temperature")
        return None
    return temp_mc
