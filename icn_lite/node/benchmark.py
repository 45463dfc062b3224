"""What `icn-lite bench` measures of this device, through the same parts that its work passes through.

Speed: the standard guest (`work/benchmark.py`) in the sandbox, all workers at once, because that is how they will work;
of each run counts the processor time. Memory: the same guest takes the pages that the profile promises, again in all
workers at once; where the device can't give them, half as many are tried, and so on. Signatures and preparation:
batches of a receipt and of a guest, in processor time too. The start of a run is what a caller waits. Every figure is a
median with its least and its most.

The run in the middle becomes the benchmark's receipt. With its blocks it is pinned, so that whoever doubts a bid can
fetch it and run it again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from icn_lite.device.profile import Profile
from icn_lite.device.reading import Quantity, Readings
from icn_lite.device.sensors.system import System
from icn_lite.model.cid import Cid
from icn_lite.model.cose import Signer
from icn_lite.model.document import Sealed
from icn_lite.model.errors import DeviceRefuses, FailureReason
from icn_lite.model.receipt import ExecutionReceipt, read_receipt, sign_receipt
from icn_lite.node.calibration import Calibration
from icn_lite.node.clock import Clock
from icn_lite.node.home import Home
from icn_lite.node.receipting import RunRecord, make_receipt
from icn_lite.node.runner import Planned, RunOrder, open_store, plan_locally, prepare_order, store_planned
from icn_lite.resources import guest_module
from icn_lite.sandbox.outcome import RunOutcome, RunRequest
from icn_lite.sandbox.pool import Pool, PoolConfig
from icn_lite.sandbox.value import Value
from icn_lite.wasm.limits import DEFAULT_LIMITS, PAGE_BYTES
from icn_lite.work import benchmark

HOLDER: Final = "benchmark"  # pins the receipt and what it names
TIMEOUT_MS: Final = 120_000  # of one run: 1.7 million fuel a second, slower than any device this is for
START_RUNS: Final = 9
BATCH_S: Final = 0.05  # of signatures: long against the clock's resolution
BATCHES: Final = 5
PREPARED_GUEST: Final = "manifest"  # 12 kB that clang made, like most of what is submitted
START_GUEST: Final = "sum"
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing."""

    median: int
    least: int
    most: int
    count: int

    @classmethod
    def of(cls, values: Sequence[int]) -> Spread:
        """The median is a value that was measured: of an even number the lower one in the middle."""
        ordered = sorted(values)
        return cls(ordered[(len(ordered) - 1) // 2], ordered[0], ordered[-1], len(ordered))


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: a profile's device, with so many workers of this engine."""

    profile: Profile
    workers: int
    engine: str
    rounds: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found."""

    fuel_per_s: Spread
    memory_pages: int
    signatures_per_s: Spread
    verifications_per_s: Spread
    prepared_bytes_per_s: Spread
    start_us: Spread
    planned: Planned
    middle: RunOutcome  # the run with the median speed


def measure(subject: Subject, signer: Signer, tell: Tell) -> Measured:
    """Measure this device; takes some seconds to a minute. `tell` hears what goes on. Raises `DeviceRefuses`."""
    order = RunOrder(
        module=guest_module(benchmark.GUEST),
        input=benchmark.input_of(signer.did),
        fuel_limit=benchmark.FUEL,
        timeout_ms=TIMEOUT_MS,
        engine=subject.engine,
    )
    planned = plan_locally(order, prepare_order(order), signer, Clock())
    runs, pages, start = asyncio.run(_in_sandbox(subject, planned, tell))
    tell("signing and verifying receipts")
    middle = sorted(runs, key=lambda run: run.cpu_ms)[len(runs) // 2]  # of an even number the slower one, as in Spread
    receipt = make_receipt(signer, RunRecord(planned.subject, middle, Clock().claim()), 0, None)
    sealed = sign_receipt(receipt, signer)
    signing = _rate(lambda: sign_receipt(receipt, signer))
    verifying = _rate(lambda: read_receipt(sealed.block))
    tell(f"preparing {PREPARED_GUEST}")
    return Measured(
        Spread.of([benchmark.fuel_per_s(run.cpu_ms) for run in runs]),
        pages,
        signing,
        verifying,
        _preparing(),
        start,
        planned,
        middle,
    )


async def _in_sandbox(subject: Subject, planned: Planned, tell: Tell) -> tuple[list[RunOutcome], int, Spread]:
    runs: list[RunOutcome] = []
    config = PoolConfig(subject.workers, subject.engine, queue=0, spares=0)
    async with Pool(config) as pool:
        tell("starting a run that does nothing")
        start = await _starting(pool, subject)
        for number in range(subject.rounds):
            tell(f"fuel: round {number + 1} of {subject.rounds}, {subject.workers} guests at once")
            runs += await asyncio.gather(*(pool.run(planned.request) for _ in range(subject.workers)))
            for run in runs:
                _check_run(run)
        pages = await _holding(pool, subject, tell)
    return runs, pages, start


def _check_run(run: RunOutcome) -> None:
    if run.status != "completed":
        raise DeviceRefuses(
            f"the standard guest {run.status} here: {run.detail or run.trap or 'no reason is known'}",
            hint="close other programs, or let the device cool down; `icn-lite doctor` tells what the sandbox lacks",
        )


async def _starting(pool: Pool, subject: Subject) -> Spread:
    """Microseconds from a request to its outcome, of a guest that does next to nothing."""
    order = RunOrder(module=guest_module(START_GUEST), engine=subject.engine)
    request = RunRequest(prepared=prepare_order(order), max_pages=order.pages)
    took: list[int] = []
    for _ in range(START_RUNS):
        begun_ns = time.perf_counter_ns()
        _check_run(await pool.run(request))
        took.append((time.perf_counter_ns() - begun_ns) // 1000)
    return Spread.of(took)


async def _holding(pool: Pool, subject: Subject, tell: Tell) -> int:
    """Pages that guests hold in all workers at once: the profile's, or the first half of them that fits.

    More than what is free now isn't tried: the kernel would end other programs for it.
    """
    pages = subject.profile.guest.memory_pages
    free_mib = Readings.of(System().read(0)).get(Quantity.MEMORY_AVAILABLE).value
    while free_mib is not None and pages > 1 and pages * PAGE_BYTES * subject.workers > free_mib << 20:
        pages //= 2
    while pages >= 1:
        tell(f"memory: {pages} pages in {subject.workers} guests at once")
        order = RunOrder(
            module=guest_module(benchmark.GUEST),
            invoke="hold",
            pages=pages,
            limits=replace(DEFAULT_LIMITS, memory_pages=pages),
        )
        request = RunRequest(
            prepared=prepare_order(order),
            invoke=order.invoke,
            args=(Value("i32", pages),),
            max_pages=pages,
            timeout_ms=TIMEOUT_MS,
        )
        held = await asyncio.gather(*(pool.run(request) for _ in range(subject.workers)))
        if all(run.status == "completed" for run in held):
            return pages
        for run in held:
            if run.failure not in (None, FailureReason.OUT_OF_MEMORY, FailureReason.CRASH_OR_PANIC):
                _check_run(run)  # memory was not what it lacked
        pages //= 2
    raise DeviceRefuses("no guest gets a single page of memory here", hint="close other programs")


def _rate(work: Callable[[], object]) -> Spread:
    """How often `work` is done in a second of processor time."""
    rates: list[int] = []
    for _ in range(BATCHES):
        begun_ns, count = time.process_time_ns(), 0
        while (took_ns := time.process_time_ns() - begun_ns) < BATCH_S * 1e9:
            work()
            count += 1
        rates.append(count * 1_000_000_000 // took_ns)
    return Spread.of(rates)


def _preparing() -> Spread:
    from icn_lite.wasm.prepare import prepare

    code = guest_module(PREPARED_GUEST)
    rates: list[int] = []
    for _ in range(BATCHES):
        begun_ns = time.process_time_ns()
        prepare(code, DEFAULT_LIMITS)
        rates.append(len(code) * 1_000_000_000 // max(1, time.process_time_ns() - begun_ns))
    return Spread.of(rates)


def keep_benchmark(home: Home, signer: Signer, measured: Measured) -> Sealed[ExecutionReceipt]:
    """Store the benchmark's receipt in the home's chain and pin it in place of an earlier one; raises `StoreError`."""
    subject = measured.planned.subject
    with open_store(home) as store, store.transaction():
        record = RunRecord(subject, measured.middle, Clock().claim())
        sealed = store_planned(store, signer, measured.planned, record)
        store.blocks.put(sealed.cid, sealed.block)  # as a block too: that is how others fetch it
        store.blocks.unpin(HOLDER)
        store.blocks.pin(HOLDER, [sealed.cid, subject.job, subject.module, subject.input])
    return sealed


def calibration_of(subject: Subject, measured: Measured, receipt: Cid) -> Calibration:
    """What a measurement means for the profile."""
    return Calibration(
        profile=subject.profile.name,
        measured_at=Clock().wall_s(),
        benchmark=receipt,
        fuel_per_s=measured.fuel_per_s.median,
        memory_pages=measured.memory_pages,
        runs=measured.fuel_per_s.count,
        least_fuel_per_s=measured.fuel_per_s.least,
        most_fuel_per_s=measured.fuel_per_s.most,
        workers=subject.workers,
        signatures_per_s=measured.signatures_per_s.median,
        verifications_per_s=measured.verifications_per_s.median,
        prepared_bytes_per_s=measured.prepared_bytes_per_s.median,
        start_us=measured.start_us.median,
    )
