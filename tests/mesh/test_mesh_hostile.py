"""Strangers: bytes that are no CoAP, floods, half-open and greedy connections. Others are answered all the while."""

from __future__ import annotations

import asyncio
import random

import mesh_samples as samples
import pytest
from aiocoap import Message
from aiocoap.numbers.codes import CSM, Code
from aiocoap.optiontypes import UintOption
from aiocoap.transports.tcp import _serialize
from mesh_openers import Opener, RawOpener
from mesh_raw import until
from mesh_samples import Node

from icn_lite.mesh import table, tcp
from icn_lite.mesh.client import Client
from icn_lite.mesh.endpoint import Endpoint
from icn_lite.mesh.limits import MeshLimits
from icn_lite.model.cid import Cid
from icn_lite.model.errors import PeerError

SEED = 20_261_121
WAIT_S = 10.0
BATCH = 100  # datagrams between two answered requests, so that none is lost in the socket's buffer


def udp_of(endpoint: Endpoint) -> object:
    return endpoint.context.request_interfaces[0].token_interface


def listener_of(endpoint: Endpoint) -> object:
    return endpoint.context.request_interfaces[1].token_interface


async def test_thousands_of_malformed_datagrams(
    open_endpoint: Opener, open_raw: RawOpener, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    print("seed", SEED)
    rng = random.Random(SEED)
    node = Node()
    server = await open_endpoint(node)
    raw = await open_raw(server.port)
    good = [raw.request(Code.POST, table.BIDS, samples.bid().block), raw.request(Code.GET, table.CORE, observe=0)]
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number in range(4000):
        if number % 2:
            mutated = bytearray(rng.choice(good))
            for _ in range(rng.randint(1, 6)):
                mutated[rng.randrange(len(mutated))] = rng.randrange(256)
            raw.send(bytes(mutated[: rng.randint(1, len(mutated))]))
        else:
            raw.send(rng.randbytes(rng.randint(0, 200)))
        if number % BATCH == 0:
            await client.ping_ms(server.addresses()[0])
    assert await client.ping_ms(server.addresses()[0]) >= 0
    assert all(sealed == samples.bid() for sealed in node.heard)
    seconds = int(loop.time() - begun) + 2
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) <= seconds * 2 * MeshLimits().log_lines_per_s + 5, lines
    assert max(map(len, lines), default=0) < 500
    assert len(udp_of(server)._recent_messages) <= MeshLimits().recent_messages + 1  # type: ignore[attr-defined]


async def test_a_flood_is_turned_away_and_others_are_served(
    open_endpoint: Opener, open_raw: RawOpener, client: Client
) -> None:
    node = Node()
    server = await open_endpoint(node, limits=MeshLimits(requests_per_s_peer=1, burst=20, recent_messages=50))
    raw = await open_raw(server.port, believed=True)  # which takes two of the twenty
    codes = ["2.05", "2.05"]
    for _ in range(300):
        answer = await raw.ask(Code.GET, table.PING)
        codes.append(answer.code.dotted)
        if answer.code.dotted == "5.03":
            assert answer.opt.max_age == 2
    assert codes[:20] == ["2.05"] * 20
    assert codes.count("5.03") > 200
    assert node.refused.count("rate_limited") == codes.count("5.03")
    assert await client.ping_ms(server.addresses()[0]) >= 0
    assert len(udp_of(server)._recent_messages) <= 51  # type: ignore[attr-defined]


async def test_duplicates_known_are_bounded(open_endpoint: Opener, open_raw: RawOpener) -> None:
    server = await open_endpoint(Node(), limits=MeshLimits(recent_messages=10))
    raw = await open_raw(server.port)
    for _ in range(50):
        assert (await raw.ask(Code.GET, table.PING)).code.dotted == "2.05"
    udp = udp_of(server)
    assert len(udp._recent_messages) <= 11  # type: ignore[attr-defined]
    assert len(udp._recent_until) <= 11  # type: ignore[attr-defined]


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(endpoint: Endpoint, *, settings: bool = True) -> Stream:
    """A TCP connection by hand, which has said its settings and read the peer's."""
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
    if settings:
        writer.write(_serialize(Message(code=CSM)))
        async with asyncio.timeout(WAIT_S):
            assert await reader.readexactly(1)
    return reader, writer


async def ended(stream: Stream) -> bool:
    """Whether the peer closes the connection."""
    reader, writer = stream
    try:
        async with asyncio.timeout(WAIT_S):
            while await reader.read(65_536):
                pass
    except ConnectionError:
        pass
    finally:
        writer.close()
    return True


def ping(token: int) -> bytes:
    message = Message(code=Code.GET, _token=token.to_bytes(4, "big"))
    message.opt.uri_path = tuple(table.PING.strip("/").split("/"))
    return bytes(_serialize(message))


