"""Batteries and chargers from Linux' `power_supply` class.

Kernel documentation: `Documentation/ABI/testing/sysfs-class-power`. Several batteries are added up by their energy;
supplies with `scope=Device` (a keyboard's) are not ours; a charger may have any name and any type but "Battery".
A class folder that is missing or empty means that the kernel knows of no battery, which is knowledge; a folder or a
file that is refused is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from icn_lite.device.files import MAX_ENTRIES, FileNumber, list_folder, read_int, read_text
from icn_lite.device.reading import Quantity, Reading, known, temperature, unknown

_SOURCE: Final = "power_supply"
_OF_A_DEVICE: Final = "scope=Device"
_REFUSED: Final = "refused: "
_BATTERY_QUANTITIES: Final = (
    Quantity.BATTERY_PCT,
    Quantity.ON_MAINS,
    Quantity.PLUGGED,
    Quantity.BATTERY_TEMP,
)


@dataclass(frozen=True, slots=True)
class _Battery:
    """One battery. `now` and `full` are in the same unit, µWh or µAh, or None where the files are missing."""

    name: str
    status: str
    pct: FileNumber
    now: int | None
    full: int | None
    unit: str
    temp_dc: int | None  # tenths of a degree
    current_ua: int | None
    voltage_uv: int | None
    power_uw: int | None
    left_s: int | None

    def energy_mj(self, amount: int | None) -> int | None:
        """What `now` or `full` is in millijoule; a charge needs a voltage, which is taken to stay."""
        if amount is None:
            return None
        if self.unit == "energy":
            return amount * 36 // 10
        return None if self.voltage_uv is None else amount * self.voltage_uv // 1_000_000 * 36 // 10

    @property
    def power_mw(self) -> int | None:
        """What flows, in or out: as the gauge says, or current times voltage."""
        if self.power_uw is not None:
            return abs(self.power_uw) // 1000
        if self.current_ua is None or self.voltage_uv is None:
            return None
        return abs(self.current_ua) * self.voltage_uv // 1_000_000_000


class LinuxPower:
    """`/sys/class/power_supply` under `root`."""

    name = _SOURCE

    def __init__(self, root: Path = Path("/")) -> None:
        self._folder = root / "sys/class/power_supply"
        self._kinds: dict[str, str] = {}  # what a supply of this name is, which never changes

    def read(self, now_ms: int) -> Sequence[Reading]:
        """Presence, charge, mains, temperature, current and voltage."""
        supplies, why, missing = list_folder(self._folder)
        if why and not missing:
            return [unknown(q, _SOURCE, why) for q in (Quantity.BATTERY_PRESENT, *_BATTERY_QUANTITIES)]
        batteries: list[_Battery] = []
        chargers: list[FileNumber] = []
        refused = ""
        for supply in supplies:
            kind = self._kinds.get(supply.name) or self._look_at(supply)
            if kind.startswith(_REFUSED):
                refused = kind.removeprefix(_REFUSED)
            elif kind == _OF_A_DEVICE:
                continue
            elif kind != "Battery":
                online = read_int(f"{supply}/online")
                if not online.missing:  # fuel gauges of phones are supplies of their own kind without it
                    chargers.append(online)
            elif read_int(f"{supply}/present").value != 0:  # 0: an empty bay; many phones have no such file
                batteries.append(_read_battery(supply.name, str(supply)))
        if not batteries:
            if refused:  # the supply that hides may be the battery
                return [unknown(q, _SOURCE, refused) for q in (Quantity.BATTERY_PRESENT, *_BATTERY_QUANTITIES)]
            return [known(Quantity.BATTERY_PRESENT, 0, _SOURCE)]
        return [known(Quantity.BATTERY_PRESENT, 1, _SOURCE), *_readings(batteries, chargers)]

    def _look_at(self, supply: Path) -> str:
        """Its type, or that it belongs to a device, remembered; or why nobody can tell, to be tried again."""
        kind = read_text(supply / "type")
        if kind.text is None:
            return f"{_REFUSED}{supply.name}/{kind.why}"
        found = _OF_A_DEVICE if read_text(supply / "scope").text == "Device" else kind.text
        self._kinds = {**self._kinds, supply.name: found} if len(self._kinds) < MAX_ENTRIES else {supply.name: found}
        return found


def _read_battery(name: str, folder: str) -> _Battery:
    def number(attribute: str) -> FileNumber:
        return read_int(f"{folder}/{attribute}")

    status = read_text(f"{folder}/status").text or "Unknown"
    now, full = number("energy_now").value, number("energy_full").value
    use_energy = now is not None and full is not None
    if not use_energy:
        now, full = number("charge_now").value, number("charge_full").value
    return _Battery(
        name=name,
        status=status,
        pct=number("capacity"),
        now=now,
        full=full,
        unit="energy" if use_energy else "charge",
        temp_dc=number("temp").value,
        current_ua=number("current_now").value,
        voltage_uv=number("voltage_now").value,
        power_uw=number("power_now").value,
        left_s=_left_s(status, number),
    )


def _left_s(status: str, number: Callable[[str], FileNumber]) -> int | None:
    """The gauge's own forecast, if it has one: to empty or to full, whichever way it goes."""
    goal = {"Discharging": "time_to_empty", "Charging": "time_to_full"}.get(status)
    if goal is None:
        return None
    now = number(f"{goal}_now").value
    return number(f"{goal}_avg").value if now is None else now


