"""The journal: events of the pure machines in `work/`, from which they are rebuilt after a crash.

One log a machine and key (`executor`, a lease's id). Events are bytes to this room. The shell appends an event and
commits before it performs the effects that the machine answered with; replaying the events in order gives the same
machine again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from icn_lite.model.errors import StoreError
from icn_lite.store.database import Database

MAX_EVENT_BYTES: Final = 1 << 20  # the largest event holds a signed job document
MAX_EVENTS: Final = 65_536  # of one key: several for each of the most shards of a job, and a guard against a loop


class Journal:
    """Append-only logs, dropped as a whole when their machine is done."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def append(self, machine: str, key: str, event: bytes) -> int:
        """Add an event; returns its number, which rises over all logs and is never used twice."""
        if len(event) > MAX_EVENT_BYTES:
            raise StoreError(f"expected an event of at most {MAX_EVENT_BYTES} bytes, found {len(event)}")
        with self._db.write():
            position = self.length(machine, key)
            if position >= MAX_EVENTS:
                raise StoreError(f"expected at most {MAX_EVENTS} events of {machine} {key}; one more was refused")
            return self._db.insert(
                "INSERT INTO journal(machine, key, position, event) VALUES (?, ?, ?, ?)",
                (machine, key, position, event),
            )

    def replay(self, machine: str, key: str) -> list[bytes]:
        """The events of one log, oldest first."""
        query = "SELECT event FROM journal WHERE machine = ? AND key = ? ORDER BY position"
        return [row[0] for row in self._db.rows(query, (machine, key)) if isinstance(row[0], bytes)]

    def keys(self, machine: str) -> list[str]:
        """The keys that have events, in the order of their first one."""
        query = "SELECT key FROM journal WHERE machine = ? GROUP BY key ORDER BY min(number)"
        return [str(row[0]) for row in self._db.rows(query, (machine,))]

    def length(self, machine: str, key: str) -> int:
        """How many events one log has."""
        # Positions have no holes, so the last one tells; counting would make a long log slow to append to.
        return self._db.number("SELECT max(position) + 1 FROM journal WHERE machine = ? AND key = ?", (machine, key))

    def drop(self, machine: str, key: str) -> int:
        """Forget one log; returns how many events it had."""
        with self._db.write():
            return self._db.run("DELETE FROM journal WHERE machine = ? AND key = ?", (machine, key))

    def drop_all(self, machine: str, keys: Sequence[str]) -> int:
        """Forget some logs at once; returns how many events they had."""
        marks = ", ".join("?" * len(keys))
        with self._db.write():
            return self._db.run(f"DELETE FROM journal WHERE machine = ? AND key IN ({marks})", (machine, *keys))
