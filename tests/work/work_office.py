"""The originator's side of a simulated job: its machine, what it keeps over a crash, and what must hold meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from work_host import Host
from work_samples import BIDDING_MS, SUBMITTER, did_of, snapshot, terms_of

from icn_lite.market.outcome import ValidationOutcome
from icn_lite.market.settle import Transfer, grant
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import VerificationError
from icn_lite.work import originator_events as ev
from icn_lite.work.originator import Originator
from icn_lite.work.quorum import Judgement
from icn_lite.work.replay import decode_event, encode_event

if TYPE_CHECKING:
    from work_simulation import World
    from work_worker import Worker

TRIES = 3
ANNOUNCEMENTS = 20  # until the bid is in


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
