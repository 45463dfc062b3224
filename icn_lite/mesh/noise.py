"""The handshake and its key schedule: pure functions of messages and of keys that are passed in.

The pattern is Noise XX with signatures in place of the static Diffie-Hellmans, that is SIGMA-I, in which the node
that is asked (the responder) sends its ephemeral key first; README.md has its properties.

    hello   I -> R   version, padding          nothing is kept of it
    offer   R -> I   e, cookie, hints          e serves all comers of one minute; nothing is kept of it either
    proof   I -> R   cookie, f, {I's DID, certificates or invitation, signature}      under DH(e, f)
    grant   R -> I   g, {R's DID, certificates, session id, lifetime, signature}      under DH(e, f) and DH(f, g)

`hash` runs over everything sent since the offer; a signature is over `hash` and what it goes with. The session's keys
come out of both Diffie-Hellmans and the whole transcript. e is forgotten after two minutes, f and g at once: then
nobody can read the session any more, with whatever long-term key.

RFC 7748 (X25519), RFC 8032 (Ed25519), RFC 8439 (ChaCha20-Poly1305), RFC 5869 (HKDF-SHA256).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

from icn_lite.mesh import handshake
from icn_lite.mesh.handshake import Grant, Granted, Offer, Party, Proof, SignedGranted, SignedParty
from icn_lite.model import cbor, cose, invitation, schema
from icn_lite.model.did import KEY_LENGTH, Did
from icn_lite.model.errors import SignatureError

PROTOCOL: Final = b"icn-lite/handshake/1 XXsig-reversed 25519 Ed25519 ChaChaPoly SHA256"
INITIATOR_SIGNS: Final = b"icn-lite/handshake-initiator/1\0"
RESPONDER_SIGNS: Final = b"icn-lite/handshake-responder/1\0"
MESSAGE_KEY: Final = b"icn-lite/handshake-key/1"
SESSION_KEYS: Final = b"icn-lite/session/1"
IV_BYTES: Final = 12
_NONCE: Final = bytes(IV_BYTES)  # each handshake key seals one message


@dataclass(frozen=True, slots=True)
class Keys:
    """What seals each direction of a session: keys, and what its nonces are made from."""

    to_responder: bytes = field(repr=False)
    to_initiator: bytes = field(repr=False)
    iv_to_responder: bytes = field(repr=False)
    iv_to_initiator: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ephemeral:
    """An X25519 key pair."""

    secret: bytes = field(repr=False)
    public: bytes

    @classmethod
    def of(cls, secret: bytes) -> Ephemeral:
        """The pair of 32 secret bytes."""
        return cls(secret, bindings.crypto_scalarmult_base(secret))

    def shared(self, public: bytes) -> bytes:
        """The shared secret; one that does not depend on our key (all zero, RFC 7748 §6.1) is refused."""
        try:
            value: bytes = bindings.crypto_scalarmult(self.secret, public)
        except (CryptoError, RuntimeError) as error:
            raise SignatureError("the ephemeral key is of small order") from error
        if hmac.compare_digest(value, bytes(KEY_LENGTH)):
            raise SignatureError("the ephemeral key is of small order")
        return value


class Schedule:
    """The running hash and the chaining key of one run of a protocol, which begins with its name and a first text."""

    def __init__(self, protocol: bytes, first: bytes) -> None:
        self.chain = hashlib.sha256(protocol).digest()
        self.hash = hashlib.sha256(self.chain + first).digest()

    def mix_hash(self, data: bytes) -> None:
        """Take what was sent into the hash."""
        self.hash = hashlib.sha256(self.hash + data).digest()

    def mix_key(self, shared: bytes) -> bytes:
        """Take a shared secret in; returns the key of the next message."""
        made = expand(extract(self.chain, shared), MESSAGE_KEY, 64)
        self.chain = made[:32]
        return made[32:]

    def over(self, said: Party | Granted) -> bytes:
        """What a party signs behind its label."""
        return hashlib.sha256(self.hash + cbor.encode(schema.to_value(said))).digest()

    def seal(self, key: bytes, plain: bytes) -> bytes:
        """One message under its own key, bound to everything before it."""
        sealed: bytes = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plain, self.hash, _NONCE, key)
        self.mix_hash(sealed)
        return sealed

    def open(self, key: bytes, sealed: bytes) -> bytes:
        """The message of the other side; raises `SignatureError`. It is not in the hash yet."""
        try:
            plain: bytes = bindings.crypto_aead_chacha20poly1305_ietf_decrypt(sealed, self.hash, _NONCE, key)
        except CryptoError as error:
            raise SignatureError("what was sealed does not hold: it was changed, or belongs elsewhere") from error
        return plain

    def split(self) -> Keys:
        """The session's keys, bound to the whole transcript."""
        made = expand(self.chain, SESSION_KEYS + self.hash, 2 * KEY_LENGTH + 2 * IV_BYTES)
        return Keys(made[:32], made[32:64], made[64:76], made[76:])


