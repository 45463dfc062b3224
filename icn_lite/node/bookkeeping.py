"""What an originator reads from and writes into the store, beside its journal: plans, transfers, chains."""

from __future__ import annotations

from collections.abc import Iterable

from icn_lite.market.settle import Transfer
from icn_lite.model import document
from icn_lite.model.cid import Cid
from icn_lite.model.document import Sealed
from icn_lite.model.errors import JobError, VerificationError
from icn_lite.model.job import InputSpec, JobSpec, PlannedShard, ShardPlan
from icn_lite.model.receipt import ExecutionReceipt
from icn_lite.store.db import Store
from icn_lite.work import originator_events as ev


def read_plan(store: Store, spec: InputSpec) -> tuple[PlannedShard, ...]:
    """The shards of a job's input; raises `JobError` when a block of it is not in the store."""
    if spec.plan is not None:
        data = store.blocks.get(spec.plan)
        if data is None:
            raise JobError(f"input.plan: block {spec.plan} is not in the store")
        shards = document.decode(ShardPlan, data).shards
        if len(shards) != spec.shards:
            raise JobError(f"input.shards: {spec.shards} announced, the plan has {len(shards)}")
    elif spec.data is not None:
        shards = (PlannedShard(spec.data, spec.total_bytes, 1),)
    else:
        raise JobError("input: a job needs an input block or a plan", hint="name an input; an empty file is one")
    for index, shard in enumerate(shards):
        if not store.blocks.has(shard.input):
            raise JobError(f"input of shard {index}: block {shard.input} is not in the store")
    return shards


def module_blocks(job: JobSpec) -> list[Cid]:
    """The modules that a job names."""
    own = getattr(job.runtime, "module", None)
    return [cid for cid in (own, *(stage.wasm_cid for stage in job.code.stages)) if isinstance(cid, Cid)]


def check_chain(store: Store, sealed: Sealed[ExecutionReceipt]) -> None:
    """Refuse a receipt that contradicts the executor's chain as far as we know it."""
    receipt = sealed.document
    for row in store.receipts.around(receipt.executor, receipt.seq):
        if row.seq == receipt.seq:
            raise VerificationError(
                f"fork: {receipt.executor} signed another receipt with seq {receipt.seq} before ({row.cid})"
            )
        if row.seq == receipt.seq - 1 and row.cid != receipt.prev:
            raise VerificationError(f"prev of receipt {receipt.seq} is not the receipt {row.seq} that we hold")
        if row.seq == receipt.seq + 1 and row.prev != sealed.cid:
            raise VerificationError(f"receipt {row.seq} that we hold does not follow receipt {receipt.seq}")


def apply_transfers(store: Store, effects: Iterable[ev.Effect]) -> None:
    """Move the mana that effects ask for; within the transaction that holds their event."""
    for effect in effects:
        if isinstance(effect, ev.MoveMana):
            apply_transfer(store, effect.transfer)


def apply_transfer(store: Store, transfer: Transfer) -> None:
    """Apply one transfer, once by its id."""
    store.ledger.transfer(transfer.id, transfer.cause, transfer.entries)
