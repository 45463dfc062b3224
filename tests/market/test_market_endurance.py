"""Whether a shard fits what a device has left: at the limit it does, one beyond it doesn't, with the numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from icn_lite.market.endurance import Demand, Reserve, shortfall
from icn_lite.market.match import Refusal
from icn_lite.market.price import Effort
from icn_lite.model.errors import JobErrorCode

EFFORT = Effort(fuel=3_000_000_000, fuel_per_s=300_000_000, energy_mj_per_gfuel=10_000)  # 10 s, 30 J
SHARD = Demand(EFFORT, transfer_bytes=1_000, memory_mib=12)
BATTERY = "a shard takes up to 30 J, the battery has {} J above its floor"
ENOUGH = Reserve(energy_mj=30_000, work_ms=20_000, memory_mib=12, transfer_bytes=1_000)


def test_a_shard_that_just_fits_is_taken() -> None:
    assert shortfall(SHARD, 500, ENOUGH) is None
    assert shortfall(Demand(EFFORT, 1 << 40, 1 << 20), 1, Reserve()) is None


@pytest.mark.parametrize(
    ("reserve", "reason", "sentence", "numbers"),
    [
        (replace(ENOUGH, energy_mj=29_999), "battery", BATTERY.format(29), (30_000, 29_999, "mJ")),
        (replace(ENOUGH, energy_mj=0), "battery", BATTERY.format(0), (30_000, 0, "mJ")),
        (
            replace(ENOUGH, work_ms=19_999, why="22:00 is near"),
            "heat",
            "a shard takes up to 20 s at 500 ‰ duty, the device can go on for 19 s: 22:00 is near",
            (20_000, 19_999, "ms"),
        ),
        (
            replace(ENOUGH, memory_mib=11),
            "memory",
            "a shard takes up to 12 MiB of memory, 11 MiB are free now",
            (12, 11, "MiB"),
        ),
        (
            replace(ENOUGH, transfer_bytes=999),
            "network",
            "a shard moves 1000 bytes, the network policy lets 999 through now",
            (1_000, 999, "bytes"),
        ),
    ],
)
def test_one_less_is_refused_with_the_numbers(
    reserve: Reserve, reason: str, sentence: str, numbers: tuple[int, int, str]
) -> None:
    answer = shortfall(SHARD, 500, reserve)
    assert answer == Refusal(JobErrorCode.RESOURCE_EXHAUSTED, reason, sentence, *numbers)
