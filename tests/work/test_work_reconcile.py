"""Range-based reconciliation: both differences are found whole, in few rounds; no message is read too trustingly."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.model.dag_pb import varint
from icn_lite.model.errors import DocumentError
from icn_lite.model.sync import MAX_SEQ, Stretch
from icn_lite.work.reconcile import (
    FEW,
    HIGHEST,
    LISTED,
    LOWEST,
    MAX_RANGES,
    Differences,
    Item,
    Mode,
    Range,
    SortedItems,
    answer,
    begin,
    fingerprint,
    go_on,
    read,
    write,
)
from icn_lite.work.stretches import covers, without

ROOMY = 48 << 10


def reconcile(mine: set[Item], theirs: set[Item], most: int = ROOMY) -> tuple[Differences, int, int]:
    """What was found, in how many rounds and bytes."""
    left, right, found = SortedItems(list(mine)), SortedItems(list(theirs)), Differences()
    message, rounds, size = begin(left), 0, 0
    while message:
        rounds += 1
        assert rounds < 200
        reply = answer(right, message, most)
        assert len(reply) <= most
        size += len(message) + len(reply)
        message = go_on(left, reply, most, found)
        assert len(message) <= most
    return found, rounds, size


def items(choose: random.Random, count: int, numbers: int) -> set[Item]:
    return {(choose.randrange(numbers), choose.randbytes(16)) for _ in range(count)}


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 1 << 30),
    common=st.integers(0, 400),
    only=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    numbers=st.sampled_from([1, 3, 1_000, MAX_SEQ]),
    most=st.sampled_from([1_000, 3_000, ROOMY]),
)
def test_every_difference_is_found(seed: int, common: int, only: tuple[int, int], numbers: int, most: int) -> None:
    choose = random.Random(seed)
    both = items(choose, common, numbers)
    mine, theirs = both | items(choose, only[0], numbers), both | items(choose, only[1], numbers)
    found, _, _ = reconcile(mine, theirs, most)
    assert (found.lacking, found.extra) == (theirs - mine, mine - theirs)


def test_equal_sets_take_one_round_and_large_ones_few() -> None:
    choose = random.Random(1)
    both = items(choose, 6_000, 1)
    assert reconcile(both, both)[1:] == (1, 36)
    gone = set(random.Random(2).sample(sorted(both), 10))
    found, rounds, size = reconcile(both - gone, both)
    assert found.lacking == gone
    assert rounds <= 6
    assert size < 15_000


def test_a_set_that_changes_between_rounds_is_found_by_the_next_time() -> None:
    choose = random.Random(3)
    mine, theirs = items(choose, 300, 50), items(choose, 300, 50)
    found, message = Differences(), begin(SortedItems(list(mine)))
    while message:
        reply = answer(SortedItems(list(theirs)), message, ROOMY)
        mine |= items(choose, 3, 50)
        theirs |= items(choose, 3, 50)
        message = go_on(SortedItems(list(mine)), reply, ROOMY, found)
    assert found.lacking <= theirs
    assert not found.lacking & set(mine)
    again, _, _ = reconcile(mine, theirs)
    assert (again.lacking, again.extra) == (theirs - mine, mine - theirs)


def test_a_fingerprint_is_of_the_set_alone() -> None:
    some = sorted(items(random.Random(4), 40, 9))
    shuffled = some[:]
    random.Random(5).shuffle(shuffled)
    assert fingerprint(iter(some)) == fingerprint(iter(SortedItems(shuffled).walk(LOWEST, HIGHEST)))
    assert fingerprint(iter(some)) != fingerprint(iter(some[1:]))
    assert fingerprint(iter([])) != bytes(16)


NAME = bytes(range(16))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0",
        write((Range((5, b""), Mode.SETTLED),)),  # not up to the end
        write((Range(HIGHEST, Mode.SETTLED), Range(HIGHEST, Mode.SETTLED))),
        write((Range((5, b""), Mode.SETTLED), Range((4, b""), Mode.SETTLED), Range(HIGHEST, Mode.SETTLED))),
        write((Range((MAX_SEQ + 2, b""), Mode.SETTLED),)),
        write((Range(HIGHEST, Mode.FINGERPRINT, b"short"),)),
        write((Range(HIGHEST, Mode.ITEMS, b"", ((1, NAME), (2, NAME))),))[:20],
        write((Range(HIGHEST, Mode.ITEMS, b"", ((1, NAME), (1, NAME))),)),
        write((Range((3, b""), Mode.ITEMS, b"", ((3, NAME),)), Range(HIGHEST, Mode.SETTLED))),
        write((Range(HIGHEST, Mode.ITEMS, b"", tuple((n, NAME) for n in range(LISTED + 1))),)),
        varint(HIGHEST[0]) + b"\0\x07",
        varint(HIGHEST[0]) + b"\x11" + bytes(17) + b"\0",
        b"\x80" * 12,
        b"".join(write((Range((n + 1, b""), Mode.SETTLED),)) for n in range(MAX_RANGES + 1)),
    ],
)
def test_what_is_no_message_is_refused(message: bytes) -> None:
    with pytest.raises(DocumentError):
        read(message)
    with pytest.raises(DocumentError):
        answer(SortedItems([]), message, ROOMY)


def test_only_who_is_asked_tells_differences() -> None:
    told = write((Range(HIGHEST, Mode.DIFFERENCE, b"", ((1, NAME),), ((2, NAME),)),))
    assert read(told)[0].lacked == ((2, NAME),)
    with pytest.raises(DocumentError, match="only who is asked"):
        answer(SortedItems([]), told, ROOMY)
    found = Differences()
    assert go_on(SortedItems([(2, NAME)]), told, ROOMY, found) == b""
    assert (found.lacking, found.extra) == ({(1, NAME)}, {(2, NAME)})


@settings(derandomize=True, deadline=None, max_examples=80)
@given(data=st.binary(max_size=200), seed=st.integers(0, 50))
def test_any_bytes_are_answered_or_refused(data: bytes, seed: int) -> None:
    """Also a message that was changed in one place: whatever it says, no side holds more than its bounds."""
    choose = random.Random(seed)
    own = SortedItems(list(items(choose, FEW * 4, 9)))
    message = bytearray(answer(own, begin(SortedItems([])), ROOMY))
    message[choose.randrange(len(message))] ^= 1 << choose.randrange(8)
    for some in (data, bytes(message)):
        try:
            assert len(answer(own, some, 2_000)) <= 2_000
        except DocumentError:
            continue
        found = Differences()
        try:
            go_on(own, some, 2_000, found)
        except DocumentError:
            continue
        assert len(found) <= MAX_RANGES * LISTED


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    *(
        st.lists(st.tuples(st.integers(0, 30), st.integers(1, 6)), max_size=5).map(
            lambda pairs: tuple(Stretch(a, a + n) for a, n in sorted(pairs))
        )
        for _ in range(2)
    )
)
def test_what_is_taken_away_of_stretches(stretches: tuple[Stretch, ...], taken: tuple[Stretch, ...]) -> None:
    apart = without((Stretch(0, 40),), without((Stretch(0, 40),), stretches))  # the same numbers, apart from each other
    assert all(covers(apart, n) == covers(stretches, n) for n in range(40))
    left = without(apart, without((Stretch(0, 40),), without((Stretch(0, 40),), taken)))
    assert all(covers(left, n) == (covers(stretches, n) and not covers(taken, n)) for n in range(40))
    with pytest.raises(DocumentError):
        Stretch(3, 3)
