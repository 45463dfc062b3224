"""Receipts by CID, and the chain that each executor's receipts form.

A receipt is kept once, however often it arrives. Its `seq` and `prev` link it to the executor's receipt before it;
`faults` reports where a chain doesn't hold: a gap (some are still to come), a broken link, or a fork (two receipts
with one `seq`, which proves that the executor cheats or runs from a cloned disk; both are kept as evidence).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import StoreError
from icn_lite.model.receipt import ExecutionReceipt, read_receipt
from icn_lite.store.chains import Chains
from icn_lite.store.database import Database, Row

MAX_LISTED: Final = 1_000  # rows of one answer; further ones by `after`
MAX_FAULTS: Final = 256  # of one report; one fault is enough to act on


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """A receipt as listed, without its bytes; `number` is the order of arrival."""

    number: int
    cid: Cid
    executor: Did
    seq: int
    prev: Cid | None
    job: Cid
    shard: int
    status: str
    fuel_used: int
    anchored: bool = False


@dataclass(frozen=True, slots=True)
class ChainLink:
    """The place of an executor's next receipt in its chain."""

    seq: int
    prev: Cid | None


class ChainFaultKind(Enum):
    """How a chain may fail to hold."""

    GAP = "gap"
    FORK = "fork"
    BROKEN_LINK = "broken_link"


@dataclass(frozen=True, slots=True)
class ChainFault:
    """One fault: the sequence numbers concerned (both ends included) and the receipts that show it."""

    kind: ChainFaultKind
    executor: Did
    first_seq: int
    last_seq: int
    evidence: tuple[Cid, ...] = ()


