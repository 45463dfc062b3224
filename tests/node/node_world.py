"""A few real nodes in one event loop: real sockets on loopback, real stores, real sandboxes, homes under a folder.

mDNS is off: the nodes are told of each other, so that tests on one machine never meet another test's nodes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icn_lite.model.cid import Cid
from icn_lite.model.cose import KeySigner
from icn_lite.node.commands import Commands
from icn_lite.node.config import Config, Role
from icn_lite.node.cooperatives import CooperativeSigner
from icn_lite.node.fleet import enrol
from icn_lite.node.home import Home
from icn_lite.node.node import Node, NodeOptions
from icn_lite.resources import guest_module

COOPERATIVE = CooperativeSigner(b"\xc0" * 32)  # of all nodes and strangers here; who shall be none says so
PATIENCE_S = 60.0  # for anything that has to happen on a loaded machine; reaching it fails the test


@dataclass
class World:
    """Nodes by name; a name is a seed byte too, so that identities are the same in every run."""

    folder: Path
    nodes: dict[str, Node] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def start(self, name: str, *roles: Role, peers: tuple[str, ...] = (), **settings: Any) -> Node:
        """Start a node, or start it again on the home that it had."""
        home = Home(self.folder / name)
        home.create()
        values = {"profile": "server", "bidding_ms": 500, "workers": 1, "roles": roles or (Role.EXECUTE, Role.SUBMIT)}
        config = Config(port=0, bind="127.0.0.1", mdns=False, peers=peers, **{**values, **settings})
        signer = KeySigner(name.encode().ljust(32, b"\1")[:32])
        if not home.cooperatives.exists():
            enrol(home, signer, COOPERATIVE, "world")
        node = Node(NodeOptions(home, config, signer))
        ready = asyncio.Event()
        task = asyncio.create_task(node.run(ready.set), name=f"node {name}")
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiting}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            task.result()
        self.nodes[name], self.tasks[name] = node, task
        return node

    async def stop(self, name: str) -> None:
        """Stop a node in order."""
        task = self.tasks.pop(name)
        self.nodes.pop(name)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def close(self) -> None:
        """Stop all of them."""
        for name in tuple(self.tasks):
            await self.stop(name)

    async def trio(self) -> tuple[Node, Node, Node]:
        """A coordinator and two executors that know each other."""
        first = await self.start("executor-1", Role.EXECUTE)
        second = await self.start("executor-2", Role.EXECUTE)
        coordinator = await self.start(
            "coordinator", Role.SUBMIT, peers=(*first.shell.endpoints, *second.shell.endpoints)
        )
        await until(coordinator, lambda: len(coordinator.shell.peers.live(coordinator.clock.now_ms())) == 2)
        for executor in (first, second):
            await until(executor, lambda e=executor: bool(e.shell.peers.live(e.clock.now_ms())))
        return coordinator, first, second


async def until(node: Node, condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until something is true of a node; it is looked at whenever the node says that something changed."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            value = condition()
            if value if isinstance(value, bool) else await value:
                return
            await node.shell.changed.wait(0.2)


async def command(node: Node, name: str, body: bytes = b"", **fields: Any) -> Any:
    """A command of the control socket, without the socket."""
    return await Commands(node).table()[name](fields, body)


async def submit(node: Node, inputs: list[bytes], module: bytes | None = None, **fields: Any) -> Cid:
    """Submit a job over these inputs; the guest is `echo` unless given."""
    from icn_lite.model import document
    from icn_lite.model.job import PlannedShard, ShardPlan

    guest = await command(node, "put_block", module or guest_module("echo"))
    cids = [Cid.parse(await command(node, "put_block", data)) for data in inputs]
    if len(inputs) == 1:
        spec: Mapping[str, Any] = {"data": str(cids[0]), "total_bytes": len(inputs[0])}
    else:
        shards = tuple(PlannedShard(cid, len(data), max(1, len(data))) for cid, data in zip(cids, inputs, strict=True))
        plan = await command(node, "put_block", document.encode(ShardPlan(shards)), codec="dag-cbor")
        spec = {"plan": plan, "shards": len(inputs), "total_bytes": sum(map(len, inputs))}
    job: dict[str, Any] = {
        "name": "test",
        "runtime": {"type": "WASM", "module": guest, "memory_pages": 40},
        "input": spec,
        "budget": {"max_total": 1000},
        "deadline_in_s": 600,
        "redundancy": {"type": "Full", "n": 2},
        "compute": {"max_fuel": 10_000_000, "timeout_ms": 20_000},
    }
    return Cid.parse(await command(node, "submit", job={**job, **fields}))


async def ended(node: Node, job: Cid) -> str:
    """Wait until a job of this node is over; returns its last phase."""
    assert node.originations is not None
    run = node.originations.jobs[job]
    try:
        await until(node, lambda: run.machine.ended is not None)
    except TimeoutError:
        raise AssertionError(f"{run.machine.phase}: {vars(run.machine)}\n{run.machine._book.leases}") from None
    return str(run.machine.phase.value)
