"""Jobs, bids and capabilities that the market's tests change in one place each."""

from __future__ import annotations

from icn_lite.model.bid import AvailabilityWindow, Bid, CapabilityProof, ComputeScore
from icn_lite.model.capability import NodeCapability, NodeRole
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.job import Architecture, Budget, ComputeRequirements, InputSpec, JobSpec, WasmRuntime


def did_of(number: int) -> Did:
    """Identity number `number`."""
    return Did(number.to_bytes(32, "big"))


def cid_of(number: int) -> Cid:
    """Document number `number`."""
    return Cid.of_dag_cbor(number.to_bytes(8, "big"))


SUBMITTER = did_of(1_000)
JOB = JobSpec(
    name="job",
    submitter=SUBMITTER,
    nonce=bytes(16),
    created_at=1_000,
    runtime=WasmRuntime(module=Cid.of_raw(b"module")),
    input=InputSpec(data=Cid.of_raw(b"input")),
    budget=Budget(max_total=1_000),
    deadline=2_000,
    compute=ComputeRequirements(min_cpu_cores=2, min_memory_mb=64, max_fuel=30_000_000, timeout_ms=30_000),
)
JOB_ID = JOB.id
CAPABILITY = NodeCapability(
    profile="pi-4",
    roles=(NodeRole.EXECUTE,),
    architecture=Architecture.ARM64,
    cpu_cores=4,
    memory_mb=128,
    max_pages=160,
    workers=2,
    fuel_per_s=2_000_000,
    region="eu-west",
    trust_scopes=("coop",),
)


def bid_of(number: int, *, price: int = 400, completion_ms: int = 30_000) -> Bid:
    """A bid of bidder `number` for `JOB`, valid as it stands."""
    return Bid(
        bidder=did_of(number),
        job_originator=SUBMITTER,
        job_id=JOB_ID,
        nonce=bytes(16),
        price=price,
        completion_time=1_030,
        completion_ms=completion_ms,
        valid_until=1_060,
        valid_ms=60_000,
        compute_score=ComputeScore(fuel_per_s=2_000_000, memory_mb=128, cpu_cores=4),
        availability=AvailabilityWindow(duration_ms=600_000, shards_at_once=2),
        max_shards=8,
        capability_proof=CapabilityProof(),
        region="eu-west",
    )
