"""The child's small CBOR against the strict one of `model`."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.model import cbor
from icn_lite.sandbox import frames

items = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 64), (1 << 64) - 1) | st.binary(max_size=300) | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=30),
    max_leaves=20,
)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(items)
def test_same_bytes_as_the_strict_codec_and_back(item: object) -> None:
    data = frames.encode(item)  # type: ignore[arg-type]
    assert data == cbor.encode(item)  # type: ignore[arg-type]
    assert cbor.decode(data) == item
    assert frames.decode(data) == item


@pytest.mark.parametrize("data", ["a0", "f7", "fb0000000000000000", "c000", "0000"])
def test_other_kinds_are_refused(data: str) -> None:
    with pytest.raises(frames.FrameError):
        frames.decode(bytes.fromhex(data))


def test_an_integer_past_64_bits_is_refused() -> None:
    with pytest.raises(frames.FrameError):
        frames.encode(1 << 64)


def test_a_frame_through_a_pipe_whole_and_cut() -> None:
    read_end, write_end = os.pipe()
    frames.write_frame(write_end, [1, b"two", "three"])
    assert frames.decode(frames.read_frame(read_end)) == [1, b"two", "three"]
    os.write(write_end, (10).to_bytes(4, "big") + b"cut")
    os.close(write_end)
    with pytest.raises(frames.FrameError):
        frames.read_frame(read_end)
    os.close(read_end)
