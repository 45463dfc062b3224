"""How long blobs take: over loopback beside plain aiocoap, from two peers, and over a lossy link.

Over loopback a blob is fetched in verified leaves by coap+tcp, in the open and sealed in a session between two members
as nodes do, in turns with aiocoap's own server and client, which verify nothing. The lossy link is between two network
namespaces with the kernel's own TCP (`tools/lossy_tun.py`).
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from aiocoap import GET, Context, Message
from aiocoap.resource import Resource, Site

from icn_lite.mesh.addresses import bind_sockets
from icn_lite.mesh.client import Client
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.limits import MeshLimits
from icn_lite.model import unixfs
from icn_lite.model.cid import Cid
from icn_lite.node.memberships import Memberships

sys.path.insert(0, str(Path(__file__).parent))
from _members import members

RUNS = 15
SIZE = 8 << 20
GOAL = 0.5  # of what plain coap+tcp does
LOSS_PCT, DELAY_MS, SEED = 5, 20, 1
LOSSY_GOAL_S = 3.0
LIMITS = MeshLimits(requests_per_s=10**6, requests_per_s_peer=10**6, burst=10**6)
LOSSY = Path(__file__).resolve().parents[1] / "lossy_tun.py"

Row = dict[str, str | int | float | bool | None]


def rows() -> Iterator[Row]:
    yield from asyncio.run(_loopback())
    yield from _lossy()


class _Node:
    def __init__(self, data: bytes) -> None:
        tree = unixfs.tree_of(data)
        size = unixfs.CHUNK_BYTES
        self.blocks = dict(tree.nodes)
        self.blocks |= {cid: data[at * size : (at + 1) * size] for at, cid in enumerate(tree.leaves)}

    async def block(self, cid: Cid) -> bytes | None:
        return self.blocks.get(cid)

    def on_refused(self, kind: str) -> None:
        raise AssertionError(kind)


class _Plain(Resource):  # type: ignore[misc]
    def __init__(self, payload: bytes) -> None:
        super().__init__()
        self.payload = payload

    async def render_get(self, request: Message) -> Message:
        return Message(payload=self.payload)


async def _loopback() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="icn-bench-") as folder:
        return await _between(members(Path(folder), "asker", "server"))


async def _between(belonging: list[Memberships]) -> list[Row]:
    data = random.Random(SEED).randbytes(SIZE)
    cid, node = unixfs.blob_cid(data), _Node(data)
    endpoints = [
        Endpoint(EndpointConfig("127.0.0.1", 0, LIMITS, admission), node)  # type: ignore[arg-type]
        for admission in (None, None, None, *belonging)
    ]
    for endpoint in endpoints:
        await endpoint.start()
    client, guarded = Client(endpoints[0]), Client(endpoints[3])
    uris = [f"coap://127.0.0.1:{endpoint.port}" for endpoint in (*endpoints[1:3], endpoints[4])]
    site = Site()
    site.add_resource(("blob",), _Plain(data))
    udp, tcp = bind_sockets("127.0.0.1", 0)
    port = tcp.getsockname()[1]
    udp.close()
    tcp.close()
    transports = ["udp6", "tcpserver", "tcpclient"]
    plain_server = await Context.create_server_context(site, bind=("127.0.0.1", port), transports=transports)
    plain = await Context.create_client_context(transports=["udp6", "tcpclient"])

    async def from_one() -> None:
        assert len(await client.fetch_block(uris[:1], cid, SIZE)) == SIZE

    async def from_two() -> None:
        assert len(await client.fetch_block(uris[:2], cid, SIZE)) == SIZE

    async def sealed() -> None:
        assert len(await guarded.fetch_block(uris[2:], cid, SIZE)) == SIZE

    async def unverified() -> None:
        response = await plain.request(Message(code=GET, uri=f"coap+tcp://127.0.0.1:{port}/blob")).response
        assert len(response.payload) == SIZE

    try:
        one, two, own, peer = await _in_turns(from_one, from_two, sealed, unverified)
    finally:
        for context in (plain, plain_server):
            await context.shutdown()
        for endpoint in endpoints:
            await endpoint.close()
    goal = round(peer / GOAL, 1)
    return [
        {"name": "fetch a blob of 8 MiB in verified leaves, coap+tcp (peer: aiocoap, unverified)", "value": one,
         "unit": "ms", "peer": peer, "goal": goal, "ok": one <= goal},
        {"name": "the same between two members, sealed (peer: aiocoap, unsealed, unverified)", "value": own,
         "unit": "ms", "peer": peer, "goal": goal, "ok": own <= goal},
        {"name": "the same from two peers at once, unsealed", "value": two, "unit": "ms", "peer": peer},
    ]  # fmt: skip


async def _in_turns(*calls: Callable[[], Awaitable[None]]) -> list[float]:
    """The median of each call's milliseconds, after one of each that doesn't count."""
    times: list[list[float]] = [[] for _ in calls]
    for run in range(RUNS + 1):
        for call, spent in zip(calls, times, strict=True):
            begun = time.perf_counter()
            await call()
            if run:
                spent.append((time.perf_counter() - begun) * 1000)
    return [round(statistics.median(spent), 1) for spent in times]


def _lossy() -> Iterator[Row]:
    sys.path.insert(0, str(LOSSY.parent))
    import lossy_tun

    lacks = lossy_tun.missing()
    if lacks:
        print(f"transfer: no lossy link, because {lacks}", file=sys.stderr)
        return
    command = [sys.executable, str(LOSSY), str(LOSS_PCT), str(DELAY_MS), str(SEED)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=120)
    found = json.loads(done.stdout)
    link = f"{LOSS_PCT} % loss and {DELAY_MS} ms each way"
    large, middle = (round(statistics.median(found[name]), 2) for name in ("large_tcp", "middle_udp"))
    yield {"name": f"fetch 1 MiB by coap+tcp over {link}", "value": large, "unit": "s", "goal": LOSSY_GOAL_S,
           "ok": large <= LOSSY_GOAL_S}  # fmt: skip
    yield {"name": f"fetch 64 KiB by UDP over {link}", "value": middle, "unit": "s"}
