"""Load and memory through psutil, where it works.

Termux denies parts of /proc, so every call stands alone and each failure is an unknown reading of its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from icn_lite.device.reading import Quantity, Reading, known, unknown

_SOURCE: Final = "psutil"
_MIB: Final = 1024 * 1024


class System:
    """This machine's load and memory."""

    name = _SOURCE

    def read(self, now_ms: int) -> Sequence[Reading]:
        """Load of the last minute a processor, memory available and in all."""
        return [_load(), *_memory()]


def _load() -> Reading:
    try:
        import psutil

        load = psutil.getloadavg()[0]
    except (ImportError, OSError, RuntimeError, NotImplementedError) as error:
        return unknown(Quantity.LOAD, _SOURCE, f"load: {error or type(error).__name__}")
    return known(Quantity.LOAD, int(load * 1000) // (os.cpu_count() or 1), _SOURCE)


def _memory() -> list[Reading]:
    try:
        import psutil

        memory = psutil.virtual_memory()
    except (ImportError, OSError, RuntimeError, NotImplementedError, ValueError, KeyError) as error:
        why = f"memory: {error or type(error).__name__}"
        return [unknown(q, _SOURCE, why) for q in (Quantity.MEMORY_AVAILABLE, Quantity.MEMORY_TOTAL)]
    return [
        known(Quantity.MEMORY_AVAILABLE, memory.available // _MIB, _SOURCE),
        known(Quantity.MEMORY_TOTAL, memory.total // _MIB, _SOURCE),
    ]
