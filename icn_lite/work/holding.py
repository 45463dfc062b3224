"""Holding: parcels that a relay keeps for a neighbour of its own that is away for a moment.

A parcel that nobody could be handed is kept if its receiver is a neighbour that went silent, and handed over when that
one is back: so a device that has handed in its receipt may leave. Whoever sent it doesn't rely on this: it was told
that nobody was reached, keeps its document in its journal and sends it again. The receiver opens a letter once, so what
comes twice is done once; one that was restarted has forgotten its keys and opens it no more. Kept in memory: so many
parcels, so many bytes, so many of one sender, each as long as its sender said, `KEEP_MS` at most. Pure: time comes in.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from icn_lite.model.cid import Cid
from icn_lite.model.did import Did

KEEP_MS: Final = 300_000  # a restart, a walk round the house; whoever is away for longer is sent to anew


@dataclass(frozen=True, slots=True)
class HoldingBounds:
    """What one node keeps for others; the defaults suit a phone."""

    parcels: int = 64
    parcels_of_sender: int = 8  # a batch of receipts
    size_bytes: int = 256 << 10


@dataclass(frozen=True, slots=True)
class Held:
    """A parcel, `age_ms` old when it came here."""

    id: Cid
    sender: Did
    to: Did
    block: bytes
    age_ms: int
    lifetime_ms: int
    since_ms: int

    def age(self, now_ms: int) -> int:
        """How old it is now."""
        return self.age_ms + max(0, now_ms - self.since_ms)

    def over(self, now_ms: int) -> bool:
        """Whether it is kept no longer."""
        return self.age(now_ms) >= self.lifetime_ms or now_ms - self.since_ms >= KEEP_MS


class Holding:
    """The parcels that one node keeps."""

    def __init__(self, bounds: HoldingBounds | None = None) -> None:
        self._bounds = bounds or HoldingBounds()
        self._held: OrderedDict[Cid, Held] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def keep(self, held: Held, now_ms: int) -> bool:
        """Keep a parcel; the oldest of its sender, then of all, makes room. Returns whether it is kept."""
        self.forget_old(now_ms)
        if held.id in self._held or held.over(now_ms) or len(held.block) > self._bounds.size_bytes:
            return False
        of_sender = [one.id for one in self._held.values() if one.sender == held.sender]
        if len(of_sender) >= self._bounds.parcels_of_sender:
            self._drop(of_sender[0])
        self._held[held.id] = held
        self.size_bytes += len(held.block)
        while len(self._held) > self._bounds.parcels or self.size_bytes > self._bounds.size_bytes:
            self._drop(next(iter(self._held)))
        return True

    def back(self, did: Did, now_ms: int) -> tuple[Held, ...]:
        """A neighbour is here again: what was kept for it, which is let go by this."""
        self.forget_old(now_ms)
        found = tuple(held for held in self._held.values() if held.to == did)
        for held in found:
            self._drop(held.id)
        return found

    def forget_old(self, now_ms: int) -> None:
        """Let go whose time is over."""
        for held in [held for held in self._held.values() if held.over(now_ms)]:
            self._drop(held.id)

    def _drop(self, parcel: Cid) -> None:
        self.size_bytes -= len(self._held.pop(parcel).block)
