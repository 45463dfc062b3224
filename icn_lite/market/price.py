"""What a job costs and how long it takes, from the numbers of a profile.

Two named formulas. `base_price` is ours: a base and a rate a thousand million units of fuel, rounded up, so that no
work is free unless the rates say so. `price_by_reputation` is icn-core's: base · 100 / (100 + reputation), rounded
down; there reputation is a count of points, not a share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from icn_lite.model.job import JobSpec, Sampling
from icn_lite.model.units import MAX_MANA

GIGA: Final = 1_000_000_000
PM: Final = 1_000  # one, in per mille
MAX_COMPLETION_MS: Final = 366 * 86_400_000  # the longest duration that a document holds
SAMPLED_COPIES: Final = 2  # sampled shards may be the heaviest ones: keep enough for every shard twice


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of a profile: mana for taking a job at all, and for each 10^9 units of fuel."""

    base: int
    per_gigafuel: int


def base_price(prices: Prices, fuel: int) -> int:
    """Mana for a job that is expected to use `fuel` in all its shards; rounded up, at most `MAX_MANA`."""
    if fuel < 0:
        raise ValueError(f"expected fuel of at least 0, found {fuel}")
    return min(prices.base + -(-fuel * prices.per_gigafuel // GIGA), MAX_MANA)


def price_by_reputation(base: int, reputation: int) -> int:
    """icn-core's `price_by_reputation`: base · 100 / (100 + reputation), rounded down; reputation in points >= 0."""
    if reputation < 0:
        raise ValueError(f"expected reputation of at least 0 points, found {reputation}")
    return base * 100 // (100 + reputation)


def completion_ms(fuel: int, fuel_per_s: int, duty_pm: int = PM) -> int:
    """How long `fuel` takes at a measured rate and duty cycle (per mille); rounded up, bounded; needs a rate > 0."""
    if fuel_per_s <= 0 or not 0 < duty_pm <= PM:
        raise ValueError(f"expected a rate above 0 and a duty of 1 to {PM} per mille, found {fuel_per_s} and {duty_pm}")
    return min(-(-fuel * 1_000 * PM // (fuel_per_s * duty_pm)), MAX_COMPLETION_MS)


def paid_copies(job: JobSpec) -> int:
    """How many executions of every shard the budget has to cover."""
    return SAMPLED_COPIES if isinstance(job.redundancy, Sampling) else job.copies


def price_limit(job: JobSpec) -> int:
    """The most that one bid may ask.

    A bid's price is for one execution of the whole job and `budget.max_total` covers all of them (§2.1), so the limit
    is the budget by the number of copies, rounded down; the policy's `max_price` may be lower.
    """
    limit = job.budget.max_total // paid_copies(job)
    return limit if job.policy.max_price is None else min(limit, job.policy.max_price)
