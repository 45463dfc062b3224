"""Letters: only their two ends read them, and nothing that is changed, replayed or addressed anew is taken."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_members import Dice
from nacl import bindings

from icn_lite.mesh.letter import KEY_MS, MAX_OPENED, LetterOut, Mailbox
from icn_lite.mesh.noise import Ephemeral
from icn_lite.model import document
from icn_lite.model.cose import KeySigner
from icn_lite.model.document import Sealed
from icn_lite.model.errors import DocumentError, SignatureError, VerificationError
from icn_lite.model.parcel import (
    MAX_ANSWER_BYTES,
    MAX_BODY_BYTES,
    Answer,
    Letter,
    Method,
    Parcel,
    Question,
    Reply,
    SealedAnswer,
    read_reply,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "letter.json").read_text(encoding="utf-8"))
SENDER, RECEIVER, RELAY = (KeySigner(bytes((number,)) * 32) for number in (0x11, 0x22, 0x33))
S, E, G = (bytes((number,)) * 32 for number in (0x50, 0xE0, 0x60))  # secrets of the mailbox, letter, and answer
QUESTION = Question(Method.POST, "/icn/bids", b"a signed bid")
ANSWER = Answer("2.04", b"taken")
LARGEST = Question(Method.POST, "/icn/jobs/" + "b" * 59 + "?" + "q" * 58, bytes(MAX_BODY_BYTES))


def mailbox(secret: bytes = S) -> Mailbox:
    return Mailbox(lambda size: secret[:size])


def draft(sender: KeySigner = SENDER, to: KeySigner = RECEIVER, nonce: bytes = bytes(range(16))) -> Parcel:
    return Parcel(sender.did, to.did, (b"a certificate",), 15_000, nonce, bytes(range(32)), expires_at=1_800_000_000)


def sent(question: Question = QUESTION, plain: Parcel | None = None) -> tuple[Sealed[Parcel], LetterOut]:
    plain = plain or draft()
    out = LetterOut(plain, Ephemeral.of(S).public, Ephemeral.of(E))
    return document.seal(replace(plain, letter=out.seal(question)), SENDER), out


def made() -> dict[str, bytes]:
    """One letter and its answer with fixed secrets."""
    sealed, _ = sent()
    opened = mailbox().open(sealed, 0)
    assert opened is not None
    answer = opened.answer(ANSWER, Ephemeral.of(G))
    letter = sealed.document.letter
    assert letter is not None
    return {
        "header": document.encode(replace(sealed.document, letter=None)),
        "question": document.encode(QUESTION),
        "sealed": letter.sealed,
        "answer": document.encode(ANSWER),
        "sealed_answer": answer.sealed,
        "parcel": sealed.block,
    }


# -- the two ends


@settings(max_examples=30)
@given(st.binary(max_size=2_000), st.binary(max_size=2_000))
def test_what_is_asked_and_answered_comes_out(asked: bytes, said: bytes) -> None:
    sealed, out = sent(Question(Method.GET, "/icn/logs/x", asked))
    opened = mailbox().open(sealed, 0)
    assert opened is not None
    assert opened.question.body == asked
    assert out.open(opened.answer(Answer("2.05", said, 3), Ephemeral.of(G))) == Answer("2.05", said, 3)


def test_the_largest_of_both_fits() -> None:
    sealed, out = sent(LARGEST)
    opened = mailbox().open(sealed, 0)
    assert opened is not None
    assert opened.question == LARGEST
    largest = Answer("2.05", bytes(MAX_ANSWER_BYTES), 86_400)
    reply = Reply(RECEIVER.did, sealed.cid, bytes(32), opened.answer(largest, Ephemeral.of(G)))
    read = read_reply(document.seal(reply, RECEIVER).block, sealed.cid, RECEIVER.did)
    assert read.answer is not None
    assert out.open(read.answer) == largest


def test_lengths_are_told_in_steps() -> None:
    sizes = set()
    for size in range(150):
        letter = sent(Question(Method.POST, "/icn/bids", bytes(size)))[0].document.letter
        assert letter is not None
        sizes.add(len(letter.sealed))
    assert sizes == {256 + 16}


def test_the_vectors_are_what_is_made() -> None:
    assert {name: value.hex() for name, value in made().items()} == VECTORS["letter"]
    assert VECTORS["secrets"] == {"s": S.hex(), "e": E.hex(), "g": G.hex()}


def test_the_vectors_by_other_means() -> None:
    """By hashlib, hmac and libsodium alone: what stands in README.md, and none of our code."""
    vector = {name: bytes.fromhex(value) for name, value in VECTORS["letter"].items()}
    s, e, g = (bytes.fromhex(VECTORS["secrets"][name]) for name in "seg")
    public = bindings.crypto_scalarmult_base
    open_ = bindings.crypto_aead_chacha20poly1305_ietf_decrypt
    chain = hashlib.sha256(b"icn-lite/letter/1 NKsig 25519 Ed25519 ChaChaPoly SHA256").digest()
    text = b""

    def mix(data: bytes) -> None:
        nonlocal text
        text = hashlib.sha256(text + data).digest()

    def key(shared: bytes) -> bytes:
        nonlocal chain
        secret = hmac.new(chain, shared, hashlib.sha256).digest()
        first = hmac.new(secret, b"icn-lite/handshake-key/1\x01", hashlib.sha256).digest()
        second = hmac.new(secret, first + b"icn-lite/handshake-key/1\x02", hashlib.sha256).digest()
        chain = first
        return second

    text = hashlib.sha256(chain + vector["header"]).digest()
    mix(public(s))
    mix(public(e))
    plain = open_(vector["sealed"], text, bytes(12), key(bindings.crypto_scalarmult(s, public(e))))
    assert plain.rstrip(b"\0") == vector["question"] + b"\x80"
    mix(vector["sealed"])
    mix(public(g))
    plain = open_(vector["sealed_answer"], text, bytes(12), key(bindings.crypto_scalarmult(e, public(g))))
    assert plain.rstrip(b"\0") == vector["answer"] + b"\x80"


# -- those between


def test_who_carries_it_learns_no_body() -> None:
    """Neither in the clear, nor by the mailbox key of anybody else, nor with the long-term keys of both ends."""
    vector = made()
    for text in (b"a signed bid", b"taken", b"/icn/bids", b"POST"):
        assert text not in vector["parcel"] + vector["sealed_answer"]
    assert mailbox(b"o" * 32).open(sent()[0], 0) is None
    for secret in (b"\x11" * 32, b"\x22" * 32, b"o" * 32):  # the seeds that sign stand in nothing that seals
        with pytest.raises(SignatureError):
            opened_by(secret)


def opened_by(secret: bytes) -> None:
    """What somebody who says that the letter was sealed for its own key gets."""
    sealed, _ = sent()
    letter = sealed.document.letter
    assert letter is not None
    own = Mailbox(lambda size: secret)
    own.key(0)
    claimed = replace(letter, sealed_for=Ephemeral.of(secret).public)
    own.open(replace(sealed, document=replace(sealed.document, letter=claimed)), 0)


def test_a_letter_that_another_signs_as_its_own_is_not_opened() -> None:
    """Who takes the signature off and puts its own on has a letter that says so in its hash."""
    letter = sent()[0].document.letter
    stolen = document.seal(replace(draft(RELAY), letter=letter), RELAY)
    with pytest.raises(SignatureError, match="does not hold"):
        mailbox().open(stolen, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"to": RELAY.did},
        {"nonce": bytes(16)},
        {"lifetime_ms": 15_001},
        {"certificates": ()},
        {"expires_at": None},
        {"mailbox": bytes(32)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_letter_belongs_to_its_parcel_alone(change: dict[str, Any]) -> None:
    """Even its own sender can't address it anew."""
    moved = document.seal(replace(sent()[0].document, **change), SENDER)
    with pytest.raises(SignatureError, match="does not hold"):
        mailbox().open(moved, 0)


