"""The device's state as the mesh sees it: LwM2M's Device object in a SenML pack. Pure.

Names are those of object 3 (OMA LwM2M registry, `3.xml`): `/3/0/6` available power sources (0 DC, 1 internal
battery), `/7` and `/8` a source's mV and mA, `/9` battery level in %, `/17` device type (the profile), `/19` software
version, `/20` battery status. The form is SenML in CBOR (RFC 8428 §6): integer labels, one record a value, integers
only. `t` is minus the reading's age in seconds (§4.5.3: a negative time lies that far in the past), so that a reader
sees what is stale.

What is unknown is left out; it is never zero. Only `/20` has a word for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import cbor2

from icn_lite.device.reading import Quantity, Reading, Readings

BASE: Final = "/3/0/"
# Labels of RFC 8428, table 4.
BASE_NAME: Final = -2
NAME: Final = 0
VALUE: Final = 2
TEXT: Final = 3
TIME: Final = 6
DC_POWER: Final = 0
INTERNAL_BATTERY: Final = 1
FULL_PCT: Final = 100


class BatteryStatus(IntEnum):
    """Values of `/3/0/20` that are used here."""

    NORMAL = 0  # not on power
    CHARGING = 1
    COMPLETE = 2
    LOW = 4
    NOT_INSTALLED = 5
    UNKNOWN = 6


@dataclass(frozen=True, slots=True)
class Kind:
    """What the readings don't say: the profile's name, this program's version, the charge that counts as low."""

    profile: str
    version: str
    low_pct: int


def pack(readings: Readings, kind: Kind) -> bytes:
    """The pack: an array of records, the first with the base name."""
    records: list[dict[int, int | str]] = list(_numbers(readings, kind))
    records += [{NAME: "17", TEXT: kind.profile}, {NAME: "19", TEXT: kind.version}]
    records[0][BASE_NAME] = BASE
    return bytes(cbor2.dumps(records, canonical=True))


def _numbers(readings: Readings, kind: Kind) -> Iterator[dict[int, int | str]]:
    present, plugged = readings.get(Quantity.BATTERY_PRESENT), readings.get(Quantity.PLUGGED)
    if present.value == 0 or plugged.value == 1:
        yield _record("6/0", DC_POWER, present if present.value == 0 else plugged)
    if present.value == 1:
        yield _record("6/1", INTERNAL_BATTERY, present)
        yield from _scaled("7/1", readings.get(Quantity.BATTERY_VOLTAGE))
        yield from _scaled("8/1", readings.get(Quantity.BATTERY_CURRENT))
        level = readings.get(Quantity.BATTERY_PCT)
        if level.value is not None:
            yield _record("9", level.value, level)
    yield _record("20", battery_status(readings, kind.low_pct), present)


def _scaled(name: str, reading: Reading) -> Iterator[dict[int, int | str]]:
    """µV and µA as mV and mA; of a current the magnitude, for devices disagree about its sign."""
    if reading.value is not None:
        yield _record(name, abs(reading.value) // 1000, reading)


def _record(name: str, value: int, reading: Reading) -> dict[int, int | str]:
    age_s = max(0, reading.age_ms) // 1000
    return {NAME: name, VALUE: int(value), **({TIME: -age_s} if age_s else {})}


def battery_status(readings: Readings, low_pct: int) -> BatteryStatus:
    """One of six things, as `/3/0/20` tells them apart."""
    present = readings.get(Quantity.BATTERY_PRESENT).value
    pct, mains = readings.get(Quantity.BATTERY_PCT).value, readings.get(Quantity.ON_MAINS).value
    if present == 0:
        return BatteryStatus.NOT_INSTALLED
    if present is None or (pct is None and mains is None):
        return BatteryStatus.UNKNOWN
    if mains == 1:
        return BatteryStatus.COMPLETE if pct == FULL_PCT else BatteryStatus.CHARGING
    if pct is not None and pct <= low_pct:
        return BatteryStatus.LOW
    return BatteryStatus.UNKNOWN if mains is None else BatteryStatus.NORMAL
