"""Whether one shard fits what a device has left: battery, heat, memory, network.

The device's forecast arrives as a `Reserve`: how much energy there is above the battery's floor, how long a worker
may go on before heat or the night's hours stop it, how much memory is free, how many bytes may still pass. A shard that
doesn't fit would end half-way, which helps nobody and costs the battery all the same, so it is declined with both
numbers. Whether the job ends in time is asked of its `Pace` (`price.py`).
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
    memory_mib: int | None = None  # that is free now
    transfer_bytes: int | None = None  # that the network policy still lets through; 0 where it is metered
    why: str = ""  # what stops guests at the end of `work_ms`, for people


@dataclass(frozen=True, slots=True)
class Demand:
    """What one shard asks of a device at most."""

    effort: Effort
    transfer_bytes: int = 0
    memory_mib: int = 0


def shortfall(shard: Demand, duty_pm: int, reserve: Reserve) -> Refusal | None:
    """Why one shard doesn't fit; None if it does. `duty_pm` is the present duty, 1 to 1000."""
    energy_mj, needed_ms = shard.effort.energy_mj, -(-shard.effort.busy_ms * PM // duty_pm)
    if reserve.energy_mj is not None and energy_mj > reserve.energy_mj:
        has_j = reserve.energy_mj // 1000
        message = f"a shard takes up to {_up(energy_mj)} J, the battery has {has_j} J above its floor"
        return _no("battery", message, (energy_mj, reserve.energy_mj, "mJ"))
    if reserve.work_ms is not None and needed_ms > reserve.work_ms:
        message = (
            f"a shard takes up to {_up(needed_ms)} s at {duty_pm} ‰ duty, "
            f"the device can go on for {reserve.work_ms // 1000} s{reserve.why and f': {reserve.why}'}"
        )
        return _no("heat", message, (needed_ms, reserve.work_ms, "ms"))
    if reserve.memory_mib is not None and shard.memory_mib > reserve.memory_mib:
        message = f"a shard takes up to {shard.memory_mib} MiB of memory, {reserve.memory_mib} MiB are free now"
        return _no("memory", message, (shard.memory_mib, reserve.memory_mib, "MiB"))
    if reserve.transfer_bytes is not None and shard.transfer_bytes > reserve.transfer_bytes:
        bytes_left = reserve.transfer_bytes
        message = f"a shard moves {shard.transfer_bytes} bytes, the network policy lets {bytes_left} through now"
        return _no("network", message, (shard.transfer_bytes, bytes_left, "bytes"))
    return None


def _up(thousandths: int) -> int:
    """Whole units, rounded up, so that what is needed never reads as what is there."""
    return -(-thousandths // 1000)


def _no(reason: str, message: str, numbers: tuple[int, int, str]) -> Refusal:
    needed, available, unit = numbers
    return Refusal(JobErrorCode.RESOURCE_EXHAUSTED, reason, message, needed, available, unit)
