"""Letters: questions and answers that only their two ends can read, whoever carries them.

Noise NK with signatures: the receiver's key is its *mailbox key*, which changes every hour and which everything that it
signs on the way tells (`mailbox`); README.md has the properties.

    letter  S -> R   e, {question}        under DH(e, s); s is R's mailbox key
    answer  R -> S   g, {answer}          under DH(e, s) and DH(e, g)

`hash` begins with what the parcel says in the clear (sender, receiver, memberships, times, nonce) and runs over s, e,
the sealed question and g; each seal is bound to all before it. The parcel is signed by S, the reply by R, each over
what was sealed: since S and R stand in `hash`, nobody can sign the same as theirs. e and g are forgotten with the
answer, s two hours after it was made.

RFC 7748 (X25519), RFC 8439 (ChaCha20-Poly1305), RFC 5869 (HKDF-SHA256); lengths are padded (libsodium's `sodium_pad`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

from icn_lite.mesh.noise import Ephemeral, Schedule
from icn_lite.model import document
from icn_lite.model.cid import Cid
from icn_lite.model.document import Sealed
from icn_lite.model.errors import DocumentError, VerificationError
from icn_lite.model.parcel import KEY_BYTES, PADDED_BYTES, Answer, Letter, Parcel, Question, SealedAnswer

PROTOCOL: Final = b"icn-lite/letter/1 NKsig 25519 Ed25519 ChaChaPoly SHA256"
KEY_MS: Final = 3_600_000  # how long a mailbox key is told; it opens letters for twice as long
MAX_OPENED: Final = 4_096  # letters opened with one key, 100 bytes each; then it is given up, so none is opened twice


class LetterOut:
    """The sending side: seals one question, and opens the answer to it."""

    def __init__(self, parcel: Parcel, mailbox: bytes, ephemeral: Ephemeral) -> None:
        """`parcel` without its letter; `mailbox` is the receiver's key, `ephemeral` serves this letter alone."""
        self._schedule = _begun(parcel, mailbox, ephemeral.public)
        self._ephemeral = ephemeral
        self._mailbox = mailbox

    def seal(self, question: Question) -> Letter:
        """The letter; once."""
        schedule = self._schedule
        key = schedule.mix_key(self._ephemeral.shared(self._mailbox))
        return Letter(self._mailbox, self._ephemeral.public, schedule.seal(key, _padded(document.encode(question))))

    def open(self, answer: SealedAnswer) -> Answer:
        """The answer to it; raises `SignatureError` or `DocumentError`."""
        schedule = self._schedule
        schedule.mix_hash(answer.ephemeral)
        key = schedule.mix_key(self._ephemeral.shared(answer.ephemeral))
        return document.decode(Answer, _unpadded(schedule.open(key, answer.sealed)))


@dataclass(frozen=True, slots=True)
class LetterIn:
    """The receiving side of one letter: what it asks, and the way to answer it."""

    question: Question
    _schedule: Schedule
    _asker: bytes

    def answer(self, answer: Answer, ephemeral: Ephemeral) -> SealedAnswer:
        """The answer, sealed; once. `ephemeral` serves it alone."""
        schedule = self._schedule
        schedule.mix_hash(ephemeral.public)
        key = schedule.mix_key(ephemeral.shared(self._asker))
        return SealedAnswer(ephemeral.public, schedule.seal(key, _padded(document.encode(answer))))


@dataclass(slots=True)
class _Key:
    pair: Ephemeral
    made_ms: int
    opened: set[Cid]


class Mailbox:
    """One node's mailbox keys, the newest and the one before it; each opens a letter once. Never on disk."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._keys: OrderedDict[bytes, _Key] = OrderedDict()

    def key(self, now_ms: int) -> bytes:
        """The key that letters shall be sealed for."""
        for public in [public for public, key in self._keys.items() if now_ms - key.made_ms >= 2 * KEY_MS]:
            del self._keys[public]
        newest = next(reversed(self._keys.values()), None)
        if newest is None or now_ms - newest.made_ms >= KEY_MS:
            newest = _Key(Ephemeral.of(self._random(KEY_BYTES)), now_ms, set())
            self._keys[newest.pair.public] = newest
        return newest.pair.public

    def open(self, sealed: Sealed[Parcel], now_ms: int) -> LetterIn | None:
        """Open the letter of a parcel, or None where none of our keys does: it was sealed for one that is forgotten.

        Raises `SignatureError` or `DocumentError` for what doesn't hold, `VerificationError` for what was open before.
        """
        self.key(now_ms)
        letter = sealed.document.letter
        key = self._keys.get(letter.sealed_for) if letter is not None else None
        if letter is None or key is None:
            return None
        if sealed.cid in key.opened:
            raise VerificationError("this letter was opened before")
        schedule = _begun(sealed.document, letter.sealed_for, letter.ephemeral)
        plain = schedule.open(schedule.mix_key(key.pair.shared(letter.ephemeral)), letter.sealed)
        schedule.mix_hash(letter.sealed)
        key.opened.add(sealed.cid)
        if len(key.opened) >= MAX_OPENED:
            del self._keys[letter.sealed_for]
        return LetterIn(document.decode(Question, _unpadded(plain)), schedule, letter.ephemeral)


def _begun(parcel: Parcel, mailbox: bytes, ephemeral: bytes) -> Schedule:
    schedule = Schedule(PROTOCOL, document.encode(replace(parcel, letter=None)))
    schedule.mix_hash(mailbox)
    schedule.mix_hash(ephemeral)
    return schedule


def _padded(plain: bytes) -> bytes:
    padded: bytes = bindings.sodium_pad(plain, PADDED_BYTES)
    return padded


def _unpadded(padded: bytes) -> bytes:
    try:
        plain: bytes = bindings.sodium_unpad(padded, PADDED_BYTES)
    except CryptoError as error:
        raise DocumentError("expected padding at the end of a letter") from error
    return plain
