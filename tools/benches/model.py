"""What reading and signing documents costs, beside the Ed25519 verification that no reader can do without."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import dag_cbor

from icn_lite.model import cbor, cose, document
from icn_lite.model.cid import Cid
from icn_lite.model.receipt import (
    NO_SIGNATURE,
    Clock,
    ExecutionReceipt,
    Health,
    ReceiptStatus,
    icn_core_message,
    read_receipt,
    sign_receipt,
)

RUNS = 9
CALLS = 300
RECEIPTS_PER_S_GOAL = 3000

Row = dict[str, str | int | float | bool | None]


def rows() -> Iterator[Row]:
    signer = cose.KeySigner(b"\1" * 32)
    receipt = example(signer)
    sealed = sign_receipt(receipt, signer)
    payload = cose.read(sealed.block).payload
    message, inner = icn_core_message(sealed.document), sealed.document.core_signature
    verify = micros(lambda: cose.verify_bytes(signer.did, message, inner))
    read = micros(lambda: read_receipt(sealed.block))
    per_s = round(1_000_000 / read)
    yield {
        "name": "receipts read and verified a second (two signatures each)",
        "value": per_s,
        "unit": "1/s",
        "baseline": round(1_000_000 / (2 * verify)),
        "goal": RECEIPTS_PER_S_GOAL,
        "ok": per_s >= RECEIPTS_PER_S_GOAL,
    }
    yield {"name": "sign a receipt in both forms", "value": micros(lambda: sign_receipt(receipt, signer)), "unit": "µs"}
    yield {
        "name": "decode a receipt's DAG-CBOR",
        "value": micros(lambda: cbor.decode(payload)),
        "unit": "µs",
        "peer": f"dag-cbor {micros(lambda: dag_cbor.decode(payload))}",
    }
    yield {
        "name": "payload to a typed receipt",
        "value": micros(lambda: document.decode(ExecutionReceipt, payload)),
        "unit": "µs",
    }
    yield {"name": "a signed receipt", "value": len(sealed.block), "unit": "B", "goal": 1024, "ok": True}


def micros(call: Callable[[], object]) -> float:
    """The median of several runs, in microseconds of this process's CPU a call."""
    spent = []
    for _ in range(RUNS):
        before = time.process_time_ns()
        for _ in range(CALLS):
            call()
        spent.append((time.process_time_ns() - before) / CALLS / 1000)
    return round(statistics.median(spent), 1)


def example(signer: cose.KeySigner) -> ExecutionReceipt:
    job, block = Cid.of_dag_cbor(b"\xa0"), Cid.of_raw(b"block")
    return ExecutionReceipt(
        job=job,
        shard=3,
        stage=0,
        module=block,
        input=block,
        status=ReceiptStatus.COMPLETED,
        fuel_used=123_456_789,
        fuel_limit=1_000_000_000,
        schedule="icn-fuel-1",
        meter="icn-meter/1",
        peak_pages=17,
        host_calls=12,
        cpu_ms=300,
        wall_ms=400,
        executor=signer.did,
        seq=5,
        clock=Clock(b"b" * 16, 12_345_678, 1_700_000_000),
        price=77,
        core_signature=NO_SIGNATURE,
        prev=job,
        lease=job,
        output=block,
        exit_code=0,
        health=Health(88, True, 45_000),
    )
