"""Checking receipts, without a node and without any key of ours.

What can be checked depends on what is at hand. Always: form, both signatures, bounds. With more receipts of the same
executor: the chain between them. With the blocks: that output and job fit. With module and input: by running again,
output, results, status, trap, exit code, fuel, peak memory and the number of host calls have to come out the same.

A check that lacks its blocks is `skipped`, never passed in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from icn_lite.model import document, unixfs
from icn_lite.model.cid import RAW, Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import DocumentError, IcnLiteError, ModuleError
from icn_lite.model.job import JobSpec, ShardPlan, WasmRuntime
from icn_lite.model.receipt import Call, ExecutionReceipt, ReceiptStatus, read_receipt
from icn_lite.node import stock
from icn_lite.node.receipting import RunRecord, RunSubject, make_receipt
from icn_lite.node.runner import RunOrder, is_wasi, prepare_order, request_for
from icn_lite.sandbox.outcome import DEFAULT_OUTPUT_BYTES, DEFAULT_PAGES, MAX_FUEL, RunContext
from icn_lite.sandbox.pool import run_once
from icn_lite.sandbox.value import parse_value
from icn_lite.wasm.prepared import FUEL_SCHEDULE, METER, Prepared

RERUN_TIMEOUT_MS: Final = 24 * 3600 * 1000  # whoever re-checks may be slower than whoever ran; fuel is the limit

State: TypeAlias = Literal["passed", "failed", "skipped"]
Blocks: TypeAlias = Callable[[Cid], bytes | None]


@dataclass(frozen=True, slots=True)
class Check:
    """One check: `detail` says what was found."""

    name: str
    state: State
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known about one receipt; `receipt` is None when its form or signature doesn't hold."""

    name: str
    cid: Cid
    receipt: ExecutionReceipt | None
    checks: tuple[Check, ...]

    @property
    def verified(self) -> bool:
        """No check failed."""
        return all(check.state != "failed" for check in self.checks)

    @property
    def faults(self) -> tuple[str, ...]:
        """The sentences of the checks that failed."""
        return tuple(f"{check.name}: {check.detail}" for check in self.checks if check.state == "failed")


def verify_block(name: str, block: bytes, blocks: Blocks) -> Verdict:
    """Check one signed receipt and what of its blocks is at hand."""
    cid = Cid.of_dag_cbor(block)
    try:
        sealed = read_receipt(block)
    except IcnLiteError as error:
        return Verdict(name, cid, None, (Check("signature", "failed", error.message),))
    receipt = sealed.document
    checks = (
        Check("signature", "passed", f"by {receipt.executor}"),
        _check_place(receipt, blocks),
        _check_output(receipt, blocks),
        _check_job(receipt, blocks),
    )
    return Verdict(name, sealed.cid, receipt, checks)


def verify_chain(receipts: Iterable[Sealed[ExecutionReceipt]]) -> tuple[Check, ...]:
    """Forks and broken links between the receipts at hand; receipts that are not here prove nothing."""
    by_place: dict[tuple[Did, int], Sealed[ExecutionReceipt]] = {}
    faults: list[Check] = []
    ordered = sorted(receipts, key=lambda sealed: (sealed.document.executor, sealed.document.seq, sealed.cid))
    for sealed in ordered:
        receipt = sealed.document
        other = by_place.setdefault((receipt.executor, receipt.seq), sealed)
        if other.cid != sealed.cid:
            faults.append(Check("chain", "failed", f"fork: {other.cid} and {sealed.cid} both have seq {receipt.seq}"))
        before = by_place.get((receipt.executor, receipt.seq - 1))
        if before is not None and receipt.prev != before.cid:
            faults.append(
                Check(
                    "chain",
                    "failed",
                    f"{sealed.cid} has prev {receipt.prev}, but seq {receipt.seq - 1} is {before.cid}",
                )
            )
    return tuple(faults)