class Receipts:
    """The receipts of one node: its own and those it received."""

    def __init__(self, database: Database, chains: Chains) -> None:
        self._db = database
        self._chains = chains

    def put(self, block: bytes) -> Cid:
        """Verify the signatures of a signed receipt and keep it; a known one changes nothing."""
        return self.put_sealed(read_receipt(block))

    def put_sealed(self, sealed: Sealed[ExecutionReceipt]) -> Cid:
        """Keep a receipt that has been verified or signed here; a known one changes nothing."""
        receipt = sealed.document
        with self._db.write():
            if not self.has(sealed.cid):
                place = self._chains.beside(sealed.cid, receipt)
                chain = (place.cid, place.executor, place.seq, place.prev)
                outcome = (str(receipt.job), receipt.shard, receipt.status.value, receipt.fuel_used, sealed.block)
                self._db.insert(
                    "INSERT INTO receipts(cid, executor, seq, prev, job, shard, status, fuel_used, data, whole,"
                    " anchored) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (*chain, *outcome, int(place.whole), int(place.anchored)),
                )
                self._chains.added(place, sealed.cid.digest)
        return sealed.cid

    def get(self, cid: Cid) -> bytes | None:
        """The signed block of a receipt, or None; also where an anchor keeps it and its bytes were let go."""
        row = self._db.row("SELECT data FROM receipts WHERE cid = ?", (str(cid),))
        if row is None or row[0] == b"":
            return None
        if not isinstance(row[0], bytes) or not cid.fits(row[0]):
            raise StoreError(f"receipt {cid} is damaged on the disk", hint="check the disk; a peer may still have it")
        return row[0]

    def has(self, cid: Cid) -> bool:
        """Whether the receipt is here, or was."""
        return self._db.row("SELECT 1 FROM receipts WHERE cid = ?", (str(cid),)) is not None

    def count(self) -> int:
        """How many receipts are here."""
        return self._db.number("SELECT count(*) FROM receipts")

    # Chains

    def head(self, executor: Did) -> tuple[int, Cid] | None:
        """The highest `seq` known of an executor and its receipt; of a fork, the one that came first."""
        row = self._db.row(
            "SELECT seq, cid FROM receipts WHERE executor = ? ORDER BY seq DESC, number LIMIT 1", (str(executor),)
        )
        if row is None:
            return None
        seq, cid = row
        assert isinstance(seq, int)
        return seq, Cid.parse(str(cid))

    def next_link(self, executor: Did) -> ChainLink:
        """Where the executor's next receipt goes; only inside the transaction that also puts this receipt."""
        if not self._db.in_transaction:
            raise StoreError(
                "the next place in a chain is only certain inside a transaction",
                hint="take it, sign, and put the receipt within one `store.transaction()`",
            )
        head = self.head(executor)
        return ChainLink(0, None) if head is None else ChainLink(head[0] + 1, head[1])

    def faults(self, executor: Did) -> tuple[ChainFault, ...]:
        """Where the executor's chain doesn't hold, by sequence number; empty for a chain that is whole."""
        found = [*self._gaps(executor), *self._forks(executor), *self._broken_links(executor)]
        return tuple(sorted(found, key=lambda fault: (fault.first_seq, fault.kind.value))[:MAX_FAULTS])

    def _gaps(self, executor: Did) -> tuple[ChainFault, ...]:
        query = """SELECT before + 1, seq - 1 FROM (
            SELECT seq, lag(seq, 1, -1) OVER (ORDER BY seq) AS before
            FROM (SELECT DISTINCT seq FROM receipts WHERE executor = ?)) WHERE seq > before + 1 ORDER BY seq LIMIT ?"""
        rows = self._db.rows(query, (str(executor), MAX_FAULTS))
        return tuple(ChainFault(ChainFaultKind.GAP, executor, _int(first), _int(last)) for first, last in rows)

    def _forks(self, executor: Did) -> tuple[ChainFault, ...]:
        query = """SELECT seq, group_concat(cid, ' ') FROM (SELECT seq, cid FROM receipts WHERE executor = ?
            ORDER BY seq, number) GROUP BY seq HAVING count(*) > 1 ORDER BY seq LIMIT ?"""
        rows = self._db.rows(query, (str(executor), MAX_FAULTS))
        return tuple(
            ChainFault(ChainFaultKind.FORK, executor, _int(seq), _int(seq), _cids(str(cids))) for seq, cids in rows
        )

    def _broken_links(self, executor: Did) -> tuple[ChainFault, ...]:
        """Receipts whose predecessor is here under another CID."""
        query = """SELECT seq, cid FROM receipts AS r WHERE executor = ?1 AND seq > 0
            AND EXISTS (SELECT 1 FROM receipts AS p WHERE p.executor = ?1 AND p.seq = r.seq - 1)
            AND NOT EXISTS (SELECT 1 FROM receipts AS p WHERE p.executor = ?1 AND p.seq = r.seq - 1 AND p.cid = r.prev)
            ORDER BY seq, number LIMIT ?2"""
        rows = self._db.rows(query, (str(executor), MAX_FAULTS))
        return tuple(
            ChainFault(ChainFaultKind.BROKEN_LINK, executor, _int(seq), _int(seq), _cids(str(cid))) for seq, cid in rows
        )

    def around(self, executor: Did, seq: int) -> tuple[ReceiptRow, ...]:
        """What is known at a place of an executor's chain and right beside it, by `seq`."""
        query = f"{_SELECT} WHERE executor = ? AND seq BETWEEN ? AND ? ORDER BY seq, number LIMIT ?"
        return tuple(_row(row) for row in self._db.rows(query, (str(executor), seq - 1, seq + 1, MAX_FAULTS)))

    def executors(self) -> tuple[Did, ...]:
        """Everyone of whom a receipt is here, in the order of their DID."""
        rows = self._db.rows("SELECT DISTINCT executor FROM receipts ORDER BY executor")
        return tuple(Did.parse(str(row[0])) for row in rows)

    def list(
        self, *, job: Cid | None = None, executor: Did | None = None, after: int = 0, limit: int = MAX_LISTED
    ) -> tuple[ReceiptRow, ...]:
        """Receipts in the order of arrival, those numbered above `after`, at most `limit`."""
        conditions, parameters = ["number > ?"], [after, min(limit, MAX_LISTED)]
        chosen: list[str] = []
        if job is not None:
            conditions.append("job = ?")
            chosen.append(str(job))
        if executor is not None:
            conditions.append("executor = ?")
            chosen.append(str(executor))
        query = f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY number LIMIT ?"
        return tuple(_row(row) for row in self._db.rows(query, (parameters[0], *chosen, parameters[1])))


_SELECT: Final = "SELECT number, cid, executor, seq, prev, job, shard, status, fuel_used, anchored FROM receipts"


def _row(row: Row) -> ReceiptRow:
    number, cid, executor, seq, prev, job, shard, status, fuel_used, anchored = row
    return ReceiptRow(
        _int(number),
        Cid.parse(str(cid)),
        Did.parse(str(executor)),
        _int(seq),
        Cid.parse(str(prev)) if prev is not None else None,
        Cid.parse(str(job)),
        _int(shard),
        str(status),
        _int(fuel_used),
        bool(anchored),
    )


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _cids(text: str) -> tuple[Cid, ...]:
    return tuple(Cid.parse(cid) for cid in text.split())
