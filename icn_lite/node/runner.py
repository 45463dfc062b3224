"""The path of `icn-lite run`: module bytes, preparation, sandbox, receipt; the node's own path without its neighbours.

A local run is a job like any other, by this node for itself: its `JobSpec` names module, input, limits and arguments,
costs nothing, and is kept as a block, so that whoever has the receipt and the blocks can run it again. It is not
listed among jobs. Its receipt takes the next place in the same chain as those of runs for others.

The store is only taken when the run is over, for one transaction, so runs on one home go on side by side. While a
node holds the home the run's outcome stands, but no receipt can be stored: `LocalRun.unstored` says why.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import Final

from icn_lite.device.profile import Profile
from icn_lite.model import document, unixfs
from icn_lite.model.cid import Cid
from icn_lite.model.cose import Signer
from icn_lite.model.document import Sealed
from icn_lite.model.errors import HomeInUse, StoreError, UsageError
from icn_lite.model.job import (
    MAX_ARGS,
    Budget,
    CodeSpec,
    ComputeRequirements,
    InputSpec,
    JobSpec,
    StorageRequirements,
    WasmRuntime,
)
from icn_lite.model.receipt import ExecutionReceipt
from icn_lite.node.clock import Clock
from icn_lite.node.home import Home
from icn_lite.node.prepared_cache import PreparedCache, cache_key
from icn_lite.node.preparing import prepare_module, structural_limits
from icn_lite.node.receipting import RunRecord, RunSubject, store_run
from icn_lite.sandbox.hostabi import HOST_CALL_LIMIT
from icn_lite.sandbox.outcome import (
    DEFAULT_FUEL,
    DEFAULT_LOG_BYTES,
    DEFAULT_OUTPUT_BYTES,
    DEFAULT_PAGES,
    DEFAULT_TIMEOUT_MS,
    RunContext,
    RunOutcome,
    RunRequest,
)
from icn_lite.sandbox.pool import run_once
from icn_lite.sandbox.value import Value, parse_value
from icn_lite.store.db import Store
from icn_lite.wasm.limits import DEFAULT_LIMITS, Limits
from icn_lite.wasm.prepared import Prepared
from icn_lite.wasm.types import FuncType

LOCK_WAIT_MS: Final = 5_000  # another `run` holds the home for one commit, some ten milliseconds on a slow card
LOCK_POLL_MS: Final = 20
MAX_TYPED_ARGS: Final = 8  # what a receipt holds
MAX_RESULTS: Final = 4  # the same
MAX_WORD_CHARS: Final = 128  # of an argument or an entry's name, as in a job
WASI_ENTRY: Final = "_start"


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What somebody wants to be run. `words` are typed values (`i32:7`), or plain arguments of a WASI program."""

    module: bytes
    input: bytes = b""
    invoke: str | None = None
    words: tuple[str, ...] = ()
    fuel_limit: int = DEFAULT_FUEL
    pages: int = DEFAULT_PAGES
    timeout_ms: int = DEFAULT_TIMEOUT_MS
    output_limit: int = DEFAULT_OUTPUT_BYTES
    log_limit: int = DEFAULT_LOG_BYTES
    host_calls: int = HOST_CALL_LIMIT
    engine: str = "wasm3"
    limits: Limits = DEFAULT_LIMITS


@dataclass(frozen=True, slots=True)
class LocalRun:
    """A run that is over; `receipt` is None when it could not be stored, and `unstored` says why."""

    outcome: RunOutcome
    job: JobSpec
    module: Cid
    input: Cid
    receipt: Sealed[ExecutionReceipt] | None = None
    unstored: str = ""


def profile_limits(profile: Profile) -> Limits:
    """A profile's structural limits, with its pages for guests; raises `ProfileError` for a name that is no limit."""
    return replace(structural_limits(profile.wasm), memory_pages=profile.guest.memory_pages)


def prepare_order(order: RunOrder, cache: PreparedCache | None = None) -> Prepared:
    """Prepare the module within the order's limits, or take it from a cache; raises `ModuleError` with advice."""
    return prepare_module(order.module, replace(order.limits, memory_pages=order.pages), cache)


def keep_prepared(order: RunOrder, prepared: Prepared, home: Home) -> None:
    """Keep what was prepared before there was a home."""
    key = cache_key(Cid.of_raw(order.module), replace(order.limits, memory_pages=order.pages))
    PreparedCache(home.prepared).put(key, prepared)


@dataclass(frozen=True, slots=True)
class Planned:
    """A local run before it begins: its job, what the sandbox is asked, and what its receipt will be about."""

    order: RunOrder
    job: JobSpec
    request: RunRequest
    subject: RunSubject


def run_locally(order: RunOrder, prepared: Prepared, home: Home, signer: Signer) -> LocalRun:
    """Run a prepared order in the sandbox and store its receipt. Raises `UsageError` when it can't be called so."""
    clock = Clock()
    planned = plan_locally(order, prepared, signer, clock)
    outcome = run_once(planned.request, engine=order.engine)
    run = LocalRun(outcome, planned.job, planned.subject.module, planned.subject.input)
    try:
        receipt = keep_locally(home, signer, planned, outcome, clock)
    except StoreError as error:
        return replace(run, unstored=error.message)
    return replace(run, receipt=receipt)


