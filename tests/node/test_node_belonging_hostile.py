"""Belonging against those who want more: who was put out and comes again, and saving while others save."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from test_node_memberships import DAY_S, GUEST, NOW_S, THIRD, URIS, FixedClock, guest, memberships

from icn_lite.model.cose import KeySigner
from icn_lite.model.errors import DeviceRefuses, NotAdmitted, UsageError
from icn_lite.model.invitation import Invitation, invitation_id
from icn_lite.model.membership import MemberRole, read_membership
from icn_lite.node import cooperatives
from icn_lite.node.memberships import REPEATED, Terms


async def test_who_was_put_out_does_not_come_in_again_by_the_same_invitation(tmp_path: Path) -> None:
    owner = memberships(tmp_path)
    village = owner.create("village")
    made = owner.invite(village, Terms(minutes=10_000), URIS)
    await owner.join(guest(made))
    await owner.revoke(village, GUEST.did)
    for held in (owner, memberships(tmp_path)):
        assert held.invited(invitation_id(made.token)) is None
        with pytest.raises(NotAdmitted, match="was used"):
            await held.join(guest(made))
    again = owner.invite(village, Terms(), URIS)  # a new one is another matter
    assert owner.admit(GUEST.did, [await owner.join(guest(again))])
    await owner.join(guest(again))


async def test_whoever_was_revoked_elsewhere_does_not_come_in_again_either(tmp_path: Path) -> None:
    owner = memberships(tmp_path)
    village = owner.create("village")
    admins = owner.invite(village, Terms((MemberRole.ADMIN,)), URIS)
    admin = memberships(tmp_path / "admin", THIRD)
    theirs = admin.accept(await owner.join(guest(admins, THIRD)))
    made = admin.invite(theirs, Terms(minutes=10_000), URIS)
    await admin.join(guest(made))
    await admin.on_revocation((await owner.revoke(village, GUEST.did)).block)
    with pytest.raises(NotAdmitted, match="was used"):
        await admin.join(guest(made))


async def test_what_is_saved_at_the_same_time_is_all_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first save is held up while the others come: neither is a file torn, nor an older state saved last."""
    owner = memberships(tmp_path)
    village = owner.create("village")
    dids = [KeySigner(bytes([n]) * 32).did for n in range(20, 28)]
    real, held_up, go_on, under_way = cooperatives.write_whole, threading.Event(), threading.Event(), []

    def slow(path: Path, data: bytes) -> None:
        under_way.append(path)
        if not held_up.is_set():
            held_up.set()
            assert go_on.wait(20)
        assert len(under_way) == 1, "two write at a time"
        real(path, data)
        under_way.remove(path)

    monkeypatch.setattr(cooperatives, "write_whole", slow)
    tasks = [asyncio.create_task(owner.revoke(village, did)) for did in dids]
    assert await asyncio.to_thread(held_up.wait, 20)
    go_on.set()
    await asyncio.gather(*tasks)
    assert memberships(tmp_path).revocations(0) == owner.revocations(0)
    assert len(memberships(tmp_path).held[0].revocations) == len(dids)


async def test_an_admin_gives_no_more_than_it_has(tmp_path: Path) -> None:
    clock = FixedClock()
    owner = memberships(tmp_path, clock=clock)
    village = owner.create("village")
    made = owner.invite(village, Terms((MemberRole.ADMIN,), "kitchen", 30), URIS)
    admin = memberships(tmp_path / "admin", GUEST, clock)
    theirs = admin.accept(await owner.join(guest(made)))
    given = read_membership(admin.issue(theirs, THIRD.did, Terms()).block).document
    assert (given.scope, given.expires_at) == ("kitchen", NOW_S + 30 * DAY_S)
    with pytest.raises(UsageError, match="in 'kitchen' alone"):
        admin.invite(theirs, Terms(scope="garden"), URIS)
    clock.wall = NOW_S + 32 * DAY_S
    for refused in (lambda: admin.invite(theirs, Terms(), URIS), lambda: admin.issue(theirs, THIRD.did, Terms())):
        with pytest.raises(UsageError, match="run out"):
            refused()
    with pytest.raises(UsageError, match="run out"):
        await admin.revoke(theirs, THIRD.did)


async def test_an_admin_who_was_put_out_by_a_fast_clock_is_taken_in_by_the_key(tmp_path: Path) -> None:
    clock = FixedClock()
    owner = memberships(tmp_path, clock=clock)
    village = owner.create("village")
    made = owner.invite(village, Terms((MemberRole.ADMIN,)), URIS)
    admin = memberships(tmp_path / "admin", GUEST, clock)
    theirs = admin.accept(await owner.join(guest(made)))
    clock.wall = NOW_S + 100 * DAY_S
    ended = await owner.revoke(village, THIRD.did)
    clock.wall = NOW_S
    await admin.on_revocation(ended.block)
    with pytest.raises(UsageError, match="put out up to a later time"):
        admin.issue(theirs, THIRD.did, Terms())
    assert admin.admit(THIRD.did, [owner.issue(village, THIRD.did, Terms()).block])


def test_tokens_stand_in_no_repr(tmp_path: Path) -> None:
    owner = memberships(tmp_path)
    village = owner.create("village")
    made: Invitation = owner.invite(village, Terms(), URIS)
    shown: list[Any] = [made, village, village.invitations]
    assert not any(repr(made.token) in repr(one) for one in shown)


async def test_who_revokes_the_same_again_and_again_is_not_listened_to_for_ever(tmp_path: Path) -> None:
    """Each newer revocation of one member would be a file on the disk and a message to every neighbour."""
    clock = FixedClock()
    owner = memberships(tmp_path, clock=clock)
    village = owner.create("village")
    held = memberships(tmp_path / "guest", GUEST, clock)
    held.accept(owner.issue(village, GUEST.did, Terms()).block)
    told: list[object] = []
    held.revoked = told.append
    refused = 0
    for number in range(REPEATED.burst + 20):
        clock.wall = NOW_S + number
        try:
            await held.on_revocation((await owner.revoke(village, THIRD.did)).block)
        except DeviceRefuses:
            refused += 1
    assert len(told) == REPEATED.burst + 1  # the first one is none that repeats
    assert refused == 19
    other = KeySigner(b"o" * 32).did
    await held.on_revocation((await owner.revoke(village, other)).block)  # others are heard as before
    assert len(told) == REPEATED.burst + 2
