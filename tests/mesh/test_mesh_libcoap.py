"""Spoken with by libcoap: its client against our endpoint, our client against its server."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import mesh_samples as samples
import pytest
from aiocoap.util import linkformat
from mesh_openers import Opener
from mesh_samples import Node

from icn_lite.mesh import table
from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.client import Client
from icn_lite.mesh.requests import Call, Transport
from icn_lite.model.cid import Cid
from icn_lite.model.errors import PeerError

WAIT_S = 30.0
BODY = bytes(range(256)) * 40  # 10 KiB


def program(name: str) -> str:
    """libcoap's client or server, under whichever name this system gives it."""
    for suffix in ("-notls", "", "-openssl", "-gnutls"):
        found = shutil.which(name + suffix)
        if found:
            return found
    pytest.skip(f"libcoap's {name} is missing (Debian: libcoap3-bin)")


async def run(*arguments: str) -> tuple[bytes, str]:
    """What a program wrote to stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(WAIT_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return out, err.decode(errors="replace")


@pytest.mark.parametrize("scheme", ["coap", "coap+tcp"])
async def test_its_client_reads_core_and_a_block(open_endpoint: Opener, tmp_path: Path, scheme: str) -> None:
    client = program("coap-client")
    cid = Cid.of_raw(BODY)
    server = await open_endpoint(Node(blocks={cid: BODY}))
    base = f"{scheme}://127.0.0.1:{server.port}"
    core, _ = await run(client, "-m", "get", f"{base}/.well-known/core")
    assert {link.href for link in linkformat.parse(core.decode().strip()).links} >= {"/icn/cap", "/icn/blocks"}
    filtered, _ = await run(client, "-m", "get", f"{base}/.well-known/core?rt=icn.bids")
    assert filtered.decode().count("</") == 1
    out = tmp_path / "block"
    await run(client, "-m", "get", "-o", str(out), f"{base}/icn/blocks/{cid}")
    assert out.read_bytes() == BODY


@pytest.mark.parametrize("scheme", ["coap", "coap+tcp"])
async def test_its_client_posts_documents(open_endpoint: Opener, tmp_path: Path, scheme: str) -> None:
    client = program("coap-client")
    node = Node()
    server = await open_endpoint(node)
    base = f"{scheme}://127.0.0.1:{server.port}"
    file = tmp_path / "document"
    for path, sealed in ((table.BIDS, samples.bid()), (table.JOBS, samples.announcement(500))):
        file.write_bytes(sealed.block)
        assert await run(client, "-m", "post", "-t", "18", "-f", str(file), base + path) == (b"", "")
        assert node.heard.pop() == sealed
    answered = tmp_path / "ack"
    file.write_bytes(samples.receipt().block)
    await run(client, "-m", "post", "-t", "18", "-f", str(file), "-o", str(answered), base + table.RECEIPTS)
    assert answered.read_bytes() == samples.ack(samples.receipt().cid).block

    file.write_bytes(samples.status().block)
    _, said = await run(client, "-m", "post", "-t", "18", "-f", str(file), base + table.BIDS)
    assert said.startswith("4.01")
    assert "bad_signature" in said
    file.write_bytes(bytes(5000))
    _, said = await run(client, "-m", "post", "-t", "18", "-f", str(file), base + table.BIDS)
    assert "4.13" in said


async def test_its_client_observes_a_job(open_endpoint: Opener) -> None:
    node = Node(statuses={samples.JOB_ID: b"first"})
    server = await open_endpoint(node)
    uri = f"coap://127.0.0.1:{server.port}" + table.JOB.replace("{cid}", str(samples.JOB_ID))
    process = await asyncio.create_subprocess_exec(
        program("coap-client"), "-m", "get", "-s", "3", "-w", uri, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        assert await process.stdout.readline() == b"first\n"
        node.statuses[samples.JOB_ID] = b"second"
        server.notify_job(samples.JOB_ID)
        assert await process.stdout.readline() == b"second\n"
        process.terminate()
        await process.communicate()


@pytest.fixture
async def libcoap_server() -> AsyncIterator[PeerAddress]:
    """libcoap's example server on a free port."""
    server = program("coap-server")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        server, "-A", "127.0.0.1", "-p", str(port), stderr=asyncio.subprocess.DEVNULL
    )
    yield PeerAddress("127.0.0.1", port)
    process.terminate()
    await process.wait()


async def answering(client: Client, peer: PeerAddress) -> None:
    """Wait until a peer has come up."""
    for attempt in range(100):
        try:
            await client.get(str(peer), table.CORE, deadline_ms=300)
        except PeerError:
            if attempt == 99:
                raise
        else:
            return


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_our_client_reads_from_its_server(
    client: Client, libcoap_server: PeerAddress, tmp_path: Path, transport: Transport
) -> None:
    await answering(client, libcoap_server)
    file = tmp_path / "body"
    file.write_bytes(BODY)
    await run(program("coap-client"), "-m", "put", "-t", "42", "-f", str(file), f"{libcoap_server}/example_data")
    until_s = asyncio.get_running_loop().time() + WAIT_S
    call = Call("GET", "/example_data", max_answer=len(BODY))
    assert (await client._requester.call(libcoap_server, transport, call, until_s)).payload == BODY
    with pytest.raises(PeerError, match="more than"):
        await client._requester.call(libcoap_server, transport, Call("GET", "/example_data", max_answer=5000), until_s)
