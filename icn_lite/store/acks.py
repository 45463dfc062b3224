"""Acknowledgements of anchors: kept for as long as they say more than others, and carried on to whoever they concern.

Of one anchor and one chain the one that goes furthest is enough; where the chain forks, every branch has its own. An
acknowledgement may come before the receipts that it speaks of: they are marked when they come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from icn_lite.model.anchor import AnchorAck, read_ack
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.store.chains import Chains, digest_of
from icn_lite.store.database import Database

MAX_OF_CHAIN: Final = 32  # anchors and branches of one chain; 2 kB each
MAX_ACKS: Final = 16_384


@dataclass(frozen=True, slots=True)
class AckRow:
    """An acknowledgement as listed."""

    cid: Cid
    anchor: Did
    executor: Did
    seq: int
    head: Cid


class Acks:
    """The acknowledgements of one store."""

    def __init__(self, database: Database, chains: Chains) -> None:
        self._db = database
        self._chains = chains

    def put(self, sealed: Sealed[AnchorAck]) -> bool:
        """Keep one whose signer was found to be an anchor; returns whether it says anything new."""
        ack = sealed.document
        of = (str(ack.anchor), str(ack.executor))
        with self._db.write():
            if self.get(sealed.cid) is not None:
                return False
            forks = self._db.number("SELECT forks FROM chains WHERE executor = ?", (of[1],))
            if forks == 0:
                further = "SELECT 1 FROM acks WHERE anchor = ? AND executor = ? AND seq >= ?"
                if self._db.row(further, (*of, ack.seq)) is not None:
                    return False
                self._db.run("DELETE FROM acks WHERE anchor = ? AND executor = ?", of)
            of_chain = self._db.number("SELECT count(*) FROM acks WHERE executor = ?", (of[1],))
            if of_chain >= MAX_OF_CHAIN or self._db.number("SELECT count(*) FROM acks") >= MAX_ACKS:
                return False
            self._db.run(
                "INSERT INTO acks VALUES (?, ?, ?, ?, ?, ?)",
                (str(sealed.cid), *of, ack.seq, str(ack.head), sealed.block),
            )
            self._chains.anchor(ack.executor, ack.seq, ack.head)
        return True

    def put_block(self, block: bytes) -> bool:
        """The same for a signed block, which is verified; whether its signer is an anchor is the caller's to know."""
        return self.put(read_ack(block))

    def get(self, cid: Cid) -> bytes | None:
        """The signed block, or None."""
        row = self._db.row("SELECT data FROM acks WHERE cid = ?", (str(cid),))
        return row[0] if row is not None and isinstance(row[0], bytes) else None

    def list(self, executor: Did | None = None) -> tuple[AckRow, ...]:
        """All of them, or those of one chain, furthest first."""
        rows = self._db.rows(
            "SELECT cid, anchor, executor, seq, head FROM acks WHERE ? IS NULL OR executor = ?"
            " ORDER BY executor, seq DESC, cid LIMIT ?",
            (*(2 * (str(executor) if executor is not None else None,)), MAX_ACKS),
        )
        found = []
        for cid, anchor, of, seq, head in rows:
            assert isinstance(seq, int)
            found.append(
                AckRow(Cid.parse(str(cid)), Did.parse(str(anchor)), Did.parse(str(of)), seq, Cid.parse(str(head)))
            )
        return tuple(found)

    def heads_of(self, anchor: Did, executor: Did) -> Sequence[Cid]:
        """Up to which receipts of a chain somebody has acknowledged."""
        rows = self._db.rows(
            "SELECT head FROM acks WHERE anchor = ? AND executor = ? LIMIT ?",
            (str(anchor), str(executor), MAX_OF_CHAIN),
        )
        return [Cid.parse(str(row[0])) for row in rows]

    def furthest(self, anchor: Did, executor: Did) -> int:
        """The least number worth looking at for what somebody has not acknowledged: of a forked chain the first."""
        if self._db.number("SELECT forks FROM chains WHERE executor = ?", (str(executor),)):
            return 0
        query = "SELECT max(seq) FROM acks WHERE anchor = ? AND executor = ?"
        return self._db.number(query, (str(anchor), str(executor)))

    def names(self) -> Iterator[tuple[bytes, Cid]]:
        """The digest and CID of each."""
        for row in self._db.rows("SELECT cid FROM acks LIMIT ?", (MAX_ACKS,)):
            yield digest_of(str(row[0])), Cid.parse(str(row[0]))
