"""Whether a shard fits what a device has left: at the limit it does, one beyond it doesn't, with the numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from icn_lite.market.endurance import Reserve, shortfall
from icn_lite.market.match import Refusal
from icn_lite.market.price import Effort
from icn_lite.model.errors import JobErrorCode

SHARD = Effort(fuel=3_000_000_000, fuel_per_s=300_000_000, energy_mj_per_gfuel=10_000)  # 10 s, 30 J
BATTERY = "a shard takes up to 30 J, the battery has {} J above its floor"
ENOUGH = Reserve(energy_mj=30_000, work_ms=20_000, transfer_bytes=1_000)


def test_a_shard_that_just_fits_is_taken() -> None:
    assert shortfall(SHARD, 1_000, 500, ENOUGH) is None
    assert shortfall(SHARD, 1 << 40, 1, Reserve()) is None


@pytest.mark.parametrize(
    ("reserve", "reason", "sentence"),
    [
        (replace(ENOUGH, energy_mj=29_999), "battery", BATTERY.format(29)),
        (replace(ENOUGH, energy_mj=0), "battery", BATTERY.format(0)),
        (
            replace(ENOUGH, work_ms=19_999),
            "heat",
            "a shard takes up to 20 s at 500 ‰ duty, the device can go on for 19 s",
        ),
        (
            replace(ENOUGH, transfer_bytes=999),
            "network",
            "a shard moves 1000 bytes, the network policy lets 999 through now",
        ),
    ],
)
def test_one_less_is_refused_with_the_numbers(reserve: Reserve, reason: str, sentence: str) -> None:
    answer = shortfall(SHARD, 1_000, 500, reserve)
    assert answer == Refusal(JobErrorCode.NO_EXECUTOR_AVAILABLE, reason, sentence)
