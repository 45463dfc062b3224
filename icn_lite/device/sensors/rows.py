"""Which sources this device has, in order of preference: the first that knows a quantity is believed.

Under a root of one's own nothing of this machine is asked: programs' answers come from files under `commands/`, each
named by its command line with `_` for every space (`commands/vcgencmd_get_throttled`), so that a captured tree is a
whole device.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from icn_lite.device.files import list_folder
from icn_lite.device.sensors.activity import Screen, Terminals
from icn_lite.device.sensors.asked import Run
from icn_lite.device.sensors.bus import Logind, NetworkManager, UPower
from icn_lite.device.sensors.command import MAX_OUTPUT_BYTES, CommandFailed, run_command
from icn_lite.device.sensors.foreign import ForeignLoad
from icn_lite.device.sensors.linux_power import LinuxPower
from icn_lite.device.sensors.linux_thermal import LinuxThermal
from icn_lite.device.sensors.network import LinuxNetwork
from icn_lite.device.sensors.nut import Nut
from icn_lite.device.sensors.own import OwnCommand
from icn_lite.device.sensors.raspberry import RaspberryAlarm, RaspberryFirmware
from icn_lite.device.sensors.source import Pace, Paced, Source, Spaced
from icn_lite.device.sensors.system import Frequencies, LocalTime, System
from icn_lite.device.sensors.termux import BATTERY_COMMAND, TermuxBattery, TermuxWifi

COMMANDS: Final = "commands"
BUS_SOCKET: Final = Path("/run/dbus/system_bus_socket")  # D-Bus specification, "System message bus"
# Memory, users and what it is connected to: a look every ten seconds is as good as one every second.
SLOWLY: Final = Pace(busy_ms=10_000, idle_ms=60_000)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the owner and the profile say about sensors."""

    own_command: tuple[str, ...] = ()
    thermal: tuple[str, ...] = ()  # patterns of the preferred thermal zones or chips


def default_sources(
    *,
    termux: bool = False,
    root: Path = Path("/"),
    wishes: Wishes | None = None,
    pids: Callable[[], Iterable[int]] = tuple,
) -> list[Source | Paced]:
    """The rows; `pids` are the node's own child processes, whose load is not a stranger's."""
    wished = wishes or Wishes()
    has, run = _programs(root)
    rows: list[Source | Paced] = []
    if wished.own_command:
        rows.append(OwnCommand(wished.own_command, run))
    if has("upsc"):
        rows.append(Nut(run))
    if termux or has(BATTERY_COMMAND):
        rows += [TermuxBattery(run), TermuxWifi(run), Screen(root)]
    rows += [LinuxPower(root), LinuxThermal(root, wished.thermal), RaspberryAlarm(root)]
    if has("vcgencmd"):
        rows.append(RaspberryFirmware(run))
    if has("busctl") and (root != Path("/") or BUS_SOCKET.exists()):
        rows += [UPower(run), NetworkManager(run, root), Logind(run, root)]
    rows.append(ForeignLoad(root, pids))
    slow = (System(root), LinuxNetwork(root), Frequencies(root), Terminals(root))
    rows += [Spaced(source, SLOWLY) for source in slow]
    if root == Path("/"):
        rows.append(LocalTime())
    return rows


def _programs(root: Path) -> tuple[Callable[[str], bool], Run]:
    """Whether a program is there, and how to run one: on this machine, or out of a captured tree."""
    if root == Path("/"):
        return (lambda name: shutil.which(name) is not None), run_command
    captured = {path.name: path for path in list_folder(root / COMMANDS)[0]}

    def run(command: Sequence[str], deadline_ms: int) -> bytes:
        name = "_".join(word.replace("/", "") for word in command)
        if name not in captured:
            raise CommandFailed(f"{command[0]}: the tree holds no answer to this")
        try:
            with captured[name].open("rb") as file:
                return file.read(MAX_OUTPUT_BYTES)
        except OSError as error:
            raise CommandFailed(f"{name}: {error.strerror}") from error

    return (lambda name: any(file.split("_")[0] == name for file in captured)), run
