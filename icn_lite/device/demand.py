"""What the governor's rules demand, and what it answers: levels, duties, reasons. Pure values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

FULL_DUTY_PM: Final = 1000


class Level(Enum):
    """What may happen, from the most to the least."""

    RUN = "run"
    SLOW = "slow"
    DRAIN = "drain"  # finish what runs, take nothing new
    SUSPEND = "suspend"


STRICTNESS: Final = {level: rank for rank, level in enumerate(Level)}


@dataclass(frozen=True, slots=True)
class Allowance:
    """The governor's answer."""

    level: Level
    duty_pm: int  # share of time that guests may run, in ‰; 0 when suspended
    reasons: tuple[str, ...] = ()
    fetches: bool = True  # whether the network may be used for new work; what was taken needs it no more

    @property
    def may_begin(self) -> bool:
        """Work that was taken may begin."""
        return self.level in (Level.RUN, Level.SLOW)

    @property
    def may_bid(self) -> bool:
        """New work may be taken."""
        return self.may_begin and self.fetches

    @property
    def may_run(self) -> bool:
        """Work that was taken may go on."""
        return self.level is not Level.SUSPEND


@dataclass(frozen=True, slots=True)
class Demand:
    """What one rule wants. `soon`: guests may finish only what ends soon, because every second costs the battery."""

    level: Level
    duty_pm: int
    reason: str
    soon: bool = False
    fetches: bool = True


def suspend(reason: str) -> Demand:
    """Everything stands still."""
    return Demand(Level.SUSPEND, 0, reason)


def slow(duty_pm: int, reason: str) -> Demand:
    """Guests run for a part of the time; never all of it, which would be no demand."""
    return Demand(Level.SLOW, max(0, min(duty_pm, FULL_DUTY_PM - 10)), reason)


def fetch_nothing(reason: str) -> Demand:
    """No new work; what was taken goes on and begins as if nothing were."""
    return Demand(Level.RUN, FULL_DUTY_PM, reason, fetches=False)


def drain(reason: str, *, soon: bool = False) -> Demand:
    """Nothing new; what runs may end, or only if that is soon."""
    return Demand(Level.DRAIN, FULL_DUTY_PM, reason, soon)


def strictest(demands: Sequence[Demand]) -> Allowance:
    """The strictest level and the smallest duty of all demands, with every reason."""
    level = max((demand.level for demand in demands), key=STRICTNESS.__getitem__, default=Level.RUN)
    duty_pm = min((demand.duty_pm for demand in demands), default=FULL_DUTY_PM)
    reasons = tuple(demand.reason for demand in demands if demand.reason)
    return Allowance(level, duty_pm, reasons, all(demand.fetches for demand in demands))
