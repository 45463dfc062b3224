"""The guarded channel over real sockets: strangers get two resources, members what their roles allow, nobody more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import mesh_samples as samples
import pytest
from aiocoap.numbers.codes import Code
from mesh_members import ALL, NOW_S, Dice, Members, certificate, cooperative, member, revocation
from mesh_openers import RawOpener
from mesh_raw import until
from mesh_samples import Node

from icn_lite.mesh import handshake, problem, table
from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.client import Client
from icn_lite.mesh.door import Door
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.limits import MeshLimits
from icn_lite.mesh.noise import Ephemeral, Initiator
from icn_lite.mesh.ports import Remote, Speaker
from icn_lite.mesh.refusals import Refusal
from icn_lite.mesh.requests import Call, Transport
from icn_lite.model.cid import Cid
from icn_lite.model.cose import KeySigner
from icn_lite.model.errors import DocumentError, IcnLiteError, NotAdmitted, PeerError, PeerRefused
from icn_lite.model.invitation import Invitation, invitation_id
from icn_lite.model.membership import MemberRole, fingerprint

SOON_S = 20.0
ASKER, ASKED = samples.SIGNER, samples.OTHER
FAST = MeshLimits(requests_per_s=10**6, requests_per_s_peer=10**6, burst=10**6)
CID = str(Cid.of_raw(b"nothing here"))
Guarded = Callable[..., Awaitable[Endpoint]]
ROWS = {f"{row.method} {row.path}": row for row in table.TABLE}


@pytest.fixture
async def guarded() -> AsyncIterator[Guarded]:
    """Opens endpoints with an admission; closes them."""
    opened: list[Endpoint] = []

    async def start(
        members: Members | None, node: Node | None = None, *, limits: MeshLimits = FAST, port: int = 0
    ) -> Endpoint:
        endpoint = Endpoint(EndpointConfig("127.0.0.1", port, limits, members), node or Node())
        await endpoint.start()
        opened.append(endpoint)
        return endpoint

    yield start
    for endpoint in reversed(opened):
        await endpoint.close()


async def ask(client: Client, server: Endpoint, row: table.Row, transport: Transport = "udp") -> str:
    """Ask for a row as it is; returns `2.05`, or the code and kind of the refusal."""
    until_s = asyncio.get_running_loop().time() + SOON_S
    assert row.method in ("GET", "POST", "DELETE")
    call = Call(row.method, row.path.replace("{cid}", CID), b"x" * 40 if row.body else b"", row.takes)  # type: ignore[arg-type]
    try:
        return (await client._requester.call(PeerAddress("127.0.0.1", server.port), transport, call, until_s)).code
    except PeerRefused as refused:
        return f"{refused.response} {refused.problem}"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("name", ROWS)
async def test_strangers_get_core_and_the_handshake(
    guarded: Guarded, open_raw: RawOpener, name: str, transport: Transport
) -> None:
    row, node = ROWS[name], Node()
    server = await guarded(member(ASKED), node)
    if row.action is table.Action.CHANNEL:
        raw = await open_raw(server.port)
        answer = await raw.ask(Code[row.method], row.path, b"x" * 100, content_format=row.takes)
        assert answer.code.dotted == "4.00"
    else:
        stranger = Client(await guarded(None, limits=FAST))
        got = await ask(stranger, server, row, transport)
        if row.access is table.Access.ANYONE:
            assert got == ("2.05" if row.path == table.CORE else "4.00 malformed_document")
        else:
            assert got == "4.01 session_required"
    assert (node.heard, node.blocks_read, server.sessions) == ([], 0, 0)


async def test_of_a_strangers_body_not_one_block_is_kept(guarded: Guarded, open_raw: RawOpener) -> None:
    server = await guarded(member(ASKED))
    raw = await open_raw(server.port)
    for path, expected in ((table.JOBS, "4.01"), (table.HANDSHAKE, "4.00")):
        answer = await raw.ask(Code.POST, path, b"x" * 1024, block1=(0, True, 6))
        assert answer.code.dotted == expected
    assert not len(server._site._assemblies)


@pytest.mark.parametrize("role", [None, *MemberRole], ids=lambda role: role.value if role else "invited")
async def test_each_role_gets_its_rows(guarded: Guarded, role: MemberRole | None) -> None:
    """The column `who may` of the table, row by row."""
    server = await guarded(member(ASKED))
    client = Client(await guarded(member(ASKER, (role,) if role else ALL)))
    speaker = Speaker(ASKER.did, frozenset([role] if role else []), (), None if role else b"invited!")
    for row in table.TABLE:
        if row.action in (table.Action.CHANNEL, table.Action.HANDSHAKE):
            continue
        if role is None:
            assert row.may(speaker) is (row.access is not table.Access.MEMBER)
            continue
        got = await ask(client, server, row)
        expected = row.access is table.Access.ANYONE or (
            row.access is table.Access.MEMBER and (not row.roles or role in row.roles)
        )
        assert (got == "4.03 role_required") is not expected, (row.method, row.path, got)
        assert row.may(speaker) is expected


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_members_speak_and_are_named(guarded: Guarded, transport: Transport) -> None:
    node = Node(ASKED)
    server = await guarded(member(ASKED), node)
    client = Client(await guarded(member(ASKER), Node(ASKER)))
    uri = server.addresses()[0]
    assert await client.ping_ms(uri) >= 0
    assert (await client.advertise(uri)).signer == ASKED.did
    assert node.remotes[-1].speaker is not None
    assert node.remotes[-1].speaker.did == ASKER.did
    assert client.who_answers(uri) == ASKED.did
    data = bytes(range(256)) * 12_000
    cid = Cid.of_raw(data)
    node.blocks[cid] = data
    assert await client.fetch_block([uri], cid, 1 << 24) == data
    assert server.sessions == 1
    assert node.refused == []


async def test_a_document_is_handed_over_by_its_author_or_a_bridge(guarded: Guarded) -> None:
    server = await guarded(member(ASKED), node := Node(ASKED))
    uri = server.addresses()[0]
    third = KeySigner(b"\x03" * 32)
    plain = Client(await guarded(member(third, (MemberRole.EXECUTE,)), Node(third)))
    with pytest.raises(PeerRefused, match="no bridge") as caught:
        await plain.post(uri, table.BIDS, samples.bid(ASKER).block)
    assert (caught.value.response, caught.value.problem) == ("4.03", "not_the_author")
    assert not node.heard
    bridge = Client(await guarded(member(third, (MemberRole.BRIDGE,)), Node(third)))
    assert (await bridge.post(uri, table.BIDS, samples.bid(ASKER).block)).code == "2.04"
    assert node.heard == [samples.bid(ASKER)]


# -- who is no member


async def test_whoever_shares_no_cooperative_is_told_nothing(guarded: Guarded) -> None:
    node = Node()
    server = await guarded(member(ASKED), node)
    client = Client(await guarded(member(ASKER, ALL, cooperative(9))))
    with pytest.raises(PeerError, match="belongs to no cooperative of ours"):
        await client.ping_ms(server.addresses()[0])
    assert (server.sessions, node.refused) == (0, [])


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"expires_at": NOW_S - 90_000, "issued_at": 1}, "run out"),
        ({"scope": "kitchen"}, None),
        ({"member": ASKED.did}, "somebody else's"),
        ({"key": cooperative(9)}, "none of ours"),
    ],
)
async def test_memberships_that_do_not_count(guarded: Guarded, changed: dict[str, object], reason: str | None) -> None:
    server = await guarded(member(ASKED))
    settings = {"key": cooperative(), "member": ASKER.did, **changed}
    shown = certificate(settings.pop("key"), settings.pop("member"), **settings).block  # type: ignore[arg-type]
    asking = member(ASKER)
    asking.certificates = lambda shared: (shown,)  # type: ignore[method-assign]
    client = Client(await guarded(asking))
    if reason is None:
        assert await client.ping_ms(server.addresses()[0]) >= 0
        return
    with pytest.raises(PeerError, match=reason) as caught:
        await client.ping_ms(server.addresses()[0])
    assert "4.03" in caught.value.message
    assert not isinstance(caught.value, PeerRefused)  # nobody has shown yet who refuses
    assert server.sessions == 0


async def test_an_impostor_without_a_membership_is_not_believed(guarded: Guarded) -> None:
    """The initiator looks at the responder's memberships as well."""
    false = member(ASKED)
    false.certificates = lambda shared: (certificate(cooperative(), KeySigner(b"\x09" * 32).did).block,)  # type: ignore[method-assign]
    server = await guarded(false)
    client = Client(await guarded(member(ASKER)))
    with pytest.raises(PeerError, match="somebody else's"):
        await client.ping_ms(server.addresses()[0])


