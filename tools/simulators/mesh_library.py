"""A node's receipts in memory: the same `Library` as the store's, by another and plainer way.

What the store marks as receipts come in is worked out here when it is asked for, so the two can be compared.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from icn_lite.model.anchor import AnchorAck
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.receipt import ExecutionReceipt
from icn_lite.model.sync import ID_BYTES, MAX_GAPS, Head, Part, Place, Stretch, ack_id
from icn_lite.work.library import Fork, Found, Known, Taken
from icn_lite.work.reconcile import Items, SortedItems

Receipt = Sealed[ExecutionReceipt]
text = functools.lru_cache(maxsize=1 << 16)(str)  # of CIDs: base32 would be most of a simulation's time


@dataclass
class Chain:
    """All receipts of one executor."""

    at: dict[int, dict[Cid, Receipt]] = field(default_factory=dict)
    total: int = 0
    count: int = 0
    told: Head | None = None  # until it changes, with its name
    name: bytes = b""

    def copy(self) -> Chain:
        return Chain({seq: dict(same) for seq, same in self.at.items()}, self.total, self.count)

    def head(self, executor: Did) -> Head:
        if self.told is not None:
            return self.told
        following = max(self.at) + 1
        gaps: list[Stretch] = []
        if len(self.at) < following:
            before = 0
            for seq in sorted(self.at):
                if seq > before and len(gaps) < MAX_GAPS:
                    gaps.append(Stretch(before, seq))
                before = seq + 1
        tip = min(self.at[following - 1], key=text)
        total = (self.total % (1 << 256)).to_bytes(32, "big")
        self.told = Head(executor, following, self.count, self.count - len(self.at), total, tip, tuple(gaps))
        self.name = self.told.id
        return self.told

    def name_of(self, executor: Did) -> bytes:
        self.head(executor)
        return self.name


@dataclass
class MemoryLibrary:
    """Chains, acknowledgements and forks of one node; `copy` is its disk, cloned."""

    chains: dict[Did, Chain] = field(default_factory=dict)
    acks: dict[Cid, Sealed[AnchorAck]] = field(default_factory=dict)
    forks: dict[tuple[Cid, Cid], Fork] = field(default_factory=dict)
    receipts: dict[Cid, Receipt] = field(default_factory=dict)
    dropped: set[Cid] = field(default_factory=set)  # whose bytes were let go

    def copy(self) -> MemoryLibrary:
        chains = {did: chain.copy() for did, chain in self.chains.items()}
        return MemoryLibrary(chains, dict(self.acks), dict(self.forks), dict(self.receipts), set(self.dropped))

    # -- Library

    def inventory(self) -> Items:
        heads = [(0, chain.name_of(did)) for did, chain in self.chains.items()]
        return SortedItems([*heads, *((0, ack_id(cid)) for cid in self.acks)])

    def explain(self, ids: Sequence[bytes]) -> tuple[list[Head], list[bytes]]:
        heads = {chain.name_of(did): chain.head(did) for did, chain in self.chains.items()}
        acks = {ack_id(cid): sealed.block for cid, sealed in self.acks.items()}
        return [heads[name] for name in ids if name in heads], [acks[name] for name in ids if name in acks]

    def head(self, executor: Did) -> Head | None:
        chain = self.chains.get(executor)
        return chain.head(executor) if chain is not None else None

    def chain(self, executor: Did) -> Items:
        chain = self.chains.get(executor, Chain())
        return SortedItems([(seq, cid.digest[:ID_BYTES]) for seq, same in chain.at.items() for cid in same])

    def total(self, executor: Did, stretches: Sequence[Stretch]) -> bytes:
        chain = self.chains.get(executor, Chain())
        found = (
            int.from_bytes(cid.digest, "big")
            for seq, same in chain.at.items()
            if any(part.first <= seq < part.end for part in stretches)
            for cid in same
        )
        return (sum(found) % (1 << 256)).to_bytes(32, "big")

    def read(self, part: Part) -> Iterator[Found]:
        chain = self.chains.get(part.executor, Chain())
        for seq in sorted(seq for seq in chain.at if part.stretch.first <= seq < part.stretch.end):
            for cid in sorted(chain.at[seq], key=text):
                behind = seq > part.stretch.first or part.after is None or text(cid) > text(part.after)
                if behind and cid not in self.dropped:
                    yield Found(seq, cid, chain.at[seq][cid].block)

    def pick(self, executor: Did, place: Place) -> bytes | None:
        chain = self.chains.get(executor, Chain())
        return next(
            (one.block for cid, one in chain.at.get(place.seq, {}).items() if cid.digest[:16] == place.id), None
        )

    def take(self, documents: Sequence[Known]) -> Taken:
        new: list[Cid] = []
        forks: list[Fork] = []
        for sealed in documents:
            if isinstance(sealed.document, AnchorAck):
                if self._take_ack(cast(Sealed[AnchorAck], sealed)):
                    new.append(sealed.cid)
            elif sealed.cid not in self.receipts:
                forks += self._take_receipt(cast(Receipt, sealed))
                new.append(sealed.cid)
        return Taken(tuple(new), tuple(forks), 0)

    def _take_receipt(self, sealed: Receipt) -> list[Fork]:
        receipt, cid = sealed.document, sealed.cid
        chain = self.chains.setdefault(receipt.executor, Chain())
        same = chain.at.setdefault(receipt.seq, {})
        found = [Fork(receipt.executor, receipt.seq, (min(cid, other), max(cid, other))) for other in same]
        before = sorted(chain.at.get(receipt.seq - 1, {}), key=text)
        if before and receipt.prev not in before:
            found.append(Fork(receipt.executor, receipt.seq, (before[0], cid), broken=True))
        for other, behind in chain.at.get(receipt.seq + 1, {}).items():
            if behind.document.prev != cid and not same:
                found.append(Fork(receipt.executor, receipt.seq, (cid, other), broken=True))
        same[cid] = sealed
        chain.total += int.from_bytes(cid.digest, "big")
        chain.count += 1
        chain.told = None
        self.receipts[cid] = sealed
        fresh = [fork for fork in found if fork.receipts not in self.forks]
        self.forks |= {fork.receipts: fork for fork in fresh}
        return fresh

    def _take_ack(self, sealed: Sealed[AnchorAck]) -> bool:
        ack = sealed.document
        if sealed.cid in self.acks:
            return False
        chain = self.chains.get(ack.executor)
        if chain is None or chain.count == len(chain.at):
            same = [
                cid
                for cid, one in self.acks.items()
                if (one.document.anchor, one.document.executor) == (ack.anchor, ack.executor)
            ]
            if any(self.acks[cid].document.seq >= ack.seq for cid in same):
                return False
            for cid in same:
                del self.acks[cid]
        self.acks[sealed.cid] = sealed
        return True

    # -- what the store marks

    def whole(self, executor: Did) -> set[Cid]:
        """Receipts of a chain before which everything is here."""
        found: set[Cid] = set()
        chain = self.chains.get(executor, Chain())
        for seq in sorted(chain.at):
            more = {cid for cid, one in chain.at[seq].items() if seq == 0 or one.document.prev in found}
            if not more:
                break
            found |= more
        return found

    def anchored(self) -> set[Cid]:
        """Receipts that an acknowledgement names, or one that comes after them."""
        found: set[Cid] = set()
        for sealed in self.acks.values():
            one = self.receipts.get(sealed.document.head)
            if one is not None and (one.document.executor, one.document.seq) != (
                sealed.document.executor,
                sealed.document.seq,
            ):
                continue
            while one is not None and one.cid not in found:
                found.add(one.cid)
                one = self.receipts.get(one.document.prev) if one.document.prev else None
        return found

    def tips(self, executor: Did) -> list[Receipt]:
        """The last receipts up to which everything is here."""
        whole, chain = self.whole(executor), self.chains.get(executor, Chain())
        named = {one.document.prev for same in chain.at.values() for one in same.values() if one.cid in whole}
        return [one for same in chain.at.values() for one in same.values() if one.cid in whole and one.cid not in named]
