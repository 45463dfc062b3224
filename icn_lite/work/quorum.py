"""Equal outputs are the vote: what several executors found out about one shard, and the verdict over it.

`mesh-job-protocol.md` §5.1 compares results; here they are compared by equality, without classes of similar hosts,
because a run is the same bit for bit on every device. The fuel used is part of the vote: an executor that copied an
output without running would have to know it too. Entry, arguments and results are part of it as one CID: a receipt
that had no room for them names that CID itself, so both kinds of receipt compare.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Final

from icn_lite.model import document
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.receipt import Call, ExecutionReceipt, ReceiptStatus

MAX_EXTRA_COPIES: Final = 3  # further executors asked when the first ones disagree; then the shard is disputed


class Judgement(Enum):
    """What the findings so far amount to."""

    WAIT = "wait"  # not enough findings yet
    MORE = "more"  # they disagree: ask one more executor
    ACCEPTED = "accepted"
    DISPUTED = "disputed"


Vote = tuple[ReceiptStatus, str | None, int | None, Cid | None, Cid, int]  # …, output, call, fuel used


def vote_of(receipt: ExecutionReceipt) -> Vote:
    """What a receipt says about the run itself: the part that every honest executor states alike."""
    call = receipt.call
    if call is None:
        call = Cid.of_dag_cbor(document.encode(Call(receipt.entry, receipt.args, receipt.results)))
    return (receipt.status, receipt.trap, receipt.exit_code, receipt.output, call, receipt.fuel_used)


@dataclass(frozen=True, slots=True)
class Finding:
    """One executor's receipt for a shard."""

    executor: Did
    receipt: Cid
    vote: Vote

    @classmethod
    def of(cls, receipt: ExecutionReceipt, cid: Cid) -> Finding:
        """The finding that a receipt states."""
        return cls(receipt.executor, cid, vote_of(receipt))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement, who agreed with it and who did not."""

    judgement: Judgement
    agreeing: tuple[Finding, ...] = ()
    dissenting: tuple[Finding, ...] = ()


def judge(findings: tuple[Finding, ...], copies: int) -> Verdict:
    """Judge a shard that `copies` executors had to run.

    Accepted when `copies` of them agree and they are the majority; one vote decides where one copy was asked for.
    Findings of one executor count once: the caller keeps the first.
    """
    if len(findings) < copies:
        return Verdict(Judgement.WAIT)
    vote, count = Counter(finding.vote for finding in findings).most_common(1)[0]
    agreeing = tuple(finding for finding in findings if finding.vote == vote)
    dissenting = tuple(finding for finding in findings if finding.vote != vote)
    if count >= copies and 2 * count > len(findings):
        return Verdict(Judgement.ACCEPTED, agreeing, dissenting)
    if len(findings) < copies + MAX_EXTRA_COPIES:
        return Verdict(Judgement.MORE)
    return Verdict(Judgement.DISPUTED, dissenting=findings)
