"""Since when nobody has touched the device: its terminals, and on a phone its screen.

Linux moves a terminal's access time when a program reads what was typed, to the next eight seconds (`tty_read`). Only
terminals of sessions and consoles are looked at. A phone's screen is lit while it is used: its backlight has a
brightness, and has none when it is dark. Both are hints: where neither can be read, nobody is known to use the device,
and nobody claims that it is unused.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from icn_lite.device.files import list_folder, read_int
from icn_lite.device.reading import Quantity, Reading, known, unknown

CONSOLES: Final = tuple(f"tty{number}" for number in range(1, 7))
MAX_TERMINALS: Final = 64


class Terminals:
    """`/dev/pts/*` and the consoles under `root`."""

    name = "terminals"

    def __init__(self, root: Path = Path("/"), wall_s: Callable[[], float] = time.time) -> None:
        self._dev = root / "dev"
        self._wall_s = wall_s

    def read(self, now_ms: int) -> Sequence[Reading]:
        """`USER_IDLE_S` by the terminal that was used last."""
        touched_s = max(self._touched(), default=None)
        if touched_s is None:
            return [unknown(Quantity.USER_IDLE_S, self.name, "there is no terminal that may be looked at")]
        idle_s = int(self._wall_s() - touched_s)
        if idle_s < -8:
            return [unknown(Quantity.USER_IDLE_S, self.name, "a terminal was used in the future: a clock has jumped")]
        return [known(Quantity.USER_IDLE_S, max(0, idle_s), self.name)]

    def _touched(self) -> Iterator[float]:
        sessions = [path for path in list_folder(self._dev / "pts")[0] if path.name.isdecimal()]
        for path in [*sessions[:MAX_TERMINALS], *(self._dev / name for name in CONSOLES)]:
            try:
                yield os.stat(path).st_atime
            except OSError:
                continue


class Screen:
    """A phone's backlight under `root`: in use while it is lit, idle since it was first seen dark."""

    name = "screen"

    def __init__(self, root: Path = Path("/")) -> None:
        self._places = (root / "sys/class/backlight", root / "sys/class/leds")
        self._dark_since_ms: int | None = None

    def read(self, now_ms: int) -> Sequence[Reading]:
        """`USER_IDLE_S` by the screen."""
        lights = [read_int(path / "brightness").value for path in self._lamps()]
        seen = [light for light in lights if light is not None]
        if not seen:
            return [unknown(Quantity.USER_IDLE_S, self.name, "the backlight can't be read")]
        if any(light > 0 for light in seen):
            self._dark_since_ms = None
            return [known(Quantity.USER_IDLE_S, 0, self.name)]
        if self._dark_since_ms is None or now_ms < self._dark_since_ms:
            self._dark_since_ms = now_ms
        return [known(Quantity.USER_IDLE_S, (now_ms - self._dark_since_ms) // 1000, self.name)]

    def _lamps(self) -> Iterator[Path]:
        backlights, leds = (list_folder(place)[0] for place in self._places)
        yield from backlights
        yield from (led for led in leds if led.name == "lcd-backlight")
