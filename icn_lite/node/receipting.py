"""From a run's outcome to a signed receipt in the store: the one place where receipts are made.

`store_run` writes output, blocks and receipt in one transaction, so that a receipt never names an output that is not
there, and takes its place in the chain (`seq`, `prev`) within it, so that no place is taken twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from icn_lite.model import cose, unixfs
from icn_lite.model.cid import Cid
from icn_lite.model.document import Sealed
from icn_lite.model.receipt import (
    NO_SIGNATURE,
    Clock,
    ExecutionReceipt,
    Health,
    ReceiptStatus,
    fit_call,
    sign_receipt,
)
from icn_lite.sandbox.outcome import RunOutcome
from icn_lite.store.db import Store
from icn_lite.wasm.prepared import FUEL_SCHEDULE, METER


@dataclass(frozen=True, slots=True)
class RunSubject:
    """What was run, for whom: the part of a receipt that is known before the run."""

    job: Cid
    module: Cid
    input: Cid
    fuel_limit: int
    shard: int = 0
    stage: int = 0
    lease: Cid | None = None
    entry: str | None = None
    args: tuple[str, ...] = ()
    price: int = 0


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A subject with its outcome and the circumstances."""

    subject: RunSubject
    outcome: RunOutcome
    clock: Clock
    health: Health | None = None


def store_run(store: Store, signer: cose.Signer, record: RunRecord) -> Sealed[ExecutionReceipt]:
    """Sign the next receipt of our chain and commit it with its output. The caller is inside a transaction or not."""
    if store.in_transaction:
        return _store_run(store, signer, record)
    with store.transaction():
        return _store_run(store, signer, record)


def _store_run(store: Store, signer: cose.Signer, record: RunRecord) -> Sealed[ExecutionReceipt]:
    link = store.receipts.next_link(signer.did)
    receipt, call = fit_call(make_receipt(signer, record, link.seq, link.prev))
    sealed = sign_receipt(receipt, signer)
    if receipt.call is not None and call is not None:
        store.blocks.put(receipt.call, call)
    if receipt.output is not None:
        store.blocks.put(receipt.output, record.outcome.output)
    for block in record.outcome.blocks:
        store.blocks.put(Cid.of_raw(block), block)
    store.receipts.put_sealed(sealed)
    return sealed


def make_receipt(signer: cose.Signer, record: RunRecord, seq: int, prev: Cid | None) -> ExecutionReceipt:
    """The unsigned receipt of a run at a place in the signer's chain."""
    subject, outcome = record.subject, record.outcome
    status = {
        "completed": ReceiptStatus.COMPLETED,
        "trapped": ReceiptStatus.TRAPPED,
        "out_of_fuel": ReceiptStatus.TRAPPED,
        "failed": ReceiptStatus.FAILED,
    }[outcome.status]
    completed = status is ReceiptStatus.COMPLETED
    return ExecutionReceipt(
        job=subject.job,
        shard=subject.shard,
        stage=subject.stage,
        module=subject.module,
        input=subject.input,
        status=status,
        fuel_used=min(outcome.fuel_used, subject.fuel_limit),
        fuel_limit=subject.fuel_limit,
        schedule=FUEL_SCHEDULE,
        meter=METER,
        peak_pages=outcome.memory_pages_peak,
        host_calls=outcome.host_calls,
        cpu_ms=outcome.cpu_ms,
        wall_ms=outcome.wall_ms,
        executor=signer.did,
        seq=seq,
        clock=record.clock,
        price=subject.price,
        core_signature=NO_SIGNATURE,
        prev=prev,
        lease=subject.lease,
        output=unixfs.blob_cid(outcome.output) if completed else None,
        trap=(outcome.trap or "out_of_fuel") if status is ReceiptStatus.TRAPPED else None,
        failure=outcome.failure if status is ReceiptStatus.FAILED else None,
        exit_code=outcome.exit_code if completed else None,
        entry=subject.entry,
        args=subject.args,
        results=tuple(str(value) for value in outcome.results) if completed else (),
        health=record.health,
    )
