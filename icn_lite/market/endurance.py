"""Whether one shard fits what a device has left: battery, heat, network, and the job's deadline.

The device's forecast arrives as a `Reserve`: how much energy there is above the battery's floor, how long a worker
may go on before heat or the night's hours stop it, how many bytes may still pass. A shard that doesn't fit would end
half-way, which helps nobody and costs the battery all the same, so it is declined with the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from icn_lite.market.match import Refusal
from icn_lite.market.price import PM, Effort
from icn_lite.model.errors import JobErrorCode


@dataclass(frozen=True, slots=True)
class Reserve:
    """What a device can still give; None means that nothing limits it."""

    energy_mj: int | None = None  # millijoules in the battery above its floor; None on mains
    work_ms: int | None = None  # of wall time until heat or closing hours stop guests, by the present forecast
    transfer_bytes: int | None = None  # that the network policy still lets through; 0 where it is metered


def shortfall(shard: Effort, transfer_bytes: int, duty_pm: int, reserve: Reserve) -> Refusal | None:
    """Why one shard doesn't fit; None if it does. `duty_pm` is the present duty, 1 to 1000."""
    needed_ms = -(-shard.busy_ms * PM // duty_pm)
    if reserve.energy_mj is not None and shard.energy_mj > reserve.energy_mj:
        has_j = reserve.energy_mj // 1000
        message = f"a shard takes up to {_up(shard.energy_mj)} J, the battery has {has_j} J above its floor"
        return _no("battery", message)
    if reserve.work_ms is not None and needed_ms > reserve.work_ms:
        message = (
            f"a shard takes up to {_up(needed_ms)} s at {duty_pm} ‰ duty, "
            f"the device can go on for {reserve.work_ms // 1000} s"
        )
        return _no("heat", message)
    if reserve.transfer_bytes is not None and transfer_bytes > reserve.transfer_bytes:
        message = f"a shard moves {transfer_bytes} bytes, the network policy lets {reserve.transfer_bytes} through now"
        return _no("network", message)
    return None


def _up(thousandths: int) -> int:
    """Whole units, rounded up, so that what is needed never reads as what is there."""
    return -(-thousandths // 1000)


def _no(reason: str, message: str) -> Refusal:
    return Refusal(JobErrorCode.NO_EXECUTOR_AVAILABLE, reason, message)
