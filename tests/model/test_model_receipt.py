"""Receipts: under 1024 bytes whatever their values, rules between fields, both signatures."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_strategies import FEW, OTHER, SIGNER, SOME, extreme, receipts

from icn_lite.model import cbor, cose, document
from icn_lite.model.cid import Cid
from icn_lite.model.errors import DocumentError, FailureReason, SignatureError
from icn_lite.model.receipt import (
    MAX_SIGNED_BYTES,
    NO_SIGNATURE,
    Call,
    Clock,
    ExecutionReceipt,
    Health,
    ReceiptStatus,
    fit_call,
    icn_core_message,
    read_receipt,
    sign_receipt,
)
from icn_lite.model.status import StandardJobStatus

JOB, MODULE = Cid.of_dag_cbor(b"\xa0"), Cid.of_raw(b"module")


def receipt_of(**changes: Any) -> ExecutionReceipt:
    usual: dict[str, Any] = {
        "job": JOB,
        "shard": 0,
        "stage": 0,
        "module": MODULE,
        "input": Cid.of_raw(b"input"),
        "status": ReceiptStatus.COMPLETED,
        "fuel_used": 10,
        "fuel_limit": 10,
        "schedule": "icn-fuel-1",
        "meter": "icn-meter/1",
        "peak_pages": 1,
        "host_calls": 2,
        "cpu_ms": 3,
        "wall_ms": 4,
        "executor": SIGNER.did,
        "seq": 0,
        "clock": Clock(bytes(16), 1, 2),
        "price": 5,
        "core_signature": NO_SIGNATURE,
        "output": Cid.of_raw(b"output"),
    }
    return ExecutionReceipt(**{**usual, **changes})


def largest(status: ReceiptStatus, **changes: Any) -> ExecutionReceipt:
    """Every field at the value of its annotation that takes most bytes."""
    hints = typing.get_type_hints(ExecutionReceipt, include_extras=True)
    values = {field.name: extreme(hints[field.name]) for field in dataclasses.fields(ExecutionReceipt)}
    values |= {"status": status, "executor": SIGNER.did}
    values["output"] = values["output"] if status is ReceiptStatus.COMPLETED else None
    values["trap"] = values["trap"] if status is ReceiptStatus.TRAPPED else None
    values["failure"] = values["failure"] if status is ReceiptStatus.FAILED else None
    return ExecutionReceipt(**{**values, **changes})


@pytest.mark.parametrize("status", ReceiptStatus)
def test_the_largest_receipt_fits(status: ReceiptStatus) -> None:
    receipt = largest(status, entry=None, args=(), results=())
    sealed = sign_receipt(receipt, SIGNER)
    assert len(sealed.block) < MAX_SIGNED_BYTES
    assert read_receipt(sealed.block) == sealed


@pytest.mark.parametrize("status", ReceiptStatus)
def test_the_largest_call_moves_into_a_block(status: ReceiptStatus) -> None:
    receipt = largest(status, call=None)
    with pytest.raises(DocumentError, match="1024"):
        sign_receipt(receipt, SIGNER)
    fitted, block = fit_call(receipt)
    assert block is not None
    assert fitted.call == Cid.of_dag_cbor(block)
    assert document.decode(Call, block) == Call(receipt.entry, receipt.args, receipt.results)
    assert len(sign_receipt(fitted, SIGNER).block) < MAX_SIGNED_BYTES


@SOME
@given(receipts())
def test_every_receipt_can_be_signed_and_read(receipt: ExecutionReceipt) -> None:
    fitted, block = fit_call(dataclasses.replace(receipt, executor=SIGNER.did))
    sealed = sign_receipt(fitted, SIGNER)
    assert len(sealed.block) <= MAX_SIGNED_BYTES
    found = read_receipt(sealed.block)
    assert found == sealed
    if block is None:
        assert dataclasses.replace(found.document, core_signature=receipt.core_signature) == fitted
    else:
        assert document.decode(Call, block).args == receipt.args


def test_a_call_that_fits_stays_inside() -> None:
    receipt = receipt_of(entry="add", args=("i32:7", "i32:35"), results=("i32:42",))
    assert fit_call(receipt) == (receipt, None)


BREAKS: dict[str, dict[str, Any]] = {
    "prev without a predecessor": {"prev": JOB},
    "seq without prev": {"seq": 1},
    "completed without output": {"output": None},
    "output of a trap": {"status": ReceiptStatus.TRAPPED, "trap": "unreachable"},
    "trap without its kind": {"status": ReceiptStatus.TRAPPED, "output": None},
    "trap of a completed run": {"trap": "unreachable"},
    "failure without its reason": {"status": ReceiptStatus.FAILED, "output": None},
    "failure of a completed run": {"failure": FailureReason.CPU_TIMEOUT},
    "more fuel than the limit": {"fuel_used": 11},
    "a call both inside and outside": {"call": JOB, "entry": "add"},
    "arguments both inside and outside": {"call": JOB, "args": ("i32:1",)},
}


@pytest.mark.parametrize("name", BREAKS)
def test_rules_between_fields(name: str) -> None:
    with pytest.raises(DocumentError):
        receipt_of(**BREAKS[name])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("meter", "", "1 to 16"),
        ("meter", "m" * 17, "1 to 16"),
        ("meter", "m\u00e9ter", "printable ASCII"),
        ("schedule", "a\x1b[2J", "printable ASCII"),
        ("args", ["i32:1"] * 9, "0 to 8 items"),
        ("args", ["i32:\n"], "printable ASCII"),
        ("shard", 100_000, "0 to 99999"),
        ("seq", 1 << 53, "9007199254740991"),
        ("price", -1, "0 to"),
        ("core_signature", bytes(63), "64"),
        ("status", "Completed", "one of"),
        ("health", {"battery_pct": 101}, "0 to 100"),
        ("health", {"charging": 1}, "true or false"),
        ("clock", {"boot": bytes(16), "uptime_ms": 0}, "missing key"),
    ],
)
def test_bounds_are_refused_at_their_offset(field: str, value: Any, words: str) -> None:
    plain: Any = cbor.decode(document.encode(receipt_of()))
    block = cbor.encode({**plain, field: value})
    with pytest.raises(DocumentError, match=words) as refused:
        document.decode(ExecutionReceipt, block)
    assert refused.value.offset is not None
    assert refused.value.offset >= cbor.offset_of(block, (field,))


def test_the_inner_signature_has_to_hold() -> None:
    receipt = receipt_of(core_signature=SIGNER.sign(b"something else"))
    with pytest.raises(SignatureError, match="icn-core"):
        read_receipt(document.seal(receipt, SIGNER).block)


@pytest.mark.parametrize("field", ["job", "executor", "output", "cpu_ms", "status"])
def test_the_inner_signature_covers_the_outcome(field: str) -> None:
    one = receipt_of()
    changed = {
        "job": {"job": MODULE},
        "executor": {"executor": OTHER.did},
        "output": {"output": JOB},
        "cpu_ms": {"cpu_ms": 4},
        "status": {"status": ReceiptStatus.FAILED, "output": None, "failure": FailureReason.CPU_TIMEOUT},
    }[field]
    assert icn_core_message(one) != icn_core_message(dataclasses.replace(one, **changed))


def test_another_signer_is_refused() -> None:
    with pytest.raises(SignatureError, match="executor"):
        sign_receipt(receipt_of(), OTHER)


def test_a_block_over_the_bound_is_refused_unread() -> None:
    with pytest.raises(DocumentError, match="at most 1024 bytes"):
        read_receipt(cose.sign(ExecutionReceipt.KIND, bytes(1024), SIGNER))


def test_standard_status_and_result() -> None:
    done = receipt_of()
    failed = receipt_of(status=ReceiptStatus.FAILED, output=None, failure=FailureReason.OUT_OF_MEMORY)
    assert done.standard_status is StandardJobStatus.COMPLETED_SUCCESSFULLY
    assert failed.standard_status is StandardJobStatus.FAILED
    assert done.result == done.output
    assert failed.result == Cid.of_raw(b"")


@FEW
@given(st.integers(0, 100), st.booleans(), st.none() | st.integers(-60_000, 150_000))
def test_unknown_readings_are_absent(battery: int, charging: bool, temp: int | None) -> None:
    sealed = sign_receipt(receipt_of(health=Health(battery, charging, temp)), SIGNER)
    plain: Any = cbor.decode(cose.read(sealed.block).payload)
    assert ("temp_mc" in plain["health"]) == (temp is not None)
