"""Belonging: a fresh node's own cooperative, inviting and joining, putting out, and what stays on the disk."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from mesh_members import Dice
from node_world import World, command, until

from icn_lite.mesh import table
from icn_lite.mesh.ports import Speaker
from icn_lite.model import cbor
from icn_lite.model.cose import KeySigner
from icn_lite.model.errors import NotAdmitted, PeerError, StoreError, UsageError, VerificationError
from icn_lite.model.invitation import Invitation, invitation_id
from icn_lite.model.membership import MemberRole, fingerprint
from icn_lite.model.receipt import Clock as Claim
from icn_lite.node import cooperatives
from icn_lite.node.clock import Clock
from icn_lite.node.memberships import DAY_S, Memberships, Terms
from icn_lite.node.node import Node

NOW_S = 1_800_000_000
OWNER, GUEST, THIRD = (KeySigner(bytes([n]) * 32) for n in (7, 8, 9))
URIS = ("coap://10.0.0.1:5683",)


class FixedClock(Clock):
    """A wall clock that a test sets."""

    wall = NOW_S
    source = "system"

    def wall_s(self) -> int:
        return self.wall

    def claim(self) -> Claim:
        return Claim(bytes(16), 0, self.wall, self.source)  # type: ignore[arg-type]


def memberships(folder: Path, signer: KeySigner = OWNER, clock: Clock | None = None) -> Memberships:
    made = Memberships(folder / "coops", signer, clock or FixedClock(), Dice())
    made.load()
    return made


def guest(invitation: Invitation, signer: KeySigner = GUEST) -> Speaker:
    return Speaker(signer.did, invitation=invitation_id(invitation.token))


# -- on the disk


def test_what_is_made_is_there_again_and_private(tmp_path: Path) -> None:
    first = memberships(tmp_path)
    made = first.create("village")
    first.invite(made, Terms(), URIS)
    again = memberships(tmp_path)
    (same,) = again.held
    assert (same.held, same.invitations, same.name) == (made.held, made.invitations, "village")
    assert same.key is not None
    assert made.key is not None
    assert same.key.seed == made.key.seed
    for path in (tmp_path / "coops").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        assert path.is_dir() or made.key.seed not in path.read_bytes()


def test_the_key_opens_for_its_own_node_alone(tmp_path: Path) -> None:
    memberships(tmp_path).create("village")
    with pytest.raises(StoreError, match="not of this node"):
        memberships(tmp_path, GUEST)
    (folder,) = (tmp_path / "coops").iterdir()
    with pytest.raises(StoreError, match="sealed by another node's"):
        cooperatives._open_key((folder / "key").read_bytes(), GUEST)


@pytest.mark.parametrize("name", ["membership", "key", "revocations", "invitations", "addresses"])
def test_a_damaged_file_is_named_and_nothing_starts(tmp_path: Path, name: str) -> None:
    memberships(tmp_path).create("village")
    (folder,) = (tmp_path / "coops").iterdir()
    (folder / name).write_bytes(b"\xff damaged")
    with pytest.raises(StoreError, match=name) as caught:
        memberships(tmp_path)
    assert "restore" in caught.value.hint


def test_a_node_that_belongs_nowhere_makes_its_own_once(tmp_path: Path) -> None:
    first = memberships(tmp_path)
    first.ensure_one()
    again = memberships(tmp_path)
    again.ensure_one()
    assert [held.name for held in again.held] == ["home"]
    assert again.cooperatives() == (first.held[0].did,)


def test_cooperatives_are_bounded(tmp_path: Path) -> None:
    held = memberships(tmp_path)
    for number in range(cooperatives.MAX_COOPERATIVES):
        held.create(f"c{number}")
    with pytest.raises(UsageError, match="already"):
        held.create("one more")
    with pytest.raises(UsageError, match="may invite to"):
        held.find(None)
    assert held.find("c3").name == "c3"
    assert held.find(fingerprint(held.held[2].did).hex()).name == "c2"


# -- inviting


async def test_an_invitation_is_for_one_member_who_may_ask_twice(tmp_path: Path) -> None:
    held = memberships(tmp_path)
    made = held.invite(held.create("village"), Terms((MemberRole.EXECUTE,), "kitchen", 30), URIS)
    assert held.invited(invitation_id(made.token)) == (made.token, held.held[0].did)
    first = await held.join(guest(made))
    await held.join(guest(made))
    with pytest.raises(NotAdmitted, match="was used"):
        await held.join(guest(made, THIRD))
    again = memberships(tmp_path)
    with pytest.raises(NotAdmitted, match="was used"):
        await again.join(guest(made, THIRD))
    joined = memberships(tmp_path / "guest", GUEST)
    joined.accept(first, made.uris)
    said = joined.held[0].held.document
    assert (said.roles, said.scope, said.expires_at) == ((MemberRole.EXECUTE,), "kitchen", NOW_S + 30 * DAY_S)
    assert memberships(tmp_path / "guest", GUEST).held[0].addresses == made.uris
    assert held.admit(GUEST.did, [first]).speaker.roles == {MemberRole.EXECUTE}
    with pytest.raises(VerificationError, match="not of this node"):
        memberships(tmp_path / "third", THIRD).accept(first)


async def test_an_invitation_runs_out(tmp_path: Path) -> None:
    clock = FixedClock()
    held = memberships(tmp_path, clock=clock)
    made = held.invite(held.create("village"), Terms(minutes=5), URIS)
    clock.wall = NOW_S + 301
    assert held.invited(invitation_id(made.token)) is None
    with pytest.raises(NotAdmitted, match="has run out"):
        await held.join(guest(made))


def test_open_invitations_are_bounded_and_used_up_ones_make_room(tmp_path: Path) -> None:
    clock = FixedClock()
    held = memberships(tmp_path, clock=clock)
    village = held.create("village")
    for _ in range(cooperatives.MAX_INVITATIONS):
        held.invite(village, Terms(), URIS)
    with pytest.raises(UsageError, match="are open already"):
        held.invite(village, Terms(), URIS)
    clock.wall = NOW_S + 3600
    held.invite(village, Terms(), URIS)
    assert len(village.invitations) == 1


async def test_an_admin_invites_and_puts_out_but_makes_no_admins(tmp_path: Path) -> None:
    owner = memberships(tmp_path)
    made = owner.invite(owner.create("village"), Terms((MemberRole.ADMIN, MemberRole.EXECUTE)), URIS)
    admin = memberships(tmp_path / "admin", GUEST)
    village = admin.accept(await owner.join(guest(made)))
    with pytest.raises(UsageError, match="makes admins"):
        admin.invite(village, Terms((MemberRole.ADMIN,)), URIS)
    certificate = admin.issue(village, THIRD.did, Terms())
    assert owner.admit(THIRD.did, [certificate.block]).speaker.cooperatives == (village.did,)
    ended = await admin.revoke(village, THIRD.did)
    await owner.on_revocation(ended.block)
    with pytest.raises(NotAdmitted, match="revoked"):
        owner.admit(THIRD.did, [certificate.block])
    # Taken in again, though the clock stands still.
    assert owner.admit(THIRD.did, [admin.issue(village, THIRD.did, Terms()).block])
    plain = memberships(tmp_path / "plain", THIRD)
    joined = plain.accept(admin.issue(village, THIRD.did, Terms()).block)
    with pytest.raises(UsageError, match="no admin"):
        plain.invite(joined, Terms(), URIS)
    with pytest.raises(UsageError, match="no admin"):
        await plain.revoke(joined, GUEST.did)


async def test_a_certificate_of_a_fast_clock_is_revoked_all_the_same(tmp_path: Path) -> None:
    clock = FixedClock()
    owner = memberships(tmp_path, clock=clock)
    village = owner.create("village")
    clock.wall = NOW_S + 400 * DAY_S
    certificate = owner.issue(village, GUEST.did, Terms())
    clock.wall = NOW_S
    owner.admit(GUEST.did, [certificate.block])
    await owner.revoke(village, GUEST.did)
    with pytest.raises(NotAdmitted, match="revoked"):
        owner.admit(GUEST.did, [certificate.block])


async def test_revocations_outlive_a_restart_and_strangers_tell_none(tmp_path: Path) -> None:
    owner = memberships(tmp_path)
    village = owner.create("village")
    heard: list[Any] = []
    owner.revoked = heard.append
    sealed = await owner.revoke(village, GUEST.did)
    await owner.on_revocation(sealed.block)
    assert heard == [sealed]
    assert cbor.decode(memberships(tmp_path).revocations(0)) == {"blocks": [sealed.block], "next": 1}
    other = memberships(tmp_path / "other", THIRD)
    other.create("elsewhere")
    with pytest.raises(VerificationError, match="none of ours"):
        await other.on_revocation(sealed.block)
    with pytest.raises(UsageError, match="itself"):
        await owner.revoke(village, OWNER.did)


def test_a_clock_that_was_never_set_expires_nothing(tmp_path: Path) -> None:
    clock = FixedClock()
    held = memberships(tmp_path, clock=clock)
    held.create("village")
    clock.wall = NOW_S + 5000 * DAY_S
    assert held.cooperatives() == ()
    assert held.why_void(held.held[0]) == "it has run out"
    clock.source = "unset"
    assert len(held.cooperatives()) == 1
    assert held.admit(OWNER.did, [held.held[0].held.block]).for_s is None


# -- between running nodes


async def fresh(world: World, name: str, **settings: Any) -> Node:
    """A node as `icn-lite up` starts it the first time: in no cooperative of the world's."""
    (world.folder / name / "coops").mkdir(parents=True, exist_ok=True)
    (world.folder / name).chmod(0o700)
    return await world.start(name, **settings)


