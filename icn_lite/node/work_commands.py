"""What the owner may ask of the work that this node took, and of work that travels as a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from icn_lite.node.control import Command, Json
from icn_lite.node.stick import Stick

if TYPE_CHECKING:
    from icn_lite.node.lease_run import LeaseRun
    from icn_lite.node.node import Node


class WorkCommands:
    """The commands over one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def table(self) -> dict[str, Command]:
        """Command names and what answers them."""
        return {
            "leases": self.leases,
            "work_load": self.load,
            "work_wants": self.wants,
            "work_take": self.take,
        }

    async def leases(self, request: Mapping[str, Json], body: bytes) -> Json:
        """Every open lease with its shards, the one that ends first at the head."""
        executions = self._node.executions
        if executions is None:
            return []
        now_ms = self._node.clock.now_ms()
        runs = sorted(executions.leases.values(), key=lambda run: run.ends_ms)
        return [_lease(run, now_ms) for run in runs]

    async def load(self, request: Mapping[str, Json], body: bytes) -> Json:
        """What goes onto a stick: signed blocks in hexadecimal, and the CIDs of blocks to add."""
        load = await self._stick().load()
        return {"documents": [block.hex() for block in load.documents], "blocks": [str(cid) for cid in load.blocks]}

    async def wants(self, request: Mapping[str, Json], body: bytes) -> Json:
        """What a signed block from a stick is, and which blocks it needs that aren't here."""
        kind, missing = await self._stick().wants(body)
        return {"kind": kind, "missing": [str(cid) for cid in missing]}

    async def take(self, request: Mapping[str, Json], body: bytes) -> Json:
        """Act on a signed block from a stick."""
        await self._stick().take(body)
        return {}

    def _stick(self) -> Stick:
        node = self._node
        return Stick(node.shell, node.originations, node.executions)


def _lease(run: LeaseRun, now_ms: int) -> dict[str, Json]:
    lease = run.machine.lease
    return {
        "lease": str(run.cid),
        "job": str(lease.job_id),
        "originator": str(lease.originator),
        "duration_ms": lease.duration_ms,
        "left_ms": max(0, run.ends_ms - now_ms),
        "pays_late": lease.pays_late,
        "shards": [
            {
                "shard": shard,
                "step": work.step.value,
                "receipt": str(work.receipt) if work.receipt is not None else None,
            }
            for shard, work in run.machine.shards.items()
        ],
    }