async def test_two_cooperatives_give_the_roles_of_both(guarded: Guarded) -> None:
    keys = (cooperative(1), cooperative(2))
    asking = Members(ASKER, [certificate(keys[0], ASKER.did, (MemberRole.EXECUTE,)).block,
                             certificate(keys[1], ASKER.did, (MemberRole.SUBMIT,)).block])  # fmt: skip
    server = await guarded(member(ASKED, ALL, *keys), node := Node(ASKED))
    client = Client(await guarded(asking, Node(ASKER)))
    await client.advertise(server.addresses()[0])
    speaker = node.remotes[-1].speaker
    assert speaker is not None
    assert speaker.roles == {MemberRole.EXECUTE, MemberRole.SUBMIT}
    only_second = await guarded(member(ASKED, ALL, keys[1]), node := Node(ASKED))
    await client.advertise(only_second.addresses()[0])
    speaker = node.remotes[-1].speaker
    assert speaker is not None
    assert speaker.roles == {MemberRole.SUBMIT}


# -- joining


async def invitation_to(server: Endpoint, members: Members, token: bytes = bytes(range(16))) -> Invitation:
    key = cooperative()
    members.issuer = key
    members.invitations[invitation_id(token)] = (token, key.did)
    return Invitation((f"127.0.0.1:{server.port}",), fingerprint(key.did), token, "village")


