"""The leaves of a blob from several providers at once: who brings which leaf next (pure; the caller brings the time).

Every provider has `LANES` places and takes leaves in order while there are any. A leaf that a provider failed to
bring goes back with what came of it. When none is left to take, an idle place takes over the leaf that has been under
way longest at another provider, if that takes much longer than leaves usually do: the other's request is given up,
and the leaf goes on from where it ends. So no leaf is ever asked of two providers at a time, and none twice of one
that is only slow, since what is taken over is not taken back before the same time has passed again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.partial import Partial
from icn_lite.model.cid import Cid

LANES: Final = 2  # requests to one provider: one is on its way while the other is being made
SLOW_FACTOR: Final = 3  # a leaf that takes so many times the usual is taken over
SLOW_MIN_S: Final = 0.5  # never before that: a retransmission is no reason
SLOW_UNKNOWN_S: Final = 2.0  # while no leaf has arrived yet
FAILURES: Final = 2 * LANES  # of a provider without a leaf in between; a connection that ends is one for each lane


@dataclass(eq=False, slots=True)
class Leaf:
    """One leaf: how large it is, what has arrived of it."""

    cid: Cid
    size: int
    partial: Partial = field(default_factory=Partial)


@dataclass(slots=True)
class Lane:
    """One place of a provider, with the leaf that it brings."""

    provider: PeerAddress
    leaf: Leaf | None = None  # None too when another lane took it over
    since_s: float = 0.0


class Swarm:
    """What is left to bring, and who brings what."""

    def __init__(self, leaves: list[Leaf], providers: list[PeerAddress]) -> None:
        self._waiting = leaves
        self.left = len(leaves)
        self.lanes = [Lane(provider) for _ in range(LANES) for provider in providers]
        self._failures = dict.fromkeys(providers, 0)
        self._usual_s = 0.0

    def take(self, lane: Lane, now_s: float) -> Leaf | None:
        """The next leaf for an idle lane, or None where it has to wait (until `next_look`) or is not asked any more."""
        if self.out(lane.provider):
            return None
        leaf = self._waiting.pop(0) if self._waiting else self._slowest(lane, now_s)
        if leaf is not None:
            lane.leaf, lane.since_s = leaf, now_s
        return leaf

    def _slowest(self, lane: Lane, now_s: float) -> Leaf | None:
        others = [other for other in self._busy() if other.provider != lane.provider]
        oldest = min(others, key=lambda other: other.since_s, default=None)
        if oldest is None or now_s < oldest.since_s + self.patience_s:
            return None
        leaf, oldest.leaf = oldest.leaf, None
        return leaf

    def next_look(self) -> float | None:
        """When an idle lane may find something to take over; None when there is nothing."""
        since = [lane.since_s for lane in self._busy()]
        return min(since) + self.patience_s if since else None

    @property
    def patience_s(self) -> float:
        """How long a leaf may take before another provider is asked."""
        return max(SLOW_MIN_S, SLOW_FACTOR * self._usual_s) if self._usual_s else SLOW_UNKNOWN_S

    def brought(self, lane: Lane, now_s: float) -> None:
        """The lane's leaf is here and is what it should be."""
        took_s = max(1e-6, now_s - lane.since_s)
        self._usual_s = took_s if not self._usual_s else (3 * self._usual_s + took_s) / 4
        self._failures[lane.provider] = 0
        self.left -= 1
        lane.leaf = None

    def failed(self, lane: Lane, failures: int = 1) -> None:
        """The lane's leaf did not come; `failures` is `FAILURES` when it never will, 0 when nobody is to blame."""
        self._failures[lane.provider] += failures
        if lane.leaf is not None:
            self._waiting.insert(0, lane.leaf)
        lane.leaf = None

    def out(self, provider: PeerAddress) -> bool:
        """Whether a provider is not asked any more."""
        return self._failures[provider] >= FAILURES

    @property
    def over(self) -> bool:
        """Whether everything is here, or nobody is left who could bring the rest."""
        return self.left == 0 or all(self.out(lane.provider) and lane.leaf is None for lane in self.lanes)

    def _busy(self) -> list[Lane]:
        return [lane for lane in self.lanes if lane.leaf is not None]
