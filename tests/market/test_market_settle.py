"""Settlement: amounts and rounding, then whole histories on the real ledger."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from market_samples import SUBMITTER, cid_of, did_of

from icn_lite.market import settle
from icn_lite.market.bids import stake_of
from icn_lite.market.outcome import ValidationOutcome
from icn_lite.market.settle import ShardRun, Transfer
from icn_lite.model.errors import FailureReason, LedgerError
from icn_lite.model.units import MAX_MANA
from icn_lite.store import ledger as ledger_module
from icn_lite.store.db import Store

steady = settings(deadline=None, derandomize=True)
ACCEPTED, DISPUTED, REJECTED = (
    ValidationOutcome.ACCEPTED,
    ValidationOutcome.ACCEPTED_WITH_DISPUTE,
    ValidationOutcome.REJECTED,
)
JOB = cid_of(1)
BID = cid_of(2)


@given(price=st.integers(0, MAX_MANA), weights=st.lists(st.integers(1, 1 << 40), min_size=1, max_size=60))
@steady
def test_shares_sum_to_the_price_and_follow_the_weights(price: int, weights: list[int]) -> None:
    parts = settle.shares(price, weights)
    assert sum(parts) == price
    total = sum(weights)
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part * total - price * weight) < total  # less than one mana from the exact part, the last one too


@pytest.mark.parametrize(
    ("price", "weights", "expected"),
    [(100, [1, 1, 1], (33, 33, 34)), (10, [3, 1], (7, 3)), (2, [1, 1, 1], (0, 1, 1)), (0, [5], (0,)), (7, [9], (7,))],
)
def test_shares_in_examples(price: int, weights: list[int], expected: tuple[int, ...]) -> None:
    assert settle.shares(price, weights) == expected


@pytest.mark.parametrize("weights", [[], [0], [1, 0], [1, -1]])
def test_shares_of_nothing_are_refused(weights: list[int]) -> None:
    with pytest.raises(LedgerError, match="weights above 0"):
        settle.shares(10, weights)


@pytest.mark.parametrize(("outcome", "earned"), [(ACCEPTED, 101), (DISPUTED, 50), (REJECTED, 0)])
def test_what_a_result_earns(outcome: ValidationOutcome, earned: int) -> None:
    assert settle.payment(101, outcome) == earned


HALF = {FailureReason.OUT_OF_MEMORY, FailureReason.CPU_TIMEOUT, FailureReason.DISK_FULL, FailureReason.CRASH_OR_PANIC}


@pytest.mark.parametrize("reason", list(FailureReason))
def test_what_a_failure_costs_of_the_stake(reason: FailureReason) -> None:
    assert settle.slash_of(21, reason) == (10 if reason in HALF else 0)


@pytest.mark.parametrize(("outcome", "burnt"), [(ACCEPTED, 0), (DISPUTED, 0), (REJECTED, 21)])
def test_what_a_verdict_costs_of_the_stake(outcome: ValidationOutcome, burnt: int) -> None:
    assert settle.slash_of(21, outcome) == burnt


def test_transfers_name_their_accounts_and_cause() -> None:
    run = ShardRun(JOB, 0, 3, did_of(5), cid_of(9))
    assert settle.pay_shard(run, 40, ACCEPTED) == Transfer(
        f"pay:{JOB}:0:3:{did_of(5)}", str(cid_of(9)), ((f"escrow:{JOB}", -40), (str(did_of(5)), 40))
    )
    assert settle.end_stake(BID, did_of(5), 21, 10, cid_of(9)) == Transfer(
        f"stake-end:{BID}", str(cid_of(9)), ((f"stake:{BID}", -21), (str(did_of(5)), 11), ("mint", 10))
    )
    assert settle.refund(JOB, SUBMITTER, 0).entries == ()


def test_what_would_make_mana_is_refused() -> None:
    with pytest.raises(LedgerError, match="sum to 0, found 1"):
        Transfer("id", "cause", (("a", 1),))
    with pytest.raises(LedgerError, match="at least 0 mana"):
        settle.refund(JOB, SUBMITTER, -1)
    for slashed in (-1, 22):
        with pytest.raises(LedgerError, match="to slash 0 to 21"):
            settle.end_stake(BID, did_of(1), 21, slashed, JOB)


def test_market_and_ledger_mean_the_same_mint() -> None:
    assert settle.MINT == ledger_module.MINT


GRANT = 5_000
BUDGET = 1_000
COPIES = 2
WEIGHTS = (3, 1, 4, 1, 5)
bidders = st.integers(1, 4)
jobs = st.integers(1, 3)


class MarketMachine(RuleBasedStateMachine):
    """Jobs that are announced, bid for, run, validated and ended in any order, on the ledger of one originator."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.open(Path(self.folder.name))
        self.ledger = self.store.ledger
        self.open: set[int] = set()
        self.ended: set[int] = set()
        self.bids: dict[tuple[int, int], int] = {}
        self.staked: dict[tuple[int, int], int] = {}
        self.paid: dict[tuple[int, int, int], int] = {}
        self.burnt = 0
        for did in (SUBMITTER, *map(did_of, range(1, 5))):
            assert self._apply(settle.grant(did, GRANT, "opening"))

    def teardown(self) -> None:
        for job in list(self.open):
            self.end(job)
        # Everything that was put aside has gone somewhere.
        for name, balance in (*self.ledger.accounts("escrow:"), *self.ledger.accounts("stake:")):
            assert balance == 0, name
        held = sum(balance for name, balance in self.ledger.accounts("did:"))
        assert held == 5 * GRANT - self.burnt
        self.ledger.audit()
        self.store.close()
        self.folder.cleanup()

    def _apply(self, transfer: Transfer) -> bool:
        return self.ledger.transfer(transfer.id, transfer.cause, transfer.entries)

    @rule(job=jobs)
    def announce(self, job: int) -> None:
        if job in self.ended:
            return
        fresh = self._apply(settle.open_escrow(cid_of(job), SUBMITTER, BUDGET))
        assert fresh == (job not in self.open)
        self.open.add(job)

    @precondition(lambda self: self.open)
    @rule(job=jobs, bidder=bidders, price=st.integers(0, BUDGET // COPIES))
    def bid(self, job: int, bidder: int, price: int) -> None:
        if job not in self.open or (job, bidder) in self.bids or sum(key[0] == job for key in self.bids) >= COPIES:
            return
        stake = stake_of(price)
        assert self._apply(settle.lock_stake(cid_of(100 * job + bidder), did_of(bidder), stake))
        self.bids[job, bidder] = price
        self.staked[job, bidder] = stake

    @precondition(lambda self: self.bids)
    @rule(job=jobs, bidder=bidders, shard=st.integers(0, len(WEIGHTS) - 1), outcome=st.sampled_from(ValidationOutcome))
    def validate(self, job: int, bidder: int, shard: int, outcome: ValidationOutcome) -> None:
        if (job, bidder) not in self.bids or job not in self.open:
            return
        share = settle.shares(self.bids[job, bidder], WEIGHTS)[shard]
        run = ShardRun(cid_of(job), 0, shard, did_of(bidder), cid_of(1_000 + shard))
        key = (job, bidder, shard)
        transfer = settle.pay_shard(run, share, outcome)
        before = self.ledger.balance(str(did_of(bidder)))
        if key in self.paid and self.paid[key] != settle.payment(share, outcome):
            with pytest.raises(LedgerError, match="applied before"):
                self._apply(transfer)
        else:
            assert self._apply(transfer) == (key not in self.paid)
        if key in self.paid:
            assert self.ledger.balance(str(did_of(bidder))) == before
        self.paid.setdefault(key, settle.payment(share, outcome))

    @precondition(lambda self: self.staked)
    @rule(job=jobs, bidder=bidders, reason=st.sampled_from([*ValidationOutcome, *FailureReason]))
    def end_stake(self, job: int, bidder: int, reason: ValidationOutcome | FailureReason) -> None:
        stake = self.staked.pop((job, bidder), None)
        if stake is None:
            return
        slashed = settle.slash_of(stake, reason)
        bid = cid_of(100 * job + bidder)
        assert self._apply(settle.end_stake(bid, did_of(bidder), stake, slashed, cid_of(job)))
        if stake:
            # It is gone: neither the same end nor another one can take from it again.
            for again in (slashed, stake - slashed):
                with pytest.raises(LedgerError):
                    self._apply(settle.end_stake(bid, did_of(bidder), stake, again, cid_of(9_999)))
        self.burnt += slashed

    @precondition(lambda self: self.open)
    @rule(job=jobs)
    def end(self, job: int) -> None:
        if job not in self.open:
            return
        for key in [key for key in self.staked if key[0] == job]:
            self.end_stake(*key, ACCEPTED)
        remaining = self.ledger.balance(settle.escrow_of(cid_of(job)))
        assert remaining == BUDGET - sum(amount for key, amount in self.paid.items() if key[0] == job)
        assert self._apply(settle.refund(cid_of(job), SUBMITTER, remaining))
        self.open.discard(job)
        self.ended.add(job)

    @invariant()
    def no_mana_is_made_lost_or_lent(self) -> None:
        assert self.ledger.sum() == 0
        assert all(balance >= 0 for name, balance in self.ledger.accounts() if name != "mint")
        for bidder in range(1, 5):
            earned = sum(amount for key, amount in self.paid.items() if key[1] == bidder)
            assert self.ledger.balance(str(did_of(bidder))) <= GRANT + earned


TestMarket = MarketMachine.TestCase
TestMarket.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
