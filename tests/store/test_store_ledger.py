"""The ledger against a plain model, and against SQL that means harm."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from store_samples import roll_back

from icn_lite.model.errors import JobErrorCode, LedgerError, StoreError
from icn_lite.store.db import Store
from icn_lite.store.ledger import MAX_AMOUNT, MAX_ENTRIES, MINT, Entry

account = st.sampled_from([MINT, "did:key:zA", "did:key:zB", "escrow:1", "stake:1"])
entries = st.lists(st.tuples(account, st.integers(-50, 50)), max_size=5)
identity = st.sampled_from([f"transfer {number}" for number in range(40)])


class LedgerMachine(RuleBasedStateMachine):
    """The ledger beside a dict of balances and a dict of transfers."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.open(Path(self.folder.name))
        self.balances: dict[str, int] = {}
        self.applied: dict[str, dict[str, int]] = {}

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def _expected(self, id: str, moved: dict[str, int]) -> str:
        """What has to happen: `applied`, `known` or `refused`."""
        if sum(moved.values()):
            return "refused"
        if id in self.applied:
            return "known" if self.applied[id] == moved else "refused"
        fits = all(name == MINT or self.balances.get(name, 0) + amount >= 0 for name, amount in moved.items())
        return "applied" if fits else "refused"

    def _transfer(self, id: str, parts: list[Entry]) -> None:
        moved: dict[str, int] = {}
        for name, amount in parts:
            moved[name] = moved.get(name, 0) + amount
        moved = {name: amount for name, amount in moved.items() if amount}
        expected = self._expected(id, moved)
        if expected == "refused":
            with pytest.raises(LedgerError):
                self.store.ledger.transfer(id, "cause", parts)
            return
        assert self.store.ledger.transfer(id, "cause", parts) == (expected == "applied")
        if expected == "applied":
            self.applied[id] = moved
            for name, amount in moved.items():
                self.balances[name] = self.balances.get(name, 0) + amount

    @rule(id=identity, parts=entries)
    def any_entries(self, id: str, parts: list[Entry]) -> None:
        self._transfer(id, parts)

    @rule(id=identity, source=account, receiver=account, amount=st.integers(0, 60))
    def move(self, id: str, source: str, receiver: str, amount: int) -> None:
        self._transfer(id, [(source, -amount), (receiver, amount)])

    @rule(id=identity, parts=entries)
    def balanced_entries(self, id: str, parts: list[Entry]) -> None:
        self._transfer(id, [*parts, ("did:key:zA", -sum(amount for _, amount in parts))])

    @rule(id=identity)
    def send_again(self, id: str) -> None:
        if id in self.applied:
            self._transfer(id, list(self.applied[id].items()))

    @rule(amount=st.integers(1, 50))
    def roll_back(self, amount: int) -> None:
        parts = [(MINT, -amount), ("did:key:zB", amount)]
        roll_back(self.store, lambda: self.store.ledger.transfer("undone", "cause", parts))

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store.open(Path(self.folder.name))

    @invariant()
    def agrees(self) -> None:
        ledger = self.store.ledger
        assert ledger.sum() == 0 == sum(self.balances.values())
        assert ledger.accounts() == tuple(sorted(self.balances.items()))
        assert {row.id: dict(row.entries) for row in ledger.transfers()} == self.applied
        ledger.audit()


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=40, stateful_step_count=30, deadline=None, derandomize=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path)


def test_an_overdraft_says_what_is_there_and_what_is_needed(store: Store) -> None:
    with store:
        store.ledger.transfer("1", "cause", [(MINT, -5), ("a", 5)])
        with pytest.raises(LedgerError, match=r"a holds 5 mana, 6 are needed \(2\)") as refused:
            store.ledger.transfer("2", "cause", [("a", -6), ("b", 6)])
        assert refused.value.code is JobErrorCode.PAYMENT_FAILED
        assert store.ledger.accounts() == (("a", 5), (MINT, -5))


