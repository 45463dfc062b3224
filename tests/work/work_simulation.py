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

from work_samples import (
    BIDDING_MS,
    FUEL_LIMIT,
    HONEST,
    LEASE_MS,
    SUBMITTER,
    Says,
    bid_taken,
    did_of,
    receipt_of,
    snapshot,
    terms_of,
)

from icn_lite.market.outcome import ValidationOutcome
from icn_lite.market.settle import Transfer, account_of, escrow_of, grant
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import FailureReason, LedgerError, VerificationError
from icn_lite.model.messages import AssignJobV1
from icn_lite.work import executor as ex
from icn_lite.work import originator_events as ev
from icn_lite.work.originator import Originator
from icn_lite.work.quorum import Judgement
from icn_lite.work.replay import decode_event, encode_event

BEHAVIOURS = ("honest", "lies", "fuel", "fails", "refuses", "returns", "vanishes", "hides", "equivocates", "slow")
MAX_STEPS = 200_000  # of one simulated job: a hundred times what the longest needs
TRIES = 3
ANNOUNCEMENTS = 20  # until the bid is in


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


class Host:
    """What both sides share: being down now and then, and calls that die with the process."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.up = True
        self.epoch = 0

    def later(self, delay_ms: int, call: Callable[[], None]) -> None:
        """A task of this process: it dies with it."""
        epoch = self.epoch
        self.world.after(delay_ms, lambda: call() if self.epoch == epoch else None)

    def heard(self, call: Callable[[], None]) -> Callable[[], None]:
        """A message that arrives here, if somebody listens."""
        return lambda: call() if self.up else None

    def crash(self) -> None:
        self.up = False
        self.epoch += 1
        self.world.after(self.world.rng.randint(1, 3_000), self._back)

    def _back(self) -> None:
        self.up = True
        self.restart()

    def restart(self) -> None: ...

    def crashes(self) -> bool:
        """Whether the process dies at this very point."""
        if self.world.chance(self.world.plan.weather.crash):
            self.crash()
            return True
        return False


class Office(Host):
    """The originator's shell."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        plan = world.plan
        rng = random.Random(plan.seed + 1)
        self.prices = {
            did_of(n): rng.randint(plan.shards, 40 * plan.shards) for n in range(1, len(plan.behaviours) + 1)
        }
        budget = plan.copies * max(self.prices.values()) + rng.randint(0, 1_000)
        weights = tuple(rng.randint(1, 9) for _ in range(plan.shards))
        self.terms = terms_of(plan.shards, plan.copies, budget=budget, weights=weights)
        self.machine = Originator(self.terms)
        self.journal: list[bytes] = []
        self.receipts: set[Cid] = set()
        self.blocks: set[Cid] = set()
        self.bids: dict[Did, ev.BidTaken] = {}
        self.kept: set[tuple[int, Did]] = set()  # findings that came within their lease and are still in play
        self.paid: dict[tuple[int, Did], int] = {}
        self.rejected: set[Did] = set()
        self.disputed = 0

    def begin(self) -> None:
        ledger = self.world.ledger
        for transfer in (
            grant(SUBMITTER, self.terms.job.budget.max_total, "test"),
            *(grant(did, 1_000, "test") for did in self.prices),
        ):
            ledger.transfer(transfer.id, transfer.cause, transfer.entries)
        effects = self.machine.start()
        self._move(effects)
        self.perform(effects)
        self.tick()

    def now_ms(self) -> int:
        return self.terms.started_ms + self.world.now_ms

    def tick(self) -> None:
        now_ms = self.now_ms()
        if self.machine.bidding_over(now_ms):
            ranking = sorted(self.machine.bids.values(), key=lambda taken: (taken.bid.price, taken.cid))
            self.apply(ev.BiddingEnded(tuple(taken.cid for taken in ranking)))
        event = self.machine.due(now_ms) if self.up else None
        if event is not None:
            self.apply(event)
        if self.machine.phase not in ev.ENDED:
            self.later(1_000, self.tick)

    def apply(self, event: ev.Event) -> bool:
        """Commit, then perform; False where the process died before the commit."""
        if not self.up:
            return False
        if not self.machine.changes(event, self.now_ms()):
            return True
        self._note(event)
        effects = self.machine.handle(event, self.now_ms())
        if self.crashes():
            return False
        self.journal.append(encode_event(event, self.now_ms()))
        self._move(effects)
        self._watch(event, effects)
        if self.crashes():
            assert snapshot(self.rebuilt()) == snapshot(self.machine), (
                f"another machine came out of the journal: {event}"
            )
        else:
            self.perform(effects)
        return True

    def _note(self, event: ev.Event) -> None:
        self._in_lease = False
        if isinstance(event, ev.ReceiptTaken):
            lease = self.machine._book.leases[event.lease]
            self._in_lease = event.receipt.shard in lease.open and event.receipt.failure is None

    def _watch(self, event: ev.Event, effects: list[ev.Effect]) -> None:
        if self._in_lease and isinstance(event, ev.ReceiptTaken):
            self.kept.add((event.receipt.shard, event.receipt.executor))
        if isinstance(event, ev.OutputMissing):
            self.kept = {entry for entry in self.kept if self._still_counts(*entry)}
        for effect in effects:
            if isinstance(effect, ev.Judged) and effect.outcome is ValidationOutcome.REJECTED:
                self.rejected.add(effect.executor)
            if isinstance(effect, ev.Settled):
                self.disputed += effect.judgement is Judgement.DISPUTED

    def _still_counts(self, shard: int, executor: Did) -> bool:
        return executor in self.machine._book.pool[shard].delivered

    def _move(self, effects: list[ev.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, ev.MoveMana):
                self._transfer(effect.transfer)

    def _transfer(self, transfer: Transfer) -> None:
        fresh = self.world.ledger.transfer(transfer.id, transfer.cause, transfer.entries)
        if transfer.id.startswith("pay:"):
            assert fresh, f"paid twice: {transfer.id}"
            shard, executor = int(transfer.id.split(":")[3]), Did.parse(":".join(transfer.id.split(":")[4:]))
            self.paid[shard, executor] = sum(amount for account, amount in transfer.entries if amount > 0)

    def rebuilt(self) -> Originator:
        """The machine that the journal gives."""
        machine = Originator(self.terms)
        for data in self.journal:
            entry = decode_event(ev.Event, data)
            machine.handle(entry.event, entry.at_ms)  # type: ignore[arg-type]
        return machine

    def restart(self) -> None:
        self.machine = self.rebuilt()
        self.perform(self.machine.resume())
        self.tick()

    def perform(self, effects: list[ev.Effect]) -> None:
        epoch = self.epoch
        for effect in effects:
            if self.epoch != epoch:
                return  # died over the one before
            match effect:
                case ev.Announce():
                    for worker in self.world.workers:
                        self._announce(worker, ANNOUNCEMENTS)
                case ev.OfferLease():
                    self._offer(effect, TRIES)
                case ev.FetchOutput():
                    self._fetch(effect, TRIES)

    def _announce(self, worker: Worker, tries: int) -> None:
        if tries and worker.did not in self.machine.bids:
            self.world.send(worker.heard(worker.on_announcement))
            self.later(BIDDING_MS // ANNOUNCEMENTS, lambda: self._announce(worker, tries - 1))

    def on_bid(self, bid: ev.BidTaken) -> None:
        if self.machine.phase is ev.Phase.BIDDING and not self.machine.bidding_over(self.now_ms()):
            self.apply(bid)

    def _offer(self, offer: ev.OfferLease, tries: int) -> None:
        lease, worker = self.machine.lease_document(offer, 0), self.world.by_did[offer.executor]
        answered: list[bool] = []

        def answer(taken: bool) -> None:
            if not answered:
                answered.append(taken)
                self.apply(ev.LeaseTaken(offer.nonce) if taken else ev.LeaseRefused(offer.nonce, "no"))

        def again() -> None:
            if not answered and tries > 1:
                self._offer(offer, tries - 1)
            elif not answered:
                answer(False)

        epoch = self.epoch
        self.world.send(
            worker.heard(
                lambda: worker.on_lease(
                    offer, lease, lambda taken: self.world.send(lambda: answer(taken) if self.epoch == epoch else None)
                )
            )
        )
        self.later(2_000, again)

    def _fetch(self, fetch: ev.FetchOutput, tries: int) -> None:
        worker = self.world.by_did[fetch.executor]
        if fetch.output in self.blocks:
            self.apply(ev.OutputStored(fetch.output))
            return
        if not tries:
            self.apply(ev.OutputMissing(fetch.output, fetch.executor))
            return

        def arrived() -> None:
            self.blocks.add(fetch.output)
            self.apply(ev.OutputStored(fetch.output))

        def asked() -> None:
            if fetch.output in worker.outputs and worker.kind != "hides":
                self.world.send(self.heard(arrived))

        self.world.send(worker.heard(asked))
        self.later(2_000, lambda: self._fetch(fetch, tries - 1))

    def on_receipt(self, taken: ev.ReceiptTaken, answer: Callable[[bool], None]) -> None:
        try:
            self.machine.check_receipt(taken.receipt, taken.lease)
        except VerificationError:
            answer(False)
            return
        if taken.cid not in self.receipts:
            if not self.apply(taken):
                return
            self.receipts.add(taken.cid)
        if self.up:
            answer(True)


@dataclass
class Held:
    """One lease of a worker: what is durable, and the machine made from it."""

    offer: ev.OfferLease
    lease: AssignJobV1
    machine: ex.LeaseWork
    journal: list[bytes] = field(default_factory=list)
    opened_ms: int = 0
    done: bool = False

    def rebuilt(self) -> ex.LeaseWork:
        """The machine that the journal gives."""
        machine = ex.LeaseWork(self.lease)
        for data in self.journal:
            machine.handle(decode_event(ex.Event, data).event)  # type: ignore[arg-type]
        return machine


class Worker(Host):
    """An executor's shell, honest or not."""

    def __init__(self, world: World, number: int, kind: str) -> None:
        super().__init__(world)
        self.number, self.kind, self.did = number, kind, did_of(number)
        self.rng = random.Random(world.plan.seed * 1_000 + number)
        self.leases: dict[bytes, Held] = {}
        self.receipts: dict[Cid, ev.ReceiptTaken] = {}
        self.outputs: set[Cid] = set()
        self.seq = 0
        self.runs = 0
        self.busy = False
        self.queue: list[tuple[Held, int]] = []
        self.gone = False

    def on_announcement(self) -> None:
        terms, price = self.world.office.terms, self.world.office.prices[self.did]
        bid = bid_taken(
            terms, self.number, price=price, rate=self.rng.randint(1, 9) * 1_000, most=self.rng.randint(1, 8)
        )
        bid = self.world.office.bids.setdefault(self.did, bid)
        self.world.send(self.world.office.heard(lambda: self.world.office.on_bid(bid)))

    def on_lease(self, offer: ev.OfferLease, lease: AssignJobV1, answer: Callable[[bool], None]) -> None:
        if self.gone:
            return
        if offer.nonce not in self.leases:
            if self.kind == "refuses" and self.rng.random() < 0.7:
                answer(False)
                return
            self.leases[offer.nonce] = held = Held(offer, lease, ex.LeaseWork(lease), opened_ms=self.world.now_ms)
            if self.crashes():
                return
            self.perform(held, held.machine.start())
            self.later(LEASE_MS, lambda: self.apply(held, ex.Lapsed()))
            if self.kind == "returns":
                self.later(self.rng.randint(1, 3_000), lambda: self.apply(held, ex.ReturnAsked("too warm")))
        answer(True)

    def restart(self) -> None:
        self.queue, self.busy = [], False
        for held in self.leases.values():
            if held.done:
                continue
            held.machine = held.rebuilt()
            self.apply(held, ex.Restarted())
            if not self.up:
                return
            left_ms = max(0, held.opened_ms + LEASE_MS - self.world.now_ms)
            self.later(left_ms, lambda held=held: self.apply(held, ex.Lapsed()))  # type: ignore[misc]

    def apply(self, held: Held, event: ex.Event) -> None:
        if not self.up or held.done or not held.machine.changes(event):
            return
        effects = held.machine.handle(event)
        if self.crashes():
            return
        held.journal.append(encode_event(event, self.world.now_ms))
        if self.crashes():
            assert snapshot(held.rebuilt()) == snapshot(held.machine), (
                f"another machine came out of the journal: {event}"
            )
        else:
            self.perform(held, effects)

    def perform(self, held: Held, effects: list[ex.Effect]) -> None:
        epoch = self.epoch
        for effect in effects:
            if self.epoch != epoch:
                return
            match effect:
                case ex.Fetch(shard, _):
                    kind = ex.BlocksMissing(shard, "lost") if self.rng.random() < 0.01 else ex.BlocksStored(shard)
                    self.later(self.rng.randint(1, 500), lambda kind=kind: self.apply(held, kind))  # type: ignore[misc]
                case ex.Run(shard):
                    self.queue.append((held, shard))
                    self._next()
                case ex.SendReceipt(_, receipt):
                    self._deliver(held, receipt, 1_000)
                case ex.GiveBack(shards, _):
                    self._give_back(held, shards)
                case ex.LeaseDone():
                    held.done = True

    def _give_back(self, held: Held, shards: tuple[int, ...]) -> None:
        office, event = self.world.office, ev.LeaseReturned(held.offer.nonce, shards)

        def arrived() -> None:
            office.apply(event)

        self.world.send(office.heard(arrived))

    def _next(self) -> None:
        while self.queue and not self.busy and self.up:
            held, shard = self.queue.pop(0)
            if held.machine.shards[shard].step is not ex.Step.READY:
                continue
            self.apply(held, ex.RunStarted(shard))
            if self.up:
                self.busy = True
                run_ms = self.rng.randint(50, 600) * (30 if self.kind == "slow" else 1)
                self.later(run_ms, lambda held=held, shard=shard: self._ran(held, shard))  # type: ignore[misc]

    def _ran(self, held: Held, shard: int) -> None:
        self.busy = False
        self.runs += 1
        if self.kind == "vanishes" and self.runs > 2:
            self.gone = True
            self.crash()
            self.epoch += 1
            self._back = lambda: None  # type: ignore[method-assign]
            return
        taken = self._receipt(held, shard, self._says(shard))
        if self.kind == "equivocates" and self.rng.random() < 0.5:
            lie = self._receipt(held, shard, Says(output=b"two-faced"))
            self._post(lie, lambda taken: None)
        self.receipts[taken.cid] = taken
        self.apply(held, ex.RunEnded(shard, taken.cid))
        if self.up:
            self._next()

    def _receipt(self, held: Held, shard: int, says: Says) -> ev.ReceiptTaken:
        taken = receipt_of(self.world.office.terms, held.offer, shard, says, seq=self.seq)
        self.seq += 1
        if taken.receipt.output is not None:
            self.outputs.add(taken.receipt.output)
        return taken

    def _says(self, shard: int) -> Says:
        truth = truth_of(self.world.plan, shard)
        if self.kind == "lies":
            return Says(output=b"lie of %d" % self.number)
        if self.kind == "fuel":
            return Says(output=truth.output, fuel=100 + self.number)
        if self.kind == "fails" and self.rng.random() < 0.8:
            return Says(failure=FailureReason.CRASH_OR_PANIC)
        return truth

    def _post(self, taken: ev.ReceiptTaken, answer: Callable[[bool], None]) -> None:
        office, epoch = self.world.office, self.epoch
        reply: Callable[[bool], None] = lambda ok: self.world.send(  # noqa: E731
            lambda: answer(ok) if self.epoch == epoch else None
        )
        self.world.send(office.heard(lambda: office.on_receipt(taken, reply)))

    def _deliver(self, held: Held, receipt: Cid, retry_ms: int) -> None:
        if held.done or all(
            work.receipt != receipt or work.step is ex.Step.DONE for work in held.machine.shards.values()
        ):
            return

        def answered(ok: bool) -> None:
            self.apply(held, ex.ReceiptAcked(receipt) if ok else ex.ReceiptRefused(receipt, "no"))

        self._post(self.receipts[receipt], answered)
        self.later(retry_ms, lambda: self._deliver(held, receipt, min(60_000, 2 * retry_ms)))


def truth_of(plan: Plan, shard: int) -> Says:
    """What every honest executor finds."""
    if plan.trapping and shard == plan.shards - 1:
        return Says(trap="unreachable", fuel=77)
    assert HONEST.fuel < FUEL_LIMIT
    return HONEST


def accounts_of(office: Office) -> list[str]:
    """Every account that has to be empty at the end."""
    return [escrow_of(office.terms.job.id), *(f"stake:{taken.cid}" for taken in office.machine.bids.values())]


def balance_of(world: World, did: Did) -> int:
    """What somebody holds."""
    return world.ledger.balance(account_of(did))
