"""Cooperatives and who belongs to them: membership certificates, revocations, and what follows from them.

A cooperative is an Ed25519 key, named by its DID. A membership is a document signed by that key, or by a member with
the role `admin`, who then encloses its own membership (`authority`); an admin makes no admins, and no chain is
longer. What an admin gives ends no later than what it has, counts in no other scope, and not before its date. It
names its cooperative, its member, roles, scope, nonce and expiry. A revocation ends every membership that was issued
to a member up to its moment; the cooperative's key revokes anybody, an admin whoever is no admin. What an admin
signed counts as long as the cooperative has not revoked that admin: so the order in which a node hears of things
makes no difference.

Times are claims of the issuers' clocks. Expiry is judged `SKEW_S` late, and not at all where the own clock is unset:
a Pi without a battery clock must not be locked out of its own house. Pure: the time is passed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, ClassVar, Final, TypeAlias

from icn_lite.model.did import Did
from icn_lite.model.document import Sealed, unseal
from icn_lite.model.errors import DocumentError, NotAdmitted, SignatureError, VerificationError
from icn_lite.model.schema import MaxLen
from icn_lite.model.units import EpochS, Nonce

MEMBERSHIP_BYTES: Final = 1_200  # a certificate takes 480, one that an admin issued 1,000
REVOCATION_BYTES: Final = 1_000
MAX_AUTHORITY_BYTES: Final = 600  # a certificate that the cooperative itself signed
FINGERPRINT_BYTES: Final = 16  # nobody finds a second key with the same 128 bits
SKEW_S: Final = 86_400  # a day: wrong time zones and slow clocks are common, and a day more gives little away
VISIT_S: Final = 30 * 86_400  # who was taken in for less is not meant to stay: such a membership isn't renewed
MAX_SHOWN: Final = 2  # certificates in one handshake, so that it stays one datagram
SHOWN_BYTES: Final = 1_120  # of them together: what else stands in its 1,400 takes 266 bytes in a proof, 277 in a grant

Label: TypeAlias = Annotated[str, MaxLen(32, least=1)]
Authority: TypeAlias = Annotated[bytes, MaxLen(MAX_AUTHORITY_BYTES, least=1)]


class MemberRole(Enum):
    """What a member may do."""

    EXECUTE = "execute"  # bid, run shards, hand in receipts
    SUBMIT = "submit"  # announce jobs and give leases
    BRIDGE = "bridge"  # hand on what others signed
    ADMIN = "admin"  # invite and revoke


@dataclass(frozen=True, slots=True)
class Membership:
    """`member` belongs to `cooperative` with these roles until `expires_at`."""

    KIND: ClassVar[str] = "icn-lite/membership/1"
    AUTHOR: ClassVar[str] = "issuer"
    cooperative: Did
    issuer: Did
    member: Did
    name: Label  # the cooperative's, for people
    roles: Annotated[tuple[MemberRole, ...], MaxLen(len(MemberRole), least=1)]
    issued_at: EpochS
    expires_at: EpochS
    nonce: Nonce
    scope: Label | None = None  # the circle within the cooperative in which it counts; without one all of it
    authority: Authority | None = None

    def __post_init__(self) -> None:
        if len(set(self.roles)) != len(self.roles):
            raise DocumentError("roles: each at most once")
        if self.expires_at <= self.issued_at:
            raise DocumentError("expires_at: expected after issued_at")
        if (self.authority is None) != (self.issuer == self.cooperative):
            raise DocumentError("authority: expected exactly where the issuer is not the cooperative itself")


@dataclass(frozen=True, slots=True)
class Revocation:
    """Every membership of `member` that was issued up to `revoked_at` is over."""

    KIND: ClassVar[str] = "icn-lite/revocation/1"
    AUTHOR: ClassVar[str] = "issuer"
    cooperative: Did
    issuer: Did
    member: Did
    revoked_at: EpochS
    nonce: Nonce
    authority: Authority | None = None

    def __post_init__(self) -> None:
        if (self.authority is None) != (self.issuer == self.cooperative):
            raise DocumentError("authority: expected exactly where the issuer is not the cooperative itself")


def fingerprint(cooperative: Did) -> bytes:
    """The short name of a cooperative in an invitation and in file names."""
    return hashlib.sha256(b"icn-lite/cooperative/1" + cooperative.public_key).digest()[:FINGERPRINT_BYTES]


def read_membership(block: bytes) -> Sealed[Membership]:
    """A certificate whose signatures hold up to its cooperative's key; expiry and revocation are not looked at."""
    sealed = unseal(Membership, block, max_bytes=MEMBERSHIP_BYTES)
    held = sealed.document
    if held.authority is not None:
        admin = check_authority(held.authority, held.cooperative, held.issuer)
        if MemberRole.ADMIN in held.roles:
            raise VerificationError("only the cooperative itself makes admins")
        # Else whoever was an admin once could make members for ever, of any circle.
        if held.expires_at > admin.expires_at:
            raise VerificationError(f"expires_at: expected at most {admin.expires_at}, when its admin's own runs out")
        if admin.scope is not None and held.scope != admin.scope:
            raise VerificationError("scope: expected that of the admin who issued it")
    return sealed


