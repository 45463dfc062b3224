"""Whose acknowledgements count here, and acknowledging what this node keeps.

An anchor is somebody whom the owner named (`anchors`), or a member of a cooperative of ours with the role `bridge` or
`admin`, shown by the memberships that its acknowledgement brings. A node acts as an anchor only where its owner said so
(`anchor`): it then promises to keep what it acknowledges. What it holds itself is acknowledged up to the last receipt
before which nothing is missing, of a forked chain every branch.
"""

from __future__ import annotations

from typing import Final

from icn_lite.model import cose, document
from icn_lite.model.anchor import ANCHOR_ROLES, AnchorAck
from icn_lite.model.did import Did
from icn_lite.model.errors import NotAdmitted
from icn_lite.node.memberships import Memberships
from icn_lite.store.db import Store

MAX_SIGNED: Final = 256  # acknowledgements in one go, 44 µs each; the next go has the others


class Anchors:
    """One node's view of anchors."""

    def __init__(self, named: frozenset[Did], memberships: Memberships | None) -> None:
        self._named = named
        self._memberships = memberships

    def counts(self, ack: AnchorAck) -> bool:
        """Whether an acknowledgement, whose signature holds, is an anchor's."""
        if ack.anchor in self._named:
            return True
        if self._memberships is None:
            return False
        try:
            admitted = self._memberships.admit(ack.anchor, ack.certificates)
        except NotAdmitted:
            return False
        return not ANCHOR_ROLES.isdisjoint(admitted.speaker.roles)

    def certificates(self) -> tuple[bytes, ...]:
        """What our own acknowledgements bring."""
        own = self._memberships
        return own.certificates(own.cooperatives()) if own is not None else ()


def acknowledge(store: Store, signer: cose.Signer, certificates: tuple[bytes, ...]) -> int:
    """Sign for whatever is complete here and not yet signed for; returns for how many heads. In one transaction."""
    signed = 0
    for executor, _, _, _ in store.chains.parts():
        before = store.acks.furthest(signer.did, executor)
        known = set(store.acks.heads_of(signer.did, executor))
        for seq, head in store.chains.tips(executor, before):
            if head in known or signed == MAX_SIGNED:
                continue
            ack = AnchorAck(signer.did, executor, seq, head, certificates)
            signed += store.acks.put(document.seal(ack, signer))
    return signed
