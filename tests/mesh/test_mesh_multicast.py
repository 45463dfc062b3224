"""A whole link is asked who is there: who answers, when, with how much, and over which kinds of link."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import mesh_samples as samples
import pytest
from aiocoap import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.types import CON, NON
from mesh_links import on_two_machines
from mesh_members import member
from mesh_samples import Node

from icn_lite.mesh import multicast, table
from icn_lite.mesh.addresses import PeerAddress, plain, zone_index
from icn_lite.mesh.echo import weight
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.limits import MeshLimits
from icn_lite.model.errors import PeerError

SERVER = """
import asyncio
import mesh_samples as samples
from mesh_members import member
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.limits import MeshLimits

async def main():
    endpoint = Endpoint(EndpointConfig("::", 5683, MeshLimits(leisure_ms=100), member(samples.OTHER)), samples.Node())
    await endpoint.start()
    await asyncio.sleep(50)

asyncio.run(main())
"""
CLIENT = """
import asyncio, json
import mesh_samples as samples
from mesh_members import member
from icn_lite.mesh import multicast
from icn_lite.mesh.client import Client
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.model.errors import PeerError

async def main():
    endpoint = Endpoint(EndpointConfig("::", 0, admission=member(samples.SIGNER)), samples.Node(samples.SIGNER))
    await endpoint.start()
    client, answers = Client(endpoint), {}
    for _ in range(20):  # the other side may not listen yet, and addresses take a moment to be usable
        for uri in await multicast.ask((5683,), 100):
            try:
                await client.ping_ms(uri)
                answers[uri] = "ok" if (await client.get(uri, "/icn/cap")).payload else "empty"
            except PeerError as error:
                answers[uri] = str(error)
        if len(answers) >= EXPECTED and set(answers.values()) == {"ok"}:
            break
    print(json.dumps(answers))
    await endpoint.close()

asyncio.run(main())
"""
UP = "for n in $(seq 1 {links}); do ip link set {side}$n up; done"


def test_a_link_without_any_router(tmp_path: Path) -> None:
    """IPv6 link-local addresses are all there is; a session is begun and used over them."""
    side = [UP.format(links=1, side=name) for name in ("there", "here")]
    found = on_two_machines(tmp_path, 1, (side[0], side[1]), (SERVER, CLIENT.replace("EXPECTED", "1")))
    assert isinstance(found, dict)
    assert list(found.values()) == ["ok"]
    ((host, port),) = [(PeerAddress.parse(uri).host, PeerAddress.parse(uri).port) for uri in found]
    assert host.startswith("fe80::")
    assert host.endswith("%here1")
    assert port == 5683


def test_a_machine_with_five_interfaces(tmp_path: Path) -> None:
    """Each link is asked, the IPv4 ones too; whoever is on several answers on each."""
    sides = []
    for number, name in ((1, "there"), (2, "here")):
        addresses = "; ".join(f"ip addr add 10.0.{n}.{number}/24 dev {name}{n}" for n in range(1, 6))
        sides.append(f"{addresses}; {UP.format(links=5, side=name)}")
    found = on_two_machines(tmp_path, 5, (sides[0], sides[1]), (SERVER, CLIENT.replace("EXPECTED", "10")))
    assert isinstance(found, dict)
    assert set(found.values()) == {"ok"}
    hosts = {PeerAddress.parse(uri).host for uri in found}
    assert {f"10.0.{n}.1" for n in range(1, 6)} <= hosts
    assert {host.partition("%")[2] for host in hosts if "%" in host} == {f"here{n}" for n in range(1, 6)}


def question(query: tuple[str, ...] = (multicast.QUERY,), path: str = table.CORE, code: Code = Code.GET) -> Message:
    message = Message(code=code, _mtype=NON, _mid=1, _token=b"tok")
    message.opt.uri_path = tuple(path.strip("/").split("/"))
    message.opt.uri_query = query
    return message


def test_what_is_answered() -> None:
    for query in (("rt=icn.hs",), ("rt=icn*",), ("rt=icn.*",)):
        assert multicast.matches(question(query))
        assert len(multicast.LINK) + 3 <= weight(question(query)), "an answer is shorter than its question"
    for refused in (
        question(()), question(("rt=core.rd",)), question(("rt=icn.bids",)), question(("if=icn-lite",)),
        question(("rt=icn.hs", "rt=icn.hs")), question(path="/icn/hs"), question(code=Code.POST),
    ):  # fmt: skip
        assert not multicast.matches(refused)
    confirmable = question()
    confirmable.mtype = CON
    assert not multicast.matches(confirmable)


async def test_an_endpoint_on_one_address_hears_no_group() -> None:
    endpoint = Endpoint(EndpointConfig("127.0.0.1", 0, admission=member(samples.OTHER)), Node())
    assert endpoint.hear_groups() == 0
    await endpoint.start()
    assert endpoint.hear_groups() == 0
    await endpoint.close()


async def heard(port: int, message: Message, wait_s: float = 1.0) -> bytes | None:
    """What one multicast over the loopback interface brings back."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        try:
            sock.sendto(bytes(message.encode()), (multicast.GROUP_V4, port))
        except OSError as error:
            pytest.skip(f"multicast over loopback can't be sent here ({error.strerror})")
        try:
            async with asyncio.timeout(wait_s):
                return await loop.sock_recv(sock, 2000)
        except TimeoutError:
            return None