def read_revocation(block: bytes) -> Sealed[Revocation]:
    """A revocation whose signatures hold up to its cooperative's key."""
    sealed = unseal(Revocation, block, max_bytes=REVOCATION_BYTES)
    held = sealed.document
    if held.authority is not None:
        admin = check_authority(held.authority, held.cooperative, held.issuer)
        if held.revoked_at > admin.expires_at:
            raise VerificationError(f"revoked_at: expected at most {admin.expires_at}, when its admin's own runs out")
    return sealed


def check_authority(block: bytes, cooperative: Did, issuer: Did) -> Membership:
    """The enclosed certificate of an admin: the cooperative signed it, and it is `issuer`'s."""
    held = unseal(Membership, block, max_bytes=MAX_AUTHORITY_BYTES).document
    if held.cooperative != cooperative or held.authority is not None:
        raise VerificationError("authority: expected a membership that the cooperative itself issued")
    if held.member != issuer or MemberRole.ADMIN not in held.roles:
        raise VerificationError(f"authority: expected {issuer} to be an admin")
    return held


def shown(certificates: Iterable[bytes]) -> tuple[bytes, ...]:
    """As many of these certificates, the first before the others, as one handshake has room for."""
    chosen: list[bytes] = []
    for block in certificates:
        if len(chosen) < MAX_SHOWN and sum(map(len, chosen)) + len(block) <= SHOWN_BYTES:
            chosen.append(block)
    return tuple(chosen)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a peer may do here: the roles of all its memberships that count, and until when."""

    did: Did
    roles: frozenset[MemberRole]
    cooperatives: tuple[Did, ...]
    issued_at: int  # of the latest of them
    expires_at: int  # of the earliest
    admins: frozenset[Did] = frozenset()  # who issued them where it wasn't the cooperative: without them they are over


class Revocations:
    """The revocations that a node knows, bounded; each was read by `read_revocation`."""

    MAX_ISSUERS: Final = 16  # of one cooperative: its key and fifteen admins
    MAX_OF_ISSUER: Final = 512  # far more than leave a local cooperative before their certificates run out

    def __init__(self) -> None:
        self._found: dict[tuple[Did, Did], dict[Did, Sealed[Revocation]]] = {}
        self._heard: dict[int, Sealed[Revocation]] = {}  # by number, in the order in which they were heard
        self._numbers: dict[tuple[Did, Did, Did], int] = {}
        self._next = 0
        self._counts: dict[Did, dict[Did, int]] = {}  # of each issuer in each cooperative

    def __len__(self) -> int:
        return len(self._heard)

    def blocks(self) -> tuple[bytes, ...]:
        """All of them as signed blocks, in the order in which they were heard."""
        return tuple(sealed.block for sealed in self._heard.values())

    def page(self, start: int, most: int) -> tuple[tuple[bytes, ...], int]:
        """Up to `most` blocks from number `start` on, and the number to go on from."""
        numbers = [number for number in self._heard if number >= start][:most]
        return tuple(self._heard[number].block for number in numbers), numbers[-1] + 1 if numbers else self._next

    def add(self, sealed: Sealed[Revocation]) -> bool:
        """Take one in; returns whether it says something new. Raises `VerificationError` beyond the bounds."""
        said = sealed.document
        if self._dismissed(said):
            return False
        of_member = self._found.get((said.cooperative, said.member), {})
        known = of_member.get(said.issuer)
        if known is not None and known.document.revoked_at >= said.revoked_at:
            return False
        if known is None:
            counts = self._counts.setdefault(said.cooperative, {})
            self._check_room(said, counts)
            counts[said.issuer] = counts.get(said.issuer, 0) + 1
        self._found.setdefault((said.cooperative, said.member), of_member)[said.issuer] = sealed
        key = (said.cooperative, said.issuer, said.member)
        self._heard.pop(self._numbers.get(key, -1), None)
        self._heard[self._next] = sealed
        self._numbers[key] = self._next
        self._next += 1
        return True

    def repeats(self, said: Revocation) -> bool:
        """Whether its issuer has revoked its member before, at an earlier moment: then it may do so without end."""
        known = self._found.get((said.cooperative, said.member), {}).get(said.issuer)
        return known is not None and known.document.revoked_at < said.revoked_at

    def _check_room(self, said: Revocation, counts: dict[Did, int]) -> None:
        """The cooperative's own key has room for whatever all others together may have."""
        own = said.issuer == said.cooperative
        most = self.MAX_OF_ISSUER * (self.MAX_ISSUERS if own else 1)
        crowded = not own and said.issuer not in counts and len(counts) >= self.MAX_ISSUERS
        if crowded or counts.get(said.issuer, 0) >= most:
            raise VerificationError(f"{said.issuer} revokes more memberships than are kept")

    def of(self, cooperative: Did) -> tuple[Sealed[Revocation], ...]:
        """Those of one cooperative, in the order in which they were heard."""
        return tuple(sealed for sealed in self._heard.values() if sealed.document.cooperative == cooperative)

    def latest(self, cooperative: Did, member: Did) -> int:
        """The moment up to which somebody's memberships are over, 0 if none was revoked."""
        said = (sealed.document for sealed in self._found.get((cooperative, member), {}).values())
        return max((one.revoked_at for one in said if not self._dismissed(one)), default=0)

    def ends(self, held: Membership) -> bool:
        """Whether a certificate is over, by a revocation of its member or of the admin who issued it."""
        for issuer, sealed in self._found.get((held.cooperative, held.member), {}).items():
            if sealed.document.revoked_at < held.issued_at:
                continue
            if issuer == held.cooperative:
                return True
            if MemberRole.ADMIN not in held.roles and not self._dismissed(sealed.document):
                return True
        return self._dismissed(held)

    def _dismissed(self, said: Membership | Revocation) -> bool:
        """Whether the admin who signed this was revoked by the cooperative itself."""
        if said.authority is None:
            return False
        admin = check_authority(said.authority, said.cooperative, said.issuer)
        sealed = self._found.get((said.cooperative, admin.member), {}).get(said.cooperative)
        return sealed is not None and sealed.document.revoked_at >= admin.issued_at


