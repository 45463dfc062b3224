"""What the owner asks of other nodes about jobs: what a guest says, and how a job stands at whoever submitted it.

Directly where the other is a peer, else in letters through relays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from icn_lite.mesh.streams import MAX_OFFSET, MAX_WAIT_MS, Where
from icn_lite.model import cbor
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError, JobError, NotSupported, PeerError, UsageError
from icn_lite.node.control import Command, Json

if TYPE_CHECKING:
    from icn_lite.node.job_run import JobRun
    from icn_lite.node.node import Node

MAX_STATUS_BYTES: Final = 1024  # as mesh.limits.DOORBELL_BYTES


class Inquiries:
    """The commands over one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def table(self) -> dict[str, Command]:
        """Command names and what answers them."""
        return {"log": self.log, "job_at": self.job_at}

    async def log(self, request: Mapping[str, Json], body: bytes) -> Json:
        """A piece of what the guest of a shard says at its newest executor, or at `executor`; bytes as hexadecimal."""
        run, shard = self._run(_cid(request)), _number(request, "shard")
        named = request.get("executor")
        holders = [(lease, did) for lease, did in holders_of(run, shard) if named in (None, str(did))]
        if not holders:
            raise JobError(f"nobody was given shard {shard} of this job", hint="see `icn-lite job`")
        lease, executor = holders[-1]
        where = Where(shard, _number(request, "from"), min(MAX_WAIT_MS, _number(request, "wait_ms")))
        piece = await self._node.shell.read_log(executor, lease, where)
        told: dict[str, Json] = {"executor": str(executor), "lease": str(lease), "shard": shard}
        return {**told, "from": piece.start, "data": piece.data.hex(), "ended": piece.ended}

    async def job_at(self, request: Mapping[str, Json], body: bytes) -> Json:
        """How a job stands at the node that submitted it."""
        job, of = _cid(request), request.get("of")
        try:
            did = Did.parse(of if isinstance(of, str) else "")
        except DocumentError as error:
            raise UsageError(f"of: expected a DID: {error.reason}", hint="`icn-lite peers` shows DIDs") from error
        block = await self._node.shell.job_status(did, job)
        try:
            value = cbor.decode(block, max_bytes=MAX_STATUS_BYTES)
        except DocumentError as error:
            raise PeerError(f"{did} answered with no status: {error.message}") from error
        if not isinstance(value, dict) or value.get("job") != job:
            raise PeerError(f"{did} answered with the status of something else")
        told = {name: item for name, item in value.items() if isinstance(item, (str, int))}
        return {**told, "job": str(job), "originator": str(did)}

    def _run(self, job: Cid) -> JobRun:
        originations = self._node.originations
        if originations is None:
            raise NotSupported("this node submits no jobs", hint="give it the role: `icn-lite up --role submit`")
        run = originations.jobs.get(job)
        if run is None:
            raise JobError(f"no job {job} was submitted here", hint="see `icn-lite jobs`")
        return run


def holders_of(run: JobRun, shard: int) -> list[tuple[Cid, Did]]:
    """Who was given a shard of a job of ours, by which lease, in the order in which the leases were sent."""
    offers = {offer.nonce: offer for offer in run.machine.offers()}
    found = ((lease, offers[nonce]) for lease, nonce in run.leases.items() if nonce in offers)
    return [(lease, offer.executor) for lease, offer in found if any(one.index == shard for one in offer.shards)]


def _cid(request: Mapping[str, Json]) -> Cid:
    text = request.get("job")
    try:
        return Cid.parse(text if isinstance(text, str) else "")
    except DocumentError as error:
        raise UsageError(f"job: {error.reason}", hint="see `icn-lite jobs`") from error


def _number(request: Mapping[str, Json], key: str) -> int:
    value = request.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_OFFSET:
        raise UsageError(f"{key}: expected a number from 0 to {MAX_OFFSET}")
    return value
