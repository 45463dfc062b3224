"""Which shards whom: batches by weighted factoring over measured fuel a second.

Every executor gets a share of half of what is left, in proportion to its speed (Hummel and others, 1996): large
batches first, small ones at the end, so that all finish together although nobody knows how long a shard takes. An
executor never gets two copies of one shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from icn_lite.model.did import Did

FACTORING: Final = 2  # the part of the remaining work that one round gives out, as its reciprocal


@dataclass(slots=True)
class ShardState:
    """One shard: how many executors shall run it, who holds it, who delivered, who may not have it again."""

    wanted: int
    holders: set[Did] = field(default_factory=set)
    delivered: set[Did] = field(default_factory=set)
    barred: set[Did] = field(default_factory=set)
    settled: bool = False

    @property
    def open_copies(self) -> int:
        """Copies that nobody holds or has delivered."""
        return 0 if self.settled else max(0, self.wanted - len(self.holders) - len(self.delivered))

    def may_go_to(self, executor: Did) -> bool:
        """Whether `executor` may take a copy."""
        had = executor in self.holders or executor in self.delivered or executor in self.barred
        return self.open_copies > 0 and not had


def _anyhow(index: int) -> bool:
    return True


class ShardPool:
    """The shards of one job and their holders. States are read by index and changed by the methods only."""

    def __init__(self, count: int, copies: int) -> None:
        self._shards = [ShardState(copies) for _ in range(count)]
        self._first_open = 0
        # Kept up to date rather than summed: both are asked for at every event of a job of thousands of shards.
        self.remaining_copies = count * copies
        self.settled = 0

    def __getitem__(self, index: int) -> ShardState:
        return self._shards[index]

    def __len__(self) -> int:
        return len(self._shards)

    def batch_size(self, executor: Did, rates: Mapping[Did, int], most: int, *, all_at_once: bool = False) -> int:
        """How many shards to give `executor` now: 1 to `most`, by weighted factoring, or its whole part of the rest."""
        total_rate = sum(max(1, rate) for rate in rates.values())
        rounds = 1 if all_at_once else FACTORING
        share = self.remaining_copies * max(1, rates.get(executor, 1)) // (rounds * max(1, total_rate))
        return max(1, min(most, share))

    def take(self, executor: Did, most: int, admit: Callable[[int], bool] = _anyhow) -> list[int]:
        """Up to `most` shards that `executor` has not had and `admit` lets pass, in order; it holds them now."""
        while self._first_open < len(self._shards) and self._shards[self._first_open].settled:
            self._first_open += 1
        taken: list[int] = []
        for index in range(self._first_open, len(self._shards)):
            if len(taken) == most or self.remaining_copies == 0:
                break
            shard = self._shards[index]
            if shard.may_go_to(executor) and admit(index):
                shard.holders.add(executor)
                self.remaining_copies -= 1
                taken.append(index)
        return taken

    def release(self, executor: Did, indices: Iterable[int], *, may_retry: bool) -> None:
        """`executor` no longer holds these shards; without `may_retry` it won't get them again."""
        for index in indices:
            shard = self._shards[index]
            if executor in shard.holders:
                before = shard.open_copies
                shard.holders.discard(executor)
                if not may_retry:
                    shard.barred.add(executor)
                self.remaining_copies += shard.open_copies - before

    def deliver(self, executor: Did, index: int) -> None:
        """`executor` has delivered a finding for this shard, in time or late."""
        shard = self._shards[index]
        before = shard.open_copies
        shard.holders.discard(executor)
        shard.delivered.add(executor)
        self.remaining_copies += shard.open_copies - before

    def withdraw(self, executor: Did, index: int) -> None:
        """What `executor` delivered can't be used: another one is wanted instead."""
        shard = self._shards[index]
        before = shard.open_copies
        shard.delivered.discard(executor)
        shard.barred.add(executor)
        self.remaining_copies += shard.open_copies - before

    def want(self, index: int, copies: int) -> None:
        """So many executors shall run this shard, those included that did or do."""
        shard = self._shards[index]
        before = shard.open_copies
        shard.wanted = copies
        self.remaining_copies += shard.open_copies - before

    def settle(self, index: int) -> None:
        """The shard has its verdict: nobody else gets it."""
        shard = self._shards[index]
        self.remaining_copies -= shard.open_copies
        self.settled += not shard.settled
        shard.settled = True
