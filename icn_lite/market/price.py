"""What a job costs and how long it takes, from the numbers of a profile and of the device at this moment.

`quote` is base + energy + wear + opportunity, a margin on top, and a surcharge that grows as the device's headroom
shrinks. Its parts are kept in millionths of a mana, because a shard of a phone costs a fraction of one, and rounded up
once, so that no work is free unless the rates say so. (icn-core's own price stands in `icn_core.py`.)

`paced_ms` is how long work takes under the present duty cycle and the forecast of it.

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
        return busy_ms(self.fuel, self.fuel_per_s)

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


@dataclass(frozen=True, slots=True)
class Pace:
    """The share of time that guests may run: now, and after `lasts_ms`, as the device's heat is forecast."""

    duty_pm: int
    lasts_ms: int | None = None  # None: no change is foreseen
    later_pm: int = PM


def paced_ms(busy_ms: int, pace: Pace) -> int:
    """How long work takes that is `busy_ms` at full duty; rounded up, bounded. Needs a present duty of 1 to 1000.

    Worked example: 90 s of work at a duty of 750 ‰ that heat allows for 40 s are 30 s done by then; at 300 ‰ the
    other 60 s take 200 s: together 240 s.
    """
    if busy_ms < 0 or not 0 < pace.duty_pm <= PM or not 0 <= pace.later_pm <= PM:
        raise ValueError(f"expected busy_ms >= 0 and a duty of 1 to {PM} per mille, found {busy_ms} and {pace}")
    at_once_ms = -(-busy_ms * PM // pace.duty_pm)
    if pace.lasts_ms is None or at_once_ms <= pace.lasts_ms:
        return min(at_once_ms, MAX_COMPLETION_MS)
    if pace.later_pm == 0:
        return MAX_COMPLETION_MS
    left_ms = busy_ms - pace.lasts_ms * pace.duty_pm // PM
    return min(pace.lasts_ms - (-left_ms * PM // pace.later_pm), MAX_COMPLETION_MS)


def busy_ms(fuel: int, fuel_per_s: int) -> int:
    """How long `fuel` takes at a measured rate and full duty; rounded up, bounded; needs a rate > 0."""
    if fuel_per_s <= 0:
        raise ValueError(f"expected a rate above 0, found {fuel_per_s}")
    return min(-(-fuel * 1_000 // fuel_per_s), MAX_COMPLETION_MS)


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
