"""Problem details (RFC 9290): what is written is read again by us and by cbor2, and nothing hostile is."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.mesh import problem
from icn_lite.mesh.problem import Problem

printable = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), max_size=40)
MANY = settings(max_examples=300, deadline=None, derandomize=True)


@MANY
@given(st.builds(Problem, title=printable, detail=printable, kind=printable, code=printable, hint=printable))
def test_round_trip(told: Problem) -> None:
    read = problem.decode(told.encode())
    assert read is not None
    assert read.title == problem._cut("".join(c if c.isprintable() else " " for c in told.title), problem.MAX_TITLE)
    if all(
        len(t.encode()) <= 48 and t.isprintable() for t in (told.title, told.detail, told.kind, told.code, told.hint)
    ):
        assert read == told


def test_the_form_of_the_rfc() -> None:
    told = Problem("Title", "Detail", "bid_refused", "J002", "hint")
    own = {"kind": "bid_refused", "code": "J002", "hint": "hint"}
    assert cbor2.loads(told.encode()) == {-1: "Title", -2: "Detail", problem.CUSTOM_KEY: own}


def test_long_texts_are_cut_between_characters() -> None:
    long = Problem("ä" * 500, "漢" * 900, "k" * 900, "J" * 900, "🙂" * 900)
    data = long.encode()
    assert len(data) <= problem.MAX_BYTES
    read = problem.decode(data)
    assert read is not None
    assert read.detail.endswith("漢…")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"\x80",
        b"\xa1",
        b"\xbf\xff",
        cbor2.dumps([1]),
        cbor2.dumps({-1: "x"}) + b"\0",
        b"\xa1\x20\x61\xff",
    ],
)
def test_what_is_no_problem_is_none(payload: bytes) -> None:
    assert problem.decode(payload) is None


def test_deep_and_wide_are_refused() -> None:
    assert problem.decode(b"\x81" * 900) is None
    assert problem.decode(cbor2.dumps({n: n for n in range(100)})) is None
    assert problem.decode(cbor2.dumps({-1: "x" * 2000})) is None


def test_unknown_entries_are_skipped_and_control_characters_softened() -> None:
    payload = cbor2.dumps({-1: "a\x1b[2Jb", -7: [1, {"x": b"y"}], 5: {"a": 1}, "urn:other": {"x": "y"}})
    assert problem.decode(payload) == Problem("a [2Jb")


@MANY
@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_error(data: bytes) -> None:
    problem.decode(data)
