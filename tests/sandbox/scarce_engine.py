"""An engine for a device that refuses processes for a moment: the zygote's own fork answers EAGAIN.

Loaded by a real zygote like any engine. Root is exempt from RLIMIT_NPROC, so a limit alone would not show it.
"""

from __future__ import annotations

import errno
import posix

from attack_engine import AttackEngine as ScarceEngine

__all__ = ["ScarceEngine"]
REFUSALS = 3
_fork = posix.fork
_refused = [0]


def _scarce() -> int:
    if _refused[0] < REFUSALS:
        _refused[0] += 1
        raise BlockingIOError(errno.EAGAIN, "too many processes")
    return _fork()


posix.fork = _scarce
