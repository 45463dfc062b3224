"""Signed receipts, keys and small values that the store's tests share."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from icn_lite.model.cid import Cid
from icn_lite.model.cose import KeySigner
from icn_lite.model.document import Sealed
from icn_lite.model.receipt import NO_SIGNATURE, Clock, ExecutionReceipt, ReceiptStatus, sign_receipt
from icn_lite.store.db import Store
from icn_lite.store.receipts import ChainLink

REPOSITORY = Path(__file__).resolve().parents[2]
FIRST = ChainLink(0, None)


def signer_of(number: int) -> KeySigner:
    """The key of test node `number`."""
    return KeySigner(bytes([number]) * 32)


def receipt_of(
    signer: KeySigner, link: ChainLink = FIRST, *, job: Cid | None = None, shard: int = 0
) -> Sealed[ExecutionReceipt]:
    """A signed receipt at `link` of the signer's chain."""
    receipt = ExecutionReceipt(
        job=job or Cid.of_dag_cbor(b"job"),
        shard=shard,
        stage=0,
        module=Cid.of_raw(b"module"),
        input=Cid.of_raw(b"input"),
        output=Cid.of_raw(b"output"),
        status=ReceiptStatus.COMPLETED,
        fuel_used=1_000 + shard,
        fuel_limit=1_000_000,
        schedule="icn-fuel-1",
        meter="1",
        peak_pages=2,
        host_calls=1,
        cpu_ms=5,
        wall_ms=6,
        executor=signer.did,
        seq=link.seq,
        prev=link.prev,
        clock=Clock(boot=bytes(16), uptime_ms=1, wall_s=0),
        price=10,
        core_signature=NO_SIGNATURE,
    )
    return sign_receipt(receipt, signer)


class Undone(Exception):
    """Ends a transaction that is to leave nothing."""


def roll_back(store: Store, change: Callable[[], object]) -> None:
    """Make a change in a transaction that fails afterwards."""
    with suppress(Undone), store.transaction():
        change()
        raise Undone


def chain_of(signer: KeySigner, length: int) -> list[Sealed[ExecutionReceipt]]:
    """The first receipts of a signer, each linked to the one before."""
    chain: list[Sealed[ExecutionReceipt]] = []
    for seq in range(length):
        link = ChainLink(seq, chain[-1].cid if chain else None)
        chain.append(receipt_of(signer, link, shard=seq))
    return chain


def run_of(store: Store, signer: KeySigner, number: int) -> None:
    """What a node commits for one run, in the caller's transaction; all parts carry `number`."""
    data = random.Random(number).randbytes(100 + number * 37 % 9_000)
    output = Cid.of_raw(data)
    link = store.receipts.next_link(signer.did)
    sealed = receipt_of(signer, link, shard=number)
    store.blocks.pin("runs", (output,))
    store.blocks.put(output, data)
    store.journal.append("executor", "runs", number.to_bytes(8, "big"))
    store.receipts.put_sealed(sealed)
    store.ledger.transfer(f"pay:{number}", str(sealed.cid), [("mint", -7), (f"account {number % 5}", 7)])


def check_runs(store: Store, signer: KeySigner) -> int:
    """Whether the store holds whole runs 0, 1, 2 … and nothing of any other; returns how many."""
    events = store.journal.replay("executor", "runs")
    count = len(events)
    assert [int.from_bytes(event, "big") for event in events] == list(range(count))
    rows = store.receipts.list(limit=1_000)
    assert [row.shard for row in rows] == list(range(count))
    assert not store.receipts.faults(signer.did)
    for row in rows:
        assert store.receipts.get(row.cid) is not None
    for number in range(count):
        data = random.Random(number).randbytes(100 + number * 37 % 9_000)
        assert store.blocks.get(Cid.of_raw(data)) == data
        assert store.ledger.get(f"pay:{number}") is not None
    assert store.blocks.count == count
    assert store.blocks.missing("runs") == []
    assert len(store.ledger.transfers(limit=1_000)) == count
    assert store.ledger.sum() == 0
    assert store.ledger.balance("mint") == -7 * count
    store.ledger.audit()
    return count


def child_environment() -> dict[str, str]:
    """An environment in which a child finds this checkout and these helpers."""
    return {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{Path(__file__).parent}"}


PYTHON = sys.executable