def knows(node: Node, other: Node) -> bool:
    return any(peer.did == other.shell.did for peer in node.shell.peers.live(node.clock.now_ms()))


async def test_two_fresh_nodes_need_one_invitation(world: World) -> None:
    first = await fresh(world, "first")
    second = await fresh(world, "second", peers=first.shell.endpoints)
    with pytest.raises(PeerError, match="no cooperative of ours"):
        await second.shell.courier.advertise(first.shell.endpoints[0])
    assert first.endpoint.sessions == 0
    made = await command(first, "invite", minutes=5)
    joined = await command(second, "join", uri=made["uri"])
    assert (joined["name"], joined["roles"], joined["state"]) == ("home", ["execute", "submit"], "member")
    await until(second, lambda: knows(second, first))
    await until(first, lambda: knows(first, second))
    assert [row["name"] for row in await command(second, "coops")] == ["home", "home"]
    third = await fresh(world, "third")
    with pytest.raises(PeerError, match="was used"):
        await command(third, "join", uri=made["uri"])


async def test_a_revocation_spreads_from_node_to_node(world: World) -> None:
    """A line: the admin knows one, that one knows the next; the member that is put out speaks with the last."""
    admin = await fresh(world, "admin")
    nodes = [admin]
    for name in ("middle", "last", "gone"):
        before = nodes[-1]
        uri = (await command(admin, "invite"))["uri"]
        node = await fresh(world, name)
        await command(node, "join", uri=uri)
        await world.stop(name)
        for file in (world.folder / name / "coops").rglob("addresses"):
            file.unlink()  # it shall know its neighbour and not who invited it
        (world.folder / name / "node.db").unlink()
        nodes.append(await fresh(world, name, peers=before.shell.endpoints))
        await until(nodes[-1], lambda node=nodes[-1], before=before: knows(node, before) and knows(before, node))
    _, _, last, gone = nodes
    assert not knows(admin, last)
    assert last.endpoint.sessions >= 2
    await command(admin, "coop_revoke", did=str(gone.shell.did))
    await until(last, lambda: not knows(last, gone))
    with pytest.raises(PeerError, match="revoked"):
        await gone.shell.courier.advertise(last.shell.endpoints[0])
    assert not any(link.did == gone.shell.did for link in last.endpoint.channels._links.values())  # type: ignore[union-attr]