def rerun(receipt: ExecutionReceipt, blocks: Blocks, engine: str = "wasm3") -> Check:
    """Run it again and compare everything that doesn't depend on the device."""
    if receipt.status is ReceiptStatus.FAILED:
        return Check("rerun", "skipped", "the host failed; that can't be run again")
    if (receipt.schedule, receipt.meter) != (FUEL_SCHEDULE, METER):
        return Check(
            "rerun", "skipped", f"metered by {receipt.schedule} {receipt.meter}, this is {FUEL_SCHEDULE} {METER}"
        )
    module, data = blocks(receipt.module), _input(receipt, blocks)
    if module is None or data is None:
        return Check("rerun", "skipped", f"no {'module' if module is None else 'input'} at hand")
    try:
        call = _call(receipt, blocks)
        order = _order(receipt, call, module, data, _job(receipt, blocks), engine)
        prepared = prepare_order(order)
        if engine == stock.ENGINE and (obstacle := stock.obstacle(prepared, module)):
            return _by_the_meter(receipt, blocks, obstacle)
        again = _run_again(receipt, call, order, prepared, _job(receipt, blocks))
    except ModuleError as error:
        # A limit of this device says nothing about the receipt; anything else means that the module never ran.
        return Check("rerun", "skipped" if error.reason == "limit" else "failed", f"module refused: {error.message}")
    except IcnLiteError as error:
        return Check("rerun", "failed", error.message)
    if engine == stock.ENGINE:
        seen = [] if stock.exports_memory(prepared) else ["peak pages"]
        others = _differences(receipt, call, again, without=("status", "trap", "fuel", *seen))
        state, detail = stock.compare(receipt, again, others, module)
        return Check("rerun", state, detail) if state != "skipped" else _by_the_meter(receipt, blocks, detail)
    differences = _differences(receipt, call, again)
    if differences:
        return Check("rerun", "failed", "; ".join(differences))
    return Check("rerun", "passed", f"same output, status and fuel ({receipt.fuel_used}) on {engine}")


def _by_the_meter(receipt: ExecutionReceipt, blocks: Blocks, why: str) -> Check:
    """What a stock wasmtime can't tell is asked of the prepared module in wasmtime, and said so."""
    metered = rerun(receipt, blocks, stock.METERED_ENGINE)
    return Check("rerun", metered.state, f"{why}; with the prepared module: {metered.detail}")


def _order(
    receipt: ExecutionReceipt, call: Call, module: bytes, data: bytes, job: JobSpec | None, engine: str
) -> RunOrder:
    """What the receipt says was run."""
    pages = job.runtime.memory_pages if job is not None and isinstance(job.runtime, WasmRuntime) else DEFAULT_PAGES
    spare = stock.SPARE_FUEL if engine == stock.ENGINE else 0
    return RunOrder(
        module=module,
        input=data,
        invoke=call.entry,
        fuel_limit=min(MAX_FUEL, receipt.fuel_limit + spare),
        pages=pages,
        timeout_ms=RERUN_TIMEOUT_MS,
        output_limit=job.storage.max_output_bytes if job is not None else DEFAULT_OUTPUT_BYTES,
        engine=engine,
    )


def _run_again(
    receipt: ExecutionReceipt, call: Call, order: RunOrder, prepared: Prepared, job: JobSpec | None
) -> ExecutionReceipt:
    """The receipt that this run would have given here."""
    if order.engine == stock.ENGINE:
        prepared = stock.untouched(prepared, order.module, order.pages)
    arguments = job.code.args if job is not None and is_wasi(prepared, call.entry) else ()
    context = RunContext(
        job_id=str(receipt.job),
        shard=receipt.shard,
        initial_input_cid=str(receipt.input),
        stage_index=receipt.stage,
        stage_input_cid=str(receipt.input),
        arguments=arguments,
    )
    values = tuple(parse_value(text) for text in call.args)
    outcome = run_once(request_for(order, prepared, values, context), engine=order.engine)
    subject = RunSubject(
        job=receipt.job,
        module=receipt.module,
        input=receipt.input,
        fuel_limit=order.fuel_limit,
        entry=call.entry,
        args=call.args,
    )
    record = RunRecord(subject, outcome, receipt.clock)
    again = make_receipt(_Nobody(receipt.executor), record, receipt.seq, receipt.prev)
    if again.output is not None and receipt.output is not None and receipt.output.codec == RAW:
        return replace(again, output=Cid.of_raw(outcome.output))  # a large output named as one block is named rightly
    return again


@dataclass(frozen=True, slots=True)
class _Nobody:
    """Stands where a signer is asked for; nothing is signed."""

    did: Did

    def sign(self, message: bytes) -> bytes:
        raise NotImplementedError("a re-run is compared, not signed")


