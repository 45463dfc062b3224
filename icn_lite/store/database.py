"""One SQLite connection: transactions, errors in our words, and what is written with the next commit.

Promises: a transaction that returned is on the disk (`synchronous=FULL`); one that raised left nothing behind, even
where SQLite rolled it back by itself on a full disk; nothing is written outside a transaction. A connection belongs
to the thread that opened it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from icn_lite.model.errors import DiskFullError, StoreError

FILE_NAME: Final = "node.db"
BUSY_TIMEOUT_MS: Final = 5_000  # readers never block us; only a checkpoint of another program does, for moments
CACHE_KIB: Final = 2_048  # pages kept in memory; a small board has 512 MiB for everything
LEAST_SQLITE: Final = (3, 37)  # STRICT tables; Debian 12 has 3.40
PAGE_BYTES: Final = 2_048  # a run touches some 25 pages: 58 kB of log instead of 100 kB with pages of 4096 bytes
WAL_PAGES: Final = 2_000  # checkpoint at about 4 MiB, an erase block of flash
WAL_KEPT_BYTES: Final = 4 << 20  # the log file is cut back to this after a checkpoint

Scalar = int | str | bytes | None
Row = tuple[Scalar, ...]


class Pending(Protocol):
    """Something kept in memory that goes to disk with whatever is committed next."""

    def write_pending(self) -> None:
        """Write it; inside the transaction that is about to commit."""

    def forget_pending(self) -> None:
        """It is on the disk now."""


class Database:
    """A connection to `node.db`."""

    def __init__(self, connection: sqlite3.Connection, path: Path, *, read_only: bool) -> None:
        self._connection = connection
        self._path = path
        self._open = False
        self._broken = False
        self._pending: list[Pending] = []
        self.read_only = read_only

    @classmethod
    def connect(cls, path: Path, *, read_only: bool) -> Database:
        """Open the file and set it up; creates it unless `read_only`."""
        if sqlite3.sqlite_version_info < LEAST_SQLITE:
            wanted = ".".join(map(str, LEAST_SQLITE))
            raise StoreError(
                f"expected SQLite {wanted} or newer, found {sqlite3.sqlite_version}",
                hint="upgrade Python or the system",
            )
        target = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        try:
            connection = sqlite3.connect(
                target, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000, cached_statements=64
            )
        except sqlite3.Error as error:
            raise _translate(error, path) from error
        database = cls(connection, path, read_only=read_only)
        try:
            database._set_up()
        except BaseException:
            connection.close()
            raise
        return database

    def _set_up(self) -> None:
        for pragma in ("foreign_keys=ON", "trusted_schema=OFF", f"cache_size=-{CACHE_KIB}"):
            self.run(f"PRAGMA {pragma}")
        if self.read_only:
            self.run("PRAGMA query_only=ON")
            return
        self.run(f"PRAGMA page_size={PAGE_BYTES}")  # heeded while the file is empty
        mode = self.text("PRAGMA journal_mode=WAL")
        if mode != "wal":
            raise StoreError(
                f"expected a write-ahead log for {self._path}, SQLite chose {mode!r}",
                hint="put the home on the device's own storage, not on a shared or network folder (--home)",
            )
        for pragma in ("synchronous=FULL", f"wal_autocheckpoint={WAL_PAGES}", f"journal_size_limit={WAL_KEPT_BYTES}"):
            self.run(f"PRAGMA {pragma}")

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        try:
            self._connection.close()
        except sqlite3.Error as error:
            raise _translate(error, self._path) from error

    def write_along(self, pending: Pending) -> None:
        """Let `pending` be written with every commit."""
        self._pending.append(pending)

    # Statements

    def run(self, statement: str, parameters: Sequence[Scalar] = ()) -> int:
        """Run one statement; returns how many rows it changed."""
        return self._execute(statement, parameters).rowcount

    def insert(self, statement: str, parameters: Sequence[Scalar] = ()) -> int:
        """Run one INSERT; returns the number of its row."""
        return self._execute(statement, parameters).lastrowid or 0

    def rows(self, query: str, parameters: Sequence[Scalar] = ()) -> list[Row]:
        """All rows of a query; the query bounds them."""
        cursor = self._execute(query, parameters)
        try:
            return cursor.fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def row(self, query: str, parameters: Sequence[Scalar] = ()) -> Row | None:
        """The first row of a query, or None."""
        rows = self.rows(query, parameters)
        return rows[0] if rows else None

    def number(self, query: str, parameters: Sequence[Scalar] = ()) -> int:
        """The one integer that a query answers; NULL counts as 0."""
        row = self.row(query, parameters)
        value = row[0] if row else None
        return value if isinstance(value, int) else 0

    def text(self, query: str, parameters: Sequence[Scalar] = ()) -> str:
        """The one text that a query answers; no row counts as empty."""
        row = self.row(query, parameters)
        value = row[0] if row else None
        return value if isinstance(value, str) else ""

    def write_blob(self, table: str, column: str, row: int, data: bytes) -> None:
        """Fill a row's blob, which was made with `zeroblob`; binding it in a statement would copy it twice."""
        try:
            with self._connection.blobopen(table, column, row) as blob:
                blob.write(data)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def read_blob(self, table: str, column: str, row: int) -> bytes:
        """A row's blob, copied once; a query's answer is copied twice."""
        try:
            with self._connection.blobopen(table, column, row, readonly=True) as blob:
                return blob.read()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _execute(self, statement: str, parameters: Sequence[Scalar]) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, parameters)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> StoreError:
        if self._open and not isinstance(error, sqlite3.IntegrityError):
            self._broken = True  # SQLite may have rolled back; what follows must not be committed as if it hadn't
        return _translate(error, self._path)

    # Transactions

    @property
    def in_transaction(self) -> bool:
        """Whether the caller is inside `transaction`."""
        return self._open

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN IMMEDIATE … COMMIT; rolled back when the body raises. A second one inside is refused."""
        if self.read_only:
            raise StoreError(f"{self._path} is open for reading only", hint="open the store for writing")
        if self._open:
            raise StoreError("a transaction is already open", hint="put both changes into the outer one")
        self._open, self._broken = True, False
        try:
            self.run("BEGIN IMMEDIATE")
            yield
            for pending in self._pending:
                pending.write_pending()
            self._commit()
        except BaseException:
            self._roll_back()
            raise
        finally:
            self._open = False
        for pending in self._pending:
            pending.forget_pending()

    @contextmanager
    def write(self) -> Iterator[None]:
        """All or nothing for one method: a savepoint inside the caller's transaction, else one of its own."""
        if not self._open:
            with self.transaction():
                yield
            return
        self._check_whole()
        self.run("SAVEPOINT step")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO step")
                self._connection.execute("RELEASE step")
            raise
        self.run("RELEASE step")

    def _check_whole(self) -> None:
        if self._broken or not self._connection.in_transaction:
            self._broken = True
            raise StoreError(
                "this transaction failed earlier and can't be continued", hint="leave it and try the whole change again"
            )

    def _commit(self) -> None:
        self._check_whole()
        self.run("COMMIT")

    def _roll_back(self) -> None:
        if not self._connection.in_transaction:
            return
        try:
            self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise _translate(error, self._path) from error


def _translate(error: sqlite3.Error, path: Path) -> StoreError:
    """SQLite's error in our words."""
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    if name == "SQLITE_FULL":
        return DiskFullError(f"no room left for {path}", hint="free some space; what was acknowledged is kept")
    if name in ("SQLITE_CORRUPT", "SQLITE_NOTADB"):
        return StoreError(
            f"{path} is damaged or no database ({error})", hint="move it away and start again; peers send receipts anew"
        )
    if name == "SQLITE_BUSY":
        return StoreError(f"{path} is locked by another program", hint="close what has it open and try again")
    if name.startswith("SQLITE_CANTOPEN"):
        return StoreError(
            f"can't open {path}", hint="check the folder's owner and permissions (readers write too: node.db-shm)"
        )
    if name.startswith("SQLITE_IOERR"):
        return StoreError(f"reading or writing {path} failed ({name})", hint="check the disk and its free space")
    return StoreError(f"{path}: {error} ({name})")
