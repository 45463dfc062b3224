"""Every protocol over a lossy link: each completes or fails cleanly before its deadline, and can be asked again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import mesh_samples as samples
import pytest
from aiocoap.numbers.constants import TransportTuning
from mesh_bytes import blocks_of, some_bytes
from mesh_lossy import DEAD, FAIR, LossyLink, Weather, lossy_link
from mesh_members import member
from mesh_openers import Opener
from mesh_raw import until
from mesh_samples import Node
from test_mesh_swarm import Counting

from icn_lite.mesh import swarm as swarm_module
from icn_lite.mesh import table
from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.client import Client
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.limits import MeshLimits
from icn_lite.mesh.swarm import LANES
from icn_lite.model import unixfs
from icn_lite.model.cid import Cid
from icn_lite.model.errors import PeerError, PeerRefused
from icn_lite.model.unixfs import CHUNK_BYTES

LIMITS = MeshLimits(piece_ms=1500, connect_ms=500, doorbell_ms=5, watchdog_ms=300)
DEADLINE_MS = 5_000
SEEDS = range(4)
GUARDED = (2, 3)  # seeds with which all of it is sealed
RAIN = Weather(lost_pct=5, twice_pct=5, held_back_pct=10, delay_ms=1)
STORM = Weather(lost_pct=25, twice_pct=20, held_back_pct=30, delay_ms=2)
ANNOUNCEMENT = samples.announcement(500)  # more than one block: it goes over TCP
SMALL, MIDDLE, LARGE = some_bytes(700), some_bytes(20_000), some_bytes(5 * CHUNK_BYTES)
MOST = some_bytes(64 << 10)
RECEIPT = samples.receipt()


@pytest.fixture(autouse=True)
def _quick_retransmissions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first after 50 to 75 ms instead of 2 to 3 s (RFC 7252 §4.8 lets both ends agree on that)."""
    monkeypatch.setattr(TransportTuning, "ACK_TIMEOUT", 0.05)


@dataclass(repr=False)  # of megabytes: asyncio prints what tasks return
class Stage:
    """A node, the link before it, and who asks."""

    node: Counting
    endpoint: Endpoint
    link: LossyLink
    client: Client

    async def still(self) -> None:
        """Nothing is under way any more at the asker: no request, no retransmission, no task of a transfer."""
        exchanges = self.client._endpoint.context.request_interfaces[0].token_interface
        await until(lambda: not exchanges._active_exchanges)
        names = [task.get_name() for task in asyncio.all_tasks()]
        assert not [name for name in names if name.startswith(("block ", "from "))]


@pytest.fixture(params=SEEDS, ids=lambda seed: f"seed{seed}{'-guarded' if seed in GUARDED else ''}")
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    node = Counting(blocks={Cid.of_raw(data): data for data in (SMALL, MIDDLE, MOST)} | blocks_of(LARGE))
    node.receipts[RECEIPT.cid] = RECEIPT.block
    node.statuses[samples.JOB_ID] = b"\xa0"
    server = await _opened(node, request.param in GUARDED)
    asker = await _opened(Node(samples.SIGNER), request.param in GUARDED)
    async with lossy_link(server.port, request.param) as link:
        standing = Stage(node, server, link, Client(asker))
        yield standing
        await asker.close()
        await standing.endpoint.close()


async def _opened(node: Node, guarded: bool, port: int = 0) -> Endpoint:
    """A node's endpoint; of a member of the village where the channel is guarded."""
    endpoint = Endpoint(EndpointConfig("127.0.0.1", port, LIMITS, member(node.signer) if guarded else None), node)
    await endpoint.start()
    return endpoint


async def _advertise(stage: Stage) -> None:
    assert (await stage.client.advertise(stage.link.uri, deadline_ms=DEADLINE_MS)).signer == stage.node.signer.did


async def _ping(stage: Stage) -> None:
    await stage.client.ping_ms(stage.link.uri, deadline_ms=DEADLINE_MS)


