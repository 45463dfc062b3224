"""A session: COSE_Encrypt0 that others read, every message once, and no other bytes in its place."""

from __future__ import annotations

import cbor2
import pytest
from aiocoap import Message
from aiocoap.numbers.codes import Code
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings

from icn_lite.mesh import inner, session
from icn_lite.mesh.noise import Keys
from icn_lite.mesh.session import WINDOW, AskedEnd, AskingEnd, Window
from icn_lite.model import cbor
from icn_lite.model.errors import DocumentError, SignatureError, VerificationError

SID = b"session1"
KEYS = Keys(b"\x01" * 32, b"\x02" * 32, b"\x03" * 12, b"\x04" * 12)
EVERY = settings(derandomize=True, deadline=None, max_examples=200)


def ends() -> tuple[AskingEnd, AskedEnd]:
    return AskingEnd.of(SID, KEYS), AskedEnd.of(SID, KEYS)


@EVERY
@given(st.lists(st.binary(max_size=70_000), min_size=1, max_size=3))
def test_what_is_asked_and_answered_arrives(plains: list[bytes]) -> None:
    asking, asked = ends()
    for plain in plains:
        sealed, counter = asking.ask(plain)
        assert len(sealed) <= len(plain) + session.OVERHEAD_BYTES
        assert session.sid_of(sealed) == SID
        opened, same = asked.open(sealed)
        assert (opened, same) == (plain, counter)
        assert asking.answered(asked.answer(plain[::-1], counter), counter) == plain[::-1]


def test_it_is_a_cose_encrypt0() -> None:
    """RFC 9052 §5.2, §5.3, by cbor2 and libsodium alone; also valid DAG-CBOR."""
    asking, _ = ends()
    for number in range(3):
        sealed, counter = asking.ask(b"plain")
        assert counter == number
        protected, unprotected, ciphertext = cbor2.loads(sealed)
        assert unprotected == {}
        assert cbor2.loads(protected) == {1: 24, 4: SID, 6: number.to_bytes(6, "big")}
        assert cbor.decode(sealed) == [protected, {}, ciphertext]
        structure = cbor2.dumps(["Encrypt0", protected, b"icn-lite/channel-request/1"])
        nonce = bytes(a ^ b for a, b in zip(KEYS.iv_to_responder, number.to_bytes(12, "big"), strict=True))
        plain = bindings.crypto_aead_chacha20poly1305_ietf_decrypt(ciphertext, structure, nonce, KEYS.to_responder)
        assert plain == b"plain"


def changed(data: bytes) -> st.SearchStrategy[bytes]:
    bit = st.integers(0, len(data) * 8 - 1).map(
        lambda n: data[: n // 8] + bytes([data[n // 8] ^ 1 << n % 8]) + data[n // 8 + 1 :]
    )
    return st.one_of(bit, st.integers(0, len(data) - 1).map(lambda n: data[:n]), st.just(data + b"\0"))


def open_by_asked(message: bytes) -> None:
    _, asked = ends()
    if session.sid_of(message) != SID:
        raise SignatureError("another session's")
    asked.open(message)


@EVERY
@given(changed(ends()[0].ask(b"a request of some length")[0]))
def test_a_changed_request_is_refused_and_marks_nothing(message: bytes) -> None:
    with pytest.raises((DocumentError, SignatureError)):
        open_by_asked(message)


@EVERY
@given(changed(ends()[1].answer(b"an answer", 7)))
def test_a_changed_answer_is_refused(message: bytes) -> None:
    with pytest.raises((DocumentError, SignatureError)):
        ends()[0].answered(message, 7)


def test_an_answer_belongs_to_its_request_and_a_request_is_no_answer() -> None:
    asking, asked = ends()
    sealed, counter = asking.ask(b"first")
    asked.open(sealed)
    answer = asked.answer(b"to the first", counter)
    for other in (counter + 1, counter + (1 << 40)):
        with pytest.raises(SignatureError):
            asking.answered(answer, other)
    with pytest.raises(SignatureError):
        asking.answered(sealed, counter)
    with pytest.raises(SignatureError):
        AskedEnd.of(SID, KEYS).open(answer)


def test_a_forged_counter_does_not_move_the_window() -> None:
    asking, asked = ends()
    sealed, _ = asking.ask(b"x")
    at = sealed.index(b"\x46") + 1
    forged = sealed[:at] + (1 << 40).to_bytes(6, "big") + sealed[at + 6 :]
    with pytest.raises(SignatureError):
        asked.open(forged)
    assert asked.open(sealed) == (b"x", 0)


@EVERY
@given(st.lists(st.integers(0, 3 * WINDOW), max_size=200))
def test_the_window_lets_each_counter_in_once(counters: list[int]) -> None:
    window, seen = Window(), set()
    for counter in counters:
        fresh = counter not in seen and counter > max(seen, default=-1) - WINDOW
        try:
            window.check(counter)
            accepted = True
        except VerificationError:
            accepted = False
        assert accepted is fresh
        if accepted:
            window.mark(counter)
            seen.add(counter)


def test_reordered_requests_pass_and_repeated_ones_do_not() -> None:
    asking, asked = ends()
    sent = [asking.ask(bytes([number]))[0] for number in range(100)]
    for message in [*reversed(sent[:50]), *sent[50:]]:
        asked.open(message)
    for message in sent:
        with pytest.raises(VerificationError, match="twice"):
            asked.open(message)


@EVERY
@given(st.binary(max_size=2000), st.sampled_from([Code.GET, Code.POST]))
def test_messages_inside_round_trip(payload: bytes, code: Code) -> None:
    message = Message(code=code, payload=payload, uri_path=("icn", "blocks", "x"), uri_query=("a=b",))
    message.opt.block2 = (3, False, 6)
    message.opt.uri_host = "left.outside"
    outer = Message(code=Code.POST)
    read = inner.decode_request(b"".join(inner.encode(message)), outer)
    assert (read.code, read.payload, read.opt.uri_path) == (code, payload, ("icn", "blocks", "x"))
    assert (read.opt.uri_query, tuple(read.opt.block2), read.opt.uri_host) == (("a=b",), (3, False, 6), None)


@EVERY
@given(st.binary(max_size=200))
def test_any_bytes_inside_are_read_or_refused(plain: bytes) -> None:
    outer = Message(code=Code.POST)
    for decode in (inner.decode_request, inner.decode_answer):
        try:
            decode(plain, outer)
        except DocumentError:
            continue


def test_an_answer_inside_a_request_is_refused() -> None:
    outer = Message(code=Code.POST)
    with pytest.raises(DocumentError, match="request"):
        inner.decode_request(b"".join(inner.encode(Message(code=Code.CONTENT))), outer)
    with pytest.raises(DocumentError, match="answer"):
        inner.decode_answer(b"".join(inner.encode(Message(code=Code.GET))), outer)
