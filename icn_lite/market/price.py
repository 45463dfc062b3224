"""What a job costs and how long it takes, from the numbers of a profile and of the device at this moment.

Two named formulas. `quote` is ours: base + energy + wear + opportunity, a margin on top, and a surcharge that grows as
the device's headroom shrinks. Its parts are kept in millionths of a mana, because a shard of a phone costs a fraction
of one, and rounded up once, so that no work is free unless the rates say so. `price_by_reputation` is icn-core's:
base · 100 / (100 + reputation), rounded down; there reputation is a count of points, not a share.

Worked example of `quote`: 3·10^9 fuel at 3·10^8 a second are 10 s; at 10 J for 10^9 fuel they cost 30 J. With 360 000
mana a kWh that is 3 mana of energy, with 720 mana an hour 2 of wear, with 1 440 mana an hour 4 of opportunity; with a
base of 1 together 10. A margin of 100 per mille adds 1. At half headroom and a surge of 1 000 per mille it is half as
much again: 5.5, together 16.5, so the bid asks 17.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from icn_lite.model.job import JobSpec, Sampling
from icn_lite.model.units import MAX_MANA

GIGA: Final = 1_000_000_000
PM: Final = 1_000  # one, in per mille
MICRO: Final = 1_000_000  # parts of a mana
MJ_PER_KWH: Final = 3_600_000_000
MS_PER_HOUR: Final = 3_600_000
MAX_COMPLETION_MS: Final = 366 * 86_400_000  # the longest duration that a document holds
SAMPLED_COPIES: Final = 2  # sampled shards may be the heaviest ones: keep enough for every shard twice


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of a profile (`[price]`): whole mana, shares in per mille."""

    base: int  # for taking a job at all
    energy_per_kwh: int
    wear_per_hour: int  # of one worker at work: what it costs the hardware
    opportunity_per_hour: int  # of one worker at work: what the owner could do with it instead
    margin_pm: int = 0  # on top of all of these
    surge_pm: int = 0  # the surcharge of a device without any headroom; in between it is proportional


@dataclass(frozen=True, slots=True)
class Effort:
    """What a job would ask of a device: `fuel` in all its shards, at `fuel_per_s` of one worker, and the joules."""

    fuel: int
    fuel_per_s: int
    energy_mj_per_gfuel: int  # millijoules for 10^9 fuel, above what the device uses at rest

    @property
    def busy_ms(self) -> int:
        """Milliseconds of one worker at full duty; rounded up."""
        return completion_ms(self.fuel, self.fuel_per_s)

    @property
    def energy_mj(self) -> int:
        """Millijoules; rounded up."""
        return -(-self.fuel * self.energy_mj_per_gfuel // GIGA)


@dataclass(frozen=True, slots=True)
class Quote:
    """The parts of a price, in millionths of a mana."""

    base: int
    energy: int
    wear: int
    opportunity: int
    margin: int
    surge: int

    @property
    def mana(self) -> int:
        """Whole mana, rounded up once, at most `MAX_MANA`."""
        total = self.base + self.energy + self.wear + self.opportunity + self.margin + self.surge
        return min(-(-total // MICRO), MAX_MANA)


def quote(prices: Prices, effort: Effort, headroom_pm: int = PM) -> Quote:
    """What `effort` costs on a device with so much headroom (per mille of what it could still take on)."""
    if effort.fuel < 0 or not 0 <= headroom_pm <= PM:
        raise ValueError(f"expected fuel >= 0 and headroom of 0 to {PM}, found {effort.fuel} and {headroom_pm}")
    base = prices.base * MICRO
    energy = effort.fuel * effort.energy_mj_per_gfuel * prices.energy_per_kwh * MICRO // (GIGA * MJ_PER_KWH)
    wear = effort.busy_ms * prices.wear_per_hour * MICRO // MS_PER_HOUR
    opportunity = effort.busy_ms * prices.opportunity_per_hour * MICRO // MS_PER_HOUR
    costs = base + energy + wear + opportunity
    margin = costs * prices.margin_pm // PM
    surge = (costs + margin) * prices.surge_pm * (PM - headroom_pm) // (PM * PM)
    return Quote(base, energy, wear, opportunity, margin, surge)


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
