"""Memberships that run out are renewed in time: by an admin that is met, by our own key, for nobody who was put out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from node_world import COOPERATIVE, World, command, until
from test_node_memberships import DAY_S, GUEST, NOW_S, OWNER, THIRD, FixedClock, memberships
from test_node_relay import heard_of, line

from icn_lite.mesh import table
from icn_lite.mesh.ports import Speaker
from icn_lite.model import document
from icn_lite.model.errors import NotAdmitted, NotSupported, PeerError, PeerRefused, UsageError, VerificationError
from icn_lite.model.membership import MemberRole, read_membership
from icn_lite.node.cooperatives import Cooperative
from icn_lite.node.memberships import OWN_DAYS, Memberships, Terms

LATE_S = NOW_S + 300 * DAY_S  # in the last third of a year


class Village:
    """A cooperative's maker, an admin of it and a member, all by one clock."""

    def __init__(self, folder: Path, terms: Terms | None = None, *, by_admin: bool = False) -> None:
        self.clock = FixedClock()
        self.owner = memberships(folder / "owner", OWNER, self.clock)
        self.village = self.owner.create("village")
        self.admin = memberships(folder / "admin", THIRD, self.clock)
        block = self.owner.issue(self.village, THIRD.did, Terms((MemberRole.ADMIN,), days=3_000)).block
        self.admins = self.admin.accept(block)
        self.member = memberships(folder / "member", GUEST, self.clock)
        by, cooperative = (self.admin, self.admins) if by_admin else (self.owner, self.village)
        self.held = self.member.accept(by.issue(cooperative, GUEST.did, terms or Terms()).block)

    async def renew(self, by: Memberships) -> Cooperative:
        return await self.member.renewed(await by.renew(Speaker(GUEST.did), self.held.held.block))


async def test_the_successor_has_the_same_roles_and_term_and_lasts_longer(tmp_path: Path) -> None:
    village = Village(tmp_path, Terms((MemberRole.SUBMIT,), "kitchen", 90))
    assert village.member.due() == []
    with pytest.raises(VerificationError, match="isn't due"):
        await village.renew(village.owner)
    village.clock.wall = NOW_S + 61 * DAY_S
    assert village.member.due() == [village.held]
    renewed = (await village.renew(village.owner)).held.document
    assert (renewed.roles, renewed.scope) == ((MemberRole.SUBMIT,), "kitchen")
    assert renewed.expires_at == NOW_S + 151 * DAY_S
    assert village.member.due() == []
    assert memberships(tmp_path / "member", GUEST, village.clock).held[0].held.document == renewed
    assert village.owner.admit(GUEST.did, [village.held.held.block])


async def test_visits_end_as_they_were_meant_to(tmp_path: Path) -> None:
    village = Village(tmp_path, Terms(days=29))
    village.clock.wall = NOW_S + 28 * DAY_S
    assert village.member.due() == []
    with pytest.raises(VerificationError, match="a visit"):
        await village.renew(village.owner)


async def test_who_was_put_out_or_has_run_out_gets_none(tmp_path: Path) -> None:
    village = Village(tmp_path)
    village.clock.wall = LATE_S
    await village.owner.revoke(village.village, GUEST.did)
    with pytest.raises(NotAdmitted, match="is over"):
        await village.renew(village.owner)
    other = Village(tmp_path / "other")
    other.clock.wall = NOW_S + 367 * DAY_S
    with pytest.raises(NotAdmitted, match="is over"):
        await other.renew(other.owner)


async def test_only_admins_renew_and_only_the_key_renews_what_the_key_gave(tmp_path: Path) -> None:
    village = Village(tmp_path)
    village.clock.wall = LATE_S
    with pytest.raises(NotSupported, match="no admin"):
        await village.renew(village.member)
    with pytest.raises(VerificationError, match="cooperative's own"):  # it would be over with that admin
        await village.renew(village.admin)
    assert (await village.renew(village.owner)).held.document.expires_at == LATE_S + 365 * DAY_S


async def test_an_admin_renews_what_an_admin_gave(tmp_path: Path) -> None:
    village = Village(tmp_path, by_admin=True)
    village.clock.wall = LATE_S
    assert (await village.renew(village.admin)).held.document.issuer == THIRD.did
    village.clock.wall = LATE_S + 365 * DAY_S - DAY_S
    assert (await village.renew(village.owner)).held.document.authority is None  # the key's word is worth more


