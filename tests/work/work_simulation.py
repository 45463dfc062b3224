"""Whole jobs over a terrible network: one originator, some executors, loss, repetition, delay, crashes, lies.

Everything is drawn from one seed. Hosts keep what they commit (journal, ledger, receipts) and lose the rest when
they crash; they are rebuilt from their journals and compared with what they were.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from work_office import Office
from work_worker import BEHAVIOURS, Worker

from icn_lite.market.settle import account_of, escrow_of
from icn_lite.model.did import Did
from icn_lite.model.errors import LedgerError

MAX_STEPS = 200_000  # of one simulated job: a hundred times what the longest needs


class Ledger(Protocol):
    """What the simulation needs of `store.ledger`."""

    def transfer(self, id: str, cause: str, entries: tuple[tuple[str, int], ...]) -> bool: ...

    def balance(self, account: str) -> int: ...


class PlainLedger:
    """`store.ledger`'s rules on a dict."""

    def __init__(self) -> None:
        self.balances: dict[str, int] = {}
        self.known: dict[str, tuple[tuple[str, int], ...]] = {}

    def transfer(self, id: str, cause: str, entries: tuple[tuple[str, int], ...]) -> bool:
        if id in self.known:
            if self.known[id] != entries:
                raise LedgerError(f"transfer {id} was applied before with other entries")
            return False
        assert sum(amount for _, amount in entries) == 0
        for account, amount in entries:
            if account != "mint" and self.balance(account) + amount < 0:
                raise LedgerError(f"{account} holds {self.balance(account)}, {-amount} are needed ({id})")
        for account, amount in entries:
            self.balances[account] = self.balance(account) + amount
        self.known[id] = entries
        return True

    def balance(self, account: str) -> int:
        return self.balances.get(account, 0)


@dataclass(frozen=True)
class Weather:
    """How bad it is, in per cent."""

    loss: int = 10
    repeat: int = 10
    crash: int = 3  # at each commit
    delay_ms: int = 400


@dataclass(frozen=True)
class Plan:
    """One simulated job."""

    seed: int
    shards: int
    copies: int
    behaviours: tuple[str, ...]
    weather: Weather = field(default_factory=Weather)
    trapping: bool = False

    @classmethod
    def draw(cls, seed: int) -> Plan:
        rng = random.Random(seed)
        copies = rng.choice((1, 2, 2, 2, 3))
        honest = rng.randint(copies, copies + 3)
        others = [rng.choice(BEHAVIOURS) for _ in range(rng.randint(0, 4))]
        weather = Weather(*rng.choice(((0, 0, 0, 50), (10, 10, 1, 400), (30, 30, 3, 3_000))))
        behaviours = ["honest"] * honest + others
        rng.shuffle(behaviours)
        return cls(seed, rng.randint(1, 12), copies, tuple(behaviours), weather, rng.random() < 0.1)


class World:
    """Time, the network, and the hosts."""

    def __init__(self, plan: Plan, ledger: Ledger) -> None:
        self.plan, self.ledger = plan, ledger
        self.rng = random.Random(plan.seed)
        self.now_ms = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._steps = 0
        self.office = Office(self)
        self.workers = [Worker(self, number, kind) for number, kind in enumerate(plan.behaviours, 1)]
        self.by_did = {worker.did: worker for worker in self.workers}

    def chance(self, per_cent: int) -> bool:
        return self.rng.random() * 100 < per_cent

    def after(self, delay_ms: int, call: Callable[[], None]) -> None:
        self._steps += 1
        assert self._steps < MAX_STEPS, "the job goes on without end"
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._steps, call))

    def send(self, call: Callable[[], None]) -> None:
        """A datagram: lost, late, twice, out of order."""
        weather = self.plan.weather
        for _ in range(2 if self.chance(weather.repeat) else 1):
            if not self.chance(weather.loss):
                self.after(self.rng.randint(1, weather.delay_ms), call)

    def run(self) -> None:
        """Until the job has ended and every receipt that can be delivered is."""
        self.office.begin()
        while self._queue:
            self.now_ms, _, call = heapq.heappop(self._queue)
            call()


def accounts_of(office: Office) -> list[str]:
    """Every account that has to be empty at the end."""
    return [escrow_of(office.terms.job.id), *(f"stake:{taken.cid}" for taken in office.machine.bids.values())]


def balance_of(world: World, did: Did) -> int:
    """What somebody holds."""
    return world.ledger.balance(account_of(did))
