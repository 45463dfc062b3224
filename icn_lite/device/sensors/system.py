"""Load, memory, frequencies and the time of day: from /proc and /sys, and by psutil where those are refused.

`/proc/loadavg`, `/proc/meminfo` (proc(5)) and `cpufreq/policy*` (kernel documentation: `Documentation/admin-guide/pm/
cpufreq.rst`). `scaling_cur_freq` is what was asked for, not what runs; `scaling_max_freq` is the highest that may be,
which the kernel lowers against heat.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from icn_lite.device.files import list_folder, parse_decimal, read_int, read_text
from icn_lite.device.reading import Quantity, Reading, known, unknown

_MIB: Final = 1024 * 1024
EARLIEST_PLAUSIBLE_S: Final = 1_767_225_600  # 2026-01-01: before this program was written, as in `node/clock.py`
MAX_POLICIES: Final = 16
MEMINFO_LINES: Final = 8  # the first is MemTotal, the third MemAvailable


class System:
    """Load of the last minute a processor, memory available and in all."""

    name = "system"

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._own = root == Path("/")  # psutil knows only this machine
        self._processors = _processors(root)

    def read(self, now_ms: int) -> Sequence[Reading]:
        """Three readings."""
        return [self._load(), *self._memory()]

    def _load(self) -> Reading:
        text = read_text(self._root / "proc/loadavg")
        load = parse_decimal(text.text.partition(" ")[0], 3) if text.text else None
        if load is not None:
            return known(Quantity.LOAD, load // self._processors, self.name)
        return _psutil_load() if self._own else unknown(Quantity.LOAD, self.name, text.why or "loadavg: no number")

    def _memory(self) -> list[Reading]:
        text = read_text(self._root / "proc/meminfo")
        kib = _meminfo(text.text or "")
        if "MemTotal" in kib and "MemAvailable" in kib:
            return [
                known(Quantity.MEMORY_AVAILABLE, kib["MemAvailable"] // 1024, self.name),
                known(Quantity.MEMORY_TOTAL, kib["MemTotal"] // 1024, self.name),
            ]
        if self._own:
            return _psutil_memory()
        why = text.why or "meminfo: expected MemTotal and MemAvailable"
        return [unknown(q, self.name, why) for q in (Quantity.MEMORY_AVAILABLE, Quantity.MEMORY_TOTAL)]


def _processors(root: Path) -> int:
    """How many processors are online: `0-3`, `0,2-3`; this machine's where the file says nothing."""
    text = read_text(root / "sys/devices/system/cpu/online").text or ""
    spans = [span.split("-") for span in text.split(",") if span]
    if spans and all(1 <= len(span) <= 2 and all(part.isdecimal() for part in span) for span in spans):
        return max(1, sum(int(span[-1]) - int(span[0]) + 1 for span in spans))
    return os.cpu_count() or 1


def _meminfo(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in text.splitlines()[:MEMINFO_LINES]:
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdecimal():
            found[name] = int(words[0])
    return found


def _psutil_load() -> Reading:
    try:
        import psutil

        load = psutil.getloadavg()[0]
    except (ImportError, OSError, RuntimeError, NotImplementedError) as error:
        return unknown(Quantity.LOAD, "psutil", f"load: {error or type(error).__name__}")
    return known(Quantity.LOAD, int(load * 1000) // (os.cpu_count() or 1), "psutil")


def _psutil_memory() -> list[Reading]:
    try:
        import psutil

        memory = psutil.virtual_memory()
    except (ImportError, OSError, RuntimeError, NotImplementedError, ValueError, KeyError) as error:
        why = f"memory: {error or type(error).__name__}"
        return [unknown(q, "psutil", why) for q in (Quantity.MEMORY_AVAILABLE, Quantity.MEMORY_TOTAL)]
    return [
        known(Quantity.MEMORY_AVAILABLE, memory.available // _MIB, "psutil"),
        known(Quantity.MEMORY_TOTAL, memory.total // _MIB, "psutil"),
    ]


class Frequencies:
    """How much of its highest frequency the processor is asked for, at most, and how much it may have, at least."""

    name = "cpufreq"

    def __init__(self, root: Path = Path("/")) -> None:
        self._folder = root / "sys/devices/system/cpu/cpufreq"

    def read(self, now_ms: int) -> Sequence[Reading]:
        """Two readings; none where the kernel sets no frequencies."""
        policies = [path for path in list_folder(self._folder)[0] if path.name.startswith("policy")][:MAX_POLICIES]
        shares = [share for path in policies if (share := _shares(path)) is not None]
        if not shares:
            return []
        return [
            known(Quantity.CPU_FREQ_PM, max(now for now, _ in shares), self.name),
            known(Quantity.CPU_CAP_PM, min(cap for _, cap in shares), self.name),
        ]


def _shares(policy: Path) -> tuple[int, int] | None:
    highest = read_int(policy / "cpuinfo_max_freq").value
    now, cap = read_int(policy / "scaling_cur_freq").value, read_int(policy / "scaling_max_freq").value
    if not highest or highest < 0 or now is None or cap is None:
        return None
    return 1000 * now // highest, 1000 * cap // highest


class LocalTime:
    """The minute of the local day, for quiet hours."""

    name = "clock"

    def __init__(self, wall_s: Callable[[], float] = time.time) -> None:
        self._wall_s = wall_s

    def read(self, now_ms: int) -> Sequence[Reading]:
        """One reading; unknown while the clock was never set, as after the boot of a device without a battery clock."""
        wall_s = self._wall_s()
        if wall_s < EARLIEST_PLAUSIBLE_S:
            return [unknown(Quantity.LOCAL_MINUTE, self.name, "the clock was never set")]
        local = time.localtime(wall_s)
        return [known(Quantity.LOCAL_MINUTE, 60 * local.tm_hour + local.tm_min, self.name)]
