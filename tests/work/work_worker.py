"""An executor's side of a simulated job, honest or not, near or far."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from work_host import Host
from work_samples import FUEL_LIMIT, HONEST, Says, bid_taken, did_of, receipt_of, snapshot

from icn_lite.model.cid import Cid
from icn_lite.model.errors import FailureReason
from icn_lite.model.messages import AssignJobV1
from icn_lite.work import executor as ex
from icn_lite.work import originator_events as ev
from icn_lite.work.replay import decode_event, encode_event

if TYPE_CHECKING:
    from work_simulation import Plan, World

BEHAVIOURS = (
    "honest", "lies", "fuel", "fails", "refuses", "returns", "vanishes", "hides", "equivocates", "slow", "away",
    "overdue",
)  # fmt: skip
OFFLINE_MS = 600_000  # for so long who leaves says that it may be out of reach
AWAY_MS = {"away": (OFFLINE_MS // 2, OFFLINE_MS - 10_000), "overdue": (OFFLINE_MS + 100_000, 2 * OFFLINE_MS)}
LEAVES_MS = 4_000  # at the latest, after its first lease


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
        self.back_ms: int | None = None  # when it is in reach again, once it has planned to leave
        self.near = True

    def heard(self, call: Callable[[], None]) -> Callable[[], None]:
        return super().heard(lambda: call() if self.near else None)

    def say(self, call: Callable[[], None]) -> None:
        """A message to the originator, which hears it if both are in reach."""
        if self.near:
            self.world.send(self.world.office.heard(call))

    def _leave(self) -> None:
        assert self.back_ms is not None
        self.near = False
        self.world.after(max(0, self.back_ms - self.world.now_ms), self._return)

    def _return(self) -> None:
        self.near = True

    def on_announcement(self) -> None:
        terms, price = self.world.office.terms, self.world.office.prices[self.did]
        bid = bid_taken(
            terms, self.number, price=price, rate=self.rng.randint(1, 9) * 1_000, most=self.rng.randint(1, 8)
        )
        if self.kind in AWAY_MS:
            bid = replace(bid, bid=replace(bid.bid, offline_ms=OFFLINE_MS))
        bid = self.world.office.bids.setdefault(self.did, bid)
        self.say(lambda: self.world.office.on_bid(bid))

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
            self.later(lease.duration_ms, lambda: self.apply(held, ex.Lapsed()))
            if self.kind in AWAY_MS and self.back_ms is None:
                self.back_ms = self.world.now_ms + self.rng.randint(*AWAY_MS[self.kind])
                self.world.after(self.rng.randint(1, LEAVES_MS), self._leave)
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
            left_ms = max(0, held.opened_ms + held.lease.duration_ms - self.world.now_ms)
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

        self.say(arrived)

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
        self.say(lambda: office.on_receipt(taken, reply))

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
