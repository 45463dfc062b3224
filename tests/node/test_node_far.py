"""What a node sees of those who are no neighbours: who they are, how its job stands there, what a guest says."""

from __future__ import annotations

import pytest
from node_world import World, command, ended, submit, until
from test_node_blobs import SAID, TALKER
from test_node_relay import ALONE, heard_of, line

from icn_lite.mesh.streams import Where
from icn_lite.model.cid import Cid
from icn_lite.model.errors import JobError, PeerError, PeerRefused, UsageError
from icn_lite.node.node import Node


async def rows(node: Node) -> dict[str, dict[str, object]]:
    return {row["did"]: row for row in await command(node, "peers")}


async def test_who_is_reached_through_others_is_listed_with_hops_and_neighbour(world: World) -> None:
    nodes = await line(world, 4)
    first, second, *_, last = nodes
    await heard_of(first, last)
    shown = await rows(first)
    assert next(iter(shown)) == str(second.shell.did)
    beside, far = shown[str(second.shell.did)], shown[str(last.shell.did)]
    assert (beside["hops"], beside["via"], beside["live"]) == (1, None, True)
    assert (far["hops"], far["via"], far["found"], far["rtt_ms"]) == (3, str(second.shell.did), "relay", None)
    assert (far["profile"], far["roles"], far["live"]) == ("server", ["execute"], True)
    assert set(beside) == set(far)
    assert all(type(value) is not float for row in shown.values() for value in row.values())


async def test_a_phone_that_sees_one_neighbour_follows_its_job_and_reads_its_log(world: World) -> None:
    wasmtime = pytest.importorskip("wasmtime", reason="wasmtime, which assembles the guest, is missing")
    nodes = await line(world, 4)
    first, last = nodes[0], nodes[-1]
    await heard_of(first, last)
    await heard_of(last, first)
    job = await submit(first, [b""], bytes(wasmtime.wat2wasm(TALKER)), **ALONE)
    assert await ended(first, job) == "completed"
    assert len(first.shell.peers.peers) == 1
    said, told = b"", {}
    while not told.get("ended"):
        told = await command(first, "log", job=str(job), shard=0, wait_ms=10_000, **{"from": len(said)})
        said += bytes.fromhex(told["data"])
    assert said == SAID
    assert told["executor"] == str(last.shell.did)
    # The other way: who sees the originator through relays only asks it how the job stands.
    status = await command(last, "job_at", job=str(job), of=str(first.shell.did))
    assert (status["phase"], status["settled"], status["shards"]) == ("completed", 1, 1)
    with pytest.raises(PeerRefused, match="no job"):
        await command(last, "job_at", job=str(Cid.of_dag_cbor(b"none")), of=str(first.shell.did))


async def test_logs_are_for_who_leased_alone_through_relays_too(world: World) -> None:
    nodes = await line(world, 3)
    first, middle, last = nodes
    await heard_of(first, last)
    await heard_of(last, first)
    job = await submit(first, [b"x"], **ALONE)
    assert await ended(first, job) == "completed"
    assert first.originations is not None
    (lease,) = first.originations.jobs[job].leases
    piece = await first.shell.read_log(last.shell.did, lease, Where(0))
    assert piece.start == 0
    with pytest.raises(PeerRefused, match="no log of lease"):
        await middle.shell.read_log(last.shell.did, lease, Where(0))


async def test_what_can_not_be_asked(world: World) -> None:
    node = await world.start("0")
    job = str(Cid.of_dag_cbor(b"none"))
    with pytest.raises(JobError, match="was submitted here"):
        await command(node, "log", job=job)
    for fields in ({"job": "x"}, {"job": job, "shard": -1}, {"job": job, "from": True}):
        with pytest.raises((UsageError, JobError)):
            await command(node, "log", **fields)
    with pytest.raises(UsageError, match="expected a DID"):
        await command(node, "job_at", job=job, of="me")
    with pytest.raises(PeerError):
        await command(node, "job_at", job=job, of=str(node.shell.did))


async def test_a_peer_that_went_silent_is_shown_with_the_way_to_it(world: World) -> None:
    """Known directly, heard through somebody else."""
    nodes = await line(world, 3)
    first, middle, last = nodes
    await heard_of(first, last)
    first.shell.peers.propose(last.shell.endpoints, first.shell.peers.peers[middle.shell.did].found, 0)
    first.shell.changed.ring()
    await until(first, lambda: last.shell.did in first.shell.peers.peers)
    first.shell.peers.peers[last.shell.did].heard_ms = -1_000_000
    first.shell.peers.candidates.clear()
    shown = (await rows(first))[str(last.shell.did)]
    assert (shown["live"], shown["hops"], shown["via"]) == (False, 2, str(middle.shell.did))