def test_one_id_moves_mana_once(store: Store) -> None:
    with store:
        assert store.ledger.transfer("1", "cause", [(MINT, -5), ("a", 5)])
        assert not store.ledger.transfer("1", "cause", [("a", 5), (MINT, -5)])
        for cause, parts in (("cause", [(MINT, -6), ("a", 6)]), ("another", [(MINT, -5), ("a", 5)])):
            with pytest.raises(LedgerError, match="applied before with other entries or another cause"):
                store.ledger.transfer("1", cause, parts)
        assert store.ledger.balance("a") == 5


def test_a_transfer_of_nothing_is_recorded_once(store: Store) -> None:
    with store:
        assert store.ledger.transfer("1", "cause", [])
        assert not store.ledger.transfer("1", "cause", [("a", 0)])
        assert store.ledger.accounts() == ()


@pytest.mark.parametrize(
    ("id", "cause", "parts", "message"),
    [
        ("1", "cause", [("a", 1)], "sum to 0, found 1"),
        ("", "cause", [], "an id of 1 to"),
        ("1", "", [], "a cause of 1 to"),
        ("1", "cause", [("", 1), (MINT, -1)], "an account of 1 to"),
        ("x" * 257, "cause", [], "an id of 1 to"),
        ("1", "cause", [(MINT, -MAX_AMOUNT - 1), ("a", MAX_AMOUNT + 1)], "amounts of at most"),
        ("1", "cause", [(MINT, 0)] * (MAX_ENTRIES + 1), "entries in transfer 1, found 4097"),
    ],
)
def test_what_is_no_transfer_is_refused(store: Store, id: str, cause: str, parts: list[Entry], message: str) -> None:
    with store:
        with pytest.raises(LedgerError, match=message):
            store.ledger.transfer(id, cause, parts)
        assert store.ledger.transfers() == ()


def test_balances_stay_within_64_bits(store: Store) -> None:
    with store:
        store.ledger.transfer("1", "cause", [(MINT, -MAX_AMOUNT), ("a", MAX_AMOUNT)])
        with pytest.raises(LedgerError, match="more than the"):
            store.ledger.transfer("2", "cause", [(MINT, -1), ("b", 1)])
        assert store.ledger.sum() == 0


def test_accounts_and_transfers_are_listed_by_prefix_account_and_page(store: Store) -> None:
    with store:
        for number in range(5):
            store.ledger.transfer(str(number), "cause", [(MINT, -1), (f"escrow:{number % 2}", 1)])
        assert store.ledger.accounts("escrow:") == (("escrow:0", 3), ("escrow:1", 2))
        assert [row.id for row in store.ledger.transfers(account="escrow:1")] == ["1", "3"]
        first = store.ledger.transfers(limit=2)
        assert [row.id for row in first] == ["0", "1"]
        assert [row.id for row in store.ledger.transfers(after=first[-1].number, limit=2)] == ["2", "3"]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO entries VALUES (1, 'b', 1)",
        "UPDATE entries SET amount = amount + 1 WHERE account = 'a'",
        "UPDATE accounts SET balance = -1 WHERE name = 'a'",
        "DELETE FROM entries",
        "DELETE FROM transfers",
        "UPDATE transfers SET sum = 1",
        "INSERT INTO entries VALUES (99, 'b', 1)",
        "INSERT INTO entries VALUES (1, 'b', 0)",
        "INSERT INTO entries VALUES (1, 'b', 'many')",
        "INSERT INTO entries VALUES (1, 'b', 1.5)",
    ],
)
def test_the_tables_refuse_what_the_code_would_not_do(store: Store, statement: str) -> None:
    with store:
        store.ledger.transfer("1", "cause", [(MINT, -5), ("a", 5)])
        with pytest.raises(StoreError), store.transaction():
            store._db.run(statement)
        assert store.ledger.accounts() == (("a", 5), (MINT, -5))
        store.ledger.audit()


def test_the_audit_finds_a_balance_that_is_not_the_sum_of_its_entries(store: Store) -> None:
    with store:
        store.ledger.transfer("1", "cause", [(MINT, -5), ("a", 5)])
        store._db.run("UPDATE accounts SET balance = 6 WHERE name = 'a'")
        with pytest.raises(LedgerError, match="a holds 6 mana, its entries sum to 5"):
            store.ledger.audit()
