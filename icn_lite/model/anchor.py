"""`AnchorAck`: an anchor's signed word that it keeps an executor's chain up to one receipt.

It is the only thing that ends a device's duty to keep its receipts: `head` is the receipt with `seq`, and because each
receipt names the one before it, whoever holds them knows by `head` alone which ones are meant, in a forked chain too.
An anchor is a member with the role `bridge` or `admin`, shown by the memberships enclosed, or one that a node's owner
named. Nothing in it runs out: what was kept once is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed, unseal
from icn_lite.model.membership import MAX_SHOWN, MemberRole
from icn_lite.model.parcel import Certificate
from icn_lite.model.receipt import Seq
from icn_lite.model.schema import MaxLen

MAX_ACK_BYTES: Final = 3_072  # two memberships of 1,200 bytes and 400 of our own
ANCHOR_ROLES: Final = frozenset((MemberRole.BRIDGE, MemberRole.ADMIN))


@dataclass(frozen=True, slots=True)
class AnchorAck:
    """`anchor` keeps every receipt of `executor` up to `seq`, the last of which is `head`."""

    KIND: ClassVar[str] = "icn-lite/anchor-ack/1"
    AUTHOR: ClassVar[str] = "anchor"
    anchor: Did
    executor: Did
    seq: Seq
    head: Cid
    certificates: Annotated[tuple[Certificate, ...], MaxLen(MAX_SHOWN)] = ()


def read_ack(block: bytes) -> Sealed[AnchorAck]:
    """A signed acknowledgement; whether its signer is an anchor is for its reader to judge."""
    return unseal(AnchorAck, block, max_bytes=MAX_ACK_BYTES)
