"""Bid scores: `calculate_bid_score` of `mesh-job-protocol.md` §3.2 in parts per million.

score = 0.3 · price + 0.2 · time + 0.3 · reputation + 0.2 · capability, each part 0 to 1 000 000, every division
rounded down. Integers, so that everybody computes the same winner.

Worked example: a budget of 1000 and a price of 400 give 600 000; 30 s of 120 s left give 750 000; a reputation of
500 000; and a node with twice what is asked in every respect gives 666 666. Together 613 333.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from icn_lite.model.bid import Bid, ComputeScore
from icn_lite.model.job import ComputeRequirements, JobSpec
from icn_lite.model.units import PPM

PRICE_WEIGHT: Final = 30  # of 100, §3.2
TIME_WEIGHT: Final = 20
REPUTATION_WEIGHT: Final = 30
CAPABILITY_WEIGHT: Final = 20


@dataclass(frozen=True, slots=True)
class BidScore:
    """The four parts of a score, in parts per million, and the weighted whole."""

    price_ppm: int
    time_ppm: int
    reputation_ppm: int
    capability_ppm: int

    @property
    def total_ppm(self) -> int:
        """The weighted combination, rounded down."""
        weighted = (
            self.price_ppm * PRICE_WEIGHT
            + self.time_ppm * TIME_WEIGHT
            + self.reputation_ppm * REPUTATION_WEIGHT
            + self.capability_ppm * CAPABILITY_WEIGHT
        )
        return weighted // 100


def score_bid(
    bid: Bid, job: JobSpec, *, remaining_ms: int, reputation_ppm: int, proven_fuel_per_s: int | None = None
) -> BidScore:
    """Score a bid; `reputation_ppm` is what the judge knows of the bidder, not what the bid says of itself.

    So is `proven_fuel_per_s`, the speed that a benchmark's receipt shows: where it is known it stands in the place of
    the claimed one, which comes from whatever guest ran last.
    """
    claim = bid.compute_score
    if proven_fuel_per_s is not None:
        claim = replace(claim, fuel_per_s=proven_fuel_per_s)
    return BidScore(
        price_ppm=headroom(bid.price, job.budget.max_total),
        time_ppm=headroom(bid.completion_ms, remaining_ms),
        reputation_ppm=max(0, min(PPM, reputation_ppm)),
        capability_ppm=capability_score(claim, job.compute),
    )


def headroom(used: int, limit: int) -> int:
    """(limit - used) / limit in parts per million, between 0 and one; 0 where there is no limit to stay under."""
    if limit <= 0 or used >= limit:
        return 0
    return (limit - max(used, 0)) * PPM // limit


def capability_score(has: ComputeScore, needs: ComputeRequirements) -> int:
    """`calculate_capability_match`, which the specification leaves open.

    The mean over speed, memory and cores of has / (has + needs): one half where the need is just met, two thirds at
    twice the need, never one, so that a larger machine counts for more but less and less. 0 where a need isn't met.
    """
    speed = -(-needs.max_fuel * 1_000 // max(needs.timeout_ms, 1))  # fuel a second that ends a full shard in time
    pairs = (
        (has.fuel_per_s, speed),
        (has.memory_mb, needs.min_memory_mb),
        (has.cpu_cores, needs.min_cpu_cores),
    )
    # Speed too low is no refusal: max_fuel is a limit that most shards stay far below.
    if any(have < need for have, need in pairs[1:]):
        return 0
    return sum(have * PPM // max(have + need, 1) for have, need in pairs) // len(pairs)
