"""CIDs, DIDs and icn-core's forms: published vectors, and every text but the one form refused."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_strategies import SIGNER, SOME, cids
from multiformats import CID

from icn_lite.model.cid import DAG_CBOR, RAW, Cid
from icn_lite.model.cose import KeySigner, verify_bytes
from icn_lite.model.did import MAX_TEXT_LENGTH, PREFIX, Did, base58_decode, base58_encode
from icn_lite.model.errors import DocumentError
from icn_lite.model.receipt import icn_core_bytes, icn_core_cid, parse_icn_core_cid

RFC_8032_KEY_1 = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
RFC_8032_SEED_1 = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")

CORE_JOB = "bafkrexumtebca6x25nysaqymlbneixzb5euteca5ms6jt6aojes3zmac"
CORE_RESULT = "bafkrfkxit7apaprjlgxe24a2qdgdsfmrrskqwfm7nk5wzewbim5rvbju"


def test_well_known_cids() -> None:
    assert str(Cid.of_raw(b"")) == "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
    assert str(Cid.of_dag_cbor(b"\xa0")) == "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua"


@SOME
@given(cids)
def test_cids_agree_with_multiformats(cid: Cid) -> None:
    text = str(cid)
    assert (len(text), len(cid.encode())) == (59, 36)
    assert bytes(CID.decode(text)) == cid.encode()
    assert CID.decode(cid.encode()).encode("base32") == text
    assert Cid.parse(text) == Cid.decode(cid.encode()) == cid


A_CID = str(Cid.of_raw(b""))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        A_CID[:-1],
        A_CID + "a",
        A_CID.upper(),
        "B" + A_CID[1:],
        "z" + A_CID[1:],
        A_CID[:5] + "R" + A_CID[6:],
        A_CID[:5] + "1" + A_CID[6:],
        A_CID[:5] + "=" + A_CID[6:],
        A_CID[:5] + "ı" + A_CID[6:],
        A_CID[:5] + " " + A_CID[6:],
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
        CORE_JOB,
        "bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzd",  # a character short
    ],
    ids=repr,
)
def test_other_texts_are_no_cid(text: str) -> None:
    with pytest.raises(DocumentError):
        Cid.parse(text)


def test_stray_bits_in_the_last_character_are_refused() -> None:
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    accepted = []
    for character in alphabet:
        try:
            accepted.append(str(Cid.parse(A_CID[:-1] + character)))
        except DocumentError:
            continue
    assert len(accepted) == 8  # 58 characters hold 290 bits, 2 more than 36 bytes
    assert len(set(accepted)) == 8


@pytest.mark.parametrize("codec", [0, 0x51, 0x72, 0x100])
def test_other_codecs_are_refused(codec: int) -> None:
    with pytest.raises(DocumentError, match="codec"):
        Cid(codec, bytes(32))


def test_did_of_a_known_seed() -> None:
    assert str(KeySigner(b"\1" * 32).did) == "did:key:z6Mkon3Necd6NkkyfoGoHxid2znGc59LU3K7mubaRcFbLfLX"


def test_rfc_8032_key_1() -> None:
    did = Did(RFC_8032_KEY_1)
    assert str(did).startswith("did:key:z6MktwupdmLXVVqT")
    assert did.peer_id.startswith("12D3KooWQK1wnefo")
    signer = KeySigner(RFC_8032_SEED_1)
    assert signer.did == did
    signature = signer.sign(b"")
    assert signature.hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")
    assert verify_bytes(did, b"", signature)


@SOME
@given(st.binary(max_size=40))
def test_base58_round_trip(data: bytes) -> None:
    assert base58_decode(base58_encode(data)) == data


@SOME
@given(st.binary(min_size=32, max_size=32))
def test_dids_round_trip(key: bytes) -> None:
    assert Did.parse(str(Did(key))) == Did(key)


A_DID = str(SIGNER.did)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "did:key:",
        "did:key:z",
        A_DID[:-1],
        A_DID + "1",
        A_DID.replace("did:key:z", "did:key:z1"),
        A_DID.replace("did:key:", "did:web:"),
        A_DID.replace("did:key:z", "did:icn:z"),
        A_DID.upper(),
        A_DID + " ",
        A_DID + "#" + A_DID[8:],
        A_DID[:-1] + "0",
        A_DID[:-1] + "l",
        A_DID[:-1] + "é",
        PREFIX + "z" * (MAX_TEXT_LENGTH + 1),
        PREFIX + "1" * MAX_TEXT_LENGTH,
        PREFIX + base58_encode(b"\xec\x01" + bytes(32)),  # X25519
        PREFIX + base58_encode(b"\xed\x01" + bytes(31)),
        PREFIX + base58_encode(b"\xed\x01" + bytes(33)),
        PREFIX + base58_encode(b"\xed\x81\x00" + bytes(32)),  # a longer varint
        "did:key:f" + (b"\xed\x01" + bytes(32)).hex(),
    ],
    ids=repr,
)
def test_other_texts_are_no_did(text: str) -> None:
    with pytest.raises(DocumentError):
        Did.parse(text)


def test_a_long_text_costs_nothing() -> None:
    with pytest.raises(DocumentError, match="at most"):
        Did.parse(PREFIX + "z" * 10_000_000)


def test_icn_core_receipt_vector() -> None:
    job = Cid.of_raw(b"job")
    result = Cid.of_raw((7).to_bytes(8, "little", signed=True))
    assert icn_core_cid(job) == CORE_JOB
    assert icn_core_cid(result) == CORE_RESULT
    message = icn_core_bytes(job, SIGNER.did, result, 42, success=True)
    assert len(message) == 179
    assert hashlib.sha256(message).hexdigest() == "17c87c0255af829a16ae5ae15e2083d0923c513ddfce7379c2a5da14ae44d8fc"
    assert SIGNER.sign(message).hex() == (
        "3dff6596dc7017e7ba142363fc867b003126e02b3d5c72fb3c2d59ba83f97d67"
        "432a3da1f5a7e6ee38109a5e0d35536835d9364e450a176b138a763cfc51af0f"
    )


@SOME
@given(cids)
def test_icn_core_cids_go_both_ways(cid: Cid) -> None:
    text = icn_core_cid(cid)
    assert len(text) == 57
    assert parse_icn_core_cid(text) == cid


def core_text(data: bytes) -> str:
    return "b" + base64.b32encode(data).decode().lower()


@pytest.mark.parametrize(
    "text",
    [
        "",
        A_CID,
        CORE_JOB.upper(),
        CORE_JOB[:9] + "T" + CORE_JOB[10:],
        CORE_JOB[:9] + "1" + CORE_JOB[10:],
        CORE_JOB[:9] + "=" + CORE_JOB[10:],
        CORE_JOB[:9] + "é" + CORE_JOB[10:],
        "z" + CORE_JOB[1:],
        core_text(b"\x00\x55\x12" + bytes(32)),
        core_text(b"\x01\x00\x12" + bytes(32)),
        core_text(b"\x01\x55\x13" + bytes(32)),
    ],
    ids=repr,
)
def test_other_texts_are_no_icn_core_cid(text: str) -> None:
    with pytest.raises(DocumentError):
        parse_icn_core_cid(text)


def test_the_two_codecs_stay_apart() -> None:
    assert icn_core_cid(Cid(RAW, bytes(32))) != icn_core_cid(Cid(DAG_CBOR, bytes(32)))