def plan_locally(order: RunOrder, prepared: Prepared, signer: Signer, clock: Clock) -> Planned:
    """Make the job of a local run; raises `UsageError` when it can't be called so."""
    module, data = unixfs.blob_cid(order.module), unixfs.blob_cid(order.input)
    values, arguments = arguments_of(prepared, order.invoke, order.words)
    _check_results(order, prepared)
    job = _local_job(order, signer, module, data, clock)
    context = RunContext(
        job_id=str(job.id), initial_input_cid=str(data), stage_input_cid=str(data), arguments=arguments
    )
    subject = RunSubject(
        job=job.id,
        module=module,
        input=data,
        fuel_limit=order.fuel_limit,
        entry=order.invoke,
        args=tuple(str(value) for value in values),
    )
    return Planned(order, job, request_for(order, prepared, values, context), subject)


def keep_locally(
    home: Home, signer: Signer, planned: Planned, outcome: RunOutcome, clock: Clock
) -> Sealed[ExecutionReceipt]:
    """Keep module, input, job, output and receipt, all or nothing; raises `StoreError`."""
    with open_store(home) as store, store.transaction():
        return store_planned(store, signer, planned, RunRecord(planned.subject, outcome, clock.claim()))


def store_planned(store: Store, signer: Signer, planned: Planned, record: RunRecord) -> Sealed[ExecutionReceipt]:
    """The same within a transaction."""
    subject, order = planned.subject, planned.order
    job = document.encode(planned.job)
    for cid, data in ((subject.module, order.module), (subject.input, order.input), (subject.job, job)):
        store.blocks.put(cid, data)
    return store_run(store, signer, record)


def request_for(order: RunOrder, prepared: Prepared, values: tuple[Value, ...], context: RunContext) -> RunRequest:
    """The sandbox's request; `random_get` is seeded by the input's CID."""
    return RunRequest(
        prepared=prepared,
        invoke=order.invoke,
        args=values,
        input=order.input,
        fuel_limit=order.fuel_limit,
        timeout_ms=order.timeout_ms,
        max_pages=order.pages,
        output_limit=order.output_limit,
        log_limit=order.log_limit,
        host_calls=order.host_calls,
        context=context,
        seed=Cid.of_raw(order.input).encode(),
    )


def is_wasi(prepared: Prepared, invoke: str | None) -> bool:
    """Whether the entry is `_start`, whose arguments are text."""
    if invoke is not None:
        return invoke == WASI_ENTRY
    start = FuncType((), ())
    return any(e.name == WASI_ENTRY and e.kind == "func" and e.type == start for e in prepared.exports)


def arguments_of(
    prepared: Prepared, invoke: str | None, words: tuple[str, ...]
) -> tuple[tuple[Value, ...], tuple[str, ...]]:
    """A job's words (`code.args`) as typed values, or as the arguments of a WASI program; one of the two is empty."""
    for word in (*words, *(() if invoke is None else (invoke,))):
        if not 1 <= len(word) <= MAX_WORD_CHARS:
            raise UsageError(f"expected names and arguments of 1 to {MAX_WORD_CHARS} characters, found {len(word)}")
    wasi = is_wasi(prepared, invoke)
    most = MAX_ARGS if wasi else MAX_TYPED_ARGS
    if len(words) > most:
        raise UsageError(f"expected at most {most} arguments, found {len(words)}", hint="pass data by --input")
    return ((), words) if wasi else (tuple(parse_value(word) for word in words), ())


def _check_results(order: RunOrder, prepared: Prepared) -> None:
    """A receipt holds a few results; a function that returns more is refused before it runs."""
    for export in prepared.exports:
        if export.name == order.invoke and export.type is not None and len(export.type.results) > MAX_RESULTS:
            raise UsageError(
                f"{export.name} returns {len(export.type.results)} values, a receipt holds {MAX_RESULTS}",
                hint="return them in memory, by put_output",
            )


def _local_job(order: RunOrder, signer: Signer, module: Cid, data: Cid, clock: Clock) -> JobSpec:
    now_s = clock.wall_s()
    return JobSpec(
        name="local run",
        submitter=signer.did,
        nonce=os.urandom(16),
        created_at=now_s,
        runtime=WasmRuntime(module, order.invoke, order.pages),
        input=InputSpec(data=data, total_bytes=len(order.input)),
        budget=Budget(0),
        deadline=now_s + order.timeout_ms // 1000 + 1,
        code=CodeSpec(args=order.words),
        compute=ComputeRequirements(max_fuel=order.fuel_limit, timeout_ms=order.timeout_ms),
        storage=StorageRequirements(max_output_bytes=order.output_limit),
    )


def open_store(home: Home) -> Store:
    """Open the store, waiting a little for another short-lived command; a running node is not waited for."""
    deadline_ms = time.monotonic_ns() // 1_000_000 + LOCK_WAIT_MS
    while True:
        try:
            return Store.open(home.path)
        except HomeInUse:
            if home.control_socket.exists() or time.monotonic_ns() // 1_000_000 >= deadline_ms:
                raise
            time.sleep(LOCK_POLL_MS / 1000)
