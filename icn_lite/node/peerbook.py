"""Who the neighbours are: every source proposes, a greeting decides.

A candidate (from mDNS, a question to the link, a directory, an invitation, the configuration, memory, or a message that
came in) is greeted with our signed
advertisement; its own, signed, is the answer that makes it a peer. Peers are greeted again while they live, which is
the heartbeat; one that stays silent is kept, tried ever more rarely, and forgotten when room is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.messages import CapabilityAdvertisementV1
from icn_lite.store.peers import Found

MAX_PEERS: Final = 256  # neighbours of one local mesh; each takes about 2 kB
MAX_CANDIDATES: Final = 256  # URIs waiting for their greeting
MAX_PROVEN: Final = 4  # addresses of one peer that answered, before those that it claims: each may cost a deadline
HEARTBEAT_MS: Final = 30_000
FIRST_RETRY_MS: Final = 1_000
LAST_RETRY_MS: Final = 300_000  # a silent peer is asked every five minutes at last
LIVE_MS: Final = 3 * HEARTBEAT_MS  # unheard for so long, a peer doesn't count as here


@dataclass(slots=True)
class Peer:
    """A neighbour as known now; times are the node's milliseconds."""

    did: Did
    advert: CapabilityAdvertisementV1
    block: bytes
    endpoints: tuple[str, ...]
    found: Found
    heard_ms: int
    rtt_ms: int | None = None


@dataclass(slots=True)
class Candidate:
    """A URI that somebody proposed."""

    uri: str
    found: Found
    next_ms: int
    silent: int = 0
    did: Did | None = None


@dataclass(slots=True)
class PeerBook:
    """Peers and candidates of one node; pure, the node does the greeting."""

    own: Did
    peers: dict[Did, Peer] = field(default_factory=dict)
    candidates: dict[str, Candidate] = field(default_factory=dict)

    def propose(self, uris: Iterable[str], found: Found, now_ms: int) -> None:
        """Take note of where a node may be; a known URI is greeted again soon."""
        for uri in uris:
            known = self.candidates.get(uri)
            if known is not None:
                known.next_ms = min(known.next_ms, now_ms + (0 if known.did is None else HEARTBEAT_MS))
            elif len(self.candidates) < MAX_CANDIDATES or self._forget_one():
                self.candidates[uri] = Candidate(uri, found, now_ms)

    def hurry(self, now_ms: int) -> None:
        """Whoever was silent may answer now: all candidates without a peer are tried again at once."""
        for candidate in self.candidates.values():
            if candidate.did is None:
                candidate.next_ms, candidate.silent = now_ms, 0

    def wake(self, now_ms: int) -> None:
        """This machine moved or slept: everybody is greeted again, and whoever was silent there may answer here."""
        for candidate in self.candidates.values():
            candidate.next_ms, candidate.silent = now_ms, 0

    def due(self, now_ms: int, most: int) -> list[Candidate]:
        """Up to `most` candidates to greet now; their next turn is set as if they stayed silent."""
        chosen = [candidate for candidate in self.candidates.values() if candidate.next_ms <= now_ms][:most]
        for candidate in chosen:
            candidate.next_ms = now_ms + min(LAST_RETRY_MS, FIRST_RETRY_MS << min(candidate.silent, 16))
            candidate.silent += 1
        return chosen

    def next_ms(self) -> int | None:
        """When the next greeting falls due, or None when nobody is to be greeted."""
        return min((candidate.next_ms for candidate in self.candidates.values()), default=None)

    def greeted(self, uri: str, sealed: Sealed[CapabilityAdvertisementV1], now_ms: int, rtt_ms: int) -> bool:
        """A greeting was answered; returns whether this address is proven for the first time."""
        candidate = self.candidates.get(uri)
        if candidate is None:
            return False
        if sealed.signer == self.own:
            del self.candidates[uri]  # our own address, heard back
            return False
        first = candidate.did != sealed.signer
        candidate.silent, candidate.did, candidate.next_ms = 0, sealed.signer, now_ms + HEARTBEAT_MS
        known = self.peers.get(sealed.signer)
        if known is not None:  # the answer to our own greeting is fresh, whatever its clock says
            known.advert, known.block = sealed.document, sealed.block
        self.heard(sealed, (uri,), candidate.found, now_ms)
        peer = self.peers.get(sealed.signer)
        if peer is not None:
            peer.rtt_ms = rtt_ms
            if peer.found is Found.MET:
                peer.found = candidate.found
        return first and peer is not None

    def heard(
        self, sealed: Sealed[CapabilityAdvertisementV1], proven: tuple[str, ...], found: Found, now_ms: int
    ) -> bool:
        """An advertisement came in; `proven` are addresses that answered. Returns whether this peer is new."""
        advert = sealed.document
        if sealed.signer == self.own:
            return False
        known = self.peers.get(sealed.signer)
        if known is None:
            if len(self.peers) >= MAX_PEERS and not self._drop_silent(now_ms):
                return False
            endpoints = tuple(dict.fromkeys((*proven, *advert.endpoints)))
            self.peers[sealed.signer] = Peer(sealed.signer, advert, sealed.block, endpoints, found, now_ms)
            return True
        known.heard_ms = max(known.heard_ms, now_ms)
        if advert.seq >= known.advert.seq:
            known.advert, known.block = advert, sealed.block
        tried = (*proven, *(uri for uri in known.endpoints if self._answers(uri, sealed.signer)))
        known.endpoints = tuple(dict.fromkeys((*tried[:MAX_PROVEN], *known.advert.endpoints)))
        return False

    def _answers(self, uri: str, did: Did) -> bool:
        """Whether this peer answered at this address when it was greeted there last."""
        candidate = self.candidates.get(uri)
        return candidate is not None and candidate.did == did

    def live(self, now_ms: int) -> list[Peer]:
        """Peers heard of lately."""
        return [peer for peer in self.peers.values() if now_ms - peer.heard_ms < LIVE_MS]

    def endpoints(self, did: Did) -> tuple[str, ...]:
        """Where a peer is reached, proven addresses first."""
        peer = self.peers.get(did)
        return peer.endpoints if peer else ()

    def _forget_one(self) -> bool:
        """Make room among the candidates: the most silent one goes, a configured one never."""
        idle = [candidate for candidate in self.candidates.values() if candidate.found is not Found.STATIC]
        if not idle:
            return False
        del self.candidates[max(idle, key=lambda candidate: candidate.silent).uri]
        return True

    def _drop_silent(self, now_ms: int) -> bool:
        silent = [peer for peer in self.peers.values() if now_ms - peer.heard_ms >= LIVE_MS]
        if not silent:
            return False
        del self.peers[min(silent, key=lambda peer: peer.heard_ms).did]
        return True