class Initiator:
    """The asking side: made with an offer, gives the proof, reads the grant."""

    def __init__(self, offer: Offer, ephemeral: Ephemeral) -> None:
        self._schedule = Schedule(PROTOCOL, handshake.encode(offer))
        self._offer = offer
        self._ephemeral = ephemeral

    def proof(self, signer: cose.Signer, certificates: tuple[bytes, ...], token: bytes | None = None) -> bytes:
        """The third message, with certificates or with the token of an invitation."""
        schedule = self._schedule
        schedule.mix_hash(self._offer.cookie + self._ephemeral.public)
        key = schedule.mix_key(self._ephemeral.shared(self._offer.key))
        party = Party(signer.did, certificates)
        if token is not None:
            shown = invitation.proof(token, schedule.hash + signer.did.public_key)
            party = Party(signer.did, certificates, invitation.invitation_id(token), shown)
        signature = signer.sign(INITIATOR_SIGNS + schedule.over(party))
        sealed = schedule.seal(key, handshake.encode(SignedParty(party, signature)))
        return handshake.encode(Proof(self._offer.cookie, self._ephemeral.public, sealed))

    def finish(self, message: bytes) -> tuple[Granted, Keys]:
        """Read the fourth message; raises `DocumentError` or `SignatureError`."""
        schedule, grant = self._schedule, handshake.decode(Grant, message)
        schedule.mix_hash(grant.key)
        key = schedule.mix_key(self._ephemeral.shared(grant.key))
        answered = handshake.decode(SignedGranted, schedule.open(key, grant.sealed))
        _check(RESPONDER_SIGNS + schedule.over(answered.said), answered.said.did, answered.signature)
        schedule.mix_hash(grant.sealed)
        return answered.said, schedule.split()


class Responder:
    """The side that is asked: reads one proof that answers `offer`, gives the grant."""

    def __init__(self, offer: Offer, ephemeral: Ephemeral) -> None:
        self._schedule = Schedule(PROTOCOL, handshake.encode(offer))
        self._ephemeral = ephemeral
        self._public = b""
        self._before = b""

    def read(self, proof: Proof) -> Party:
        """Who the initiator is; its signature holds. Raises `DocumentError` or `SignatureError`."""
        schedule = self._schedule
        schedule.mix_hash(proof.cookie + proof.key)
        key = schedule.mix_key(self._ephemeral.shared(proof.key))
        asked = handshake.decode(SignedParty, schedule.open(key, proof.sealed))
        _check(INITIATOR_SIGNS + schedule.over(asked.said), asked.said.did, asked.signature)
        self._public, self._before = proof.key, schedule.hash
        schedule.mix_hash(proof.sealed)
        return asked.said

    def has_token(self, party: Party, token: bytes) -> bool:
        """Whether the initiator showed that it has an invitation's token."""
        expected = invitation.proof(token, self._before + party.did.public_key)
        return hmac.compare_digest(expected, party.token_proof or b"")

    def grant(self, signer: cose.Signer, granted: Granted, fresh: Ephemeral) -> tuple[bytes, Keys]:
        """The fourth message and the session's keys; `fresh` serves this handshake alone."""
        schedule = self._schedule
        schedule.mix_hash(fresh.public)
        key = schedule.mix_key(fresh.shared(self._public))
        signature = signer.sign(RESPONDER_SIGNS + schedule.over(granted))
        sealed = schedule.seal(key, handshake.encode(SignedGranted(granted, signature)))
        return handshake.encode(Grant(fresh.public, sealed)), schedule.split()


def hint(cooperative: Did, key: bytes) -> bytes:
    """How a responder with this ephemeral key names a cooperative to those who know it, and to nobody else."""
    return hashlib.sha256(b"icn-lite/hint/1" + cooperative.public_key + key).digest()[: handshake.HINT_BYTES]


def extract(salt: bytes, material: bytes) -> bytes:
    """HKDF-Extract (RFC 5869 §2.2)."""
    return hmac.digest(salt, material, "sha256")


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand (RFC 5869 §2.3)."""
    made, block = b"", b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.digest(key, block + info + bytes((number,)), "sha256")
        made += block
    return made[:length]


def _check(message: bytes, did: Did, signature: bytes) -> None:
    if not cose.verify_bytes(did, message, signature):
        raise SignatureError("a signature over this handshake does not hold")
