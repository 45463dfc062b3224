"""The clocks of a node: one that never runs backwards, and the others as claims.

`now_ms` is the machines' time: milliseconds from the monotonic clock, going on over a restart from where the journal
stopped (`advance_to`). `wall_s` may jump and is only ever written into documents as a claim. A Pi without a battery
clock boots in the past; its receipts say so by `source`.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Final, Literal

from icn_lite.model.receipt import Clock as ClockClaim

BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")  # proc(5)
EARLIEST_PLAUSIBLE_S: Final = 1_767_225_600  # 2026-01-01: before this program was written

Source = Literal["system", "unset"]


class Clock:
    """The clocks of this process."""

    def __init__(self) -> None:
        self._offset_ms = 0
        self._boot = _boot_id()

    def now_ms(self) -> int:
        """The machines' time."""
        return self._offset_ms + time.monotonic_ns() // 1_000_000

    def advance_to(self, at_ms: int) -> None:
        """Go on from a time that the journal knows, if that is later than now."""
        self._offset_ms += max(0, at_ms - self.now_ms())

    def wall_s(self) -> int:
        """Seconds since 1970, as far as the system knows."""
        return max(0, int(time.time()))

    def claim(self) -> ClockClaim:
        """What a receipt says about time."""
        wall_s = self.wall_s()
        source: Source = "system" if wall_s >= EARLIEST_PLAUSIBLE_S else "unset"
        return ClockClaim(self._boot, time.monotonic_ns() // 1_000_000, wall_s, source)


def _boot_id() -> bytes:
    """16 bytes that are the same as long as the device has not been restarted."""
    try:
        text = BOOT_ID_FILE.read_text("ascii").strip()
    except OSError:
        # Android may deny it: then a process stands for its boot, and order comes from seq and prev alone.
        text = f"process {os.getpid()} {time.time_ns()}"
    return hashlib.sha256(text.encode("ascii")).digest()[:16]
