"""COSE_Sign1: one form, one kind, strict Ed25519, and agreement with pycose."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import cbor2
import dag_cbor
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_strategies import DOCUMENTS, OTHER, SIGNER, SOME, samples_of

from icn_lite.model import cbor, cose, document
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError, SignatureError
from icn_lite.model.messages import LeaseReturnV1, ReceiptAckV1

KINDS = [cls.KIND for cls in DOCUMENTS]
KIND = "icn-lite/receipt-ack/1"
PAYLOAD = cbor.encode({"v": 1})
BLOCK = cose.sign(KIND, PAYLOAD, SIGNER)

ORDER = 2**252 + 27742317777372353535851937790883648493  # of the group (RFC 8032 §5.1)
# All points of small order, and the encodings of y that aren't reduced (RFC 7748's list as used by libsodium).
SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]


def test_form() -> None:
    protected, unprotected, payload, signature = dag_cbor.decode(BLOCK)  # type: ignore[misc]
    assert (unprotected, payload, len(signature)) == ({}, PAYLOAD, 64)  # type: ignore[arg-type]
    header = cbor2.loads(protected)  # type: ignore[arg-type]
    assert header == {1: -8, 3: "application/vnd.icn-lite.receipt-ack.1+cbor", 4: str(SIGNER.did).encode()}
    signed = cose.verify(KIND, BLOCK)
    assert (signed.signer, signed.payload, signed.cid) == (SIGNER.did, PAYLOAD, Cid.of_dag_cbor(BLOCK))


@pytest.mark.parametrize(("made", "asked"), list(itertools.permutations(KINDS, 2)))
def test_a_signature_of_one_kind_never_passes_as_another(made: str, asked: str) -> None:
    block = cose.sign(made, PAYLOAD, SIGNER)
    with pytest.raises(SignatureError, match="kind"):
        cose.verify(asked, block)
    # Even with the other kind's header, the external_aad keeps them apart.
    _, empty, payload, signature = cbor.decode(block)  # type: ignore[misc]
    protected: Any = cbor.decode(cose.sign(asked, PAYLOAD, SIGNER))
    with pytest.raises(SignatureError, match="does not hold"):
        cose.verify(asked, cbor.encode([protected[0], empty, payload, signature]))


def test_content_types_are_all_different() -> None:
    assert len({cose.content_type(kind) for kind in KINDS}) == len(KINDS)


def test_every_flipped_bit_of_a_signed_block_is_refused() -> None:
    for at in range(len(BLOCK)):
        for bit in range(8):
            mutant = BLOCK[:at] + bytes((BLOCK[at] ^ 1 << bit,)) + BLOCK[at + 1 :]
            with pytest.raises((DocumentError, SignatureError)):
                cose.verify(KIND, mutant)
    for cut in range(len(BLOCK)):
        with pytest.raises(DocumentError):
            cose.verify(KIND, BLOCK[:cut])
    with pytest.raises(DocumentError):
        cose.verify(KIND, BLOCK + b"\0")


HEADER = {1: -8, 3: cose.content_type(KIND), 4: str(SIGNER.did).encode()}


def header(**changes: Any) -> bytes:
    return bytes(cbor2.dumps({**HEADER, **{int(key[1:]): value for key, value in changes.items()}}, canonical=True))


REFUSED_FORMS: dict[str, list[Any]] = {
    "three parts": [header(), {}, PAYLOAD],
    "five parts": [header(), {}, PAYLOAD, bytes(64), 0],
    "header as a map": [{}, {}, PAYLOAD, bytes(64)],
    "unprotected header": [header(), {"a": 1}, PAYLOAD, bytes(64)],
    "unprotected list": [header(), [], PAYLOAD, bytes(64)],
    "detached payload": [header(), {}, None, bytes(64)],
    "short signature": [header(), {}, PAYLOAD, bytes(63)],
    "long signature": [header(), {}, PAYLOAD, bytes(65)],
    "no header": [b"", {}, PAYLOAD, bytes(64)],
    "algorithm ES256": [header(_1=-7), {}, PAYLOAD, bytes(64)],
    "kid as text": [header(_4=str(SIGNER.did)), {}, PAYLOAD, bytes(64)],
    "kid no DID": [header(_4=b"me"), {}, PAYLOAD, bytes(64)],
    "kid not ASCII": [header(_4=b"\xff"), {}, PAYLOAD, bytes(64)],
    "content type as a number": [header(_3=60), {}, PAYLOAD, bytes(64)],
    "another header key": [header(_5=b"iv"), {}, PAYLOAD, bytes(64)],
    "critical header": [header(_2=[4]), {}, PAYLOAD, bytes(64)],
    "trailing byte in the header": [header() + b"\0", {}, PAYLOAD, bytes(64)],
    "header cut off": [header()[:-1], {}, PAYLOAD, bytes(64)],
    "header with a long length": [header().replace(b"\x78\x2b", b"\x79\x00\x2b"), {}, PAYLOAD, bytes(64)],
}


@pytest.mark.parametrize("name", REFUSED_FORMS)
def test_other_forms_are_refused(name: str) -> None:
    with pytest.raises(DocumentError) as refused:
        cose.read(cbor.encode(REFUSED_FORMS[name]))
    assert refused.value.offset is not None


def test_a_header_in_another_order_is_refused() -> None:
    swapped = b"\xa3" + b"".join(cbor2.dumps(key) + cbor2.dumps(HEADER[key]) for key in (3, 1, 4))
    with pytest.raises(DocumentError, match="protected header"):
        cose.read(cbor.encode([swapped, {}, PAYLOAD, bytes(64)]))


def test_another_signer_in_the_header_is_refused() -> None:
    _, empty, payload, signature = cbor.decode(BLOCK)  # type: ignore[misc]
    with pytest.raises(SignatureError, match="does not hold"):
        cose.verify(KIND, cbor.encode([header(_4=str(OTHER.did).encode()), empty, payload, signature]))


def test_the_signer_has_to_be_the_author() -> None:
    ack = ReceiptAckV1(SIGNER.did, OTHER.did, Cid.of_raw(b"j"), Cid.of_raw(b"r"))
    with pytest.raises(SignatureError, match="originator"):
        document.seal(ack, OTHER)
    forged = cose.sign(ack.KIND, document.encode(ack), OTHER)
    with pytest.raises(SignatureError, match="originator"):
        document.unseal(ReceiptAckV1, forged)
    with pytest.raises(SignatureError, match="kind"):
        document.unseal(LeaseReturnV1, document.seal(ack, SIGNER).block)


def test_too_large_a_block_is_refused_unread() -> None:
    with pytest.raises(DocumentError, match="at most 100 bytes"):
        cose.verify(KIND, BLOCK, max_bytes=100)


@SOME
@given(st.binary(max_size=200), st.binary(min_size=32, max_size=32))
def test_signatures_hold_for_their_message_and_key_only(message: bytes, seed: bytes) -> None:
    signer = cose.KeySigner(seed)
    signature = signer.sign(message)
    assert cose.verify_bytes(signer.did, message, signature)
    assert not cose.verify_bytes(signer.did, message + b"\0", signature)
    assert not cose.verify_bytes(SIGNER.did, message, signature) or seed == b"\1" * 32


def test_malleable_s_is_refused() -> None:
    signature = SIGNER.sign(b"message")
    s = int.from_bytes(signature[32:], "little")
    for changed in (s + ORDER, s + 2 * ORDER, s | 1 << 255):
        assert not cose.verify_bytes(SIGNER.did, b"message", signature[:32] + changed.to_bytes(32, "little"))


@pytest.mark.parametrize("point", SMALL_ORDER)
@pytest.mark.parametrize("signature", [bytes(64), b"\1" + bytes(63)], ids=["zeros", "neutral R"])
def test_a_key_of_small_order_signs_nothing(point: str, signature: bytes) -> None:
    """With such a key one signature would hold for every message."""
    key = bytes.fromhex(point)
    for nonce in (signature[:32], key):
        for number in range(8):
            assert not cose.verify_bytes(Did(key), bytes((number,)), nonce + signature[32:])


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_a_nonce_of_small_order_is_refused(point: str) -> None:
    assert not cose.verify_bytes(SIGNER.did, b"message", bytes.fromhex(point) + SIGNER.sign(b"message")[32:])


def test_a_key_that_is_no_point_or_not_reduced_is_refused() -> None:
    signature = SIGNER.sign(b"message")
    for key in (b"\xff" * 32, (2).to_bytes(32, "little"), (2**255 - 19 + 3).to_bytes(32, "little")):
        assert not cose.verify_bytes(Did(key), b"message", signature)


@pytest.mark.parametrize("length", [0, 1, 63, 65, 128])
def test_signatures_of_another_length_are_refused(length: int) -> None:
    assert not cose.verify_bytes(SIGNER.did, b"message", bytes(length))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_seeds_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(SignatureError, match="32 bytes"):
        cose.KeySigner(bytes(length))


# Reads `{"block", "kind", "seed"}` as JSON, verifies the block, and answers with one of its own over the same payload.
ORACLE = """
import json, sys
import cbor2
from pycose.algorithms import EdDSA
from pycose.headers import KID, Algorithm, ContentType
from pycose.keys import OKPKey
from pycose.keys.curves import Ed25519
from pycose.messages import Sign1Message

