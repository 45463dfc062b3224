"""One lease of ours while it is open: its machine, its names for what it pins, and its shards' place in the queue."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import ClassVar, Final

from icn_lite.model.cid import Cid
from icn_lite.model.job import JobSpec
from icn_lite.model.messages import AssignJobV1
from icn_lite.work import executor as ex

OUTPUTS: Final = "output:"  # begins the names of holders that keep outputs after their lease, the oldest first


@dataclass(frozen=True, slots=True)
class LeaseOpened:
    """The first entry of a lease's journal."""

    TAG: ClassVar[str] = "LeaseOpened"
    lease: AssignJobV1
    job: JobSpec


@dataclass(slots=True)
class LeaseRun:
    """One lease of ours."""

    machine: ex.LeaseWork
    cid: Cid
    job: JobSpec
    opened_ms: int
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    ahead: bool = False  # the machine knows an event that may not be on the disk: it has to be made again

    @property
    def ends_ms(self) -> int:
        """When the lease's duration is over."""
        return self.opened_ms + self.machine.lease.duration_ms

    @property
    def holder(self) -> str:
        """Who pins this lease's blocks."""
        return f"lease:{self.cid}"

    @property
    def output_holder(self) -> str:
        """Who pins its outputs beyond that: an originator fetches them when it can, after it has the receipt."""
        return f"{OUTPUTS}{self.opened_ms:015d}:{self.cid}"


@dataclass(frozen=True, slots=True, order=True)
class Due:
    """A shard that waits for a worker: what has to be done first comes first, however late it was taken."""

    ends_ms: int
    shard: int
    run: LeaseRun = field(compare=False)
