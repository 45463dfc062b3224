"""Settlement: which transfers of mana follow from a job's life (`mesh-job-protocol.md` §3.1, §6.1, §7.1).

Each function returns one `Transfer`: an id, its cause, and entries that sum to zero. The ledger applies a transfer
once by its id, and the ids are made so that what must not happen twice can't: a job is escrowed once, a stake is
locked once and given back once, an executor is paid once for a shard, a job is refunded once.

    submit       submitter        -> escrow:<job>      the whole budget
    bid          bidder           -> stake:<bid>       5 % of the price
    validated    escrow:<job>     -> executor          the shard's share of the bid's price
    bid over     stake:<bid>      -> bidder | mint     what isn't slashed goes back, what is slashed is burnt
    job over     escrow:<job>     -> submitter         what wasn't spent
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from icn_lite.market.outcome import ValidationOutcome
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import FailureReason, LedgerError
from icn_lite.model.units import PPM

MINT: Final = "mint"
DISPUTED_PPM: Final = 500_000  # `calculate_disputed_payment` is left open by §6.1: half

# §7.1: what the executor's own failure costs of its stake; every other failure costs nothing.
SLASHED_PPM: Final[Mapping[FailureReason, int]] = {
    FailureReason.OUT_OF_MEMORY: 500_000,
    FailureReason.CPU_TIMEOUT: 500_000,
    FailureReason.DISK_FULL: 500_000,
    FailureReason.CRASH_OR_PANIC: 500_000,
}

Entry = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Transfer:
    """A movement of mana for the ledger; `cause` is the CID of what it follows from."""

    id: str
    cause: str
    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        total = sum(amount for _, amount in self.entries)
        if total:
            raise LedgerError(f"expected the entries of {self.id} to sum to 0, found {total}")


@dataclass(frozen=True, slots=True)
class ShardRun:
    """One executor's run of one shard, and the receipt that says so."""

    job: Cid
    stage: int
    shard: int
    executor: Did
    receipt: Cid


def account_of(did: Did) -> str:
    """The account with a DID's available mana."""
    return str(did)


def escrow_of(job: Cid) -> str:
    """The account that holds a job's budget."""
    return f"escrow:{job}"


def stake_account_of(bid: Cid) -> str:
    """The account that holds a bid's stake."""
    return f"stake:{bid}"


def grant(did: Did, amount: int, cause: str) -> Transfer:
    """New mana for `did`, once for each cause: an opening balance, a regeneration."""
    return _move(f"grant:{did}:{cause}", cause, MINT, account_of(did), amount)


def open_escrow(job: Cid, submitter: Did, budget: int) -> Transfer:
    """Put a job's whole budget aside before it is announced."""
    return _move(f"escrow:{job}", str(job), account_of(submitter), escrow_of(job), budget)


def lock_stake(bid: Cid, bidder: Did, stake: int) -> Transfer:
    """Put a bid's stake aside when the bid is taken."""
    return _move(f"stake:{bid}", str(bid), account_of(bidder), stake_account_of(bid), stake)


def end_stake(bid: Cid, bidder: Did, stake: int, slashed: int, cause: Cid) -> Transfer:
    """Close a bid's stake: `slashed` is burnt, the rest goes back. One id for both, so it ends once."""
    if not 0 <= slashed <= stake:
        raise LedgerError(f"expected to slash 0 to {stake} mana of bid {bid}, found {slashed}")
    entries = ((stake_account_of(bid), -stake), (account_of(bidder), stake - slashed), (MINT, slashed))
    return Transfer(f"stake-end:{bid}", str(cause), _without_zeros(entries))


def pay_shard(run: ShardRun, share: int, outcome: ValidationOutcome) -> Transfer:
    """Pay an executor for a shard: its share if accepted, half (rounded down) with dispute, nothing if rejected."""
    amount = payment(share, outcome)
    id = f"pay:{run.job}:{run.stage}:{run.shard}:{run.executor}"
    return _move(id, str(run.receipt), escrow_of(run.job), account_of(run.executor), amount)


def refund(job: Cid, submitter: Did, remaining: int) -> Transfer:
    """Give the submitter what the escrow still holds, when nothing more will be paid from it."""
    return _move(f"refund:{job}", str(job), escrow_of(job), account_of(submitter), remaining)


def payment(share: int, outcome: ValidationOutcome) -> int:
    """What a result earns of its share; rounded down."""
    if outcome is ValidationOutcome.ACCEPTED:
        return share
    return share * DISPUTED_PPM // PPM if outcome is ValidationOutcome.ACCEPTED_WITH_DISPUTE else 0


def slash_of(stake: int, cause: ValidationOutcome | FailureReason) -> int:
    """What is burnt of a stake: all for a rejected result, half (rounded down) for the executor's own failures."""
    if isinstance(cause, ValidationOutcome):
        return stake if cause is ValidationOutcome.REJECTED else 0
    return stake * SLASHED_PPM.get(cause, 0) // PPM


def shares(price: int, weights: Sequence[int]) -> tuple[int, ...]:
    """The price of each shard: its part of the price by weight.

    Rounded cumulatively: the first n shards together cost `price · their weight / total`, rounded down. So they sum
    to the price, always, and a small price over many shards is spread evenly. Weights are positive.
    """
    if not weights or min(weights) <= 0:
        raise LedgerError("expected at least one shard, and weights above 0")
    sums = [0, *accumulate(weights)]
    return tuple(price * sums[n + 1] // sums[-1] - price * sums[n] // sums[-1] for n in range(len(weights)))


def _move(id: str, cause: str, source: str, target: str, amount: int) -> Transfer:
    if amount < 0:
        raise LedgerError(f"expected to move at least 0 mana ({id}), found {amount}")
    return Transfer(id, cause, _without_zeros(((source, -amount), (target, amount))))


def _without_zeros(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    return tuple(entry for entry in entries if entry[1])
