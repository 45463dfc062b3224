"""Fifty who mean harm, as a process of their own: `_mob.py HOME PORT…`.

HOME is a member's: what it says in its sessions is caught and sent again later. Says `ready` when something was caught,
begins with the first line of standard input, ends with its end, and then tells how often each kind has struck.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from pathlib import Path
from typing import ClassVar

from icn_lite.mesh import transports, udp
from icn_lite.mesh.client import Client
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.limits import MeshLimits
from icn_lite.node.clock import Clock
from icn_lite.node.home import Home
from icn_lite.node.keys import load_key
from icn_lite.node.memberships import Memberships

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "node"))
from node_hostile import HOST, Mob

PINGS = 20  # caught of each node
DEADLINE_MS = 10_000

Caught = list[tuple[int, bytes]]


class _Nobody:
    """Handlers that are never asked for anything."""

    def on_refused(self, kind: str) -> None:
        pass


class _Ear(udp.Udp):
    """Hears what goes out in sessions: the port, and the datagram."""

    caught: ClassVar[Caught] = []

    def send(self, message: object) -> None:
        if message.code.is_request() and message.opt.uri_path == ("icn",):  # type: ignore[attr-defined]
            self.caught.append((message.remote.sockaddr[1], bytes(message.encode())))  # type: ignore[attr-defined]
        super().send(message)


async def catch(home: Home, ports: list[int]) -> Caught:
    """Have a member speak with every node, and keep what it said."""
    transports.Udp = _Ear  # type: ignore[misc, attr-defined]
    signer = load_key(home.key, lambda: b"")
    memberships = Memberships(home.cooperatives, signer, Clock(), secrets.token_bytes)
    memberships.load()
    endpoint = Endpoint(EndpointConfig(HOST, 0, MeshLimits(), memberships), _Nobody())  # type: ignore[arg-type]
    await endpoint.start()
    try:
        client = Client(endpoint)
        for port in ports:
            for _ in range(PINGS):
                await client.ping_ms(f"coap://{HOST}:{port}", deadline_ms=DEADLINE_MS)
    finally:
        await endpoint.close()
    return _Ear.caught


async def main(home: Home, ports: list[int]) -> None:
    caught = await catch(home, ports)
    if not caught:
        raise SystemExit("nothing was caught")
    print("ready", flush=True)
    loop, mob = asyncio.get_running_loop(), Mob(ports, caught)
    await loop.run_in_executor(None, sys.stdin.readline)
    mob.begin()
    await loop.run_in_executor(None, sys.stdin.read)
    await mob.end()
    print(json.dumps(mob.strokes))


if __name__ == "__main__":
    asyncio.run(main(Home(Path(sys.argv[1])), [int(word) for word in sys.argv[2:]]))
