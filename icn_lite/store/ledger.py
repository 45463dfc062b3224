"""The ledger: mana moves between accounts by transfers whose entries sum to zero.

Accounts are names: a DID's available mana, `escrow:<job>`, `stake:<bid>`, and `mint`, the only one that may be
negative: what it lacks is what all others hold together. So the balances sum to zero at all times, which the tables
enforce too (see `schema`). A transfer carries an id and applies once, however often it is sent; entries are never
changed. Every transfer names its cause: the CID of the job, bid, receipt or dispute behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from icn_lite.model.errors import LedgerError
from icn_lite.store.database import Database

MINT: Final = "mint"
MAX_AMOUNT: Final = 1 << 61  # two such amounts still add up within SQLite's 64 bits
MAX_ENTRIES: Final = 4_096  # of one transfer: a settlement among that many accounts
MAX_TEXT_CHARS: Final = 256  # of an id, a cause, an account: some CIDs or DIDs joined
MAX_LISTED: Final = 1_000  # transfers of one answer; further ones by `after`

Entry = tuple[str, int]


@dataclass(frozen=True, slots=True)
class TransferRow:
    """A transfer as it was applied; its entries are ordered by account."""

    number: int
    id: str
    cause: str
    entries: tuple[Entry, ...]


class Ledger:
    """Double-entry bookkeeping of mana."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def transfer(self, id: str, cause: str, entries: Sequence[Entry]) -> bool:
        """Apply a transfer; returns False when it was applied before. Raises `LedgerError` and changes nothing else."""
        combined = _combine(id, cause, entries)
        with self._db.write():
            known = self.get(id)
            if known is not None:
                if (known.cause, known.entries) != (cause, combined):
                    raise LedgerError(f"transfer {id} was applied before with other entries or another cause")
                return False
            for account, amount in combined:
                self._check_funds(id, account, amount)
            number = self._db.insert("INSERT INTO transfers(id, cause) VALUES (?, ?)", (id, cause))
            for account, amount in combined:
                self._db.run("INSERT INTO entries VALUES (?, ?, ?)", (number, account, amount))
        return True

    def _check_funds(self, id: str, account: str, amount: int) -> None:
        balance = self.balance(account)
        if amount < 0 and account != MINT and balance + amount < 0:
            raise LedgerError(
                f"{account} holds {balance} mana, {-amount} are needed ({id})",
                hint="check the balance; earn or be granted mana",
            )
        if abs(balance + amount) > MAX_AMOUNT:
            raise LedgerError(
                f"{account} would hold {balance + amount} mana, more than the {MAX_AMOUNT} that fit ({id})"
            )

    def balance(self, account: str) -> int:
        """The mana of an account; one that never had an entry holds 0."""
        return self._db.number("SELECT balance FROM accounts WHERE name = ?", (account,))

    def accounts(self, prefix: str = "") -> tuple[Entry, ...]:
        """All accounts whose name begins with `prefix` and their balances, by name; empty ones included."""
        rows = self._db.rows(
            "SELECT name, balance FROM accounts WHERE substr(name, 1, ?) = ? ORDER BY name", (len(prefix), prefix)
        )
        return tuple((str(name), balance) for name, balance in rows if isinstance(balance, int))

    def sum(self) -> int:
        """The sum of all balances: 0."""
        return self._db.number("SELECT sum(balance) FROM accounts")

    def get(self, id: str) -> TransferRow | None:
        """The transfer with this id, or None."""
        row = self._db.row("SELECT number, id, cause FROM transfers WHERE id = ?", (id,))
        return self._transfer(row[0], str(row[1]), str(row[2])) if row else None

    def transfers(
        self, *, account: str | None = None, after: int = 0, limit: int = MAX_LISTED
    ) -> tuple[TransferRow, ...]:
        """Transfers in the order in which they were applied, those numbered above `after`, at most `limit`."""
        query = "SELECT number, id, cause FROM transfers WHERE number > ?1 AND (?2 IS NULL OR number IN"
        query += " (SELECT transfer FROM entries WHERE account = ?2)) ORDER BY number LIMIT ?3"
        rows = self._db.rows(query, (after, account, min(limit, MAX_LISTED)))
        return tuple(self._transfer(number, str(id), str(cause)) for number, id, cause in rows)

    def _transfer(self, number: object, id: str, cause: str) -> TransferRow:
        assert isinstance(number, int)
        rows = self._db.rows("SELECT account, amount FROM entries WHERE transfer = ? ORDER BY account", (number,))
        entries = tuple((str(account), amount) for account, amount in rows if isinstance(amount, int))
        return TransferRow(number, id, cause, entries)

    def audit(self) -> None:
        """Add everything up anew; raises `LedgerError` where a balance isn't the sum of its entries."""
        query = """SELECT name, balance, coalesce((SELECT sum(amount) FROM entries WHERE account = name), 0) AS entered
            FROM accounts WHERE balance <> entered LIMIT 1"""
        for name, balance, entered in self._db.rows(query):
            raise LedgerError(f"{name!s} holds {balance!s} mana, its entries sum to {entered!s}")
        query = """SELECT id, sum(amount) FROM entries JOIN transfers ON number = transfer
            GROUP BY id HAVING sum(amount) <> 0 LIMIT 1"""
        for id, total in self._db.rows(query):
            raise LedgerError(f"the entries of transfer {id!s} sum to {total!s}, expected 0")


def _combine(id: str, cause: str, entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """One entry an account, ordered by account, none of 0; checks every bound and that all sum to 0."""
    for name, text in (("an id", id), ("a cause", cause), *(("an account", account) for account, _ in entries)):
        if not 0 < len(text) <= MAX_TEXT_CHARS:
            raise LedgerError(f"expected {name} of 1 to {MAX_TEXT_CHARS} characters, found {len(text)}")
    if len(entries) > MAX_ENTRIES:
        raise LedgerError(f"expected at most {MAX_ENTRIES} entries in transfer {id}, found {len(entries)}")
    totals: dict[str, int] = {}
    for account, amount in entries:
        totals[account] = totals.get(account, 0) + amount
    if sum(totals.values()) != 0:
        raise LedgerError(f"expected the entries of transfer {id} to sum to 0, found {sum(totals.values())}")
    if any(abs(amount) > MAX_AMOUNT for amount in totals.values()):
        raise LedgerError(f"expected amounts of at most {MAX_AMOUNT} mana in transfer {id}")
    return tuple(sorted((account, amount) for account, amount in totals.items() if amount))
