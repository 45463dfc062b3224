"""Named counters: refused bids, bad signatures, and whatever else a person may ask about.

Counting costs no write: counts stay in memory and go to disk with the next commit, at the latest after `FLUSH_AFTER`
of them and when the store closes. A killed node loses at most that many counts, and nothing else.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from icn_lite.store.database import Database

FLUSH_AFTER: Final = 256  # counts in memory before a write of their own
MAX_NAMES: Final = 256  # names come from code; should one ever be made from input, the rest goes to `OTHER`
MAX_NAME_CHARS: Final = 64
OTHER: Final = "other"


class Counters:
    """Counters that survive a restart."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._pending: Counter[str] = Counter()
        self._names: set[str] = {str(row[0]) for row in database.rows("SELECT name FROM counters")}
        database.write_along(self)

    def add(self, name: str, count: int = 1) -> None:
        """Count `count` more under `name`."""
        if count < 0:
            raise ValueError(f"a counter only rises, found {count}")
        if name not in self._names:
            name = name[:MAX_NAME_CHARS] if len(self._names) < MAX_NAMES else OTHER
            self._names.add(name)
        self._pending[name] += count
        if self._pending.total() >= FLUSH_AFTER:
            self.flush()

    def get(self, name: str) -> int:
        """The present count of `name`, what is still in memory included."""
        return self._db.number("SELECT value FROM counters WHERE name = ?", (name,)) + self._pending[name]

    def all(self) -> tuple[tuple[str, int], ...]:
        """All counters by name."""
        stored = {str(name): value for name, value in self._db.rows("SELECT name, value FROM counters")}
        return tuple((name, self.get(name)) for name in sorted({*stored, *self._pending}))

    def flush(self) -> None:
        """Write what is in memory now; inside a transaction its commit will."""
        if self._pending and not self._db.read_only and not self._db.in_transaction:
            with self._db.transaction():
                pass  # every commit writes what is pending

    def write_pending(self) -> None:
        """Write it; inside the transaction that is about to commit."""
        for name, count in self._pending.items():
            self._db.run(
                "INSERT INTO counters VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET value = value + excluded.value",
                (name, count),
            )

    def forget_pending(self) -> None:
        """It is on the disk now."""
        self._pending.clear()
