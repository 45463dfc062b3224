"""Nobody's address is made to receive more than was sent in its name; who shows that it is there is told everything."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator

import mesh_samples as samples
import pytest
from aiocoap import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.types import CON, NON
from mesh_members import member
from mesh_openers import RawOpener
from mesh_raw import RawUdp, until
from mesh_samples import Node

from icn_lite.mesh import handshake, table
from icn_lite.mesh.client import Client
from icn_lite.mesh.echo import ECHO_BYTES, Echoes, fitted, weight
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.gate import Gate
from icn_lite.mesh.limits import MeshLimits
from icn_lite.mesh.ports import Remote
from icn_lite.model.cid import Cid

SEED = 20_261_124
BLOCK = bytes(5000)
CID = Cid.of_raw(BLOCK)
FAST = MeshLimits(requests_per_s=10**6, requests_per_s_peer=10**6, burst=10**6)
FEW = MeshLimits(requests_per_s_peer=1, burst=1)
HERE = Remote("10.0.0.1", 5683, "udp")


@pytest.fixture(params=["guarded", "open", "over its rate"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Endpoint]:
    node = Node(blocks={CID: BLOCK}, receipts={CID: bytes(700)}, statuses={CID: bytes(900)})
    admission = None if request.param == "open" else member(samples.OTHER)
    limits = FEW if request.param == "over its rate" else FAST
    endpoint = Endpoint(EndpointConfig("127.0.0.1", 0, limits, admission), node)
    await endpoint.start()
    yield endpoint
    await endpoint.close()


async def heard_back(raw: RawUdp, data: bytes) -> int:
    """How many bytes one datagram brings back, before a ping that was sent after it is answered."""
    return sum(map(len, await answers_to(raw, data)))


async def answers_to(raw: RawUdp, data: bytes) -> list[bytes]:
    """What comes back before a later ping is answered; on a busy machine also answers to earlier datagrams."""
    raw.send(data)
    for _ in range(20):  # turns of the loop in which the endpoint handles it
        await asyncio.sleep(0)
    raw.mid += 1
    ping = Message(code=Code.EMPTY, _mtype=CON, _mid=raw.mid)
    raw.send(bytes(ping.encode()))
    answers: list[bytes] = []
    async with asyncio.timeout(5):
        while True:
            answer = await raw.arrived.get()
            if len(answer) == 4 and answer[1] == 0 and int.from_bytes(answer[2:], "big") == raw.mid:
                return answers
            answers.append(answer)


def requests(rng: random.Random) -> list[Message]:
    """Every row of the table, with and without a body, tokens, options, blocks; and what is in no row."""
    bodies = {
        table.CAPABILITY: samples.advertisement().block, table.JOBS: samples.announcement().block,
        table.BIDS: samples.bid().block, table.LEASES: samples.lease().block, table.STATUS: samples.status().block,
        table.RECEIPTS: samples.receipt().block, table.HANDSHAKE: handshake.hello(),
    }  # fmt: skip
    found = []
    for row in (*table.TABLE, None):
        path = row.path.replace("{cid}", str(CID)) if row else "/"
        for code in (Code.GET, Code.POST, Code.PUT, Code.DELETE, Code.FETCH):
            for body in (b"", b"x", bodies.get(path, b"y" * 40)):
                kind = rng.choice((CON, NON))  # to a NON its token alone tells which answer is to it
                message = Message(
                    code=code, payload=body, _token=rng.randbytes(rng.randint(0 if kind is CON else 5, 8))
                )
                message.mtype = kind
                message.opt.uri_path = tuple(path.strip("/").split("/")) if path != "/" else ()
                match rng.randrange(6):
                    case 0:
                        message.opt.observe = 0
                    case 1:
                        message.opt.block2 = (rng.randrange(3), False, 6)
                    case 2:
                        message.opt.block1 = (0, True, 6)
                    case 3:
                        message.opt.echo = rng.randbytes(ECHO_BYTES)
                    case 4:
                        message.opt.no_response = rng.randrange(32)
                found.append(message)
    return found


@pytest.mark.filterwarnings("ignore:Initializing messages with an MID")  # the library's own, on No-Response
@pytest.mark.filterwarnings("ignore:Initializing messages with an mtype")
async def test_strangers_never_get_more_than_they_sent(server: Endpoint, open_raw: RawOpener) -> None:
    print("seed", SEED)
    rng = random.Random(SEED)
    raw = await open_raw(server.port)
    sent: dict[bytes, tuple[Message, int]] = {}  # by message id, and by token where that is what tells
    out: Counter[bytes] = Counter()

    def count(answers: list[bytes]) -> None:
        for answer in answers:
            kind, size = answer[0] >> 4 & 3, answer[0] & 15
            key = answer[2:4] if kind in (2, 3) else answer[4 : 4 + size]  # an ACK or RST has the request's own id
            out[key] += len(answer)
            assert key in sent, f"an answer to nothing: {answer.hex()}"

    for message in requests(rng):
        raw.mid += 1
        message.mid = raw.mid
        data = bytes(message.encode())
        sent[raw.mid.to_bytes(2, "big") if message.mtype is CON else message.token] = (message, 2 * len(data))
        for _ in range(2):  # the second is a repeated datagram
            count(await answers_to(raw, data))
    for _ in range(20):
        count(await answers_to(raw, b""))
    for key, (message, size) in sent.items():
        assert out[key] <= size, f"{out[key]} bytes for {size}: {message!r} {message.opt!r}"
    print(f"{out.total()} bytes out for {sum(size for _, size in sent.values())} bytes in")
    assert out


async def test_junk_brings_back_no_more_than_itself(server: Endpoint, open_raw: RawOpener) -> None:
    print("seed", SEED)
    rng = random.Random(SEED)
    raw = await open_raw(server.port)
    good = [bytes(raw.request(Code.GET, table.CORE)), raw.request(Code.POST, table.BIDS, samples.bid().block)]
    for number in range(400):
        data = bytearray(rng.choice(good) if number % 2 else rng.randbytes(rng.randint(1, 60)))
        for _ in range(rng.randint(0, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        assert await heard_back(raw, bytes(data)) <= len(data), bytes(data).hex()


@pytest.mark.parametrize("server", ["guarded"], indirect=True)
async def test_an_echo_opens_the_address_and_no_other(server: Endpoint, open_raw: RawOpener) -> None:
    raw, other = await open_raw(server.port), await open_raw(server.port)
    raw.send(raw.request(Code.GET, table.CORE))
    challenge = await raw.next()
    assert (challenge.code.dotted, challenge.payload) == ("4.01", b"")
    other.send(other.request(Code.GET, table.CORE, echo=challenge.opt.echo))
    refused = await other.next()
    assert refused.code.dotted == "4.01"
    assert refused.opt.echo not in (None, challenge.opt.echo)
    first = table.links()[:1024]  # a block of it
    answer = await raw.ask(Code.GET, table.CORE, echo=challenge.opt.echo)
    assert (answer.code.dotted, answer.payload) == ("2.05", first)
    assert (await raw.ask(Code.GET, table.CORE)).payload == first  # from then on without


@pytest.mark.parametrize("server", ["guarded"], indirect=True)
async def test_a_member_is_no_stranger(server: Endpoint) -> None:
    asker = Endpoint(EndpointConfig("127.0.0.1", 0, FAST, member(samples.SIGNER)), Node(samples.SIGNER))
    await asker.start()
    try:
        fetched = await Client(asker).fetch_block(server.addresses(), CID, len(BLOCK))
        assert fetched == BLOCK
        assert (await Client(asker).get(server.addresses()[0], table.PING)).code == "2.05"
    finally:
        await asker.close()
    assert server.handlers.refused == []  # type: ignore[attr-defined]


async def test_a_slow_answer_to_a_stranger_is_one_datagram(open_raw: RawOpener) -> None:
    """No acknowledgement first and then an answer that is repeated: what was sent in its name was one datagram."""

    endpoint = Endpoint(EndpointConfig("127.0.0.1", 0, FAST, member(samples.OTHER)), Node())
    await endpoint.start()
    try:
        exchanges = endpoint.context.request_interfaces[0].token_interface
        raw = await open_raw(endpoint.port)
        raw.send(raw.request(Code.POST, table.HANDSHAKE, handshake.hello()))
        await until(lambda: bool(exchanges._piggyback_opportunities))
        ((_, due),) = exchanges._piggyback_opportunities.values()
        assert due.when() - asyncio.get_running_loop().time() > 10  # the library's is a tenth of a second
        answer = await raw.next()
        assert answer.code.dotted == "2.04"
        assert not exchanges._piggyback_opportunities
    finally:
        await endpoint.close()


def test_an_echo_is_of_an_address_a_time_and_a_process() -> None:
    echoes = Echoes(MeshLimits(echo_ms=1000, believed_ms=5000), bytes(32))
    echo = echoes.challenge(HERE, 10.0)
    assert len(echo) == ECHO_BYTES
    for other in (Remote("10.0.0.2", 5683, "udp"), Remote("10.0.0.1", 5684, "udp")):
        assert not echoes.heard(other, echo, 10.0)
    assert not Echoes(MeshLimits(echo_ms=1000), bytes(31) + b"x").heard(HERE, echo, 10.0)
    assert not echoes.heard(HERE, echo, 12.0)
    assert not echoes.heard(HERE, echo, 9.0)
    for wrong in (b"", echo[:-1], echo + b"\0", bytes(40)):
        assert not echoes.heard(HERE, wrong, 10.0)
    assert not echoes.believes(HERE, 10.0)
    assert echoes.heard(HERE, echo, 11.9)
    assert echoes.believes(HERE, 16.8)
    assert not echoes.believes(HERE, 16.9)


def test_believed_addresses_are_bounded_and_connections_need_none() -> None:
    echoes = Echoes(MeshLimits(peers_tracked=3), bytes(32))
    for port in range(1, 6):
        echoes.remember(Remote("10.0.0.1", port, "udp"), 0.0)
    assert len(echoes) == 3
    assert [echoes.believes(Remote("10.0.0.1", port, "udp"), 1.0) for port in (1, 2, 3, 5)] == [
        False,
        False,
        True,
        True,
    ]
    assert echoes.believes(Remote("10.0.0.1", 10, "tcp"), 1.0)


@pytest.mark.parametrize("room", range(60))
def test_an_answer_fits_its_room(room: int) -> None:
    echo = bytes(ECHO_BYTES)
    for code in (Code.CONTENT, Code.NOT_FOUND, Code.UNAUTHORIZED):
        answer = Message(code=code, payload=b"p" * 30)
        made = fitted(answer, room, echo)
        assert weight(made) <= room
        assert (made is answer) == (room >= 31)
        assert made is answer or not made.code.is_successful()


def test_a_flood_of_strangers_leaves_the_rest_to_those_who_were_heard_before() -> None:
    gate = Gate(MeshLimits(requests_per_s=100, requests_per_s_strangers=20, requests_per_s_peer=50, burst=50), 0.0)
    strangers = sum(gate.admit(f"10.0.{number >> 8}.{number & 255}", 1.0, stranger=True) for number in range(5000))
    assert strangers == 50, "what was saved up, and no more"
    assert sum(gate.admit(f"10.1.0.{number}", 1.0) for number in range(50)) == 50


async def test_a_queue_that_is_given_up_while_it_is_worked_off(
    server: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression 1: the next request in a queue can't be sent, the queue is dropped, and going on with it failed."""
    exchanges = server.context.request_interfaces[0].token_interface
    remote = await exchanges.message_interface.determine_remote(
        Message(code=Code.GET, uri=f"coap://127.0.0.1:{server.port}/")
    )
    exchanges._backlogs[remote] = [(Message(code=Code.GET), lambda: None)]

    def refused(message: Message, monitor: object = None) -> None:
        exchanges.dispatch_error(OSError(111, "refused"), remote)

    monkeypatch.setattr(exchanges, "_send_initially", refused)
    exchanges._continue_backlog(remote)
    assert remote not in exchanges._backlogs
