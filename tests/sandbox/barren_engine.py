"""An engine for a device that gives no process at all: see `scarce_engine`."""

from __future__ import annotations

import errno
import posix

from attack_engine import AttackEngine as BarrenEngine

__all__ = ["BarrenEngine"]


def _barren() -> int:
    raise BlockingIOError(errno.EAGAIN, "too many processes")


posix.fork = _barren
