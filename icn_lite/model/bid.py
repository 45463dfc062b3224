"""Bids: `Bid` of `mesh-job-protocol.md` §3.1 with the peer-to-peer fields of `rfc-planetary-mesh.md` §4.1, one type.

`price` is for one execution of the whole job; what a shard of it earns is its share by weight. `completion_time`
is a claim of the bidder's clock, `completion_ms` the same as a duration, which is what is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeAlias

from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.schema import MaxLen, Range
from icn_lite.model.units import DurationMs, EpochS, Mana, Nonce, Region, ShardCount, SharePpm

Score: TypeAlias = Annotated[int, Range(0, 1 << 50)]


@dataclass(frozen=True, slots=True)
class ComputeScore:
    """What the bidder brings: metered instructions a second and the memory of one guest."""

    fuel_per_s: Score
    memory_mb: Annotated[int, Range(0, 1 << 24)]
    cpu_cores: Annotated[int, Range(1, 4096)]


@dataclass(frozen=True, slots=True)
class AvailabilityWindow:
    """For how long from now, and with how many shards at a time."""

    duration_ms: DurationMs
    shards_at_once: Annotated[int, Range(1, 256)]


@dataclass(frozen=True, slots=True)
class CapabilityProof:
    """`CapabilityProof`: the bidder's capability document, and receipts of similar work that anyone can re-check."""

    resource_attestation: Cid | None = None
    benchmark_results: Cid | None = None
    past_execution_cids: Annotated[tuple[Cid, ...], MaxLen(4)] = ()


@dataclass(frozen=True, slots=True)
class Bid:
    """A signed offer of `bidder` to `job_originator`."""

    KIND: ClassVar[str] = "icn-lite/bid/1"
    AUTHOR: ClassVar[str] = "bidder"
    bidder: Did
    job_originator: Did
    job_id: Cid
    nonce: Nonce
    price: Mana
    completion_time: EpochS
    completion_ms: DurationMs
    valid_until: EpochS
    valid_ms: DurationMs
    compute_score: ComputeScore
    availability: AvailabilityWindow
    max_shards: ShardCount
    capability_proof: CapabilityProof
    reputation_ppm: SharePpm = 500_000
    completed_similar: Annotated[int, Range(0, 1 << 40)] = 0
    success_ppm: SharePpm = 0
    region: Region | None = None
    offline_ms: DurationMs = 0  # for how long it may be out of reach once it has a lease; leases last so much longer
