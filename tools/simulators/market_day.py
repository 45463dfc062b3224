"""One day of a market: jobs are announced, bid for, leased, run, settled; the decisions are the node's own code.

Events happen in the order of their times; the same seed gives the same devices, jobs, audiences and mishaps to every
way of choosing.
"""

from __future__ import annotations

import heapq
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from devices import DAY_MS, HOUR_MS, MAX_OPEN_SHARDS, Device, make_devices

from icn_lite.market import reputation
from icn_lite.market.bids import Bidder, Tender, validate_bid
from icn_lite.market.outcome import ValidationOutcome
from icn_lite.market.price import GIGA
from icn_lite.market.score import score_bid
from icn_lite.market.select import Offer, select
from icn_lite.model.bid import Bid
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import BidError
from icn_lite.model.job import (
    Budget,
    ComputeRequirements,
    Full,
    InputSpec,
    JobSpec,
    NoRedundancy,
    SelectionStrategy,
    WasmRuntime,
)
from icn_lite.model.messages import JobAnnouncementV1
from icn_lite.work.bidding import consider
from icn_lite.work.shards import ShardPool

AUDIENCE: Final = 48  # devices that hear an announcement: a mesh is local
SHARDS_EACH: Final = 3  # a crew has an executor for so many shards
BIDDING_MS: Final = 5_000
LEASE_MS: Final = 20 * 60_000  # when a silent executor's shards go to somebody else
VANISH_SHARE: Final = 0.01  # shards whose device leaves the house, crashes, or loses its Wi-Fi
SUBMITTER: Final = Did(b"\xff" * 32)
RICH: Final = 1 << 40  # nobody is kept from bidding by its stake here
MODULE: Final = Cid.of_raw(b"module")


@dataclass(slots=True)
class Job:
    """A job under way."""

    spec: JobSpec
    id: Cid
    start_ms: int
    fuel: tuple[int, ...]  # what each shard really uses, below its limit
    audience: tuple[int, ...]
    mishap: random.Random
    pool: ShardPool = field(init=False)
    crew: list[tuple[Device, Bid]] = field(default_factory=list)
    reserves: list[tuple[Device, Bid]] = field(default_factory=list)
    rates: dict[Did, int] = field(default_factory=dict)
    results: list[list[tuple[Device, Bid, bool]]] = field(init=False)
    over: bool = False

    def __post_init__(self) -> None:
        self.pool = ShardPool(self.spec.input.shards, self.spec.copies)
        self.results = [[] for _ in self.fuel]

    @property
    def deadline_ms(self) -> int:
        """When it has to be done."""
        return self.spec.deadline * 1000


@dataclass(slots=True)
class Tally:
    """What one way of choosing made of the day."""

    jobs: int = 0
    completed: int = 0
    unbid: int = 0
    bids: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    done_ms: list[int] = field(default_factory=list)
    paid: int = 0
    useful_fuel: int = 0
    wasted_fuel: int = 0
    wrong_accepted: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures of one way of choosing."""

    jobs: int
    completed_share: float
    median_minutes: float
    mana_a_job: float
    gini: float
    earners_share: float
    kj_a_job: float
    wasted_share: float
    bids: int
    wrong_accepted: int
    refusals: dict[str, int]
    seconds: float


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way of choosing among valid bids."""

    name: str
    selection: SelectionStrategy
    blind: bool = False  # every offer counts the same


STRATEGIES: Final = (
    Strategy("best_score", SelectionStrategy.BEST_SCORE),
    Strategy("lowest_price", SelectionStrategy.LOWEST_PRICE),
    Strategy("random", SelectionStrategy.RANDOM, blind=True),
)


def make_jobs(count: int, devices: int, rng: random.Random) -> list[Job]:
    """`count` jobs over the day, each with its audience; shards of 0.1 to 20 giga-fuel."""
    jobs = []
    for number in range(count):
        start_ms = rng.randrange(DAY_MS - 3 * HOUR_MS)
        limit = int(10 ** rng.uniform(8, 10.3))
        shards = rng.choice((1, 2, 4, 8, 16, 32))
        copies = rng.choice((1, 1, 2))
        per_gfuel = rng.uniform(3, 12)
        budget = copies * (int(limit * shards / GIGA * per_gfuel) + 10)
        spec = JobSpec(
            name=f"job-{number}",
            submitter=SUBMITTER,
            nonce=number.to_bytes(16, "big"),
            created_at=start_ms // 1000,
            runtime=WasmRuntime(MODULE, memory_pages=32),
            input=InputSpec(plan=MODULE, shards=shards, total_bytes=shards << 16),
            budget=Budget(max_total=budget),
            deadline=start_ms // 1000 + rng.randrange(900, 10_800),
            compute=ComputeRequirements(min_cpu_cores=1, min_memory_mb=2, max_fuel=limit, timeout_ms=30_000),
            redundancy=NoRedundancy() if copies == 1 else Full(copies),
        )
        first = rng.randrange(devices)
        audience = tuple((first + step) % devices for step in range(min(AUDIENCE, devices)))
        fuel = tuple(int(limit * rng.uniform(0.3, 0.95)) for _ in range(shards))
        jobs.append(Job(spec, spec.id, start_ms, fuel, audience, random.Random(rng.random())))
    return jobs


