"""Two meshes that know nothing of each other, with a bridge each: whole jobs from one to the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bridge_meshes import ALONE, Meshes
from node_world import ended, submit, until

from icn_lite.model.errors import UsageError
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


async def test_bridges_submit_and_run_work_of_their_own(meshes: Meshes) -> None:
    """Both ends of the way are the bridges themselves; an output of several blocks comes along."""
    coordinator = await meshes.start("a-bridge", Role.SUBMIT, upstreams=("memory:a",), bidding_ms=1_500)
    executor = await meshes.start("b-bridge", Role.EXECUTE, upstreams=("memory:b",))
    data = bytes(range(256)) * 1_200  # two leaves; echo gives them back
    job = await submit(coordinator, [data], storage={"max_output_bytes": 1 << 20}, **ALONE)
    assert await ended(coordinator, job) == "completed"
    await until(executor, lambda: executor.executions is not None and not executor.executions.leases)
    assert len(meshes.hub.acks) == 1


async def test_an_executor_that_was_restarted_delivers_through_whatever_bridge_it_meets(meshes: Meshes) -> None:
    """It has forgotten who brought the announcement, and the hub was away when its receipts were made."""
    _, coordinator = await meshes.mesh("a", Role.SUBMIT, "memory:a", bidding_ms=2_000)
    bridge, executor = await meshes.mesh("b", Role.EXECUTE, "memory:b")
    job = await submit(coordinator, [b"one", b"two"], **ALONE)
    await until(executor, lambda: executor.executions is not None and bool(executor.executions.leases))
    meshes.hub.cut = True
    await meshes.world.stop("b-node")
    again = await meshes.start("b-node", Role.EXECUTE, peers=bridge.shell.endpoints)
    meshes.hub.mend()
    assert await ended(coordinator, job) == "completed"
    await until(again, lambda: again.executions is not None and not again.executions.leases)
    assert await coordinator.shell.storage.run(lambda store: store.receipts.count()) == 2


async def test_an_open_node_is_no_bridge(meshes: Meshes) -> None:
    with pytest.raises(UsageError, match="guarded"):
        await meshes.start("a-bridge", Role.SUBMIT, upstreams=("memory:a",), open=True)
