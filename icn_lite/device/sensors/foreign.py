"""How much of all processors programs other than this node use: what `/proc/stat` counts, less what the node counts.

All times are counters that only grow, so two looks give a share: busy ticks of all processors (user, nice, system,
irq, softirq), less those of this process with the children it has reaped, of its zygote with its reaped children, and
of the guests that live (`utime stime cutime cstime`, proc(5)). Guests give way to what is left.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from icn_lite.device.files import read_text
from icn_lite.device.reading import Quantity, Reading, known, unknown

LEAST_TICKS: Final = 40  # of all processors together: less is too few to be divided; the last share is given again
MAX_PIDS: Final = 256  # a node has fewer workers than this by far
_IDLE: Final = (3, 4)  # idle and iowait, of the columns of /proc/stat
_COUNTED: Final = 8  # guest times after that are part of user's


@dataclass(frozen=True, slots=True)
class _Ticks:
    total: int
    busy: int
    own: int


class ForeignLoad:
    """`/proc/stat` under `root`; `pids` gives the node's child processes, and may be called from another thread."""

    name = "stat"

    def __init__(self, root: Path = Path("/"), pids: Callable[[], Iterable[int]] = tuple) -> None:
        self._proc = root / "proc"
        self._pids = pids
        self._ticks_a_s = os.sysconf("SC_CLK_TCK")
        self._before: _Ticks | None = None
        self._share_pm: int | None = None
        self._at_ms = 0

    def read(self, now_ms: int) -> Sequence[Reading]:
        """One reading: the share since the last look."""
        text = read_text(self._proc / "stat")
        ticks = self._ticks(text.text or "")
        if ticks is None:
            return [
                unknown(Quantity.FOREIGN_LOAD_PM, self.name, text.why or "stat: expected the line of all processors")
            ]
        before, passed = self._before, ticks.total - self._before.total if self._before else 0
        if before is None or passed < 0:  # the first look, or another boot's counters
            self._before, self._share_pm = ticks, None
        elif passed >= LEAST_TICKS:
            foreign = (ticks.busy - before.busy) - (ticks.own - before.own)
            self._share_pm = max(0, min(1000, 1000 * foreign // passed))
            self._before, self._at_ms = ticks, now_ms
        if self._share_pm is None:
            return [unknown(Quantity.FOREIGN_LOAD_PM, self.name, "it takes two looks to see what happens in between")]
        return [known(Quantity.FOREIGN_LOAD_PM, self._share_pm, self.name).aged(now_ms - self._at_ms)]

    def _ticks(self, stat: str) -> _Ticks | None:
        words = stat.partition("\n")[0].split()[: _COUNTED + 1]
        if len(words) < 5 or words[0] != "cpu" or not all(word.isdecimal() for word in words[1:]):
            return None
        columns = [int(word) for word in words[1:]]
        # stolen time (the eighth) is neither this machine's work nor free
        busy = sum(value for column, value in enumerate(columns[:7]) if column not in _IDLE)
        return _Ticks(sum(columns), busy, self._own_ticks())

    def _own_ticks(self) -> int:
        times = os.times()
        own_s = times.user + times.system + times.children_user + times.children_system
        return int(own_s * self._ticks_a_s) + sum(self._child_ticks(pid) for pid in self._children())

    def _children(self) -> list[int]:
        for _ in range(3):
            try:
                return list(self._pids())[:MAX_PIDS]
            except RuntimeError:  # a guest came or went while they were listed
                continue
        return []

    def _child_ticks(self, pid: int) -> int:
        """What a child and those it has reaped have used; the name in parentheses may hold anything."""
        words = (read_text(self._proc / str(pid) / "stat").text or "").rpartition(")")[2].split()
        return (
            sum(int(word) for word in words[11:15])
            if len(words) > 15 and all(w.isdecimal() for w in words[11:15])
            else 0
        )
