"""Who this node belongs with: memberships, invitations and revocations of its cooperatives, as the mesh asks for them.

Implements `mesh.ports.Admission` over the folders of `cooperatives.py`. A change is on disk before it is told to
anybody, but a revocation, which acts at once. Expiry is judged by the wall clock, generously, and not at all where
that was never set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from icn_lite.mesh.limits import REVOCATIONS_PAGE
from icn_lite.mesh.ports import Admitted, Speaker
from icn_lite.model import cbor, cose, document
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import DeviceRefuses, NotAdmitted, NotSupported, UsageError, VerificationError
from icn_lite.model.invitation import MAX_ADDRESSES, Invitation, invitation_id
from icn_lite.model.membership import (
    SKEW_S,
    MemberRole,
    Membership,
    Revocation,
    Revocations,
    expired,
    fingerprint,
    read_membership,
    read_revocation,
    renewable,
    shown,
    standing,
)
from icn_lite.node import cooperatives
from icn_lite.node.clock import Clock
from icn_lite.node.cooperatives import MAX_COOPERATIVES, MAX_INVITATIONS, Cooperative, CooperativeSigner, Invited
from icn_lite.work.quota import Bucket, Quotas

OWN_NAME: Final = "home"  # the cooperative that a node makes for itself when it belongs to none
DAY_S: Final = 86_400
DEFAULT_DAYS: Final = 365
OWN_DAYS: Final = 3650  # of the maker of a cooperative, who holds its key anyway
DEFAULT_MINUTES: Final = 15
MAX_MINUTES: Final = 7 * 24 * 60
WORK_ROLES: Final = (MemberRole.EXECUTE, MemberRole.SUBMIT)
TOKEN_BYTES: Final = 16
MAX_SEEN: Final = 1024
REPEATED: Final = Bucket(128, 1, 60_000)  # newer revocations of whom their issuer has revoked before, of each issuer


@dataclass(frozen=True, slots=True)
class Terms:
    """What an invitation promises, and for how long it may be used."""

    roles: tuple[MemberRole, ...] = WORK_ROLES
    scope: str | None = None
    days: int = DEFAULT_DAYS
    minutes: int = DEFAULT_MINUTES

    def __post_init__(self) -> None:
        if not self.roles:
            raise UsageError("roles: expected at least one", hint="for example --role execute --role submit")
        if not 1 <= self.days <= OWN_DAYS:
            raise UsageError(f"days: expected 1 to {OWN_DAYS}, found {self.days}")
        if not 1 <= self.minutes <= MAX_MINUTES:
            raise UsageError(f"minutes: expected 1 to {MAX_MINUTES}, found {self.minutes}")


class Memberships:
    """The memberships of one home, from its folder `coops`; `random(n)` gives n fresh bytes."""

    def __init__(self, folder: Path, signer: cose.Signer, clock: Clock, random: Callable[[int], bytes]) -> None:
        self.signer = signer
        self._folder = folder
        self._clock = clock
        self._random = random
        self.changed: Callable[[], None] = lambda: None  # what we belong to has changed
        self.revoked: Callable[[Sealed[Revocation]], None] = lambda sealed: None  # heard for the first time
        self._ended = Revocations()
        self._repeats = Quotas(REPEATED)
        self._seen: dict[Did, int] = {}  # when the latest certificate of whoever was here was issued, as it says
        self.held: list[Cooperative] = []

    def load(self) -> None:
        """Read the folder; raises `StoreError` for what can't be read."""
        self.held = cooperatives.load(self._folder, self.signer)
        for held in self.held:
            for sealed in held.revocations:
                self._ended.add(sealed)
        self.renew_own()

    # -- mesh.ports.Admission

    def cooperatives(self) -> tuple[Did, ...]:
        """Those of which our membership counts."""
        return tuple(held.did for held in self._valid())

    def certificates(self, shared: Sequence[Did]) -> tuple[bytes, ...]:
        """Our certificates of these cooperatives."""
        return shown(held.held.block for held in self._valid() if held.did in shared)

    def admit(self, did: Did, certificates: Sequence[bytes]) -> Admitted:
        """What somebody with these certificates may do here, and for how long at most."""
        own = [held.held.document for held in self._valid()]
        now_s = self._now_s()
        found = standing(did, certificates, own, self._ended, now_s)
        self._seen.pop(did, None)
        self._seen[did] = found.issued_at
        if len(self._seen) > MAX_SEEN:
            self._seen.pop(next(iter(self._seen)))
        for_s = None if now_s is None else max(1, found.expires_at + SKEW_S - now_s)
        return Admitted(Speaker(did, found.roles, found.cooperatives, admins=found.admins), for_s)

    def invited(self, invitation: bytes) -> tuple[bytes, Did] | None:
        """The token and the cooperative of an open invitation."""
        found = self._invitation(invitation)
        return (found[1].token, found[0].did) if found is not None else None

    async def join(self, speaker: Speaker) -> bytes:
        """Take in whoever has an invitation. The same one asking twice gets another certificate, nobody else does."""
        found = self._invitation(speaker.invitation or b"")
        if found is None or found[1].member not in (None, speaker.did):
            raise NotAdmitted("the invitation was used, or has run out", hint="ask for a new one: `icn-lite invite`")
        cooperative, invited = found
        used = replace(invited, member=speaker.did)
        given = tuple(used if one is invited else one for one in cooperative.invitations)
        cooperative.invitations = given  # at once: a second one who asks meanwhile finds it used
        sealed = self.issue(cooperative, speaker.did, Terms(invited.roles, invited.scope, invited.days))
        await asyncio.to_thread(cooperative.save_invitations)
        return sealed.block

    async def renew(self, speaker: Speaker, block: bytes) -> bytes:
        """Give a member the successor of its certificate: the same roles, scope and term."""
        held, now_s = read_membership(block).document, self._now_s()
        if held.member != speaker.did:
            raise VerificationError(f"the membership is that of {held.member}, not of {speaker.did}")
        cooperative = next((one for one in self._valid() if one.did == held.cooperative), None)
        if cooperative is None or not self._may_issue(cooperative):
            raise NotSupported(f"this node is no admin of {held.name!r}", hint="ask one that is")
        if self._ended.ends(held) or expired(held, now_s):
            raise NotAdmitted("the membership is over", hint="ask for an invitation: `icn-lite invite`")
        if not renewable(held, now_s):
            raise VerificationError("the membership isn't due: it is a visit's, its last third has not begun, or this "
                                    "node's clock isn't set")  # fmt: skip
        days = min(OWN_DAYS, (held.expires_at - held.issued_at) // DAY_S)
        sealed = self.issue(cooperative, held.member, Terms(held.roles, held.scope, days))
        if sealed.document.expires_at <= held.expires_at:
            raise VerificationError("this node's own membership runs out before that")
        return sealed.block

    async def on_revocation(self, block: bytes) -> None:
        """Somebody tells of a revocation; one of a cooperative that is none of ours is nothing to us."""
        sealed = read_revocation(block)
        if not any(held.did == sealed.document.cooperative for held in self.held):
            raise VerificationError(f"cooperative {sealed.document.cooperative} is none of ours")
        # First ones are bounded by their number. Each is a message to every neighbour and a whole file on the disk.
        again = self._ended.repeats(sealed.document)
        if again and not self._repeats.take(sealed.signer, 1, self._clock.now_ms()):
            raise DeviceRefuses(f"{sealed.signer} revokes the same memberships again and again")
        await self._take_in(sealed)

    def revocations(self, start: int) -> bytes:
        """A page of what we know: `{"blocks": […], "next": number to go on from}`."""
        blocks, after = self._ended.page(start, REVOCATIONS_PAGE)
        return cbor.encode({"blocks": list(blocks), "next": after})

    # -- what the owner does

    def create(self, name: str) -> Cooperative:
        """Make a cooperative, of which this node is the first member and admin."""
        self._check_room()
        if any(held.name == name for held in self.held):
            raise UsageError(f"a cooperative {name!r} is here already", hint="choose another name")
        return self._founded(cooperatives.new_key(), name)

    def take_over(self, key: CooperativeSigner, name: str | None) -> Cooperative:
        """Keep the key of a cooperative that was made elsewhere, and make this node an admin of it by it."""
        known = next((held for held in self.held if held.did == key.did), None)
        if known is None and name is None:
            raise UsageError("the key doesn't say what its cooperative is called", hint="--name NAME")
        if known is None:
            self._check_room()
        if any(held.name == name and held is not known for held in self.held):
            raise UsageError(f"a cooperative {name!r} is here already", hint="choose another name")
        return self._founded(key, known.name if known is not None else name or "")

    def _founded(self, key: CooperativeSigner, name: str) -> Cooperative:
        # Whoever put this node out and then gives it the key has taken it in again.
        now_s = max(self._clock.wall_s(), self._ended.latest(key.did, self.signer.did) + 1)
        sealed = document.seal(
            Membership(
                key.did, key.did, self.signer.did, name, tuple(MemberRole), now_s, now_s + OWN_DAYS * DAY_S,
                self._random(16),
            ),
            key,
        )  # fmt: skip
        made = cooperatives.place(self._folder, sealed, self.signer, key)
        self.held = [*(held for held in self.held if held.did != key.did), made]
        self.changed()
        return made

    def invite(self, cooperative: Cooperative, terms: Terms, uris: Sequence[str]) -> Invitation:
        """Make an invitation that one node may use once."""
        self._check_may_issue(cooperative, terms.roles, terms.scope)
        now_s = self._clock.wall_s()
        open_still = tuple(one for one in cooperative.invitations if one.expires_at > now_s)
        if len(open_still) >= MAX_INVITATIONS:
            raise UsageError(f"{MAX_INVITATIONS} invitations are open already", hint="wait until some have run out")
        token = self._random(TOKEN_BYTES)
        netlocs = tuple(uri.removeprefix("coap://") for uri in uris)[:MAX_ADDRESSES]
        made = Invitation(netlocs, fingerprint(cooperative.did), token, cooperative.name)
        invited = Invited(token, terms.roles, now_s + terms.minutes * 60, terms.days, terms.scope)
        cooperative.invitations = (*open_still, invited)
        cooperative.save_invitations()
        return made

    def issue(self, cooperative: Cooperative, member: Did, terms: Terms) -> Sealed[Membership]:
        """Sign a membership, with the cooperative's key or as its admin."""
        self._check_may_issue(cooperative, terms.roles, terms.scope)
        own = cooperative.held
        # Whoever was put out by a clock that was ahead can be taken in again.
        now_s = max(self._clock.wall_s(), self._ended.latest(cooperative.did, member) + 1)
        until_s = now_s + terms.days * DAY_S
        signer: cose.Signer = self.signer
        authority: bytes | None = own.block
        scope = terms.scope if cooperative.key is not None else terms.scope or own.document.scope
        if cooperative.key is not None:
            signer, authority = cooperative.key, None
        else:
            until_s = min(until_s, own.document.expires_at)
            if now_s > self._clock.wall_s() + SKEW_S or now_s >= until_s:
                raise UsageError(
                    f"{member} was put out up to a later time than an admin's word counts from",
                    hint="let the node that holds the cooperative's key invite it",
                )
        return document.seal(
            Membership(
                cooperative.did, signer.did, member, cooperative.name, terms.roles, now_s, until_s, self._random(16),
                scope, authority,
            ),
            signer,
        )  # fmt: skip

    def accept(self, block: bytes, uris: Sequence[str] = ()) -> Cooperative:
        """Keep a certificate that was issued to this node."""
        sealed = read_membership(block)
        if sealed.document.member != self.signer.did:
            raise VerificationError(f"the membership is that of {sealed.document.member}, not of this node")
        known = next((held for held in self.held if held.did == sealed.document.cooperative), None)
        if known is None:
            self._check_room()
            known = cooperatives.place(self._folder, sealed, self.signer)
            self.held.append(known)
        else:
            known.save_membership(sealed)
        if uris:
            known.save_addresses(tuple(uris))
        self.changed()
        return known

    def due(self) -> list[Cooperative]:
        """Those of which our membership is to be renewed by somebody else."""
        now_s = self._now_s()
        return [held for held in self._valid() if held.key is None and renewable(held.held.document, now_s)]

    def renew_own(self) -> None:
        """Where we hold the cooperative's key we give ourselves a successor."""
        now_s = self._now_s()
        for held in self.held:
            mine = held.held.document
            if held.key is not None and renewable(mine, now_s):
                held.save_membership(self.issue(held, self.signer.did, Terms(mine.roles, mine.scope, OWN_DAYS)))

    async def renewed(self, block: bytes) -> Cooperative:
        """Keep the successor of a certificate of ours; raises for one that is none, or worth less."""
        new = read_membership(block)
        said = new.document
        known = next((held for held in self.held if held.did == said.cooperative), None)
        if said.member != self.signer.did or known is None:
            raise VerificationError("expected a membership of this node in a cooperative of its own")
        old = known.held.document
        if said.expires_at <= old.expires_at or set(said.roles) != set(old.roles) or said.scope != old.scope:
            raise VerificationError("expected the same roles and scope for longer")
        if old.authority is None and said.authority is not None:  # it would be over with its admin's
            raise VerificationError("expected one of the cooperative's own, as the last was")
        await asyncio.to_thread(known.save_membership, new)
        self.changed()
        return known

    async def revoke(self, cooperative: Cooperative, member: Did) -> Sealed[Revocation]:
        """Put a member out, here and, as it spreads, everywhere."""
        self._check_may_issue(cooperative, ())
        if member == self.signer.did:
            raise UsageError("a node can't put itself out", hint=f"to leave, remove {cooperative.folder}")
        signer: cose.Signer = self.signer
        authority: bytes | None = cooperative.held.block
        if cooperative.key is not None:
            signer, authority = cooperative.key, None
        # A certificate that an issuer's fast clock dated in the future is revoked all the same.
        until_s = max(self._clock.wall_s(), self._seen.get(member, 0))
        if authority is not None:
            until_s = min(until_s, cooperative.held.document.expires_at)
        said = Revocation(cooperative.did, signer.did, member, until_s, self._random(16), authority)
        sealed = document.seal(said, signer)
        await self._take_in(sealed)
        return sealed

    def named(self, name: str | None) -> Cooperative:
        """A cooperative by name, DID or fingerprint; without one the only one whose key lies elsewhere."""
        found = [held for held in self.held if held.key is None] if name is None else self._called(name)
        if len(found) != 1:
            known = ", ".join(held.name for held in self.held) or "none"
            raise UsageError("expected one cooperative", hint=f"--coop NAME; this node belongs to: {known}")
        return found[0]

    def _called(self, name: str) -> list[Cooperative]:
        return [held for held in self.held if name in (held.name, str(held.did), fingerprint(held.did).hex())]

    def find(self, name: str | None) -> Cooperative:
        """A cooperative by name, DID or fingerprint; without one the only one that this node may invite to."""
        if name is not None:
            named = self._called(name)
            if len(named) > 1:  # whoever joins somebody's `home` has two of that name
                named = [held for held in named if self._may_issue(held)]
            if len(named) != 1:
                known = ", ".join(held.name for held in self.held) or "none"
                raise UsageError(f"no one cooperative is called {name!r}", hint=f"this node belongs to: {known}")
            return named[0]
        ours = [held for held in self._valid() if self._may_issue(held)]
        if len(ours) > 1:
            ours = [held for held in ours if held.name != OWN_NAME] or ours
        if len(ours) != 1:
            known = ", ".join(held.name for held in ours) or "none"
            raise UsageError(f"this node may invite to {known}", hint="name the cooperative: --coop NAME")
        return ours[0]

    def ensure_one(self) -> None:
        """A node that belongs nowhere makes a cooperative of its own, so that it can invite others."""
        if not self.held:
            self.create(OWN_NAME)

    # -- parts

    async def _take_in(self, sealed: Sealed[Revocation]) -> None:
        if not self._ended.add(sealed):
            return
        said = sealed.document
        held = next(held for held in self.held if held.did == said.cooperative)
        held.revocations = self._ended.of(said.cooperative)
        used = tuple(one for one in held.invitations if one.member == said.member)
        held.invitations = tuple(one for one in held.invitations if one not in used)  # else it would come in again
        self.revoked(sealed)  # a session ends before the disk has answered
        if used:
            await asyncio.to_thread(held.save_invitations)
        await asyncio.to_thread(held.save_revocations)

    def _valid(self) -> list[Cooperative]:
        now_s = self._now_s()
        return [held for held in self.held if not self.why_void(held, now_s)]

    def why_void(self, held: Cooperative, now_s: int | None = None) -> str | None:
        """Why our membership of a cooperative doesn't count, or None if it does."""
        if expired(held.held.document, now_s if now_s is not None else self._now_s()):
            return "it has run out"
        return "it was revoked" if self._ended.ends(held.held.document) else None

    def _now_s(self) -> int | None:
        """The wall clock, or None where it was never set."""
        claim = self._clock.claim()
        return None if claim.source == "unset" else claim.wall_s

    def _invitation(self, invitation: bytes) -> tuple[Cooperative, Invited] | None:
        now_s = self._clock.wall_s()
        for held in self._valid():
            for invited in held.invitations:
                if invitation_id(invited.token) == invitation and invited.expires_at > now_s:
                    return held, invited
        return None

    def _may_issue(self, cooperative: Cooperative) -> bool:
        return cooperative.key is not None or MemberRole.ADMIN in cooperative.held.document.roles

    def _check_may_issue(self, cooperative: Cooperative, roles: Sequence[MemberRole], scope: str | None = None) -> None:
        if not self._may_issue(cooperative):
            raise UsageError(
                f"this node is no admin of {cooperative.name!r}", hint="ask an admin, who can also make you one"
            )
        if MemberRole.ADMIN in roles and cooperative.key is None:
            raise UsageError(
                "only the node that holds the cooperative's key makes admins", hint="leave the role admin out"
            )
        if cooperative.key is not None:
            return
        void = self.why_void(cooperative)
        if void is not None:
            raise UsageError(f"this node's membership of {cooperative.name!r} doesn't count: {void}")
        own = cooperative.held.document.scope
        if own is not None and scope not in (None, own):
            raise UsageError(f"this node is an admin in {own!r} alone", hint=f"leave --scope out, or name {own}")

    def _check_room(self) -> None:
        if len(self.held) >= MAX_COOPERATIVES:
            raise UsageError(f"this node belongs to {MAX_COOPERATIVES} cooperatives already", hint="leave one first")
