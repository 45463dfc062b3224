"""What members ask beside jobs, over a lossy link and sealed: belonging, directories, gossip, relays, receipts that go
round. With `test_mesh_lossy.py` every row of the table passes a lossy link, which is held here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import mesh_samples as samples
import pytest
from aiocoap.numbers.constants import TransportTuning
from mesh_lossy import LossyLink, Weather, lossy_link
from mesh_members import Members, certificate, cooperative, member, revocation
from mesh_samples import OTHER, SIGNER, Node
from test_mesh_parcels import BLOCK, CID, ENVELOPE, Carried

from icn_lite.mesh import table
from icn_lite.mesh.client import Client
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.far import Far
from icn_lite.mesh.limits import MeshLimits
from icn_lite.mesh.ports import Remote
from icn_lite.mesh.registration import Registrar
from icn_lite.mesh.requests import Call
from icn_lite.mesh.streams import Piece, Where
from icn_lite.mesh.table import Action
from icn_lite.model.cose import KeySigner
from icn_lite.model.invitation import Invitation, invitation_id
from icn_lite.model.membership import fingerprint

LIMITS = MeshLimits(piece_ms=1500, connect_ms=500)
BAD = Weather(lost_pct=10, twice_pct=10, held_back_pct=10, delay_ms=1)
DEADLINE_S = 10.0
TOKEN = bytes(range(16))
LEFT = KeySigner(b"\x07" * 32).did


@pytest.fixture(autouse=True)
def _quick_retransmissions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TransportTuning, "ACK_TIMEOUT", 0.05)


@dataclass
class Whole(Node):
    """A node that hands on and syncs as well."""

    device_pack: bytes | None = b"\x80"
    carrier: Carried = field(default_factory=Carried)  # type: ignore[assignment]

    async def on_sync(self, frame: bytes, remote: Remote) -> bytes:
        return frame[::-1]


@dataclass
class Stage:
    """A node, the link before it, and a member who asks."""

    node: Whole
    hosts: Members
    link: LossyLink
    asker: Endpoint

    @property
    def uri(self) -> str:
        return self.link.uri

    @property
    def client(self) -> Client:
        return Client(self.asker)


async def opened(node: Node, members: Members) -> Endpoint:
    endpoint = Endpoint(EndpointConfig("127.0.0.1", 0, LIMITS, members), node)
    await endpoint.start()
    return endpoint


@pytest.fixture(params=range(2), ids=lambda seed: f"seed{seed}")
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    node, hosts = Whole(OTHER), member(OTHER)
    hosts.issuer = cooperative()
    server, asker = await opened(node, hosts), await opened(Node(SIGNER), member(SIGNER))
    async with lossy_link(server.port, request.param, BAD) as link:
        yield Stage(node, hosts, link, asker)
        await asker.close()
        await server.close()


async def join(stage: Stage) -> None:
    stage.hosts.invitations[invitation_id(TOKEN)] = (TOKEN, cooperative().did)
    newcomer = await opened(Node(KeySigner(b"\x08" * 32)), Members(KeySigner(b"\x08" * 32)))
    address = stage.uri.removeprefix("coap://")
    invitation = Invitation((address,), fingerprint(cooperative().did), TOKEN, "village")
    assert await Client(newcomer).join(stage.uri, invitation)
    await newcomer.close()


async def prolong(stage: Stage) -> None:
    own = certificate(cooperative(), SIGNER.did).block
    assert (await stage.client.post(stage.uri, table.MEMBERSHIP, own)).payload


async def revoke(stage: Stage) -> None:
    client = stage.client
    await client.post(stage.uri, table.REVOCATIONS, revocation(cooperative(), LEFT).block)
    told = await client.get(stage.uri, f"{table.REVOCATIONS}?from=0")
    assert revocation(cooperative(), LEFT).block in told.payload


async def directory(stage: Stage) -> None:
    registrar = Registrar(stage.asker)
    until_s = asyncio.get_running_loop().time() + DEADLINE_S
    desk = await registrar.find(stage.uri, until_s)
    assert desk is not None
    await registrar.register(desk, str(SIGNER.did), "coap://127.0.0.1:40001", until_s)
    assert await registrar.lookup(desk, until_s) == ("coap://127.0.0.1:40001",)
    requester, own = registrar._requester(desk), None
    told = await requester.call(desk.peer, "udp", Call("GET", table.ENDPOINTS), until_s)
    own = told.payload.decode().partition("<")[2].partition(">")[0]
    await requester.call(desk.peer, "udp", Call("POST", own), until_s)
    await requester.call(desk.peer, "udp", Call("DELETE", own), until_s)
    assert await registrar.lookup(desk, until_s) == ()


async def gossip(stage: Stage) -> None:
    client = stage.client
    await client.hand_on(stage.uri, table.RUMOURS, ENVELOPE)
    assert set(map(repr, stage.node.carrier.heard)) == {repr(ENVELOPE)}
    assert await client.rumours(stage.uri, 0) == ([CID], 5)
    assert await client.rumour(stage.uri, CID) == ENVELOPE


async def relay(stage: Stage) -> None:
    client = stage.client
    assert await client.hand_on(stage.uri, table.PARCELS, ENVELOPE) == b"reply to " + ENVELOPE.parcel
    assert await client.fetch_far([stage.uri], CID, Far(OTHER.did, 3), 10_000) == BLOCK


async def sync(stage: Stage) -> None:
    assert await stage.client.sync(stage.uri, b"frame" * 100, udp=True) == (b"frame" * 100)[::-1]
    assert await stage.client.sync(stage.uri, b"frame" * 9_000) == (b"frame" * 9_000)[::-1]


async def device(stage: Stage) -> None:
    assert (await stage.client.get(stage.uri, table.DEVICE)).payload == b"\x80"
    assert (await stage.client.get(stage.uri, table.CAPABILITY)).payload == samples.advertisement(OTHER).block


async def log(stage: Stage) -> None:
    stage.node.streams.begin(samples.JOB_ID, 0, SIGNER.did).put(0, b"said")
    assert await stage.client.read_log(stage.uri, samples.JOB_ID, Where()) == Piece(0, b"said", ended=False)


PROTOCOLS: dict[str, tuple[Callable[[Stage], Awaitable[None]], set[Action]]] = {
    "join": (join, {Action.JOIN, Action.HANDSHAKE, Action.CHANNEL}),
    "prolong": (prolong, {Action.PROLONG}),
    "revoke": (revoke, {Action.REVOKE, Action.REVOCATIONS}),
    "directory": (directory, {
        Action.CORE, Action.REGISTER, Action.RENEW, Action.UNREGISTER, Action.ENDPOINTS, Action.REGISTERED}),
    "gossip": (gossip, {Action.HEAR, Action.RUMOURS, Action.RUMOUR}),
    "relay": (relay, {Action.PARCEL}),
    "sync": (sync, {Action.SYNC}),
    "device": (device, {Action.DEVICE, Action.OWN_CAPABILITY}),
    "log": (log, {Action.LOG}),
}  # fmt: skip
ELSEWHERE = {  # test_mesh_lossy.py
    Action.PING, Action.CAPABILITY, Action.ANNOUNCEMENT, Action.BID, Action.LEASE, Action.LEASE_RETURN, Action.STATUS,
    Action.GIVE_RECEIPT, Action.RECEIPT, Action.BLOCK, Action.JOB_STATUS,
}  # fmt: skip


@pytest.mark.parametrize("name", PROTOCOLS)
async def test_in_bad_weather_everything_arrives(stage: Stage, name: str) -> None:
    async with asyncio.timeout(3 * DEADLINE_S):
        await PROTOCOLS[name][0](stage)
    assert "internal" not in stage.node.refused


def test_no_row_of_the_table_is_left_out() -> None:
    assert ELSEWHERE.union(*(actions for _, actions in PROTOCOLS.values())) == {row.action for row in table.TABLE}
