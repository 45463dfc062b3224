"""Blobs: verified leaf by leaf, from several peers at once, nothing fetched twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_bytes import blocks_of, some_bytes
from mesh_openers import Opener
from mesh_raw import until
from mesh_samples import Node

from icn_lite.mesh import swarm as swarm_module
from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.client import Client
from icn_lite.mesh.limits import MeshLimits
from icn_lite.mesh.partial import Partial, Unfinished
from icn_lite.mesh.swarm import FAILURES, LANES, Leaf, Swarm
from icn_lite.model import unixfs
from icn_lite.model.cid import DAG_PB, Cid
from icn_lite.model.errors import PeerError, PeerRefused
from icn_lite.model.unixfs import CHUNK_BYTES, MAX_LINKS


@dataclass(repr=False)  # of megabytes: asyncio prints what tasks return
class Counting(Node):
    """Counts what is asked of it; stops answering where it is told to."""

    served: Counter[Cid] = field(default_factory=Counter)
    lies: dict[Cid, bytes] = field(default_factory=dict)
    silent_after: int | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    silent: asyncio.Event = field(default_factory=asyncio.Event)

    async def block(self, cid: Cid) -> bytes | None:
        found = self.lies.get(cid, self.blocks.get(cid))
        self.asked.set()
        if self.silent_after is not None and sum(self.served.values()) >= self.silent_after:
            self.silent.set()
            await asyncio.Event().wait()
        if found is not None:
            self.served[cid] += 1
        return found

    @property
    def served_bytes(self) -> int:
        return sum(len(self.blocks[cid]) * times for cid, times in self.served.items())


async def providers(open_endpoint: Opener, *nodes: Node) -> list[str]:
    return [(await open_endpoint(node)).addresses()[0] for node in nodes]


@pytest.mark.parametrize("size", [CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 1_000_001, 8 << 20])
async def test_a_blob_from_one_provider(open_endpoint: Opener, client: Client, size: int) -> None:
    data = some_bytes(size)
    node = Counting(blocks=blocks_of(data))
    uris = await providers(open_endpoint, node)
    assert await client.fetch_block(uris, unixfs.blob_cid(data), size) == data
    assert node.served == Counter(dict.fromkeys(node.blocks, 1))


async def test_a_blob_of_two_levels_whose_leaves_are_equal(open_endpoint: Opener) -> None:
    data = bytes(CHUNK_BYTES * (MAX_LINKS + 1) + 7)
    node = Counting(blocks=blocks_of(data))
    client = Client(await open_endpoint(limits=MeshLimits(max_block_bytes=64 << 20)))
    uris = await providers(open_endpoint, node)
    assert await client.fetch_block(uris, unixfs.blob_cid(data), 64 << 20) == data
    assert node.served == Counter(dict.fromkeys(node.blocks, 1)), "root, two nodes, two leaves"


async def test_several_providers_share_the_work(open_endpoint: Opener, client: Client) -> None:
    data = some_bytes(4 << 20)
    blocks = blocks_of(data)
    nodes = [Counting(blocks=blocks) for _ in range(3)]
    uris = await providers(open_endpoint, *nodes)
    assert await client.fetch_block(uris, unixfs.blob_cid(data), 4 << 20) == data
    assert sum((node.served for node in nodes), Counter()) == Counter(dict.fromkeys(blocks, 1))
    assert all(node.served for node in nodes)


async def test_providers_that_have_nothing_or_are_gone(open_endpoint: Opener, client: Client) -> None:
    data = some_bytes(2 << 20)
    full, empty, gone = Counting(blocks=blocks_of(data)), Counting(), await open_endpoint()
    uris = [*gone.addresses(), *await providers(open_endpoint, empty, full)]
    await gone.close()
    assert await client.fetch_block(uris, unixfs.blob_cid(data), 4 << 20) == data
    assert full.served == Counter(dict.fromkeys(full.blocks, 1))
    with pytest.raises(PeerRefused, match="no block"):
        await client.fetch_block(uris[1:2], unixfs.blob_cid(data), 4 << 20)


async def test_a_provider_that_dies_half_way_costs_no_byte_twice(open_endpoint: Opener, client: Client) -> None:
    """Five leaves come from one that then falls silent; when it is closed, another brings the rest and only that."""
    data = some_bytes(3 << 20)
    blocks = blocks_of(data)
    dying, other = Counting(blocks=blocks, silent_after=6), Counting(blocks=blocks)
    endpoint = await open_endpoint(dying)
    uris = [*endpoint.addresses(), *await providers(open_endpoint, other)]
    fetching = asyncio.create_task(client.fetch_block(uris[:1], unixfs.blob_cid(data), 4 << 20))
    await dying.silent.wait()
    await until(lambda: sum(dying.served.values()) == 6)
    await endpoint.close()
    with pytest.raises(PeerError):
        await fetching
    assert client._fetcher.unfinished.size == dying.served_bytes - len(blocks[unixfs.blob_cid(data)])
    assert await client.fetch_block(uris[1:], unixfs.blob_cid(data), 4 << 20) == data
    assert client._fetcher.unfinished.size == 0
    root = unixfs.blob_cid(data)
    assert dying.served + other.served == Counter(dict.fromkeys(blocks, 1)) + Counter({root: 1})


async def test_a_silent_provider_is_relieved_by_another(
    open_endpoint: Opener, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swarm_module, "SLOW_MIN_S", 0.01)
    data = some_bytes(3 << 20)
    blocks = blocks_of(data)
    slow, other = Counting(blocks=blocks, silent_after=3), Counting(blocks=blocks)
    uris = await providers(open_endpoint, slow, other)
    assert await client.fetch_block(uris, unixfs.blob_cid(data), 4 << 20, deadline_ms=8_000) == data
    assert slow.served + other.served == Counter(dict.fromkeys(blocks, 1))


async def test_who_lies_about_one_leaf_is_named_and_not_asked_again(open_endpoint: Opener, client: Client) -> None:
    data = some_bytes(2 << 20)
    blocks = blocks_of(data)
    leaf = unixfs.tree_of(data).leaves[0]
    liar = Counting(blocks=blocks, lies={leaf: bytes(CHUNK_BYTES)})
    honest = Counting(blocks=blocks)
    uris = await providers(open_endpoint, liar, honest)
    with pytest.raises(PeerError, match="are not block") as caught:
        await client.fetch_block(uris[:1], unixfs.blob_cid(data), 4 << 20)
    assert uris[0] in caught.value.message
    assert await client.fetch_block(uris, unixfs.blob_cid(data), 4 << 20) == data


@pytest.mark.parametrize("size", [CHUNK_BYTES + 1, 1 << 20])
async def test_a_blob_that_is_too_large_is_refused_at_its_root(
    open_endpoint: Opener, client: Client, size: int
) -> None:
    data = some_bytes(size)
    node = Counting(blocks=blocks_of(data))
    uris = await providers(open_endpoint, node)
    with pytest.raises(PeerError, match=f"at most {size - 1} bytes"):
        await client.fetch_block(uris, unixfs.blob_cid(data), size - 1)
    assert node.served == Counter({unixfs.blob_cid(data): 1})


async def test_a_root_that_is_no_file_is_refused(open_endpoint: Opener, client: Client) -> None:
    junk = b"\x0a\x02\x08\x01"  # a directory
    cid = Cid(DAG_PB, Cid.of_raw(junk).digest)
    uris = await providers(open_endpoint, Counting(blocks={cid: junk}))
    with pytest.raises(PeerError, match="no file that is taken here"):
        await client.fetch_block(uris, cid, 4 << 20)


async def test_a_leaf_of_another_length_than_its_node_says(open_endpoint: Opener, client: Client) -> None:
    """A root may name blocks that don't have the sizes that it tells; what is made of it is never taken."""
    short = b"short"
    full = unixfs.Child(Cid.of_raw(short), CHUNK_BYTES, CHUNK_BYTES)
    block = unixfs.FileNode(2 * CHUNK_BYTES, 1, (full, full)).block
    cid = Cid(DAG_PB, Cid.of_raw(block).digest)
    uris = await providers(open_endpoint, Counting(blocks={cid: block, full.cid: short}))
    with pytest.raises(PeerError):
        await client.fetch_block(uris, cid, 4 << 20, deadline_ms=5_000)


