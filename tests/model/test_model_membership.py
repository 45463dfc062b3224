"""Cooperatives: whose signature makes a member, what ends a membership, in whatever order it is heard; invitations."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.model import cose, document
from icn_lite.model.bid import Bid
from icn_lite.model.cose import KeySigner
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed, seal
from icn_lite.model.errors import DocumentError, NotAdmitted, SignatureError, UsageError, VerificationError
from icn_lite.model.invitation import Invitation
from icn_lite.model.membership import (
    MAX_SHOWN,
    SKEW_S,
    MemberRole,
    Membership,
    Revocation,
    Revocations,
    fingerprint,
    read_membership,
    read_revocation,
    standing,
)
from icn_lite.model.messages import AssignJobV1, JobAnnouncementV1, JobInterestV1, LeaseReturnV1

COOP, OTHER_COOP, ADMIN, MEMBER, HERE = (KeySigner(bytes([n]) * 32) for n in (1, 2, 3, 4, 5))
NONCE = bytes(16)
NOW_S, YEAR_S = 1_800_000_000, 366 * 86_400
EXECUTE, SUBMIT, ADMINS = (MemberRole.EXECUTE,), (MemberRole.SUBMIT,), (MemberRole.ADMIN,)


def by_coop(member: Did, roles: tuple[MemberRole, ...] = EXECUTE, **changed: Any) -> Sealed[Membership]:
    held = Membership(COOP.did, COOP.did, member, "village", roles, NOW_S, NOW_S + YEAR_S, NONCE)
    return seal(replace(held, **changed), COOP)


def by_admin(member: Did, roles: tuple[MemberRole, ...] = EXECUTE, **changed: Any) -> Sealed[Membership]:
    held = Membership(COOP.did, ADMIN.did, member, "village", roles, NOW_S, NOW_S + YEAR_S, NONCE,
                      authority=by_coop(ADMIN.did, ADMINS).block)  # fmt: skip
    return seal(replace(held, **changed), ADMIN)


def revoked(member: Did, at: int = NOW_S + 10, by: KeySigner = COOP) -> Sealed[Revocation]:
    authority = None if by is COOP else by_coop(by.did, ADMINS).block
    return seal(Revocation(COOP.did, by.did, member, at, NONCE, authority), by)


def may(certificate: Sealed[Membership], *ended: Sealed[Revocation], now_s: int | None = NOW_S, **own: Any) -> bool:
    known = Revocations()
    for sealed in ended:
        known.add(read_revocation(sealed.block))
    try:
        standing(MEMBER.did, [certificate.block], [replace(by_coop(HERE.did).document, **own)], known, now_s)
    except NotAdmitted:
        return False
    return True


def test_the_cooperative_and_its_admins_make_members() -> None:
    for certificate in (by_coop(MEMBER.did), by_admin(MEMBER.did)):
        assert read_membership(certificate.block) == certificate
        assert may(certificate)


def test_whose_word_does_not_count() -> None:
    held = by_coop(MEMBER.did).document
    with pytest.raises(SignatureError):  # signed by somebody else in the cooperative's name
        read_membership(cose.sign(Membership.KIND, document.encode(held), OTHER_COOP))
    with pytest.raises(DocumentError, match="authority"):  # an issuer that encloses nothing
        replace(held, issuer=ADMIN.did)
    with pytest.raises(VerificationError, match="to be an admin"):
        read_membership(by_admin(MEMBER.did, authority=by_coop(ADMIN.did, EXECUTE).block).block)
    with pytest.raises(VerificationError, match="to be an admin"):  # another admin's certificate
        read_membership(by_admin(MEMBER.did, authority=by_coop(HERE.did, ADMINS).block).block)
    with pytest.raises(VerificationError, match="makes admins"):
        read_membership(by_admin(MEMBER.did, ADMINS).block)
    with pytest.raises(VerificationError, match="itself issued"):  # of another cooperative
        read_membership(by_admin(MEMBER.did, cooperative=OTHER_COOP.did).block)


def test_a_chain_is_never_longer_than_one() -> None:
    """An admin's word doesn't make an admin whose word would count."""
    second = by_admin(MEMBER.did, ADMINS)
    assert len(second.block) > 600  # it doesn't even fit
    with pytest.raises(DocumentError):
        by_admin(HERE.did, authority=second.block)


@pytest.mark.parametrize("changed", [{"roles": (*EXECUTE, *EXECUTE)}, {"expires_at": NOW_S}, {"roles": ()}])
def test_certificates_that_can_not_be(changed: dict[str, Any]) -> None:
    with pytest.raises(DocumentError):
        document.encode(replace(by_coop(MEMBER.did).document, **changed)) and by_coop(MEMBER.did, **changed)


def test_expiry_is_judged_late_and_not_by_an_unset_clock() -> None:
    certificate = by_coop(MEMBER.did)
    last_s = NOW_S + YEAR_S + SKEW_S
    assert may(certificate, now_s=last_s)
    assert not may(certificate, now_s=last_s + 1)
    assert may(certificate, now_s=None)
    assert may(certificate, now_s=1)  # a Pi that boots in 1970


def test_a_scope_counts_where_it_is_the_same() -> None:
    kitchen = by_coop(MEMBER.did, scope="kitchen")
    assert may(kitchen)
    assert may(kitchen, scope="kitchen")
    assert not may(kitchen, scope="garden")
    assert may(by_coop(MEMBER.did), scope="garden")


def test_only_own_cooperatives_and_own_certificates_count() -> None:
    assert not may(by_coop(HERE.did))
    assert not may(by_coop(MEMBER.did), cooperative=OTHER_COOP.did, issuer=OTHER_COOP.did)
    with pytest.raises(NotAdmitted, match="no membership was shown"):
        standing(MEMBER.did, [], [by_coop(HERE.did).document], Revocations(), NOW_S)
    many = [by_coop(HERE.did).block] * MAX_SHOWN + [by_coop(MEMBER.did).block]
    with pytest.raises(NotAdmitted):
        standing(MEMBER.did, many, [by_coop(HERE.did).document], Revocations(), NOW_S)


def test_a_revocation_ends_what_was_issued_up_to_it() -> None:
    before, after = by_coop(MEMBER.did), by_coop(MEMBER.did, issued_at=NOW_S + 11)
    for by in (COOP, ADMIN):
        assert not may(before, revoked(MEMBER.did, by=by))
        assert may(after, revoked(MEMBER.did, by=by))
    assert may(before, revoked(HERE.did))


def test_an_admin_revokes_no_admin() -> None:
    admins = by_coop(MEMBER.did, (*EXECUTE, *ADMINS))
    assert may(admins, revoked(MEMBER.did, by=ADMIN))
    assert not may(admins, revoked(MEMBER.did))


EVENTS = (revoked(MEMBER.did, by=ADMIN), revoked(ADMIN.did), revoked(HERE.did, by=ADMIN))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_the_order_of_hearing_makes_no_difference(order: tuple[int, ...]) -> None:
    """What a dismissed admin said and signed doesn't count, whenever it is heard."""
    heard = [EVENTS[index] for index in order]
    assert may(by_coop(MEMBER.did), *heard)
    assert not may(by_admin(MEMBER.did), *heard)