def _readings(batteries: Sequence[_Battery], chargers: Sequence[FileNumber]) -> list[Reading]:
    mains = _mains(batteries, chargers)
    charging = any(battery.status == "Charging" for battery in batteries) or mains.value == 1
    readings = [mains, _plugged(chargers), _charge(batteries, charging), _hottest(batteries), *_rates(batteries)]
    if len(batteries) == 1:  # of several, no single current or voltage would mean anything
        current, voltage = batteries[0].current_ua, batteries[0].voltage_uv
        if current is not None:
            readings.append(known(Quantity.BATTERY_CURRENT, current, _SOURCE))
        if voltage is not None:
            readings.append(known(Quantity.BATTERY_VOLTAGE, voltage, _SOURCE))
    return readings


def _rates(batteries: Sequence[_Battery]) -> Iterator[Reading]:
    """Energy, power and time of all batteries together, where each tells; time only in the direction of the flow."""
    energy_mj = _total(battery.energy_mj(battery.now) for battery in batteries)
    full_mj = _total(battery.energy_mj(battery.full) for battery in batteries)
    power_mw = _total(battery.power_mw for battery in batteries)
    if energy_mj is not None:
        yield known(Quantity.BATTERY_ENERGY, energy_mj, _SOURCE)
    if power_mw is not None:
        yield known(Quantity.BATTERY_POWER, power_mw, _SOURCE)
    statuses = {battery.status for battery in batteries}
    told = batteries[0] if len(batteries) == 1 else None
    if "Discharging" in statuses and "Charging" not in statuses:
        yield from _time(Quantity.BATTERY_TO_EMPTY, told.left_s if told else None, energy_mj, power_mw)
    elif "Charging" in statuses and "Discharging" not in statuses:
        missing_mj = None if full_mj is None or energy_mj is None else full_mj - energy_mj
        yield from _time(Quantity.BATTERY_TO_FULL, told.left_s if told else None, missing_mj, power_mw)


def _time(quantity: Quantity, told_s: int | None, energy_mj: int | None, power_mw: int | None) -> Iterator[Reading]:
    """As the gauge forecasts it, else at the power of this moment."""
    if told_s is not None and told_s > 0:
        yield known(quantity, told_s, _SOURCE)
    elif energy_mj is not None and power_mw:
        yield known(quantity, max(0, energy_mj // power_mw), _SOURCE)


def _mains(batteries: Sequence[_Battery], chargers: Sequence[FileNumber]) -> Reading:
    """One of five things: a battery gives, a charger is online, a battery takes, no charger is, nobody knows."""
    statuses = {battery.status for battery in batteries}
    if "Discharging" in statuses:  # with a charger online too: it cannot keep up
        return known(Quantity.ON_MAINS, 0, _SOURCE)
    if any((charger.value or 0) > 0 for charger in chargers):  # USB chargers give 2 for "programmable"
        return known(Quantity.ON_MAINS, 1, _SOURCE)
    if "Charging" in statuses:
        return known(Quantity.ON_MAINS, 1, _SOURCE)
    if chargers and all(charger.value == 0 for charger in chargers):
        return known(Quantity.ON_MAINS, 0, _SOURCE)
    if not chargers and statuses and statuses <= {"Full", "Not charging"}:
        return known(Quantity.ON_MAINS, 1, _SOURCE)
    why = next((charger.why for charger in chargers if charger.why), "no charger, and the battery's status is unknown")
    return unknown(Quantity.ON_MAINS, _SOURCE, why)


def _plugged(chargers: Sequence[FileNumber]) -> Reading:
    """Whether a charger is there, whatever it is worth."""
    if any((charger.value or 0) > 0 for charger in chargers):
        return known(Quantity.PLUGGED, 1, _SOURCE)
    if chargers and all(charger.value == 0 for charger in chargers):
        return known(Quantity.PLUGGED, 0, _SOURCE)
    return unknown(Quantity.PLUGGED, _SOURCE, next((c.why for c in chargers if c.why), "no charger says so"))


def _charge(batteries: Sequence[_Battery], charging: bool) -> Reading:
    for battery in batteries:
        if battery.pct.value is None and (battery.now is None or battery.full is None):
            return unknown(Quantity.BATTERY_PCT, _SOURCE, f"{battery.name}/{battery.pct.why}")
    pct = _added_up(batteries)
    if pct is None:  # the smallest: of two batteries without energies nobody knows the larger
        pct = min(battery.pct.value for battery in batteries if battery.pct.value is not None)
    if pct == 0 and charging:
        return unknown(Quantity.BATTERY_PCT, _SOURCE, "0 % while charging is absurd")
    return known(Quantity.BATTERY_PCT, pct, _SOURCE)


def _added_up(batteries: Sequence[_Battery]) -> int | None:
    """All batteries as one, in whole percent rounded down; None where they can't be added."""
    if len(batteries) == 1 and batteries[0].pct.value is not None:
        return batteries[0].pct.value
    now = _total(battery.now for battery in batteries)
    full = _total(battery.full for battery in batteries)
    if now is None or not full or full < 0 or len({battery.unit for battery in batteries}) != 1:
        return None
    return min(100, 100 * now // full)  # a new battery may hold more than its design


def _total(values: Iterable[int | None]) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _hottest(batteries: Sequence[_Battery]) -> Reading:
    temps = [battery.temp_dc * 100 for battery in batteries if battery.temp_dc is not None]
    if not temps:
        return unknown(Quantity.BATTERY_TEMP, _SOURCE, "the battery has no thermometer")
    return temperature(Quantity.BATTERY_TEMP, max(temps), _SOURCE)