async def test_an_invitation_ends_with_a_membership(guarded: Guarded) -> None:
    hosts = member(ASKED)
    server = await guarded(hosts, node := Node(ASKED))
    invitation = await invitation_to(server, hosts)
    joining = Members(ASKER)
    client = Client(await guarded(joining, Node(ASKER)))
    uri = server.addresses()[0]
    with pytest.raises(PeerError, match="no cooperative of ours"):
        await client.ping_ms(uri)
    joining.own.append(await client.join(uri, invitation))
    assert [speaker.did for speaker in hosts.joined] == [ASKER.did]
    assert await client.ping_ms(uri) >= 0
    assert node.refused == []


@pytest.mark.parametrize("fault", ["token", "fingerprint", "unknown"])
async def test_invitations_that_do_not_hold(guarded: Guarded, fault: str) -> None:
    hosts = member(ASKED)
    server = await guarded(hosts)
    good = await invitation_to(server, hosts)
    token = bytes(16) if fault == "unknown" else good.token
    wrong = Invitation(good.addresses, bytes(16) if fault == "fingerprint" else good.fingerprint, token, "village")
    if fault == "token":
        hosts.invitations[invitation_id(good.token)] = (bytes(16), cooperative().did)
    client = Client(await guarded(Members(ASKER)))
    with pytest.raises(PeerError, match="no member of the cooperative" if fault == "fingerprint" else "doesn't hold"):
        await client.join(server.addresses()[0], wrong)
    assert not hosts.joined


