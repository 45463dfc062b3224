"""Three meshes, three bridges, one hub: jobs are shared; hub, leaf and bridge are killed; nothing is lost nor doubled.

Every mesh is a cooperative of its own, whose nodes know nobody of the others. The hub and its leaf nodes are
real nats-server processes, the bridge that is killed is one as well.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bridge_harness import until
from bridge_meshes import ALONE, Meshes
from bridge_process import BridgeProcess
from nats.aio.client import Client
from nats_servers import NatsHarness, free_port, signer_of
from node_world import command, ended, submit
from node_world import until as until_node

from icn_lite.bridge import nats_layout as layout
from icn_lite.bridge import nkey
from icn_lite.node.config import Role
from icn_lite.node.node import Node

SHARDS = 8


@pytest.fixture
async def nats_harness(tmp_path: Path) -> AsyncIterator[NatsHarness]:
    made = NatsHarness(tmp_path, frozenset(("a-bridge", "b-bridge")), members=("a-bridge", "b-bridge", "c-bridge"))
    yield made
    await made.close()


@pytest.fixture
async def meshes(tmp_path: Path) -> AsyncIterator[Meshes]:
    made = Meshes(tmp_path)
    yield made
    await made.close()


async def in_stream(harness: NatsHarness, stream: str) -> int:
    """How many messages a stream of the hub holds, and how often any was stored twice shows in it."""
    client, signer = Client(), signer_of("a-bridge")
    client._public_nkey = nkey.public_nkey(signer.did)
    hub = await harness.hub()
    await client.connect(
        f"nats://127.0.0.1:{hub.port}", signature_cb=lambda nonce: nkey.answer(signer, nonce), allow_reconnect=False
    )
    info = await client.jetstream(domain="hub").stream_info(stream)
    await client.close()
    return info.state.messages


async def test_three_meshes_share_jobs_while_hub_leaf_and_bridge_are_killed(
    tmp_path: Path, nats_harness: NatsHarness, meshes: Meshes
) -> None:
    address_a, address_b = await nats_harness.address("a-bridge"), await nats_harness.address("b-bridge")
    bridge_b = BridgeProcess.make(tmp_path, "b-bridge", str(address_b), free_port())
    try:
        await bridge_b.start()
        bridge_a, coordinator = await meshes.mesh("a", Role.SUBMIT, str(address_a), bidding_ms=3_000)
        executor_b = await meshes.start("b-node", Role.EXECUTE, peers=bridge_b.endpoints)
        _, executor_c = await meshes.mesh("c", Role.EXECUTE, str(await nats_harness.address("c-bridge")))
        await until_node(executor_b, lambda: len(executor_b.shell.peers.live(executor_b.clock.now_ms())) == 1)
        for bridge in (bridge_a, meshes.world.nodes["c-bridge"]):
            await until(lambda bridge=bridge: bridge_up(bridge))

        first = await submit(coordinator, [b"%d" % number for number in range(SHARDS)], **ALONE)
        await until_node(coordinator, lambda: bool(made(coordinator)))
        (await nats_harness.hub()).kill()
        bridge_b.kill()
        (await nats_harness.leaf("b-bridge")).kill()
        await (await nats_harness.hub()).start()
        await (await nats_harness.leaf("b-bridge")).start()
        await bridge_b.start()

        assert await ended(coordinator, first) == "completed"
        executors = await coordinator.shell.storage.run(lambda store: store.receipts.executors())
        assert set(executors) <= {executor_b.shell.did, executor_c.shell.did}
        assert await coordinator.shell.storage.run(lambda store: store.receipts.count()) == SHARDS
        for executor in (executor_b, executor_c):
            await until_node(executor, lambda e=executor: e.executions is not None and not e.executions.leases)
        assert await in_stream(nats_harness, layout.RECEIPTS) == SHARDS
        assert await in_stream(nats_harness, layout.ACKS) == SHARDS
        ledger = await command(coordinator, "ledger")
        accounts = ledger["accounts"]
        assert sum(accounts[str(node.shell.did)] for node in (coordinator, executor_b, executor_c)) == -accounts["mint"]
        assert accounts[str(coordinator.shell.did)] < coordinator.options.config.initial_mana
    finally:
        bridge_b.kill()


def made(node: Node) -> list[object]:
    """The leases that a coordinator's job has given."""
    assert node.originations is not None
    return [lease for run in node.originations.jobs.values() for lease in run.leases]


def bridge_up(node: Node) -> bool:
    assert node.bridging is not None
    status = node.bridging.status()
    return json.dumps(status).count('"state": "up"') == 1
