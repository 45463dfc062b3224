"""Blocks by CID: fast over TCP, block-wise over UDP, verified, taken on by the next provider."""

from __future__ import annotations

import asyncio
import gc

import pytest
from aiocoap import Message
from aiocoap.numbers.codes import CSM
from aiocoap.transports.tcp import _serialize
from mesh_bytes import some_bytes
from mesh_openers import Opener
from mesh_raw import until
from mesh_samples import Node

from icn_lite.mesh import pull
from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.client import Client
from icn_lite.mesh.limits import MeshLimits
from icn_lite.model.cid import Cid
from icn_lite.model.errors import DeviceRefuses, PeerError, PeerRefused


def holding(*blocks: bytes) -> Node:
    return Node(blocks={Cid.of_raw(block): block for block in blocks})


def no_tcp(client: Client, uri: str) -> None:
    """As if the peer's TCP port had been found closed."""
    client._fetcher.puller.without_tcp(PeerAddress.parse(uri))


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 4096, 65_535, 262_144, 262_145, 1_000_001])
async def test_over_tcp(open_endpoint: Opener, client: Client, size: int) -> None:
    data = some_bytes(size)
    server = await open_endpoint(holding(data))
    assert await client.fetch_block(server.addresses(), Cid.of_raw(data), size + 1) == data
    assert await client.fetch_block(server.addresses(), Cid.of_raw(data), max(1, size)) == data


@pytest.mark.parametrize("size", [0, 1, 1024, 1025, 10_000, 65_536])
async def test_over_udp(open_endpoint: Opener, client: Client, size: int) -> None:
    data = some_bytes(size)
    node = holding(data)
    server = await open_endpoint(node)
    no_tcp(client, server.addresses()[0])
    assert await client.fetch_block(server.addresses(), Cid.of_raw(data), 1 << 20) == data
    assert node.blocks_read == 1


async def test_eight_mebibytes_are_read_once(open_endpoint: Opener, client: Client) -> None:
    data = some_bytes(8 << 20)
    node = holding(data)
    server = await open_endpoint(node)
    assert await client.fetch_block(server.addresses(), Cid.of_raw(data), 16 << 20) == data
    assert node.blocks_read == 1


async def test_several_at_once_share_one_connection(open_endpoint: Opener, client: Client) -> None:
    blocks = [some_bytes(300_000 + n) for n in range(8)]
    server = await open_endpoint(holding(*blocks))
    fetched = await asyncio.gather(
        *(client.fetch_block(server.addresses(), Cid.of_raw(block), 1 << 20) for block in blocks)
    )
    assert fetched == blocks
    listener = server.context.request_interfaces[1].token_interface
    assert len(listener._pool) == 1


async def test_a_peer_without_tcp_gives_it_over_udp(open_endpoint: Opener, client: Client) -> None:
    data = some_bytes(5000)
    server = await open_endpoint(holding(data))
    server.context.request_interfaces[1].token_interface.server.close()
    assert await client.fetch_block(server.addresses(), Cid.of_raw(data), 1 << 20) == data
    assert client._fetcher.puller._without_tcp


async def test_too_much_for_udp_is_refused_at_the_first_piece(open_endpoint: Opener, client: Client) -> None:
    data = some_bytes(65_537)
    server = await open_endpoint(holding(data))
    no_tcp(client, server.addresses()[0])
    with pytest.raises(PeerError, match="65537 bytes where at most 65536"):
        await client.fetch_block(server.addresses(), Cid.of_raw(data), 1 << 20)


@pytest.mark.parametrize("size", [1000, 5000, 1_000_000])
async def test_wrong_bytes_of_a_liar_are_refused(open_endpoint: Opener, client: Client, size: int) -> None:
    data = some_bytes(size)
    cid = Cid.of_raw(data)
    liar = await open_endpoint(Node(blocks={cid: data[:-1] + b"\0"}))
    with pytest.raises(PeerError, match="are not block") as caught:
        await client.fetch_block(liar.addresses(), cid, 2 << 20)
    assert str(liar.port) in caught.value.message
    honest = await open_endpoint(holding(data))
    assert await client.fetch_block([*liar.addresses(), *honest.addresses()], cid, 2 << 20) == data


async def test_more_than_is_wanted_is_refused(open_endpoint: Opener, client: Client) -> None:
    data = some_bytes(5000)
    server = await open_endpoint(holding(data))
    for most in (1, 1024, 4999):
        with pytest.raises(PeerError, match=f"at most {most}"):
            await client.fetch_block(server.addresses(), Cid.of_raw(data), most)


async def test_a_block_larger_than_this_node_takes(open_endpoint: Opener) -> None:
    data = some_bytes(5000)
    server = await open_endpoint(holding(data))
    small = Client(await open_endpoint(limits=MeshLimits(max_block_bytes=4000)))
    with pytest.raises(PeerError, match="at most 4000"):
        await small.fetch_block(server.addresses(), Cid.of_raw(data), 1 << 20)


async def test_providers_are_asked_in_turn(open_endpoint: Opener, client: Client) -> None:
    data = some_bytes(3000)
    cid = Cid.of_raw(data)
    empty, full = await open_endpoint(), await open_endpoint(holding(data))
    gone = await open_endpoint()
    uris = [*gone.addresses(), *empty.addresses(), *full.addresses()]
    await gone.close()
    assert await client.fetch_block(uris, cid, 1 << 20) == data
    with pytest.raises(PeerRefused, match="no block") as caught:
        await client.fetch_block(empty.addresses(), cid, 1 << 20)
    assert caught.value.response == "4.04"
    with pytest.raises(PeerError, match="nobody is known"):
        await client.fetch_block([], cid, 1 << 20)


