"""Asking neighbours page by page: from where they were left, from the beginning after their restart, never for ever."""

from __future__ import annotations

import pytest

from icn_lite.model.cose import KeySigner
from icn_lite.model.errors import PeerError
from icn_lite.node import pulling
from icn_lite.node.pulling import Pulling

NEAR, OTHER = (KeySigner(bytes([n]) * 32).did for n in (1, 2))


class Neighbour:
    """One that has heard so many things, told in pages of four."""

    def __init__(self, heard: int) -> None:
        self.heard = heard
        self.asked: list[int] = []

    async def page(self, start: int) -> tuple[int, int]:
        self.asked.append(start)
        found = max(0, min(4, self.heard - start))
        return found, start + found if found else self.heard


async def test_each_page_is_asked_for_once_and_the_next_time_begins_behind_it() -> None:
    asks, near = Pulling(every=10, page=4, pages=16), Neighbour(10)
    await asks.met(NEAR, near.page, anew=True)
    assert near.asked == [0, 4, 8]
    near.heard = 11
    await asks.met(NEAR, near.page, anew=True)
    assert near.asked[3:] == [10]


async def test_it_is_asked_when_it_is_met_and_every_so_many_greetings() -> None:
    asks, near = Pulling(every=3, page=4, pages=16), Neighbour(0)
    for _ in range(7):
        await asks.met(NEAR, near.page, anew=False)
    assert len(near.asked) == 3
    await asks.met(NEAR, near.page, anew=True)
    assert len(near.asked) == 4


async def test_who_counts_from_nothing_again_is_asked_from_the_beginning() -> None:
    asks, near = Pulling(every=1, page=4, pages=16), Neighbour(9)
    await asks.met(NEAR, near.page, anew=True)
    near.heard, near.asked = 2, []
    await asks.met(NEAR, near.page, anew=True)
    assert near.asked == [9, 0]


async def test_one_that_never_ends_is_left_after_so_many_pages_and_gone_on_with_later() -> None:
    asks, near = Pulling(every=1, page=4, pages=5), Neighbour(10**9)
    await asks.met(NEAR, near.page, anew=True)
    assert near.asked == [0, 4, 8, 12, 16]
    await asks.met(NEAR, near.page, anew=True)
    assert near.asked[5] == 20


async def test_what_fails_is_asked_for_again_from_where_it_began() -> None:
    asks, near = Pulling(every=1, page=4, pages=16), Neighbour(10)

    async def fails(start: int) -> tuple[int, int]:
        if start:
            raise PeerError("gone")
        return 4, 4

    with pytest.raises(PeerError):
        await asks.met(NEAR, fails, anew=True)
    await asks.met(NEAR, near.page, anew=True)
    assert near.asked[0] == 0


async def test_places_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "MAX_PULLED_FROM", 1)
    asks, near = Pulling(every=1, page=4, pages=16), Neighbour(3)
    await asks.met(NEAR, near.page, anew=True)
    await asks.met(OTHER, near.page, anew=True)
    await asks.met(NEAR, near.page, anew=True)
    assert near.asked == [0, 0, 0]
