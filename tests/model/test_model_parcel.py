"""Parcels, envelopes and replies: their one form, their bounds, and when their time is over."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.model import document
from icn_lite.model.cid import Cid
from icn_lite.model.cose import KeySigner
from icn_lite.model.errors import DocumentError, IcnLiteError, SignatureError, VerificationError
from icn_lite.model.membership import SKEW_S
from icn_lite.model.parcel import (
    MAX_BODY_BYTES,
    MAX_ENVELOPE_BYTES,
    MAX_HOPS,
    MAX_LIFETIME_MS,
    Envelope,
    Parcel,
    Reply,
    over,
    read_envelope,
    read_parcel,
    read_reply,
)

SENDER, RECEIVER, RELAY = (KeySigner(bytes((number,)) * 32) for number in (1, 2, 3))


def parcel(body: bytes = b"a bid", lifetime_ms: int = 1_000, expires_at: int | None = None) -> Parcel:
    return Parcel(SENDER.did, "/icn/bids", body, (), lifetime_ms, bytes(16), RECEIVER.did, expires_at)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.binary(min_size=1, max_size=300), st.integers(0, MAX_HOPS), st.integers(0, MAX_LIFETIME_MS))
def test_what_goes_in_comes_out(body: bytes, hops: int, age_ms: int) -> None:
    sealed = document.seal(parcel(body), SENDER)
    envelope = Envelope(sealed.block, hops, age_ms, 5)
    again = read_envelope(document.encode(envelope))
    assert again == envelope
    assert read_parcel(again.parcel) == sealed


def test_the_largest_parcel_fits_its_envelope() -> None:
    largest = Parcel(
        SENDER.did, "/icn/leases", bytes(MAX_BODY_BYTES), (bytes(1200),) * 2, MAX_LIFETIME_MS, bytes(16),
        RECEIVER.did, 1 << 40,
    )  # fmt: skip
    data = document.encode(Envelope(document.seal(largest, SENDER).block, MAX_HOPS, MAX_LIFETIME_MS, 1))
    assert len(data) <= MAX_ENVELOPE_BYTES
    assert read_parcel(read_envelope(data).parcel).document == largest


@pytest.mark.parametrize("change", [{"hops": MAX_HOPS + 1}, {"age_ms": MAX_LIFETIME_MS + 1}, {"parcel": b""}])
def test_an_envelope_out_of_bounds_is_refused(change: dict[str, int | bytes]) -> None:
    values: dict[str, int | bytes] = {"parcel": b"x", "hops": 1, "age_ms": 0, **change}
    with pytest.raises(DocumentError):
        read_envelope(document.encode(Envelope(**values)))  # type: ignore[arg-type]


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.binary(max_size=60))
def test_junk_is_refused_and_nothing_else_happens(data: bytes) -> None:
    for read in (read_envelope, read_parcel):
        with pytest.raises(IcnLiteError):
            read(data)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.integers(0, 10_000), st.integers(0, 7))
def test_any_flipped_bit_is_refused(at: int, bit: int) -> None:
    block = bytearray(document.seal(parcel(), SENDER).block)
    block[at % len(block)] ^= 1 << bit
    with pytest.raises((DocumentError, SignatureError)):
        read_parcel(bytes(block))


def test_a_reply_is_by_the_receiver_to_this_parcel() -> None:
    cid, other = Cid.of_raw(b"parcel"), Cid.of_raw(b"other")
    block = document.seal(Reply(RECEIVER.did, cid, "2.04", b"ack"), RECEIVER).block
    assert read_reply(block, cid, RECEIVER.did).body == b"ack"
    with pytest.raises(VerificationError, match="asked was"):
        read_reply(block, other, RECEIVER.did)
    forged = document.seal(Reply(RELAY.did, cid, "2.04", b"ack"), RELAY).block
    with pytest.raises(VerificationError, match="a reply by"):
        read_reply(forged, cid, RECEIVER.did)


def test_time_is_over_by_age_or_by_the_wall_clock_where_there_is_one() -> None:
    assert not over(parcel(), 999, 10)
    assert over(parcel(), 1_000, 10)
    assert not over(parcel(expires_at=100), 0, 100 + SKEW_S)
    assert over(parcel(expires_at=100), 0, 101 + SKEW_S)
    assert not over(parcel(expires_at=100), 0, None)