def _differences(
    receipt: ExecutionReceipt, call: Call, again: ExecutionReceipt, without: tuple[str, ...] = ()
) -> list[str]:
    if again.status is ReceiptStatus.FAILED:
        return [f"it failed here: {again.failure.value if again.failure else 'unknown'}"]
    compared = (
        ("status", receipt.status.value, again.status.value),
        ("trap", receipt.trap, again.trap),
        ("exit code", receipt.exit_code, again.exit_code),
        ("output", receipt.output, again.output),
        ("results", call.results, again.results),
        ("fuel", receipt.fuel_used, again.fuel_used),
        ("peak pages", receipt.peak_pages, again.peak_pages),
        ("host calls", receipt.host_calls, again.host_calls),
    )
    return [
        f"{name} {_shown(said)} is {_shown(found)} here"
        for name, said, found in compared
        if said != found and name not in without
    ]


def _shown(value: object) -> str:
    return " ".join(str(item) for item in value) if isinstance(value, tuple) else str(value)


def _input(receipt: ExecutionReceipt, blocks: Blocks) -> bytes | None:
    return b"" if receipt.input == Cid.of_raw(b"") else blocks(receipt.input)


def _call(receipt: ExecutionReceipt, blocks: Blocks) -> Call:
    """Entry, arguments and results, from the receipt or from the block of their own."""
    if receipt.call is None:
        return Call(receipt.entry, receipt.args, receipt.results)
    block = blocks(receipt.call)
    if block is None:
        raise DocumentError(f"the block {receipt.call} with entry and arguments is not at hand")
    return document.decode(Call, block)


def _job(receipt: ExecutionReceipt, blocks: Blocks) -> JobSpec | None:
    block = blocks(receipt.job)
    return None if block is None else document.decode(JobSpec, block)


def _check_place(receipt: ExecutionReceipt, blocks: Blocks) -> Check:
    """The receipt before this one is by the same executor and one lower in the chain."""
    if receipt.prev is None:
        return Check("chain", "passed", "the first of its chain")
    block = blocks(receipt.prev)
    if block is None:
        return Check("chain", "skipped", "the receipt before it is not at hand")
    try:
        before = read_receipt(block).document
    except IcnLiteError as error:
        return Check("chain", "failed", f"the receipt before it: {error.message}")
    if before.executor != receipt.executor:
        return Check("chain", "failed", f"the receipt before it is by {before.executor}")
    if before.seq != receipt.seq - 1:
        return Check("chain", "failed", f"seq {receipt.seq} follows seq {before.seq}")
    return Check("chain", "passed", f"seq {receipt.seq} follows {receipt.prev}")


def _check_output(receipt: ExecutionReceipt, blocks: Blocks) -> Check:
    if receipt.output is None:
        return Check("output", "skipped", "there is none")
    block = blocks(receipt.output)
    if block is None:
        return Check("output", "skipped", "not at hand")
    if not unixfs.names(receipt.output, block):
        found = unixfs.blob_cid(block)
        return Check("output", "failed", f"the bytes at hand ({found}) are not the output {receipt.output}")
    return Check("output", "passed", f"{len(block)} bytes")


def _check_job(receipt: ExecutionReceipt, blocks: Blocks) -> Check:
    """The job's document names this module and this input, and allows this much fuel."""
    try:
        job = _job(receipt, blocks)
        if job is None:
            return Check("job", "skipped", "not at hand")
        fault = _job_fault(receipt, job, blocks)
    except IcnLiteError as error:
        return Check("job", "failed", error.message)
    return Check("job", "failed", fault) if fault else Check("job", "passed", job.name)


def _job_fault(receipt: ExecutionReceipt, job: JobSpec, blocks: Blocks) -> str:
    stages = job.code.stages
    module = job.runtime.module if isinstance(job.runtime, WasmRuntime) else None
    if stages and receipt.stage < len(stages):
        module = stages[receipt.stage].wasm_cid
    if receipt.module != module:
        return f"the job runs module {module}, the receipt says {receipt.module}"
    if receipt.fuel_limit > job.compute.max_fuel:
        return f"the job allows {job.compute.max_fuel} fuel, the receipt says {receipt.fuel_limit}"
    if receipt.stage == 0 and job.input.data is not None and receipt.input != job.input.data:
        return f"the job's input is {job.input.data}, the receipt says {receipt.input}"
    plan = blocks(job.input.plan) if receipt.stage == 0 and job.input.plan is not None else None
    if plan is None:
        return ""
    shards = document.decode(ShardPlan, plan).shards
    if receipt.shard >= len(shards):
        return f"the plan has {len(shards)} shards, the receipt is for number {receipt.shard}"
    if receipt.input != shards[receipt.shard].input:
        return f"shard {receipt.shard} has input {shards[receipt.shard].input}, the receipt says {receipt.input}"
    return ""
