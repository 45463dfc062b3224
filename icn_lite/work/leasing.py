"""The leases of one job: who holds which shards, what is promised for them, and who gets the next ones.

What is paid and what is reserved for open leases and unjudged results never exceed the job's budget together: a
reserve is made when a shard is leased and ends with its verdict, or when the lease gives the shard up. So whoever
keeps its lease is sure of its price; whoever delivers after its lease was given up gets what is left.

Strikes bound how often an executor may waste the originator's time: each lease that came to nothing, each output that
could not be had and each failure of the host is one, each result that counts takes one back.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from icn_lite.market import settle
from icn_lite.market.outcome import ValidationOutcome
from icn_lite.model.did import Did
from icn_lite.model.errors import FailureReason
from icn_lite.model.messages import MAX_LEASE_SHARDS, ShardGrant
from icn_lite.work.originator_events import BidTaken, OfferLease, Terms
from icn_lite.work.shards import ShardPool

MAX_STRIKES: Final = 8  # then an executor gets no more leases of this job: it was away for two minutes
MAX_PAUSE_DOUBLINGS: Final = 5  # half a minute: shorter than the patience of a job that waits for its last executor
LEASES_AHEAD: Final = 2  # leases that an executor holds at once: one runs while the next one's input travels
LEASES_AWAY: Final = 4  # of one that may go out of reach: all that it takes along
REFUSAL_PAUSE_MS: Final = 1_000  # an executor that refused or returned a lease is asked again after this, doubled


@dataclass(slots=True)
class LeaseState:
    """One lease as the originator sees it; `open` are the shards still owed, `taken` the `seq` of each receipt."""

    executor: Did
    grants: dict[int, ShardGrant]
    open: set[int]
    ends_ms: int
    duration_ms: int
    answered: bool = False
    taken: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class ExecutorState:
    """One chosen executor; `prices` are the shards' parts of its bid, `slashed` what its stake has lost.

    `rejected`: one of its results was shown to be false, by a majority or by its own second receipt.
    """

    taken: BidTaken
    prices: tuple[int, ...]
    slashed: int = 0
    strikes: int = 0
    ask_after_ms: int | None = None
    open_leases: int = 0
    rejected: bool = False

    @property
    def barred(self) -> bool:
        """Whether it gets no more leases."""
        return self.rejected or self.strikes >= MAX_STRIKES


class LeaseBook:
    """Executors, leases and reserves of one job."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.pool = ShardPool(len(terms.shards), terms.job.copies)
        self.executors: dict[Did, ExecutorState] = {}
        self.leases: dict[bytes, LeaseState] = {}
        self.paid = 0
        self._reserved: list[dict[Did, int]] = [{} for _ in terms.shards]
        self._owing: list[dict[Did, LeaseState]] = [{} for _ in terms.shards]  # at most one lease an executor
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
            away = state.taken.bid.offline_ms > 0
            ahead = LEASES_AWAY if away else LEASES_AHEAD
            while state.ask_after_ms is None and state.open_leases < ahead:
                most = min(MAX_LEASE_SHARDS, max(1, state.taken.bid.max_shards))
                size = self.pool.batch_size(did, rates, most, all_at_once=away)
                indices = self.pool.take(did, size, functools.partial(self._reserve, did, state))
                if not indices:
                    break
                offers.append(self._lease(did, state, indices, now_ms))
        return offers

    def _reserve(self, executor: Did, state: ExecutorState, shard: int) -> bool:
        """Put a shard's price aside, if the budget still reaches for it."""
        price = state.prices[shard]
        if price > self.left:
            return False
        self._reserved[shard][executor] = price
        self._reserved_total += price
        return True

    def _lease(self, executor: Did, state: ExecutorState, indices: list[int], now_ms: int) -> OfferLease:
        """A new lease over these shards, which it holds and whose prices are reserved."""
        grants = {index: ShardGrant(index, self.terms.shards[index].input, state.prices[index]) for index in indices}
        number = len(self.leases).to_bytes(4, "big")
        nonce = hashlib.sha256(self.terms.job.nonce + number + executor.public_key).digest()[:16]
        duration_ms = self._duration_ms(state.taken.bid.offline_ms, now_ms)
        # Until the answer is in, the lease may have begun at any time for as long as the offer may travel.
        lease = LeaseState(executor, grants, set(grants), now_ms + self.terms.lease_ms + duration_ms, duration_ms)
        state.open_leases += 1
        self.leases[nonce] = lease
        for index in indices:
            self._owing[index][executor] = lease
        return self.offer(nonce)

    def _duration_ms(self, offline_ms: int, now_ms: int) -> int:
        """A lease's duration: longer for who may be out of reach, as far as others still have time after it."""
        spare_ms = self.terms.deadline_ms - now_ms - 2 * self.terms.lease_ms
        return self.terms.lease_ms + max(0, min(offline_ms, spare_ms))

    def offer(self, nonce: bytes) -> OfferLease:
        """The offer of a lease, the same whenever it is made."""
        lease = self.leases[nonce]
        bid = self.executors[lease.executor].taken.cid
        return OfferLease(nonce, lease.executor, bid, tuple(lease.grants.values()), lease.duration_ms)

    def answered(self, lease: LeaseState, now_ms: int) -> None:
        """The executor accepted: the lease runs from now."""
        if not lease.answered:
            lease.answered = True
            lease.ends_ms = now_ms + lease.duration_ms

    def strike(self, executor: Did) -> None:
        """It cost time and brought nothing."""
        self.executors[executor].strikes += 1

    def forgive(self, executor: Did) -> None:
        """It brought a result that counts."""
        state = self.executors[executor]
        state.strikes = max(0, state.strikes - 1)

    def give_up(self, lease: LeaseState, *, may_retry: bool) -> None:
        """The lease came to nothing: all it still owes goes to others."""
        lease.answered = True
        self.drop(lease, set(lease.open), may_retry=may_retry)

    def pause(self, executor: Did, now_ms: int) -> None:
        """Leave an executor alone for a while, the longer the more strikes it has; a pause is one strike.

        What comes during a pause, such as the refusal of its other lease, has the same cause.
        """
        state = self.executors[executor]
        if state.ask_after_ms is not None:
            return
        state.ask_after_ms = now_ms + (REFUSAL_PAUSE_MS << min(state.strikes, MAX_PAUSE_DOUBLINGS))
        state.strikes += 1

    def close(self, executor: Did, shard: int) -> None:
        """The executor owes this shard no longer, under whichever lease: it delivered, failed, or gave it up."""
        lease = self._owing[shard].pop(executor, None)
        if lease is not None:
            lease.open.discard(shard)
            if not lease.open:
                self.executors[executor].open_leases -= 1

    def drop(self, lease: LeaseState, shards: set[int], *, may_retry: bool) -> None:
        """These shards won't come from this lease: others may have them, and their reserve is free."""
        for shard in sorted(shards):
            self.close(lease.executor, shard)
            self.unreserve(lease.executor, shard)
        self.pool.release(lease.executor, shards, may_retry=may_retry)

    def unreserve(self, executor: Did, shard: int) -> None:
        """Nothing is promised to `executor` for this shard any more."""
        self._reserved_total -= self._reserved[shard].pop(executor, 0)

    def settle(self, shard: int) -> frozenset[Did]:
        """The shard has its verdict: nothing is reserved for it any more. Returns for whom something was."""
        self.pool.settle(shard)
        promised = frozenset(self._reserved[shard])
        self._reserved_total -= sum(self._reserved[shard].values())
        self._reserved[shard].clear()
        return promised

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
