"""What several benches share: nodes that know each other, and a job over shards for the demo's guest."""

from __future__ import annotations

import hashlib
import time

from icn_lite.node.fleet import Fleet, FleetNode
from icn_lite.node.manifest import fuel_for, pack
from icn_lite.node.submitting import follow, submit_shards
from icn_lite.resources import guest_module

MEETING_S = 20.0
SHARD_BYTES = 1 << 20
COPIES = 2
BIDDING_MS = 200
PAGES = 40
OPTIONS = ("--no-mdns", "--bidding-ms", str(BIDDING_MS), "--initial-mana", "1000000")


def make_shards(count: int) -> list[bytes]:
    """Inputs of a shard each, always the same."""
    made = []
    for number in range(count):
        content = hashlib.shake_256(number.to_bytes(4, "big")).digest(SHARD_BYTES)
        made.append(pack([(f"file-{number}", content, hashlib.sha256(content).digest())]))
    return made


def crew(nodes: Fleet, executors: int) -> tuple[FleetNode, list[FleetNode]]:
    """A coordinator and executors that know each other."""
    coordinator = nodes.start("coordinator", "submit", "server", OPTIONS)
    # The server's profile: what is measured is the node, not what a phone's governor allows.
    others = [nodes.start(f"executor-{number}", "execute", "server", OPTIONS) for number in range(1, executors + 1)]
    nodes.wait_ready()
    meet(coordinator, others)
    return coordinator, others


def meet(first: FleetNode, others: list[FleetNode]) -> None:
    """Every node greets every other one; whether mDNS works here must not change what is measured."""
    everyone = [first, *others]
    for node in everyone:
        uris = [uri for other in everyone if other is not node for uri in other.endpoints]
        node.control.ask("greet", {"uris": list(uris)})
    until_s = time.monotonic() + MEETING_S
    while any(len(listed(node, "peers")) < len(everyone) - 1 for node in everyone):
        if time.monotonic() > until_s:
            raise RuntimeError("the nodes did not meet")
        time.sleep(0.05)


def listed(node: FleetNode, command: str) -> list[object]:
    """What a node answers to a command that gives a list."""
    answer = node.control.ask(command)
    return list(answer) if isinstance(answer, list) else []


def settle_s(coordinator: FleetNode, shards: list[bytes]) -> float:
    """Seconds from the end of bidding until a job over the shards is settled."""
    module = coordinator.control.put(guest_module("manifest"))
    fields = {
        "name": "bench",
        "runtime": {"type": "WASM", "module": str(module), "function": "run", "memory_pages": PAGES},
        "redundancy": {"type": "Full", "n": COPIES},
        "budget": {"max_total": 500_000},
        "compute": {"max_fuel": fuel_for(shards[0], 1), "timeout_ms": 60_000},
        "deadline_in_s": 3600,
    }
    job = submit_shards(coordinator.control, fields, shards)  # type: ignore[arg-type]
    begun = time.perf_counter()
    ended = follow(coordinator.control, job, lambda done, total: None)
    if ended["status"] != "completed":
        raise RuntimeError(f"the job ended as {ended['status']}: {ended['message']}")
    return time.perf_counter() - begun - BIDDING_MS / 1000
