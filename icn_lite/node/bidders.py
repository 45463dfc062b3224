"""What the originator knows of those who bid: balance, reputation, capability; and the order of their bids."""

from __future__ import annotations

from icn_lite.market.bids import Bidder, Tender
from icn_lite.market.reputation import START_PPM, after
from icn_lite.market.score import score_bid
from icn_lite.market.select import Offer, select
from icn_lite.market.settle import Transfer, account_of, grant
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import BidError
from icn_lite.node.shell import Shell
from icn_lite.store.db import Store
from icn_lite.wasm.prepared import METER
from icn_lite.work import originator_events as ev
from icn_lite.work.originator import Originator


class Bidders:
    """The bidders of one originator, over all its jobs."""

    def __init__(self, shell: Shell, welcome_mana: int) -> None:
        self._shell = shell
        self._welcome_mana = welcome_mana
        self.reputation: dict[Did, int] = {}  # a fold over verdicts, made again from the journals at every start

    def welcome(self, did: Did) -> Transfer:
        """The opening balance of a bidder whose first bid is taken, so that it can stake."""
        return grant(did, self._welcome_mana, "welcome")

    async def look_up(self, did: Did) -> Bidder:
        """What we know of a bidder. One that our ledger never saw has the welcome before it; nothing is written."""
        capability = self._shell.capability(did)
        if capability is not None and METER not in capability.meters:
            raise BidError("meter", f"jobs here are metered by {METER}, the bidder's document names another")

        def balance(store: Store) -> int:
            known = store.ledger.balance(account_of(did))
            return known if store.ledger.get(self.welcome(did).id) else known + self._welcome_mana

        reputation = self.reputation.get(did, START_PPM)
        return Bidder(await self._shell.storage.run(balance), reputation, capability)

    def judge(self, verdict: ev.Judged) -> None:
        """Move a reputation by one outcome."""
        self.reputation[verdict.executor] = after(self.reputation.get(verdict.executor, START_PPM), verdict.outcome)

    def rank(self, machine: Originator, now_ms: int) -> tuple[Cid, ...]:
        """The bids from best to worst by the job's strategy."""
        terms = machine.terms
        offers: list[Offer] = []
        for bidder, taken in machine.bids.items():
            reputation = self.reputation.get(bidder, START_PPM)
            remaining_ms = terms.deadline_ms - now_ms
            score = score_bid(taken.bid, terms.job, remaining_ms=remaining_ms, reputation_ppm=reputation)
            offers.append(Offer(taken.cid, taken.bid, score.total_ppm))
        ranked = select(offers, terms.job.selection_strategy, len(offers), terms.job.nonce)
        return tuple(offer.cid for offer in ranked)


def tender_of(machine: Originator, job_id: Cid, now_ms: int) -> Tender:
    """The state of a job's bidding."""
    terms = machine.terms
    window_ms = terms.started_ms + terms.bidding_ms - now_ms if machine.phase is ev.Phase.BIDDING else 0
    return Tender(job_id, terms.job, terms.deadline_ms - now_ms, window_ms, frozenset(machine.bids))