def test_revocations_are_bounded_and_the_cooperatives_own_always_find_room() -> None:
    known = Revocations()
    known.MAX_OF_ISSUER = 4  # type: ignore[misc]
    for number in range(4):
        assert known.add(revoked(Did(bytes([number]) * 32), by=ADMIN))
    with pytest.raises(VerificationError, match="more memberships"):
        known.add(revoked(Did(b"\x77" * 32), by=ADMIN))
    assert known.add(revoked(Did(b"\x77" * 32)))
    assert not known.add(revoked(Did(b"\x77" * 32)))
    assert not known.add(revoked(Did(b"\x77" * 32), at=5))
    assert known.add(revoked(Did(b"\x77" * 32), at=NOW_S + 99))
    assert len(known) == len(known.blocks()) == 5


def test_pages_tell_everything_once_and_what_is_new() -> None:
    known = Revocations()
    for number in range(70):
        known.add(revoked(Did(bytes([number]) * 32)))
    told: list[bytes] = []
    start = 0
    for _ in range(3):
        blocks, start = known.page(start, 32)
        told += blocks
    assert told == list(known.blocks())
    assert known.page(start, 32) == ((), start)
    known.add(revoked(Did(bytes([3]) * 32), at=NOW_S + 50))
    assert known.page(start, 32) == ((known.blocks()[-1],), start + 1)


