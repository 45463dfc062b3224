"""One job of ours: its machine, what its leases are called on the wire, and what others are told of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import ClassVar

from icn_lite.model import cbor
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.job import JobSpec, PlannedShard
from icn_lite.model.messages import JobAnnouncementV1
from icn_lite.store.jobs import JobRecord, JobRole
from icn_lite.work import originator_events as ev
from icn_lite.work.originator import Originator


@dataclass(frozen=True, slots=True)
class JobOpened:
    """The first entry of a job's journal."""

    TAG: ClassVar[str] = "JobOpened"
    job: JobSpec
    bidding_ms: int
    lease_ms: int
    pays_late: bool

    def terms(self, shards: tuple[PlannedShard, ...], started_ms: int) -> ev.Terms:
        """What the job's machine is made from."""
        return ev.Terms(self.job, shards, self.bidding_ms, self.lease_ms, started_ms, self.pays_late)


@dataclass(slots=True)
class JobRun:
    """One job of ours: its machine, and what its leases are called on the wire."""

    machine: Originator
    job_id: Cid
    announcement: Sealed[JobAnnouncementV1]
    leases: dict[Cid, bytes] = field(default_factory=dict)
    announced: set[Did] = field(default_factory=set)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    ahead: bool = False  # the machine knows an event that may not be on the disk: it has to be made again


def encode_status(run: JobRun) -> bytes:
    """A job's state for those who ask: at most 1 KiB of DAG-CBOR."""
    machine = run.machine
    return cbor.encode(
        {
            "job": run.job_id,
            "phase": machine.phase.value,
            "shards": len(machine.terms.shards),
            "settled": machine.settled,
            "bids": len(machine.bids),
            "message": machine.ended.sentence[:200] if machine.ended else "",
        }
    )


def record_of(run: JobRun) -> JobRecord:
    """The job's row in the list of jobs."""
    ended = run.machine.ended
    error = ended.sentence if ended is not None and ended.phase is ev.Phase.FAILED else ""
    return JobRecord(run.job_id, JobRole.ORIGINATOR, run.machine.phase.value, run.job_id, error)