async def test_the_next_provider_goes_on_where_one_died(
    open_endpoint: Opener, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = some_bytes(2_000_000)
    cid = Cid.of_raw(data)
    dying, other = await open_endpoint(holding(data)), await open_endpoint(holding(data))
    asked: dict[int, list[int]] = {dying.port: [], other.port: []}
    exchange = client._requester.exchange

    async def counted(peer: PeerAddress, message: object, until_s: float, to: object) -> object:
        numbers = asked[peer.port]
        if peer.port == dying.port and len(numbers) == 3:
            await dying.close()
        answer = await exchange(peer, message, until_s, to)
        numbers.append(answer.opt.block2.block_number)
        return answer

    monkeypatch.setattr(client._requester, "exchange", counted)
    assert await client.fetch_block([*dying.addresses(), *other.addresses()], cid, 4 << 20, deadline_ms=8000) == data
    pieces = asked[dying.port] + asked[other.port]
    assert len(asked[dying.port]) == 3
    assert pieces == sorted(set(pieces)), "no piece was fetched twice"


async def test_pieces_that_do_not_fit_together_are_fetched_again_from_each(
    open_endpoint: Opener, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = some_bytes(2_000_000)
    cid = Cid.of_raw(data)
    liar = await open_endpoint(Node(blocks={cid: bytes(len(data))}))
    honest = await open_endpoint(holding(data))
    exchange = client._requester.exchange
    pieces = 0

    async def cut_off(peer: PeerAddress, message: object, until_s: float, to: object) -> object:
        nonlocal pieces
        pieces += peer.port == liar.port
        if peer.port == liar.port and pieces > 2:
            raise PeerError("the line is cut")
        return await exchange(peer, message, until_s, to)

    monkeypatch.setattr(client._requester, "exchange", cut_off)
    assert await client.fetch_block([*liar.addresses(), *honest.addresses()], cid, 4 << 20) == data


async def test_a_silent_provider_does_not_use_up_the_others_time(open_endpoint: Opener) -> None:
    client = Client(await open_endpoint(limits=MeshLimits(piece_ms=1000, connect_ms=1000)))
    data = some_bytes(3000)
    server = await open_endpoint(holding(data))
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    silent = f"coap://127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    assert await client.fetch_block([silent, *server.addresses()], Cid.of_raw(data), 1 << 20) == data
    transport.close()


async def test_a_busy_provider_is_asked_again(
    open_endpoint: Opener, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = some_bytes(3000)
    cid = Cid.of_raw(data)
    monkeypatch.setattr(pull, "MAX_BUSY_S", 0)

    class Busy(Node):
        async def block(self, cid: Cid) -> bytes | None:
            self.blocks_read += 1
            if self.blocks_read < 3:
                raise DeviceRefuses("resting")
            return data

    assert await client.fetch_block((await open_endpoint(Busy())).addresses(), cid, 1 << 20) == data
    always = Node(blocks={cid: data})
    monkeypatch.setattr(always, "block", Busy(blocks_read=-100).block)
    with pytest.raises(PeerRefused, match="resting") as caught:
        await client.fetch_block((await open_endpoint(always)).addresses(), cid, 1 << 20)
    assert caught.value.response == "5.03"


@pytest.mark.parametrize(("deadline_ms", "connect_ms"), [(8000, 100), (60, 1500)])
async def test_a_tcp_port_that_says_nothing(
    open_endpoint: Opener, caplog: pytest.LogCaptureFixture, deadline_ms: int, connect_ms: int
) -> None:
    """Something listens on TCP but speaks no CoAP: UDP is asked instead, if there is time left."""
    client = Client(await open_endpoint(limits=MeshLimits(connect_ms=connect_ms)))
    data = some_bytes(3000)
    server = await open_endpoint(holding(data))
    port = server.port
    server.context.request_interfaces[1].token_interface.server.close()
    accepted: list[asyncio.StreamWriter] = []
    mute = await asyncio.start_server(lambda _, writer: accepted.append(writer), "127.0.0.1", port)
    try:
        if deadline_ms < connect_ms:
            with pytest.raises(PeerError, match="in time"):
                await client.fetch_block(server.addresses(), Cid.of_raw(data), 1 << 20, deadline_ms=deadline_ms)
            dialing = client._endpoint.context.request_interfaces[2].token_interface._dialing
            await until(lambda: not dialing)
        else:
            assert await client.fetch_block(server.addresses(), Cid.of_raw(data), 1 << 20) == data
    finally:
        mute.close()
        for writer in accepted:
            writer.close()
        await mute.wait_closed()
    gc.collect()
    assert not caplog.records


async def test_a_connection_that_died_quietly_is_replaced(open_endpoint: Opener) -> None:
    """A peer whose Wi-Fi is gone closes nothing: after a request without any sign of life the connection goes."""
    client = Client(await open_endpoint(limits=MeshLimits(connect_ms=100, piece_ms=150)))
    accepted: list[asyncio.StreamWriter] = []

    def answer_settings_only(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)
        writer.write(_serialize(Message(code=CSM)))

    mute = await asyncio.start_server(answer_settings_only, "127.0.0.1", 0)
    uri = f"coap://127.0.0.1:{mute.sockets[0].getsockname()[1]}"
    pool = client._endpoint.context.request_interfaces[2].token_interface._pool
    for tried in (1, 2):
        with pytest.raises(PeerError):
            await client.fetch_block([uri], Cid.of_raw(b"x" * 2000), 1 << 20, deadline_ms=400)
        assert len(accepted) == tried
        await until(lambda: not pool)
        client._fetcher.puller._without_tcp.clear()
    mute.close()
    for writer in accepted:
        writer.close()
    await mute.wait_closed()