def test_what_gives_authority_names_whom_what_until_when_and_a_nonce() -> None:
    """Audience, subject, expiry and nonce of every document by which somebody may or must do something."""
    bound = {
        Membership: {"member", "cooperative", "expires_at", "nonce"},
        Revocation: {"member", "cooperative", "revoked_at", "nonce"},  # takes away, for good
        AssignJobV1: {"executor", "job_id", "duration_ms", "nonce"},
        Bid: {"job_originator", "job_id", "valid_ms", "nonce"},
        LeaseReturnV1: {"originator", "job_id", "lease", "nonce"},  # as long as its lease
        JobAnnouncementV1: {"originator", "job", "bidding_ms", "nonce"},  # to everybody
        JobInterestV1: {"originator", "job_id", "nonce"},  # binds nobody
    }
    for cls, names in bound.items():
        assert names <= {field.name for field in fields(cls)}, cls
    assert len({cls.KIND for cls in bound}) == len(bound)  # type: ignore[attr-defined]


@pytest.mark.parametrize("cls", [Membership, Revocation, Bid])
def test_a_signature_of_one_kind_is_none_of_another(cls: type) -> None:
    sealed = by_coop(MEMBER.did) if cls is not Membership else revoked(MEMBER.did)
    with pytest.raises(SignatureError, match="expected a document of kind"):
        document.unseal(cls, sealed.block)
    relabelled = cose.sign(cls.KIND, document.encode(sealed.document), COOP)  # type: ignore[attr-defined]
    with pytest.raises((DocumentError, SignatureError)):
        document.unseal(cls, relabelled)


# -- invitations

names = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=32).filter(str.isprintable)
netlocs = st.sampled_from(["10.0.0.1:5683", "[fe80::1]:1", "[2001:db8::2]:65535", "pi.local:5683"])


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.lists(netlocs, min_size=1, max_size=3), st.binary(min_size=16, max_size=16), names)
def test_invitations_round_trip(addresses: list[str], token: bytes, name: str) -> None:
    made = Invitation(tuple(addresses), fingerprint(COOP.did), token, name)
    assert Invitation.parse(made.format()) == made
    assert made.uris[0] == f"coap://{addresses[0]}"


GOOD = Invitation(("10.0.0.1:5683",), fingerprint(COOP.did), bytes(range(16)), "village").format()


@pytest.mark.parametrize(
    "uri",
    [
        "", "icn://", GOOD.replace("icn:", "http:"), GOOD.replace("/join", "/other"), GOOD.replace("&n=village", ""),
        GOOD.replace("t=AAEC", "t=AAE"), GOOD.replace("t=", "x="), GOOD + "&t=AAECAwQFBgcICQoLDA0ODw", GOOD + "#x",
        GOOD.replace(":5683", ""), GOOD.replace(":5683", ":0"), GOOD.replace(":5683", ":99999"),
        GOOD.replace("10.0.0.1", "a@b"), GOOD + "&a=10.0.0.2:1" * 4, GOOD.replace("village", "v" * 33),
        GOOD.replace("village", "%0A"), GOOD + "x" * 500, GOOD.replace("t=AAEC", "t=AA!C"),
    ],
)  # fmt: skip
def test_uris_that_are_no_invitation(uri: str) -> None:
    with pytest.raises(UsageError) as caught:
        Invitation.parse(uri)
    assert "AAECAwQ" not in caught.value.message  # the token is nobody's to read in a log
