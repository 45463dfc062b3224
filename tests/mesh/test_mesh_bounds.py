"""The pure bounds: buckets, gate, assembly, kept answers, observers, the log."""

from __future__ import annotations

import logging

import pytest
from aiocoap.numbers.codes import Code
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.mesh.assembly import Assemblies, Block
from icn_lite.mesh.gate import Bucket, Gate, peer_key
from icn_lite.mesh.limits import MeshLimits
from icn_lite.mesh.logs import BoundedLog
from icn_lite.mesh.observers import Observers
from icn_lite.mesh.refusals import Refusal
from icn_lite.mesh.resources import Answer
from icn_lite.mesh.served import Served
from icn_lite.model.cid import Cid
from icn_lite.model.errors import UsageError

SOME = settings(max_examples=100, deadline=None, derandomize=True)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="mesh limit active"):
        MeshLimits(active=0)


@SOME
@given(st.integers(1, 50), st.integers(1, 50), st.lists(st.floats(0, 3), max_size=200))
def test_a_bucket_never_gives_more_than_burst_plus_rate(rate: int, burst: int, gaps: list[float]) -> None:
    now, taken, bucket = 0.0, 0, Bucket(rate, burst, 0.0)
    for gap in gaps:
        now += gap
        taken += bucket.take(now)
    assert taken <= burst + rate * now + 1e-6


def test_a_reservation_waits_as_long_as_the_rate_says() -> None:
    bucket = Bucket(10, 1, 0.0)
    assert [round(bucket.reserve(0.0), 6) for _ in range(4)] == [0.0, 0.1, 0.2, 0.3]


def test_one_peer_leaves_room_for_others_and_the_table_is_bounded() -> None:
    gate = Gate(MeshLimits(requests_per_s=100, requests_per_s_peer=10, burst=10, peers_tracked=3), 0.0)
    assert sum(gate.admit("10.0.0.1", 0.0) for _ in range(1000)) == 10
    assert gate.admit("10.0.0.2", 0.0)
    for n in range(10):
        gate.peer(f"10.0.1.{n}", 0.0)
    assert len(gate._peers) == 3


def test_everybody_together_is_bounded() -> None:
    gate = Gate(MeshLimits(requests_per_s=50, requests_per_s_peer=10, burst=10), 0.0)
    assert sum(gate.admit(f"10.0.0.{n}", 0.0) for n in range(250)) == 50


def test_on_loopback_a_peer_is_an_address_and_port() -> None:
    assert peer_key("127.0.0.1", 1) != peer_key("127.0.0.1", 2)
    assert peer_key("10.0.0.1", 1) == peer_key("10.0.0.1", 2)


