"""Spoken with by node-coap, npm's CoAP: its client against our endpoint, our client against its server.

It is looked for where `ICN_TEST_NPM` says, the `node_modules` of an `npm install coap`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import mesh_samples as samples
import pytest
from mesh_members import member
from mesh_openers import Opener
from mesh_samples import Node

from icn_lite.mesh import handshake, table
from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.client import Client
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.handshake import Offer
from icn_lite.mesh.requests import Call
from icn_lite.model.cid import Cid

WAIT_S = 20.0
BODY = bytes(range(256)) * 12  # 3 KiB: three blocks

# One request; a 4.01 with an Echo is asked once more with it, by hand as node-coap leaves it to its user.
CLIENT = """
const coap = require('coap'), [port, method, path, body, format] = process.argv.slice(1);
const socket = require('dgram').createSocket('udp4');  // one for both requests: an Echo is of an address and a port
const agent = new coap.Agent({socket});
const ask = (echo, left) => {
  const [pathname, query] = path.split('?');
  const req = coap.request({host: '127.0.0.1', port: +port, method, pathname, query, agent});
  if (echo) req.setOption('252', echo);
  if (format) req.setOption('Content-Format', Buffer.from([+format]));
  req.on('error', (e) => { console.error(e); process.exit(1); });
  req.on('response', (res) => {
    const found = (res.options || []).find((o) => String(o.name) === '252');
    if (res.code === '4.01' && found && left) return ask(found.value, left - 1);
    console.log(JSON.stringify({code: res.code, asked: 2 - left, payload: res.payload.toString('hex')}));
    process.exit(0);
  });
  req.end(Buffer.from(body || '', 'hex'));
};
ask(null, 1);
"""
SERVER = """
const coap = require('coap'), body = Buffer.from(process.argv[1], 'hex');
const server = coap.createServer({type: 'udp4'}, (req, res) => res.end(body));
server.listen(0, '127.0.0.1', () => console.log(server._sock.address().port));
"""


def modules() -> str:
    found = os.environ.get("ICN_TEST_NPM", "")
    if shutil.which("node") is None:
        pytest.skip("node is missing (Debian: nodejs)")
    if not (Path(found) / "coap").is_dir():
        pytest.skip("npm's coap is missing (npm install coap; ICN_TEST_NPM names its node_modules)")
    return found


async def asked(
    port: int, method: str, path: str, body: bytes = b"", content_format: int | None = None
) -> dict[str, object]:
    process = await asyncio.create_subprocess_exec(
        "node", "-e", CLIENT, str(port), method, path, body.hex(), str(content_format or ""),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**os.environ, "NODE_PATH": modules()},
    )  # fmt: skip
    async with asyncio.timeout(WAIT_S):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    found: dict[str, object] = json.loads(out)
    return found


async def test_its_client_as_a_stranger() -> None:
    modules()
    endpoint = Endpoint(EndpointConfig("127.0.0.1", 0, admission=member(samples.OTHER)), Node())
    await endpoint.start()
    try:
        core = await asked(endpoint.port, "GET", table.CORE + "?rt=icn.*")
        assert (core["code"], core["asked"]) == ("2.05", 2), "an Echo is asked for once"
        assert bytes.fromhex(str(core["payload"])).startswith(b"</icn/hs>")
        answer = await asked(endpoint.port, "POST", table.HANDSHAKE, handshake.hello(), table.CBOR)
        assert (answer["code"], answer["asked"]) == ("2.04", 1), "a hello pays for its answer"
        assert handshake.decode(Offer, bytes.fromhex(str(answer["payload"]))).cookie
        assert (await asked(endpoint.port, "GET", table.PING))["code"] == "4.01"
        assert (await asked(endpoint.port, "PUT", table.PING))["code"] == "4.05"
    finally:
        await endpoint.close()


async def test_its_client_in_a_laboratory(open_endpoint: Opener) -> None:
    modules()
    node = Node(blocks={(cid := Cid.of_raw(BODY)): BODY})
    port = (await open_endpoint(node)).port
    assert bytes.fromhex(str((await asked(port, "GET", f"/icn/blocks/{cid}"))["payload"])) == BODY
    assert (await asked(port, "POST", table.BIDS, samples.bid().block, table.COSE_SIGN1))["code"] == "2.04"
    assert node.heard == [samples.bid()]


@pytest.fixture
async def their_server() -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(
        "node", "-e", SERVER, BODY.hex(), stdout=asyncio.subprocess.PIPE, env={**os.environ, "NODE_PATH": modules()}
    )
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        port = int(await process.stdout.readline())
    yield port
    process.terminate()
    await process.communicate()


async def test_our_client_reads_from_its_server(client: Client, their_server: int) -> None:
    until_s = asyncio.get_running_loop().time() + WAIT_S
    call = Call("GET", "/anything", max_answer=len(BODY))
    peer = PeerAddress("127.0.0.1", their_server)
    assert (await client._requester.call(peer, "udp", call, until_s)).payload == BODY
