"""icn-core's formulas: their worked examples, their edges, and what they refuse."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.market.icn_core import CAPACITY, mana_after, price_by_reputation, reputation_after

steady = settings(deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("base", "points", "expected"), [(100, 0, 100), (100, 100, 50), (100, 50, 66), (1, 1, 0), (0, 7, 0)]
)
def test_price_by_reputation(base: int, points: int, expected: int) -> None:
    assert price_by_reputation(base, points) == expected


@pytest.mark.parametrize(
    ("points", "cpu_ms", "success", "expected"),
    [(7, 2_500, True, 10), (7, 2_500, False, 4), (0, 999, True, 1), (2, 2_000, False, 0), (5, 0, False, 4)],
)
def test_reputation_moves_by_one_and_the_seconds_of_a_receipt(
    points: int, cpu_ms: int, success: bool, expected: int
) -> None:
    assert reputation_after(points, cpu_ms, success=success) == expected


@pytest.mark.parametrize(
    ("mana", "points", "minutes", "expected"),
    [
        (0, 50, 1, 5),
        (0, 100, 3, 30),
        (0, 0, 10, 10),  # the least tenth
        (0, 10**6, 1, 20),  # the most, twice
        (9_995, 100, 1, CAPACITY),
        (CAPACITY + 7, 100, 60, CAPACITY + 7),  # more was given than regenerates: it stays
        (40, 100, 0, 40),
    ],
)
def test_mana_regenerates_by_reputation(mana: int, points: int, minutes: int, expected: int) -> None:
    assert mana_after(mana, points, minutes) == expected


@given(points=st.integers(0, 10**6), more=st.integers(0, 10**6), minutes=st.integers(0, 10**6))
@steady
def test_more_reputation_is_never_worse(points: int, more: int, minutes: int) -> None:
    assert price_by_reputation(10**6, points + more) <= price_by_reputation(10**6, points)
    assert mana_after(0, points + more, minutes) >= mana_after(0, points, minutes)


def test_less_than_no_reputation_is_refused() -> None:
    for call in (
        lambda: price_by_reputation(1, -1),
        lambda: reputation_after(-1, 0, success=True),
        lambda: mana_after(0, -1, 1),
    ):
        with pytest.raises(ValueError, match="at least 0 points, found -1"):
            call()