class Market:
    """One day under one strategy; events in the order of their times."""

    def __init__(self, devices: list[Device], jobs: list[Job], strategy: Strategy) -> None:
        self.devices, self.jobs, self.strategy = devices, jobs, strategy
        self.tally = Tally(jobs=len(jobs))
        self._events: list[tuple[int, int, Callable[[int], None]]] = []
        self._count = 0

    def at(self, when_ms: int, what: Callable[[int], None]) -> None:
        """Let something happen."""
        self._count += 1
        heapq.heappush(self._events, (when_ms, self._count, what))

    def run(self) -> Tally:
        """The whole day, and the hours in which its last jobs end."""
        for job in self.jobs:
            self.at(job.start_ms, lambda now_ms, job=job: self._announce(job, now_ms))  # type: ignore[misc]
            self.at(job.deadline_ms, lambda now_ms, job=job: self._close(job))  # type: ignore[misc]
        while self._events:
            now_ms, _, what = heapq.heappop(self._events)
            what(now_ms)
        return self.tally

    def _announce(self, job: Job, now_ms: int) -> None:
        offers = self._offers(job, now_ms)
        if not offers:
            self.tally.unbid += 1
            return
        ranked = select(offers.keys(), self.strategy.selection, len(offers), seed=job.id.digest)
        wanted = max(job.spec.copies, math.ceil(job.spec.copies * job.spec.input.shards / SHARDS_EACH))
        team = [(offers[offer], offer.bid) for offer in ranked]
        job.crew, job.reserves = team[:wanted], team[wanted:]
        job.rates = {device.did: bid.compute_score.fuel_per_s for device, bid in job.crew}
        for device, bid in list(job.crew):
            self._lease(job, device, bid, now_ms + BIDDING_MS)

    def _offers(self, job: Job, now_ms: int) -> dict[Offer, Device]:
        announcement = JobAnnouncementV1(SUBMITTER, job.spec, BIDDING_MS, (), bytes(16))
        tender = Tender(job.id, job.spec, job.deadline_ms - now_ms, BIDDING_MS)
        offers: dict[Offer, Device] = {}
        for index in job.audience:
            device = self.devices[index]
            view = device.view(now_ms, index.to_bytes(16, "big"))
            answer = consider(announcement, view, job.id)
            if not isinstance(answer, Bid):
                self.tally.refusals[answer.reason] += 1
                continue
            try:
                validate_bid(answer, tender, Bidder(RICH, device.reputation_ppm, view.capability))
            except BidError as error:
                self.tally.refusals[f"invalid: {error.kind}"] += 1
                continue
            self.tally.bids += 1
            remaining_ms = tender.remaining_ms
            score = score_bid(answer, job.spec, remaining_ms=remaining_ms, reputation_ppm=device.reputation_ppm)
            name = Cid.of_dag_cbor(job.id.digest + index.to_bytes(4, "big"))
            offers[Offer(name, answer, 1 if self.strategy.blind else score.total_ppm)] = device
        return offers

    def _lease(self, job: Job, device: Device, bid: Bid, now_ms: int) -> None:
        """Give `device` its next batch; when there is none for it, it is free again."""
        if job.over:
            return
        most = min(bid.max_shards, MAX_OPEN_SHARDS - device.open_shards)
        batch = job.pool.take(device.did, job.pool.batch_size(device.did, job.rates, max(most, 1))) if most > 0 else []
        device.open_shards += len(batch)
        for number, shard in enumerate(batch):
            self._begin(job, device, bid, shard, now_ms, last=number == len(batch) - 1)

    def _begin(self, job: Job, device: Device, bid: Bid, shard: int, now_ms: int, *, last: bool) -> None:
        worker = min(range(len(device.free_at_ms)), key=device.free_at_ms.__getitem__)
        start_ms = max(now_ms, device.free_at_ms[worker])
        fuel = job.fuel[shard]
        busy_ms = fuel * 1000 // device.true_rate
        end_ms = start_ms + max(1, busy_ms * 1000 // max(1, device.duty_pm(start_ms)))
        device.free_at_ms[worker] = end_ms
        lost = job.mishap.random() < VANISH_SHARE or self._goes_flat(device, fuel, end_ms)

        def end(at_ms: int) -> None:
            device.advance(at_ms)
            device.open_shards -= 1
            device.busy_ms += busy_ms
            device.drain_mj(fuel * device.profile.prior.energy_mj_per_gfuel // GIGA)
            if lost:
                self.tally.wasted_fuel += fuel
                self.at(now_ms + LEASE_MS, lambda late_ms: self._expire(job, device, shard, late_ms))
            else:
                self._deliver(job, device, bid, shard, at_ms)
            if last:
                self._lease(job, device, bid, at_ms)

        self.at(end_ms, end)

    @staticmethod
    def _goes_flat(device: Device, fuel: int, end_ms: int) -> bool:
        """Whether the battery reaches its floor on the way; a device suspends there and the lease runs out."""
        if not device.battery_wh or device.is_plugged(end_ms):
            return False
        floor_wh = device.battery_wh * device.profile.battery.floor_pct / 100
        return device.charge_wh - fuel * device.profile.prior.energy_mj_per_gfuel / GIGA / 3.6e6 < floor_wh

    def _expire(self, job: Job, device: Device, shard: int, now_ms: int) -> None:
        if job.over:
            return
        job.pool.release(device.did, [shard], may_retry=False)
        self._call_reserve(job, now_ms)

    def _call_reserve(self, job: Job, now_ms: int) -> None:
        if job.reserves:
            device, bid = job.reserves.pop(0)
            job.crew.append((device, bid))
            job.rates[device.did] = bid.compute_score.fuel_per_s
            self._lease(job, device, bid, now_ms)

    def _deliver(self, job: Job, device: Device, bid: Bid, shard: int, now_ms: int) -> None:
        fuel = job.fuel[shard]
        if job.over or now_ms > job.deadline_ms:
            self.tally.wasted_fuel += fuel
            return
        right = not (device.cheats and job.mishap.random() < 0.5)
        results = job.results[shard]
        results.append((device, bid, right))
        job.pool.deliver(device.did, shard)
        rights = sum(1 for _, _, ok in results if ok)
        if len(results) < job.pool[shard].wanted:
            return
        # A wrong result is never equal to another one, so two equal ones are right; a single one is believed.
        if job.spec.copies > 1 and rights < 2:
            job.pool.want(shard, len(results) + 1)
            self._call_reserve(job, now_ms)
            return
        self._settle(job, shard, now_ms)

    def _settle(self, job: Job, shard: int, now_ms: int) -> None:
        job.pool.settle(shard)
        for device, bid, right in job.results[shard]:
            believed = right or job.spec.copies == 1
            outcome = ValidationOutcome.ACCEPTED if believed else ValidationOutcome.REJECTED
            device.reputation_ppm = reputation.after(device.reputation_ppm, outcome)
            if believed:
                pay = bid.price * (shard + 1) // len(job.fuel) - bid.price * shard // len(job.fuel)
                device.earned += pay
                self.tally.paid += pay
                self.tally.useful_fuel += job.fuel[shard]
                self.tally.wrong_accepted += not right
            else:
                self.tally.wasted_fuel += job.fuel[shard]
        if job.pool.settled == len(job.fuel):
            job.over = True
            self.tally.completed += 1
            self.tally.done_ms.append(now_ms - job.start_ms)

    def _close(self, job: Job) -> None:
        if not job.over:
            job.over = True
            for shard, results in enumerate(job.results):
                if not job.pool[shard].settled:
                    self.tally.wasted_fuel += job.fuel[shard] * len(results)


def gini(values: list[int]) -> float:
    """0: all have the same; 1: one has all."""
    ordered, total = sorted(values), sum(values)
    if not total:
        return 0.0
    ranks = sum(rank * value for rank, value in enumerate(ordered, 1))
    return 2 * ranks / (len(ordered) * total) - (len(ordered) + 1) / len(ordered)


def simulate(strategy: Strategy, devices: int, jobs: int, seed: int) -> tuple[Outcome, list[int]]:
    """One day; returns its figures and what each device earned."""
    begun = time.perf_counter()
    fleet = make_devices(devices, random.Random(seed))
    tally = Market(fleet, make_jobs(jobs, devices, random.Random(seed + 1)), strategy).run()
    earned = [device.earned for device in fleet]
    fuel = tally.useful_fuel + tally.wasted_fuel
    done = sorted(tally.done_ms)
    figures = Outcome(
        jobs=tally.jobs,
        completed_share=round(tally.completed / max(1, tally.jobs), 4),
        median_minutes=round(done[len(done) // 2] / 60_000, 2) if done else 0.0,
        mana_a_job=round(tally.paid / max(1, tally.completed), 1),
        gini=round(gini(earned), 4),
        earners_share=round(sum(1 for value in earned if value) / devices, 4),
        kj_a_job=round(sum(device.work_mj for device in fleet) / 1e6 / max(1, tally.completed), 3),
        wasted_share=round(tally.wasted_fuel / max(1, fuel), 4),
        bids=tally.bids,
        wrong_accepted=tally.wrong_accepted,
        refusals=dict(tally.refusals.most_common()),
        seconds=round(time.perf_counter() - begun, 2),
    )
    return figures, earned
