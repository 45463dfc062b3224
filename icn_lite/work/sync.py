"""Syncing with one peer: the machine of the side that asks.

It finds out in what the two nodes differ, fetches what it lacks, and gives what the other lacks. So one session is
enough for both, whoever begins it, and it doesn't matter whose receipts they are: what a third node brought goes on
from here. Nothing is remembered between sessions but what is in the library; one that ends early is simply begun anew.

    inventory   rounds of reconciliation over the heads of all chains and all acknowledgements
    explain     what is behind the names that only the peer has
    fetch       the stretches that only the peer has, of all chains in turn
    compare     chains that differ where both have receipts: a fork; rounds of reconciliation over their receipts
    pick        receipts found by comparing
    give        what only this side has

Each answer is one event. The shell verifies every document in it before the machine sees it, and runs `handle` within
one transaction of the library, so an answer is kept whole or not at all. What an answer brings must have been asked
for. A peer that answers otherwise is at fault; one whose head claims what it then doesn't bring is noted.

Bounded: rounds, differences, chains and receipts of one session. What is left over is found again by the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

from icn_lite.model import cose
from icn_lite.model.anchor import MAX_ACK_BYTES, read_ack
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError, PeerError
from icn_lite.model.receipt import ExecutionReceipt, read_receipt
from icn_lite.model.sync import (
    ID_BYTES,
    MAX_BLOCKS,
    MAX_GAPS,
    MAX_IDS,
    MAX_PARTS,
    MESSAGE_BYTES,
    Answered,
    Asked,
    Brought,
    Explain,
    Explained,
    Fetch,
    Give,
    Head,
    Part,
    Pick,
    Place,
    Round,
    Rounded,
    Stretch,
    Took,
    ack_id,
)
from icn_lite.work import reconcile
from icn_lite.work.library import Fork, Known, Library, batch
from icn_lite.work.stretches import held, without

MAX_ROUNDS: Final = 32  # of one reconciliation; a hundred thousand items take six
MAX_DIFFERENCES: Final = 8_192  # names in one reconciliation, 100 bytes each
MAX_COMPARED: Final = 32  # forked chains of one session
MAX_RECEIPTS: Final = 50_000  # fetched in one session; others shall have their turn
GIVE_BYTES: Final = 56 << 10  # of signed blocks in one ask: with one more it fits its frame even where nothing shrinks
MAX_GIVEN: Final = 64  # of one part at a time
_RECEIPT: Final = cose.content_type(ExecutionReceipt.KIND)


class Phase(Enum):
    """Where a session is."""

    INVENTORY = "inventory"
    EXPLAIN = "explain"
    FETCH = "fetch"
    COMPARE = "compare"
    PICK = "pick"
    GIVE = "give"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Answer:
    """A peer's answer, with the documents in it, verified, in their order."""

    said: Rounded | Explained | Brought | Took
    documents: tuple[Known, ...] = ()


@dataclass(slots=True)
class Report:
    """What a session did."""

    rounds: int = 0
    fetched: int = 0  # receipts and acknowledgements that were new here
    given: int = 0  # that were new to the peer, as it says
    refused: int = 0  # that our library has no room for
    forks: list[Fork] = field(default_factory=list)
    new: tuple[Cid, ...] = ()  # what the last answer alone brought
    lacking: int = 0  # chains of which the peer said to have more than it brought
    left: bool = False  # a bound was met: there is more


Outcome: TypeAlias = Asked | None
Verify: TypeAlias = Callable[[bytes], Known | None]


def read_known(block: bytes) -> Known:
    """A signed receipt or acknowledgement, its signatures checked; raises `DocumentError` or `SignatureError`."""
    if cose.read(block, max_bytes=MAX_ACK_BYTES).content_type == _RECEIPT:
        return read_receipt(block)
    return read_ack(block)


def verified(said: Answered, verify: Verify) -> Answer:
    """An answer with its documents, each of which `verify` has looked at; None is left out."""
    blocks = said.blocks if isinstance(said, Brought) else said.acks if isinstance(said, Explained) else ()
    return Answer(said, verified_all(blocks, verify))


def verified_all(blocks: Sequence[bytes], verify: Verify) -> tuple[Known, ...]:
    """What is brought or given, as documents."""
    found = (verify(block) for block in blocks)
    return tuple(document for document in found if document is not None)