async def test_who_asks_everybody_is_answered_once_or_never() -> None:
    node = Node()
    endpoint = Endpoint(EndpointConfig("::", 0, MeshLimits(leisure_ms=20), member(samples.OTHER)), node)
    await endpoint.start()
    try:
        assert endpoint.hear_groups() > 0
        answer = await heard(endpoint.port, question())
        if answer is None:
            pytest.skip("multicast over loopback doesn't come back here")
        assert Message.decode(answer).payload == multicast.LINK
        assert len(answer) <= len(question().encode())
        confirmable = question()
        confirmable.mtype = CON
        for silent in (question(("rt=core.rd",)), question(path="/nothing"), confirmable):
            assert await heard(endpoint.port, silent) is None
        tokens = endpoint.context.request_interfaces[0]
        assert not tokens.incoming_requests, "silence leaves something behind"
        assert not node.refused
    finally:
        await endpoint.close()


async def test_only_so_many_answers_wait() -> None:
    endpoint = Endpoint(
        EndpointConfig("::", 0, MeshLimits(leisure_ms=60_000, leisurely=2), member(samples.OTHER)), Node()
    )
    await endpoint.start()
    try:
        site = endpoint._site
        for number in range(5):
            message = question()
            message.token = bytes([number])
            assert await heard(endpoint.port, message, 0.05) is None
        assert site._leisurely in (0, 2)  # 0 where multicast over loopback doesn't arrive
    finally:
        await endpoint.close()


def test_zones() -> None:
    lo = socket.if_nametoindex("lo")
    assert zone_index("lo") == zone_index(str(lo)) == lo
    assert plain("fe80::1", lo) == "fe80::1%lo"
    assert plain("fe80::1", 4_000_000) == "fe80::1%4000000"
    assert plain("2001:db8::1", lo) == "2001:db8::1"
    assert plain("::ffff:10.0.0.1") == "10.0.0.1"
    with pytest.raises(OSError, match="no interface"):
        zone_index("nothere")
    for written in ("coap://[fe80::1%eth0]:77", "coap://[fe80::1%25eth0]:77"):
        assert PeerAddress.parse(written) == PeerAddress("fe80::1%eth0", 77)
        assert str(PeerAddress.parse(written)) == "coap://[fe80::1%eth0]:77"
    for refused in ("coap://[ff02::fd%eth0]", "coap://[::%eth0]"):
        with pytest.raises(PeerError):
            PeerAddress.parse(refused)


def test_interfaces_that_cant_be_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> list[tuple[int, str]]:
        raise PermissionError(13, "netlink is refused")

    monkeypatch.setattr(multicast.socket, "if_nameindex", refuse)
    assert multicast.interfaces() == (0,)
    assert set(multicast.comes_back(1)) <= {"default"}


def test_where_a_multicast_comes_back() -> None:
    """Whatever this machine has: every interface but loopback is judged."""
    names = {name for _, name in socket.if_nameindex()} - {"lo"}
    assert set(multicast.comes_back(50)) == names
