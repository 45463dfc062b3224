"""The store as the sync machines of `work/` see it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from icn_lite.model.anchor import AnchorAck
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.receipt import ExecutionReceipt
from icn_lite.model.sync import ID_BYTES, Head, Part, Place, Stretch, ack_id, head_id
from icn_lite.store.chains import Chains
from icn_lite.store.db import Store
from icn_lite.work.library import Fork, Found, Known, Taken
from icn_lite.work.reconcile import Item, Items, SortedItems

MAX_CHAINS: Final = 4_096  # executors of whom receipts are kept; a local mesh has some hundred in its life


class ChainItems:
    """The receipts of one chain as an ordered set."""

    def __init__(self, chains: Chains, executor: Did) -> None:
        self._chains = chains
        self._executor = executor

    def count(self, lower: Item, upper: Item) -> int:
        """How many there are: counted by the database but at the ends, where digests matter."""
        if not lower[1] and not upper[1]:
            return self._chains.amount(self._executor, lower[0], upper[0])
        if lower[0] == upper[0]:
            return sum(1 for _ in self.walk(lower, upper))
        middle = self._chains.amount(self._executor, lower[0] + 1, upper[0])
        ends = ((lower, (lower[0] + 1, b"")), ((upper[0], b""), upper))
        return middle + sum(sum(1 for _ in self.walk(*end)) for end in ends)

    def walk(self, lower: Item, upper: Item) -> Iterator[Item]:
        """They, by number and digest."""
        for seq, digest in self._chains.walk(self._executor, lower[0], upper[0] + bool(upper[1])):
            item = (seq, digest[:ID_BYTES])
            if lower <= item < upper:
                yield item


class StoreLibrary:
    """`work.library.Library` over an open store; used on the store's thread, changes within a transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def inventory(self) -> Items:
        """One item for each chain and each acknowledgement."""
        names = [(0, name) for name in (*self._heads(), *self._acks())]
        return SortedItems(names)

    def explain(self, ids: Sequence[bytes]) -> tuple[list[Head], list[bytes]]:
        """What is behind these names."""
        heads, acks = self._heads(), self._acks()
        told = [self.head(heads[name]) for name in ids if name in heads]
        blocks = [self._store.acks.get(acks[name]) for name in ids if name in acks]
        return [head for head in told if head is not None], [block for block in blocks if block is not None]

    def _heads(self) -> dict[bytes, Did]:
        parts = self._store.chains.parts()
        return {head_id(did, following, count, total): did for did, following, count, total in parts}

    def _acks(self) -> dict[bytes, Cid]:
        return {ack_id(cid): cid for _, cid in self._store.acks.names()}

    def head(self, executor: Did) -> Head | None:
        """What is held of a chain."""
        return self._store.chains.head(executor)

    def chain(self, executor: Did) -> Items:
        """Its receipts."""
        return ChainItems(self._store.chains, executor)

    def total(self, executor: Did, stretches: Sequence[Stretch]) -> bytes:
        """The sum of the digests of what stands there."""
        return self._store.chains.total(executor, stretches)

    def read(self, part: Part) -> Iterator[Found]:
        """The receipts of a part."""
        for seq, cid, block in self._store.chains.read(part.executor, part.stretch, part.after):
            yield Found(seq, cid, block)

    def pick(self, executor: Did, place: Place) -> bytes | None:
        """One receipt."""
        for cid in self._store.chains.at(executor, place.seq):
            if cid.digest[:ID_BYTES] == place.id:
                return self._store.receipts.get(cid)
        return None

    def take(self, documents: Sequence[Known]) -> Taken:
        """Keep what was verified; the caller's transaction holds all of it."""
        store = self._store
        before = store.chains.last_fork()
        new: list[Cid] = []
        refused = 0
        for sealed in documents:
            document = sealed.document
            if isinstance(document, AnchorAck):
                if store.acks.put(sealed):  # type: ignore[arg-type]  # narrowing doesn't reach the type parameter
                    new.append(sealed.cid)
            elif not store.receipts.has(sealed.cid):
                if self._room(document):
                    store.receipts.put_sealed(sealed)  # type: ignore[arg-type]  # likewise
                    new.append(sealed.cid)
                else:
                    refused += 1
        found = store.chains.forks(after=before)
        forks = [Fork(fork.executor, fork.seq, (fork.first, fork.second), fork.broken) for fork in found]
        return Taken(tuple(new), tuple(forks), refused)

    def _room(self, receipt: ExecutionReceipt) -> bool:
        chains = self._store.chains
        if not chains.knows(receipt.executor):
            return chains.count() < MAX_CHAINS
        return chains.room(receipt.executor, receipt.seq)
