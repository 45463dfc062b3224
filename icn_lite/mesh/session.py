"""One session: what seals and opens the messages of one direction of asking, and refuses what was seen before.

Each message is an untagged COSE_Encrypt0 `[protected, {}, ciphertext]` (RFC 9052 §5.2) with protected =
`{1: 24 (ChaCha20/Poly1305), 4: kid = session id, 6: partial IV = the sender's counter}`. The nonce is the direction's
IV xor the counter (RFC 9052 §3.1), so no nonce comes twice under a key. `external_aad` names the direction; an
answer's also holds the counter of its request, so that an answer to one request is never taken for that to another.

The three headers have one length each, so these bytes are written and read by position: one canonical form, and a
fifth of the time. Counters are not sent again after a restart, because keys are not kept. Pure: no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from icn_lite.mesh import aead
from icn_lite.mesh.handshake import SID_BYTES
from icn_lite.mesh.noise import IV_BYTES, Keys
from icn_lite.model.errors import DocumentError, SignatureError, VerificationError

Plain: TypeAlias = bytes | tuple[bytes, ...]  # in one piece, or in several that stand behind each other
COUNTER_BYTES: Final = 6
REQUEST_AAD: Final = b"icn-lite/channel-request/1"
ANSWER_AAD: Final = b"icn-lite/channel-answer/1"
WINDOW: Final = 4_096  # a datagram resent for 45 s among 90 others a second still finds its place
TAG_BYTES: Final = 16
OVERHEAD_BYTES: Final = 64  # of a sealed message, with room to spare: 49 and the head of its ciphertext

_HEAD: Final = bytes((0xA3, 0x01, 0x18, 0x18, 0x04, 0x40 | SID_BYTES))
_MIDDLE: Final = bytes((0x06, 0x40 | COUNTER_BYTES))
_PROTECTED_BYTES: Final = len(_HEAD) + SID_BYTES + len(_MIDDLE) + COUNTER_BYTES
_BEGIN: Final = bytes((0x83, 0x40 | _PROTECTED_BYTES))
_SID_AT: Final = len(_BEGIN) + len(_HEAD)
_COUNTER_AT: Final = len(_BEGIN) + _PROTECTED_BYTES - COUNTER_BYTES
_CIPHER_AT: Final = len(_BEGIN) + _PROTECTED_BYTES + 1
_STRUCTURE: Final = b"\x83\x68Encrypt0" + bytes((0x40 | _PROTECTED_BYTES,))  # RFC 9052 §5.3: Enc_structure


def _byte_string(length: int) -> bytes:
    """The head of a byte string of `length` bytes, in its shortest form."""
    if length < 24:
        return bytes((0x40 | length,))
    if length < 1 << 8:
        return bytes((0x58, length))
    if length < 1 << 16:
        return b"\x59" + length.to_bytes(2, "big")
    return b"\x5a" + length.to_bytes(4, "big")


def sid_of(message: bytes) -> bytes:
    """The session that a sealed message names; raises `DocumentError` for what is no such message."""
    if (
        len(message) < _CIPHER_AT + 1 + TAG_BYTES
        or message[:_SID_AT] != _BEGIN + _HEAD
        or message[_SID_AT + SID_BYTES : _COUNTER_AT] != _MIDDLE
        or message[_CIPHER_AT - 1] != 0xA0
    ):
        raise DocumentError("expected a COSE_Encrypt0 of a session", offset=0)
    return message[_SID_AT : _SID_AT + SID_BYTES]


def _ciphertext(message: bytes) -> int:
    """Where the ciphertext begins that stands behind the headers: one byte string up to the end."""
    for width in (1, 2, 3, 5):
        begin = _CIPHER_AT + width
        if message[_CIPHER_AT:begin] == _byte_string(max(0, len(message) - begin)):
            return begin
    raise DocumentError("expected a ciphertext that ends where the message does", offset=_CIPHER_AT)


class Sealer:
    """Seals the messages of one direction, each with the next counter."""

    __slots__ = ("_iv", "_key", "_protected", "counter")

    def __init__(self, sid: bytes, key: bytes, iv: bytes) -> None:
        self._key = key
        self._iv = int.from_bytes(iv, "big")
        self._protected = _HEAD + sid + _MIDDLE
        self.counter = 0

    def seal(self, plain: Plain, aad: bytes) -> bytes:
        """The sealed message; `counter` is then one more than the one that it bears."""
        pieces = plain if isinstance(plain, tuple) else (plain,)
        number = self.counter.to_bytes(COUNTER_BYTES, "big")
        nonce = (self._iv ^ self.counter).to_bytes(IV_BYTES, "big")
        self.counter += 1
        protected = self._protected + number
        head = b"".join((_BEGIN, protected, b"\xa0", _byte_string(sum(map(len, pieces)) + TAG_BYTES)))
        structure = _STRUCTURE + protected + _byte_string(len(aad)) + aad
        return bytes(aead.encrypt_behind(head, pieces, structure, nonce, self._key))


class Opener:
    """Opens the messages of one direction."""

    __slots__ = ("_iv", "_key")

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._key = key
        self._iv = int.from_bytes(iv, "big")

    def open(self, message: bytes, aad: bytes) -> bytes | bytearray:
        """The plain bytes of a message whose form `sid_of` checked; raises `SignatureError` if it doesn't hold."""
        counter = message[_COUNTER_AT : _COUNTER_AT + COUNTER_BYTES]
        nonce = (self._iv ^ int.from_bytes(counter, "big")).to_bytes(IV_BYTES, "big")
        protected = message[len(_BEGIN) : _CIPHER_AT - 1]
        structure = _STRUCTURE + protected + _byte_string(len(aad)) + aad
        return aead.decrypt_behind(_ciphertext(message), message, structure, nonce, self._key)


