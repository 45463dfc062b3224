"""Requests a second and their times, plain aiocoap beside ours, guarded beside unguarded, handshakes, and how long a
block takes over loopback.

Each pair is measured in turns in one process: a server, a client and nothing else. The peer's figure is aiocoap's own
server and client with the same transports, without any of our bounds; ours makes every check of an unguarded
endpoint, and for blocks the hash too.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aiocoap import GET, Context, Message
from aiocoap.resource import Resource, Site

from icn_lite.mesh import table
from icn_lite.mesh.addresses import PeerAddress, bind_sockets
from icn_lite.mesh.client import Client
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.limits import MeshLimits
from icn_lite.mesh.requests import Call, Transport
from icn_lite.model.cid import Cid

sys.path.insert(0, str(Path(__file__).parent))
from _members import members

RUNS = 5
REQUESTS = 300
HANDSHAKES = 200
DEADLINE_S = 60.0
SMALL_BLOCK = b"x" * 512  # what a bid or a receipt weighs
SIZES = ((1 << 20, "1 MiB"), (8 << 20, "8 MiB"))
# A bench asks faster than a peer may; everything else stays as it is.
LIMITS = MeshLimits(requests_per_s=10**6, requests_per_s_peer=10**6, burst=10**6)
GUARD_GOAL_PCT = 35  # at most so much slower than plain
FETCH_GOAL = 0.5  # of what plain coap+tcp does

Row = dict[str, str | int | float | bool | None]


def rows() -> Iterator[Row]:
    yield from asyncio.run(_measure())


class _Node:
    """Handlers that have blocks and nothing else; the bench asks for nothing else."""

    def __init__(self, blocks: dict[Cid, bytes]) -> None:
        self.blocks = blocks

    async def block(self, cid: Cid) -> bytes | None:
        return self.blocks.get(cid)

    def on_refused(self, kind: str) -> None:
        raise AssertionError(kind)


class _Plain(Resource):
    def __init__(self, payload: bytes) -> None:
        super().__init__()
        self.payload = payload

    async def render_get(self, request: Message) -> Message:
        return Message(payload=self.payload)


@dataclass
class _Stage:
    """Both servers and both clients."""

    ours: Client
    peer: PeerAddress
    plain: Context
    plain_port: int


async def _measure() -> list[Row]:
    blocks = {Cid.of_raw(data): data for data in (SMALL_BLOCK, *(bytes(size) for size, _ in SIZES))}
    server = Endpoint(EndpointConfig("127.0.0.1", 0, LIMITS), _Node(blocks))  # type: ignore[arg-type]
    asker = Endpoint(EndpointConfig("127.0.0.1", 0, LIMITS), _Node({}))  # type: ignore[arg-type]
    await server.start()
    await asker.start()
    site = Site()
    for cid, data in blocks.items():
        site.add_resource(("icn", "blocks", str(cid)), _Plain(data))
    plain_port = _free_port()
    plain_server = await Context.create_server_context(
        site, bind=("127.0.0.1", plain_port), transports=["udp6", "tcpserver", "tcpclient"]
    )
    plain = await Context.create_client_context(transports=["udp6", "tcpclient"])
    stage = _Stage(Client(asker), PeerAddress("127.0.0.1", server.port), plain, plain_port)
    try:
        found = [row for transport in ("udp", "tcp") for row in await _requests(stage, transport)]
        for size, name in SIZES:
            found.append(await _fetch(stage, Cid.of_raw(bytes(size)), size, name))
        found += await _guarding(stage)
        return found
    finally:
        await asker.close()
        await server.close()
        await plain.shutdown()
        await plain_server.shutdown()


def _free_port() -> int:
    udp, tcp = bind_sockets("127.0.0.1", 0)
    port = tcp.getsockname()[1]
    udp.close()
    tcp.close()
    return int(port)


async def _requests(stage: _Stage, transport: Transport) -> list[Row]:
    """Sequential confirmable GETs of 512 bytes."""
    path = table.BLOCK.replace("{cid}", str(Cid.of_raw(SMALL_BLOCK)))
    scheme = "coap" if transport == "udp" else "coap+tcp"
    loop = asyncio.get_running_loop()

    async def ours() -> None:
        await stage.ours._requester.call(stage.peer, transport, Call("GET", path), loop.time() + DEADLINE_S)

    async def plain() -> None:
        uri = f"{scheme}://127.0.0.1:{stage.plain_port}{path}"
        await stage.plain.request(Message(code=GET, uri=uri)).response

    mine, theirs = await _in_turns(ours, plain, REQUESTS)
    rate, peer_rate = 1 / statistics.median(mine), 1 / statistics.median(theirs)
    ok = peer_rate <= rate * (1 + GUARD_GOAL_PCT / 100)
    found: list[Row] = [
        {"name": f"requests one after the other, {scheme} (peer: aiocoap)", "value": round(rate), "unit": "1/s",
         "peer": round(peer_rate), "goal": round(peer_rate / (1 + GUARD_GOAL_PCT / 100)), "ok": ok},
    ]  # fmt: skip
    return found + _percentiles(f"a request, {scheme} (peer: aiocoap)", mine, theirs)


async def _fetch(stage: _Stage, cid: Cid, size: int, name: str) -> Row:
    """One block by coap+tcp; ours verifies it, aiocoap's is taken as it comes."""
    uri = f"coap+tcp://127.0.0.1:{stage.plain_port}/icn/blocks/{cid}"

    async def ours() -> None:
        assert len(await stage.ours.fetch_block([str(stage.peer)], cid, size)) == size

    async def plain() -> None:
        assert len((await stage.plain.request(Message(code=GET, uri=uri)).response).payload) == size

    mine, theirs = (statistics.median(times) * 1000 for times in await _in_turns(ours, plain, 3))
    return {"name": f"fetch {name}, verified, coap+tcp (peer: aiocoap, unverified)", "value": round(mine, 1),
            "unit": "ms", "peer": round(theirs, 1), "goal": round(theirs / FETCH_GOAL, 1),
            "ok": mine * FETCH_GOAL <= theirs}  # fmt: skip


