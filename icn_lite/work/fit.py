"""What a lease says, and whether a receipt fits it: all that the originator knew before the run stands in both.

What the run found out (status, output, results, fuel) is not looked at here: that is compared with what other
executors found (`quorum.py`). A receipt of another fuel schedule or meter is refused, because its fuel and its depth
limit count something else, so its equality would mean nothing and its difference no fault.
"""

from __future__ import annotations

from typing import Final

from icn_lite.model.cid import Cid
from icn_lite.model.errors import VerificationError
from icn_lite.model.job import JobSpec, WasmRuntime
from icn_lite.model.messages import AssignJobV1, ShardGrant
from icn_lite.model.receipt import ExecutionReceipt
from icn_lite.work.originator_events import OfferLease, Terms

FUEL_SCHEDULE: Final = "icn-fuel-1"  # what `wasm/prepare.py` counts by; a test compares both
METER: Final = "icn-meter/2"  # what `wasm/prepare.py` makes; a test compares both
STAGE: Final = 0  # of a job without a workflow

VALUE_TYPES: Final = ("i32", "i64", "f32", "f64")


def lease_document(offer: OfferLease, terms: Terms, job_id: Cid, issued_at_s: int) -> AssignJobV1:
    """The document to sign for an offer: a function of the offer alone, so that it is never granted twice."""
    job = terms.job
    if not isinstance(job.runtime, WasmRuntime):
        raise VerificationError("only WASM jobs are leased to small devices")
    return AssignJobV1(
        originator=job.submitter,
        executor=offer.executor,
        job_id=job_id,
        bid=offer.bid,
        nonce=offer.nonce,
        stage=STAGE,
        module=job.runtime.module,
        shards=offer.shards,
        duration_ms=offer.duration_ms,
        max_fuel=job.compute.max_fuel,
        issued_at=issued_at_s,
        pays_late=terms.pays_late,
    )


def check_fit(receipt: ExecutionReceipt, grant: ShardGrant, job: JobSpec, job_id: Cid) -> None:
    """Refuse a receipt that is not of this shard of this job; raises `VerificationError`.

    A receipt that moved its entry and arguments into a `call` block is judged by that block's CID, with its results.
    """
    runtime, compute = job.runtime, job.compute
    if not isinstance(runtime, WasmRuntime):
        raise VerificationError("only WASM jobs are leased to small devices")
    _same("job", job_id, receipt.job)
    _same("stage", STAGE, receipt.stage)
    _same(f"input of shard {grant.index}", grant.input, receipt.input)
    _same("module", runtime.module, receipt.module)
    _same("fuel limit", compute.max_fuel, receipt.fuel_limit)
    _same("fuel schedule", FUEL_SCHEDULE, receipt.schedule)
    _same("meter", METER, receipt.meter)
    _same("price", grant.price, receipt.price)
    if receipt.call is None:
        _same("entry", runtime.function, receipt.entry)
        _same("arguments", typed_args(job), receipt.args)


def typed_args(job: JobSpec) -> tuple[str, ...]:
    """The arguments that a receipt states: typed values of a function; the words of a program stand in the job only."""
    typed = all(word.partition(":")[0] in VALUE_TYPES for word in job.code.args)
    return job.code.args if typed else ()


def _same(what: str, expected: object, found: object) -> None:
    if expected != found:
        raise VerificationError(f"{what}: expected {expected}, found {found}")