def pieces(body: bytes, exponent: int) -> list[tuple[Block, bytes]]:
    size = 1 << (exponent + 4)
    count = max(1, -(-len(body) // size))
    return [(Block(n, n < count - 1, exponent), body[n * size : (n + 1) * size]) for n in range(count)]


@SOME
@given(st.binary(min_size=1, max_size=3000), st.integers(0, 6))
def test_blocks_make_the_body_again(body: bytes, exponent: int) -> None:
    assemblies = Assemblies(MeshLimits())
    parts = pieces(body, exponent)
    for block, payload in parts:
        assemblies.check(block, payload, 3000, None)
        whole = assemblies.feed("key", "peer", block, payload, 0.0)
        assert (whole is None) == block.more
    assert whole == body
    assert not len(assemblies)


def test_bert_blocks_of_several_units() -> None:
    assemblies = Assemblies(MeshLimits())
    first, last = Block(0, True, 7), Block(3, False, 7)
    assemblies.check(first, b"a" * 3072, 4096, None)
    assert assemblies.feed("k", "p", first, b"a" * 3072, 0.0) is None
    assert assemblies.feed("k", "p", last, b"b", 0.0) == b"a" * 3072 + b"b"


@pytest.mark.parametrize(
    ("block", "payload", "size1", "kind"),
    [
        (Block(0, True, 6), b"a" * 1024, 3001, "too_large"),  # by what it announces
        (Block(2, True, 6), b"a" * 1024, None, "too_large"),  # by where it stands
        (Block(1 << 19, False, 6), b"", None, "too_large"),
        (Block(0, True, 6), b"a" * 1000, None, "bad_block"),
        (Block(0, True, 6), b"", None, "bad_block"),
        (Block(0, False, 5), b"a" * 513, None, "bad_block"),
        (Block(0, True, 7), b"a" * 1025, None, "bad_block"),
    ],
)
def test_a_block_is_refused_before_it_is_kept(block: Block, payload: bytes, size1: int | None, kind: str) -> None:
    with pytest.raises(Refusal) as caught:
        Assemblies(MeshLimits()).check(block, payload, 3000, size1)
    assert caught.value.kind == kind
    assert (caught.value.size1 == 3000) == (kind == "too_large")


def test_a_gap_a_repetition_and_a_late_block_are_incomplete() -> None:
    assemblies = Assemblies(MeshLimits(assembly_ms=1000))
    for numbers in ((0, 2), (0, 1, 1), (1,)):
        *good, bad = numbers
        for number in good:
            assert assemblies.feed("k", "p", Block(number, True, 0), b"a" * 16, 0.0) is None
        with pytest.raises(Refusal, match="start again"):
            assemblies.feed("k", "p", Block(bad, True, 0), b"a" * 16, 0.0)
        assert not len(assemblies)
    assemblies.feed("k", "p", Block(0, True, 0), b"a" * 16, 0.0)
    with pytest.raises(Refusal, match="start again"):
        assemblies.feed("k", "p", Block(1, False, 0), b"", 1.1)


def test_unfinished_bodies_are_bounded_in_all_and_for_each_peer() -> None:
    assemblies = Assemblies(MeshLimits(assemblies=5, assemblies_per_peer=2))
    for peer, fits in (("a", 2), ("b", 2), ("c", 1)):
        for key in range(fits):
            assert assemblies.feed((peer, key), peer, Block(0, True, 0), b"a" * 16, 0.0) is None
        with pytest.raises(Refusal) as caught:
            assemblies.feed((peer, "more"), peer, Block(0, True, 0), b"a" * 16, 0.0)
        assert caught.value.kind == "overload"
        assert caught.value.max_age_s
    assert len(assemblies) == 5
    assert assemblies.feed("later", "x", Block(0, True, 0), b"a" * 16, 60.0) is None  # the old ones were forgotten
    assert len(assemblies) == 1


def test_kept_answers_stay_within_their_budget_and_time() -> None:
    served = Served(MeshLimits(max_block_bytes=100, served_ms=1000))
    cids = [Cid.of_raw(bytes([n])) for n in range(4)]
    for cid in cids:
        served.keep(cid, Answer(Code.CONTENT, bytes(40)), 0.0)
    assert [served.get(cid, 0.5) is not None for cid in cids] == [False, False, True, True]
    served.keep(cids[0], Answer(Code.CONTENT, bytes(101)), 0.5)
    assert served.get(cids[0], 0.5) is None
    assert served.get(cids[3], 1.6) is None
    assert not len(served)


async def test_observers_are_bounded_and_leave() -> None:
    observers = Observers(MeshLimits(observers=3, observers_per_peer=2))
    job, other = Cid.of_raw(b"j"), Cid.of_raw(b"k")
    first, second = observers.enter(job, "a"), observers.enter(other, "a")
    assert observers.enter(job, "a") is None
    third = observers.enter(job, "b")
    assert first is not None
    assert second is not None
    assert third is not None
    assert observers.enter(job, "c") is None
    observers.ring(job)
    assert (first.rung.is_set(), second.rung.is_set(), third.rung.is_set()) == (True, False, True)
    for observer in (first, second, third):
        observers.leave(observer)
    assert len(observers) == 0
    assert not observers._per_peer
    assert not observers._by_job


def test_the_log_is_bounded_in_lines_and_length() -> None:
    bound = BoundedLog(MeshLimits(log_lines_per_s=2, log_line_chars=20))

    def record(second: float) -> logging.LogRecord:
        made = logging.LogRecord("x", logging.WARNING, __file__, 1, "%s", ("y" * 100,), None)
        made.created = second
        return made

    assert [bound.filter(record(1.0)) for _ in range(5)] == [True, True, False, False, False]
    later = record(2.0)
    assert bound.filter(later)
    assert later.getMessage() == "y" * 20 + "… [3 lines before this were left out]"
