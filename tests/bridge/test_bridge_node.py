"""Two meshes that know nothing of each other, with a bridge each: whole jobs from one to the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bridge_meshes import ALONE, Meshes
from node_world import ended, submit, until

from icn_lite.node import upstreams
from icn_lite.node.config import Role


@pytest.fixture
async def meshes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Meshes]:
    made = Meshes(tmp_path)
    scheme = upstreams.Scheme(lambda _: None, lambda address, _: made.hub.upstream(address.split(":")[1]))
    monkeypatch.setitem(upstreams.SCHEMES, "memory", scheme)
    yield made
    await made.close()


async def test_a_job_of_one_mesh_runs_in_another(meshes: Meshes) -> None:
    _, coordinator = await meshes.mesh("a", Role.SUBMIT, "memory:a", bidding_ms=3_000)
    _, executor = await meshes.mesh("b", Role.EXECUTE, "memory:b")
    job = await submit(coordinator, [b"over the hills", b"and far away"], **ALONE)
    assert await ended(coordinator, job) == "completed"
    assert await coordinator.shell.storage.run(lambda store: store.receipts.executors()) == (executor.shell.did,)
    await until(executor, lambda: executor.executions is not None and not executor.executions.leases)