asked = json.load(sys.stdin)
answers = []
for case in asked:
    message = Sign1Message.from_cose_obj(cbor2.loads(bytes.fromhex(case["block"])), allow_unknown_attributes=False)
    message.external_aad = case["kind"].encode()
    message.key = OKPKey(crv=Ed25519, x=bytes.fromhex(case["key"]))
    verified = message.verify_signature()
    message.external_aad = b"icn-lite/other/1"
    elsewhere = message.verify_signature()
    own = Sign1Message(
        phdr={Algorithm: EdDSA, ContentType: message.phdr[ContentType], KID: message.phdr[KID]},
        payload=message.payload, external_aad=case["kind"].encode(),
        key=OKPKey(crv=Ed25519, d=bytes.fromhex(case["seed"]), x=bytes.fromhex(case["key"])))
    answers.append({"verified": verified, "elsewhere": elsewhere, "block": own.encode(tag=False).hex(),
                    "kid": message.phdr[KID].decode(), "payload": message.payload.hex()})
json.dump(answers, sys.stdout)
"""


def test_pycose_verifies_ours_and_we_verify_its(pycose_python: Path) -> None:
    samples = {cls: samples_of(cls)[-1] for cls in DOCUMENTS}
    blocks = {cls: cose.sign(cls.KIND, document.encode(item), SIGNER) for cls, item in samples.items()}
    key = SIGNER.did.public_key.hex()
    asked = [
        {"block": block.hex(), "kind": cls.KIND, "seed": (b"\1" * 32).hex(), "key": key}
        for cls, block in blocks.items()
    ]
    run = subprocess.run(
        [str(pycose_python), "-I", "-c", ORACLE], input=json.dumps(asked), capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    for (cls, block), answer in zip(blocks.items(), json.loads(run.stdout), strict=True):
        assert answer["verified"] is True
        assert answer["elsewhere"] is False
        assert answer["kid"] == str(SIGNER.did)
        assert bytes.fromhex(answer["payload"]) == document.encode(samples[cls])
        # Ed25519 is deterministic, so the same form means the same bytes.
        assert bytes.fromhex(answer["block"]) == block
        assert document.decode(cls, cose.verify(cls.KIND, bytes.fromhex(answer["block"])).payload) == samples[cls]
