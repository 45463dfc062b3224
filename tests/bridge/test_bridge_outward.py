"""What leaves: the line's bounds and order, the pauses, and the outbox that only evidence clears."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import pytest
from bridge_harness import Ear, until
from hypothesis import given
from hypothesis import strategies as st
from mesh_samples import OTHER, SIGNER, advertisement, announcement
from store_samples import chain_of

from icn_lite.bridge.backoff import FIRST_MS, LAST_MS, Backoff
from icn_lite.bridge.line import BUSY_S, Kind, Line, Waiting
from icn_lite.bridge.memory import MemoryHub, MemoryUpstream
from icn_lite.bridge.outward import ASIDE_MS, WINDOW, Outward
from icn_lite.bridge.upstream import Evidence, ReceiptCame, Route
from icn_lite.model.cid import Cid
from icn_lite.model.document import Sealed
from icn_lite.model.errors import DiskFullError, Later, UpstreamRefused
from icn_lite.model.receipt import ExecutionReceipt


@dataclass
class MemoryOutbox:
    """An outbox whose disk is a dict; it outlives the bridge."""

    rows: dict[Cid, tuple[bytes, Route]] = field(default_factory=dict)
    full: bool = False

    async def keep(self, cid: Cid, block: bytes, route: Route) -> None:
        if self.full:
            raise DiskFullError("no room")
        self.rows[cid] = (block, route)

    async def clear(self, cids: Sequence[Cid]) -> None:
        for cid in cids:
            self.rows.pop(cid, None)

    async def kept(self) -> Sequence[tuple[Cid, bytes, Route]]:
        return [(cid, block, route) for cid, (block, route) in self.rows.items()]


class Now:
    ms = 0

    def __call__(self) -> int:
        return self.ms


def item(kind: Kind, number: int, until_ms: int | None = None) -> Waiting:
    return Waiting(kind, Cid.of_raw(b"%d %d" % (kind, number)), b"", until_ms=until_ms)


def test_announcements_leave_first_and_adverts_last() -> None:
    line = Line()
    for kind in (Kind.ADVERT, Kind.RECEIPT, Kind.ANNOUNCEMENT):
        for number in (1, 2):
            line.add(item(kind, number), 0)
    kinds = [waiting.kind for waiting in line.first(10, 0)]
    assert kinds == sorted(kinds)
    assert [waiting.cid for waiting in line.first(1, 0)] == [item(Kind.ANNOUNCEMENT, 1).cid]


def test_at_the_high_water_mark_adverts_give_way_then_everything_is_turned_away() -> None:
    line = Line(high_water=3)
    line.add(item(Kind.ADVERT, 1), 0)
    line.add(item(Kind.ADVERT, 2), 0)
    line.add(item(Kind.RECEIPT, 1), 0)
    line.add(item(Kind.RECEIPT, 2), 0)
    line.add(item(Kind.RECEIPT, 3), 0)
    assert (line.count(Kind.ADVERT), line.count(Kind.RECEIPT), line.dropped) == (0, 3, 2)
    for kind in Kind:
        with pytest.raises(Later) as refused:
            line.add(item(kind, 9), 0)
        assert refused.value.retry_after_s == BUSY_S
    line.remove(item(Kind.RECEIPT, 1).cid)
    line.add(item(Kind.RECEIPT, 4), 0)


def test_an_announcement_whose_bidding_is_over_makes_room() -> None:
    line = Line(high_water=2)
    line.add(item(Kind.ANNOUNCEMENT, 1, until_ms=100), 0)
    line.add(item(Kind.RECEIPT, 1), 0)
    with pytest.raises(Later):
        line.add(item(Kind.RECEIPT, 2), 99)
    line.add(item(Kind.RECEIPT, 2), 100)
    assert line.count(Kind.ANNOUNCEMENT) == 0


@given(st.lists(st.tuples(st.sampled_from(Kind), st.integers(0, 30)), max_size=80), st.integers(1, 12))
def test_no_receipt_that_was_taken_is_dropped_and_the_line_stays_bounded(
    arrivals: list[tuple[Kind, int]], high_water: int
) -> None:
    line, taken = Line(high_water), set[Cid]()
    for now_ms, (kind, number) in enumerate(arrivals):
        waiting = item(kind, number, now_ms + 3 if kind is Kind.ANNOUNCEMENT else None)
        try:
            line.add(waiting, now_ms)
        except Later:
            assert len(line) == high_water
        else:
            if kind is Kind.RECEIPT:
                taken.add(waiting.cid)
        assert len(line) <= high_water
        assert all(cid in line for cid in taken)


@given(st.integers(0, 1 << 32))
def test_pauses_grow_within_bounds_and_are_never_nothing(seed: int) -> None:
    backoff = Backoff(Random(seed))
    bound_ms = FIRST_MS
    for _ in range(40):
        pause_ms = backoff.failed_ms()
        assert bound_ms // 4 <= pause_ms <= bound_ms
        bound_ms = min(LAST_MS, 2 * bound_ms)
    backoff.succeeded()
    assert backoff.failed_ms() <= FIRST_MS


@dataclass
class Bridge:
    """One bridge that sends, its hub, and an ear on the other side."""

    hub: MemoryHub = field(default_factory=MemoryHub)
    outbox: MemoryOutbox = field(default_factory=MemoryOutbox)
    now: Now = field(default_factory=Now)
    task: asyncio.Task[None] | None = None

    async def start(self, upstream: MemoryUpstream | None = None, line: Line | None = None) -> Outward:
        self.hub.upstream("there")
        here = upstream or self.hub.upstream("here")
        await here.start()
        outward = Outward(here, self.outbox, Backoff(Random(1), 4, 8), self.now, line)
        await outward.start()
        self.task = asyncio.create_task(outward.run())
        return outward

    async def kill(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


THERE = Route("there")


async def came(hub: MemoryHub, count: int) -> list[Cid]:
    there = hub.upstream("there")
    await there.start()
    ear, found = Ear(there), list[Cid]()
    while len(found) < count:
        event = (await ear.next()).event
        if isinstance(event, ReceiptCame):
            found.append(event.receipt.cid)
    await ear.close()
    return found


async def test_what_waits_while_the_hub_is_away_arrives_after_a_restart_each_once() -> None:
    bridge, receipts = Bridge(), chain_of(OTHER, WINDOW + 10)
    bridge.hub.cut = True
    outward = await bridge.start()
    for receipt in receipts:
        await outward.take_receipt(receipt, THERE)
        await outward.take_receipt(receipt, THERE)
    await until(lambda: bool(outward.last_error))
    assert len(bridge.outbox.rows) == len(outward.line) == len(receipts)
    await bridge.kill()
    bridge.hub.mend()
    outward = await bridge.start()
    await until(lambda: not bridge.outbox.rows)
    assert await came(bridge.hub, len(receipts)) == [receipt.cid for receipt in receipts]
    assert len(outward.line) == 0
    await bridge.kill()


async def test_a_bridge_killed_between_the_evidence_and_the_clearing_doubles_nothing() -> None:
    bridge, receipts = Bridge(), chain_of(OTHER, 5)
    for receipt in receipts:  # sent before the kill, and still in the outbox
        await bridge.outbox.keep(receipt.cid, receipt.block, THERE)
        bridge.hub.upstream("there")
    sender = bridge.hub.upstream("here")
    await sender.start()
    for receipt in receipts[:3]:
        await sender.put_receipt(receipt, THERE)
    await bridge.start()
    await until(lambda: not bridge.outbox.rows)
    assert await came(bridge.hub, 5) == [receipt.cid for receipt in receipts]
    assert not bridge.hub.boxes["there"].waiting
    await bridge.kill()


async def test_a_receipt_is_not_taken_before_it_is_on_the_disk() -> None:
    bridge = Bridge(outbox=MemoryOutbox(full=True))
    outward = await bridge.start()
    with pytest.raises(DiskFullError):
        await outward.take_receipt(chain_of(OTHER, 1)[0], THERE)
    assert len(outward.line) == 0
    await bridge.kill()


class Refusing(MemoryUpstream):
    """Refuses the first receipt of a chain until it is told to take it."""

    stubborn = True

    async def put_receipt(self, receipt: Sealed[ExecutionReceipt], route: Route) -> Evidence:
        if self.stubborn and receipt.document.seq == 0:
            raise UpstreamRefused("CID mismatch, a fault of theirs")
        return await super().put_receipt(receipt, route)


async def test_a_receipt_that_is_refused_holds_up_nobody_and_is_kept_and_tried_again() -> None:
    bridge = Bridge()
    refusing = Refusing(bridge.hub, "here")
    bridge.hub.upstream("here")
    outward = await bridge.start(refusing)
    first, second = chain_of(OTHER, 2)
    await outward.take_receipt(first, THERE)
    await outward.take_receipt(second, THERE)
    await until(lambda: outward.aside == 1 and len(outward.line) == 0)
    assert list(bridge.outbox.rows) == [first.cid]
    assert "CID mismatch" in outward.health().sentence()
    refusing.stubborn = False
    bridge.now.ms = ASIDE_MS
    await outward.take_receipt(chain_of(SIGNER, 1)[0], THERE)  # something to do
    await until(lambda: not bridge.outbox.rows)
    await bridge.kill()


async def test_announcements_go_up_while_receipts_wait_and_late_ones_don_t() -> None:
    bridge = Bridge()
    bridge.hub.cut = True
    outward = await bridge.start(line=Line(high_water=3))
    outward.advertise(advertisement())
    await outward.take_receipt(chain_of(OTHER, 1)[0], THERE)
    outward.announce(announcement())
    outward.announce(announcement(1))  # the advert gives way
    assert outward.line.count(Kind.ADVERT) == 0
    outward.advertise(advertisement(seq=2))  # no room: gone, nobody minds
    with pytest.raises(Later):
        outward.announce(announcement(2))
    bridge.now.ms = announcement().document.bidding_ms
    bridge.hub.mend()
    await until(lambda: len(outward.line) == 0)
    assert {key.split(":")[0] for key in bridge.hub.boxes["there"].waiting} == {"receipt"}
    await bridge.kill()
