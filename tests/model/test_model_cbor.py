"""Deterministic CBOR: what is accepted, what is refused and where, and agreement with another DAG-CBOR library."""

from __future__ import annotations

import sys
import time
from typing import Any

import dag_cbor
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_strategies import FEW, MANY, cids
from multiformats import CID

from icn_lite.model import cbor
from icn_lite.model.cid import Cid
from icn_lite.model.errors import DocumentError

CID_BLOCK = b"\xd8\x2a\x58\x25\x00" + Cid.of_raw(b"").encode()

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(cbor.INT_MIN, cbor.INT_MAX),
    st.sampled_from([n + d for n in (0, 24, 1 << 8, 1 << 16, 1 << 32, 1 << 63) for d in (-1, 0, 1)]),
    st.binary(max_size=40),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    cids,
)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(keys, inner, max_size=6)),
    max_leaves=20,
)


@MANY
@given(values)
def test_round_trip(value: Any) -> None:
    block = cbor.encode(value)
    found = cbor.decode(block)
    assert found == value
    assert repr(found) == repr(value) or isinstance(value, dict | list)  # True stays True, 1 stays 1
    assert cbor.encode(found) == block


def check_offset(refusal: DocumentError, block: bytes) -> None:
    assert refusal.offset is not None, refusal
    assert 0 <= refusal.offset <= len(block), refusal


@MANY
@given(st.binary(max_size=24))
def test_whatever_is_accepted_is_canonical(block: bytes) -> None:
    try:
        value = cbor.decode(block)
    except DocumentError as error:
        check_offset(error, block)
        return
    assert cbor.encode(value) == block


@MANY
@given(values, st.data())
def test_mutants_are_refused_or_canonical(value: Any, data: st.DataObject) -> None:
    block = cbor.encode(value)
    at = data.draw(st.integers(0, len(block) - 1))
    mutant = block[:at] + bytes((data.draw(st.integers(0, 255)),)) + block[at + 1 :]
    test_whatever_is_accepted_is_canonical.hypothesis.inner_test(mutant)


def to_ipld(value: Any) -> Any:
    if isinstance(value, Cid):
        return CID.decode(value.encode())
    if isinstance(value, list):
        return [to_ipld(item) for item in value]
    if isinstance(value, dict):
        return {key: to_ipld(item) for key, item in value.items()}
    return value


@MANY
@given(values)
def test_dag_cbor_reads_and_writes_the_same(value: Any) -> None:
    block = cbor.encode(value)
    assert dag_cbor.decode(block) == to_ipld(value)
    assert dag_cbor.encode(to_ipld(value)) == block


