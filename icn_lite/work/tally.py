"""What executors said about each shard of a job, and which outputs that they named are still to come."""

from __future__ import annotations

from typing import Final

from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import FailureReason
from icn_lite.model.receipt import ExecutionReceipt, ReceiptStatus
from icn_lite.work.originator_events import FetchOutput
from icn_lite.work.quorum import Finding, Verdict, Vote, judge, vote_of

MIN_PROOF: Final = 2  # executors that found the same, before somebody who comes later with another result is a liar


class Tally:
    """The findings of one job; an executor's first word on a shard is the one that counts."""

    def __init__(self, shards: int, copies: int) -> None:
        self.findings: list[dict[Did, Finding]] = [{} for _ in range(shards)]
        self.outcomes: dict[int, Finding] = {}
        self.failures: list[list[FailureReason]] = [[] for _ in range(shards)]
        self._copies = copies
        self._words: list[dict[Did, Vote]] = [{} for _ in range(shards)]
        self._waiting: dict[Cid, list[tuple[int, Finding]]] = {}

    def contradicts(self, receipt: ExecutionReceipt) -> bool:
        """Whether it can't be true together with what its executor signed for this shard before."""
        first = self._words[receipt.shard].get(receipt.executor)
        return first is not None and receipt.status is not ReceiptStatus.FAILED and vote_of(receipt) != first

    def is_first(self, shard: int, finding: Finding) -> bool:
        """Note an executor's word on a shard; False if it had spoken before, under another lease."""
        if finding.executor in self._words[shard]:
            return False
        self._words[shard][finding.executor] = finding.vote
        return True

    def count(self, shard: int, finding: Finding) -> Verdict:
        """Count a finding whose output, if it has one, is here, and judge the shard."""
        self.findings[shard].setdefault(finding.executor, finding)
        return judge(tuple(self.findings[shard].values()), self._copies)

    def refuted(self, shard: int, receipt: ExecutionReceipt | Finding) -> bool:
        """Whether a verdict proves a later result false: one voice against one, as with one copy, proves nothing."""
        outcome = self.outcomes.get(shard)
        vote = receipt.vote if isinstance(receipt, Finding) else vote_of(receipt)
        if outcome is None or vote == outcome.vote or vote[0] is ReceiptStatus.FAILED:
            return False
        return sum(finding.vote == outcome.vote for finding in self.findings[shard].values()) >= MIN_PROOF

    # -- outputs

    @property
    def waiting(self) -> bool:
        """Whether an output is still to come."""
        return bool(self._waiting)

    def awaits(self, output: Cid, executor: Did | None = None) -> bool:
        """Whether this output is to come, from this executor or from anybody."""
        return any(executor in (None, finding.executor) for _, finding in self._waiting.get(output, ()))

    def wait(self, shard: int, finding: Finding, output: Cid) -> list[FetchOutput]:
        """Keep a finding until its output is here; returns the fetch, unless the same one is under way."""
        under_way = self.awaits(output, finding.executor)
        self._waiting.setdefault(output, []).append((shard, finding))
        return [] if under_way else [FetchOutput(finding.executor, output)]

    def arrived(self, output: Cid) -> list[tuple[int, Finding]]:
        """The findings that waited for this output."""
        return self._waiting.pop(output, [])

    def lost(self, output: Cid, executor: Did | None) -> list[tuple[int, Finding]]:
        """The findings that `executor` (None: anybody) can't prove by this output; the others wait on."""
        waiting = self._waiting.pop(output, [])
        kept = [entry for entry in waiting if executor not in (None, entry[1].executor)]
        if kept:
            self._waiting[output] = kept
        return [entry for entry in waiting if entry not in kept]

    def fetches(self) -> list[FetchOutput]:
        """What still has to be fetched, and from whom."""
        wanted = {(f.executor, output): None for output, waiting in self._waiting.items() for _, f in waiting}
        return [FetchOutput(executor, output) for executor, output in wanted]