class Session:
    """One session with one peer. `start` and `handle` return what to ask next, or None at the end."""

    def __init__(self) -> None:
        self.phase = Phase.INVENTORY
        self.report = Report()
        self._found = reconcile.Differences()
        self._left = MAX_ROUNDS
        self._names: deque[bytes] = deque()
        self._theirs: dict[Did, Head] = {}
        self._mine: dict[Did, Head] = {}
        self._fetch: deque[Part] = deque()
        self._asked: list[Part] = []
        self._compare: deque[Did] = deque()
        self._comparing: Did | None = None
        self._pick: deque[Place] = deque()
        self._acks: list[bytes] = []
        self._extra: dict[Did, list[Place]] = {}
        self._give: deque[Part] = deque()
        self._brought = 0

    def start(self, library: Library) -> Asked:
        """The first ask."""
        return Round(reconcile.begin(library.inventory()))

    def handle(self, answer: Answer, library: Library) -> Outcome:
        """Advance by one answer; raises `PeerError` for one that doesn't fit what was asked."""
        self.report.new = ()
        said = answer.said
        if isinstance(said, Rounded) and self.phase in (Phase.INVENTORY, Phase.COMPARE):
            return self._rounded(said.message, library)
        if isinstance(said, Explained) and self.phase is Phase.EXPLAIN:
            return self._explained(said, answer.documents, library)
        if isinstance(said, Brought) and self.phase is Phase.FETCH:
            return self._fetched(said, answer.documents, library)
        if isinstance(said, Brought) and self.phase is Phase.PICK:
            return self._picked(said, answer.documents, library)
        if isinstance(said, Took) and self.phase is Phase.GIVE:
            self.report.given += min(said.new, MAX_IDS)
            return self._next_give(library)
        raise PeerError(f"{type(said).__name__} is no answer to {self.phase.value}")

    # -- finding out

    def _rounded(self, message: bytes, library: Library) -> Outcome:
        of = self._comparing
        self.report.rounds += 1
        self._left -= 1
        try:
            items = library.inventory() if of is None else library.chain(of)
            following = reconcile.go_on(items, message, MESSAGE_BYTES, self._found)
        except DocumentError as error:
            raise PeerError(f"a round that can't be read: {error.message}") from error
        if following and self._left > 0 and len(self._found) < MAX_DIFFERENCES:
            return Round(following, of)
        self.report.left |= bool(following)
        return self._inventoried(library, bool(following)) if of is None else self._compared(of, library)

    def _inventoried(self, library: Library, cut: bool) -> Outcome:
        self._names = deque(name for _, name in sorted(self._found.lacking))
        if not cut:  # else a chain that only we seem to have may be one that the peer was not asked about
            extra = [name for _, name in sorted(self._found.extra)]
            for start in range(0, len(extra), MAX_IDS):
                heads, acks = library.explain(extra[start : start + MAX_IDS])
                self._mine |= {head.executor: head for head in heads}
                self._acks += acks
        self.phase = Phase.EXPLAIN
        return self._explain(library)

    def _explain(self, library: Library) -> Outcome:
        if self._names:
            return Explain(tuple(self._names)[:MAX_IDS])
        self._plan(library)
        self.phase = Phase.FETCH
        return self._next_fetch(library)

    def _explained(self, said: Explained, documents: Sequence[Known], library: Library) -> Outcome:
        told = {head.id for head in said.heads} | {ack_id(document.cid) for document in documents}
        covered = [self._names.popleft() for _ in range(min(said.covered, len(self._names), MAX_IDS))]
        if not told <= set(covered):
            raise PeerError("expected what the names asked for stand for")
        self._theirs |= {head.executor: head for head in said.heads}
        self._take(documents, library)
        return self._explain(library)

    def _plan(self, library: Library) -> None:
        """What to fetch of each chain that the peer has otherwise than we."""
        for executor, theirs in self._theirs.items():
            mine = library.head(executor)
            self._fetch += [Part(executor, stretch) for stretch in without(held(theirs), held(mine))]

    # -- fetching

    def _next_fetch(self, library: Library) -> Outcome:
        if self._fetch and self._brought < MAX_RECEIPTS:
            self._asked = [self._fetch[index] for index in range(min(MAX_PARTS, len(self._fetch)))]
            return Fetch(tuple(self._asked))
        self.report.left |= bool(self._fetch)
        for executor, theirs in self._theirs.items():
            mine = library.head(executor)
            self.report.lacking += not self._fetch and bool(without(held(theirs), held(mine)))
            if self._differs(mine, theirs, library):
                self._compare.append(executor)
        self.report.left |= len(self._compare) > MAX_COMPARED
        self._compare = deque(tuple(self._compare)[:MAX_COMPARED])
        return self._next_compare(library)

    def _fetched(self, said: Brought, documents: Sequence[Known], library: Library) -> Outcome:
        position, part = 0, self._asked[0]
        for document in documents:
            receipt = _receipt(document)
            while not _within(part, document.cid, receipt):
                position += 1
                if position == len(self._asked):
                    raise PeerError(f"receipt {document.cid} was not asked for, or comes out of order")
                part = self._asked[position]
            part = Part(part.executor, Stretch(receipt.seq, part.stretch.end), document.cid)
        if said.more and not documents:
            raise PeerError("expected receipts, found none and the word that there are more")
        self._take(documents, library)
        for _ in range(position if said.more else len(self._asked)):
            self._fetch.popleft()
        if said.more:
            self._fetch[0] = part
        return self._next_fetch(library)

    def _take(self, documents: Sequence[Known], library: Library) -> None:
        taken = library.take(documents)
        self._brought += len(documents)
        self.report.fetched += len(taken.new)
        self.report.refused += taken.refused
        self.report.forks += taken.forks
        self.report.new = taken.new

    # -- comparing

    @staticmethod
    def _differs(mine: Head | None, theirs: Head, library: Library) -> bool:
        """Whether, where both have receipts of a chain, they are not the same: by the sum of what stands there."""
        if mine is None or mine.total == theirs.total or len(theirs.gaps) == MAX_GAPS:
            return False
        both = held(theirs)
        if without(both, held(mine)):
            return bool(mine.forks or theirs.forks)
        return library.total(mine.executor, both) != theirs.total

    def _next_compare(self, library: Library) -> Outcome:
        if self._compare:
            self.phase = Phase.COMPARE
            self._comparing = self._compare.popleft()
            self._found, self._left = reconcile.Differences(), MAX_ROUNDS
            return Round(reconcile.begin(library.chain(self._comparing)), self._comparing)
        self._comparing = None
        self.phase = Phase.GIVE
        self._plan_gifts(library)
        return self._next_give(library)

    def _compared(self, executor: Did, library: Library) -> Outcome:
        self._pick = deque(Place(*item) for item in sorted(self._found.lacking))
        self._extra[executor] = [Place(*item) for item in sorted(self._found.extra)]
        self.phase = Phase.PICK
        return self._next_pick(library)

    def _next_pick(self, library: Library) -> Outcome:
        if self._pick and self._comparing is not None and self._brought < MAX_RECEIPTS:
            return Pick(self._comparing, tuple(self._pick)[:MAX_IDS])
        self.report.left |= bool(self._pick)
        return self._next_compare(library)

    def _picked(self, said: Brought, documents: Sequence[Known], library: Library) -> Outcome:
        asked = tuple(self._pick)[:MAX_IDS]
        position = 0
        for document in documents:
            receipt = _receipt(document)
            place = Place(receipt.seq, document.cid.digest[:ID_BYTES])
            if receipt.executor != self._comparing or place not in asked[position:]:
                raise PeerError(f"receipt {document.cid} was not asked for, or comes out of order")
            position = asked.index(place, position) + 1
        if said.more and not documents:
            raise PeerError("expected receipts, found none and the word that there are more")
        self._take(documents, library)
        for _ in range(position if said.more else len(asked)):
            self._pick.popleft()
        return self._next_pick(library)

    # -- giving

    def _plan_gifts(self, library: Library) -> None:
        """What the peer lacks: as its head says, or as comparing showed."""
        for executor in {**self._mine, **self._theirs}:
            if executor not in self._extra:
                mine, theirs = library.head(executor), self._theirs.get(executor)
                self._give += [Part(executor, stretch) for stretch in without(held(mine), held(theirs))]

    def _next_give(self, library: Library) -> Outcome:
        blocks, _ = batch(iter(self._acks), GIVE_BYTES)
        self._acks = self._acks[len(blocks) :]
        room = GIVE_BYTES - sum(map(len, blocks))
        while room > 0 and len(blocks) < MAX_BLOCKS and (self._extra or self._give):
            found = self._next_extra(library) if self._extra else self._next_of_part(library, room)
            blocks += found
            room -= sum(map(len, found)) + 1
        if blocks:
            return Give(tuple(blocks[:MAX_BLOCKS]))
        self.phase = Phase.DONE
        return None

    def _next_extra(self, library: Library) -> list[bytes]:
        executor, places = next(iter(self._extra.items()))
        if not places:
            del self._extra[executor]
            return []
        block = library.pick(executor, places.pop())
        return [block] if block is not None else []

    def _next_of_part(self, library: Library, room: int) -> list[bytes]:
        part = self._give[0]
        chosen: list[bytes] = []
        for found in library.read(part):
            if chosen and (room < len(found.block) or len(chosen) == MAX_GIVEN):
                self._give[0] = part
                return chosen
            chosen.append(found.block)
            room -= len(found.block)
            part = Part(part.executor, Stretch(found.seq, part.stretch.end), found.cid)
        self._give.popleft()
        return chosen


def _receipt(document: Known) -> ExecutionReceipt:
    receipt = document.document
    if not isinstance(receipt, ExecutionReceipt):
        raise PeerError(f"expected a receipt, found {receipt.KIND}")
    return receipt


def _within(part: Part, cid: Cid, receipt: ExecutionReceipt) -> bool:
    """Whether a receipt belongs to a part, behind what came of it before."""
    if receipt.executor != part.executor or not part.stretch.first <= receipt.seq < part.stretch.end:
        return False
    return receipt.seq > part.stretch.first or part.after is None or str(cid) > str(part.after)
