"""The store of one node: its home folder, its lock, and everything kept in `node.db`.

`Store.open` takes the home's lock, checks the file after an unclean end, brings the tables up to date and hands out
the parts (`blocks`, `journal`, `jobs`, `receipts`, `chains`, `acks`, `ledger`, `peers`, `counters`). A store opened
with `read_only` takes no lock and may read while a node runs. Both belong to the thread that opened them.

What returned from `transaction()` (or from a single change outside one) survives a killed process, a power cut and a
full disk; everything else leaves no trace.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from icn_lite.model.errors import StoreError
from icn_lite.store import database, schema
from icn_lite.store.acks import Acks
from icn_lite.store.blocks import DEFAULT_BUDGET_BYTES, Blocks
from icn_lite.store.chains import Chains
from icn_lite.store.counters import Counters
from icn_lite.store.database import Database
from icn_lite.store.jobs import Jobs
from icn_lite.store.journal import Journal
from icn_lite.store.ledger import Ledger
from icn_lite.store.lock import HomeLock
from icn_lite.store.peers import Peers
from icn_lite.store.receipts import Receipts

HOME_MODE: Final = 0o700  # keys and work of others: nobody else's business
MAX_REPORTED: Final = 5  # lines of SQLite's report on a damaged file that are shown


class Store:
    """An open store; use it as a context manager or `close` it."""

    def __init__(self, home: Path, connection: Database, lock: HomeLock | None, block_budget_bytes: int) -> None:
        self.home = home
        self.read_only = connection.read_only
        self.after_unclean_end = lock is not None and lock.after_unclean_end
        self._db = connection
        self._lock = lock
        self._closed = False
        self.blocks = Blocks(connection, block_budget_bytes)
        self.journal = Journal(connection)
        self.jobs = Jobs(connection)
        self.chains = Chains(connection)
        self.acks = Acks(connection, self.chains)
        self.receipts = Receipts(connection, self.chains)
        self.ledger = Ledger(connection)
        self.peers = Peers(connection)
        self.counters = Counters(connection)

    @classmethod
    def open(cls, home: Path, *, read_only: bool = False, block_budget_bytes: int = DEFAULT_BUDGET_BYTES) -> Self:
        """Open the store of `home`; creates both unless `read_only`. Raises `HomeInUse` or another `StoreError`."""
        path = home / database.FILE_NAME
        if read_only:
            if not path.is_file():
                raise StoreError(f"no node has its home in {home}", hint="run `icn-lite init`, or name it with --home")
            return cls._load(home, None, block_budget_bytes)
        try:
            home.mkdir(mode=HOME_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"can't make {home}: {error.strerror}", hint="name another folder with --home") from error
        lock = HomeLock.acquire(home)
        try:
            return cls._load(home, lock, block_budget_bytes)
        except BaseException:
            lock.release(clean=not lock.after_unclean_end)
            raise

    @classmethod
    def _load(cls, home: Path, lock: HomeLock | None, block_budget_bytes: int) -> Self:
        connection = Database.connect(home / database.FILE_NAME, read_only=lock is None)
        try:
            _check_version(connection, home)
            if lock is not None:
                if lock.after_unclean_end:
                    _check_file(connection, home)
                _migrate(connection)
            return cls(home, connection, lock, block_budget_bytes)
        except BaseException:
            connection.close()
            raise

    def transaction(self) -> AbstractContextManager[None]:
        """All changes of the body or none: BEGIN IMMEDIATE … COMMIT. A second one inside is refused."""
        return self._db.transaction()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._db.in_transaction

    def close(self) -> None:
        """Write what is pending, close the file and give up the lock; closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        clean = False
        try:
            try:
                self.counters.flush()
            finally:
                self._db.close()
            clean = True
        finally:
            if self._lock is not None:
                self._lock.release(clean=clean)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _check_version(connection: Database, home: Path) -> None:
    version = connection.number("PRAGMA user_version")
    application = connection.number("PRAGMA application_id")
    empty = connection.number("SELECT count(*) FROM sqlite_master") == 0
    if application != schema.APPLICATION_ID and not (empty and application == 0):
        raise StoreError(
            f"{home / database.FILE_NAME} is a database of another program (application id {application:#x})",
            hint="name another folder with --home",
        )
    if version > schema.VERSION:
        raise StoreError(
            f"{home / database.FILE_NAME} has version {version}, this program knows up to {schema.VERSION}",
            hint="a newer icn-lite wrote it: upgrade this one",
        )
    if connection.read_only and version < schema.VERSION:
        raise StoreError(
            f"{home / database.FILE_NAME} has version {version}, expected {schema.VERSION}",
            hint="start the node once (`icn-lite up`), which brings it up to date",
        )


def _check_file(connection: Database, home: Path) -> None:
    """SQLite's own check, after an end that wasn't in order."""
    report = [str(row[0]) for row in connection.rows(f"PRAGMA quick_check({MAX_REPORTED})")]
    if report != ["ok"]:
        raise StoreError(
            f"{home / database.FILE_NAME} is damaged: {'; '.join(report)[:400]}",
            hint="copy it away, remove it and start again; peers send receipts anew",
        )


def _migrate(connection: Database) -> None:
    """Run the steps that are missing, each with its version in one transaction."""
    version = connection.number("PRAGMA user_version")
    for number, statements in enumerate(schema.STEPS[version:], start=version + 1):
        with connection.transaction():
            for statement in statements:
                connection.run(statement)
            connection.run(f"PRAGMA application_id = {schema.APPLICATION_ID}")
            connection.run(f"PRAGMA user_version = {number}")