async def test_the_invited_may_join_and_nothing_else(guarded: Guarded) -> None:
    hosts = member(ASKED)
    server = await guarded(hosts)
    invitation = await invitation_to(server, hosts)
    client = Client(await guarded(Members(ASKER)))
    requester, peer = client._requester, PeerAddress("127.0.0.1", server.port)
    assert requester.channels is not None
    until_s = asyncio.get_running_loop().time() + SOON_S
    for row in table.TABLE:
        if row.action in (table.Action.CHANNEL, table.Action.HANDSHAKE, table.Action.JOIN):
            continue
        request = requester.message(peer, "udp", Call(row.method, row.path.replace("{cid}", CID)))  # type: ignore[arg-type]
        await requester.resolve(peer, request, until_s)
        link = await requester.channels.shake(peer, requester.asks(peer, request.remote), invitation)
        asked = requester.channels.seal_in(peer, link, request)
        answer = asked.open(await requester.exchange_plain(peer, asked.outer, until_s))
        assert answer.code.dotted == ("2.05" if row.access is table.Access.ANYONE else "4.03"), row.path


# -- sessions that end, are lost, are renewed


async def test_a_restarted_peer_is_asked_again_once(guarded: Guarded) -> None:
    members = member(ASKED)
    server = await guarded(members, Node(ASKED))
    client = Client(await guarded(member(ASKER), Node(ASKER)))
    uri = server.addresses()[0]
    await client.ping_ms(uri)
    port = server.port
    await server.close()
    again = await guarded(members, node := Node(ASKED), port=port)
    assert await client.ping_ms(uri) >= 0
    assert (again.sessions, node.refused) == (1, ["session_unknown"])


async def test_a_restarted_asker_begins_anew_and_old_sessions_are_few(guarded: Guarded) -> None:
    server = await guarded(member(ASKED), Node(ASKED))
    for _ in range(7):
        asker = await guarded(member(ASKER), Node(ASKER))
        await Client(asker).ping_ms(server.addresses()[0])
        await asker.close()
    assert server.sessions == FAST.sessions_per_peer


async def test_sessions_in_all_are_bounded(guarded: Guarded) -> None:
    server = await guarded(member(ASKED), limits=MeshLimits(sessions=3))
    clients = [Client(await guarded(member(KeySigner(bytes([number]) * 32)))) for number in range(10, 15)]
    for client in clients:
        await client.ping_ms(server.addresses()[0])
    assert server.sessions == 3
    for client in clients:  # those whose session made room are asked again
        assert await client.ping_ms(server.addresses()[0]) >= 0


async def test_keys_are_renewed_by_count_also_during_a_transfer(guarded: Guarded) -> None:
    limits = MeshLimits(session_messages=8, tcp_answer_bytes=64 << 10, requests_per_s_peer=10**6, burst=10**6)
    node = Node(ASKED)
    data = bytes(range(256)) * 12_000
    cid = Cid.of_raw(data)
    node.blocks[cid] = data
    server = await guarded(member(ASKED), node, limits=limits)
    asker = await guarded(member(ASKER), limits=limits)
    client = Client(asker)
    sids = set()
    for _ in range(30):
        await client.ping_ms(server.addresses()[0])
        assert asker.channels is not None
        sids |= {link.end.sid for link in asker.channels._links.values()}
    assert await client.fetch_block([server.addresses()[0]], cid, 1 << 24) == data
    assert len(sids) >= 4
    assert "replayed" not in node.refused


async def test_a_session_ends_by_time_on_both_sides(guarded: Guarded) -> None:
    limits = MeshLimits(session_ms=1_000)
    server = await guarded(member(ASKED), limits=limits)
    asker = await guarded(member(ASKER), limits=limits)
    await Client(asker).ping_ms(server.addresses()[0])
    assert asker.channels is not None
    (link,) = asker.channels._links.values()
    now_s = asyncio.get_running_loop().time()
    assert link.good(now_s)
    assert link.old(now_s + 0.9)
    assert not link.good(now_s + 1.1)
    door = server._site._door
    assert door is not None
    door.forget_old(now_s + 1.1)
    assert server.sessions == 0


