"""The chains that receipts form: what is held of each, what of it is complete, what an anchor keeps, where it forks.

Each receipt carries two marks, set when it comes in and carried on along the chain from there, so that nobody has to
walk a chain to ask for them. *whole*: every receipt before it is here, up to the first. *anchored*: an acknowledgement
names it or one that comes after it. Of each chain one row tells the rest (`Head`). Everything changes in the
transaction that puts the receipt.

A fork is written down when its second receipt comes in, once: two receipts with one number, or one that names another
predecessor than the one that is here.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.receipt import ExecutionReceipt
from icn_lite.model.sync import MAX_GAPS, Head, Stretch
from icn_lite.store.database import Database, Row

PAGE: Final = 512  # rows read at a time
MAX_SIBLINGS: Final = 64  # receipts with one number that are kept; each is evidence enough
MAX_FORKS_LISTED: Final = 1_000
MODULUS: Final = 1 << 256
_HEAD: Final = "SELECT executor, next, count, forks, total, tip FROM chains"


@dataclass(frozen=True, slots=True)
class ForkRecord:
    """Two receipts of one executor that exclude each other; `broken` where one names another predecessor."""

    number: int
    executor: Did
    seq: int
    first: Cid
    second: Cid
    broken: bool


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands beside a receipt that comes in, and the marks that follow; CIDs as text, as the tables have them."""

    cid: str
    executor: str
    seq: int
    prev: str | None
    whole: bool
    anchored: bool
    before: tuple[str, ...]
    same: tuple[str, ...]
    behind: tuple[tuple[str, str, bool], ...]  # of those that come next: CID, prev, whether it is whole


