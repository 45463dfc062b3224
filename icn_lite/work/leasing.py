"""The leases of one job: who holds which shards, what is promised for them, and who gets the next ones.

What is paid and what is reserved for open leases and unjudged results never exceed the job's budget together: a
reserve is made when a shard is leased and ends with its verdict, or when the lease gives the shard up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from icn_lite.market import settle
from icn_lite.market.outcome import ValidationOutcome
from icn_lite.model.did import Did
from icn_lite.model.errors import FailureReason
from icn_lite.model.messages import MAX_LEASE_SHARDS, ShardGrant
from icn_lite.work.originator_events import BidTaken, OfferLease, Terms
from icn_lite.work.shards import ShardPool

MAX_STRIKES: Final = (
    5  # lapsed, refused or returned leases without a receipt in between, before an executor gets no more
)
LEASES_AHEAD: Final = 2  # leases that an executor holds at once: one runs while the next one's input travels
REFUSAL_PAUSE_MS: Final = 1_000  # an executor that refused or returned a lease is asked again after this


@dataclass(slots=True)
class LeaseState:
    """One lease as the originator sees it; `open` are the shards still owed."""

    executor: Did
    grants: dict[int, ShardGrant]
    open: set[int]
    ends_ms: int
    answered: bool = False


@dataclass(slots=True)
class ExecutorState:
    """One chosen executor; `prices` are the shards' parts of its bid, `slashed` what its stake has lost."""

    taken: BidTaken
    prices: tuple[int, ...]
    slashed: int = 0
    strikes: int = 0
    ask_after_ms: int | None = None
    open_leases: int = 0

    @property
    def barred(self) -> bool:
        """Whether it gets no more leases."""
        return self.strikes >= MAX_STRIKES


