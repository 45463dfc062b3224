"""Work that is taken along: the network goes, the device runs on, and later every receipt arrives once."""

from __future__ import annotations

from node_guests import slow_guest
from node_world import World, command, ended, submit, until

from icn_lite.node.config import Role
from icn_lite.node.node import Node
from icn_lite.work.executor import Step

SHARDS = 6
ROUNDS = 600_000  # so that the first shard is not over before the last input has arrived
HOUR_MS = 3_600_000


def steps(node: Node) -> list[Step]:
    assert node.executions is not None
    return [work.step for run in node.executions.leases.values() for work in run.machine.shards.values()]


async def test_work_goes_on_without_anybody_and_over_a_start_offline(world: World) -> None:
    device = await world.start("device", Role.EXECUTE, offline_hours=3)
    owner = await world.start("owner", Role.SUBMIT, peers=device.shell.endpoints)
    await until(owner, lambda: bool(owner.shell.peers.live(owner.clock.now_ms())))
    job = await submit(
        owner,
        [bytes([n]) for n in range(SHARDS)],
        redundancy={"type": "None"},
        deadline_in_s=86_400,
        runtime={"type": "WASM", "module": await put(owner, slow_guest(ROUNDS)), "function": "run", "memory_pages": 8},
    )
    await until(device, lambda: len(steps(device)) == SHARDS and Step.FETCHING not in steps(device))
    lease_ms = {run.machine.lease.duration_ms for run in device.executions.leases.values()}  # type: ignore[union-attr]
    assert min(lease_ms) >= 3 * HOUR_MS, "what is taken along lasts as long as the device may be away"

    await world.stop("owner")
    await world.stop("device")  # in the middle of a shard
    alone = await world.start("device", Role.EXECUTE, offline=True)
    assert alone.shell.endpoints == ()
    await until(alone, lambda: set(steps(alone)) <= {Step.UNACKED, Step.DONE})
    assert (await command(alone, "status"))["offline"] is True
    assert await command(alone, "peers") == []
    held = await alone.shell.storage.run(lambda store: store.receipts.count())
    await world.stop("device")

    device = await world.start("device", Role.EXECUTE)
    owner = await world.start("owner", Role.SUBMIT, peers=device.shell.endpoints)
    assert await ended(owner, job) == "completed"
    await until(device, lambda: not device.executions.leases)  # type: ignore[union-attr]
    taken, faults = await owner.shell.storage.run(
        lambda store: (store.receipts.count(), store.receipts.faults(device.shell.did))
    )
    assert (taken, faults) == (SHARDS, ()) == (held, ())
    ledger = await command(owner, "ledger")
    assert ledger["sum"] == ledger["accounts"][f"escrow:{job}"] == 0
    view = await command(owner, "job", job=str(job))
    assert ledger["accounts"][str(device.shell.did)] == 1_000 + view["paid"]


async def put(node: Node, data: bytes) -> str:
    cid = await command(node, "put_block", data)
    assert isinstance(cid, str)
    return cid
