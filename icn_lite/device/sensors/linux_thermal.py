"""The hottest processor temperature, from Linux' thermal zones, else from `hwmon`.

Kernel documentation: `Documentation/driver-api/thermal/sysfs-api.rst` and `Documentation/hwmon/sysfs-interface.rst`;
both give m°C. Some phones give whole degrees: a number that would be under 0.2 °C is one of those. What would be under
1.5 °C may be tenths of a degree, and nobody knows. Zones that measure something else (a battery, a modem, a limit in
mA, Qualcomm's `soc`, which is a state of charge) are told by their type.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Zone:
    label: str
    temp_mc: int


class LinuxThermal:
    """`/sys/class/thermal` and `/sys/class/hwmon` under `root`."""

    name = _SOURCE

    def __init__(self, root: Path = Path("/")) -> None:
        self._thermal = root / "sys/class/thermal"
        self._hwmon = root / "sys/class/hwmon"

    def read(self, now_ms: int) -> Sequence[Reading]:
        """One reading of the processor's temperature."""
        problems: list[str] = []
        for kind, zones in (("thermal_zone", self._zones(problems)), ("hwmon", self._chips(problems))):
            hottest = _hottest_processor(zones, problems)
            if hottest is not None:
                return [known(Quantity.SOC_TEMP, hottest.temp_mc, f"{kind} {hottest.label}")]
        why = problems[0] if problems else "no thermal zone and no hwmon gives one"
        return [unknown(Quantity.SOC_TEMP, _SOURCE, why)]

    def _zones(self, problems: list[str]) -> Iterator[_Zone]:
        folders, why, missing = list_folder(self._thermal)
        if why and not missing:
            problems.append(why)
        for folder in folders:
            if folder.name.startswith("thermal_zone"):
                yield from _zone(folder / "temp", read_text(folder / "type").text or folder.name, problems)

    def _chips(self, problems: list[str]) -> Iterator[_Zone]:
        folders, why, missing = list_folder(self._hwmon)
        if why and not missing:
            problems.append(why)
        for folder in folders:
            chip = read_text(folder / "name").text or folder.name
            for entry in list_folder(folder)[0]:
                if re.fullmatch(r"temp\d+_input", entry.name):
                    yield from _zone(entry, chip, problems)


def _zone(path: Path, label: str, problems: list[str]) -> Iterator[_Zone]:
    number = read_int(path)
    if number.value is None:
        problems.append(f"{label}: {number.why}")
        return
    if _DEGREES_BELOW <= number.value < _TENTHS_BELOW:
        problems.append(f"{label}: {number.value} may be thousandths or tenths of a degree")
        return
    temp_mc = number.value * 1000 if 0 < abs(number.value) < _DEGREES_BELOW else number.value
    # exactly 0 is what idle or disabled zones of phones say
    if temp_mc == 0 or not COLDEST_MC <= temp_mc <= HOTTEST_MC:
        problems.append(f"{label}: {number.value} is absurd as a temperature")
        return
    yield _Zone(label, temp_mc)


def _hottest_processor(zones: Iterable[_Zone], problems: list[str]) -> _Zone | None:
    """The hottest zone that names a processor; else the hottest that does not name something else."""
    processors: list[_Zone] = []
    unnamed: list[_Zone] = []
    for zone in zones:
        if _OTHER.search(zone.label):
            continue
        (processors if _PROCESSOR.search(zone.label) else unnamed).append(zone)
    best = processors or unnamed
    return max(best, key=lambda zone: zone.temp_mc) if best else None