class LeaseBook:
    """Executors, leases and reserves of one job."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.pool = ShardPool(len(terms.shards), terms.job.copies)
        self.executors: dict[Did, ExecutorState] = {}
        self.leases: dict[bytes, LeaseState] = {}
        self.paid = 0
        self._reserved: list[dict[Did, int]] = [{} for _ in terms.shards]
        self._reserved_total = 0

    @property
    def left(self) -> int:
        """What of the budget is neither paid nor reserved."""
        return self.terms.job.budget.max_total - self.paid - self._reserved_total

    @property
    def busy(self) -> bool:
        """Whether any lease is open."""
        return any(state.open_leases for state in self.executors.values())

    def choose(self, chosen: Iterable[BidTaken]) -> None:
        """Take these bidders as executors."""
        weights = [shard.weight for shard in self.terms.shards]
        for taken in chosen:
            self.executors[taken.bid.bidder] = ExecutorState(taken, settle.shares(taken.bid.price, weights))

    def grant(self, now_ms: int) -> list[OfferLease]:
        """The next lease for every executor with room, within what is left of the budget."""
        willing = {did: state for did, state in self.executors.items() if not state.barred}
        rates = {did: state.taken.bid.compute_score.fuel_per_s for did, state in willing.items()}
        offers: list[OfferLease] = []
        for did, state in willing.items():
            while state.ask_after_ms is None and state.open_leases < LEASES_AHEAD:
                most = min(MAX_LEASE_SHARDS, max(1, state.taken.bid.max_shards))
                indices = self.pool.take(did, self.pool.batch_size(did, rates, most))
                offer = self._lease(did, state, indices, now_ms)
                if offer is None:
                    break
                offers.append(offer)
        return offers

    def _lease(self, executor: Did, state: ExecutorState, indices: list[int], now_ms: int) -> OfferLease | None:
        """A new lease over these shards, as far as the budget reaches."""
        grants: dict[int, ShardGrant] = {}
        for index in indices:
            price = state.prices[index]
            if price > self.left:
                break
            self._reserved[index][executor] = price
            self._reserved_total += price
            grants[index] = ShardGrant(index, self.terms.shards[index].input, price)
        self.pool.release(executor, indices[len(grants) :], may_retry=True)
        if not grants:
            return None
        number = len(self.leases).to_bytes(4, "big")
        nonce = hashlib.sha256(self.terms.job.nonce + number + executor.public_key).digest()[:16]
        state.open_leases += 1
        # Until the answer is in, the lease may have begun any time from now on.
        self.leases[nonce] = LeaseState(executor, grants, set(grants), now_ms + 2 * self.terms.lease_ms)
        return self.offer(nonce)

    def offer(self, nonce: bytes) -> OfferLease:
        """The offer of a lease, the same whenever it is made."""
        lease = self.leases[nonce]
        bid = self.executors[lease.executor].taken.cid
        return OfferLease(nonce, lease.executor, bid, tuple(lease.grants.values()))

    def answered(self, lease: LeaseState, now_ms: int) -> None:
        """The executor accepted: the lease runs from now."""
        if not lease.answered:
            lease.answered = True
            lease.ends_ms = now_ms + self.terms.lease_ms

    def proven(self, lease: LeaseState) -> None:
        """A receipt came: the lease was accepted, even where the answer was lost, and its executor works."""
        lease.answered = True
        self.executors[lease.executor].strikes = 0

    def strike(self, lease: LeaseState, *, may_retry: bool) -> None:
        """The lease came to nothing: all it still owes goes to others."""
        self.executors[lease.executor].strikes += 1
        lease.answered = True
        self.drop(lease, set(lease.open), may_retry=may_retry)

    def pause(self, executor: Did, now_ms: int) -> None:
        """Leave an executor alone for a moment."""
        self.executors[executor].ask_after_ms = now_ms + REFUSAL_PAUSE_MS

    def close(self, lease: LeaseState, shard: int) -> None:
        """The executor owes this shard no longer: it delivered, failed, or gave it up."""
        if shard in lease.open:
            lease.open.discard(shard)
            if not lease.open:
                self.executors[lease.executor].open_leases -= 1

    def drop(self, lease: LeaseState, shards: set[int], *, may_retry: bool) -> None:
        """These shards won't come from this lease: others may have them, and their reserve is free."""
        for shard in sorted(shards):
            self.close(lease, shard)
            self.unreserve(lease.executor, shard)
        self.pool.release(lease.executor, shards, may_retry=may_retry)

    def unreserve(self, executor: Did, shard: int) -> None:
        """Nothing is promised to `executor` for this shard any more."""
        self._reserved_total -= self._reserved[shard].pop(executor, 0)

    def settle(self, shard: int) -> None:
        """The shard has its verdict: nothing is promised for it any more."""
        self.pool[shard].settled = True
        self._reserved_total -= sum(self._reserved[shard].values())
        self._reserved[shard].clear()

    def pay(self, executor: Did, shard: int) -> int:
        """What the shard earns: its part of the bid, or what is left where its lease had been given up before."""
        amount = min(self.left, self.executors[executor].prices[shard])
        self.paid += amount
        return amount

    def slash(self, executor: Did, cause: ValidationOutcome | FailureReason) -> None:
        """Note what the stake loses; it is burnt when the stake ends with the job."""
        state = self.executors[executor]
        state.slashed = min(state.taken.stake, state.slashed + settle.slash_of(state.taken.stake, cause))

    def slashed(self, bidder: Did) -> int:
        """What a bidder's stake has lost."""
        state = self.executors.get(bidder)
        return state.slashed if state else 0


def affordable(chosen: list[BidTaken], copies: int, budget: int) -> list[BidTaken]:
    """The bids to use: the dearest go until the `copies` dearest left can all be paid from the budget."""
    kept = list(chosen)
    while len(kept) >= copies:
        dearest = sorted(kept, key=lambda taken: (-taken.bid.price, taken.cid))[:copies]
        if sum(taken.bid.price for taken in dearest) <= budget:
            return kept
        kept.remove(dearest[0])
    return kept
