"""What services on the system bus tell: UPower, NetworkManager, logind; each asked by one `busctl` call.

`busctl` comes with systemd, prints JSON and costs some six milliseconds of CPU, so what can't have changed is not asked
for again. It runs with `--auto-start=no`, so that asking
never starts a service that its owner stopped. Interfaces: `org.freedesktop.UPower.Device` (GetAll of the
`DisplayDevice`, which is all supplies as one), `org.freedesktop.NetworkManager` (`Metered`, an `NMMetered`),
`org.freedesktop.login1.Manager` (`IdleHint`, `IdleSinceHintMonotonic`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from icn_lite.device.files import list_folder, read_text
from icn_lite.device.reading import Quantity, Reading, Readings, known, unknown
from icn_lite.device.sensors.asked import Asked, Run, parse_object, whole
from icn_lite.device.sensors.command import CommandFailed, run_command
from icn_lite.device.sensors.source import Pace

_BUSCTL: Final = ("busctl", "--system", "--json=short", "--auto-start=no")
_UPOWER: Final = (
    *_BUSCTL, "call", "org.freedesktop.UPower", "/org/freedesktop/UPower/devices/DisplayDevice",
    "org.freedesktop.DBus.Properties", "GetAll", "s", "org.freedesktop.UPower.Device",
)  # fmt: skip
_METERED: Final = (
    *_BUSCTL, "get-property", "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager",
    "org.freedesktop.NetworkManager", "Metered",
)  # fmt: skip
_IDLE: Final = (
    *_BUSCTL, "get-property", "org.freedesktop.login1", "/org/freedesktop/login1",
    "org.freedesktop.login1.Manager", "IdleHint", "IdleSinceHintMonotonic",
)  # fmt: skip
UPOWER_PACE: Final = Pace(busy_ms=30_000, idle_ms=100_000)
METERED_PACE: Final = Pace(busy_ms=60_000, idle_ms=100_000)
IDLE_PACE: Final = Pace(busy_ms=15_000, idle_ms=900_000)  # no guest runs: nobody is in its way
# While there is no battery, or the way out of the network is the same, the last answer holds for so long.
HOLDS_MS: Final = 900_000
# UpDeviceKind and UpDeviceState of UPower's reference
_BATTERY, _UPS = 2, 3
_ON_MAINS: Final = {1: 1, 2: 0, 3: 0, 4: 1, 5: 1}  # charging, discharging, empty, fully charged, pending charge
# NMMetered: what NetworkManager guesses ("3", "4") it guesses from what the network itself announces
_IS_METERED: Final = {1: 1, 2: 0, 3: 1, 4: 0}
_GRAPHICAL: Final = ("TYPE=x11", "TYPE=wayland", "TYPE=mir")


class UPower(Asked):
    """Batteries and UPSes that UPower knows and the kernel's `power_supply` class doesn't."""

    def __init__(self, run: Run = run_command) -> None:
        super().__init__("UPower", (), UPOWER_PACE, run)

    def due(self, now_ms: int, said: Callable[[], Readings], *, busy: bool) -> bool:
        """As `Asked`, and only while no other source sees a battery."""
        if not super().due(now_ms, said, busy=busy) or self._has_none(now_ms):
            return False
        seen = said().get(Quantity.BATTERY_PRESENT)
        return seen.value != 1 or seen.source == self.name

    def _ask(self, now_ms: int) -> Sequence[Reading]:
        return parse_upower(self._output(*_UPOWER))

    def _has_none(self, now_ms: int) -> bool:
        """Whether it said lately that there is no battery; a UPS that is plugged in later has time."""
        none = any(reading.quantity is Quantity.BATTERY_PRESENT and reading.value == 0 for reading in self._answer)
        return none and 0 <= now_ms - self._answered_ms < HOLDS_MS


class NetworkManager(Asked):
    """Whether the way out is metered."""

    def __init__(self, run: Run = run_command, root: Path = Path("/")) -> None:
        super().__init__("NetworkManager", (Quantity.METERED,), METERED_PACE, run)
        self._routes = root / "proc/net/route"
        self._way: str | None = None
        self._told_ms = 0

    def _ask(self, now_ms: int) -> Sequence[Reading]:
        way = read_text(self._routes).text
        if self._answer and way is not None and way == self._way and 0 <= now_ms - self._told_ms < HOLDS_MS:
            return self._answer
        answer = (parse_metered(self._output(*_METERED)),)
        self._way, self._told_ms = way, now_ms
        return answer


class Logind(Asked):
    """Since when nobody has used a graphical session; without one it has nothing to say that terminals don't."""

    def __init__(self, run: Run = run_command, root: Path = Path("/")) -> None:
        super().__init__("logind", (Quantity.USER_IDLE_S,), IDLE_PACE, run)
        self._sessions = root / "run/systemd/sessions"

    def _ask(self, now_ms: int) -> Sequence[Reading]:
        if not any(_is_graphical(read_text(file).text or "") for file in list_folder(self._sessions)[0]):
            return (unknown(Quantity.USER_IDLE_S, self.name, "nobody is logged in to a desktop"),)
        return (parse_idle(self._output(*_IDLE), now_ms),)