def counter_of(message: bytes) -> int:
    """The sender's counter, as the message says it."""
    return int.from_bytes(message[_COUNTER_AT : _COUNTER_AT + COUNTER_BYTES], "big")


@dataclass(slots=True)
class Window:
    """Which counters were seen: the last `WINDOW` as bits, everything older counts as seen (RFC 6479's rule)."""

    _next: int = 0  # one more than the largest seen
    _seen: int = 0  # bit n: the counter `_next - 1 - n` was seen

    def check(self, counter: int) -> None:
        """Refuse a counter that was seen, or is too old to tell."""
        behind = self._next - 1 - counter
        if behind >= WINDOW or (behind >= 0 and self._seen >> behind & 1):
            raise VerificationError("a sealed message came twice, or far too late")

    def mark(self, counter: int) -> None:
        """Remember a counter; only after its message held."""
        ahead = counter + 1 - self._next
        if ahead > 0:
            self._seen = (self._seen << ahead | 1) & ((1 << WINDOW) - 1) if ahead < WINDOW else 1
            self._next = counter + 1
        else:
            self._seen |= 1 << -ahead


def answer_aad(counter: int) -> bytes:
    """What binds an answer to its request."""
    return ANSWER_AAD + counter.to_bytes(COUNTER_BYTES, "big")


@dataclass(slots=True)
class AskingEnd:
    """The initiator's end: seals requests, opens their answers."""

    sid: bytes
    sealer: Sealer
    opener: Opener

    @classmethod
    def of(cls, sid: bytes, keys: Keys) -> AskingEnd:
        """The end of whoever began the handshake."""
        return cls(
            sid,
            Sealer(sid, keys.to_responder, keys.iv_to_responder),
            Opener(keys.to_initiator, keys.iv_to_initiator),
        )

    def ask(self, plain: Plain) -> tuple[bytes, int]:
        """A sealed request and its counter."""
        counter = self.sealer.counter
        return self.sealer.seal(plain, REQUEST_AAD), counter

    def answered(self, message: bytes, counter: int) -> bytes | bytearray:
        """The answer to the request with this counter."""
        if sid_of(message) != self.sid:
            raise SignatureError("an answer of another session")
        return self.opener.open(message, answer_aad(counter))


@dataclass(slots=True)
class AskedEnd:
    """The responder's end: opens requests, each once, and seals their answers."""

    sealer: Sealer
    opener: Opener
    window: Window = field(default_factory=Window)

    @classmethod
    def of(cls, sid: bytes, keys: Keys) -> AskedEnd:
        """The end of whoever was asked in the handshake."""
        return cls(
            Sealer(sid, keys.to_initiator, keys.iv_to_initiator),
            Opener(keys.to_responder, keys.iv_to_responder),
        )

    def open(self, message: bytes) -> tuple[bytes | bytearray, int]:
        """A request's plain bytes and counter. Raises `VerificationError` for a repeated one, else as `Opener`."""
        counter = counter_of(message)
        self.window.check(counter)
        plain = self.opener.open(message, REQUEST_AAD)
        self.window.mark(counter)
        return plain, counter

    def answer(self, plain: Plain, counter: int) -> bytes:
        """A sealed answer to the request with this counter."""
        return self.sealer.seal(plain, answer_aad(counter))
