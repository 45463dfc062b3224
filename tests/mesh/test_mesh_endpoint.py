"""Opening and closing: one port for both transports, IPv4 and IPv6, nobody shares it, nothing is left behind."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import sys

import pytest
from mesh_openers import Opener
from mesh_samples import Node

from icn_lite.mesh import table
from icn_lite.mesh.addresses import PeerAddress, link_local, own_hosts
from icn_lite.mesh.client import Client
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.requests import Call
from icn_lite.model.cid import Cid
from icn_lite.model.errors import PeerError, UsageError

SOON_S = 10.0


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_all_addresses_take_both_versions_on_both_transports(
    open_endpoint: Opener, host: str, transport: str
) -> None:
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback address")
    endpoint = await open_endpoint(bind="::")
    client = Client(await open_endpoint(bind="::"))
    until_s = asyncio.get_running_loop().time() + SOON_S
    answer = await client._requester.call(
        PeerAddress(host, endpoint.port), "tcp" if transport == "tcp" else "udp", Call("GET", table.PING), until_s
    )
    assert answer.code == "2.05"


async def test_a_port_is_not_shared(open_endpoint: Opener) -> None:
    first = await open_endpoint()
    for bind in ("127.0.0.1", "::"):
        with pytest.raises(PeerError, match=f"port {first.port} on .* is in use") as caught:
            await open_endpoint(bind=bind, port=first.port)
        assert "--port" in caught.value.hint
        assert caught.value.exit_code == 7


async def test_a_port_that_only_udp_has_taken_is_refused(open_endpoint: Opener) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(PeerError, match="in use"):
            await open_endpoint(port=taken.getsockname()[1])


@pytest.mark.parametrize(("bind", "port"), [("localhost", 0), ("", 0), ("127.0.0.1", 70_000), ("127.0.0.1", -1)])
async def test_an_address_that_is_none(bind: str, port: int) -> None:
    with pytest.raises(UsageError):
        await Endpoint(EndpointConfig(bind, port), Node()).start()


async def test_an_address_of_another_machine() -> None:
    with pytest.raises(PeerError, match=r"can't bind 192\.0\.2\.77"):
        await Endpoint(EndpointConfig("192.0.2.77", 0), Node()).start()


async def test_a_closed_port_can_be_opened_again_and_closing_twice_is_fine(open_endpoint: Opener) -> None:
    client = Client(await open_endpoint())
    port = 0
    for _ in range(3):
        endpoint = Endpoint(EndpointConfig("127.0.0.1", port), Node())
        await endpoint.start()
        port = endpoint.port
        cid = _block(endpoint)
        assert await client.fetch_block(endpoint.addresses(), cid, 1 << 20)
        await endpoint.close()
        await endpoint.close()
    with pytest.raises(PeerError, match="closed"):
        _ = endpoint.context


def _block(endpoint: Endpoint) -> Cid:
    data = bytes(5000)
    cid = Cid.of_raw(data)
    assert isinstance(endpoint.handlers, Node)
    endpoint.handlers.blocks[cid] = data
    return cid


async def test_starting_twice_is_refused(open_endpoint: Opener) -> None:
    endpoint = await open_endpoint()
    with pytest.raises(UsageError):
        await endpoint.start()


async def test_nothing_is_left_after_closing() -> None:
    before = len(asyncio.all_tasks())
    server, asker = (Endpoint(EndpointConfig("127.0.0.1", 0), Node()) for _ in range(2))
    await server.start()
    await asker.start()
    client = Client(asker)
    await client.fetch_block(server.addresses(), _block(server), 1 << 20)
    await asker.close()
    await server.close()
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == before
    gc.collect()  # an unclosed socket would warn here, and warnings are errors


async def test_the_endpoint_survives_a_collection(open_endpoint: Opener, client: Client) -> None:
    endpoint = await open_endpoint()
    gc.collect()
    assert await client.ping_ms(endpoint.addresses()[0]) >= 0


async def test_addresses(open_endpoint: Opener) -> None:
    local = await open_endpoint()
    assert local.addresses() == (f"coap://127.0.0.1:{local.port}",)
    everywhere = await open_endpoint(bind="::")
    found = everywhere.addresses()
    assert 1 <= len(found) <= 4
    for uri in found:
        assert PeerAddress.parse(uri).port == everywhere.port
        assert "fe80" not in uri


async def test_where_netlink_is_refused_a_node_knows_the_address_it_sends_from(
    open_endpoint: Opener, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Android since version 11: neither addresses nor interfaces can be listed."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "netlink is refused")

    monkeypatch.setattr(sys, "platform", "android")
    monkeypatch.setattr("ifaddr.get_adapters", refuse)
    monkeypatch.setattr(socket, "if_nameindex", refuse)
    monkeypatch.setattr("icn_lite.mesh.addresses.PROBES", ((socket.AF_INET, "127.0.0.1"),))  # a route on any machine
    endpoint = await open_endpoint(bind="::")
    assert own_hosts() == {"127.0.0.1"}
    assert link_local() == ()
    assert endpoint.addresses() == (f"coap://127.0.0.1:{endpoint.port}",)
    assert await client.ping_ms(endpoint.addresses()[0]) >= 0
    monkeypatch.setattr("icn_lite.mesh.addresses.PROBES", ())
    assert own_hosts() == frozenset()


@pytest.mark.parametrize(
    ("uri", "host", "port"),
    [
        ("coap://10.0.0.1", "10.0.0.1", 5683),
        ("coap://10.0.0.1:99/", "10.0.0.1", 99),
        ("coap+tcp://[::1]:5", "::1", 5),
        ("coap://pi.local:5683", "pi.local", 5683),
    ],
)
def test_uris_of_peers(uri: str, host: str, port: int) -> None:
    peer = PeerAddress.parse(uri)
    assert (peer.host, peer.port) == (host, port)
    assert PeerAddress.parse(str(peer)) == peer


@pytest.mark.parametrize(
    "uri",
    ["", "10.0.0.1", "http://10.0.0.1", "coap://", "coap://h:0", "coap://h:99999", "coap://h/icn", "coap://h?x",
     "coap://u@h", "coap://h#f", "coap://[::1", "coaps://h", "coap://h:x"],
)  # fmt: skip
def test_uris_that_name_no_peer(uri: str) -> None:
    with pytest.raises(PeerError, match="not a peer's URI"):
        PeerAddress.parse(uri)
