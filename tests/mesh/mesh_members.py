"""A cooperative of the tests: keys of known seeds, memberships, and an admission that lives in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from icn_lite.mesh.ports import Admitted, Speaker
from icn_lite.model import cbor
from icn_lite.model.cose import KeySigner
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed, seal
from icn_lite.model.errors import NotAdmitted
from icn_lite.model.membership import (
    MemberRole,
    Membership,
    Revocation,
    Revocations,
    read_membership,
    read_revocation,
    standing,
)

NOW_S = 1_800_000_000
YEAR_S = 366 * 86_400
ALL = tuple(MemberRole)
NONCE = bytes(range(16))


class Dice:
    """Bytes that differ and are the same in every run."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, size: int) -> bytes:
        self.count += 1
        return hashlib.shake_256(self.count.to_bytes(4, "big")).digest(size)


def cooperative(number: int = 0) -> KeySigner:
    """The key of a cooperative."""
    return KeySigner(bytes((0xC0, number)) * 16)


def certificate(
    key: KeySigner,
    member: Did,
    roles: tuple[MemberRole, ...] = ALL,
    *,
    name: str = "village",
    issued_at: int = NOW_S,
    expires_at: int = NOW_S + YEAR_S,
    scope: str | None = None,
) -> Sealed[Membership]:
    """A membership that the cooperative itself signed."""
    return seal(Membership(key.did, key.did, member, name, roles, issued_at, expires_at, NONCE, scope), key)


def revocation(key: KeySigner, member: Did, revoked_at: int = NOW_S) -> Sealed[Revocation]:
    """A revocation that the cooperative itself signed."""
    return seal(Revocation(key.did, key.did, member, revoked_at, NONCE), key)


@dataclass
class Members:
    """An admission with these certificates of its own."""

    signer: KeySigner
    own: list[bytes] = field(default_factory=list)
    ended: Revocations = field(default_factory=Revocations)
    invitations: dict[bytes, tuple[bytes, Did]] = field(default_factory=dict)
    issuer: KeySigner | None = None
    joined: list[Speaker] = field(default_factory=list)
    now_s: int = NOW_S

    def _held(self) -> list[Membership]:
        return [read_membership(block).document for block in self.own]

    def cooperatives(self) -> tuple[Did, ...]:
        return tuple(held.cooperative for held in self._held())

    def certificates(self, shared: Sequence[Did]) -> tuple[bytes, ...]:
        return tuple(block for block in self.own if read_membership(block).document.cooperative in shared)[:2]

    def admit(self, did: Did, certificates: Sequence[bytes]) -> Admitted:
        found = standing(did, certificates, self._held(), self.ended, self.now_s)
        return Admitted(
            Speaker(did, found.roles, found.cooperatives, admins=found.admins), found.expires_at - self.now_s
        )

    def invited(self, invitation: bytes) -> tuple[bytes, Did] | None:
        return self.invitations.get(invitation)

    async def join(self, speaker: Speaker) -> bytes:
        if self.issuer is None:
            raise NotAdmitted("nobody joins here")
        self.joined.append(speaker)
        return certificate(self.issuer, speaker.did).block

    async def renew(self, speaker: Speaker, block: bytes) -> bytes:
        if self.issuer is None:
            raise NotAdmitted("nobody is prolonged here")
        return certificate(self.issuer, speaker.did).block

    async def on_revocation(self, block: bytes) -> None:
        self.ended.add(read_revocation(block))

    def revocations(self, start: int) -> bytes:
        return cbor.encode({"blocks": list(self.ended.blocks()[start:])})


def member(signer: KeySigner, roles: tuple[MemberRole, ...] = ALL, *keys: KeySigner) -> Members:
    """Somebody with a membership of each cooperative, of the first one unless others are named."""
    return Members(signer, [certificate(key, signer.did, roles).block for key in keys or (cooperative(),)])
