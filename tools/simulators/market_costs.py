"""How the cost of a market grows with its bids: of one auction, and of a whole day."""

from __future__ import annotations

import math
import random
import time
from dataclasses import replace
from typing import Final

from devices import make_devices
from market_day import BIDDING_MS, RICH, STRATEGIES, SUBMITTER, make_jobs, simulate

from icn_lite.market.bids import Bidder, Tender, validate_bid
from icn_lite.market.score import score_bid
from icn_lite.market.select import Offer, select
from icn_lite.model.bid import Bid
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.job import Budget, SelectionStrategy
from icn_lite.model.messages import JobAnnouncementV1
from icn_lite.work.bidding import consider

AUCTION_SIZES: Final = (250, 1_000, 4_000, 16_000)
AUCTION_REPEATS: Final = 3


def auction_cost(seed: int) -> dict[str, object]:
    """Processor time to check, score and choose among n bids, the dearest way of choosing; and how it grows."""
    device = make_devices(1, random.Random(seed))[0]
    job = make_jobs(1, 1, random.Random(seed))[0]
    generous = replace(job.spec, budget=Budget(max_total=RICH), deadline=job.spec.deadline + 10**7)
    view = replace(device.view(0, bytes(16)), capability=replace(device.capability, duty_pm=1000))
    bid = consider(JobAnnouncementV1(SUBMITTER, generous, BIDDING_MS, (), bytes(16)), view)
    if not isinstance(bid, Bid):
        raise SystemExit(f"the standard device of seed {seed} doesn't bid: {bid.message}")
    tender, bidder = Tender(bid.job_id, generous, 10**9, BIDDING_MS), Bidder(RICH, capability=view.capability)
    rng, rows = random.Random(seed), []
    for count in AUCTION_SIZES:
        bids = [
            replace(bid, bidder=Did(number.to_bytes(32, "big")), price=rng.randrange(bid.price))
            for number in range(count)
        ]
        names = [Cid.of_dag_cbor(made.bidder.public_key) for made in bids]
        judging, choosing = [], []
        for _ in range(AUCTION_REPEATS):
            begun = time.process_time()
            offers = []
            for name, made in zip(names, bids, strict=True):
                validate_bid(made, tender, bidder)
                score = score_bid(made, generous, remaining_ms=tender.remaining_ms, reputation_ppm=500_000)
                offers.append(Offer(name, made, score.total_ppm))
            judging.append(time.process_time() - begun)
            for strategy in (SelectionStrategy.BEST_SCORE, SelectionStrategy.RANDOM):
                begun = time.process_time()
                select(offers, strategy, count // 4, b"seed")
                choosing.append(time.process_time() - begun)
        # The least of each: what it costs, without what else the machine did.
        rows.append(_cost_row(count, min(judging) + max(min(choosing[0::2]), min(choosing[1::2]))))
    return {"rows": rows, "growth": round(growth(rows), 3)}


def scaling(devices: int, jobs: int, seed: int) -> dict[str, object]:
    """Processor time of a simulated day by its number of bids."""
    rows = []
    for part in (8, 4, 2, 1):
        begun = time.process_time()
        outcome, _ = simulate(STRATEGIES[0], devices, max(1, jobs // part), seed)
        rows.append(_cost_row(outcome.bids, time.process_time() - begun))
    return {"rows": rows, "growth": round(growth(rows), 3)}


def _cost_row(bids: int, seconds: float) -> dict[str, float]:
    share = seconds * 1e9 / (bids * math.log2(max(2, bids)))
    return {"bids": bids, "seconds": round(seconds, 4), "ns_per_n_log_n": round(share, 1)}


def growth(rows: list[dict[str, float]]) -> float:
    """The exponent g in seconds ~ (n log n)^g, by least squares over logarithms; 1 or less: no faster than n log n."""
    points = [
        (math.log(row["bids"] * math.log2(max(2, row["bids"]))), math.log(row["seconds"] or 1e-9)) for row in rows
    ]
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
