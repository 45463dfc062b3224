"""Logs by offset: nothing is lost or told twice, who waits is woken, everything is bounded."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_bytes import some_bytes
from mesh_lossy import Weather, lossy_link
from mesh_openers import Opener
from mesh_samples import JOB_ID, OTHER, SIGNER, Node

from icn_lite.mesh import streams as streams_module
from icn_lite.mesh.client import Client
from icn_lite.mesh.streams import MAX_STREAM_BYTES, MAX_STREAMS, MAX_WAIT_MS, Piece, Stream, Streams, Where
from icn_lite.model.cid import Cid
from icn_lite.model.errors import DocumentError, PeerError, PeerRefused

LEASE = Cid.of_dag_cbor(b"lease")
TEXT = some_bytes(40_000)


async def follow(client: Client, uri: str, shard: int = 0) -> bytes:
    """Read a log to its end; an answer that is lost is asked for again."""
    read = b""
    while True:
        try:
            piece = await client.read_log(uri, LEASE, Where(shard, len(read), 500), deadline_ms=2_000)
        except PeerRefused:
            raise
        except PeerError:
            continue
        read += piece.data
        if piece.ended:
            return read


async def test_a_log_is_followed_while_it_grows(open_endpoint: Opener, client: Client) -> None:
    node = Node()
    server = await open_endpoint(node)
    stream = node.streams.begin(LEASE, 3, SIGNER.did)
    following = asyncio.create_task(follow(client, server.addresses()[0], 3))
    for at in range(0, len(TEXT), 999):
        stream.put(at, TEXT[at : at + 999])
        await asyncio.sleep(0)
    stream.end()
    assert await following == TEXT
    assert await follow(client, server.addresses()[0], 3) == TEXT


@pytest.mark.parametrize("seed", range(3))
async def test_a_log_is_whole_although_streams_end_and_datagrams_are_lost(
    open_endpoint: Opener, client: Client, seed: int
) -> None:
    node = Node()
    server = await open_endpoint(node)
    stream = node.streams.begin(LEASE, 0, SIGNER.did)
    stream.put(0, TEXT)
    stream.end()
    weather = Weather(lost_pct=10, twice_pct=10, held_back_pct=10, delay_ms=1, streams_end_after=(9_000, 1, 20_000))
    async with lossy_link(server.port, seed, weather) as link:
        assert await follow(client, link.uri) == TEXT


async def test_what_is_no_log_and_what_is_no_question(open_endpoint: Opener, client: Client) -> None:
    server = await open_endpoint(Node())
    with pytest.raises(PeerRefused, match="no log of lease") as caught:
        await client.read_log(server.addresses()[0], LEASE, Where())
    assert caught.value.response == "4.04"
    for query in ("shard=x", "from=-1", "wait=1&wait=1", "to=5", "from=99999999999", "shard"):
        with pytest.raises(PeerRefused) as caught:
            await client.get(server.addresses()[0], f"/icn/logs/{LEASE}?{query}")
        assert caught.value.response == "4.00"


async def test_a_log_is_its_owners() -> None:
    streams = Streams()
    streams.begin(LEASE, 0, SIGNER.did).put(0, b"said")
    assert await streams.read(LEASE, Where(), 10, OTHER.did) is None
    assert await streams.read(LEASE, Where(), 10, SIGNER.did) == Piece(0, b"said", ended=False)
    assert await streams.read(LEASE, Where(1), 10, SIGNER.did) is None
    assert await streams.read(JOB_ID, Where(), 10, SIGNER.did) is None


async def test_who_waits_is_woken_by_more_by_the_end_or_by_the_time() -> None:
    streams = Streams()
    stream = streams.begin(LEASE, 0, SIGNER.did)
    waiting = [asyncio.create_task(streams.read(LEASE, Where(0, 0, MAX_WAIT_MS), 10, None)) for _ in range(3)]
    await asyncio.sleep(0)
    stream.put(0, b"ab")
    assert await asyncio.gather(*waiting) == [Piece(0, b"ab", ended=False)] * 3
    at_end = asyncio.create_task(streams.read(LEASE, Where(0, 2, MAX_WAIT_MS), 10, None))
    await asyncio.sleep(0)
    stream.end()
    assert await at_end == Piece(2, b"", ended=True)
    streams.begin(LEASE, 0, SIGNER.did)
    assert await streams.read(LEASE, Where(0, 0, 1), 10, None) == Piece(0, b"", ended=False)


async def test_no_more_wait_than_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "MAX_WAITING", 2)
    streams = Streams()
    stream = streams.begin(LEASE, 0, SIGNER.did)
    waiting = [asyncio.create_task(streams.read(LEASE, Where(0, 0, MAX_WAIT_MS), 10, None)) for _ in range(2)]
    await asyncio.sleep(0)
    assert await streams.read(LEASE, Where(0, 0, MAX_WAIT_MS), 10, None) == Piece(0, b"", ended=False)
    stream.end()
    await asyncio.gather(*waiting)
    assert streams._waiting == 0


def test_streams_and_their_bytes_are_bounded() -> None:
    streams = Streams()
    first = streams.begin(LEASE, 0, SIGNER.did)
    first.put(0, bytes(MAX_STREAM_BYTES + 5))
    assert first.piece(0, 1 << 20).data == bytes(MAX_STREAM_BYTES)
    for shard in range(1, MAX_STREAMS + 1):
        streams.begin(LEASE, shard, SIGNER.did)
    assert len(streams) == MAX_STREAMS
    assert first.piece(MAX_STREAM_BYTES, 10).ended, "who still waits for it hears that nothing comes"


@settings(derandomize=True, deadline=None, max_examples=200)
@given(data=st.binary(max_size=60), cuts=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), max_size=20))
def test_a_run_that_begins_again_says_nothing_twice(data: bytes, cuts: list[tuple[int, int]]) -> None:
    """Pieces may come again, or from the middle of what is known; what is there is always a beginning of the whole."""
    stream = Stream(SIGNER.did)
    for at, length in cuts:
        stream.put(at, data[at : at + length])
        assert data.startswith(stream.piece(0, 100).data)
    known = len(stream.piece(0, 100).data)
    stream.put(0, data)
    assert stream.piece(known, 100).data == data[known:]


@settings(derandomize=True, deadline=None, max_examples=100)
@given(shard=st.integers(0, 1 << 31), start=st.integers(0, 1 << 31), wait=st.integers(0, 1 << 20), data=st.binary())
def test_questions_and_pieces_are_read_as_they_are_written(shard: int, start: int, wait: int, data: bytes) -> None:
    where = Where(shard, start, wait)
    assert Where.parse(tuple(where.query.split("&"))) == Where(shard, start, min(wait, MAX_WAIT_MS))
    piece = Piece(start, data, ended=bool(wait % 2))
    assert Piece.decode(piece.encode()) == piece
    with pytest.raises(DocumentError):
        Piece.decode(piece.encode() + b"\0")


@pytest.mark.parametrize(
    "block", [b"\xa0", b"\x80", b"\xa3dfrom\xf5ddata@eended\xf4", b"\xa3ddataadfrom\x00eended\xf4"]
)
def test_what_is_no_piece_is_refused(block: bytes) -> None:
    with pytest.raises(DocumentError):
        Piece.decode(block)
