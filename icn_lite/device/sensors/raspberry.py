"""Whether a Raspberry Pi's firmware holds the processor back, and whether its supply is too weak: now, not since boot.

`rpi_volt` is the kernel's: `in0_lcrit_alarm` is 1 while the firmware reported undervoltage within its last two seconds
(`Documentation/hwmon/raspberrypi-hwmon.rst`). `vcgencmd get_throttled` prints `throttled=0x50005`: bits 0 to 3 are now
(undervoltage, frequency capped, throttled, soft temperature limit), 16 to 19 the same since boot, which never go away
and say nothing about this moment. It needs the group `video`. The kernel's own file for the same bits
(`soc:firmware/get_throttled`) is deprecated and prints a warning with a stack trace for whoever reads it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from icn_lite.device.files import list_folder, read_int, read_text
from icn_lite.device.reading import Quantity, Reading, known, unknown
from icn_lite.device.sensors.asked import Asked, Run
from icn_lite.device.sensors.command import CommandFailed, run_command
from icn_lite.device.sensors.source import Pace

THROTTLED_COMMAND: Final = ("vcgencmd", "get_throttled")
PACE: Final = Pace(busy_ms=10_000, idle_ms=600_000)  # who does nothing is not held back
_ANSWER: Final = re.compile(rb"throttled=0x([0-9a-fA-F]{1,8})\s*")
UNDERVOLTAGE_BIT: Final = 1
HELD_BACK_BITS: Final = {2: "frequency capped", 4: "throttled", 8: "soft temperature limit"}
CHIP: Final = "rpi_volt"


class RaspberryAlarm:
    """`in0_lcrit_alarm` of the `hwmon` named `rpi_volt` under `root`; nothing where there is none."""

    name = CHIP

    def __init__(self, root: Path = Path("/")) -> None:
        self._folder = root / "sys/class/hwmon"
        self._chips: tuple[Path, ...] | None = None  # looked for once: the chip is soldered to the board

    def read(self, now_ms: int) -> Sequence[Reading]:
        """At most one reading of `UNDERVOLTAGE`."""
        if self._chips is None:
            self._chips = tuple(f for f in list_folder(self._folder)[0] if read_text(f / "name").text == CHIP)
        for chip in self._chips:
            alarm = read_int(chip / "in0_lcrit_alarm")
            if alarm.value is None:
                return [unknown(Quantity.UNDERVOLTAGE, CHIP, alarm.why)]
            return [known(Quantity.UNDERVOLTAGE, alarm.value, CHIP)]
        return []


class RaspberryFirmware(Asked):
    """`vcgencmd get_throttled`."""

    def __init__(self, run: Run = run_command) -> None:
        super().__init__("vcgencmd", (Quantity.THROTTLED, Quantity.UNDERVOLTAGE), PACE, run)

    def _ask(self, now_ms: int) -> Sequence[Reading]:
        return parse_throttled(self._output(*THROTTLED_COMMAND))


def parse_throttled(output: bytes) -> tuple[Reading, ...]:
    """Only the bits for now. Raises `CommandFailed` for anything but `throttled=0x…`."""
    found = _ANSWER.fullmatch(output)
    if found is None:
        raise CommandFailed(f"expected throttled=0x…, found {output[:40]!r}")
    bits = int(found[1], 16)
    words = ", ".join(word for bit, word in HELD_BACK_BITS.items() if bits & bit)
    return (
        known(Quantity.THROTTLED, int(bool(words)), f"vcgencmd ({words})" if words else "vcgencmd"),
        known(Quantity.UNDERVOLTAGE, bits & UNDERVOLTAGE_BIT, "vcgencmd"),
    )
