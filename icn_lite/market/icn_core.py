"""icn-core's own formulas, for bridges and for whoever compares: price, reputation and mana by its rules.

They are named here and rule nothing on the local mesh, where `quote` prices, `reputation.after` judges
(`mesh-job-protocol.md` §6.1) and the ledger grants. In icn-core reputation is a count of points from 0 on, not a
share. Read in its source; integers, rounded down as Rust's integer division does.

Worked examples: a price of 100 at a reputation of 50 is 100 · 100 / 150 = 66. A receipt of 2 500 ms moves a reputation
of 7 to 10 if it succeeded (1 + 2 500/1000), to 4 if it failed. At a reputation of 50 a minute gives 10 · 0.5 = 5 mana.
"""

from __future__ import annotations

from typing import Final

PER_MINUTE: Final = 10  # mana that regenerates in a minute at a reputation of 100
LEAST_PCT: Final = 10  # clamp(reputation / 100, 0.1, 2), in percent
MOST_PCT: Final = 200
CAPACITY: Final = 10_000  # mana above which nothing regenerates


def price_by_reputation(base: int, reputation: int) -> int:
    """`price_by_reputation`: base · 100 / (100 + reputation)."""
    _points(reputation)
    return base * 100 // (100 + reputation)


def reputation_after(reputation: int, cpu_ms: int, *, success: bool) -> int:
    """What a receipt makes of a reputation: up or down by 1 + cpu_ms / 1000, never below 0."""
    _points(reputation)
    change = 1 + max(0, cpu_ms) // 1000
    return reputation + change if success else max(0, reputation - change)


def mana_after(mana: int, reputation: int, minutes: int) -> int:
    """What regenerates: 10 · clamp(reputation / 100, 0.1, 2) a minute up to 10 000; more than that is left as it is."""
    _points(reputation)
    share_pct = max(LEAST_PCT, min(MOST_PCT, reputation))
    return max(mana, min(CAPACITY, mana + max(0, minutes) * PER_MINUTE * share_pct // 100))


def _points(reputation: int) -> None:
    if reputation < 0:
        raise ValueError(f"expected reputation of at least 0 points, found {reputation}")