# The schedule alone, by hypothesis

PEERS = [PeerAddress("127.0.0.1", port) for port in (1, 2, 3)]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    count=st.integers(1, 12),
    steps=st.lists(st.tuples(st.integers(0, len(PEERS) * LANES - 1), st.sampled_from("bbbfFs")), max_size=80),
)
def test_every_leaf_is_at_one_lane_at_most_and_none_is_lost(count: int, steps: list[tuple[int, str]]) -> None:
    leaves = [Leaf(Cid.of_raw(bytes([number])), CHUNK_BYTES) for number in range(count)]
    swarm = Swarm(list(leaves), PEERS)
    brought: list[Leaf] = []
    now_s = 0.0
    for number, what in steps:
        now_s += 0.3
        lane = swarm.lanes[number]
        if lane.leaf is None:
            swarm.take(lane, now_s)
        elif what == "b":
            brought.append(lane.leaf)
            swarm.brought(lane, now_s)
        elif what != "s":
            swarm.failed(lane, FAILURES if what == "F" else 1)
        under_way = [other.leaf for other in swarm.lanes if other.leaf is not None]
        known = [*brought, *under_way, *swarm._waiting]
        assert len(known) == len(set(known)) == count
        assert swarm.left == count - len(brought)
        assert not swarm.over or not swarm.left or all(swarm.out(peer) for peer in PEERS)
    for lane in swarm.lanes:  # whoever is still asked can bring the rest
        if lane.leaf is not None:
            swarm.brought(lane, now_s)
    willing = [lane for lane in swarm.lanes if not swarm.out(lane.provider)]
    while willing and swarm.left:
        now_s += 0.1
        assert swarm.take(willing[0], now_s) is not None
        swarm.brought(willing[0], now_s)
    assert swarm.left == 0 or not willing


