"""The standard benchmark: what its receipt has to say, and the speed that follows from it. Pure.

Every device runs the same guest (`tools/guests/bench.wat`) over its own public key. No branch of that guest depends on
its input, so fuel, pages and host calls are the constants below, and any receipt that says otherwise is no benchmark.
The output differs from one executor to the next: nobody can copy another's, and whoever doubts it runs it again
(`icn-lite receipts verify --rerun`). What no re-run shows is how long it took over there: `cpu_ms` is the executor's
signed word, held against `wall_ms` and against what no interpreter reaches.
"""

from __future__ import annotations

from typing import Final

from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import BidError, JobErrorCode
from icn_lite.model.receipt import Clock, ExecutionReceipt, ReceiptStatus
from icn_lite.work.fit import FUEL_SCHEDULE, METER

GUEST: Final = "bench"
MODULE: Final = "bafkreia5skcjf4bzoz2mjmmkwsunvbx7utm3xu2ojkzj65zdkniff6mspi"
FUEL: Final = 209_035_074  # of every run; 0.2 s on a laptop, 3 s on the slowest board
PAGES: Final = 1
HOST_CALLS: Final = 1
MAX_AGE_S: Final = 180 * 86_400  # batteries and coolers age; half a year says enough about them
MAX_AHEAD_S: Final = 86_400  # two devices' clocks may differ by a day, and a benchmark from tomorrow is none
MAX_FUEL_PER_S: Final = 16_000_000_000  # a compiler on the fastest core does a third of it
CLOCK_SLACK_MS: Final = 50  # processor time is counted in ticks, wall time in milliseconds


def input_of(executor: Did) -> bytes:
    """What an executor's benchmark reads."""
    return executor.public_key


def check_benchmark(receipt: ExecutionReceipt, executor: Did, now_s: int | None) -> int:
    """The fuel a second that a benchmark's receipt shows, its signatures being checked; raises `BidError`.

    `now_s` is None where the one who checks has no clock and so can't judge an age.
    """
    expected: tuple[tuple[str, object, object], ...] = (
        ("executor", executor, receipt.executor),
        ("module", MODULE, str(receipt.module)),
        ("input", Cid.of_raw(input_of(executor)), receipt.input),
        ("entry", None, receipt.entry or receipt.call),
        ("status", ReceiptStatus.COMPLETED.value, receipt.status.value),
        ("fuel schedule", FUEL_SCHEDULE, receipt.schedule),
        ("meter", METER, receipt.meter),
        ("fuel", FUEL, receipt.fuel_used),
        ("peak pages", PAGES, receipt.peak_pages),
        ("host calls", HOST_CALLS, receipt.host_calls),
    )
    for what, wanted, found in expected:
        if wanted != found:
            raise _no(f"{what}: expected {wanted}, found {found}")
    if receipt.cpu_ms > receipt.wall_ms + CLOCK_SLACK_MS:
        raise _no(f"{receipt.cpu_ms} ms of one processor don't fit into {receipt.wall_ms} ms")
    if now_s is not None:
        _check_age(receipt.clock, now_s)
    rate = fuel_per_s(receipt.cpu_ms)
    if rate > MAX_FUEL_PER_S:
        raise _no(f"{rate} fuel a second, more than {MAX_FUEL_PER_S} is not believed")
    return rate


def fuel_per_s(cpu_ms: int) -> int:
    """The speed of a device that took so long for the benchmark; a clock that saw nothing counts as a millisecond."""
    return FUEL * 1000 // max(cpu_ms, 1)


def _check_age(clock: Clock, now_s: int) -> None:
    if clock.source == "unset":
        raise _no("it was made by a device whose clock was not set, so nobody knows how old it is")
    age_s = now_s - clock.wall_s
    if age_s > MAX_AGE_S:
        raise _no(f"it is {age_s // 86_400} days old, accepted are {MAX_AGE_S // 86_400}")
    if age_s < -MAX_AHEAD_S:
        raise _no(f"it is dated {-age_s} s ahead of this node's clock")


def _no(message: str) -> BidError:
    return BidError(
        "proof",
        f"the benchmark's receipt: {message}",
        hint="run `icn-lite bench` on the bidder",
        code=JobErrorCode.NO_EXECUTOR_AVAILABLE,
    )
