"""Pauses between tries: each about twice the last one, drawn at random so that many bridges don't come back at once.

"Full jitter": the pause is drawn evenly between a floor and the doubled bound. The randomness is passed in.
"""

from __future__ import annotations

from random import Random
from typing import Final

FIRST_MS: Final = 500
LAST_MS: Final = 60_000  # a hub that was away for a day is found again within a minute
_FLOOR: Final = 4  # no pause is shorter than this part of its bound, so that a try never follows at once


class Backoff:
    """The pauses of one connection."""

    def __init__(self, random: Random, first_ms: int = FIRST_MS, last_ms: int = LAST_MS) -> None:
        self._random = random
        self._first_ms = first_ms
        self._last_ms = last_ms
        self._failures = 0

    def failed_ms(self) -> int:
        """One more try failed: how long to wait."""
        bound_ms = min(self._last_ms, self._first_ms << min(self._failures, 16))
        self._failures += 1
        return self._random.randint(bound_ms // _FLOOR, bound_ms)

    def succeeded(self) -> None:
        """The next pause is the first again."""
        self._failures = 0
