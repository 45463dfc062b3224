"""Meshes of real nodes that know nothing of each other, each with a bridge to one hub."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from node_world import World, until

from icn_lite.bridge.memory import MemoryHub
from icn_lite.model.cose import KeySigner
from icn_lite.node.config import Role
from icn_lite.node.cooperatives import CooperativeSigner
from icn_lite.node.fleet import enrol
from icn_lite.node.home import Home
from icn_lite.node.node import Node

ALONE = {"redundancy": {"type": "None"}}


@dataclass
class Meshes:
    """Nodes by name; the first letter of a name is its mesh, which is a cooperative of its own."""

    folder: Path
    hub: MemoryHub = field(default_factory=MemoryHub)
    world: World = field(init=False)

    def __post_init__(self) -> None:
        self.world = World(self.folder)

    async def start(self, name: str, *roles: Role, **settings: Any) -> Node:
        home = Home(self.folder / name)
        home.create()
        signer = KeySigner(name.encode().ljust(32, b"\1")[:32])
        if not home.cooperatives.exists():
            enrol(home, signer, CooperativeSigner(name[0].encode() * 32), name[0])
        return await self.world.start(name, *roles, **settings)

    async def mesh(self, name: str, role: Role, upstream: str, **settings: Any) -> tuple[Node, Node]:
        """A bridge, and one node with a role that knows the bridge."""
        bridge = await self.start(f"{name}-bridge", Role.SUBMIT, upstreams=(upstream,))
        node = await self.start(f"{name}-node", role, peers=bridge.shell.endpoints, **settings)
        for one in (bridge, node):
            await until(one, lambda one=one: len(one.shell.peers.live(one.clock.now_ms())) == 1)
        return bridge, node

    async def close(self) -> None:
        await self.world.close()
