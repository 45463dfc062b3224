"""icn-core's HTTP against a small fake: what it answers, what that means, and what a stranger's answer does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random

import pytest
from bridge_harness import until, up
from icn_core_fake import WITHOUT_KEY, FakeCore
from mesh_samples import OTHER, ack, advertisement, announcement, bid, lease, lease_return
from store_samples import chain_of
from test_bridge_outward import MemoryOutbox, Now

from icn_lite.bridge import icn_core_codec as codec
from icn_lite.bridge.backoff import Backoff
from icn_lite.bridge.http import Server
from icn_lite.bridge.icn_core_http import IcnCore, IcnCoreUpstream
from icn_lite.bridge.outward import ASIDE_MS, Outward
from icn_lite.bridge.upstream import NOWHERE, Evidence, State
from icn_lite.model import unixfs
from icn_lite.model.cid import Cid
from icn_lite.model.errors import NotSupported, UpstreamError, UpstreamRefused
from icn_lite.model.receipt import icn_core_cid

SPEC = codec.CoreJobSpec(codec.CclWasm(), (), ("result",), codec.Resources(1, 64, 0, 30))


@pytest.fixture
async def fake() -> AsyncIterator[FakeCore]:
    made = FakeCore(api_key="a key")
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def core(fake: FakeCore) -> AsyncIterator[IcnCore]:
    made = IcnCore(Server.parse(fake.url, 0), "a key")
    yield made
    made.close()


def knows(fake: FakeCore, job: Cid) -> None:
    fake.jobs[icn_core_cid(job)] = "assigned"


async def test_a_job_is_submitted_and_polled(fake: FakeCore, core: IcnCore) -> None:
    module = Cid.of_raw(b"module")
    job = await core.submit(module, SPEC, 50)
    assert fake.specs == [codec.encode_spec(SPEC)]
    found = await core.job(job)
    assert found is not None
    assert (found.status, found.detail) == ("pending", "")
    fake.jobs[icn_core_cid(job)] = {"Failed": {"reason": "no bids"}}
    assert [(row.job_id, row.status) for row in await core.jobs()] == [(job, "Failed")]
    assert "no bids" in (await core.jobs())[0].detail
    assert await core.job(Cid.of_raw(b"unknown")) is None


async def test_a_receipt_is_accepted_once_and_known_again(fake: FakeCore, core: IcnCore) -> None:
    receipt = codec.CoreReceipt.of(chain_of(OTHER, 1)[0].document)
    knows(fake, receipt.job_id)
    assert await core.hand_in(receipt) is Evidence.ACCEPTED
    assert await core.hand_in(receipt) is Evidence.KNOWN
    assert list(fake.receipts) == [icn_core_cid(receipt.job_id)]


async def test_what_is_wrong_with_a_receipt_is_said_and_whose_fault_it_is(fake: FakeCore, core: IcnCore) -> None:
    receipt = codec.CoreReceipt.of(chain_of(OTHER, 1)[0].document)
    with pytest.raises(UpstreamRefused, match="Job not found"):
        await core.hand_in(receipt)
    knows(fake, receipt.job_id)
    with pytest.raises(UpstreamRefused, match="signature"):
        await core.hand_in(replace(receipt, cpu_ms=receipt.cpu_ms + 1))
    fake.mismatch = True
    with pytest.raises(UpstreamRefused, match=r"CID mismatch.*fault of its store"):
        await core.hand_in(receipt)


async def test_a_mismatch_keeps_the_receipt_until_it_is_taken(fake: FakeCore, core: IcnCore) -> None:
    upstream, outbox, now = IcnCoreUpstream(core), MemoryOutbox(), Now()
    await upstream.start()
    await up(upstream)
    outward = Outward(upstream, outbox, Backoff(Random(1), 4, 8), now)
    await outward.start()
    task = asyncio.create_task(outward.run())
    receipt = chain_of(OTHER, 1)[0]
    knows(fake, receipt.document.job)
    fake.mismatch = True
    await outward.take_receipt(receipt, NOWHERE)
    await until(lambda: outward.aside == 1)
    assert list(outbox.rows) == [receipt.cid]
    assert "CID mismatch" in outward.health().sentence()
    fake.mismatch = False
    now.ms = ASIDE_MS
    outward.advertise(advertisement())  # something happens; icn-core has no words for it
    await until(lambda: not outbox.rows)
    assert len(fake.receipts) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await upstream.close()


async def test_too_many_requests_without_a_key_are_a_reason_to_wait(fake: FakeCore) -> None:
    core = IcnCore(Server.parse(fake.url, 0))
    for _ in range(WITHOUT_KEY):
        await core.health()
    with pytest.raises(UpstreamError, match="too often") as refused:
        await core.jobs()
    assert not isinstance(refused.value, UpstreamRefused)
    core.close()


async def test_a_wrong_key_is_said(fake: FakeCore) -> None:
    core = IcnCore(Server.parse(fake.url, 0), "another")
    with pytest.raises(UpstreamError, match="doesn't know us"):
        await core.jobs()
    core.close()


@pytest.mark.parametrize("size", [0, 1, 5_000])
async def test_blocks(fake: FakeCore, core: IcnCore, size: int) -> None:
    upstream, data = IcnCoreUpstream(core), bytes(range(256)) * (size // 256) + bytes(size % 256)
    cid = Cid.of_raw(data)
    assert await upstream.get_block(cid, 10_000) is None
    await upstream.put_block(cid, data)
    assert await upstream.get_block(cid, 10_000) == data
    fake.blocks[icn_core_cid(cid)] = b"another"
    assert await upstream.get_block(cid, 10_000) is None


async def test_blocks_that_it_names_otherwise_and_blobs_that_it_cannot_hold(fake: FakeCore, core: IcnCore) -> None:
    upstream = IcnCoreUpstream(core)
    fake.names_blocks = lambda data: Cid.of_dag_cbor(b"with a date" + data)
    cid = Cid.of_raw(b"data")
    await upstream.put_block(cid, b"data")
    assert await upstream.get_block(cid, 10) == b"data"
    blob = bytes(unixfs.CHUNK_BYTES + 1)
    with pytest.raises(NotSupported):
        await upstream.put_block(unixfs.blob_cid(blob), blob)
    assert await upstream.get_block(unixfs.blob_cid(blob), 1 << 20) is None


async def test_what_http_has_no_words_for(core: IcnCore) -> None:
    upstream = IcnCoreUpstream(core)
    for call in (
        upstream.announce(announcement()), upstream.advertise(advertisement()), upstream.bid(bid(), NOWHERE),
        upstream.assign(lease(), NOWHERE), upstream.give_back(lease_return(), NOWHERE),
        upstream.acknowledge(ack(Cid.of_raw(b""))),
    ):  # fmt: skip
        with pytest.raises(NotSupported, match="no words for"):
            await call
    assert await upstream.acknowledgement(Cid.of_raw(b"")) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"jobs":1}',
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n" + b'{"jobs":[{"job_id":"b","status":"x"}]}  ',
        b"HTTP/1.1 500 \r\nContent-Length: 4\r\n\r\n\xff\xfe\x00\x01",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"[" * 200_000,
    ],
    ids=["a list", "no list", "no JSON", "cut off", "no CID", "no text", "another protocol", "deep"],
)
async def test_a_strangers_answers(fake: FakeCore, core: IcnCore, raw: bytes) -> None:
    fake.raw = raw
    with pytest.raises(UpstreamError):
        await core.jobs()


async def test_nobody_answers(fake: FakeCore, core: IcnCore) -> None:
    await fake.close()
    upstream = IcnCoreUpstream(core)
    await upstream.start()
    await until(lambda: upstream.health().state is State.WAITING)
    assert "not reached" in upstream.health().sentence()
    await upstream.close()
