"""What an admin's word is worth: no longer and no wider than its own membership, and nothing once it is out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from icn_lite.model.cose import KeySigner
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed, seal
from icn_lite.model.errors import NotAdmitted, VerificationError
from icn_lite.model.membership import (
    SKEW_S,
    MemberRole,
    Membership,
    Revocation,
    Revocations,
    Standing,
    read_membership,
    read_revocation,
    standing,
)

COOP, ADMIN, MEMBER, HERE = (KeySigner(bytes([n]) * 32) for n in (1, 3, 4, 5))
NONCE = bytes(16)
NOW_S, YEAR_S, DAY_S = 1_800_000_000, 366 * 86_400, 86_400


def by_coop(member: Did, role: MemberRole = MemberRole.EXECUTE, **changed: Any) -> Sealed[Membership]:
    held = Membership(COOP.did, COOP.did, member, "village", (role,), NOW_S, NOW_S + YEAR_S, NONCE)
    return seal(replace(held, **changed), COOP)


def by_admin(admin: Sealed[Membership], **changed: Any) -> Sealed[Membership]:
    held = Membership(COOP.did, ADMIN.did, MEMBER.did, "village", (MemberRole.EXECUTE,), NOW_S, NOW_S + YEAR_S, NONCE,
                      authority=admin.block)  # fmt: skip
    return seal(replace(held, **changed), ADMIN)


def admin(**changed: Any) -> Sealed[Membership]:
    return by_coop(ADMIN.did, MemberRole.ADMIN, **changed)


def revoked(member: Did, at: int, by: KeySigner = COOP, authority: bytes | None = None) -> Sealed[Revocation]:
    return seal(Revocation(COOP.did, by.did, member, at, NONCE, authority), by)


def stands(certificate: Sealed[Membership], *ended: Sealed[Revocation], now_s: int | None = NOW_S) -> Standing:
    known = Revocations()
    for sealed in ended:
        known.add(sealed)
    return standing(MEMBER.did, [certificate.block], [by_coop(HERE.did).document], known, now_s)


def test_who_was_an_admin_once_makes_members_no_longer() -> None:
    month = admin(expires_at=NOW_S + 30 * DAY_S)
    assert read_membership(by_admin(month, expires_at=NOW_S + 30 * DAY_S).block)
    with pytest.raises(VerificationError, match="its admin's own runs out"):
        read_membership(by_admin(month, expires_at=NOW_S + 30 * DAY_S + 1).block)
    later = NOW_S + 40 * DAY_S
    with pytest.raises(VerificationError, match="its admin's own runs out"):
        read_membership(by_admin(month, issued_at=later, expires_at=later + YEAR_S).block)


@pytest.mark.parametrize(("given", "holds"), [("kitchen", True), (None, False), ("garden", False)])
def test_an_admin_of_one_circle_makes_members_of_that_one(given: str | None, holds: bool) -> None:
    certificate = by_admin(admin(scope="kitchen"), scope=given)
    if holds:
        assert read_membership(certificate.block)
        return
    with pytest.raises(VerificationError, match="scope"):
        read_membership(certificate.block)
    assert read_membership(by_admin(admin(), scope=given).block)


def test_a_certificate_of_next_year_does_not_outlive_todays_revocation() -> None:
    ahead = by_admin(admin(), issued_at=NOW_S + 300 * DAY_S)
    for ended in ((), (revoked(MEMBER.did, NOW_S + 1),)):
        with pytest.raises(NotAdmitted, match="in the future"):
            stands(ahead, *ended)
    assert stands(by_admin(admin(), issued_at=NOW_S + SKEW_S))
    assert stands(ahead, now_s=None)  # an unset clock can't tell
    assert stands(by_coop(MEMBER.did, issued_at=NOW_S + 300 * DAY_S))  # the cooperative's own word is believed


def test_an_admin_puts_nobody_out_for_longer_than_it_is_one() -> None:
    authority = admin().block
    assert read_revocation(revoked(MEMBER.did, NOW_S + YEAR_S, ADMIN, authority).block)
    with pytest.raises(VerificationError, match="revoked_at"):
        read_revocation(revoked(MEMBER.did, NOW_S + YEAR_S + 1, ADMIN, authority).block)
    assert read_revocation(revoked(MEMBER.did, NOW_S + 2 * YEAR_S).block)


def test_what_a_dismissed_admin_says_is_neither_kept_nor_counted() -> None:
    known = Revocations()
    word = revoked(MEMBER.did, NOW_S + YEAR_S, ADMIN, admin().block)
    assert known.add(word)
    assert known.latest(COOP.did, MEMBER.did) == NOW_S + YEAR_S
    assert known.add(revoked(ADMIN.did, NOW_S + 5))
    assert known.latest(COOP.did, MEMBER.did) == 0
    assert not known.add(revoked(HERE.did, NOW_S + 6, ADMIN, admin().block))
    again = admin(issued_at=NOW_S + 6)  # made an admin anew
    assert known.add(revoked(HERE.did, NOW_S + 6, ADMIN, again.block))
    assert known.of(COOP.did) == known.of(ADMIN.did) + tuple(known._heard.values())


def test_a_standing_names_the_admins_on_whose_word_it_rests_and_a_refusal_names_nobody() -> None:
    assert stands(by_admin(admin())).admins == {ADMIN.did}
    assert stands(by_coop(MEMBER.did)).admins == frozenset()
    for certificate in (by_coop(HERE.did), by_coop(MEMBER.did)):
        with pytest.raises(NotAdmitted) as caught:
            stands(certificate, revoked(MEMBER.did, NOW_S + 1))
        assert "did:key" not in caught.value.message  # it goes back before anything is sealed
        assert "village" not in caught.value.message