# name: (block, offset of the fault, words of the sentence)
REFUSED = {
    "nothing": (b"", 0, "found the end"),
    "trailing byte": (b"\x01\x00", 1, "after the end"),
    "two values": (b"\xa0\xa0", 1, "after the end"),
    "long integer, 1 byte": (b"\x18\x17", 0, "shortest form"),
    "long integer, 2 bytes": (b"\x19\x00\xff", 0, "shortest form"),
    "long integer, 4 bytes": (b"\x1a\x00\x00\xff\xff", 0, "shortest form"),
    "long integer, 8 bytes": (b"\x1b" + b"\x00" * 4 + b"\xff" * 4, 0, "shortest form"),
    "long negative integer": (b"\x38\x01", 0, "shortest form"),
    "long text length": (b"\x78\x01a", 0, "shortest form"),
    "long list length": (b"\x98\x01\x00", 0, "shortest form"),
    "long map length": (b"\xb8\x01\x61a\x00", 0, "shortest form"),
    "long key length": (b"\xa1\x78\x01a\x00", 1, "shortest form"),
    "long tag": (b"\xd9\x00\x2a\x40", 0, "shortest form"),
    "indefinite bytes": (b"\x5f\x41a\xff", 0, "definite length"),
    "indefinite text": (b"\x7f\x61a\xff", 0, "definite length"),
    "indefinite list": (b"\x9f\x01\xff", 0, "definite length"),
    "indefinite map": (b"\xbf\x61a\x01\xff", 0, "definite length"),
    "indefinite inside": (b"\x82\x01\x9f\xff", 2, "definite length"),
    "break alone": (b"\xff", 0, "definite length"),
    "reserved information 28": (b"\x1c", 0, "additional information 28"),
    "half float": (b"\xf9\x3c\x00", 0, "float"),
    "single float": (b"\xfa\x47\xc3\x50\x00", 0, "float"),
    "double float": (b"\xfb" + b"\x00" * 8, 0, "float"),
    "NaN": (b"\xfb\x7f\xf8" + b"\x00" * 6, 0, "float"),
    "undefined": (b"\xf7", 0, "simple value 23"),
    "simple value 0": (b"\xe0", 0, "simple value 0"),
    "simple value in a byte": (b"\xf8\x20", 0, "another simple value"),
    "false in a byte": (b"\xf8\x14", 0, "another simple value"),
    "unsorted by length": (b"\xa2\x62bb\x01\x61a\x02", 5, "out of order"),
    "unsorted bytewise": (b"\xa2\x61b\x01\x61a\x02", 4, "out of order"),
    "duplicate key": (b"\xa2\x61a\x01\x61a\x02", 4, "duplicate"),
    "integer key": (b"\xa1\x01\x02", 1, "text key"),
    "byte key": (b"\xa1\x41a\x02", 1, "text key"),
    "null key": (b"\xa1\xf6\x02", 1, "text key"),
    "date tag": (b"\xc0\x60", 0, "tag 0"),
    "big number": (b"\xc2\x49\x01" + b"\x00" * 8, 0, "tag 2"),
    "pattern tag": (b"\xd8\x23\x61a", 0, "tag 35"),
    "self-described": (b"\xd9\xd9\xf7\xa0", 0, "tag 55799"),
    "shared reference": (b"\xd8\x1d\x00", 0, "tag 29"),
    "tagged COSE_Sign1": (b"\xd2\x84\x40\xa0\x40\x40", 0, "tag 18"),
    "CID as text": (b"\xd8\x2a\x61b", 2, "byte string of 37"),
    "CID too short": (b"\xd8\x2a\x41\x00", 2, "byte string of 37"),
    "CID without the prefix": (b"\xd8\x2a\x58\x24" + Cid.of_raw(b"").encode(), 2, "byte string of 37"),
    "CID with another prefix": (CID_BLOCK[:4] + b"\x01" + CID_BLOCK[5:], 2, "identity multibase"),
    "CID version 0": (CID_BLOCK[:5] + b"\x00" + CID_BLOCK[6:], 5, "CIDv1"),
    "CID of another codec": (CID_BLOCK[:6] + b"\x72" + CID_BLOCK[7:], 5, "codec"),
    "CID of another hash": (CID_BLOCK[:7] + b"\x13" + CID_BLOCK[8:], 5, "sha2-256"),
    "CID of another length": (CID_BLOCK[:8] + b"\x1f" + CID_BLOCK[9:], 5, "sha2-256"),
    "CID cut off": (CID_BLOCK[:-1], 5, "expected 36 bytes"),
    "text: lone continuation": (b"\x63a\x80b", 2, "UTF-8"),
    "text: overlong": (b"\x62\xc0\x80", 1, "UTF-8"),
    "text: surrogate": (b"\x63\xed\xa0\x80", 1, "UTF-8"),
    "text: above the last plane": (b"\x64\xf4\x90\x80\x80", 1, "UTF-8"),
    "key not UTF-8": (b"\xa1\x61\xff\x01", 2, "UTF-8"),
    "bytes announced beyond the end": (b"\x5b" + b"\xff" * 8, 9, "expected 18446744073709551615 bytes"),
    "text announced beyond the end": (b"\x7a\xff\xff\xff\xff", 5, "expected 4294967295 bytes"),
    "list announced beyond the end": (b"\x9b" + b"\xff" * 8, 9, "items announced"),
    "map announced beyond the end": (b"\xbb" + b"\xff" * 8, 9, "items announced"),
    "a map of as many pairs as bytes": (b"\xa2\x60\x00\x00", 1, "items announced"),
    "argument cut off": (b"\x1a\x01", 1, "expected 4 bytes"),
    "missing map value": (b"\xa1\x61a", 3, "found the end"),
    "deep lists": (b"\x81" * (cbor.MAX_DEPTH + 1) + b"\x00", cbor.MAX_DEPTH + 1, "nested"),
    "deep maps": (b"\xa1\x60" * (cbor.MAX_DEPTH + 1) + b"\x00", 2 * (cbor.MAX_DEPTH + 1), "nested"),
    "a depth bomb": (b"\x81" * 1_000_000, cbor.MAX_DEPTH + 1, "nested"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_its_offset(name: str) -> None:
    block, offset, words = REFUSED[name]
    with pytest.raises(DocumentError, match=words) as refused:
        cbor.decode(block)
    assert refused.value.offset == offset


def test_the_deepest_value_allowed() -> None:
    block = b"\x81" * cbor.MAX_DEPTH + b"\x00"
    assert cbor.encode(cbor.decode(block)) == block


def test_size_is_bounded_before_anything_is_read() -> None:
    with pytest.raises(DocumentError, match="at most 4 bytes") as refused:
        cbor.decode(b"\x01" * 5, max_bytes=4)
    assert refused.value.offset == 4


class Name(str):
    """A text with a class of its own."""


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        1 << 64,
        -(1 << 64) - 1,
        {1: 2},
        {b"a": 1},
        {None: 1},
        {1, 2},
        object(),
        bytearray(b"a"),
        "\ud800",
    ],
    ids=repr,
)
def test_what_the_format_does_not_hold(value: Any) -> None:
    for outer in (value, [value], {"a": value}):
        with pytest.raises(DocumentError):
            cbor.encode(outer)


