"""What every adapter has to do; each row of `HARNESSES` goes through the whole suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from bridge_harness import Ear, Harness, MemoryHarness, up
from mesh_samples import OTHER, SIGNER, ack, advertisement, announcement, bid, lease, lease_return
from nats_servers import NatsHarness
from store_samples import chain_of

from icn_lite.bridge.upstream import (
    Acknowledged,
    BidMade,
    Evidence,
    JobAnnounced,
    LeaseGiven,
    LeaseReturned,
    ReceiptCame,
    Route,
    State,
)
from icn_lite.model import unixfs
from icn_lite.model.cid import Cid
from icn_lite.model.errors import UpstreamError

HARNESSES: dict[str, Callable[[Path], Harness]] = {
    "memory": lambda _: MemoryHarness(),
    "nats-hub": NatsHarness,
    "nats-leaves": lambda folder: NatsHarness(folder, frozenset(("here", "there"))),
}
MANY = 40


@pytest.fixture(params=sorted(HARNESSES))
async def harness(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    made = HARNESSES[request.param](tmp_path)
    yield made
    await made.close()


async def test_a_job_goes_over_and_its_bid_lease_and_return_find_their_way_back(harness: Harness) -> None:
    here, there = await harness.bridge("here"), await harness.bridge("there")
    ear_here, ear_there = Ear(here), Ear(there)
    job = announcement()
    await here.announce(job)
    announced = (await ear_there.next()).event
    assert isinstance(announced, JobAnnounced)
    assert announced.announcement == job
    assert 0 < len(announced.route) <= 128

    await there.bid(bid(OTHER), announced.route)
    made = (await ear_here.next()).event
    assert isinstance(made, BidMade)
    assert made.bid == bid(OTHER)

    await here.assign(lease(), made.route)
    given = (await ear_there.next()).event
    assert isinstance(given, LeaseGiven)
    assert given.lease == lease()

    await there.give_back(lease_return(), announced.route)
    returned = (await ear_here.next()).event
    assert isinstance(returned, LeaseReturned)
    assert returned.given == lease_return()
    assert ear_here.heard.empty()  # nobody hears its own job
    await ear_here.close()
    await ear_there.close()


async def test_a_receipt_goes_over_once_however_often_it_is_put(harness: Harness) -> None:
    here, there = await harness.bridge("here"), await harness.bridge("there")
    ear = Ear(here)
    await there.announce(announcement())
    route = (await _announced(ear)).route
    receipts = chain_of(OTHER, 3)
    ear_there = Ear(there)
    for receipt in receipts:
        assert await here.put_receipt(receipt, route) is Evidence.STORED
    for receipt in receipts:
        assert await here.put_receipt(receipt, route) is Evidence.KNOWN
    came = [(await ear_there.next()).event for _ in receipts]
    assert all(isinstance(event, ReceiptCame) for event in came)
    assert [event.receipt for event in came if isinstance(event, ReceiptCame)] == receipts
    await here.bid(bid(), route)  # what comes after them shows that none came twice
    assert isinstance((await ear_there.next()).event, BidMade)
    await ear.close()
    await ear_there.close()


async def test_what_is_not_confirmed_comes_again_and_what_is_confirmed_does_not(harness: Harness) -> None:
    here, there = await harness.bridge("here"), await harness.bridge("there")
    ear = Ear(here)
    await there.announce(announcement())
    route = (await _announced(ear)).route
    first, second = chain_of(OTHER, 2)
    await here.put_receipt(first, route)
    await here.put_receipt(second, route)
    ear_there = Ear(there)
    await ear_there.next()
    await ear_there.next(confirm=False)
    await ear_there.close()
    await there.close()

    again = Ear(await harness.bridge("there"))
    event = (await again.next()).event
    assert isinstance(event, ReceiptCame)
    assert event.receipt == second
    await ear.close()
    await again.close()


async def test_what_is_postponed_comes_again(harness: Harness) -> None:
    here, there = await harness.bridge("here"), await harness.bridge("there")
    ear = Ear(there)
    await here.announce(announcement())
    delivery = await ear.next(confirm=False)
    await delivery.postpone(10)
    first, again = delivery.event, (await ear.next()).event
    assert isinstance(first, JobAnnounced)
    assert isinstance(again, JobAnnounced)
    assert (again.announcement, again.route) == (first.announcement, first.route)
    assert again.age_ms >= first.age_ms
    await ear.close()


async def test_an_acknowledgement_is_heard_and_found_by_its_receipt(harness: Harness) -> None:
    here, there = await harness.bridge("here"), await harness.bridge("there")
    ear = Ear(there)
    receipt = chain_of(SIGNER, 1)[0]
    signed = ack(receipt.cid)
    assert await there.acknowledgement(receipt.cid) is None
    await here.acknowledge(signed)
    await here.acknowledge(signed)
    event = (await ear.next()).event
    assert event == Acknowledged(signed)
    assert await there.acknowledgement(receipt.cid) == signed
    assert await here.acknowledgement(receipt.cid) == signed
    assert await there.acknowledgement(Cid.of_raw(b"another")) is None
    await ear.close()


@pytest.mark.parametrize("size", [0, 1, 1 << 20], ids=["empty", "one byte", "a tree of chunks"])
async def test_blocks_and_blobs(harness: Harness, size: int) -> None:
    here, there = await harness.bridge("here"), await harness.bridge("there")
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    cid = unixfs.blob_cid(data)
    assert await there.get_block(cid, 1 << 21) is None
    await here.put_block(cid, data)
    await here.put_block(cid, data)
    assert await there.get_block(cid, 1 << 21) == data
    assert await there.get_block(cid, size) == data
    if size:
        assert await there.get_block(cid, size - 1) is None


async def test_a_block_that_is_not_what_its_name_says_is_none(harness: Harness) -> None:
    here, there = await harness.bridge("here"), await harness.bridge("there")
    cid = Cid.of_raw(b"the truth")
    await here.put_block(cid, b"a lie")
    assert await there.get_block(cid, 100) is None


async def test_adverts_are_taken_again_and_again(harness: Harness) -> None:
    here = await harness.bridge("here")
    for seq in (1, 2, 2):
        await here.advertise(advertisement(seq=seq))


async def test_while_it_is_cut_off_everything_fails_with_a_reason_and_afterwards_nothing_is_lost(
    harness: Harness,
) -> None:
    here, there = await harness.bridge("here"), await harness.bridge("there")
    ear, ear_there = Ear(here), Ear(there)
    await there.announce(announcement())
    route = (await _announced(ear)).route
    await harness.cut()
    receipt = chain_of(OTHER, 1)[0]
    with pytest.raises(UpstreamError):
        await here.put_receipt(receipt, route)
    with pytest.raises(UpstreamError):
        await here.announce(announcement())
    with pytest.raises(UpstreamError):
        await here.get_block(Cid.of_raw(b""), 10)
    assert here.health().state is not State.UP
    assert here.health().last_error
    assert here.health().last_error in here.health().sentence()
    await harness.mend()
    await up(here)
    await up(there)
    assert await here.put_receipt(receipt, route) is Evidence.STORED
    event = (await ear_there.next()).event
    assert isinstance(event, ReceiptCame)
    assert event.receipt == receipt
    await ear.close()
    await ear_there.close()


async def test_many_receipts_from_both_sides(harness: Harness) -> None:
    here, there = await harness.bridge("here"), await harness.bridge("there")
    ears = {"here": Ear(here), "there": Ear(there)}
    await here.announce(announcement())
    await there.announce(announcement(10))
    to_there, to_here = (await _announced(ears["here"])).route, (await _announced(ears["there"])).route
    ours, theirs = chain_of(SIGNER, MANY), chain_of(OTHER, MANY)
    for our, their in zip(ours, theirs, strict=True):
        await here.put_receipt(our, to_there)
        await there.put_receipt(their, to_here)
    for ear, sent in ((ears["there"], ours), (ears["here"], theirs)):
        came = [(await ear.next()).event for _ in sent]
        assert {event.receipt.cid for event in came if isinstance(event, ReceiptCame)} == {one.cid for one in sent}
        await ear.close()


async def test_a_route_that_nobody_gave_harms_nobody(harness: Harness) -> None:
    here, there = await harness.bridge("here"), await harness.bridge("there")
    with pytest.raises(UpstreamError):
        await here.bid(bid(), Route("nobody * > here"))
    await here.announce(announcement())
    ear = Ear(there)
    await ear.next()
    await ear.close()


async def _announced(ear: Ear) -> JobAnnounced:
    event = (await ear.next()).event
    assert isinstance(event, JobAnnounced)
    return event
