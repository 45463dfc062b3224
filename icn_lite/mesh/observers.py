"""Who waits for a job's status to change (Observe, RFC 7641), as a doorbell and never a stream.

A ring says "look again"; rings that come close together become one. The number of observers is bounded in all and
for each peer; above it a request is answered without being observed, as RFC 7641 §4.1 allows.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from icn_lite.mesh.limits import MeshLimits
from icn_lite.model.cid import Cid

_NUMBERS = 1 << 24  # the Observe option has three bytes


@dataclass(eq=False, slots=True)
class Observer:
    """One observation."""

    job: Cid
    peer: str
    rung: asyncio.Event = field(default_factory=asyncio.Event)


class Observers:
    """All observations of one endpoint."""

    def __init__(self, limits: MeshLimits) -> None:
        self._limits = limits
        self._by_job: dict[Cid, list[Observer]] = {}
        self._per_peer: dict[str, int] = {}
        self._count = 0
        self._number = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, job: Cid, peer: str) -> Observer | None:
        """Begin an observation, or None where there are too many."""
        mine = self._per_peer.get(peer, 0)
        if self._count >= self._limits.observers or mine >= self._limits.observers_per_peer:
            return None
        observer = Observer(job, peer)
        self._by_job.setdefault(job, []).append(observer)
        self._per_peer[peer] = mine + 1
        self._count += 1
        return observer

    def leave(self, observer: Observer) -> None:
        """End an observation that `enter` began."""
        waiting = self._by_job[observer.job]
        waiting.remove(observer)
        if not waiting:
            del self._by_job[observer.job]
        self._per_peer[observer.peer] -= 1
        if not self._per_peer[observer.peer]:
            del self._per_peer[observer.peer]
        self._count -= 1

    def ring(self, job: Cid) -> None:
        """The status of a job changed."""
        for observer in self._by_job.get(job, ()):
            observer.rung.set()

    def next_number(self) -> int:
        """A number larger than all before it, for one notification (RFC 7641 §3.4)."""
        self._number = (self._number + 1) % _NUMBERS
        return self._number