def test_a_slow_lane_is_relieved_only_after_its_time() -> None:
    leaves = [Leaf(Cid.of_raw(bytes([number])), CHUNK_BYTES) for number in range(2)]
    swarm = Swarm(list(leaves), PEERS[:2])
    first, second = swarm.lanes[0], swarm.lanes[1]
    slow = swarm.take(first, 0.0)
    swarm.take(second, 0.0)
    swarm.brought(second, 0.1)
    assert swarm.take(second, 0.4) is None
    assert swarm.next_look() == pytest.approx(swarm_module.SLOW_MIN_S)
    assert swarm.take(swarm.lanes[2], 9.0) is None, "its own other lane doesn't take it over"
    assert swarm.take(second, 0.5) is slow
    assert first.leaf is None
    assert swarm.take(first, 0.6) is None, "not taken back at once"


async def test_what_is_kept_is_bounded_in_bytes_and_time() -> None:
    kept = Unfinished(MeshLimits(unfinished_bytes=100, unfinished_ms=1000))
    names = [Cid.of_raw(bytes([number])) for number in range(4)]
    for number, cid in enumerate(names):
        partial = Partial()
        await partial.add(bytes(40 if number else 0))
        kept.keep(cid, partial, float(number) / 10)
    assert kept.size == 80, "the oldest went, and nothing is kept of what never began"
    assert kept.take(names[3], 0.5).size == 40
    assert kept.take(names[3], 0.5).size == 0, "it is out"
    assert kept.take(names[2], 1.2).size == 0, "too long ago"
    assert kept.size == 0


async def test_who_is_cancelled_while_it_hashes_leaves_the_hash_in_order() -> None:
    """A lane that is relieved may be cancelled at any await; what another appends is hashed behind it all the same."""
    pieces = [some_bytes(40_000 + number) for number in range(6)]
    for cancelled in range(5):
        partial = Partial()
        for number, piece in enumerate(pieces):
            await partial.add(piece)
            if number == cancelled:
                waiting = asyncio.create_task(partial.digest())
                await asyncio.sleep(0)
                waiting.cancel()
        assert await partial.digest() == Cid.of_raw(b"".join(pieces)).digest


async def test_a_full_leaf_that_was_not_checked_yet_is_checked(open_endpoint: Opener, client: Client) -> None:
    data = some_bytes(3 * CHUNK_BYTES)
    tree = unixfs.tree_of(data)
    wrong = Partial()
    await wrong.add(bytes(CHUNK_BYTES))
    client._fetcher.unfinished.keep(tree.leaves[1], wrong, asyncio.get_running_loop().time())
    uris = await providers(open_endpoint, Counting(blocks=blocks_of(data)))
    assert await client.fetch_block(uris, tree.root, len(data)) == data
