"""Real nodes sync receipts: through a third one, both ways, over UDP alone, with anchors' acknowledgements back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from node_world import COOPERATIVE, World, command, until

sys.path.append(str(Path(__file__).parents[1] / "store"))

from store_samples import chain_of, receipt_of

from icn_lite.model import document
from icn_lite.model.anchor import AnchorAck
from icn_lite.model.cid import Cid
from icn_lite.model.cose import KeySigner
from icn_lite.model.document import Sealed
from icn_lite.model.errors import PeerError, PeerRefused, UsageError
from icn_lite.model.receipt import ExecutionReceipt
from icn_lite.model.sync import Fetch, Give, Part, Stretch, SyncAsk, write_ask
from icn_lite.node.node import Node
from icn_lite.store.db import Store
from icn_lite.store.receipts import ChainLink

STRANGER = KeySigner(b"\x77" * 32)


async def keep(node: Node, receipts: list[Sealed[ExecutionReceipt]]) -> None:
    def put(store: Store) -> None:
        for sealed in receipts:
            store.receipts.put_sealed(sealed)

    await node.shell.storage.transact(put)


async def held(node: Node) -> set[Cid]:
    rows = await node.shell.storage.run(lambda store: store.receipts.list())
    return {row.cid for row in rows}


async def pending(node: Node) -> int:
    return await node.shell.storage.run(lambda store: store.chains.pending())


async def sync(one: Node, other: Node) -> None:
    """A session as it would come about by itself, at once."""
    assert one.syncing is not None
    await one.syncing.sync_with(other.shell.endpoints[0], other.shell.did)


async def test_receipts_go_through_a_third_node_and_acknowledgements_come_back(world: World) -> None:
    device = await world.start("device")
    courier = await world.start("courier")
    anchor = await world.start("anchor", anchor=True)
    own = chain_of(KeySigner(b"device".ljust(32, b"\1")), 5)
    await keep(device, own)
    assert await pending(device) == 5

    await sync(courier, device)  # the courier visits the device …
    await sync(courier, anchor)  # … and then the anchor, which the device never meets
    assert {sealed.cid for sealed in own} <= await held(anchor)
    assert await pending(anchor) == 0
    assert await pending(courier) == 5
    await sync(courier, anchor)
    await sync(courier, device)
    assert await pending(courier) == await pending(device) == 0
    (ack,) = await device.shell.storage.run(lambda store: store.acks.list(device.shell.did))
    assert (ack.anchor, ack.seq, ack.head) == (anchor.shell.did, 4, own[-1].cid)


async def test_neighbours_sync_by_themselves(world: World) -> None:
    anchor = await world.start("anchor", anchor=True)
    device = await world.start("device")
    await keep(device, chain_of(KeySigner(b"device".ljust(32, b"\1")), 3))
    await command(device, "greet", uris=list(anchor.shell.endpoints))  # they meet when there is something to sync

    async def acknowledged() -> bool:
        return await pending(device) == 0

    await until(device, acknowledged)


async def test_a_device_that_lost_its_latest_receipts_gets_them_back_and_forks_nothing(world: World) -> None:
    signer = KeySigner(b"device".ljust(32, b"\1"))
    device, other = await world.start("device"), await world.start("other")
    own = chain_of(signer, 6)
    await keep(device, own[:3])  # its disk was restored from an old copy
    await keep(other, own)
    await sync(device, other)
    with_next = await device.shell.storage.transact(lambda store: store.receipts.next_link(device.shell.did))
    assert with_next == ChainLink(6, own[-1].cid)


async def test_a_fork_is_kept_reported_and_carried_on(world: World, caplog: pytest.LogCaptureFixture) -> None:
    one, other, third = await world.start("one"), await world.start("other"), await world.start("third")
    signer = KeySigner(b"\x33" * 32)
    chain = chain_of(signer, 6)
    branch = [receipt_of(signer, ChainLink(3, chain[2].cid), shard=99)]
    branch.append(receipt_of(signer, ChainLink(4, branch[0].cid), shard=100))
    await keep(one, chain)
    await keep(other, [*chain[:3], *branch])
    await sync(one, other)
    await sync(third, one)
    everything = {sealed.cid for sealed in (*chain, *branch)}
    for node in (one, other, third):
        assert everything <= await held(node)
        forks = await node.shell.storage.run(lambda store: store.chains.forks())
        assert {frozenset((fork.first, fork.second)) for fork in forks if not fork.broken} == {
            frozenset((chain[3].cid, branch[0].cid)),
            frozenset((chain[4].cid, branch[1].cid)),
        }
        assert await node.shell.storage.run(lambda store: store.counters.get("forks")) > 0
    assert f"fork: {signer.did}" in caplog.text


async def test_the_second_receipt_of_a_fork_is_refused_and_kept_as_evidence(world: World) -> None:
    node, cheat = await world.start("node"), await world.start("cheat")
    signer = KeySigner(b"cheat".ljust(32, b"\1"))
    chain = chain_of(signer, 3)
    await keep(node, chain)
    fork = receipt_of(signer, ChainLink(1, chain[0].cid), shard=77)
    stranger = receipt_of(signer, ChainLink(9, chain[0].cid), shard=78)  # refused too, and proves nothing
    for sealed in (fork, stranger):
        with pytest.raises(PeerRefused):
            await cheat.shell.courier.post_receipt(node.shell.endpoints[0], sealed.block)
    assert await held(node) == {sealed.cid for sealed in (*chain, fork)}
    (found,) = [one for one in await node.shell.storage.run(lambda store: store.chains.forks()) if not one.broken]
    assert {found.first, found.second} == {chain[1].cid, fork.cid}


async def test_it_works_where_there_is_no_tcp(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = await world.start("one"), await world.start("other")
    own = chain_of(KeySigner(b"\x33" * 32), 40)
    await keep(other, own)
    assert one.syncing is not None
    asker = one.syncing._asker
    sent: list[bool] = []
    ask = asker.sync

    async def only_udp(uri: str, frame: bytes, **options: object) -> bytes:
        sent.append(bool(options.get("udp")))
        if not sent[-1]:
            raise PeerError("no TCP here")
        return await ask(uri, frame, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(asker, "sync", only_udp)
    await sync(one, other)
    assert {sealed.cid for sealed in own} <= await held(one)
    assert sent.count(False) == 1  # tried once, then known


async def test_what_is_no_receipt_or_has_no_right_is_refused_and_changes_nothing(world: World) -> None:
    node, liar = await world.start("node"), await world.start("liar")
    assert liar.syncing is not None
    asker, uri = liar.syncing._asker, node.shell.endpoints[0]
    good = chain_of(STRANGER, 2)
    forged = good[1].block[:-1] + bytes([good[1].block[-1] ^ 1])
    for frame, code in (
        (b"no frame", "4.00"),
        (write_ask(SyncAsk(Give((good[0].block, forged)))), "4.01"),
        (write_ask(SyncAsk(Give((b"\x84junk",)))), "4.00"),
    ):
        with pytest.raises(PeerRefused) as refused:
            await asker.sync(uri, frame)
        assert refused.value.response == code
        assert not await held(node)
    ack = document.seal(AnchorAck(STRANGER.did, node.shell.did, 0, good[0].cid), STRANGER)
    await asker.sync(uri, write_ask(SyncAsk(Give((ack.block,)))))
    assert await node.shell.storage.run(lambda store: store.acks.list()) == ()
    await asker.sync(uri, write_ask(SyncAsk(Fetch((Part(STRANGER.did, Stretch(0, 1 << 50)),)))))


async def test_an_owner_may_name_an_anchor_and_then_its_word_counts(world: World) -> None:
    node = await world.start("node", anchors=(STRANGER.did,))
    own = chain_of(KeySigner(b"node".ljust(32, b"\1")), 3)
    await keep(node, own)
    assert node.syncing is not None
    mine = document.seal(AnchorAck(STRANGER.did, node.shell.did, 1, own[1].cid), STRANGER)
    other = document.seal(AnchorAck(COOPERATIVE.did, node.shell.did, 2, own[2].cid), COOPERATIVE)
    liar = await world.start("liar")
    assert liar.syncing is not None
    await liar.syncing._asker.sync(node.shell.endpoints[0], write_ask(SyncAsk(Give((mine.block, other.block)))))
    assert await pending(node) == 1


async def test_a_running_node_takes_what_its_owner_brings_as_a_file(world: World) -> None:
    node = await world.start("node", anchor=True)
    chain = chain_of(STRANGER, 3)
    frame = write_ask(SyncAsk(Give(tuple(sealed.block for sealed in chain))))
    told = await command(node, "take_receipts", frame)
    assert told == {"receipts": 3, "acks": 0, "known": 0, "refused": 0, "forks": 0}
    assert (await command(node, "take_receipts", frame))["known"] == 3
    assert await pending(node) == 0  # it is an anchor, and said so at once
    with pytest.raises(UsageError):
        await command(node, "take_receipts", write_ask(SyncAsk(Fetch((Part(STRANGER.did, Stretch(0, 1)),)))))