def test_a_surrogate_in_a_key_is_refused() -> None:
    with pytest.raises(DocumentError, match="surrogate"):
        cbor.encode({"\udfff": 1})


def test_cyclic_and_deep_values_are_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(DocumentError, match="nested"):
        cbor.encode(cycle)


def test_one_form_for_lists_and_tuples_and_subclasses() -> None:
    assert cbor.encode((1, (2,))) == cbor.encode([1, [2]])  # type: ignore[arg-type]
    assert cbor.encode({"b": 1, "a": 2}) == cbor.encode({"a": 2, "b": 1})
    assert cbor.encode({Name("k"): Name("v")}) == cbor.encode({"k": "v"})
    assert cbor.encode(True) != cbor.encode(1)


@FEW
@given(values, st.data())
def test_offsets_point_at_the_value(value: Any, data: st.DataObject) -> None:
    block = cbor.encode(value)
    path: list[str | int] = []
    here = value
    while isinstance(here, dict | list) and here:
        step = data.draw(st.sampled_from(sorted(here) if isinstance(here, dict) else list(range(len(here)))))
        path.append(step)
        here = here[step]
    at = cbor.offset_of(block, tuple(path))
    assert block[at:].startswith(cbor.encode(here))
    assert cbor.offset_of(block, (*path, "absent")) == at


def test_reading_is_linear_in_the_size() -> None:
    """A block of twice the size takes about twice the time; a quadratic reader would take four times as long."""

    def cost(items: int) -> float:
        block = cbor.encode({f"{n:06d}": [n, "x" * 20] for n in range(items)})
        spent = []
        for _ in range(5):
            before = time.process_time()
            cbor.decode(block)
            spent.append(time.process_time() - before)
        return min(spent)

    assert cost(16_000) < cost(2_000) * 8 * 3
    assert sys.getrecursionlimit() > 10 * cbor.MAX_DEPTH