async def test_nobody_gets_anothers_successor_nor_keeps_what_is_worth_less(tmp_path: Path) -> None:
    village = Village(tmp_path)
    village.clock.wall = LATE_S
    with pytest.raises(VerificationError, match="not of"):
        await village.owner.renew(Speaker(THIRD.did), village.held.held.block)
    for terms in (Terms((MemberRole.SUBMIT,)), Terms(scope="kitchen"), Terms(days=1)):
        worse = village.owner.issue(village.village, GUEST.did, terms)
        with pytest.raises(VerificationError, match="for longer"):
            await village.member.renewed(worse.block)
    anothers = village.owner.issue(village.village, OWNER.did, Terms())
    with pytest.raises(VerificationError, match="of this node"):
        await village.member.renewed(anothers.block)


async def test_whose_clock_was_never_set_neither_asks_nor_renews(tmp_path: Path) -> None:
    village = Village(tmp_path)
    village.clock.wall, village.clock.source = LATE_S, "unset"
    assert village.member.due() == []
    with pytest.raises(VerificationError, match="isn't set"):
        await village.renew(village.owner)


def test_who_holds_the_key_renews_itself(tmp_path: Path) -> None:
    clock = FixedClock()
    owner = memberships(tmp_path, OWNER, clock)
    first = owner.create("village").held.document.expires_at
    clock.wall = NOW_S + (OWN_DAYS * 3 // 4) * DAY_S
    again = memberships(tmp_path, OWNER, clock)
    assert again.held[0].held.document.expires_at > first
    assert again.held[0].held.document.roles == tuple(MemberRole)


# -- in running nodes


async def joined(world: World) -> None:
    """A host that made a village, and a guest of it for a year."""
    host = await world.start("host")
    host.memberships.create("village")
    guest_node = await world.start("guest", peers=host.shell.endpoints)
    uri = (await command(host, "invite", coop="village"))["uri"]
    await command(guest_node, "join", uri=uri)


async def test_it_is_renewed_when_an_admin_is_met(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await joined(world)
    host, member = world.nodes["host"], world.nodes["guest"]
    held = next(one for one in member.memberships.held if one.name == "village")
    before = held.held.document.expires_at
    with pytest.raises(PeerRefused, match="isn't due"):
        await command(member, "coop_renew", coop="village")
    wall_s = host.clock.wall_s()
    for node in (host, member):
        monkeypatch.setattr(node.clock, "wall_s", lambda: wall_s + 300 * DAY_S)
    member.shell.peers.wake(member.clock.now_ms())
    member.shell.changed.ring()
    await until(member, lambda: held.held.document.expires_at > before)
    assert held.held.document.authority is None
    assert member.memberships.due() == []


async def test_it_is_asked_for_by_its_owner(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await joined(world)
    host, member = world.nodes["host"], world.nodes["guest"]
    wall_s = host.clock.wall_s()
    for node in (host, member):
        monkeypatch.setattr(node.clock, "wall_s", lambda: wall_s + 300 * DAY_S)
    told = await command(member, "coop_renew", coop="village", of=str(host.shell.did))
    assert told["expires_at"] > wall_s + 600 * DAY_S
    with pytest.raises(UsageError, match="expected a member's DID"):
        await command(member, "coop_renew", coop="village", of="me")
    with pytest.raises(UsageError, match="expected one cooperative"):
        await command(member, "coop_renew", coop="town")
    with pytest.raises(PeerError):
        await command(member, "coop_renew", coop="village", of=str(OWNER.did))


async def test_an_admin_beyond_a_relay_is_asked_in_a_letter(world: World) -> None:
    first, _, last = await line(world, 3)
    await heard_of(first, last)
    with pytest.raises(PeerRefused, match="isn't due"):
        await first.shell.ask(last.shell.did, table.MEMBERSHIP, first.memberships.held[0].held.block)
    held, now_s = first.memberships.held[0].held.document, first.clock.wall_s()
    old = replace(held, roles=(MemberRole.SUBMIT,), issued_at=now_s - 300 * DAY_S, expires_at=now_s + 30 * DAY_S)
    block = await first.shell.ask(last.shell.did, table.MEMBERSHIP, document.seal(old, COOPERATIVE).block)
    said = read_membership(block).document
    assert (said.member, said.issuer, said.roles) == (first.shell.did, last.shell.did, (MemberRole.SUBMIT,))
    assert said.expires_at > old.expires_at
