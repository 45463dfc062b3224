"""A full disk: the node says so, refuses with a clear error, loses nothing acknowledged, and works on with space."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from node_guests import slow_guest
from node_stranger import OUTPUT, Stranger
from node_world import World, command, ended, submit, until

from icn_lite.mesh import table as paths
from icn_lite.model.cid import Cid
from icn_lite.model.errors import DiskFullError, JobErrorCode, PeerRefused
from icn_lite.node import execution, origination
from icn_lite.node.config import Role
from icn_lite.node.node import Node
from icn_lite.store.db import Store

LEAST_BYTES = 8  # of a row that takes what is left of a page


@pytest_asyncio.fixture
async def stranger() -> AsyncIterator[Stranger]:
    made = Stranger("stranger")
    yield made
    await made.close()


async def fill(node: Node) -> None:
    """Let the database have no page more than it has, and take up the free ones."""

    def work(store: Store) -> None:
        database = store._db
        database.run("CREATE TABLE IF NOT EXISTS slack(data BLOB)")
        database.run("PRAGMA max_page_count=1")  # SQLite takes the present number instead
        size = 1 << 20
        while size >= LEAST_BYTES:
            try:
                database.run("INSERT INTO slack VALUES (zeroblob(?))", (size,))
            except DiskFullError:
                size //= 2

    await node.shell.storage.run(work)


async def free(node: Node) -> None:
    def work(store: Store) -> None:
        store._db.run("PRAGMA max_page_count=1000000")
        store._db.run("DROP TABLE slack")

    await node.shell.storage.run(work)


async def test_what_has_no_room_is_refused_and_changes_nothing(world: World) -> None:
    node = await world.start("coordinator", Role.SUBMIT)
    await fill(node)
    with pytest.raises(DiskFullError, match="no room left") as refused:
        await command(node, "put_block", b"x" * 100_000)
    assert refused.value.code is JobErrorCode.RESOURCE_EXHAUSTED
    assert (await command(node, "ledger"))["sum"] == 0
    assert (await command(node, "status"))["jobs"] == 0  # it still answers
    await free(node)
    await command(node, "put_block", b"x" * 100_000)


async def test_a_receipt_without_room_is_not_acknowledged(
    world: World, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origination, "STORE_RETRY_MS", 20)
    node = await world.start("coordinator", Role.SUBMIT, bidding_ms=300)
    await stranger.start(node)
    stranger.blocks[Cid.of_raw(OUTPUT)] = OUTPUT
    job = await submit(node, [bytes([n]) for n in range(16)], redundancy={"type": "None"})
    spec = (await stranger.until(lambda: stranger.announced))[0].document.job
    await stranger.post(paths.BIDS, stranger.bid(spec).block)
    sent, acked, prev, refusal, done = set[Any](), set[Cid](), None, None, 0
    assert node.originations is not None
    machine = node.originations.jobs[job].machine
    while machine.phase.value == "running" or not done:
        todo = [(lease, g) for lease in stranger.leases for g in lease.document.shards if (lease.cid, g) not in sent]
        if not todo:
            await node.shell.changed.wait(0.2)
            continue
        lease, grant = todo[0]
        if done == 2 and refusal is None:
            await fill(node)
        changed = {"shard": grant.index, "input": grant.input, "price": grant.price}
        receipt = stranger.receipt_for(lease, done, prev, **changed)
        try:
            await stranger.client.post_receipt(stranger.uri, receipt.block)
        except PeerRefused as error:
            refusal = error
            await free(node)
            machine = node.originations.jobs[job].machine  # made again from the disk
            continue
        acked.add(receipt.cid)
        sent.add((lease.cid, grant))
        prev, done = receipt.cid, done + 1
        machine = node.originations.jobs[job].machine
    assert refusal is not None
    assert (refusal.response, refusal.problem) == ("5.03", "disk_full")
    assert refusal.retry_after_s == 300
    assert "/" not in refusal.message.replace(stranger.uri, "").replace("coap://", "")  # nothing of the node's paths
    assert await ended(node, job) == "completed"
    rows = await node.shell.storage.run(lambda store: store.receipts.list())
    assert {row.cid for row in rows} == acked
    assert await node.shell.storage.run(lambda store: store.receipts.faults(stranger.did)) == ()
    assert (await command(node, "ledger"))["sum"] == 0


@pytest.mark.parametrize("name", ["coordinator", "executor-1"])
async def test_a_job_outlives_a_full_disk(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (execution, origination):
        monkeypatch.setattr(module, "STORE_RETRY_MS", 50)
        monkeypatch.setattr(module, "RETRY_MS", 100)
    caplog.set_level(logging.INFO)
    coordinator, first, second = await world.trio()
    inputs = [bytes([n]) * 3000 for n in range(8)]
    job = await submit(coordinator, inputs, module=slow_guest(1_000_000))
    await until(first, lambda: bool(first.executions.leases))
    full = world.nodes[name]
    await fill(full)
    async with asyncio.timeout(60):
        while (
            "no room left" not in caplog.text and "disk_full" not in caplog.text and "disk is full" not in caplog.text
        ):
            await full.shell.changed.wait(0.1)
    await free(full)
    assert await ended(coordinator, job) == "completed"
    for node in (first, second):
        await until(node, lambda n=node: not n.executions.leases)
        did = node.shell.did
        assert await node.shell.storage.run(lambda store, did=did: store.receipts.faults(did)) == ()
    ledger = await command(coordinator, "ledger")
    assert (ledger["sum"], ledger["accounts"][f"escrow:{job}"]) == (0, 0)
