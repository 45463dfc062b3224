"""Offers and their cookies: how much a node remembers of those who say hello, which is nothing.

An offer's ephemeral key serves everybody who asks within `offer_ms`; the key before it is still good, so an offer
holds for one to two times as long. A cookie is the number of its offer and an HMAC-SHA256, under a secret that dies
with the offer, over the address that asked: a proof that carries it comes from an address that hears us, and only then
is anything expensive computed. Pure: the caller brings time and randomness.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from icn_lite.mesh.handshake import COOKIE_BYTES, MAX_HINTS, Offer
from icn_lite.mesh.noise import Ephemeral, hint
from icn_lite.model.did import Did

KEPT: Final = 2  # the offer that is given out and the one before
_NUMBER_BYTES: Final = 4
_LABEL: Final = b"icn-lite/cookie/1"


@dataclass(frozen=True, slots=True)
class _Generation:
    number: int
    forget_s: float
    ephemeral: Ephemeral
    secret: bytes
    hints: tuple[bytes, ...]

    def cookie(self, address: str) -> bytes:
        number = self.number.to_bytes(_NUMBER_BYTES, "big")
        mac = hmac.digest(self.secret, _LABEL + number + address.encode(), "sha256")
        return number + mac[: COOKIE_BYTES - _NUMBER_BYTES]

    def offer(self, address: str) -> Offer:
        return Offer(self.ephemeral.public, self.cookie(address), self.hints)


class Offers:
    """The offers of one responder; `random(n)` gives n secret bytes."""

    def __init__(self, offer_ms: int, random: Callable[[int], bytes]) -> None:
        self._offer_s = offer_ms / 1000
        self._random = random
        self._kept: list[_Generation] = []
        self._fresh_until_s = 0.0
        self._next = int.from_bytes(random(_NUMBER_BYTES - 1), "big")  # so that a restarted node's numbers differ

    def make(self, address: str, cooperatives: Callable[[], Sequence[Did]], now_s: float) -> Offer:
        """An offer for who asks from `address`; ours are looked up for a new key, not for every hello."""
        self.forget_old(now_s)
        if not self._kept or self._fresh_until_s <= now_s:
            self._begin(cooperatives(), now_s)
        return self._kept[-1].offer(address)

    def renew(self) -> None:
        """What the hints tell has changed: the next who asks gets a new offer; the one before still holds."""
        self._fresh_until_s = 0.0

    def take(self, cookie: bytes, address: str, now_s: float) -> tuple[Offer, Ephemeral] | None:
        """The offer that a cookie belongs to and its key, if it was made for `address` and still holds."""
        self.forget_old(now_s)
        for kept in self._kept:
            if cookie.startswith(kept.number.to_bytes(_NUMBER_BYTES, "big")):
                holds = hmac.compare_digest(cookie, kept.cookie(address))
                return (kept.offer(address), kept.ephemeral) if holds else None
        return None

    def forget_old(self, now_s: float) -> None:
        """A key that no offer uses any more is forgotten: that is what makes the handshake forward secret."""
        self._kept = [kept for kept in self._kept if now_s < kept.forget_s]

    def _begin(self, cooperatives: Sequence[Did], now_s: float) -> None:
        ephemeral = Ephemeral.of(self._random(32))
        hints = tuple(hint(cooperative, ephemeral.public) for cooperative in cooperatives[:MAX_HINTS])
        made = _Generation(self._next, now_s + 2 * self._offer_s, ephemeral, self._random(32), hints)
        self._next = (self._next + 1) % (1 << 8 * _NUMBER_BYTES)
        self._fresh_until_s = now_s + self._offer_s
        self._kept = [*self._kept, made][-KEPT:]
