"""Fifty hostile sessions against four honest nodes, which finish their job and keep within their bounds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from node_hostile import PER_KIND, Mob
from node_world import World, command, ended, submit, until

from icn_lite.mesh import udp
from icn_lite.node.config import Role
from icn_lite.node.node import Node


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bytes]]:
    """Sealed datagrams as somebody on the link sees them: the port that they went to, and their bytes."""
    found: list[tuple[int, bytes]] = []
    send: Callable[..., None] = udp.Udp.send

    def listen(self: udp.Udp, message: object) -> None:
        if message.code.is_request() and message.opt.uri_path == ("icn",):  # type: ignore[attr-defined]
            found.append((message.remote.sockaddr[1], bytes(message.encode())))  # type: ignore[attr-defined]
        send(self, message)

    monkeypatch.setattr(udp.Udp, "send", listen)
    return found


async def four(world: World) -> tuple[Node, list[Node]]:
    executors = [await world.start(f"executor-{number}", Role.EXECUTE) for number in range(3)]
    peers = tuple(uri for node in executors for uri in node.shell.endpoints)
    coordinator = await world.start("coordinator", Role.SUBMIT, peers=peers, bidding_ms=2_000)
    await until(coordinator, lambda: len(coordinator.shell.peers.live(coordinator.clock.now_ms())) == len(executors))
    for node in executors:
        await until(node, lambda n=node: bool(n.shell.peers.live(n.clock.now_ms())))
    return coordinator, executors


async def test_four_nodes_finish_their_job_among_fifty_who_mean_harm(
    world: World, caught: list[tuple[int, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    coordinator, executors = await four(world)
    nodes = [coordinator, *executors]
    sessions = [node.endpoint.sessions for node in nodes]
    mob = Mob([node.endpoint.port for node in nodes], list(caught))
    assert mob.sealed
    mob.begin()
    try:
        job = await submit(coordinator, [bytes([number]) * 500 for number in range(6)])
        assert await ended(coordinator, job) == "completed", (await command(coordinator, "job", job=str(job)))[
            "message"
        ]
        view = await command(coordinator, "job", job=str(job))
        assert [shard["verdict"] for shard in view["shards"]] == ["accepted"] * 6
        # Not before every kind has struck, each attacker a few times.
        await until(coordinator, lambda: all(mob.strokes[kind] >= 2 * PER_KIND for kind in KINDS))
    finally:
        await mob.end()
    print(dict(mob.strokes))
    limits = coordinator.endpoint.limits
    for node, before in zip(nodes, sessions, strict=True):
        refused = (await node.status())["refused"]
        print(refused)
        assert node.endpoint.sessions <= before + len(nodes), "a stranger has a session"
        site = node.endpoint._site
        assert len(site._assemblies) == 0, "a stranger's body was begun"
        listener = node.endpoint.context.request_interfaces[1].token_interface
        assert len(listener._pool) <= limits.connections
    counted = await total(nodes)
    for kind in ("session_required", "replayed", "malformed_message"):
        assert counted[kind] > 0, counted
    assert len(caplog.records) < 400


KINDS = ("slow", "half-open", "oversize", "replayed", "flood")


async def total(nodes: list[Node]) -> dict[str, int]:
    """How often each kind was refused, over all nodes."""
    found: dict[str, int] = {}
    for node in nodes:
        await node._store_refusals()
        for kind, count in (await node.status())["refused"].items():  # type: ignore[union-attr]
            found[kind] = found.get(kind, 0) + count  # type: ignore[operator]
    return found
