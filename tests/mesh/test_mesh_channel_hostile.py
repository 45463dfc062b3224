"""The channel against those who record, forge and crowd: old rings, a forged "busy", one invitation of many names."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
from aiocoap import Message
from aiocoap.numbers.codes import Code
from mesh_bytes import blocks_of
from mesh_members import NONCE, NOW_S, YEAR_S, Dice, Members, certificate, cooperative, member
from mesh_samples import Node

from icn_lite.mesh import handshake, inner, problem, table
from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.channels import BUSY_S, AnsweredBeforeError, Channels, Link
from icn_lite.mesh.client import Client
from icn_lite.mesh.door import Door
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.handshake import Granted, Offer
from icn_lite.mesh.limits import MeshLimits
from icn_lite.mesh.noise import Ephemeral, Initiator, Keys
from icn_lite.mesh.ports import Admitted, Remote, Speaker
from icn_lite.mesh.refusals import Refusal
from icn_lite.mesh.session import AskedEnd, AskingEnd
from icn_lite.mesh.streams import Where
from icn_lite.model import unixfs
from icn_lite.model.cid import Cid
from icn_lite.model.cose import KeySigner
from icn_lite.model.document import seal
from icn_lite.model.errors import PeerError, PeerRefused
from icn_lite.model.invitation import invitation_id
from icn_lite.model.membership import MemberRole, Membership, Revocations, shown

ASKER, ASKED, ADMIN = (KeySigner(bytes([n]) * 32) for n in (41, 42, 43))
PEER = PeerAddress("10.0.0.1", 5683)
HERE = Remote("10.0.0.2", 5683, "udp")
KEYS = Keys(bytes(range(32)), bytes(range(32, 64)), bytes(12), bytes(range(12)))
SID = bytes(8)


def shaken(door: Door, asking: KeySigner, certificates: tuple[bytes, ...], token: bytes | None = None) -> Granted:
    offer = handshake.decode(Offer, door.handshake(handshake.hello(), HERE, 0.0))
    initiator = Initiator(offer, Ephemeral.of(hashlib.sha256(asking.did.public_key).digest()))
    return initiator.finish(door.handshake(initiator.proof(asking, certificates, token), HERE, 0.0))[0]


def request(link: Link) -> Any:
    return Channels.seal_in(PEER, link, Message(code=Code.GET, uri_path=("icn", "ping"), observe=0))


def ended() -> tuple[Link, AskedEnd]:
    return Link(AskingEnd.of(SID, KEYS), ASKED.did, 1e9, 1e9, 1000), AskedEnd.of(SID, KEYS)


def test_a_recorded_ring_is_no_ring() -> None:
    """An observer is answered many times under one counter of its own: each answer counts once, and in order."""
    link, there = ended()
    asked = request(link)
    _, counter = there.open(asked.outer.payload)
    plain = [inner.encode(Message(code=Code.CONTENT, payload=b"%d" % number)) for number in range(4)]
    rings = [Message(code=Code.CONTENT, payload=there.answer(one, counter)) for one in plain]
    assert asked.open(rings[0]).payload == b"0"
    assert asked.open(rings[2]).payload == b"2"
    for old in (rings[0], rings[1], rings[2]):
        with pytest.raises(AnsweredBeforeError):
            asked.open(old)
    assert asked.open(rings[3]).payload == b"3"


def test_a_forged_busy_tells_nothing_but_that() -> None:
    link, _ = ended()
    told = problem.Problem("No", "go away", "bid_refused", "J01", "pay me").encode()
    forged = Message(code=Code.SERVICE_UNAVAILABLE, payload=told, content_format=problem.CONTENT_FORMAT)
    forged.opt.max_age = 2**32 - 1
    heard = request(link).open(forged)
    assert (heard.code, heard.payload, heard.opt.max_age) == (Code.SERVICE_UNAVAILABLE, b"", BUSY_S)


def test_one_invitation_takes_no_more_places_than_one_peer() -> None:
    """Whoever has one invitation can make names without end."""
    token, inviting, limits = bytes(range(16)), member(ASKED), MeshLimits()
    inviting.invitations[invitation_id(token)] = (token, cooperative().did)
    door = Door(inviting, limits, Dice())
    shaken(door, ASKER, tuple(member(ASKER).own))
    for number in range(20):
        shaken(door, KeySigner(bytes([100 + number]) * 32), (), token)
    assert len(door) == limits.sessions_per_peer + 1


def vouched() -> Members:
    """Somebody whom an admin made a member."""
    authority = certificate(cooperative(), ADMIN.did, (MemberRole.ADMIN,)).block
    given = Membership(
        cooperative().did, ADMIN.did, ASKER.did, "village", (MemberRole.EXECUTE,), NOW_S, NOW_S + YEAR_S, NONCE,
        authority=authority,
    )  # fmt: skip
    return Members(ASKER, [seal(given, ADMIN).block])


async def test_with_an_admin_go_the_sessions_of_those_it_made_members() -> None:
    asking, door = vouched(), Door(member(ASKED), MeshLimits(), Dice())
    shaken(door, ASKER, tuple(asking.own))
    shaken(door, KeySigner(b"\x60" * 32), tuple(member(KeySigner(b"\x60" * 32)).own))
    assert len(door) == 2
    door.drop(ADMIN.did)
    assert [session.speaker.did for session in door._sessions.values()] == [KeySigner(b"\x60" * 32).did]
    # The same on the asking side, of the one who is asked.
    channels, asked = Channels(member(ASKED), MeshLimits(), Dice()), Door(asking, MeshLimits(), Dice())

    async def ask(message: bytes) -> bytes:
        return asked.handshake(message, HERE, 0.0)

    link = await channels.link(PEER, ask, asyncio.get_running_loop().time() + 20)
    channels.drop(KeySigner(b"\x60" * 32).did)
    assert channels.ready(PEER) is link
    channels.drop(ADMIN.did)
    assert channels.ready(PEER) is None
    assert link.closed
    await channels.close()


def test_a_hello_looks_nothing_up() -> None:
    here, looked_up = member(ASKED), []
    real = here.cooperatives
    here.cooperatives = lambda: (looked_up.append(1), real())[1]  # type: ignore[method-assign]
    door = Door(here, MeshLimits(), Dice())
    for _ in range(50):
        door.handshake(handshake.hello(), HERE, 0.0)
    assert len(looked_up) == 1


def test_the_longest_certificates_fit_a_handshake_and_of_many_as_many_as_fit() -> None:
    """Two nodes with an admin's certificates of two cooperatives they share: one of them is enough."""
    given = []
    for number in range(2):
        key, longest = cooperative(number), "v" * 32
        authority = certificate(key, ADMIN.did, name=longest, scope=longest, expires_at=NOW_S + 10**9).block
        held = Membership(
            key.did, ADMIN.did, ASKER.did, longest, tuple(MemberRole)[:3], NOW_S, NOW_S + 10**9, NONCE, longest,
            authority,
        )  # fmt: skip
        given.append(seal(held, ADMIN).block)
    short = tuple(member(ASKER, tuple(MemberRole), cooperative(), cooperative(1)).own)
    assert shown(given) == (given[0],)
    assert shown((given[0], short[0])) == (given[0],)
    assert shown(short * 2) == short
    for blocks in (shown(given), short):
        asking, asked = Members(ASKER, list(blocks)), Members(ASKED, list(blocks))
        both = asked.cooperatives()
        asked.admit = lambda did, _, both=both: Admitted(Speaker(did, cooperatives=both))  # type: ignore[method-assign]
        limits = MeshLimits(session_ms=86_400_000, session_messages=1 << 40)
        granted = shaken(Door(asked, limits, Dice()), ASKER, asking.certificates(asking.cooperatives()))
        assert granted.certificates == blocks


