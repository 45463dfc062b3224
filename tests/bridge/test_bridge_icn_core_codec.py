"""icn-core's bytes: golden messages made by the real Rust bincode, and what the vectors don't show."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_samples import chain_of

from icn_lite.bridge import icn_core_codec as core
from icn_lite.model.cid import DAG_CBOR, RAW, Cid
from icn_lite.model.cose import KeySigner, verify_bytes
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError, SignatureError
from icn_lite.model.receipt import icn_core_bytes, icn_core_cid, parse_icn_core_cid

VECTORS = Path(__file__).parents[1] / "vectors" / "icn-core-bincode.jsonl"  # made by Rust's bincode 1.3
DID = Did.parse("did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw")
JOB, MANIFEST, INPUT = Cid(RAW, b"\1" * 32), Cid(DAG_CBOR, b"\2" * 32), Cid(RAW, b"\x09" * 32)
RESOURCES = core.Resources(2, 512, 64, 300)


def announced(kind: core.JobKind, deadline: int) -> core.Announcement:
    return core.Announcement(JOB, MANIFEST, DID, 10, core.CoreJobSpec(kind, (INPUT,), ("result",), RESOURCES), deadline)


GOLDEN: dict[str, core.Payload] = {
    "announce_echo": announced(core.Echo("hello"), 1_700_000_030),
    "announce_wasm": announced(core.CclWasm(), 0),
    "bid": core.CoreBid(
        JOB, DID, 5, 7, RESOURCES, 3, (core.Capability(0), core.Capability(core.CUSTOM, "coap", "1")), ("f",), "local"
    ),
    "assign": core.Assignment(JOB, DID, 5, 1_700_003_600),
    "receipt": core.ReceiptMessage(core.CoreReceipt(JOB, DID, Cid(RAW, b"\3" * 32), 42, True, b"\7" * 64), 50, 8, -1),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_messages_are_read_and_written_byte_for_byte(name: str) -> None:
    rows = {row["name"]: bytes.fromhex(row["hex"]) for row in map(json.loads, VECTORS.read_text().splitlines())}
    message = core.CoreMessage(GOLDEN[name], DID, 1_700_000_000)
    assert core.encode(message) == rows[name]
    assert core.decode(rows[name]) == message


@pytest.mark.parametrize("name", GOLDEN)
def test_every_message_survives_and_every_part_of_it_is_refused(name: str) -> None:
    message = core.CoreMessage(GOLDEN[name], DID, 1, DID, b"\5" * 64)
    data = core.encode(message)
    assert core.decode(data) == message
    for length in range(len(data)):
        with pytest.raises(DocumentError):
            core.decode(data[:length])
    with pytest.raises(DocumentError):
        core.decode(data + b"\0")


@given(st.sampled_from(sorted(GOLDEN)), st.data())
def test_any_changed_byte_is_another_message_or_refused(name: str, data: st.DataObject) -> None:
    encoded = core.encode(core.CoreMessage(GOLDEN[name], DID, 1))
    at = data.draw(st.integers(0, len(encoded) - 1))
    changed = encoded[:at] + bytes((encoded[at] ^ data.draw(st.integers(1, 255)),)) + encoded[at + 1 :]
    try:
        read = core.decode(changed)
    except DocumentError:
        return
    assert core.encode(read) == changed


@given(st.binary(max_size=600))
def test_junk_is_refused(data: bytes) -> None:
    with pytest.raises(DocumentError):
        core.decode(b"\1\0\0\0" + data[:4] + b"\xff" * 8 + data)


def test_a_real_receipt_carries_the_executors_signature_in_their_form() -> None:
    signer = KeySigner(b"\1" * 32)
    receipt = core.CoreReceipt.of(chain_of(signer, 1)[0].document)
    receipt.check()
    with pytest.raises(SignatureError):
        core.CoreReceipt(
            receipt.job_id, receipt.executor_did, receipt.result_cid, receipt.cpu_ms + 1, True, receipt.sig
        ).check()


def test_the_receipt_of_the_notes() -> None:
    """Secret key 01×32, raw CIDs of "job" and of i64-LE 7, cpu_ms 42: message, its sha256 and the signature."""
    signer, result = KeySigner(b"\1" * 32), Cid.of_raw((7).to_bytes(8, "little"))
    job = Cid.of_raw(b"job")
    assert icn_core_cid(job) == "bafkrexumtebca6x25nysaqymlbneixzb5euteca5ms6jt6aojes3zmac"
    message = icn_core_bytes(job, signer.did, result, 42, success=True)
    assert len(message) == 179
    assert hashlib.sha256(message).hexdigest() == "17c87c0255af829a16ae5ae15e2083d0923c513ddfce7379c2a5da14ae44d8fc"
    core.CoreReceipt(job, signer.did, result, 42, True, signer.sign(message)).check()


@given(st.sampled_from((RAW, DAG_CBOR)), st.binary(min_size=32, max_size=32))
def test_cids_are_translated_both_ways_and_ours_is_read_where_icn_core_parsed_it(codec: int, digest: bytes) -> None:
    cid = Cid(codec, digest)
    assert parse_icn_core_cid(icn_core_cid(cid)) == cid
    assert len(icn_core_cid(cid)) == 57
    data = core.encode(core.CoreMessage(core.Assignment(cid, DID, 0, 0), DID, 0))
    ours, theirs = (32).to_bytes(8, "little") + digest, (33).to_bytes(8, "little") + b"\x20" + digest
    assert core.decode(data.replace(ours, theirs)) == core.decode(data)


def test_a_bid_is_signed_over_what_its_originator_checks() -> None:
    signer = KeySigner(b"\1" * 32)
    bid = core.CoreBid(JOB, signer.did, 0, 1, RESOURCES, 0, (core.Capability(0),), ("f",), "local")
    message = core.bid_message(bid, ("CclWasm",))
    parts = [icn_core_cid(JOB), str(signer.did)]
    assert message.startswith("".join(parts).encode())
    assert message.endswith(b"CclWasm" + b"f" + b"local")
    assert len(message) == 57 + len(str(signer.did)) + 8 + 3 * 4 + 7 + 1 + 5
    assert verify_bytes(signer.did, message, signer.sign(message))


def test_what_is_too_large_for_their_gossip_is_refused_by_its_author() -> None:
    long = core.CoreMessage(announced(core.Echo("x" * core.MAX_GOSSIP_BYTES), 0), DID, 0)
    with pytest.raises(DocumentError, match="65536"):
        core.encode(long)
    with pytest.raises(DocumentError, match="doesn't fit"):
        core.encode(core.CoreMessage(core.Assignment(JOB, DID, 1 << 64, 0), DID, 0))
