"""A line of real nodes where only neighbours know each other: whole jobs between its ends.

Nobody but the first and the last node has a part in the job; between them everything is handed on.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from node_world import World, ended, submit, until

from icn_lite.mesh import table
from icn_lite.mesh.letter import LetterOut
from icn_lite.mesh.noise import Ephemeral
from icn_lite.mesh.ports import Remote
from icn_lite.model.cid import Cid
from icn_lite.model.cose import KeySigner
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed, seal
from icn_lite.model.errors import PeerError, PeerRefused
from icn_lite.model.parcel import Envelope, Method, Notice, Parcel, Question, Reply
from icn_lite.node.config import Role
from icn_lite.node.node import Node
from icn_lite.node.passing import KEPT_BYTES

ALONE = {"redundancy": {"type": "None"}}


async def line(world: World, length: int, **settings: object) -> list[Node]:
    """Nodes in a line: the first submits, the last executes, and each was told of the one before it only."""
    nodes = [await world.start("0", Role.SUBMIT, bidding_ms=3_000, **settings)]
    for number in range(1, length):
        role = Role.EXECUTE if number == length - 1 else Role.SUBMIT
        nodes.append(await world.start(str(number), role, peers=nodes[-1].shell.endpoints, **settings))
    for place, node in enumerate(nodes):
        beside = {nodes[n].shell.did for n in (place - 1, place + 1) if 0 <= n < length}
        await until(node, lambda n=node, b=beside: {p.did for p in n.shell.peers.live(n.clock.now_ms())} == b)
    return nodes


async def heard_of(node: Node, other: Node) -> None:
    assert node.carriage is not None
    await until(
        node, lambda: node.shell.reaches(other.shell.did) and node.shell.capability(other.shell.did) is not None
    )


async def test_a_job_goes_from_one_end_of_a_line_of_eight_to_the_other_and_back(world: World) -> None:
    nodes = await line(world, 8)
    first, last = nodes[0], nodes[-1]
    await heard_of(first, last)
    await heard_of(last, first)
    assert first.carriage is not None
    assert first.carriage.reached()[last.shell.did].hops == 7
    for place, node in enumerate(nodes):
        assert len(node.shell.peers.peers) == (1 if place in (0, 7) else 2)
    job = await submit(first, [b"from far away", b"two shards"], **ALONE)
    assert await ended(first, job) == "completed"
    assert await first.shell.storage.run(lambda store: store.receipts.executors()) == (last.shell.did,)
    await until(last, lambda: last.executions is not None and not last.executions.leases)


async def test_a_blob_passes_several_nodes_in_both_directions_and_is_kept_within_its_budget(world: World) -> None:
    nodes = await line(world, 4)
    first, last = nodes[0], nodes[-1]
    await heard_of(first, last)
    await heard_of(last, first)
    data = bytes(range(256)) * 2_400  # three leaves; echo gives them back
    job = await submit(first, [data], storage={"max_output_bytes": 1 << 20}, **ALONE)
    assert await ended(first, job) == "completed"
    for node in nodes[1:3]:
        assert node.carriage is not None
        assert 0 < node.carriage.passing._kept_bytes <= KEPT_BYTES
        assert not node.carriage.passing._fetching


async def test_nobody_between_takes_part(world: World) -> None:
    """Who hands a job on neither bids nor stores anything of it."""
    nodes = await line(world, 3)
    await heard_of(nodes[0], nodes[2])
    job = await submit(nodes[0], [b"x"], **ALONE)
    assert await ended(nodes[0], job) == "completed"
    assert await nodes[1].shell.storage.run(lambda store: store.jobs.count()) == 0
    assert await nodes[1].shell.storage.run(lambda store: store.receipts.count()) == 0


# -- parcels that are refused


async def test_a_parcel_is_answered_once_and_by_its_receiver_alone(world: World) -> None:
    first, _, last = await line(world, 3)
    await heard_of(first, last)
    assert first.carriage is not None
    with pytest.raises(PeerRefused) as refused:  # it reaches the executor, who has no such lease
        await first.carriage.send(last.shell.did, table.RECEIPTS, b"no receipt")
    assert str(last.shell.did) in refused.value.message
    assert refused.value.response == "4.00"
    with pytest.raises(PeerError) as nowhere:
        await first.carriage.send(KeySigner(b"n" * 32).did, table.BIDS, b"a bid for nobody")
    assert not isinstance(nowhere.value, PeerRefused)


async def test_what_strangers_sign_is_not_handed_on(world: World) -> None:
    first, middle, last = await line(world, 3)
    await heard_of(first, last)
    assert first.carriage is not None
    stranger = KeySigner(b"s" * 32)
    parcel = Parcel(stranger.did, last.shell.did, (), 10_000, bytes(16), bytes(32))
    envelope = Envelope(seal(parcel, stranger).block, 5, 0, 5_000)
    with pytest.raises(PeerRefused, match=r"4\.03"):
        await first.carriage.post.hand(middle.shell.did, table.PARCELS, envelope, 5_000)
    rumour = Notice(stranger.did, table.JOBS, b"a job", (), 10_000, bytes(16), bytes(32))
    with pytest.raises(PeerRefused, match=r"4\.03"):
        await first.carriage.post.hand(
            middle.shell.did, table.RUMOURS, Envelope(seal(rumour, stranger).block, 5, 0), 5_000
        )


def sealed_for(sender: Node, to: Did, question: Question, lifetime_ms: int = 10_000) -> Sealed[Parcel]:
    """A parcel of `sender` with a letter in it."""
    assert sender.carriage is not None
    post = sender.carriage.post
    mailbox = post.key_of(to)
    assert mailbox is not None
    draft = post.parcel(to, lifetime_ms)
    letter = LetterOut(draft, mailbox, Ephemeral.of(b"e" * 32)).seal(question)
    return seal(replace(draft, letter=letter), sender.shell.signer)


A_BID = Question(Method.POST, table.BIDS, b"a bid")


@pytest.mark.parametrize("what", ["over", "changed", "hops", "everybody"])
async def test_parcels_that_are_not_taken(world: World, what: str) -> None:
    first, middle, last = await line(world, 3)
    await heard_of(first, last)
    assert first.carriage is not None
    post = first.carriage.post
    block = sealed_for(first, last.shell.did, A_BID, 1_000).block
    if what == "everybody":
        block = post.notice(table.JOBS, b"a job", 1_000).block
    if what == "changed":
        block = block[:-1] + bytes((block[-1] ^ 1,))
    envelope = Envelope(block, 0 if what == "hops" else 5, 1_000 if what == "over" else 0, 5_000)
    code = {"over": "5.02", "changed": "4.01", "hops": "5.02", "everybody": "4.01"}[what]
    with pytest.raises(PeerRefused) as refused:
        await post.hand(middle.shell.did, table.PARCELS, envelope, 5_000)
    assert refused.value.response == code


@pytest.mark.parametrize(
    "question",
    [
        Question(Method.POST, table.CAPABILITY, b"an advertisement"),
        Question(Method.GET, table.BLOCK.replace("{cid}", str(Cid.of_raw(b"x")))),
        Question(Method.GET, table.JOBS),
        Question(Method.GET, "/icn/jobs/{cid}"),
        Question(Method.POST, table.JOIN),
    ],
)
async def test_letters_are_taken_for_some_resources_only(world: World, question: Question) -> None:
    first, _, last = await line(world, 3)
    await heard_of(first, last)
    assert first.carriage is not None
    with pytest.raises(PeerRefused) as refused:
        await first.carriage.parcels.ask(last.shell.did, question)
    assert refused.value.response == "4.04"


async def test_a_notice_of_what_is_for_one_is_not_handed_on(world: World) -> None:
    first, middle, last = await line(world, 3)
    await heard_of(first, last)
    assert first.carriage is not None
    envelope = Envelope(first.carriage.post.notice(table.BIDS, b"a bid", 1_000).block, 5, 0)
    with pytest.raises(PeerRefused) as refused:
        await first.carriage.post.hand(middle.shell.did, table.RUMOURS, envelope, 5_000)
    assert refused.value.response == "4.04"


async def test_a_reply_that_a_relay_makes_up_counts_for_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, middle, last = await line(world, 3)
    await heard_of(first, last)
    assert first.carriage is not None
    assert middle.carriage is not None

    async def lie(envelope: Envelope, remote: Remote) -> bytes:
        parcel = Cid.of_dag_cbor(envelope.parcel)
        return seal(Reply(middle.shell.did, parcel, bytes(32)), middle.shell.signer).block

    monkeypatch.setattr(middle.carriage.parcels, "take", lie)
    with pytest.raises(PeerError) as lost:
        await first.carriage.send(last.shell.did, table.BIDS, b"a bid")
    assert not isinstance(lost.value, PeerRefused)
    assert not first.carriage.knows(last.shell.did)  # who lies loses the route


async def test_the_same_parcel_from_the_same_neighbour_is_done_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, middle, last = await line(world, 3)
    await heard_of(first, last)
    assert first.carriage is not None
    assert last.executions is not None
    done: list[bytes] = []
    monkeypatch.setattr(last.executions, "on_lease", lambda sealed: done.append(sealed.block))
    post = first.carriage.post
    question = Question(Method.POST, table.LEASES, b"no lease")
    envelope = Envelope(sealed_for(first, last.shell.did, question).block, 5, 0, 5_000)
    replies = [await post.hand(middle.shell.did, table.PARCELS, envelope, 5_000) for _ in range(3)]
    assert len(set(replies)) == 1
    assert last.carriage is not None
    assert len(last.carriage.parcels._replies) == 1
    assert done == []


async def test_what_is_too_large_for_a_parcel_says_so(world: World) -> None:
    node = await world.start("0")
    assert node.carriage is not None
    with pytest.raises(PeerError, match="too much for a parcel"):
        await node.carriage.send(KeySigner(b"n" * 32).did, table.BIDS, bytes(9_000))
    node.carriage.spread(table.JOBS, bytes(9_000), 1_000)
    assert len(node.carriage.rumours_heard.gossip) == 0
