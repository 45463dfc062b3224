"""What a relay keeps for a neighbour that is away: bounded by number, sender, bytes and time."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.work.holding import KEEP_MS, Held, Holding, HoldingBounds

TO, OTHER = (Did(hashlib.sha256(text).digest()) for text in (b"to", b"other"))
SENDERS = [Did(hashlib.sha256(b"sender %d" % number).digest()) for number in range(4)]


def held(number: int, *, sender: int = 0, to: Did = TO, size: int = 100, age_ms: int = 0, since_ms: int = 0) -> Held:
    block = number.to_bytes(4, "big") * (size // 4)
    return Held(Cid.of_raw(block), SENDERS[sender], to, block, age_ms, KEEP_MS, since_ms)


def test_what_is_kept_comes_out_once_in_its_order() -> None:
    holding = Holding()
    kept = [held(number) for number in range(3)]
    assert all(holding.keep(one, 0) for one in kept)
    assert not holding.keep(kept[0], 0)
    assert holding.keep(held(9, to=OTHER), 0)
    assert holding.back(TO, 1) == tuple(kept)
    assert holding.back(TO, 1) == ()
    assert (len(holding), holding.size_bytes) == (1, 100)


def test_it_lives_as_long_as_its_sender_said() -> None:
    holding = Holding()
    old = held(1, age_ms=KEEP_MS - 10)
    assert holding.keep(old, 0)
    assert old.age(9) == KEEP_MS - 1
    assert holding.back(TO, 10) == ()
    assert not holding.keep(held(2, age_ms=KEEP_MS), 0)
    assert holding.keep(held(3), 0)
    assert holding.back(TO, KEEP_MS) == ()
    assert holding.size_bytes == 0


def test_one_sender_takes_no_more_than_its_places() -> None:
    holding = Holding(HoldingBounds(parcels_of_sender=2))
    assert holding.keep(held(100, sender=1), 0)
    for number in range(5):
        assert holding.keep(held(number), 0)
    assert [one.id for one in holding.back(TO, 0)] == [held(n, sender=s).id for n, s in ((100, 1), (3, 0), (4, 0))]


def test_what_is_larger_than_all_room_is_not_kept() -> None:
    holding = Holding(HoldingBounds(size_bytes=1_000))
    assert holding.keep(held(1), 0)
    assert not holding.keep(held(2, size=1_004), 0)
    assert len(holding) == 1


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3), st.integers(4, 400), st.integers(0, KEEP_MS))))
def test_the_bounds_hold_whatever_comes(parcels: list[tuple[int, int, int, int]]) -> None:
    bounds = HoldingBounds(parcels=6, parcels_of_sender=3, size_bytes=900)
    holding, now_ms = Holding(bounds), 0
    for number, sender, size, wait_ms in parcels:
        now_ms += wait_ms // 8
        holding.keep(held(number, sender=sender, size=size, since_ms=now_ms), now_ms)
        mine = [one for one in holding._held.values() if one.sender == SENDERS[sender]]
        assert len(holding) <= bounds.parcels
        assert len(mine) <= bounds.parcels_of_sender
        assert holding.size_bytes == sum(len(one.block) for one in holding._held.values()) <= bounds.size_bytes
        assert all(not one.over(now_ms) for one in holding._held.values())