def _post(path: str, block: bytes) -> Callable[[Stage], Awaitable[None]]:
    async def post(stage: Stage) -> None:
        await stage.client.post(stage.link.uri, path, block, deadline_ms=DEADLINE_MS)

    return post


async def _receipt(stage: Stage) -> None:
    sealed = await stage.client.post_receipt(stage.link.uri, RECEIPT.block, deadline_ms=DEADLINE_MS)
    assert sealed.document.receipt == RECEIPT.cid


def _get(path: str, cid: Cid, expected: bytes) -> Callable[[Stage], Awaitable[None]]:
    async def get(stage: Stage) -> None:
        answer = await stage.client.get(stage.link.uri, path.replace("{cid}", str(cid)), deadline_ms=DEADLINE_MS)
        assert answer.payload == expected

    return get


def _fetch(data: bytes, *, most: int = 0) -> Callable[[Stage], Awaitable[None]]:
    async def fetch(stage: Stage) -> None:
        cid = unixfs.blob_cid(data)
        assert await stage.client.fetch_block([stage.link.uri], cid, most or len(data), deadline_ms=DEADLINE_MS) == data

    return fetch


async def _over_udp(stage: Stage, data: bytes = MIDDLE) -> None:
    """Block-wise over UDP, as from a peer without TCP."""
    stage.client._fetcher.puller.without_tcp(PeerAddress.parse(stage.link.uri))
    await _fetch(data)(stage)


async def _status(stage: Stage) -> None:
    rings = stage.client.observe_status(stage.link.uri, samples.JOB_ID)
    try:
        async with asyncio.timeout(DEADLINE_MS / 1000):
            assert await anext(rings) == b"\xa0"
    finally:
        await rings.aclose()  # type: ignore[attr-defined]


PROTOCOLS: dict[str, Callable[[Stage], Awaitable[None]]] = {
    "ping": _ping,
    "capability": _advertise,
    "announcement": _post(table.JOBS, ANNOUNCEMENT.block),
    "bid": _post(table.BIDS, samples.bid().block),
    "lease": _post(table.LEASES, samples.lease().block),
    "lease return": _post(table.LEASE_RETURNS, samples.lease_return().block),
    "status": _post(table.STATUS, samples.status().block),
    "receipt": _receipt,
    "receipt by CID": _get(table.RECEIPT, RECEIPT.cid, RECEIPT.block),
    "links": _get(table.CORE, RECEIPT.cid, table.links()),
    "small block": _fetch(SMALL),
    "block": _fetch(MIDDLE),
    "block over UDP": _over_udp,
    "blob": _fetch(LARGE),
    "observed status": _status,
}


@pytest.mark.parametrize("name", PROTOCOLS)
async def test_in_rain_everything_arrives(stage: Stage, name: str) -> None:
    stage.link.weather = RAIN
    await PROTOCOLS[name](stage)
    await stage.still()
    assert not set(stage.node.refused) - {"idle_connection"}


@pytest.mark.parametrize("name", PROTOCOLS)
async def test_in_a_storm_it_arrives_or_fails_and_can_be_asked_again(stage: Stage, name: str) -> None:
    stage.link.weather = STORM
    try:
        await PROTOCOLS[name](stage)
    except PeerRefused as refused:  # by a stage that is whole: nothing here may be taken for malformed
        raise AssertionError(refused.message) from refused
    except PeerError:
        pass
    stage.link.weather = FAIR
    await PROTOCOLS[name](stage)
    await stage.still()
    assert "internal" not in stage.node.refused
    assert len({sealed.cid for sealed in stage.node.heard}) <= 1, "whatever was repeated is one and the same document"


