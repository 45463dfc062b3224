"""How many requests a peer, and everybody together, may send: token buckets (pure; the caller brings the time).

Strangers, whose addresses may all be invented, share a part of the whole; the rest is left for who was heard before.
A peer here is an address. On loopback it is an address with its port, so that the nodes of one machine don't share
one allowance. The table of peers is bounded: the longest silent is forgotten, and starts with a full bucket again.
"""

from __future__ import annotations

from collections import OrderedDict

from icn_lite.mesh.limits import MeshLimits


class Bucket:
    """`rate` tokens a second, at most `burst` saved."""

    __slots__ = ("_at_s", "_burst", "_rate", "_tokens")

    def __init__(self, rate: int, burst: int, now_s: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._at_s = now_s

    def take(self, now_s: float) -> bool:
        """Whether one more is allowed now."""
        self._fill(now_s)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def reserve(self, now_s: float) -> float:
        """Take one in any case; returns how many seconds to wait until it is due."""
        self._fill(now_s)
        self._tokens -= 1.0
        return max(0.0, -self._tokens / self._rate)

    def _fill(self, now_s: float) -> None:
        self._tokens = min(float(self._burst), self._tokens + max(0.0, now_s - self._at_s) * self._rate)
        self._at_s = now_s


class Gate:
    """Whether a request from a peer is let in."""

    def __init__(self, limits: MeshLimits, now_s: float) -> None:
        self._limits = limits
        self._all = Bucket(limits.requests_per_s, max(limits.burst, limits.requests_per_s), now_s)
        strangers = min(limits.requests_per_s_strangers, limits.requests_per_s)
        self._strangers = Bucket(strangers, max(limits.burst, strangers), now_s)
        self._peers: OrderedDict[str, Bucket] = OrderedDict()

    def admit(self, peer: str, now_s: float, *, stranger: bool = False) -> bool:
        """Count one request of `peer`; its own bucket first, then the strangers', so that none empties everybody's."""
        if not self.peer(peer, now_s).take(now_s) or (stranger and not self._strangers.take(now_s)):
            return False
        return self._all.take(now_s)

    def peer(self, peer: str, now_s: float) -> Bucket:
        """The bucket of one peer."""
        bucket = self._peers.get(peer)
        if bucket is None:
            bucket = self._peers[peer] = Bucket(self._limits.requests_per_s_peer, self._limits.burst, now_s)
            if len(self._peers) > self._limits.peers_tracked:
                self._peers.popitem(last=False)
        else:
            self._peers.move_to_end(peer)
        return bucket


def peer_key(host: str, port: int) -> str:
    """The name of a peer for counting."""
    return f"{host}:{port}" if host.startswith("127.") or host == "::1" else host