async def test_the_same_session_from_another_address(guarded: Guarded, open_raw: RawOpener) -> None:
    """A phone that changes networks keeps its session; a copy of what it sent is refused."""
    server = await guarded(member(ASKED), node := Node(ASKED))
    client = Client(await guarded(member(ASKER)))
    await client.ping_ms(server.addresses()[0])
    channels, requester = client._requester.channels, client._requester
    assert channels is not None
    peer = PeerAddress("127.0.0.1", server.port)
    link = channels.ready(peer)
    assert link is not None
    asked = channels.seal_in(peer, link, requester.message(peer, "udp", Call("GET", table.PING)))
    raw = await open_raw(server.port)
    answer = await raw.ask(Code.POST, table.CHANNEL, asked.outer.payload)
    assert asked.open(answer).code is Code.CONTENT
    for sender in (raw, await open_raw(server.port, believed=True)):
        answer = await sender.ask(Code.POST, table.CHANNEL, asked.outer.payload)
        told = problem.decode(answer.payload)
        assert told is not None
        assert (answer.code.dotted, told.kind) == ("4.01", "replayed")
    assert node.refused == ["replayed", "replayed"]


async def test_a_revoked_member_loses_its_session_at_once(guarded: Guarded) -> None:
    members, node = member(ASKED), Node(ASKED)
    server = await guarded(members, node)
    node.statuses[samples.JOB_ID] = b"\xa0"
    client = Client(await guarded(member(ASKER), Node(ASKER)))
    uri = server.addresses()[0]
    rings = client.observe_status(uri, samples.JOB_ID)
    assert await anext(rings) == b"\xa0"
    await members.on_revocation(revocation(cooperative(), ASKER.did).block)
    server.dismiss(ASKER.did)
    assert server.sessions == 0
    node.statuses[samples.JOB_ID] = b"\xa1\x61a\x01"
    server.notify_job(samples.JOB_ID)
    with pytest.raises(PeerError):
        async with asyncio.timeout(SOON_S):
            await anext(rings)
    with pytest.raises(PeerError, match="revoked"):
        await client.ping_ms(uri)
    assert server.sessions == 0


