"""Reputation in parts per million, moved by validation outcomes (`mesh-job-protocol.md` §6.1).

+0.01 for an accepted result, -0.05 for a rejected one, -0.01 for one accepted with dispute; a newcomer starts in the
middle, and it stays between 0 and one. It is a fold over outcomes in the order of their receipts, so anyone who has
the receipts and their verdicts computes the same number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from icn_lite.market.outcome import ValidationOutcome
from icn_lite.model.units import PPM

START_PPM: Final = 500_000
CHANGE_PPM: Final[Mapping[ValidationOutcome, int]] = {
    ValidationOutcome.ACCEPTED: 10_000,
    ValidationOutcome.ACCEPTED_WITH_DISPUTE: -10_000,
    ValidationOutcome.REJECTED: -50_000,
}


def after(reputation_ppm: int, outcome: ValidationOutcome) -> int:
    """The reputation after one more outcome."""
    return max(0, min(PPM, reputation_ppm + CHANGE_PPM[outcome]))


def recompute(outcomes: Iterable[ValidationOutcome], start_ppm: int = START_PPM) -> int:
    """The reputation after a history of outcomes, oldest first."""
    reputation_ppm = start_ppm
    for outcome in outcomes:
        reputation_ppm = after(reputation_ppm, outcome)
    return reputation_ppm