class Chains:
    """The chains of one store."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # -- what is held

    def head(self, executor: Did) -> Head | None:
        """What is or was held of a chain."""
        row = self._db.row(f"{_HEAD} WHERE executor = ?", (str(executor),))
        if row is None:
            return None
        _, following, count, forks, total, tip = row
        assert isinstance(following, int)
        assert isinstance(count, int)
        assert isinstance(forks, int)
        gaps = self._gaps(executor) if count - forks < following else ()
        summed = total if isinstance(total, bytes) else self.total(executor, (Stretch(0, following),))
        return Head(executor, following, count, forks, summed, Cid.parse(str(tip)), gaps)

    def parts(self) -> Iterator[tuple[Did, int, int, bytes]]:
        """Of each chain executor, next number, count and total, by DID."""
        for executor, following, count, _, total, _ in self._db.rows(f"{_HEAD} ORDER BY executor"):
            assert isinstance(following, int)
            assert isinstance(count, int)
            did = Did.parse(str(executor))
            summed = total if isinstance(total, bytes) else self.total(did, (Stretch(0, following),))
            yield did, following, count, summed

    def knows(self, executor: Did) -> bool:
        """Whether there is a chain of somebody."""
        return self._db.row("SELECT 1 FROM chains WHERE executor = ?", (str(executor),)) is not None

    def count(self) -> int:
        """How many chains there are."""
        return self._db.number("SELECT count(*) FROM chains")

    def _gaps(self, executor: Did) -> tuple[Stretch, ...]:
        """The first numbers of which there is no receipt."""
        query = """SELECT before + 1, seq FROM (
            SELECT seq, lag(seq, 1, -1) OVER (ORDER BY seq) AS before
            FROM (SELECT DISTINCT seq FROM receipts WHERE executor = ?)) WHERE seq > before + 1 ORDER BY seq LIMIT ?"""
        return tuple(Stretch(_int(first), _int(end)) for first, end in self._db.rows(query, (str(executor), MAX_GAPS)))

    def total(self, executor: Did, stretches: Sequence[Stretch]) -> bytes:
        """The sum of the digests of what is or was held there, modulo 2^256."""
        head = self._db.row("SELECT next, total FROM chains WHERE executor = ?", (str(executor),))
        if head is None:
            return bytes(32)
        following, known = head
        assert isinstance(following, int)
        inside = sum(min(stretch.end, following) - min(stretch.first, following) for stretch in stretches)
        if isinstance(known, bytes) and inside > following // 2:  # less to read on the other side
            rest = self._sum(executor, _outside(stretches, following))
            return ((int.from_bytes(known, "big") - rest) % MODULUS).to_bytes(32, "big")
        return (self._sum(executor, stretches) % MODULUS).to_bytes(32, "big")

    def _sum(self, executor: Did, stretches: Sequence[Stretch]) -> int:
        return sum(
            int.from_bytes(digest, "big")
            for part in stretches
            for _, digest in self.walk(executor, part.first, part.end)
        )

    def walk(self, executor: Did, first: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Number and digest of each receipt from `first` to before `end`, in this order."""
        query = """SELECT seq, cid FROM receipts WHERE executor = ? AND (seq, cid) > (?, ?) AND seq < ?
            ORDER BY seq, cid LIMIT ?"""
        after: tuple[int, str] = (first, "")
        waiting: list[tuple[int, bytes]] = []
        while True:
            rows = self._db.rows(query, (str(executor), *after, end, PAGE))
            for seq, cid in rows:
                assert isinstance(seq, int)
                if waiting and waiting[0][0] != seq:  # CIDs as text have another order than as bytes
                    yield from sorted(waiting)
                    waiting = []
                waiting.append((seq, digest_of(str(cid))))
            if len(rows) < PAGE:
                yield from sorted(waiting)
                return
            after = (_int(rows[-1][0]), str(rows[-1][1]))

    def amount(self, executor: Did, first: int, end: int) -> int:
        """How many receipts there are from `first` to before `end`."""
        query = "SELECT count(*) FROM receipts WHERE executor = ? AND seq >= ? AND seq < ?"
        return self._db.number(query, (str(executor), first, end))

    def read(self, executor: Did, stretch: Stretch, after: Cid | None) -> Iterator[tuple[int, Cid, bytes]]:
        """The receipts of a stretch by number and CID as text; of its first number those behind `after`."""
        query = """SELECT seq, cid, data FROM receipts WHERE executor = ? AND (seq, cid) > (?, ?) AND seq < ?
            ORDER BY seq, cid LIMIT ?"""
        place: tuple[int, str] = (stretch.first, str(after) if after is not None else "")
        while True:
            rows = self._db.rows(query, (str(executor), *place, stretch.end, PAGE // 4))
            for seq, cid, data in rows:
                if isinstance(data, bytes) and data:
                    yield _int(seq), Cid.parse(str(cid)), data
            if len(rows) < PAGE // 4:
                return
            place = (_int(rows[-1][0]), str(rows[-1][1]))

    def at(self, executor: Did, seq: int) -> tuple[Cid, ...]:
        """The receipts with this number."""
        rows = self._db.rows(
            "SELECT cid FROM receipts WHERE executor = ? AND seq = ? ORDER BY cid LIMIT ?",
            (str(executor), seq, MAX_SIBLINGS),
        )
        return tuple(Cid.parse(str(row[0])) for row in rows)

    def tips(self, executor: Did, least: int) -> tuple[tuple[int, Cid], ...]:
        """The last receipts, from number `least` on, up to which everything is here: one, or one a branch of a fork."""
        query = """SELECT seq, cid FROM receipts AS r WHERE executor = ?1 AND seq >= ?2 AND whole = 1 AND NOT EXISTS (
            SELECT 1 FROM receipts AS n WHERE n.executor = ?1 AND n.seq = r.seq + 1 AND n.prev = r.cid)
            ORDER BY seq DESC LIMIT ?3"""
        rows = self._db.rows(query, (str(executor), least, MAX_SIBLINGS))
        return tuple((_int(seq), Cid.parse(str(cid))) for seq, cid in rows)

    def forks(self, *, executor: Did | None = None, after: int = 0) -> tuple[ForkRecord, ...]:
        """Forks in the order in which they were found."""
        rows = self._db.rows(
            "SELECT number, executor, seq, first, second, broken FROM forks"
            " WHERE number > ? AND (? IS NULL OR executor = ?) ORDER BY number LIMIT ?",
            (after, *(2 * (str(executor) if executor is not None else None,)), MAX_FORKS_LISTED),
        )
        return tuple(
            ForkRecord(_int(n), Did.parse(str(did)), _int(seq), Cid.parse(str(a)), Cid.parse(str(b)), bool(broken))
            for n, did, seq, a, b, broken in rows
        )

    def last_fork(self) -> int:
        """The number of the fork that was found last."""
        return self._db.number("SELECT max(number) FROM forks")

    # -- a receipt comes in; within the transaction of whoever puts it

    def room(self, executor: Did, seq: int) -> bool:
        """Whether another receipt with this number is kept."""
        return self.amount(executor, seq, seq + 1) < MAX_SIBLINGS

    def beside(self, cid: Cid, receipt: ExecutionReceipt) -> Beside:
        """The place that a receipt is about to take."""
        name, did, seq = str(cid), str(receipt.executor), receipt.seq
        prev = str(receipt.prev) if receipt.prev is not None else None
        rows = self._db.rows(
            "SELECT seq, cid, prev, whole, anchored FROM receipts WHERE executor = ? AND seq BETWEEN ? AND ?"
            " ORDER BY seq, cid LIMIT ?",
            (did, seq - 1, seq + 1, 3 * MAX_SIBLINGS),
        )
        named = self._db.row("SELECT 1 FROM acks WHERE head = ? AND executor = ? AND seq = ?", (name, did, seq))
        behind = [row for row in rows if row[0] == seq + 1]
        return Beside(
            name, did, seq, prev,
            whole=seq == 0 or any(row[1] == prev and row[3] == 1 for row in rows),
            anchored=named is not None or any(row[2] == name and row[4] == 1 for row in behind),
            before=tuple(str(row[1]) for row in rows if row[0] == seq - 1),
            same=tuple(str(row[1]) for row in rows if row[0] == seq),
            behind=tuple((str(row[1]), str(row[2]), row[3] == 1) for row in behind),
        )  # fmt: skip

    def added(self, place: Beside, digest: bytes) -> None:
        """It is in its table: sum it up, write down what it excludes, carry its marks on."""
        self._sum_up(place, digest)
        for other in place.same:
            self._note(place, *sorted((place.cid, other), key=digest_of), broken=False)
        if place.before and place.prev not in place.before:
            self._note(place, place.before[0], place.cid, broken=True)
        for other, prev, _ in place.behind:
            if prev != place.cid and not place.same:
                self._note(place, place.cid, other, broken=True)
        if place.whole:
            self._mark_whole(place)
        if place.anchored and place.prev is not None:
            self._anchor_from(place.prev)

    def _sum_up(self, place: Beside, digest: bytes) -> None:
        row = self._db.row(f"{_HEAD} WHERE executor = ?", (place.executor,))
        if row is None:
            first = (place.executor, place.seq + 1, digest, place.cid)
            self._db.run("INSERT INTO chains VALUES (?, ?, 1, 0, ?, ?)", first)
            return
        _, following, count, forks, total, tip = row
        summed = None
        if isinstance(total, bytes):
            number = int.from_bytes(total, "big") + int.from_bytes(digest, "big")
            summed = (number % MODULUS).to_bytes(32, "big")
        above = place.seq >= _int(following)
        last = place.cid if above or (place.seq + 1 == following and place.cid < str(tip)) else tip
        forked = bool(place.same)
        values = (max(_int(following), place.seq + 1), _int(count) + 1, _int(forks) + forked, summed, last)
        self._db.run(
            "UPDATE chains SET next = ?, count = ?, forks = ?, total = ?, tip = ? WHERE executor = ?",
            (*values, place.executor),
        )

    def _note(self, place: Beside, first: str, second: str, *, broken: bool) -> None:
        self._db.run(
            "INSERT OR IGNORE INTO forks(executor, seq, first, second, broken) VALUES (?, ?, ?, ?, ?)",
            (place.executor, place.seq, first, second, int(broken)),
        )

    def _mark_whole(self, place: Beside) -> None:
        """What follows it and waited for it is whole too."""
        seq = place.seq + 1
        following = [cid for cid, prev, whole in place.behind if prev == place.cid and not whole]
        while following:
            more: list[str] = []
            seq += 1
            for name in following:
                self._db.run("UPDATE receipts SET whole = 1 WHERE cid = ?", (name,))
                rows = self._db.rows(
                    "SELECT cid FROM receipts WHERE executor = ? AND seq = ? AND prev = ? AND whole = 0 LIMIT ?",
                    (place.executor, seq, name, MAX_SIBLINGS),
                )
                more += [str(row[0]) for row in rows]
            following = more

    def _anchor_from(self, cid: str) -> int:
        """Mark a receipt and all before it; returns how many were not yet."""
        name: str | None = cid
        marked = 0
        while name is not None:
            row = self._db.row("SELECT prev, anchored FROM receipts WHERE cid = ?", (name,))
            if row is None or row[1] == 1:
                return marked
            self._db.run("UPDATE receipts SET anchored = 1 WHERE cid = ?", (name,))
            marked += 1
            name = str(row[0]) if row[0] is not None else None
        return marked

    def anchor(self, executor: Did, seq: int, head: Cid) -> int:
        """An anchor keeps everything up to `head`; returns how many receipts nobody was known to keep before."""
        row = self._db.row("SELECT whole, seq FROM receipts WHERE cid = ? AND executor = ?", (str(head), str(executor)))
        if row is None or row[1] != seq:
            return 0
        forks = self._db.number("SELECT forks FROM chains WHERE executor = ?", (str(executor),))
        if row[0] == 1 and forks == 0:  # whoever is whole in an unforked chain has all that come before as ancestors
            return self._db.run(
                "UPDATE receipts SET anchored = 1 WHERE executor = ? AND seq <= ? AND anchored = 0",
                (str(executor), seq),
            )
        return self._anchor_from(str(head))

    # -- what may be let go

    def pending(self, executor: Did | None = None) -> int:
        """How many receipts no anchor is known to keep."""
        if executor is None:
            return self._db.number("SELECT count(*) FROM receipts WHERE anchored = 0")
        return self._db.number("SELECT count(*) FROM receipts WHERE executor = ? AND anchored = 0", (str(executor),))

    def kept_bytes(self) -> int:
        """How many bytes the signed receipts take."""
        return self._db.number("SELECT sum(length(data)) FROM receipts")

    def let_go(self, most_bytes: int) -> int:
        """Drop the bytes of the oldest anchored receipts until `most_bytes` are left; returns how many.

        Their rows stay: a chain keeps its sums, and what was let go is never taken for new.
        """
        with self._db.write():
            over, dropped = self.kept_bytes() - most_bytes, 0
            while over > 0:
                rows = self._db.rows(
                    "SELECT number, length(data) FROM receipts WHERE anchored = 1 AND length(data) > 0"
                    " ORDER BY number LIMIT ?",
                    (PAGE,),
                )
                if not rows:
                    break
                for number, size in rows:
                    if over <= 0:
                        break
                    self._db.run("UPDATE receipts SET data = x'' WHERE number = ?", (number,))
                    over -= _int(size)
                    dropped += 1
            return dropped


def digest_of(cid: str) -> bytes:
    """The digest of a CID of ours, from its text."""
    return base64.b32decode(cid[1:].upper() + "======")[4:]


def _outside(stretches: Sequence[Stretch], end: int) -> list[Stretch]:
    """What is not in ascending stretches, from 0 to before `end`."""
    left: list[Stretch] = []
    first = 0
    for stretch in stretches:
        if stretch.first > first:
            left.append(Stretch(first, stretch.first))
        first = max(first, stretch.end)
    if first < end:
        left.append(Stretch(first, end))
    return left


def _int(value: Row | object) -> int:
    assert isinstance(value, int)
    return value
