"""The executor of one lease: blocks in, runs, receipts out, until every receipt is acknowledged.

Each shard of the lease goes its own way:

    FETCHING ──BlocksStored──▶ READY ──RunStarted──▶ RUNNING ──RunEnded──▶ UNACKED ──ReceiptAcked──▶ DONE
       └──── Lapsed, ReturnAsked ────┘ (never from RUNNING on) ──▶ GIVEN_BACK

The lease is the unit of the journal: replaying its events rebuilds it after a crash. A run in progress when the
power failed is READY again, which `Restarted` says, so that a second crash finds the same; a receipt that nobody
acknowledged is sent again, for as long as it takes, and only the originator's signed acknowledgement ends that.
Nothing here reads a clock: lapsing is the shell's event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Final, TypeAlias

from icn_lite.model.cid import Cid
from icn_lite.model.messages import AssignJobV1


class Step(Enum):
    """Where one shard of a lease stands."""

    FETCHING = "fetching"
    READY = "ready"
    RUNNING = "running"
    UNACKED = "unacked"
    DONE = "done"
    GIVEN_BACK = "given back"


@dataclass(frozen=True, slots=True)
class BlocksStored:
    """Module and input of a shard are in the store."""

    TAG: ClassVar[str] = "BlocksStored"
    shard: int


@dataclass(frozen=True, slots=True)
class BlocksMissing:
    """Module or input of a shard can't be had."""

    TAG: ClassVar[str] = "BlocksMissing"
    shard: int
    reason: str


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The sandbox has the shard."""

    TAG: ClassVar[str] = "RunStarted"
    shard: int


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The receipt, and the output with it, are in the store."""

    TAG: ClassVar[str] = "RunEnded"
    shard: int
    receipt: Cid


@dataclass(frozen=True, slots=True)
class ReceiptAcked:
    """The originator's signed acknowledgement came."""

    TAG: ClassVar[str] = "ReceiptAcked"
    receipt: Cid


@dataclass(frozen=True, slots=True)
class ReceiptRefused:
    """The originator answered that it will never take this receipt; sending it again is useless."""

    TAG: ClassVar[str] = "ReceiptRefused"
    receipt: Cid
    reason: str


@dataclass(frozen=True, slots=True)
class ReturnAsked:
    """The device can't go on with what has not begun; the reason is for people."""

    TAG: ClassVar[str] = "ReturnAsked"
    reason: str


@dataclass(frozen=True, slots=True)
class Lapsed:
    """The lease's duration is over: what has not begun won't be begun."""

    TAG: ClassVar[str] = "Lapsed"


@dataclass(frozen=True, slots=True)
class Restarted:
    """The process is a new one: what it did not finish has to be taken up again."""

    TAG: ClassVar[str] = "Restarted"


