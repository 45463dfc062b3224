"""What the owner may ask of the work that this node took: which shards of which lease, how far each one is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from icn_lite.node.control import Command, Json

if TYPE_CHECKING:
    from icn_lite.node.lease_run import LeaseRun
    from icn_lite.node.node import Node


class WorkCommands:
    """The commands over one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def table(self) -> dict[str, Command]:
        """Command names and what answers them."""
        return {"leases": self.leases}

    async def leases(self, request: Mapping[str, Json], body: bytes) -> Json:
        """Every open lease with its shards, the one that ends first at the head."""
        executions = self._node.executions
        if executions is None:
            return []
        now_ms = self._node.clock.now_ms()
        runs = sorted(executions.leases.values(), key=lambda run: run.ends_ms)
        return [_lease(run, now_ms) for run in runs]


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