async def test_a_refusal_in_a_session_that_has_ended_meanwhile(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    """Regression 1: what had to be said outside the session was raised to the library, which logged a fault."""
    node = Node(ASKED, hold=asyncio.Event(), refuse_with=DocumentError("no such thing"))
    members = member(ASKED)
    server = await guarded(members, node)
    client = Client(await guarded(member(ASKER), Node(ASKER)))
    posting = asyncio.create_task(client.post(server.addresses()[0], table.BIDS, samples.bid(ASKER).block))
    await until(lambda: len(node.heard) == 1)
    await members.on_revocation(revocation(cooperative(), ASKER.did).block)
    server.dismiss(ASKER.did)
    assert node.hold is not None
    node.hold.set()
    with pytest.raises(PeerError, match="revoked"):
        await posting
    assert not caplog.records


async def test_whoever_we_put_out_is_asked_nothing_more(guarded: Guarded) -> None:
    server = await guarded(member(ASKED))
    members = member(ASKER)
    asker = await guarded(members)
    client = Client(asker)
    uri = server.addresses()[0]
    await client.ping_ms(uri)
    await members.on_revocation(revocation(cooperative(), ASKED.did).block)
    asker.dismiss(ASKED.did)
    with pytest.raises(PeerError, match="revoked"):
        await client.ping_ms(uri)


async def test_an_answer_outside_the_session_is_none(guarded: Guarded) -> None:
    """Whoever takes a peer's address without its keys can't answer in its name."""
    server = await guarded(member(ASKED))
    client = Client(await guarded(member(ASKER)))
    uri, port = server.addresses()[0], server.port
    await client.ping_ms(uri)
    await server.close()
    await guarded(None, port=port)
    with pytest.raises(PeerError, match="asks for no session"):  # a new handshake is tried, which only the peer can end
        await client.ping_ms(uri)


async def test_an_open_endpoint_has_no_sessions(guarded: Guarded) -> None:
    server = await guarded(None)
    client = Client(await guarded(member(ASKER)))
    with pytest.raises(PeerError, match="asks for no session"):
        await client.ping_ms(server.addresses()[0])


async def test_nothing_is_begun_with_oneself(guarded: Guarded) -> None:
    endpoint = await guarded(member(ASKER))
    with pytest.raises(PeerError, match="this node itself"):
        await Client(endpoint).ping_ms(endpoint.addresses()[0])


# -- state exhaustion


def remote(number: int) -> Remote:
    return Remote(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 5683, "udp")


def refused_by(door: Door, message: bytes, sender: Remote, now_s: float) -> str:
    try:
        door.handshake(message, sender, now_s)
    except Refusal as refusal:
        return refusal.kind
    except IcnLiteError as error:
        return error.kind
    return ""


def test_ten_thousand_first_messages_leave_nothing() -> None:
    """From as many addresses, with and without cookies that are another's; then a member is still let in."""
    door = Door(member(ASKED), MeshLimits(), Dice())
    hello = handshake.hello()
    stolen = handshake.decode(handshake.Offer, door.handshake(hello, remote(0), 0.0))
    proof = Initiator(stolen, Ephemeral.of(b"\x07" * 32)).proof(ASKER, member(ASKER).certificates([cooperative().did]))
    for number in range(1, 10_001):
        assert refused_by(door, hello, remote(number), number / 200) == ""
        assert refused_by(door, proof, remote(number), number / 200) == "stale_offer"
    assert len(door) == 0
    assert not door._granted
    assert len(door._offers._kept) <= 2
    assert refused_by(door, proof, remote(0), 50.0) == ""
    assert len(door) == 1


def test_a_repeated_proof_makes_no_second_session() -> None:
    door = Door(member(ASKED), MeshLimits(), Dice())
    offer = handshake.decode(handshake.Offer, door.handshake(handshake.hello(), remote(1), 0.0))
    proof = Initiator(offer, Ephemeral.of(b"\x07" * 32)).proof(ASKER, member(ASKER).certificates([cooperative().did]))
    grants = {door.handshake(proof, remote(1), float(now_s)) for now_s in range(100)}
    assert (len(grants), len(door)) == (1, 1)
    assert refused_by(door, proof, remote(1), 130.0) == "stale_offer"


def test_proofs_of_strangers_with_good_cookies_leave_nothing() -> None:
    """They cost us two Diffie-Hellmans each, within their address's rate, and no memory."""
    door = Door(member(ASKED), MeshLimits(), Dice())
    for number in range(50):
        sender = remote(number)
        offer = handshake.decode(handshake.Offer, door.handshake(handshake.hello(), sender, 0.0))
        stranger = KeySigner(bytes([number + 1]) * 32)
        proof = Initiator(offer, Ephemeral.of(bytes([number + 1]) * 32)).proof(stranger, ())
        assert refused_by(door, proof, sender, 0.0) == "not_admitted"
    assert (len(door), len(door._granted)) == (0, 0)


def test_idle_sessions_are_forgotten() -> None:
    limits = MeshLimits()
    door = Door(member(ASKED), limits, Dice())
    offer = handshake.decode(handshake.Offer, door.handshake(handshake.hello(), remote(1), 0.0))
    proof = Initiator(offer, Ephemeral.of(b"\x07" * 32)).proof(ASKER, member(ASKER).certificates([cooperative().did]))
    door.handshake(proof, remote(1), 0.0)
    door.forget_old(limits.session_idle_ms / 1000 - 1)
    assert len(door) == 1
    door.forget_old(limits.session_idle_ms / 1000)
    assert len(door) == 0


def test_a_fault_in_a_proof_is_told_by_its_kind() -> None:
    door = Door(member(ASKED), MeshLimits(), Dice())
    offer = handshake.decode(handshake.Offer, door.handshake(handshake.hello(), remote(1), 0.0))
    proof = Initiator(offer, Ephemeral.of(b"\x07" * 32)).proof(ASKER, ())
    assert refused_by(door, proof[:-1] + bytes([proof[-1] ^ 1]), remote(1), 0.0) == "bad_signature"
    assert refused_by(door, proof[:-1], remote(1), 0.0) == "malformed_document"
    with pytest.raises(DocumentError):
        door.handshake(b"\xa0", remote(1), 0.0)
    with pytest.raises(NotAdmitted):
        door.handshake(proof, remote(1), 0.0)