def test_what_a_refused_proof_is_told_names_nobody() -> None:
    """It goes in the clear: whoever listens shall not learn who was refused."""
    door = Door(Members(ASKED, [], Revocations()), MeshLimits(), Dice())
    with pytest.raises((Refusal, Exception)) as caught:
        shaken(door, ASKER, tuple(member(ASKER).own))
    assert "none of ours" in str(caught.value)
    assert "did:key" not in str(caught.value)


async def test_what_is_for_one_is_sealed_for_nobody_else_who_answers_there() -> None:
    """A member at another's address gets nothing that was meant for that one, nor takes over when it seems lost."""
    node = Node(ASKED)
    server = Endpoint(EndpointConfig("127.0.0.1", 0, MeshLimits(), member(ASKED)), node)
    asking = Endpoint(EndpointConfig("127.0.0.1", 0, MeshLimits(), member(ASKER)), Node(ASKER))
    await server.start()
    await asking.start()
    try:
        client, uri = Client(asking), server.addresses()[0]
        block = await asking.handlers.own_capability()
        with pytest.raises(PeerError, match=f"is {ASKED.did}, not {ADMIN.did}"):
            await client.post(uri, table.CAPABILITY, block, to=ADMIN.did)
        with pytest.raises(PeerError, match=f"not {ADMIN.did}"):
            await client.post_receipt(uri, block, to=ADMIN.did)
        assert node.heard == []
        assert (await client.post(uri, table.CAPABILITY, block, to=ASKED.did)).code == "2.04"
        channels = asking.channels
        assert channels is not None
        (link,) = channels._links.values()
        link.did = ADMIN.did  # as if it had been another's
        server.dismiss(ASKER.did)
        with pytest.raises(PeerError, match=f"is {ASKED.did}, not {ADMIN.did}"):
            await client.ping_ms(uri)
        assert await client.ping_ms(uri) >= 0
    finally:
        await asking.close()
        await server.close()


