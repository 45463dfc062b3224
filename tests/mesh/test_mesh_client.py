"""What a node asks of others: deadlines hold, errors say what happened, doorbells ring."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import mesh_samples as samples
import pytest
from aiocoap import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.types import ACK
from mesh_openers import Opener, RawOpener
from mesh_raw import until
from mesh_samples import Node

from icn_lite.mesh import problem, table
from icn_lite.mesh.client import Client
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.limits import MeshLimits
from icn_lite.model.cid import Cid
from icn_lite.model.errors import PeerError, PeerRefused

JOB = samples.JOB_ID
JOB_PATH = table.JOB.replace("{cid}", str(JOB))


@contextlib.asynccontextmanager
async def peer_that(answer: Message | None) -> AsyncIterator[str]:
    """A UDP peer that sends `answer` to every datagram, with its message id and token; None: nothing at all."""

    class Peer(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            if answer is None:
                return
            asked = Message.decode(data)
            answer.mtype, answer.mid = ACK, asked.mid
            answer.token = asked.token if answer.code is not Code.EMPTY else b""
            self.transport.sendto(answer.encode(), addr)  # type: ignore[attr-defined]

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Peer, local_addr=("127.0.0.1", 0))
    try:
        yield f"coap://127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    finally:
        transport.close()


async def test_a_closed_port_is_known_at_once(client: Client) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        uri = f"coap://127.0.0.1:{free.getsockname()[1]}"
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(PeerError, match=r"can't be reached: .*refused") as caught:
        await client.post(uri, table.BIDS, samples.bid().block)
    assert loop.time() - begun < 5
    assert uri in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("answer", [None, Message(code=Code.EMPTY)], ids=["silent", "dies after its empty ack"])
async def test_a_silent_peer_is_given_up_at_the_deadline(client: Client, answer: Message | None) -> None:
    async with peer_that(answer) as uri:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(PeerError, match=r"no answer from .* in time"):
            await client.post(uri, table.BIDS, samples.bid().block, deadline_ms=150)
        assert 0.1 < loop.time() - begun < 5
        exchanges = client._endpoint.context.request_interfaces[0].token_interface
        assert not exchanges._active_exchanges, "nothing is retransmitted to it any more"
        assert not exchanges._backlogs
        # A second request is not held up behind the first.
        with pytest.raises(PeerError, match="in time"):
            await client.ping_ms(uri, deadline_ms=150)


async def test_a_large_body_to_a_silent_peer_ends_in_time_too(client: Client) -> None:
    async with peer_that(None) as uri:
        with pytest.raises(PeerError):
            await client.post(uri, table.JOBS, samples.announcement(500).block, deadline_ms=300)


async def test_a_name_without_an_address(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    with pytest.raises(PeerError, match="has no address") as caught:
        await client.ping_ms("coap://no-such-host.invalid", deadline_ms=8000)
    assert "name" in caught.value.hint


@pytest.mark.parametrize(
    "uri",
    ["coap://a..b", "coap://" + "a" * 90, "coap://" + "ü" * 70, "coap://[::1%nowhere]:5", "coap://[fe80::1]:5", "coap://%00",
     "coap://a b", "coap://\x00", "coap://x\ny", "coap://.", "coap://[v1.x]", "coap://0.0.0.0:1", "coap://224.0.0.1:1",
     "coap://255.255.255.255:1", "coap://[ff02::1]:1", "coap://:5", "coap://[]", "coap://h:+5", "coap://1:2:3"],
)  # fmt: skip
@pytest.mark.parametrize("size", [10, 2000])
async def test_whatever_strangers_write_as_their_address(client: Client, uri: str, size: int) -> None:
    with pytest.raises(PeerError):
        await client.post(uri, table.BIDS, bytes(size), deadline_ms=500)


@pytest.mark.parametrize("size", [0, 400, 512])
async def test_a_large_body_goes_over_tcp(open_endpoint: Opener, client: Client, size: int) -> None:
    node = Node()
    server = await open_endpoint(node)
    sealed = samples.announcement(size)
    assert (await client.post(server.addresses()[0], table.JOBS, sealed.block)).code == "2.04"
    assert node.heard == [sealed]
    assert node.remotes[0].transport == ("tcp" if len(sealed.block) > 1024 else "udp")


async def test_a_large_body_goes_in_blocks_where_there_is_no_tcp(open_endpoint: Opener, client: Client) -> None:
    node = Node()
    server = await open_endpoint(node)
    server.context.request_interfaces[1].token_interface.server.close()
    sealed = samples.announcement(500)
    assert (await client.post(server.addresses()[0], table.JOBS, sealed.block)).code == "2.04"
    assert node.heard == [sealed]
    assert node.remotes[0].transport == "udp"


async def test_a_body_of_many_pieces_over_tcp(open_endpoint: Opener, client: Client) -> None:
    server = await open_endpoint(Node(), limits=MeshLimits(tcp_message_bytes=4096))
    with pytest.raises(PeerRefused) as caught:  # whole and within its bound, and then no document
        await client.post(server.addresses()[0], table.JOBS, bytes(60_000))
    assert caught.value.problem == "malformed_document"
    with pytest.raises(PeerRefused) as caught:
        await client.post(server.addresses()[0], table.JOBS, bytes(70_000))
    assert caught.value.response == "4.13"


async def test_many_requests_at_once_to_one_peer(open_endpoint: Opener, client: Client) -> None:
    node = Node()
    uri = (await open_endpoint(node)).addresses()[0]
    answers = await asyncio.gather(*(client.post(uri, table.BIDS, samples.bid().block) for _ in range(100)))
    assert [answer.code for answer in answers] == ["2.04"] * 100
    assert len(node.heard) == 100


async def test_advertise_and_what_a_peer_may_not_answer(open_endpoint: Opener, client: Client) -> None:
    node = Node()
    uri = (await open_endpoint(node)).addresses()[0]
    advert = await client.advertise(uri)
    assert advert.signer == node.signer.did
    assert node.heard[0].signer == samples.SIGNER.did

    class Confused(Node):
        async def own_capability(self) -> bytes:
            return samples.bid().block

    with pytest.raises(PeerError, match="answered with no such thing as an advertisement"):
        await client.advertise((await open_endpoint(Confused())).addresses()[0])


async def test_a_receipt_and_its_acknowledgement(open_endpoint: Opener, client: Client) -> None:
    node = Node()
    uri = (await open_endpoint(node)).addresses()[0]
    receipt = samples.receipt()
    assert (await client.post_receipt(uri, receipt.block)).document.receipt == receipt.cid

    class Forgetful(Node):
        async def on_receipt(self, sealed: object, remote: object) -> bytes:
            return samples.ack(Cid.of_raw(b"another")).block

    with pytest.raises(PeerError, match="acknowledged receipt"):
        await client.post_receipt((await open_endpoint(Forgetful())).addresses()[0], receipt.block)


@pytest.mark.parametrize(
    ("payload", "content_format", "said"),
    [
        (b"", None, "Not Found"),
        (b"plain words", 0, "Not Found"),
        (b"\xff\xff", problem.CONTENT_FORMAT, "Not Found"),
        (problem.Problem("Gone", "for good", "not_found", "J999", "look elsewhere").encode(), 257, "Gone: for good"),
    ],
)
async def test_refusals_of_other_implementations(
    client: Client, payload: bytes, content_format: int | None, said: str
) -> None:
    async with peer_that(Message(code=Code.NOT_FOUND, payload=payload, content_format=content_format)) as uri:
        with pytest.raises(PeerRefused, match=said) as caught:
            await client.ping_ms(uri)
        assert caught.value.code is None


async def test_an_answer_that_never_ends_is_cut_off(client: Client) -> None:
    endless = Message(code=Code.CONTENT, payload=bytes(1024), block2=(0, True, 6))
    async with peer_that(endless) as uri:
        with pytest.raises(PeerError, match="another block than the one asked for"):
            await client.get(uri, table.CORE)


async def test_a_doorbell_rings_when_the_status_changes(open_endpoint: Opener, client: Client) -> None:
    node = Node(statuses={JOB: b"\x01"})
    server = await open_endpoint(node, limits=MeshLimits(doorbell_ms=1))
    rings = client.observe_status(server.addresses()[0], JOB)
    seen = []
    async with asyncio.timeout(20):
        async for ring in rings:
            seen.append(ring)
            if len(seen) == 4:
                break
            node.statuses[JOB] = bytes([len(seen) + 1])
            server.notify_job(JOB)
    assert seen == [b"\x01", b"\x02", b"\x03", b"\x04"]
    await rings.aclose()  # type: ignore[attr-defined]
    server.notify_job(JOB)  # the ring is answered with a reset, and the observer leaves

    def left() -> bool:
        node.statuses[JOB] += b"\0"
        server.notify_job(JOB)
        return not len(server._site.observers)

    await until(left)


async def test_the_watchdog_finds_a_peer_that_restarted(open_endpoint: Opener) -> None:
    client = Client(await open_endpoint(limits=MeshLimits(watchdog_ms=1000)))
    node = Node(statuses={JOB: b"\x01"})
    first = Endpoint(EndpointConfig("127.0.0.1", 0), node)
    await first.start()
    uri, port = first.addresses()[0], first.port
    rings = client.observe_status(uri, JOB)
    async with asyncio.timeout(20):
        assert await anext(rings) == b"\x01"
        await first.close()
        node.statuses[JOB] = b"\x02"
        await open_endpoint(node, port=port)
        assert await anext(rings) == b"\x02"
    await rings.aclose()  # type: ignore[attr-defined]


async def test_watching_ends_with_an_error_when_the_peer_is_lost_or_refuses(
    open_endpoint: Opener,
) -> None:
    client = Client(await open_endpoint(limits=MeshLimits(watchdog_ms=1000)))
    server = await open_endpoint(Node())
    async with asyncio.timeout(20):
        with pytest.raises(PeerRefused, match="no job"):
            await anext(client.observe_status(server.addresses()[0], JOB))
        async with peer_that(None) as uri:
            with pytest.raises(PeerError, match="in time"):
                await anext(client.observe_status(uri, JOB))
        uri = server.addresses()[0]
        await server.close()
        with pytest.raises(PeerError, match="can't be watched"):
            await anext(client.observe_status(uri, JOB))


async def test_too_many_observers_are_answered_without_being_observed(
    open_endpoint: Opener, open_raw: RawOpener
) -> None:
    server = await open_endpoint(Node(statuses={JOB: b"\x01"}), limits=MeshLimits(observers=1))
    raw = await open_raw(server.port)
    assert (await raw.ask(Code.GET, JOB_PATH, observe=0)).opt.observe is not None
    second = await raw.ask(Code.GET, JOB_PATH, observe=0)
    assert (second.code.dotted, second.opt.observe, second.payload) == ("2.05", None, b"\x01")


async def test_an_observation_ends_by_itself_and_a_lost_job_ends_it(open_endpoint: Opener, open_raw: RawOpener) -> None:
    node = Node(statuses={JOB: b"\x01"})
    server = await open_endpoint(node, limits=MeshLimits(observe_ms=50, doorbell_ms=1))
    raw = await open_raw(server.port)
    assert (await raw.ask(Code.GET, JOB_PATH, observe=0)).opt.observe is not None
    last = await raw.next()
    assert (last.code.dotted, last.opt.observe) == ("2.05", None)
    raw.acknowledge(last)

    lasting = await open_endpoint(node, limits=MeshLimits(doorbell_ms=1))
    raw = await open_raw(lasting.port)
    assert (await raw.ask(Code.GET, JOB_PATH, observe=0)).opt.observe is not None
    del node.statuses[JOB]
    lasting.notify_job(JOB)
    gone = await raw.next()
    assert (gone.code.dotted, gone.opt.observe) == ("4.04", None)
    raw.acknowledge(gone)
    assert not len(lasting._site.observers)


async def test_a_status_that_fits_no_block_is_a_fault_and_not_cut(open_endpoint: Opener, client: Client) -> None:
    uri = (await open_endpoint(Node(statuses={JOB: bytes(1025)}))).addresses()[0]
    with pytest.raises(PeerRefused, match="1025 bytes"):
        await client.get(uri, JOB_PATH)
