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
    MAX_ANSWER_BYTES,
    MAX_BODY_BYTES,
    MAX_ENVELOPE_BYTES,
    MAX_HOPS,
    MAX_LIFETIME_MS,
    MAX_REPLY_BYTES,
    MAX_SEALED_BYTES,
    PADDED_BYTES,
    Envelope,
    Letter,
    Notice,
    Parcel,
    Reply,
    SealedAnswer,
    over,
    read_envelope,
    read_notice,
    read_parcel,
    read_reply,
)

SENDER, RECEIVER, RELAY = (KeySigner(bytes((number,)) * 32) for number in (1, 2, 3))
KEY = bytes(range(32))


def parcel(sealed: bytes = b"a bid", lifetime_ms: int = 1_000, expires_at: int | None = None) -> Parcel:
    letter = Letter(KEY, KEY, sealed)
    return Parcel(SENDER.did, RECEIVER.did, (), lifetime_ms, bytes(16), KEY, letter, expires_at)


def notice(body: bytes = b"a job") -> Notice:
    return Notice(SENDER.did, "/icn/jobs", body, (), 1_000, bytes(16), KEY)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.binary(min_size=1, max_size=300), st.integers(0, MAX_HOPS), st.integers(0, MAX_LIFETIME_MS))
def test_what_goes_in_comes_out(body: bytes, hops: int, age_ms: int) -> None:
    sealed, told = document.seal(parcel(body), SENDER), document.seal(notice(body), SENDER)
    for block in (sealed.block, told.block):
        envelope = Envelope(block, hops, age_ms, 5)
        assert read_envelope(document.encode(envelope)) == envelope
    assert read_parcel(sealed.block) == sealed
    assert read_notice(told.block) == told


def test_what_is_for_one_is_not_read_as_for_all_nor_the_other_way() -> None:
    with pytest.raises(SignatureError, match="expected a document of kind"):
        read_notice(document.seal(parcel(), SENDER).block)
    with pytest.raises(SignatureError, match="expected a document of kind"):
        read_parcel(document.seal(notice(), SENDER).block)


def test_the_largest_parcel_and_notice_fit_their_envelope() -> None:
    certificates = (bytes(1200),) * 2
    letter = Letter(KEY, KEY, bytes(MAX_SEALED_BYTES))
    largest = Parcel(SENDER.did, RECEIVER.did, certificates, MAX_LIFETIME_MS, bytes(16), KEY, letter, 1 << 40)
    told = Notice(
        SENDER.did, "/icn/" + "x" * 27, bytes(MAX_BODY_BYTES), certificates, MAX_LIFETIME_MS, bytes(16), KEY, 1 << 40
    )
    for block in (document.seal(largest, SENDER).block, document.seal(told, SENDER).block):
        assert len(document.encode(Envelope(block, MAX_HOPS, MAX_LIFETIME_MS, 1))) <= MAX_ENVELOPE_BYTES
    assert read_parcel(document.seal(largest, SENDER).block).document == largest


def test_the_largest_answer_fits_its_reply() -> None:
    answer = SealedAnswer(KEY, bytes(MAX_ANSWER_BYTES + PADDED_BYTES + 64))
    block = document.seal(Reply(RECEIVER.did, Cid.of_raw(b"parcel"), KEY, answer), RECEIVER).block
    assert len(block) <= MAX_REPLY_BYTES


@pytest.mark.parametrize("key", [b"", KEY[:31], KEY + b"x"])
def test_keys_have_their_length(key: bytes) -> None:
    with pytest.raises(DocumentError):
        document.seal(Parcel(SENDER.did, RECEIVER.did, (), 1, bytes(16), key), SENDER)


@pytest.mark.parametrize("change", [{"hops": MAX_HOPS + 1}, {"age_ms": MAX_LIFETIME_MS + 1}, {"parcel": b""}])
def test_an_envelope_out_of_bounds_is_refused(change: dict[str, int | bytes]) -> None:
    values: dict[str, int | bytes] = {"parcel": b"x", "hops": 1, "age_ms": 0, **change}
    with pytest.raises(DocumentError):
        read_envelope(document.encode(Envelope(**values)))  # type: ignore[arg-type]


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.binary(max_size=60))
def test_junk_is_refused_and_nothing_else_happens(data: bytes) -> None:
    for read in (read_envelope, read_parcel, read_notice):
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
    answer = SealedAnswer(KEY, b"ack")
    block = document.seal(Reply(RECEIVER.did, cid, KEY, answer), RECEIVER).block
    assert read_reply(block, cid, RECEIVER.did).answer == answer
    with pytest.raises(VerificationError, match="asked was"):
        read_reply(block, other, RECEIVER.did)
    forged = document.seal(Reply(RELAY.did, cid, KEY, answer), RELAY).block
    with pytest.raises(VerificationError, match="a reply by"):
        read_reply(forged, cid, RECEIVER.did)


def test_time_is_over_by_age_or_by_the_wall_clock_where_there_is_one() -> None:
    assert not over(parcel(), 999, 10)
    assert over(parcel(), 1_000, 10)
    assert not over(parcel(expires_at=100), 0, 100 + SKEW_S)
    assert over(parcel(expires_at=100), 0, 101 + SKEW_S)
    assert not over(parcel(expires_at=100), 0, None)