@pytest.mark.parametrize("name", PROTOCOLS)
async def test_where_nothing_passes_it_fails_at_the_deadline(
    open_endpoint: Opener, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("test_mesh_lossy.DEADLINE_MS", 150)
    node, client = Counting(), Client(await open_endpoint(limits=MeshLimits(connect_ms=100, watchdog_ms=150)))
    server = await open_endpoint(node)
    async with lossy_link(server.port, 0, Weather(lost_pct=100, streams_end_after=(0,) * 50)) as link:
        nothing = Stage(node, server, link, client)
        with pytest.raises((PeerError, TimeoutError)):
            await PROTOCOLS[name](nothing)
        await nothing.still()
    assert not node.heard


async def test_sixty_four_kibibytes_over_udp_ask_for_little_twice(stage: Stage) -> None:
    """A window of requests, each repeated when it is lost: what arrives in vain stays below half."""
    stage.link.weather = RAIN
    await _over_udp(stage, MOST)
    assert stage.link.to_asker_bytes < 1.5 * len(MOST)


@pytest.mark.parametrize("after", [(0, 0), (1,), (1000, 300_000), (CHUNK_BYTES + 5000, 3), (700_000, 700_000, 700_000)])
async def test_a_stream_that_ends_early_is_gone_on_with(stage: Stage, after: tuple[int, ...]) -> None:
    """Whole answers are kept; of an unfinished one at most as many leaves are lost as are under way at a time."""
    stage.link.weather = Weather(delay_ms=1, streams_end_after=after)
    for _ in range(len(after)):
        try:
            await _fetch(LARGE)(stage)
        except PeerError:
            continue
        break
    else:
        await _fetch(LARGE)(stage)
    leaves = Counter({cid: times for cid, times in stage.node.served.items() if cid.codec == 0x55})
    assert set(leaves) == set(unixfs.tree_of(LARGE).leaves)
    assert sum(leaves.values()) <= len(leaves) + LANES * len(after)
    slack = 4096 * (len(after) + 2)
    assert stage.link.to_asker_bytes <= len(LARGE) + LANES * CHUNK_BYTES * len(after) + slack


async def test_two_links_of_which_one_dies(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swarm_module, "SLOW_MIN_S", 0.05)
    other = Counting(blocks=blocks_of(LARGE))
    server = await _opened(other, stage.link.seed in GUARDED)
    async with lossy_link(server.port, stage.link.seed, Weather(delay_ms=1)) as second:
        stage.link.weather = Weather(streams_end_after=(400_000, *(0,) * 20), lost_pct=0)
        uris = [stage.link.uri, second.uri]
        fetched = await stage.client.fetch_block(uris, unixfs.blob_cid(LARGE), len(LARGE), deadline_ms=DEADLINE_MS)
    await server.close()
    assert fetched == LARGE
    served = stage.node.served + other.served
    assert sum(served.values()) - len(served) <= LANES, "only what was under way when it died came twice"


async def test_a_doorbell_whose_rings_are_lost_tells_the_last_status(stage: Stage) -> None:
    rings = stage.client.observe_status(stage.link.uri, samples.JOB_ID)
    assert await anext(rings) == b"\xa0"
    stage.link.weather = DEAD
    for number in range(20):
        stage.node.statuses[samples.JOB_ID] = bytes([0x18, 0x20 + number])
        stage.endpoint.notify_job(samples.JOB_ID)
        await asyncio.sleep(0)
    stage.link.weather = FAIR
    async with asyncio.timeout(DEADLINE_MS / 1000):
        async for status in rings:
            if status == bytes([0x18, 0x20 + 19]):
                break
    await rings.aclose()  # type: ignore[attr-defined]


async def test_a_doorbell_outlives_the_restart_of_its_server(stage: Stage) -> None:
    rings = stage.client.observe_status(stage.link.uri, samples.JOB_ID)
    assert await anext(rings) == b"\xa0"
    await stage.endpoint.close()
    stage.node.statuses[samples.JOB_ID] = b"\x01"
    stage.endpoint = await _opened(stage.node, stage.link.seed in GUARDED, stage.endpoint.port)
    async with asyncio.timeout(DEADLINE_MS / 1000):
        assert await anext(rings) == b"\x01"
    await rings.aclose()  # type: ignore[attr-defined]