Event: TypeAlias = (
    BlocksStored
    | BlocksMissing
    | RunStarted
    | RunEnded
    | ReceiptAcked
    | ReceiptRefused
    | ReturnAsked
    | Lapsed
    | Restarted
)


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bring module and input of a shard; `BlocksStored` or `BlocksMissing` answers."""

    shard: int
    cids: tuple[Cid, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """Run a shard when a worker is free and the governor allows."""

    shard: int


@dataclass(frozen=True, slots=True)
class SendReceipt:
    """Deliver a receipt to the originator until it is acknowledged."""

    shard: int
    receipt: Cid


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Tell the originator that these shards won't be run."""

    shards: tuple[int, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class LeaseDone:
    """Nothing is left to do for this lease: its journal can go."""


Effect: TypeAlias = Fetch | Run | SendReceipt | GiveBack | LeaseDone

_TO_RUN: Final = (Step.FETCHING, Step.READY, Step.RUNNING)
_OPEN: Final = (*_TO_RUN, Step.UNACKED)


@dataclass(slots=True)
class ShardWork:
    """One shard of the lease; `reason` says why it was given back."""

    step: Step
    receipt: Cid | None = None
    reason: str = ""


class LeaseWork:
    """The machine of one lease."""

    def __init__(self, lease: AssignJobV1) -> None:
        self.lease = lease
        self.shards = {grant.index: ShardWork(Step.FETCHING) for grant in lease.shards}
        self._inputs = {grant.index: grant.input for grant in lease.shards}

    @property
    def open(self) -> int:
        """How many shards still need something."""
        return sum(work.step in _OPEN for work in self.shards.values())

    @property
    def to_run(self) -> int:
        """How many shards still cost power: what a device's capacity is measured by. Receipts under way don't count."""
        return sum(work.step in _TO_RUN for work in self.shards.values())

    @property
    def unstarted(self) -> int:
        """How many shards wait for blocks or a worker."""
        return sum(work.step in (Step.FETCHING, Step.READY) for work in self.shards.values())

    def start(self) -> list[Effect]:
        """The first effects of a lease just accepted."""
        return [self._fetch(shard) for shard in self.shards]

    def resume(self) -> list[Effect]:
        """After a replay: take every shard up where it stood. `handle(Restarted())` does the same, for the journal."""
        effects: list[Effect] = []
        for shard, work in self.shards.items():
            self._move(shard, Restarted)
            if work.step is Step.FETCHING:
                effects.append(self._fetch(shard))
            elif work.step is Step.READY:
                effects.append(Run(shard))
            elif work.step is Step.UNACKED and work.receipt is not None:
                effects.append(SendReceipt(shard, work.receipt))
            elif work.step is Step.GIVEN_BACK:
                effects.append(GiveBack((shard,), work.reason))  # nothing says that the originator heard of it
        return effects + self._if_done()

    def changes(self, event: Event) -> bool:
        """Whether an event means anything now. One that doesn't is late or repeated, and need not be stored."""
        match event:
            case BlocksStored(shard) | BlocksMissing(shard, _) | RunStarted(shard) | RunEnded(shard, _):
                work = self.shards.get(shard)
                return work is not None and (work.step, type(event)) in TRANSITIONS
            case ReceiptAcked(receipt) | ReceiptRefused(receipt, _):
                works = [work for work in self.shards.values() if work.receipt == receipt]
                return any((work.step, type(event)) in TRANSITIONS for work in works)
            case ReturnAsked() | Lapsed():
                return any((work.step, type(event)) in TRANSITIONS for work in self.shards.values())
        return True

    def handle(self, event: Event) -> list[Effect]:
        """Advance by one event and return the effects to perform."""
        handler = _HANDLERS[type(event)]
        effects: list[Effect] = handler(self, event)
        return effects if effects and effects[-1] == LeaseDone() else effects + self._if_done()

    def _fetch(self, shard: int) -> Fetch:
        return Fetch(shard, (self.lease.module, self._inputs[shard]))

    def _move(self, shard: int, kind: type) -> bool:
        """Take the transition of the table, if there is one from where the shard stands."""
        work = self.shards.get(shard)
        target = TRANSITIONS.get((work.step, kind)) if work is not None else None
        if work is None or target is None:
            return False
        work.step = target
        return True

    def _blocks_stored(self, event: BlocksStored) -> list[Effect]:
        return [Run(event.shard)] if self._move(event.shard, BlocksStored) else []

    def _blocks_missing(self, event: BlocksMissing) -> list[Effect]:
        if not self._move(event.shard, BlocksMissing):
            return []
        self.shards[event.shard].reason = event.reason
        return [GiveBack((event.shard,), event.reason)]

    def _run_started(self, event: RunStarted) -> list[Effect]:
        self._move(event.shard, RunStarted)
        return []

    def _run_ended(self, event: RunEnded) -> list[Effect]:
        if not self._move(event.shard, RunEnded):
            return []
        self.shards[event.shard].receipt = event.receipt
        return [SendReceipt(event.shard, event.receipt)]

    def _receipt_closed(self, event: ReceiptAcked | ReceiptRefused) -> list[Effect]:
        for shard, work in self.shards.items():
            if work.receipt == event.receipt:
                self._move(shard, type(event))
        return []

    def _give_back_unstarted(self, event: ReturnAsked | Lapsed) -> list[Effect]:
        reason = event.reason if isinstance(event, ReturnAsked) else "the lease's duration is over"
        given = tuple(shard for shard in self.shards if self._move(shard, type(event)))
        for shard in given:
            self.shards[shard].reason = reason
        return [GiveBack(given, reason)] if given else []

    def _restarted(self, event: Restarted) -> list[Effect]:
        return self.resume()

    def _if_done(self) -> list[Effect]:
        return [] if self.open else [LeaseDone()]


# The ways of one shard. An event without a row here is late or repeated, and changes nothing.
TRANSITIONS: Final[dict[tuple[Step, type], Step]] = {
    (Step.FETCHING, BlocksStored): Step.READY,
    (Step.FETCHING, BlocksMissing): Step.GIVEN_BACK,
    (Step.FETCHING, ReturnAsked): Step.GIVEN_BACK,
    (Step.FETCHING, Lapsed): Step.GIVEN_BACK,
    (Step.READY, RunStarted): Step.RUNNING,
    (Step.READY, ReturnAsked): Step.GIVEN_BACK,
    (Step.READY, Lapsed): Step.GIVEN_BACK,
    (Step.RUNNING, Restarted): Step.READY,
    (Step.RUNNING, RunEnded): Step.UNACKED,
    (Step.READY, RunEnded): Step.UNACKED,  # ended before the journal knew that it had begun
    (Step.UNACKED, ReceiptAcked): Step.DONE,
    (Step.UNACKED, ReceiptRefused): Step.DONE,
}

_HANDLERS: Final[dict[type, Callable[[LeaseWork, Any], list[Effect]]]] = {
    BlocksStored: LeaseWork._blocks_stored,
    BlocksMissing: LeaseWork._blocks_missing,
    RunStarted: LeaseWork._run_started,
    RunEnded: LeaseWork._run_ended,
    ReceiptAcked: LeaseWork._receipt_closed,
    ReceiptRefused: LeaseWork._receipt_closed,
    ReturnAsked: LeaseWork._give_back_unstarted,
    Lapsed: LeaseWork._give_back_unstarted,
    Restarted: LeaseWork._restarted,
}
