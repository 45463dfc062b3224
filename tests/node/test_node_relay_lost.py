"""Relays lost in mid-job, and receivers that are away for a moment: nothing is lost, nothing doubled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from node_world import World, ended, submit, until
from test_node_relay import ALONE, heard_of, line

from icn_lite.market.settle import account_of
from icn_lite.mesh import table
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import PeerError
from icn_lite.model.parcel import Envelope
from icn_lite.node.config import Role
from icn_lite.node.node import Node
from icn_lite.sandbox.outcome import RunOutcome


class Gate:
    """Holds up a node's runs until it is opened."""

    def __init__(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.opened = asyncio.Event(), asyncio.Event()
        real: Callable[..., Awaitable[RunOutcome]] = node.pool.run

        async def run(*given: Any) -> RunOutcome:
            self.begun.set()
            await self.opened.wait()
            return await real(*given)

        monkeypatch.setattr(node.pool, "run", run)


async def once_and_paid(first: Node, last: Node, job: Cid) -> None:
    """The result of one run is here once, its price was moved once, and the executor's duty is over."""
    assert await ended(first, job) == "completed"
    receipts = await first.shell.storage.run(lambda store: store.receipts.list(job=job))
    assert [receipt.executor for receipt in receipts] == [last.shell.did]
    assert first.originations is not None
    paid = first.originations.jobs[job].machine.paid
    owned = await first.shell.storage.run(lambda store: store.ledger.balance(account_of(last.shell.did)))
    welcome = 1_000
    assert (paid > 0, owned) == (True, welcome + paid)
    assert await first.shell.storage.run(lambda store: store.ledger.sum()) == 0
    await until(last, lambda: last.executions is not None and not last.executions.leases)


async def test_a_relay_lost_in_mid_job_is_gone_round(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ways from the originator to the executor; the one that the lease took is gone before the receipt."""
    first = await world.start("0", Role.SUBMIT, bidding_ms=3_000)
    ways = [await world.start(name, Role.SUBMIT, peers=first.shell.endpoints) for name in ("1", "2")]
    last = await world.start("3", Role.EXECUTE, peers=(*ways[0].shell.endpoints, *ways[1].shell.endpoints))
    await heard_of(first, last)
    await heard_of(last, first)
    assert last.carriage is not None
    gate = Gate(last, monkeypatch)
    job = await submit(first, [b"two ways"], **ALONE)
    async with asyncio.timeout(60):
        await gate.begun.wait()
    nearest = last.carriage.reached()[first.shell.did].via
    await world.stop("1" if nearest == ways[0].shell.did else "2")
    gate.opened.set()
    await once_and_paid(first, last, job)


async def test_a_relay_that_comes_back_later_brings_the_result(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no other way: the executor keeps its receipt until there is one again."""
    first, _, last = await line(world, 3)
    await heard_of(first, last)
    await heard_of(last, first)
    gate = Gate(last, monkeypatch)
    job = await submit(first, [b"one way"], **ALONE)
    async with asyncio.timeout(60):
        await gate.begun.wait()
    await world.stop("1")
    gate.opened.set()
    assert last.executions is not None
    run = next(iter(last.executions.leases.values()))
    await until(last, lambda: run.machine.to_run == 0)  # it ran, and nobody has acknowledged it
    assert last.executions.leases
    await world.start("1", Role.SUBMIT, peers=(*first.shell.endpoints, *last.shell.endpoints))
    await once_and_paid(first, last, job)


async def test_a_receipt_waits_at_the_relay_for_an_originator_that_is_away_for_a_moment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor hands it in and leaves; the originator has it, once, when it is back."""
    first, middle, last = await line(world, 3)
    await heard_of(first, last)
    await heard_of(last, first)
    gate = Gate(last, monkeypatch)
    job = await submit(first, [b"a moment"], **ALONE)
    async with asyncio.timeout(60):
        await gate.begun.wait()
    assert middle.carriage is not None
    parcels = middle.carriage.parcels
    away = Away(middle, first.shell.did, monkeypatch)
    gate.opened.set()
    await until(middle, lambda: len(parcels.holding) > 0)
    await world.stop("2")
    assert await first.shell.storage.run(lambda store: store.receipts.count()) == 0
    away.over = True
    middle.shell.peers.wake(middle.clock.now_ms())  # its next greeting
    middle.shell.changed.ring()
    await until(first, lambda: first.shell.storage.run(lambda store: store.receipts.count() > 0))
    assert len(parcels.holding) == 0
    assert len(await first.shell.storage.run(lambda store: store.receipts.list(job=job))) == 1


class Away:
    """A neighbour that nothing can be handed to for a while."""

    def __init__(self, node: Node, who: Did, monkeypatch: pytest.MonkeyPatch) -> None:
        assert node.carriage is not None
        self.over = False
        post, real = node.carriage.post, node.carriage.post.hand

        async def hand(did: Did, path: str, envelope: Envelope, deadline_ms: int) -> bytes:
            if did == who and not self.over:
                raise PeerError("away")
            return await real(did, path, envelope, deadline_ms)

        monkeypatch.setattr(post, "hand", hand)


@pytest.mark.parametrize("path", [table.RECEIPTS, table.LEASE_RETURNS, table.BIDS, table.LEASES])
async def test_only_what_is_as_good_later_outlives_its_sender_s_patience(
    world: World, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    first, middle, last = await line(world, 3)
    await heard_of(last, first)
    assert middle.carriage is not None
    assert last.carriage is not None
    Away(middle, first.shell.did, monkeypatch)
    with pytest.raises(PeerError):
        await last.carriage.send(first.shell.did, path, b"something")
    (kept,) = middle.carriage.parcels.holding.back(first.shell.did, middle.clock.now_ms())
    assert (kept.lifetime_ms > 60_000) is (path in (table.RECEIPTS, table.LEASE_RETURNS))


async def test_nothing_is_kept_for_strangers_to_the_relay_nor_of_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, middle, last = await line(world, 3)
    await heard_of(last, first)
    assert middle.carriage is not None
    assert last.carriage is not None
    with pytest.raises(PeerError):
        await last.carriage.send(Did(bytes(31) + b"\1"), table.RECEIPTS, b"for nobody")
    Away(middle, first.shell.did, monkeypatch)
    with pytest.raises(PeerError):  # its own stands in its journal
        await middle.carriage.send(first.shell.did, table.RECEIPTS, b"its own")
    assert len(middle.carriage.parcels.holding) == 0