async def test_who_was_away_hears_of_it_when_it_is_back(world: World) -> None:
    admin = await fresh(world, "admin")
    made = [await command(admin, "invite") for _ in range(2)]
    away, gone = await fresh(world, "away"), await fresh(world, "gone")
    for node, invitation in ((away, made[0]), (gone, made[1])):
        await command(node, "join", uri=invitation["uri"])
        await until(node, lambda node=node: knows(node, admin))
    await world.stop("away")
    await command(admin, "coop_revoke", did=str(gone.shell.did))
    back = await fresh(world, "away")
    await until(back, lambda: knows(back, admin) and len(back.memberships._ended) == 1)


async def test_open_nodes_speak_with_open_nodes_only(world: World) -> None:
    first = await fresh(world, "first", open=True)
    second = await fresh(world, "second", open=True, peers=first.shell.endpoints)
    await until(second, lambda: knows(second, first))
    assert (await first.status())["open"] is True
    guarded = await world.start("guarded")
    assert (await guarded.status())["open"] is False
    with pytest.raises(PeerError, match="asks for no session"):
        await guarded.shell.courier.advertise(first.shell.endpoints[0])
    with pytest.raises(PeerError, match="Members only"):
        await first.shell.courier.advertise(guarded.shell.endpoints[0])
    for name in ("invite", "join"):
        with pytest.raises(Exception, match="open or offline node"):
            await command(first, name)


async def test_status_tells_what_a_node_belongs_to(world: World) -> None:
    node = await fresh(world, "node")
    (row,) = (await node.status())["cooperatives"]  # type: ignore[union-attr, misc]
    assert row["state"] == "member"  # type: ignore[call-overload, index]
    with pytest.raises(PeerError):
        await node.shell.courier.post(node.shell.endpoints[0], table.REVOCATIONS, b"x")
