"""Jobs that this node submitted or works on: one row a job and role.

The row is what lists and `status` show; the job's document is a block, and its machine is rebuilt from the journal.
Jobs are numbered in the order in which they came, which needs no clock. Of more than `MAX_JOBS` rows the oldest go:
whoever announces jobs without end fills no disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from icn_lite.model.cid import Cid
from icn_lite.model.errors import StoreError
from icn_lite.store.database import Database, Row

MAX_LISTED: Final = 1_000  # rows of one answer; further ones by `after`
MAX_JOBS: Final = 10_000  # rows in all; a few MB, and more than anybody reads
MAX_STATUS_CHARS: Final = 64  # the longest status name has 17
MAX_ERROR_CHARS: Final = 1_024  # two sentences


class JobRole(Enum):
    """What this node is in a job; it may be both."""

    ORIGINATOR = "originator"
    EXECUTOR = "executor"


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as listed; `number` is given by the store, `error` is empty while nothing went wrong."""

    id: Cid
    role: JobRole
    status: str
    document: Cid
    error: str = ""
    number: int = 0


class Jobs:
    """The list of jobs."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def upsert(self, record: JobRecord) -> int:
        """Add a job or change its status, document and error; returns its number, which never changes."""
        if not 0 < len(record.status) <= MAX_STATUS_CHARS:
            raise StoreError(f"expected a status of 1 to {MAX_STATUS_CHARS} characters, found {len(record.status)}")
        values = (record.status, str(record.document), record.error[:MAX_ERROR_CHARS])
        key = (str(record.id), record.role.value)
        with self._db.write():
            # Not INSERT … ON CONFLICT: that would use up a number for every change of status.
            if self._db.run(
                "UPDATE jobs SET status = ?, document = ?, error = ? WHERE id = ? AND role = ?", values + key
            ):
                return self._db.number("SELECT number FROM jobs WHERE id = ? AND role = ?", key)
            number = self._db.insert(
                "INSERT INTO jobs(status, document, error, id, role) VALUES (?, ?, ?, ?, ?)", values + key
            )
            # Numbers rise by one at an insert, so all but the last MAX_JOBS numbers are the oldest rows.
            self._db.run("DELETE FROM jobs WHERE number <= ?", (number - MAX_JOBS,))
            return number

    def get(self, job: Cid, role: JobRole) -> JobRecord | None:
        """One job in one role, or None."""
        row = self._db.row(f"{_SELECT} WHERE id = ? AND role = ?", (str(job), role.value))
        return _record(row) if row else None

    def list(
        self, *, role: JobRole | None = None, status: str | None = None, after: int = 0, limit: int = MAX_LISTED
    ) -> tuple[JobRecord, ...]:
        """Jobs in the order in which they came, those numbered above `after`, at most `limit`."""
        query = f"{_SELECT} WHERE (?1 IS NULL OR role = ?1) AND (?2 IS NULL OR status = ?2) AND number > ?3"
        rows = self._db.rows(
            f"{query} ORDER BY number LIMIT ?4", (role.value if role else None, status, after, min(limit, MAX_LISTED))
        )
        return tuple(_record(row) for row in rows)

    def count(self) -> int:
        """How many rows there are, both roles counted."""
        return self._db.number("SELECT count(*) FROM jobs")

    def delete(self, job: Cid, role: JobRole) -> bool:
        """Forget a job in one role; returns whether it was there."""
        with self._db.write():
            return self._db.run("DELETE FROM jobs WHERE id = ? AND role = ?", (str(job), role.value)) > 0


_SELECT: Final = "SELECT id, role, status, document, error, number FROM jobs"


def _record(row: Row) -> JobRecord:
    job, role, status, document, error, number = row
    assert isinstance(number, int)
    return JobRecord(Cid.parse(str(job)), JobRole(role), str(status), Cid.parse(str(document)), str(error), number)
