"""Open endpoints on loopback, closed after the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from mesh_openers import Opener, RawOpener
from mesh_raw import RawUdp, raw_udp
from mesh_samples import SIGNER, Node

from icn_lite.mesh.client import Client
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.limits import MeshLimits


@pytest.fixture
async def open_endpoint() -> AsyncIterator[Opener]:
    opened: list[Endpoint] = []

    async def start(
        node: Node | None = None, *, bind: str = "127.0.0.1", port: int = 0, limits: MeshLimits | None = None
    ) -> Endpoint:
        endpoint = Endpoint(EndpointConfig(bind, port, limits or MeshLimits()), node or Node())
        await endpoint.start()
        opened.append(endpoint)
        return endpoint

    yield start
    for endpoint in reversed(opened):
        await endpoint.close()


@pytest.fixture
async def client(open_endpoint: Opener) -> Client:
    """A client over an endpoint of its own, which signs as SIGNER."""
    return Client(await open_endpoint(Node(SIGNER)))


@pytest.fixture
async def open_raw() -> AsyncIterator[RawOpener]:
    """Sockets that send datagrams by hand."""
    opened: list[RawUdp] = []

    async def start(port: int, *, believed: bool = False) -> RawUdp:
        opened.append(await raw_udp(port))
        if believed:
            await opened[-1].be_believed()
        return opened[-1]

    yield start
    for raw in opened:
        raw.transport.close()
    await asyncio.sleep(0)  # the transports close their sockets in the next turn of the loop
