"""What a bid costs its bidder and its judge, how choosing grows with the number of bids, and a simulated day."""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "simulators"))

from devices import make_devices
from market_costs import auction_cost
from market_day import STRATEGIES, SUBMITTER, make_jobs, simulate

from icn_lite.market.bids import Bidder, Tender, validate_bid
from icn_lite.market.score import score_bid
from icn_lite.model.bid import Bid
from icn_lite.model.messages import JobAnnouncementV1
from icn_lite.work.bidding import consider

RUNS = 9
CALLS = 300
GROWTH_GOAL = 1.1  # the exponent over n log n, with room for caches that more bids don't fit into
DAY_GOAL_S = 120
DEVICES = JOBS = 1_000

Row = dict[str, str | int | float | bool | None]


def rows() -> Iterator[Row]:
    """The rows of this room; times are processor time."""
    device = make_devices(1, random.Random(1))[0]
    job = make_jobs(1, 1, random.Random(1))[0]
    spec = replace(job.spec, budget=replace(job.spec.budget, max_total=10**9), deadline=job.spec.deadline + 10**6)
    announcement = JobAnnouncementV1(SUBMITTER, spec, 5_000, (), bytes(16))
    view = device.view(0, bytes(16))
    view = replace(view, capability=replace(view.capability, duty_pm=1000))
    job_id = spec.id
    bid = consider(announcement, view, job_id)
    if not isinstance(bid, Bid):
        raise SystemExit(f"the standard device doesn't bid: {bid.message}")
    tender, bidder = Tender(job_id, spec, 10**9, 5_000), Bidder(10**9, capability=view.capability)
    yield {
        "name": "whether to bid, and how",
        "value": micros(lambda: consider(announcement, view, job_id)),
        "unit": "µs",
    }
    yield {"name": "a bid is checked", "value": micros(lambda: validate_bid(bid, tender, bidder)), "unit": "µs"}
    scored = micros(lambda: score_bid(bid, spec, remaining_ms=10**9, reputation_ppm=500_000))
    yield {"name": "a bid is scored", "value": scored, "unit": "µs"}
    auction = auction_cost(1)
    growth = auction["growth"]
    assert isinstance(growth, float)
    yield {
        "name": "growth of checking, scoring, choosing among 250 to 16,000 bids: exponent over n log n",
        "value": growth,
        "unit": "",
        "goal": GROWTH_GOAL,
        "ok": growth <= GROWTH_GOAL,
    }
    begun = time.process_time()
    for strategy in STRATEGIES:
        simulate(strategy, DEVICES, JOBS, 1)
    seconds = round(time.process_time() - begun, 1)
    yield {
        "name": "a day of 1,000 devices and 1,000 jobs, three ways of choosing",
        "value": seconds,
        "unit": "s",
        "goal": DAY_GOAL_S,
        "ok": seconds <= DAY_GOAL_S,
    }


def micros(work: Callable[[], object]) -> float:
    """Microseconds of one call: the median of several batches."""
    took = []
    for _ in range(RUNS):
        begun = time.process_time()
        for _ in range(CALLS):
            work()
        took.append((time.process_time() - begun) / CALLS * 1e6)
    return round(statistics.median(took), 1)
