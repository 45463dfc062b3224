"""The handshake: vectors that are computed again by other means, every change refused, nothing kept of strangers."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_members import Dice, certificate, cooperative
from nacl import bindings
from nacl.signing import SigningKey, VerifyKey

from icn_lite.mesh import aead, handshake, noise
from icn_lite.mesh.cookie import Offers
from icn_lite.mesh.handshake import Grant, Granted, Offer, Proof
from icn_lite.mesh.noise import Ephemeral, Initiator, Responder, hint
from icn_lite.model import cbor, invitation, schema
from icn_lite.model.cose import KeySigner
from icn_lite.model.errors import DocumentError, IcnLiteError, SignatureError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "handshake.json").read_text(encoding="utf-8"))
EVERY = settings(derandomize=True, deadline=None, max_examples=150)
INITIATOR, RESPONDER = KeySigner(b"\x11" * 32), KeySigner(b"\x22" * 32)
SECRETS = {"e": b"\xe0" * 32, "f": b"\xf0" * 32, "g": b"\xa0" * 32}
TOKEN = bytes(range(100, 116))
COOP = cooperative()


def offer() -> Offer:
    public = Ephemeral.of(SECRETS["e"]).public
    return Offer(public, bytes(range(20)), (hint(COOP.did, public),))


def run(token: bytes | None = None) -> dict[str, bytes]:
    """A handshake with fixed keys: its messages and the session's keys, as both sides have them."""
    certificates = () if token else (certificate(COOP, INITIATOR.did).block,)
    initiator = Initiator(offer(), Ephemeral.of(SECRETS["f"]))
    proof = initiator.proof(INITIATOR, certificates, token)
    responder = Responder(offer(), Ephemeral.of(SECRETS["e"]))
    read = handshake.decode_asked(proof)
    assert isinstance(read, Proof)
    party = responder.read(read)
    assert (party.did, party.certificates) == (INITIATOR.did, certificates)
    assert responder.has_token(party, TOKEN) is (token is not None)
    assert not responder.has_token(party, bytes(16))
    granted = Granted(RESPONDER.did, (certificate(COOP, RESPONDER.did).block,), b"session1", 3600, 1 << 20)
    grant, keys = responder.grant(RESPONDER, granted, Ephemeral.of(SECRETS["g"]))
    answered, same = initiator.finish(grant)
    assert (answered, same) == (granted, keys)
    return {
        "hello": handshake.hello(), "offer": handshake.encode(offer()), "proof": proof, "grant": grant,
        "to_responder": keys.to_responder, "to_initiator": keys.to_initiator,
        "iv_to_responder": keys.iv_to_responder, "iv_to_initiator": keys.iv_to_initiator,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["member", "invited"])
def test_the_vectors_are_what_is_made(name: str) -> None:
    made = run(TOKEN if name == "invited" else None)
    assert {key: value.hex() for key, value in made.items()} == VECTORS[name]


def test_the_secrets_of_the_vectors() -> None:
    assert {key: value.hex() for key, value in SECRETS.items()} == VECTORS["secrets"]
    assert VECTORS["initiator"] == str(INITIATOR.did)
    assert VECTORS["responder"] == str(RESPONDER.did)


# -- the same by hashlib, hmac and libsodium alone: what stands in README.md, and none of our code


def hkdf(salt: bytes, material: bytes, info: bytes, length: int) -> bytes:
    key = hmac.new(salt, material, hashlib.sha256).digest()
    made = block = b""
    for number in range(1, 255):
        if len(made) >= length:
            break
        block = hmac.new(key, block + info + bytes([number]), hashlib.sha256).digest()
        made += block
    return made[:length]


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def map_of(data: bytes) -> dict[str, Any]:
    import cbor2

    value = cbor2.loads(data)
    assert isinstance(value, dict)
    return value


def again(data: dict[str, Any]) -> bytes:
    import cbor2

    return bytes(cbor2.dumps(data, canonical=True))