async def test_who_answers_for_another_is_believed_in_nothing() -> None:
    """Status, log and blocks: a member at another's address can't say what that one has, nor that it has nothing."""
    data, large = b"an output", bytes(range(256)) * 1_200
    blob = unixfs.blob_cid(large)
    blocks = {Cid.of_raw(data): data, **blocks_of(large)}
    node, lease, job = Node(ASKED, blocks=blocks), Cid.of_dag_cbor(b"lease"), Cid.of_dag_cbor(b"job")
    node.statuses[job] = b"done"
    node.streams.begin(lease, 0, ASKER.did).put(0, b"said")
    server = Endpoint(EndpointConfig("127.0.0.1", 0, MeshLimits(), member(ASKED)), node)
    asking = Endpoint(EndpointConfig("127.0.0.1", 0, MeshLimits(), member(ASKER)), Node(ASKER))
    await server.start()
    await asking.start()
    try:
        client, uri = Client(asking), server.addresses()[0]
        missing = Cid.of_raw(b"nowhere")
        for to, taken in ((ADMIN.did, False), (ASKED.did, True)):
            calls = (
                lambda to=to: anext(client.observe_status(uri, job, to)),
                lambda to=to: client.read_log(uri, lease, Where(), to=to),
                lambda to=to: client.get(uri, table.JOB.replace("{cid}", str(job)), to=to),
                lambda to=to: client.fetch_block({uri: to}, Cid.of_raw(data), 100),
                lambda to=to: client.fetch_block({uri: to}, blob, len(large)),
            )
            for call in calls:
                if taken:
                    assert await call()
                    continue
                with pytest.raises(PeerError, match=f"not {ADMIN.did}") as refused:
                    await call()
                assert not isinstance(refused.value, PeerRefused)
            with pytest.raises(PeerRefused if taken else PeerError) as refused:  # it isn't there: who says so?
                await client.fetch_block({uri: to}, missing, 100)
            assert isinstance(refused.value, PeerRefused) is taken
        assert await client.fetch_block({uri: None}, Cid.of_raw(data), 100) == data
    finally:
        await asking.close()
        await server.close()


async def test_an_observation_that_is_begun_anew_is_with_the_same() -> None:
    """To say that a session is lost is open to everybody who sits between."""
    node, job = Node(ASKED), Cid.of_dag_cbor(b"job")
    node.statuses[job] = b"running"
    server = Endpoint(EndpointConfig("127.0.0.1", 0, MeshLimits(), member(ASKED)), node)
    asking = Endpoint(EndpointConfig("127.0.0.1", 0, MeshLimits(), member(ASKER)), Node(ASKER))
    await server.start()
    await asking.start()
    try:
        client, uri = Client(asking), server.addresses()[0]
        assert await client.ping_ms(uri) >= 0
        channels = asking.channels
        assert channels is not None
        (link,) = channels._links.values()
        link.did = ADMIN.did  # as if it had been another's
        server.dismiss(ASKER.did)
        with pytest.raises(PeerError, match=f"is {ASKED.did}, not {ADMIN.did}"):
            await anext(client.observe_status(uri, job))
    finally:
        await asking.close()
        await server.close()
