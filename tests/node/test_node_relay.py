"""A line of real nodes where only neighbours know each other: whole jobs between its ends.

Nobody but the first and the last node has a part in the job; between them everything is handed on.
"""

from __future__ import annotations

from node_world import World, ended, submit, until

from icn_lite.node.config import Role
from icn_lite.node.node import Node

ALONE = {"redundancy": {"type": "None"}}


async def line(world: World, length: int, **settings: object) -> list[Node]:
    """Nodes in a line: the first submits, the last executes, and each was told of the one before it only."""
    nodes = [await world.start("0", Role.SUBMIT, bidding_ms=3_000, **settings)]
    for number in range(1, length):
        role = Role.EXECUTE if number == length - 1 else Role.SUBMIT
        nodes.append(await world.start(str(number), role, peers=nodes[-1].shell.endpoints, **settings))
    for place, node in enumerate(nodes):
        beside = {nodes[n].shell.did for n in (place - 1, place + 1) if 0 <= n < length}
        await until(node, lambda n=node, b=beside: {p.did for p in n.shell.peers.live(n.clock.now_ms())} == b)
    return nodes


async def heard_of(node: Node, other: Node) -> None:
    assert node.carriage is not None
    await until(
        node, lambda: node.shell.reaches(other.shell.did) and node.shell.capability(other.shell.did) is not None
    )


async def test_a_job_goes_from_one_end_of_a_line_of_eight_to_the_other_and_back(world: World) -> None:
    nodes = await line(world, 8)
    first, last = nodes[0], nodes[-1]
    await heard_of(first, last)
    await heard_of(last, first)
    assert first.carriage is not None
    assert first.carriage.reached()[last.shell.did].hops == 7
    for place, node in enumerate(nodes):
        assert len(node.shell.peers.peers) == (1 if place in (0, 7) else 2)
    job = await submit(first, [b"from far away", b"two shards"], **ALONE)
    assert await ended(first, job) == "completed"
    assert await first.shell.storage.run(lambda store: store.receipts.executors()) == (last.shell.did,)
    await until(last, lambda: last.executions is not None and not last.executions.leases)
