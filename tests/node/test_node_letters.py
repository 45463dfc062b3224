"""A relay that has everything that it carries reads no body; nothing that it changes, keeps or repeats counts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest
from node_world import World, ended, submit
from test_node_relay import ALONE, heard_of, line, sealed_for

from icn_lite.mesh import table
from icn_lite.mesh.ports import Remote
from icn_lite.model.cid import Cid
from icn_lite.model.document import seal
from icn_lite.model.errors import PeerError, PeerRefused
from icn_lite.model.parcel import Envelope, Method, Question, read_parcel, read_reply
from icn_lite.node.node import Node
from icn_lite.work.relay import RelayBounds

Take = Callable[[Envelope, Remote], Awaitable[bytes]]


@dataclass
class Spy:
    """What one node carries: each parcel with its reply, as they pass it."""

    node: Node
    seen: list[tuple[Envelope, bytes]] = field(default_factory=list)

    def listen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.node.carriage is not None
        real = self.node.carriage.parcels.take

        async def take(envelope: Envelope, remote: Remote) -> bytes:
            reply = await real(envelope, remote)
            self.seen.append((envelope, reply))
            return reply

        monkeypatch.setattr(self.node.carriage.parcels, "take", take)


async def test_who_carries_a_whole_job_reads_none_of_its_documents(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = await line(world, 3)
    spy = Spy(nodes[1])
    spy.listen(monkeypatch)
    await heard_of(nodes[0], nodes[2])
    await heard_of(nodes[2], nodes[0])
    job = await submit(nodes[0], [b"nobody's business"], **ALONE)
    assert await ended(nodes[0], job) == "completed"
    receipts = await nodes[0].shell.storage.run(lambda store: [one.cid for one in store.receipts.list()])
    assert len(receipts) == 1
    carried = b"".join(envelope.parcel + reply for envelope, reply in spy.seen)
    assert len(spy.seen) >= 3  # a bid, a lease, a receipt at least
    told = [table.BIDS, table.LEASES, table.RECEIPTS, "2.04", "application/vnd.icn-lite.bid"]
    assert [word for word in told if word.encode() in carried] == []
    for document in (job, *receipts):
        assert document.digest not in carried
    letters = [read_parcel(envelope.parcel).document.letter for envelope, _ in spy.seen]
    assert any(letter is not None for letter in letters)
    for node in (nodes[1],):  # nor can it open one with what it has
        assert node.carriage is not None
        assert all(node.carriage.post.mailbox.open(read_parcel(one.parcel), 0) is None for one, _ in spy.seen)


LEASE = Question(Method.POST, table.LEASES, b"no lease")


async def test_a_relay_that_repeats_a_parcel_to_its_receiver_is_told_so(world: World) -> None:
    """Under another name in between, when all that remembers names has forgotten, the letter itself is known."""
    first, middle, last = await line(world, 3)
    await heard_of(first, last)
    assert middle.carriage is not None
    assert last.carriage is not None
    envelope = Envelope(sealed_for(first, last.shell.did, LEASE).block, 5, 0, 5_000)
    post = middle.carriage.post
    first_reply = await post.hand(last.shell.did, table.PARCELS, envelope, 5_000)
    assert await post.hand(last.shell.did, table.PARCELS, envelope, 5_000) == first_reply  # asked again: the same
    last.carriage.parcels._replies.clear()
    last.carriage.post.relay._passing.clear()
    with pytest.raises(PeerRefused) as refused:
        await post.hand(last.shell.did, table.PARCELS, envelope, 5_000)
    assert refused.value.response == "4.22"
    assert "opened before" in refused.value.message


async def test_a_relay_that_exchanges_two_replies_is_found_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, middle, last = await line(world, 3)
    await heard_of(first, last)
    assert first.carriage is not None
    spy = Spy(middle)
    spy.listen(monkeypatch)
    with pytest.raises(PeerRefused):
        await first.carriage.parcels.ask(last.shell.did, LEASE)
    (_, before), *_ = reversed(spy.seen)

    async def lie(envelope: Envelope, remote: Remote) -> bytes:
        return before

    assert middle.carriage is not None
    monkeypatch.setattr(middle.carriage.parcels, "take", lie)
    with pytest.raises(PeerError) as lost:
        await first.carriage.parcels.ask(last.shell.did, LEASE)
    assert not isinstance(lost.value, PeerRefused)


async def test_a_receiver_that_was_restarted_tells_its_new_key_and_is_asked_again(world: World) -> None:
    first, _, last = await line(world, 3)
    await heard_of(first, last)
    assert first.carriage is not None
    assert last.carriage is not None
    old = first.carriage.post.key_of(last.shell.did)
    last.carriage.post.mailbox._keys.clear()  # as after a restart: they are never on disk
    with pytest.raises(PeerRefused) as refused:
        await first.carriage.parcels.ask(last.shell.did, LEASE)
    assert refused.value.response == "4.00"  # it was opened, and is no lease
    assert first.carriage.post.key_of(last.shell.did) not in (None, old)


async def test_whose_key_nobody_knows_is_asked_for_it(world: World) -> None:
    first, _, last = await line(world, 3)
    await heard_of(first, last)
    assert first.carriage is not None
    first.carriage.post._keys.clear()
    with pytest.raises(PeerRefused) as refused:
        await first.carriage.parcels.ask(last.shell.did, LEASE)
    assert refused.value.response == "4.00"
    assert first.carriage.post.key_of(last.shell.did) is not None


async def test_who_never_opens_anything_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _, last = await line(world, 3)
    await heard_of(first, last)
    assert first.carriage is not None
    assert last.carriage is not None
    monkeypatch.setattr(last.carriage.post.mailbox, "open", lambda sealed, now_ms: None)
    with pytest.raises(PeerError, match="can't open"):
        await first.carriage.parcels.ask(last.shell.did, LEASE)


async def test_a_reply_is_sealed_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, middle, last = await line(world, 3)
    await heard_of(first, last)
    assert first.carriage is not None
    spy = Spy(middle)
    spy.listen(monkeypatch)
    absent = Cid.of_dag_cbor(b"none")
    with pytest.raises(PeerRefused, match="no receipt") as refused:
        await first.carriage.get(last.shell.did, table.RECEIPT.replace("{cid}", str(absent)))
    assert refused.value.response == "4.04"
    envelope, reply = spy.seen[-1]
    read = read_reply(reply, Cid.of_dag_cbor(envelope.parcel), last.shell.did)
    assert read.answer is not None
    for text in (b"4.04", b"receipt", str(absent).encode()):
        assert text not in reply.replace(b"application/vnd.icn-lite.reply.1+cbor", b"")


async def test_what_can_not_be_opened_takes_no_place_at_its_receiver(world: World) -> None:
    """More of it than a relay has places: the next letter is taken all the same."""
    first, middle, last = await line(world, 3)
    await heard_of(first, last)
    assert first.carriage is not None
    assert middle.carriage is not None
    assert last.carriage is not None
    for number in range(RelayBounds().of_neighbour + 2):
        good = sealed_for(first, last.shell.did, LEASE).document
        assert good.letter is not None
        torn = replace(good, letter=replace(good.letter, sealed=bytes([number]) * 300))
        envelope = Envelope(seal(torn, first.shell.signer).block, 5, 0, 5_000)
        with pytest.raises(PeerRefused) as refused:
            await middle.carriage.post.hand(last.shell.did, table.PARCELS, envelope, 5_000)
        assert refused.value.response == "4.01"
    assert last.carriage.post.relay.under_way == 0
    with pytest.raises(PeerRefused, match=r"4\.00"):
        await first.carriage.parcels.ask(last.shell.did, LEASE)


async def test_a_mailbox_key_that_is_none_is_its_owners_fault(world: World) -> None:
    first, _, last = await line(world, 3)
    await heard_of(first, last)
    assert first.carriage is not None
    first.carriage.post.learn_key(last.shell.did, bytes(32))
    with pytest.raises(PeerError, match="mailbox key that is none"):
        await first.carriage.parcels.ask(last.shell.did, LEASE)
