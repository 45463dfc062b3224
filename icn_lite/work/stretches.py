"""Arithmetic of sequence numbers: which stretches of a chain are held, and which of them somebody else lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from icn_lite.model.sync import MAX_GAPS, Head, Stretch

Stretches: TypeAlias = tuple[Stretch, ...]  # in ascending order, apart from each other


def held(head: Head | None) -> Stretches:
    """What a head says that its node has. Where it may have more gaps than it tells, what follows is left out."""
    if head is None:
        return ()
    end = head.next if len(head.gaps) < MAX_GAPS else head.gaps[-1].end
    return without((Stretch(0, end),), head.gaps)


def without(stretches: Sequence[Stretch], taken: Sequence[Stretch]) -> Stretches:
    """What is in `stretches` and not in `taken`; both in ascending order."""
    left: list[Stretch] = []
    for stretch in stretches:
        first = stretch.first
        for other in taken:
            if other.end <= first or other.first >= stretch.end:
                continue
            if other.first > first:
                left.append(Stretch(first, other.first))
            first = other.end
        if first < stretch.end:
            left.append(Stretch(first, stretch.end))
    return tuple(left)


def covers(stretches: Sequence[Stretch], seq: int) -> bool:
    """Whether a number is in one of them."""
    return any(stretch.first <= seq < stretch.end for stretch in stretches)