def _is_graphical(session: str) -> bool:
    return any(line in _GRAPHICAL for line in session.splitlines())


def parse_upower(output: bytes) -> tuple[Reading, ...]:
    """A GetAll of the display device; nothing where it stands for no battery. Raises `CommandFailed`."""
    data = parse_object(output).get("data")
    table = data[0] if isinstance(data, list) and data else None
    if not isinstance(table, dict):
        raise CommandFailed(f"expected UPower's properties, found {output[:40]!r}")
    values = {str(name): one.get("data") for name, one in table.items() if isinstance(one, dict)}
    if values.get("Type") not in (_BATTERY, _UPS) or values.get("IsPresent") is not True:
        return (known(Quantity.BATTERY_PRESENT, 0, "UPower"),)
    state = whole(values.get("State"))
    mains = _ON_MAINS.get(state or 0)
    return (
        known(Quantity.BATTERY_PRESENT, 1, "UPower"),
        _on_mains(Quantity.ON_MAINS, mains, state),
        _on_mains(Quantity.PLUGGED, mains, state),
        _charge(whole(values.get("Percentage")), charging=state == 1),
        *_positive(Quantity.BATTERY_POWER, whole(values.get("EnergyRate"), 1000)),
        *_positive(Quantity.BATTERY_ENERGY, whole(values.get("Energy"), 3_600_000)),
        *_positive(Quantity.BATTERY_TO_EMPTY, whole(values.get("TimeToEmpty"))),
        *_positive(Quantity.BATTERY_TO_FULL, whole(values.get("TimeToFull"))),
    )


def _on_mains(quantity: Quantity, mains: int | None, state: int | None) -> Reading:
    if mains is None:
        return unknown(quantity, "UPower", f"its state is {state}")
    return known(quantity, mains, "UPower")


def _charge(pct: int | None, *, charging: bool) -> Reading:
    if pct is None or (pct == 0 and charging):
        why = "it doesn't say" if pct is None else "0 % while charging is absurd"
        return unknown(Quantity.BATTERY_PCT, "UPower", why)
    return known(Quantity.BATTERY_PCT, pct, "UPower")


def _positive(quantity: Quantity, value: int | None) -> tuple[Reading, ...]:
    """UPower says 0 for what it doesn't know."""
    return (known(quantity, value, "UPower"),) if value is not None and value > 0 else ()


def parse_metered(output: bytes) -> Reading:
    """An `NMMetered`. Raises `CommandFailed`."""
    value = whole(parse_object(output).get("data"))
    if value not in _IS_METERED:
        return unknown(Quantity.METERED, "NetworkManager", "NetworkManager doesn't know")
    return known(Quantity.METERED, _IS_METERED[value], "NetworkManager")


def parse_idle(output: bytes, now_ms: int) -> Reading:
    """One JSON object a line: whether all sessions are idle, and since when in µs of the monotonic clock."""
    try:
        lines = [json.loads(line) for line in output.splitlines()]
        idle, since_us = (line["data"] for line in lines)
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise CommandFailed(f"expected two properties of logind, found {output[:40]!r}") from error
    since_ms = whole(since_us)
    if not isinstance(idle, bool) or since_ms is None:
        raise CommandFailed(f"expected a hint and a time, found {output[:40]!r}")
    return known(Quantity.USER_IDLE_S, (now_ms - since_ms // 1000) // 1000 if idle else 0, "logind")