def expired(held: Membership, now_s: int | None) -> bool:
    """Whether a certificate ran out; `now_s` is None where the own clock is unset."""
    return now_s is not None and now_s > held.expires_at + SKEW_S


def renewable(held: Membership, now_s: int | None) -> bool:
    """Whether it is time for a certificate's successor: its last third has begun. A visit ends as it was meant to."""
    term_s = held.expires_at - held.issued_at
    return now_s is not None and term_s >= VISIT_S and held.expires_at - now_s <= term_s // 3


def standing(
    did: Did, certificates: Sequence[bytes], own: Iterable[Membership], ended: Revocations, now_s: int | None
) -> Standing:
    """What `did` may do at a node with the memberships `own`; raises `NotAdmitted` with the reason if nothing."""
    mine = {held.cooperative: held for held in own}
    counted: list[Membership] = []
    reasons: list[str] = []
    for block in certificates[:MAX_SHOWN]:
        try:
            held = read_membership(block).document
        except (DocumentError, SignatureError, VerificationError) as error:
            reasons.append(error.message)
            continue
        reason = _why_not(did, held, mine.get(held.cooperative), ended, now_s)
        if reason is None:
            counted.append(held)
        else:
            reasons.append(reason)
    if not counted:
        why = "; ".join(reasons) or "no membership was shown"
        # This goes back in the clear: it names nobody.
        raise NotAdmitted(f"not admitted: {why}", hint="ask a member for an invitation: `icn-lite invite`")
    roles = frozenset(role for held in counted for role in held.roles)
    return Standing(
        did,
        roles,
        tuple(held.cooperative for held in counted),
        max(held.issued_at for held in counted),
        min(held.expires_at for held in counted),
        frozenset(held.issuer for held in counted if held.authority is not None),
    )


def _why_not(did: Did, held: Membership, mine: Membership | None, ended: Revocations, now_s: int | None) -> str | None:
    if held.member != did:
        return "the membership is somebody else's"
    if mine is None:
        return "its cooperative is none of ours"
    if expired(held, now_s):
        return "its membership has run out"
    if held.authority is not None and now_s is not None and held.issued_at > now_s + SKEW_S:
        return "its membership is dated in the future"  # which would let it outlive a revocation
    if ended.ends(held):
        return "its membership was revoked"
    if held.scope is not None and mine.scope is not None and held.scope != mine.scope:
        return "its membership counts in another scope"
    return None
