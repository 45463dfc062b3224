"""Every document class: one form on the wire, and nothing else is read."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from model_strategies import DOCUMENTS, FEW, SIGNER, SOME, of, samples_of, wire_classes

from icn_lite.model import cbor, document, schema
from icn_lite.model.errors import DocumentError
from icn_lite.model.messages import MESSAGES, OWN_MESSAGES
from icn_lite.model.receipt import ExecutionReceipt

each_document = pytest.mark.parametrize("cls", DOCUMENTS, ids=lambda cls: cls.__name__)


def test_the_documents_are_those_that_the_tables_name() -> None:
    named = {cls.__name__ for cls in (*MESSAGES.values(), *OWN_MESSAGES.values())}
    parts = {"JobSpec", "ShardPlan", "Call", "Envelope", "Question", "Answer", "SyncAsk", "SyncAnswer"}
    assert named | parts == {cls.__name__ for cls in DOCUMENTS}
    assert len({cls.KIND for cls in DOCUMENTS}) == len(DOCUMENTS)


@each_document
@FEW
@given(data=st.data())
def test_round_trip_and_one_form(cls: type, data: st.DataObject) -> None:
    item = data.draw(of(cls))
    payload = document.encode(item)
    again = document.decode(cls, payload)
    assert again == item
    assert document.encode(again) == payload
    assert cbor.encode(cbor.decode(payload)) == payload


@each_document
@FEW
@given(data=st.data())
def test_json_form_round_trips_through_text(cls: type, data: st.DataObject) -> None:
    item = data.draw(of(cls))
    text = json.dumps(schema.to_value(item, "json"), allow_nan=False)
    assert schema.from_value(cls, json.loads(text), "json") == item


def check_offset(refusal: DocumentError, block: bytes) -> None:
    assert refusal.offset is not None, refusal
    assert 0 <= refusal.offset <= len(block), refusal


def check_mutant(cls: type, payload: bytes, mutant: bytes) -> None:
    """A mutant is refused with an offset inside it, or it is another document whose one form it is."""
    try:
        found = document.decode(cls, mutant)
    except DocumentError as error:
        check_offset(error, mutant)
        return
    assert document.encode(found) == mutant
    assert found != document.decode(cls, payload)


@each_document
@FEW
@given(data=st.data())
def test_a_changed_byte_is_refused_or_makes_another_document(cls: type, data: st.DataObject) -> None:
    payload = document.encode(data.draw(of(cls)))
    for _ in range(8):
        at = data.draw(st.integers(0, len(payload) - 1))
        flip = data.draw(st.integers(1, 255))
        check_mutant(cls, payload, payload[:at] + bytes((payload[at] ^ flip,)) + payload[at + 1 :])
    cut = data.draw(st.integers(0, len(payload) - 1))
    with pytest.raises(DocumentError) as refused:
        document.decode(cls, payload[:cut])
    assert refused.value.offset is not None
    with pytest.raises(DocumentError) as refused:
        document.decode(cls, payload + data.draw(st.binary(min_size=1, max_size=3)))
    assert refused.value.offset == len(payload)


def some_receipt() -> ExecutionReceipt:
    return max(
        samples_of(ExecutionReceipt),
        key=lambda receipt: len(receipt.results) + len(receipt.args) + (receipt.health is not None),
    )


def test_every_byte_changed_and_every_cut_of_a_receipt() -> None:
    payload = document.encode(some_receipt())
    for at in range(len(payload)):
        for flip in (0x01, 0x20, 0x80):  # the lowest bit of an argument, and the major type's both ends
            check_mutant(ExecutionReceipt, payload, payload[:at] + bytes((payload[at] ^ flip,)) + payload[at + 1 :])
        with pytest.raises(DocumentError):
            document.decode(ExecutionReceipt, payload[:at])


@each_document
@FEW
@given(data=st.data())
def test_unknown_keys_versions_and_nulls_are_refused_where_they_stand(cls: type, data: st.DataObject) -> None:
    payload = document.encode(data.draw(of(cls)))
    value: Any = cbor.decode(payload)

    for version in (0, 2, True, "1", None):
        block = cbor.encode({**value, "v": version})
        refuse(cls, block, cbor.offset_of(block, ("v",)), "version")
    block = cbor.encode({key: item for key, item in value.items() if key != "v"})
    refuse(cls, block, 0, "version")

    block = cbor.encode({**value, "zzz": 1})
    refuse(cls, block, cbor.offset_of(block, ("zzz",)), "unknown key")

    key = data.draw(st.sampled_from(sorted(set(value) - {"v"}) or ["zzz"]))
    block = cbor.encode({**value, key: None})
    refuse(cls, block, cbor.offset_of(block, (key,)), "null|None|unknown key")


def refuse(cls: type, block: bytes, offset: int, words: str) -> None:
    with pytest.raises(DocumentError, match=words) as refused:
        document.decode(cls, block)
    assert refused.value.offset == offset


@each_document
@FEW
@given(data=st.data())
def test_a_default_left_out_is_refused_on_the_wire(cls: type, data: st.DataObject) -> None:
    value: Any = cbor.decode(document.encode(data.draw(of(cls))))
    for key in set(value) - {"v"}:
        left = cbor.encode({name: item for name, item in value.items() if name != key})
        try:
            found = document.decode(cls, left)
        except DocumentError:
            continue
        assert getattr(found, key) is None
        assert document.encode(found) == left


@pytest.mark.parametrize("cls", wire_classes(), ids=lambda cls: cls.__name__)
@FEW
@given(data=st.data())
def test_every_value_that_a_document_holds_round_trips(cls: type, data: st.DataObject) -> None:
    item = data.draw(of(cls))
    value = schema.to_value(item)
    assert schema.from_value(cls, cbor.decode(cbor.encode(value))) == item
    for wrong in (1, "text", [], None, b"bytes"):
        with pytest.raises(DocumentError):
            schema.from_value(cls, wrong)


@SOME
@given(st.sampled_from([cls for cls in DOCUMENTS if cls.AUTHOR]), st.data())
def test_sealed_documents_come_back(cls: type, data: st.DataObject) -> None:
    drawn = data.draw(of(cls))
    author = {cls.AUTHOR: SIGNER.did}
    if getattr(drawn, "authority", drawn) is None:  # the cooperative's own word
        author["cooperative"] = SIGNER.did
    else:
        assume(getattr(drawn, "cooperative", None) != SIGNER.did)
    item = dataclasses.replace(drawn, **author)
    sealed = document.seal(item, SIGNER)
    assert document.unseal(cls, sealed.block) == sealed
    assert sealed.document == item


def test_what_no_reader_accepts_is_not_signed() -> None:
    receipt = dataclasses.replace(some_receipt(), executor=SIGNER.did)
    with pytest.raises(DocumentError, match="price"):
        document.seal(dataclasses.replace(receipt, price=-1), SIGNER)
    with pytest.raises(DocumentError, match="host_calls"):
        document.seal(dataclasses.replace(receipt, host_calls=True), SIGNER)
