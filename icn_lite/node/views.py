"""What people and programs are shown of a running node: plain JSON values, drawn from the live state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from icn_lite.model.document import decode
from icn_lite.model.job import JobSpec, WasmRuntime
from icn_lite.model.membership import fingerprint
from icn_lite.model.receipt import ExecutionReceipt, read_receipt
from icn_lite.node.control import Json
from icn_lite.store.db import Store
from icn_lite.work import originator_events as ev

if TYPE_CHECKING:
    from icn_lite.model.messages import CapabilityAdvertisementV1
    from icn_lite.node.cooperatives import Cooperative
    from icn_lite.node.job_run import JobRun
    from icn_lite.node.memberships import Memberships
    from icn_lite.node.node import Node
    from icn_lite.work.routes import Way


MAX_DECLINED: Final = 8  # that `status` shows, the last ones


def declined_view(node: Node) -> list[Json]:
    """Jobs that this node did not bid on, the last one first: why, and what was too little."""
    declined = node.executions.offers.declined.items() if node.executions else ()
    return [
        {
            "job": str(job),
            "code": refusal.code.value,
            "reason": refusal.reason,
            "message": refusal.message,
            "needed": refusal.needed,
            "available": refusal.available,
            "unit": refusal.unit or None,
        }
        for job, refusal in list(declined)[-MAX_DECLINED:][::-1]
    ]


def job_row(store: Store, job: str, role: str, status: str, error: str) -> dict[str, Json]:
    """One line of `icn-lite jobs`."""
    from icn_lite.model.cid import Cid

    data = store.blocks.get(Cid.parse(job))
    spec = decode(JobSpec, data) if data is not None else None
    return {
        "job": job,
        "role": role,
        "status": status,
        "name": spec.name if spec else None,
        "shards": spec.input.shards if spec else None,
        "budget": spec.budget.max_total if spec else None,
        "error": error or None,
    }


def job_view(run: JobRun, receipts: dict[str, ExecutionReceipt]) -> dict[str, Json]:
    """All about one job of ours: bids, shards with their executors and verdicts, money."""
    machine, job = run.machine, run.machine.terms.job
    ended = machine.ended
    return {
        "job": str(run.job_id),
        "name": job.name,
        "role": "originator",
        "status": machine.phase.value,
        "message": ended.sentence if ended else None,
        "code": ended.code.value if ended and ended.code else None,
        "reason": ended.reason.value if ended and ended.reason else None,
        "module": str(job.runtime.module) if isinstance(job.runtime, WasmRuntime) else None,
        "budget": job.budget.max_total,
        "paid": machine.paid,
        "bids": [
            {"bidder": str(did), "price": taken.bid.price, "stake": taken.stake, "bid": str(taken.cid)}
            for did, taken in machine.bids.items()
        ],
        "settled": machine.settled,
        "shards": [_shard_view(run, index, receipts) for index in range(len(machine.terms.shards))],
    }


def _shard_view(run: JobRun, index: int, receipts: dict[str, ExecutionReceipt]) -> dict[str, Json]:
    machine = run.machine
    outcome = machine.outcomes.get(index)
    findings = machine.findings[index]
    runs: list[Json] = []
    for did, finding in findings.items():
        receipt = receipts.get(str(finding.receipt))
        runs.append(
            {
                "executor": str(did),
                "receipt": str(finding.receipt),
                "agrees": outcome is not None and outcome.vote == finding.vote,
                "fuel_used": receipt.fuel_used if receipt else None,
                "cpu_ms": receipt.cpu_ms if receipt else None,
                "wall_ms": receipt.wall_ms if receipt else None,
                "price": receipt.price if receipt else None,
            }
        )
    return {
        "index": index,
        "input": str(machine.terms.shards[index].input),
        "bytes": machine.terms.shards[index].bytes,
        "verdict": "accepted" if outcome else "disputed" if _disputed(run, index) else "open",
        "output": str(outcome.vote[3]) if outcome and outcome.vote[3] else None,
        "status": outcome.vote[0].value if outcome else None,
        "exit_code": outcome.vote[2] if outcome else None,
        "runs": runs,
    }


def _disputed(run: JobRun, index: int) -> bool:
    return run.machine.phase is ev.Phase.FAILED and len(run.machine.findings[index]) > run.machine.terms.job.copies


def receipts_of(store: Store, run: JobRun) -> dict[str, ExecutionReceipt]:
    """The receipts that the findings of a job name, by CID."""
    found: dict[str, ExecutionReceipt] = {}
    for findings in run.machine.findings:
        for finding in findings.values():
            block = store.receipts.get(finding.receipt)
            if block is not None:
                found[str(finding.receipt)] = read_receipt(block).document
    return found


def peers_view(node: Node) -> list[Json]:
    """`icn-lite peers`: who is here or reached through relays, how each was found, and what it offers."""
    now_ms = node.clock.now_ms()
    live = {peer.did for peer in node.shell.peers.live(now_ms)}
    relayed = node.carriage.relayed() if node.carriage else {}
    rows: list[Json] = []
    for peer in node.shell.peers.peers.values():
        way = relayed.pop(peer.did, None) if peer.did not in live else None
        rows.append(
            {
                "did": str(peer.did),
                "live": peer.did in live,
                "found": peer.found.value,
                "endpoints": list(peer.endpoints),
                "heard_ms_ago": now_ms - peer.heard_ms,
                "rtt_ms": peer.rtt_ms,
                **_way_view(way, direct=peer.did in live),
                **_offered_view(peer.advert),
            }
        )
    for did, way in relayed.items():
        advert = node.carriage.advert(did) if node.carriage else None
        rows.append(
            {
                "did": str(did),
                "live": True,
                "found": "relay",
                "endpoints": [],
                "heard_ms_ago": now_ms - way.heard_ms,
                "rtt_ms": None,
                **_way_view(way, direct=False),
                **(_offered_view(advert) if advert else {}),
            }
        )
    return rows


def _way_view(way: Way | None, *, direct: bool) -> dict[str, Json]:
    """How far away somebody is, and through which neighbour it is reached."""
    if way is None:
        return {"hops": 1 if direct else None, "via": None}
    return {"hops": way.hops, "via": str(way.via)}


def _offered_view(advert: CapabilityAdvertisementV1) -> dict[str, Json]:
    offered = advert.capability
    return {
        "profile": offered.profile,
        "roles": [role.value for role in offered.roles],
        "workers": offered.workers,
        "fuel_per_s": offered.fuel_per_s,
        "allowance": offered.allowance.value,
        "battery_pct": offered.battery_pct,
        "version": advert.version,
    }


def cooperatives_view(memberships: Memberships) -> list[dict[str, Json]]:
    """What this node belongs to."""
    return [cooperative_view(memberships, cooperative) for cooperative in memberships.held]


def cooperative_view(memberships: Memberships, cooperative: Cooperative) -> dict[str, Json]:
    """One cooperative, and what this node is in it."""
    held = cooperative.held.document
    void = memberships.why_void(cooperative)
    return {
        "name": held.name,
        "cooperative": str(held.cooperative),
        "fingerprint": fingerprint(held.cooperative).hex(),
        "roles": [role.value for role in held.roles],
        "scope": held.scope,
        "expires_at": held.expires_at,
        "holds_key": cooperative.key is not None,
        "revoked": len(cooperative.revocations),
        "state": "member" if void is None else void,
    }
