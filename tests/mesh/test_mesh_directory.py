"""A Resource Directory: ours with our own client, libcoap's and aiocoap's; our client with aiocoap's directory."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import mesh_samples as samples
import pytest
from aiocoap.util import linkformat
from mesh_members import member
from mesh_openers import Opener
from mesh_samples import Node

from icn_lite.mesh import directory, table
from icn_lite.mesh.client import Client
from icn_lite.mesh.directory import LIFETIME_S, MAX_LINKS, MAX_REGISTRATIONS, PAGE, Directory, links_of
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.ports import Remote, Speaker
from icn_lite.mesh.refusals import Refusal
from icn_lite.mesh.registration import OFFERED, Registrar
from icn_lite.mesh.requests import Call
from icn_lite.model.cid import Cid
from icn_lite.model.cose import KeySigner
from icn_lite.model.errors import PeerError, PeerRefused

WAIT_S = 20.0
HERE = Remote("10.0.0.1", 5683, "udp")
BASE = "coap://10.0.0.1:5683"


def kind(caught: pytest.ExceptionInfo[Refusal]) -> str:
    return caught.value.kind


def test_what_is_registered_is_told_until_its_time_is_over() -> None:
    found = Directory()
    cid = found.register(("ep=one", "lt=60"), b'</icn/hs>;rt="icn.hs x",</t>;ct=0', HERE, 0.0)
    assert found.register(("ep=one", "lt=60"), OFFERED, HERE, 10.0) == cid
    assert len(found) == 1
    assert found.resources((), 11.0) == f'<{BASE}/icn/hs>;rt=icn.hs;anchor="{BASE}"'.encode()
    assert found.endpoints((), 11.0) == f'</rd/{cid}>;ep="one";base="{BASE}";rt="core.rd-ep"'.encode()
    found.renew(cid, ("lt=100", "base=coap://10.0.0.7"), HERE, 60.0)
    assert b"coap://10.0.0.7:5683" in found.resources((), 159.0)
    assert found.resources((), 160.0) == b""
    assert len(found) == 0
    with pytest.raises(Refusal) as caught:
        found.renew(cid, (), HERE, 161.0)
    assert kind(caught) == "not_found"
    found.register(("ep=one", f"lt={10**9}"), b"", HERE, 0.0)
    found.forget_old(LIFETIME_S - 1)
    assert len(found) == 1
    found.forget_old(LIFETIME_S)
    assert len(found) == 0


def test_filters_and_pages() -> None:
    found = Directory()
    for number in range(40):
        found.register((f"ep=node{number}",), b"</a>;rt=one" if number % 2 else b"</b>;rt=two", HERE, 0.0)

    def count(*query: str) -> int:
        text = found.resources(query, 1.0).decode()
        return len(linkformat.parse(text).links) if text else 0

    assert (count(), count("page=1"), count("page=2")) == (PAGE, 8, 0)
    assert (count("rt=one"), count("rt=t*"), count("rt=none"), count("if=x")) == (20, 20, 0, 0)
    assert (count("ep=node7"), count("ep=node7", "rt=two"), count("ep=node3*")) == (1, 0, 11)
    assert count("count=3", "page=13") == 1
    assert found.endpoints(("rt=one",), 1.0).count(b"core.rd-ep") == 20


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ((), b""), (("ep=",), b""), (("ep=" + "x" * 64,), b""), (('ep=a"b',), b""), (("ep=a", "lt=0"), b""),
        (("ep=a", "lt=-1"), b""), (("ep=a", "lt=x"), b""), (("ep=a", "base=http://x"), b""),
        (("ep=a", "base=coap://224.0.0.1"), b""), (("ep=a", "base=coap://h/path"), b""), (("ep=a",), b"\xff"),
        (("ep=a",), b"no link"), (("ep=a",), b"</a> </b>"), (("ep=a",), b"<coap://other/x>;rt=y"),
        (("ep=a",), b'</a>;rt="open'), (("ep=a",), b",".join(b"</a>" for _ in range(MAX_LINKS + 1))),
    ],
)  # fmt: skip
def test_what_is_not_registered(query: tuple[str, ...], body: bytes) -> None:
    found = Directory()
    with pytest.raises(Refusal) as caught:
        found.register(query, body, HERE, 0.0)
    assert kind(caught) == "bad_query"
    assert len(found) == 0


def test_a_directory_is_bounded_and_known_names_still_fit() -> None:
    found = Directory()
    for number in range(MAX_REGISTRATIONS):
        found.register((f"ep={number}", "lt=60"), b"", HERE, 0.0)
    with pytest.raises(Refusal) as caught:
        found.register(("ep=more",), b"", HERE, 1.0)
    assert kind(caught) == "overload"
    found.register(("ep=0",), b"", HERE, 1.0)
    found.register(("ep=more",), b"", HERE, 61.0)
    assert len(found) == 2
    for wrong in ("page=x", "count=-1", "page=99999"):
        with pytest.raises(Refusal):
            found.resources((wrong,), 62.0)


def test_a_member_registers_itself_and_nobody_else() -> None:
    found, did = Directory(), samples.SIGNER.did
    mine = Remote("fe80::1%eth0", 5683, "udp", Speaker(did))
    other = Remote("10.0.0.2", 5683, "udp", Speaker(samples.OTHER.did))
    cid = found.register((f"ep={did}",), OFFERED, mine, 0.0)
    assert b"coap://[fe80::1]:5683" in found.resources((), 1.0), "a zone means nothing to others"
    for attempt in (
        lambda: found.register((f"ep={did}",), OFFERED, other, 1.0),
        lambda: found.renew(cid, (), other, 1.0),
        lambda: found.remove(cid, other, 1.0),
        lambda: found.remove(cid, HERE, 1.0),
    ):
        with pytest.raises(Refusal) as caught:
            attempt()
        assert kind(caught) == "not_the_author"
    found.remove(cid, mine, 2.0)
    assert len(found) == 0


def test_links_are_read_as_another_parser_reads_them() -> None:
    text = '</icn/hs>;rt="icn.hs core.x";ct=60,</a/b>;if=y;obs, </c>'
    assert [link.target for link in links_of(text.encode())] == [link.href for link in linkformat.parse(text).links]
    assert links_of(text.encode())[0].types == ("icn.hs", "core.x")
    assert links_of(b"") == ()


@pytest.fixture
async def three() -> AsyncIterator[list[Endpoint]]:
    """Three members of one cooperative: the first is the directory."""
    opened = []
    for signer in (samples.OTHER, samples.SIGNER, KeySigner(b"\x03" * 32)):
        opened.append(Endpoint(EndpointConfig("127.0.0.1", 0, admission=member(signer)), Node(signer)))
        await opened[-1].start()
    yield opened
    for endpoint in opened:
        await endpoint.close()


def soon() -> float:
    return asyncio.get_running_loop().time() + WAIT_S


async def test_two_that_are_deaf_find_each_other_at_a_third(three: list[Endpoint]) -> None:
    desk_uri = three[0].addresses()[0]
    for endpoint, signer in ((three[1], samples.SIGNER), (three[2], KeySigner(b"\x03" * 32))):
        registrar = Registrar(endpoint)
        desk = await registrar.find(desk_uri, soon())
        assert desk is not None
        assert (desk.register, desk.lookup, desk.sealed) == ("/rd", "/rd-lookup/res", True)
        await registrar.register(desk, str(signer.did), None, soon())
        found = await registrar.lookup(desk, soon())
    assert found == (three[1].addresses()[0], three[2].addresses()[0])
    with pytest.raises(PeerRefused, match="the name of who registers"):
        await registrar.register(desk, str(samples.OTHER.did), None, soon())
    client = Client(three[2])
    for method in ("POST", "DELETE"):
        call = Call(method, f"/rd/{Cid.of_raw(str(signer.did).encode())}")  # type: ignore[arg-type]
        assert (await client._requester.call(desk.peer, "udp", call, soon())).code in ("2.04", "2.02")
    assert await registrar.lookup(desk, soon()) == (three[1].addresses()[0],)


async def test_a_stranger_registers_nothing(three: list[Endpoint]) -> None:
    stranger = Endpoint(EndpointConfig("127.0.0.1", 0), Node())
    await stranger.start()
    try:
        registrar = Registrar(stranger)
        desk = await registrar.find(three[0].addresses()[0], soon())
        assert desk is not None
        for refused in (registrar.register(desk, "x", None, soon()), registrar.lookup(desk, soon())):
            with pytest.raises(PeerRefused, match=r"4\.01"):
                await refused
    finally:
        await stranger.close()


def program(name: str, package: str) -> str:
    """A program beside this interpreter or in the path."""
    for found in (Path(sys.executable).parent / name, shutil.which(name), shutil.which(f"{name}-notls")):
        if found and Path(found).exists():
            return str(found)
    pytest.skip(f"{name} is missing ({package})")


async def run(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(WAIT_S):
        out, _ = await process.communicate()
    return out.decode(errors="replace")


async def test_libcoaps_client_registers_and_looks_up(open_endpoint: Opener) -> None:
    client = program("coap-client", "Debian: libcoap3-bin")
    server = await open_endpoint(Node())
    base = f"coap://127.0.0.1:{server.port}"
    await run(client, "-m", "post", "-t", "40", "-e", "</light>;rt=lamp", f"{base}/rd?ep=their-lamp&lt=60")
    told = await run(client, "-m", "get", f"{base}/rd-lookup/ep?rt=lamp")
    (link,) = linkformat.parse(told.strip()).links
    assert link.ep == ["their-lamp"]
    found = linkformat.parse((await run(client, "-m", "get", f"{base}/rd-lookup/res?ep=their-lamp")).strip()).links
    assert [urn.href.endswith("/light") for urn in found] == [True]
    await run(client, "-m", "delete", base + link.href)
    assert (await run(client, "-m", "get", f"{base}/rd-lookup/ep")).strip() == ""
    assert "4.00" in await run(client, "-m", "post", "-t", "40", "-e", "nonsense", f"{base}/rd?ep=x")


async def test_aiocoaps_client_reads_core_and_the_directory(open_endpoint: Opener) -> None:
    client = program("aiocoap-client", "it comes with aiocoap")
    server = await open_endpoint(Node())
    base = f"coap+tcp://127.0.0.1:{server.port}"  # over UDP it knows no Echo
    core = await run(client, "--no-color", "--quiet", f"{base}/.well-known/core?rt=core.rd*")
    assert "</rd>" in core, core
    said = await run(
        client, "--quiet", "-m", "POST", "--content-format", "40", "--payload", "</x>;rt=y", f"{base}/rd?ep=theirs"
    )
    assert "rd" in said or said == "", said
    assert "theirs" in await run(client, "--no-color", "--quiet", f"{base}/rd-lookup/ep")


@pytest.fixture
async def their_directory() -> AsyncIterator[str]:
    """aiocoap's own directory on a free port."""
    rd = program("aiocoap-rd", "it comes with aiocoap")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        rd, "--bind", f"127.0.0.1:{port}", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        env={"AIOCOAP_SERVER_TRANSPORT": "udp6", "AIOCOAP_CLIENT_TRANSPORT": "udp6", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    yield f"coap://127.0.0.1:{port}"
    process.terminate()
    await process.wait()


async def test_our_client_registers_with_aiocoaps_directory(three: list[Endpoint], their_directory: str) -> None:
    registrar = Registrar(three[1])
    for attempt in range(50):
        try:
            desk = await registrar.find(their_directory, asyncio.get_running_loop().time() + 0.5)
            break
        except PeerError:
            assert attempt < 49, "their directory never came up"
            await asyncio.sleep(0.1)  # another program starts; a refused port is all that it says meanwhile
    assert desk is not None
    assert not desk.sealed
    base = three[1].addresses()[0]
    await registrar.register(desk, str(samples.SIGNER.did), base, soon())
    assert await registrar.lookup(desk, soon()) == (base,)


async def test_a_node_that_is_no_directory_is_left_alone(
    three: list[Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "links", lambda query=(): b"</icn/hs>;rt=icn.hs,</x>;rt=core.rd-lookup-res")
    assert await Registrar(three[1]).find(three[0].addresses()[0], soon()) is None


async def test_what_a_lying_directory_tells(three: list[Endpoint], monkeypatch: pytest.MonkeyPatch) -> None:
    registrar = Registrar(three[1])
    desk = await registrar.find(three[0].addresses()[0], soon())
    assert desk is not None
    told = b"<coap://224.0.1.187/icn/hs>,<http://x/y>,</icn/hs>,<coap://[::/z>,<coap://10.0.0.1/icn/hs>,\xff<"
    monkeypatch.setattr(directory.Directory, "resources", lambda *_: told)
    assert await registrar.lookup(desk, soon()) == ("coap://10.0.0.1:5683",)