@pytest.mark.parametrize("name", ["member", "invited"])
def test_the_vectors_by_other_means(name: str) -> None:
    e, f, g = (bytes.fromhex(VECTORS["secrets"][key]) for key in "efg")
    vector = {key: bytes.fromhex(value) for key, value in VECTORS[name].items()}
    sent_offer, sent_proof, sent_grant = (map_of(vector[key]) for key in ("offer", "proof", "grant"))
    open_ = bindings.crypto_aead_chacha20poly1305_ietf_decrypt

    chain = sha(b"icn-lite/handshake/1 XXsig-reversed 25519 Ed25519 ChaChaPoly SHA256")
    transcript = sha(sha(chain, vector["offer"]), sent_offer["cookie"], sent_proof["key"])
    shared = bindings.crypto_scalarmult(e, sent_proof["key"])
    assert shared == bindings.crypto_scalarmult(f, sent_offer["key"])
    made = hkdf(chain, shared, b"icn-lite/handshake-key/1", 64)
    inside = map_of(open_(sent_proof["sealed"], transcript, bytes(12), made[32:]))
    initiator = SigningKey(b"\x11" * 32).verify_key
    signed = b"icn-lite/handshake-initiator/1\0" + sha(transcript, again(inside["said"]))
    assert initiator.verify(signed, inside["signature"])
    if name == "invited":
        proof = hmac.new(TOKEN, b"icn-lite/invitation-proof/1" + transcript + bytes(initiator), hashlib.sha256)
        assert inside["said"]["token_proof"] == proof.digest()
        assert inside["said"]["invitation"] == sha(b"icn-lite/invitation-id/1", TOKEN)[:8]

    transcript = sha(sha(transcript, sent_proof["sealed"]), sent_grant["key"])
    made = hkdf(made[:32], bindings.crypto_scalarmult(g, sent_proof["key"]), b"icn-lite/handshake-key/1", 64)
    inside = map_of(open_(sent_grant["sealed"], transcript, bytes(12), made[32:]))
    signed = b"icn-lite/handshake-responder/1\0" + sha(transcript, again(inside["said"]))
    assert VerifyKey(bytes(SigningKey(b"\x22" * 32).verify_key)).verify(signed, inside["signature"])
    assert (inside["said"]["sid"], inside["said"]["lifetime_s"]) == (b"session1", 3600)

    keys, block = b"", b""
    for number in (1, 2, 3):  # 88 bytes of HKDF-Expand under the chaining key
        info = b"icn-lite/session/1" + sha(transcript, sent_grant["sealed"]) + bytes([number])
        block = hmac.new(made[:32], block + info, hashlib.sha256).digest()
        keys += block
    assert (keys[:32], keys[32:64]) == (vector["to_responder"], vector["to_initiator"])
    assert (keys[64:76], keys[76:88]) == (vector["iv_to_responder"], vector["iv_to_initiator"])


# -- what must not pass


def flips(data: bytes) -> st.SearchStrategy[bytes]:
    """The message with one bit flipped, cut, or with something behind it."""
    bit = st.integers(0, len(data) * 8 - 1).map(
        lambda n: data[: n // 8] + bytes([data[n // 8] ^ 1 << n % 8]) + data[n // 8 + 1 :]
    )
    return st.one_of(bit, st.integers(0, len(data) - 1).map(lambda n: data[:n]), st.just(data + b"\0"))


def read_by_responder(proof: bytes) -> None:
    read = handshake.decode_asked(proof)
    assert isinstance(read, Proof)
    if read.cookie != offer().cookie:
        raise SignatureError("no such offer")  # cookie.py finds none
    Responder(offer(), Ephemeral.of(SECRETS["e"])).read(read)


@EVERY
@given(flips(run()["proof"]))
def test_a_changed_proof_gives_no_session(proof: bytes) -> None:
    with pytest.raises((DocumentError, SignatureError)):
        read_by_responder(proof)


@EVERY
@given(flips(run()["grant"]))
def test_a_changed_grant_gives_no_session(grant: bytes) -> None:
    initiator = Initiator(offer(), Ephemeral.of(SECRETS["f"]))
    initiator.proof(INITIATOR, (certificate(COOP, INITIATOR.did).block,))
    with pytest.raises((DocumentError, SignatureError)):
        initiator.finish(grant)


@EVERY
@given(flips(run()["offer"]))
def test_a_changed_offer_gives_no_session(changed: bytes) -> None:
    """Who changes the offer on its way finds that neither side agrees with the other."""
    try:
        read = handshake.decode(Offer, changed)
    except IcnLiteError:
        return
    try:
        proof = Initiator(read, Ephemeral.of(SECRETS["f"])).proof(INITIATOR, ())
    except SignatureError:
        return  # a key of small order
    sent = handshake.decode_asked(proof)
    assert isinstance(sent, Proof)
    # X25519 ignores the highest bit of a public key (RFC 7748 §5); the transcript doesn't.
    with pytest.raises(SignatureError):
        Responder(offer(), Ephemeral.of(SECRETS["e"])).read(dataclasses.replace(sent, cookie=offer().cookie))


LOW_ORDER = [
    bytes(32), bytes([1, *bytes(31)]),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]  # fmt: skip


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[:8])
def test_keys_of_small_order_are_refused(point: bytes) -> None:
    with pytest.raises(SignatureError, match="small order"):
        Ephemeral.of(SECRETS["f"]).shared(point)


def test_an_initiators_signature_is_no_responders() -> None:
    """Reflection: what one side signed is not taken from the other."""
    made = run()
    sent = handshake.decode(Proof, made["proof"])
    initiator = Initiator(offer(), Ephemeral.of(SECRETS["f"]))
    initiator.proof(INITIATOR, ())
    with pytest.raises((DocumentError, SignatureError)):
        initiator.finish(handshake.encode(Grant(sent.key, sent.sealed)))


def test_a_signature_over_a_handshake_is_no_documents() -> None:
    """Nothing that COSE_Sign1 or icn-core's form signs begins with the handshake's labels."""
    assert noise.INITIATOR_SIGNS != noise.RESPONDER_SIGNS
    for label in (noise.INITIATOR_SIGNS, noise.RESPONDER_SIGNS):
        assert label.startswith(b"icn-lite/")
        assert label[:1] not in (b"\x84", b"b")  # a Sig_structure is an array of four; icn-core's begins with a CID


