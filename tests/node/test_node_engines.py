"""Two engines in one cooperative: an executor on wasm3 and one on wasmtime vote alike, and any engine checks both."""

from __future__ import annotations

import asyncio

import pytest
from absent import engine_names
from node_world import World, command, ended, submit, until

from icn_lite.model.receipt import ExecutionReceipt, read_receipt
from icn_lite.node.config import Engine, Role
from icn_lite.node.node import Node
from icn_lite.node.verify import Check, rerun
from icn_lite.store.db import Store

ENGINES = ("wasm3", "wasmtime", "wasmtime-stock")


def checks_of(node: Node) -> list[tuple[ExecutionReceipt, Check]]:
    """Every receipt of a node's store, run again by every engine."""
    with Store.open(node.options.home.path, read_only=True) as store:
        blocks = [store.receipts.get(row.cid) or b"" for row in store.receipts.list()]
        receipts = [read_receipt(block).document for block in blocks]
        return [(receipt, rerun(receipt, store.blocks.get, name)) for receipt in receipts for name in ENGINES]


@pytest.mark.skipif("wasmtime" not in engine_names(), reason="wasmtime does not load here")
async def test_executors_with_different_engines_agree(world: World) -> None:
    first = await world.start("executor-1", Role.EXECUTE, engine=Engine.WASM3)
    second = await world.start("executor-2", Role.EXECUTE, engine=Engine.WASMTIME)
    coordinator = await world.start("coordinator", Role.SUBMIT, peers=(*first.shell.endpoints, *second.shell.endpoints))
    await until(coordinator, lambda: len(coordinator.shell.peers.live(coordinator.clock.now_ms())) == 2)
    assert (first.pool.config.engine, second.pool.config.engine) == ("wasm3", "wasmtime")
    job = await submit(coordinator, [b"one", b"two" * 1000])
    assert await ended(coordinator, job) == "completed"
    for shard in (await command(coordinator, "job", job=str(job)))["shards"]:
        assert shard["verdict"] == "accepted"
        assert {run["executor"] for run in shard["runs"]} == {str(first.shell.did), str(second.shell.did)}
        assert len({run["fuel_used"] for run in shard["runs"]}) == 1
    checks = await asyncio.to_thread(checks_of, coordinator)
    assert len(checks) == 2 * 2 * len(ENGINES)
    for receipt, again in checks:
        assert again.state == "passed", (receipt.executor, again.detail)