async def _in_turns(
    ours: Callable[[], Awaitable[None]], plain: Callable[[], Awaitable[None]], count: int
) -> tuple[list[float], list[float]]:
    """Seconds of each call, `count` of ours and of the peer's in turns, `RUNS` times, after one of each."""
    times: tuple[list[float], list[float]] = ([], [])
    for call in (ours, plain):
        await call()
    for _ in range(RUNS):
        for call, spent in zip((ours, plain), times, strict=True):
            for _ in range(count):
                begun = time.perf_counter()
                await call()
                spent.append(time.perf_counter() - begun)
    return times


async def _guarding(stage: _Stage) -> list[Row]:
    """The same requests in a session beside those without, and how often two members shake hands."""
    with tempfile.TemporaryDirectory(prefix="icn-bench-") as folder:
        blocks = {Cid.of_raw(SMALL_BLOCK): SMALL_BLOCK}
        ends = [
            Endpoint(EndpointConfig("127.0.0.1", 0, LIMITS, belonging), _Node(blocks))  # type: ignore[arg-type]
            for belonging in members(Path(folder), "server", "asker")
        ]
        for end in ends:
            await end.start()
        try:
            guarded, peer = Client(ends[1]), PeerAddress("127.0.0.1", ends[0].port)
            found = [row for transport in ("udp", "tcp") for row in await _sealed(stage, (guarded, peer), transport)]
            return [*found, await _handshakes(guarded, peer)]
        finally:
            for end in ends:
                await end.close()


async def _sealed(stage: _Stage, guarded: tuple[Client, PeerAddress], transport: Transport) -> list[Row]:
    call = Call("GET", table.BLOCK.replace("{cid}", str(Cid.of_raw(SMALL_BLOCK))))
    loop = asyncio.get_running_loop()
    client, peer = guarded

    async def sealed() -> None:
        await client._requester.call(peer, transport, call, loop.time() + DEADLINE_S)

    async def bare() -> None:
        await stage.ours._requester.call(stage.peer, transport, call, loop.time() + DEADLINE_S)

    mine, theirs = await _in_turns(sealed, bare, REQUESTS)
    scheme = "coap" if transport == "udp" else "coap+tcp"
    rate, bare_rate = 1 / statistics.median(mine), 1 / statistics.median(theirs)
    least = bare_rate * (1 - GUARD_GOAL_PCT / 100)
    found: list[Row] = [
        {"name": f"guarded requests one after the other, {scheme} (peer: unguarded)", "value": round(rate),
         "unit": "1/s", "peer": round(bare_rate), "goal": round(least), "ok": rate >= least},
    ]  # fmt: skip
    return found + _percentiles(f"a guarded request, {scheme} (peer: unguarded)", mine, theirs)


async def _handshakes(client: Client, peer: PeerAddress) -> Row:
    """Whole handshakes one after the other over UDP: both round trips, and the work of both sides in one process."""
    requester = client._requester
    channels = requester.channels
    assert channels is not None
    request = requester.message(peer, "udp", Call("GET", table.PING))
    await requester.resolve(peer, request, asyncio.get_running_loop().time() + DEADLINE_S)
    spent = []
    for _ in range(HANDSHAKES):
        begun = time.perf_counter()
        await channels.shake(peer, requester.asks(peer, request.remote))
        spent.append(time.perf_counter() - begun)
    return {"name": "handshakes, both sides on one core", "value": round(1 / statistics.median(spent)), "unit": "1/s"}


def _percentiles(name: str, mine: list[float], theirs: list[float]) -> list[Row]:
    found: list[Row] = []
    for share in (50, 99):
        own, other = (round(_percentile(times, share) * 1000, 3) for times in (mine, theirs))
        found.append({"name": f"p{share} of {name}", "value": own, "unit": "ms", "peer": other})
    return found


def _percentile(times: list[float], share: int) -> float:
    return sorted(times)[min(len(times) - 1, len(times) * share // 100)]