def test_the_token_is_bound_to_handshake_and_key() -> None:
    proof = invitation.proof(TOKEN, b"one transcript" + INITIATOR.did.public_key)
    assert proof != invitation.proof(TOKEN, b"other transcript" + INITIATOR.did.public_key)
    assert proof != invitation.proof(TOKEN, b"one transcript" + RESPONDER.did.public_key)
    assert TOKEN not in run(TOKEN)["proof"]


def test_hello_is_never_shorter_than_its_answer() -> None:
    full = Offer(bytes(32), bytes(20), (bytes(8),) * handshake.MAX_HINTS)
    assert len(handshake.encode(full)) <= len(handshake.hello()) == handshake.HELLO_BYTES
    short = cbor.encode(schema.to_value(handshake.Hello(1, bytes(8))))
    with pytest.raises(DocumentError, match="at least"):
        handshake.decode_asked(short)


def test_an_admins_member_still_fits_one_datagram() -> None:
    largest = bytes(handshake.MEMBERSHIP_BYTES - 120)
    proof = Initiator(offer(), Ephemeral.of(SECRETS["f"])).proof(INITIATOR, (largest,))
    assert len(proof) <= handshake.HANDSHAKE_BYTES
    with pytest.raises(DocumentError, match="at most"):
        Initiator(offer(), Ephemeral.of(SECRETS["f"])).proof(INITIATOR, (largest, largest))


# -- cookies


def test_a_cookie_is_for_one_address_and_two_minutes() -> None:
    offers = Offers(60_000, Dice())
    made = offers.make("udp 10.0.0.1 5683", lambda: [COOP.did], 100.0)
    assert made.hints == (hint(COOP.did, made.key),)
    for address in ("udp 10.0.0.2 5683", "udp 10.0.0.1 5684", "tcp 10.0.0.1 5683"):
        assert offers.take(made.cookie, address, 100.0) is None
    for now_s in (100.0, 159.0, 161.0, 219.0):
        taken = offers.take(made.cookie, "udp 10.0.0.1 5683", now_s)
        assert taken is not None
        assert taken[0] == made
    assert offers.make("a", list, 161.0).key != made.key
    assert offers.take(made.cookie, "udp 10.0.0.1 5683", 220.0) is None
    assert offers.take(bytes(20), "udp 10.0.0.1 5683", 100.0) is None


def test_ten_thousand_hellos_leave_two_offers() -> None:
    offers = Offers(60_000, Dice())
    for number in range(10_000):
        offers.make(f"udp 10.0.{number >> 8}.{number & 255} 5683", list, number / 10)
    assert len(offers._kept) <= 2


def test_changed_memberships_change_the_hints_and_the_offer_before_holds() -> None:
    offers = Offers(60_000, Dice())
    before = offers.make("a", list, 0.0)
    offers.renew()
    after = offers.make("a", lambda: [COOP.did], 1.0)
    assert (before.hints, len(after.hints)) == ((), 1)
    assert offers.take(before.cookie, "a", 1.0) is not None


# -- the cipher


@EVERY
@given(st.binary(max_size=300), st.binary(max_size=80), st.binary(min_size=12, max_size=12))
def test_libsodium_called_directly_is_what_pynacl_does(plain: bytes, aad: bytes, nonce: bytes) -> None:
    key = bytes(range(32))
    sealed = bytes(aead.encrypt(plain, aad, nonce, key))
    assert sealed == aead.encrypt_by_bindings(plain, aad, nonce, key)
    assert aead.decrypt(sealed, aad, nonce, key) == aead.decrypt_by_bindings(sealed, aad, nonce, key) == plain
    pieces = (plain[:7], plain[7:])
    assert aead.encrypt_behind(aad, pieces, aad, nonce, key) == aad + sealed
    assert aead.decrypt_behind(len(aad), aad + sealed, aad, nonce, key) == plain
    for changed in (sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1]), b""):
        for decrypt in (aead.decrypt, aead.decrypt_by_bindings):
            with pytest.raises((SignatureError, ValueError)):
                decrypt(changed, aad, nonce, key)


def test_keys_and_nonces_of_another_length_are_refused() -> None:
    for nonce, key in ((bytes(11), bytes(32)), (bytes(12), bytes(31))):
        with pytest.raises(ValueError, match="expected"):
            aead.encrypt(b"x", b"", nonce, key)
        with pytest.raises(ValueError, match="expected"):
            aead.decrypt(bytes(20), b"", nonce, key)


def test_without_the_compiled_module_the_public_functions_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aead, "DIRECT", False)
    assert {key: value.hex() for key, value in run().items()} == VECTORS["member"]
    sealed = aead.encrypt(b"x", b"y", bytes(12), bytes(32))
    assert aead.decrypt(bytes(sealed), b"y", bytes(12), bytes(32)) == b"x"
