"""What the originator knows of those who bid: balance, reputation, capability; and the order of their bids."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import Final

from icn_lite.market.bids import Bidder, Tender
from icn_lite.market.reputation import START_PPM, after
from icn_lite.market.score import score_bid
from icn_lite.market.select import Offer, select
from icn_lite.market.settle import Transfer, account_of, grant
from icn_lite.model.bid import Bid
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import BidError, IcnLiteError, PeerError
from icn_lite.model.job import JobSpec
from icn_lite.model.receipt import MAX_SIGNED_BYTES, ExecutionReceipt, read_receipt
from icn_lite.node.shell import Shell
from icn_lite.store.db import Store
from icn_lite.wasm.prepared import METER
from icn_lite.work import originator_events as ev
from icn_lite.work.benchmark import check_benchmark
from icn_lite.work.originator import Originator

MAX_PROVEN: Final = 1_024  # benchmarks that are remembered; as many as bids on one job
PROOF_S: Final = 5.0  # for fetching one: 1 kB from a peer that has just sent a bid
log = logging.getLogger(__name__)


class Bidders:
    """The bidders of one originator, over all its jobs."""

    def __init__(self, shell: Shell, welcome_mana: int) -> None:
        self._shell = shell
        self._welcome_mana = welcome_mana
        self.reputation: dict[Did, int] = {}  # a fold over verdicts, made again from the journals at every start
        self._proven: OrderedDict[Cid, int] = OrderedDict()  # what benchmarks' receipts showed, the last used last

    def welcome(self, did: Did) -> Transfer:
        """The opening balance of a bidder whose first bid is taken, so that it can stake."""
        return grant(did, self._welcome_mana, "welcome")

    async def look_up(self, bid: Bid, job: JobSpec) -> tuple[Bidder, list[tuple[Cid, bytes]]]:
        """What we know of a bidder, and blocks that prove it: to be kept with the bid. Raises `BidError`.

        One that our ledger never saw has the welcome before it; nothing is written.
        """
        did = bid.bidder
        capability = self._shell.capability(did)
        if capability is not None and METER not in capability.meters:
            raise BidError("meter", f"jobs here are metered by {METER}, the bidder's document names another")

        def balance(store: Store) -> int:
            known = store.ledger.balance(account_of(did))
            return known if store.ledger.get(self.welcome(did).id) else known + self._welcome_mana

        reputation = self.reputation.get(did, START_PPM)
        mana, proof = await self._shell.storage.run(balance), await self._prove(bid, job)
        bidder = Bidder(mana, reputation, capability, self._proven[proof.cid] if proof is not None else None)
        return bidder, [] if proof is None else [(proof.cid, proof.block)]

    async def _prove(self, bid: Bid, job: JobSpec) -> Sealed[ExecutionReceipt] | None:
        """The benchmark's receipt that a bid names, fetched and checked if the job asks for it; raises `BidError`."""
        named = bid.capability_proof.benchmark_results
        if job.policy.min_fuel_per_s is None or named is None:
            return None
        block = await self._stored(named)
        return self._check(bid, named, await self._fetch(bid.bidder, named) if block is None else block)

    async def _stored(self, receipt: Cid) -> bytes | None:
        """A receipt that is here; what a bidder names may be any block of ours, and is read only if it can be one."""

        def read(store: Store) -> bytes | None:
            return store.blocks.get(receipt) if (store.blocks.size(receipt) or 0) <= MAX_SIGNED_BYTES else None

        return await self._shell.storage.run(read)

    def _check(self, bid: Bid, named: Cid, block: bytes) -> Sealed[ExecutionReceipt]:
        try:
            sealed = read_receipt(block)
        except IcnLiteError as error:
            raise BidError("proof", f"the benchmark's receipt {named}: {error.message}") from error
        clock = self._shell.clock.claim()
        now_s = None if clock.source == "unset" else clock.wall_s
        self._remember(named, check_benchmark(sealed.document, bid.bidder, now_s))
        return sealed

    async def _fetch(self, bidder: Did, receipt: Cid) -> bytes:
        try:
            async with asyncio.timeout(PROOF_S):
                return await self._shell.fetch(self._shell.peers.endpoints(bidder), bidder, receipt, MAX_SIGNED_BYTES)
        except (PeerError, TimeoutError) as error:
            raise BidError("proof", f"the benchmark's receipt {receipt} can't be fetched from its bidder") from error

    def _remember(self, receipt: Cid, fuel_per_s: int) -> None:
        self._proven[receipt] = fuel_per_s
        self._proven.move_to_end(receipt)
        while len(self._proven) > MAX_PROVEN:
            self._proven.popitem(last=False)

    async def _proof_of(self, bid: Bid, job: JobSpec) -> int | None:
        """The speed that a taken bid's benchmark showed; None where the job doesn't ask, or nothing holds any more."""
        named = bid.capability_proof.benchmark_results
        if job.policy.min_fuel_per_s is None or named is None:
            return None
        block = await self._stored(named) if named not in self._proven else None
        if block is not None:  # since a restart
            try:
                self._check(bid, named, block)
            except BidError as error:
                log.info("a bid of %s is ranked by its own claim: %s", bid.bidder.short, error.message)
        return self._proven.get(named)

    def judge(self, verdict: ev.Judged) -> None:
        """Move a reputation by one outcome."""
        self.reputation[verdict.executor] = after(self.reputation.get(verdict.executor, START_PPM), verdict.outcome)

    async def rank(self, machine: Originator, now_ms: int) -> tuple[Cid, ...]:
        """The bids from best to worst by the job's strategy."""
        terms = machine.terms
        offers: list[Offer] = []
        for bidder, taken in tuple(machine.bids.items()):
            reputation = self.reputation.get(bidder, START_PPM)
            remaining_ms = terms.deadline_ms - now_ms
            score = score_bid(
                taken.bid,
                terms.job,
                remaining_ms=remaining_ms,
                reputation_ppm=reputation,
                proven_fuel_per_s=await self._proof_of(taken.bid, terms.job),
            )
            offers.append(Offer(taken.cid, taken.bid, score.total_ppm))
        ranked = select(offers, terms.job.selection_strategy, len(offers), terms.job.nonce)
        return tuple(offer.cid for offer in ranked)


def tender_of(machine: Originator, job_id: Cid, now_ms: int) -> Tender:
    """The state of a job's bidding."""
    terms = machine.terms
    window_ms = terms.started_ms + terms.bidding_ms - now_ms if machine.phase is ev.Phase.BIDDING else 0
    return Tender(job_id, terms.job, terms.deadline_ms - now_ms, window_ms, frozenset(machine.bids))
