"""The port that every source of readings stands behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from icn_lite.device.reading import Reading


class Source(Protocol):
    """One place where readings come from.

    `read` never raises and gives, for each quantity it knows of, one reading: known, or unknown with its reason. It may
    block for a moment (the hub runs it in a thread of its own) but bounds its own waits.
    """

    name: str

    def read(self, now_ms: int) -> Sequence[Reading]:
        """Readings with their age at `now_ms`, a monotonic clock."""
        ...