async def test_junk_on_tcp_closes_that_connection_only(
    open_endpoint: Opener, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    print("seed", SEED)
    rng = random.Random(SEED)
    server = await open_endpoint()
    settings = bytes(_serialize(Message(code=CSM)))
    junk = [rng.randbytes(rng.randint(1, 400)) for _ in range(30)]
    junk += [
        b"\xf0\xff\xff\xff\xff\x01",  # a message of 4 GiB
        settings + b"\xe0\xff\xff\x01",  # one of 64 KiB more than is taken
        ping(1),  # a request before the settings
        settings + b"\x0f\x01" + bytes(20),  # a token of 15 bytes
        settings + b"\x30\x01\xb2\xff\xfe" * 3,  # a path that is not UTF-8
    ]
    for data in junk:
        _, writer = await connect(server, settings=False)
        writer.write(data)
        writer.write_eof()
        assert await ended((_, writer))
    assert await client.ping_ms(server.addresses()[0]) >= 0
    assert len(caplog.records) < 60
    await until(lambda: not (listener_of(server)._pool))  # type: ignore[attr-defined]


async def test_connections_are_counted(open_endpoint: Opener) -> None:
    node = Node(blocks={Cid.of_raw(bytes(5000)): bytes(5000)})
    server = await open_endpoint(node, limits=MeshLimits(connections=3))
    held = [await connect(server) for _ in range(3)]
    assert await ended(await connect(server, settings=False))
    assert node.refused == ["too_many_connections"]
    reader, writer = held[0]
    writer.close()
    await until(lambda: len(listener_of(server)._pool) != 3)  # type: ignore[attr-defined]
    held[0] = await connect(server)  # one went, so one may come
    for _, writer in held:
        writer.close()
    assert reader is not None


async def test_connections_of_one_address_are_counted(open_endpoint: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    server = await open_endpoint(node, limits=MeshLimits(connections_per_peer=2))
    monkeypatch.setattr(tcp, "peer_key", lambda host, port: host)  # on loopback a port is a peer
    held = [await connect(server) for _ in range(2)]
    assert await ended(await connect(server, settings=False))
    assert node.refused == ["too_many_connections"]
    for _, writer in held:
        writer.close()


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not(open_endpoint: Opener) -> None:
    node = Node()
    server = await open_endpoint(node, limits=MeshLimits(idle_ms=500))
    silent, dripping = await connect(server), await connect(server)
    dripping[1].write(ping(1)[:3])  # half a message is none
    assert await ended(silent)
    assert await ended(dripping)
    assert node.refused == ["idle_connection"] * 2


async def test_who_asks_and_does_not_read_is_cut_off(open_endpoint: Opener) -> None:
    data = bytes(2 << 20)
    cid = Cid.of_raw(data)
    node = Node(blocks={cid: data})
    limits = MeshLimits(tcp_backlog_bytes=300_000, requests_per_s_peer=10_000, burst=10_000)
    server = await open_endpoint(node, limits=limits)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    csm = Message(code=CSM)
    csm.opt.add_option(UintOption(2, 1 << 20))
    csm.opt.add_option(UintOption(4, 0))
    writer.write(_serialize(csm))
    for token in range(200):
        ask = Message(code=Code.GET, _token=token.to_bytes(4, "big"), block2=(0, False, 7))
        ask.opt.uri_path = ("icn", "blocks", str(cid))
        writer.write(_serialize(ask))
    await until(lambda: "slow_reader" in node.refused)
    assert await ended((reader, writer))
    assert node.blocks_read == 1


async def test_requests_over_the_rate_on_tcp(open_endpoint: Opener) -> None:
    node = Node()
    server = await open_endpoint(node, limits=MeshLimits(requests_per_s_peer=1, burst=20))
    reader, writer = await connect(server)
    writer.write(b"".join(ping(n) for n in range(100)))
    writer.write_eof()
    assert await ended((reader, writer))
    assert 70 <= node.refused.count("rate_limited") <= 80


async def test_a_client_keeps_below_its_own_rate(open_endpoint: Opener) -> None:
    """Message ids must not wrap within the lifetime of an exchange, so the client waits."""
    node = Node()
    uri = (await open_endpoint(node)).addresses()[0]
    slow = Client(await open_endpoint(limits=MeshLimits(requests_per_s_peer=100, burst=10)))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await asyncio.gather(*(slow.ping_ms(uri) for _ in range(30)))
    assert loop.time() - begun >= 0.19
    with pytest.raises(PeerError, match="in time"):
        await asyncio.gather(*(slow.ping_ms(uri, deadline_ms=50) for _ in range(30)))