@settings(max_examples=60)
@given(st.data())
def test_a_changed_letter_is_not_opened(data: st.DataObject) -> None:
    sealed, _ = sent()
    letter = sealed.document.letter
    assert letter is not None
    name = data.draw(st.sampled_from(["ephemeral", "sealed"]))
    value = bytearray(getattr(letter, name))
    value[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changed = replace(letter, **{name: bytes(value)})
    with pytest.raises((SignatureError, DocumentError)):
        mailbox().open(replace(sealed, document=replace(sealed.document, letter=changed)), 0)


@settings(max_examples=60)
@given(st.data())
def test_a_changed_answer_is_not_opened(data: st.DataObject) -> None:
    sealed, out = sent()
    opened = mailbox().open(sealed, 0)
    assert opened is not None
    answer = opened.answer(ANSWER, Ephemeral.of(G))
    name = data.draw(st.sampled_from(["ephemeral", "sealed"]))
    value = bytearray(getattr(answer, name))
    value[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((SignatureError, DocumentError)):
        out.open(replace(answer, **{name: bytes(value)}))


def test_answers_that_are_exchanged_or_reflected_are_not_opened() -> None:
    """Two letters at the same time, whose answers are swapped; and a letter that comes back as its own answer."""
    pairs = []
    for nonce in (bytes(16), b"n" * 16):
        sealed, out = sent(plain=draft(nonce=nonce))
        opened = mailbox().open(sealed, 0)
        assert opened is not None
        pairs.append((sealed, out, opened.answer(ANSWER, Ephemeral.of(G))))
    (sealed, one, _), (_, _, others) = pairs
    with pytest.raises(SignatureError):
        one.open(others)
    letter = sealed.document.letter
    assert letter is not None
    with pytest.raises(SignatureError):
        sent()[1].open(SealedAnswer(letter.ephemeral, letter.sealed))


def test_a_key_of_small_order_is_refused() -> None:
    for key in (bytes(32), b"\1" + bytes(31)):
        with pytest.raises(SignatureError, match="small order"):
            LetterOut(draft(), key, Ephemeral.of(E)).seal(QUESTION)
        parcel = document.seal(replace(draft(), letter=Letter(Ephemeral.of(S).public, key, b"x")), SENDER)
        with pytest.raises(SignatureError, match="small order"):
            mailbox().open(parcel, 0)


# -- mailbox keys


def test_a_letter_is_opened_once() -> None:
    box, (sealed, _) = mailbox(), sent()
    assert box.open(sealed, 0) is not None
    with pytest.raises(VerificationError, match="opened before"):
        box.open(sealed, 0)


def test_a_letter_for_a_key_that_is_forgotten_is_opened_by_nobody() -> None:
    """An hour later the key is another, two hours later what was sealed for the old one can't be read any more."""
    random = Dice()
    box = Mailbox(random)
    first = box.key(0)
    assert box.key(KEY_MS - 1) == first
    second = box.key(KEY_MS)
    assert second != first
    plain = draft()
    parcel = document.seal(replace(plain, letter=LetterOut(plain, first, Ephemeral.of(E)).seal(QUESTION)), SENDER)
    assert box.open(parcel, 2 * KEY_MS - 1) is not None
    assert box.open(parcel, 2 * KEY_MS) is None
    assert first not in box._keys


def test_a_parcel_without_a_letter_asks_for_the_key() -> None:
    assert mailbox().open(document.seal(draft(), SENDER), 0) is None


def test_so_many_letters_and_a_key_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was opened is remembered as long as its key, so a key ends when there is no room."""
    monkeypatch.setattr("icn_lite.mesh.letter.MAX_OPENED", 3)
    assert MAX_OPENED > 3
    box = Mailbox(Dice())
    first = box.key(0)
    for number in range(3):
        plain = draft(nonce=bytes([number]) * 16)
        letter = LetterOut(plain, first, Ephemeral.of(E)).seal(QUESTION)
        parcel = document.seal(replace(plain, letter=letter), SENDER)
        assert box.open(parcel, 0) is not None
    assert box.key(0) != first
    assert box.open(parcel, 0) is None  # not opened twice, not even now
