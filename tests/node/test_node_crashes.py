"""Real processes that are killed: nothing that was acknowledged is lost, and nothing is paid twice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from node_guests import slow_guest

from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.receipt import read_receipt
from icn_lite.node.fleet import Fleet, FleetNode, fleet
from icn_lite.node.submitting import follow, submit_shards
from icn_lite.node.verify import verify_block
from icn_lite.store.db import Store

SHARDS = 8
ROUNDS = 3_000_000  # some 0.1 to 0.3 s a shard, so that there is a middle to be killed in
SETTINGS = ("--no-mdns", "--bidding-ms", "700", "--workers", "1", "--log-level", "debug")


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Fleet]:
    with fleet(tmp_path) as started:
        yield started


def start(nodes: Fleet, name: str, *options: str) -> FleetNode:
    role = "submit" if name == "coordinator" else "execute"
    node = nodes.start(name, role, "server", (*SETTINGS, *options))  # which gives way to nobody on a busy machine
    nodes.wait_ready()
    return node


def kill(nodes: Fleet, node: FleetNode) -> None:
    """As the power would: the node, and with it all that it started."""
    family = [psutil.Process(node.process.pid), *psutil.Process(node.process.pid).children(recursive=True)]
    nodes.kill(node)
    _, left = psutil.wait_procs(family, timeout=10)
    assert not left, f"killing the node left {left}"


def again(nodes: Fleet, node: FleetNode) -> FleetNode:
    return start(nodes, node.name, "--port", str(node.port))


def settled(node: FleetNode, job: str, shards: int) -> int:
    """Wait until so many shards have their verdict."""
    answer = node.control.ask_map("wait", {"job": job, "settled": shards - 1}, timeout_s=90)
    count = answer["settled"]
    assert isinstance(count, int)
    return count


def receipts(node: FleetNode) -> dict[Cid, bytes]:
    """What stands on the disk, read beside the running node."""
    with Store.open(node.home.path, read_only=True) as store:
        return {row.cid: store.receipts.get(row.cid) or b"" for row in store.receipts.list()}


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_nodes_lose_nothing_and_nobody_is_paid_twice(nodes: Fleet, seed: int) -> None:
    print(f"seed {seed}")
    dice = random.Random(seed)
    executors = [start(nodes, name) for name in ("executor-1", "executor-2")]
    peers = [word for node in executors for uri in node.endpoints for word in ("--peer", uri)]
    coordinator = start(nodes, "coordinator", *peers)
    module = str(coordinator.control.put(slow_guest(ROUNDS)))
    fields: dict[str, Any] = {
        "name": "slow",
        "runtime": {"type": "WASM", "module": module, "function": "run", "memory_pages": 8},
        "redundancy": {"type": "Full", "n": 2},
        "budget": {"max_total": 5_000},
        "compute": {"max_fuel": 20 * ROUNDS, "timeout_ms": 30_000},
        "deadline_in_s": 3_600,
    }
    _until_met(coordinator, executors)
    job = submit_shards(coordinator.control, fields, (bytes([number]) for number in range(SHARDS)))

    victims = ["executor-1", "coordinator", "executor-2", "coordinator"]
    moments = sorted(dice.sample(range(1, SHARDS), len(victims)))  # 0 would be while bids are taken
    dice.shuffle(victims)
    known: dict[Cid, bytes] = {}
    for victim, moment in zip(victims, moments, strict=True):
        settled(coordinator, job, moment)
        by_name = {node.name: node for node in nodes.nodes}
        known |= receipts(coordinator)
        kill(nodes, by_name[victim])
        restarted = again(nodes, by_name[victim])
        if victim == "coordinator":
            coordinator = restarted
        # Whatever the coordinator had stored, and so might have acknowledged, is still there.
        assert known.keys() <= receipts(coordinator).keys()

    last = follow(coordinator.control, job, lambda done, total: None)
    assert last["status"] == "completed", last
    view = coordinator.control.ask_map("job", {"job": job})
    _check_accounts(coordinator, view)
    taken = receipts(coordinator)
    nodes.stop()
    assert known.keys() <= taken.keys()
    _check_chains(coordinator, nodes, taken)


def _until_met(coordinator: FleetNode, executors: list[FleetNode]) -> None:
    """The nodes tell each other; a job waits for bids long enough for that."""
    from icn_lite.node import demo

    assert demo.until_met(coordinator, executors, 30.0)


def _check_accounts(coordinator: FleetNode, view: dict[str, Any]) -> None:
    ledger: dict[str, Any] = coordinator.control.ask_map("ledger")
    assert ledger["sum"] == 0
    assert ledger["accounts"][f"escrow:{view['job']}"] == 0
    prices = {bid["bidder"]: bid["price"] for bid in view["bids"]}
    earned = {did: ledger["accounts"][did] - 1_000 for did in prices}
    assert sum(earned.values()) == view["paid"]
    for shard in view["shards"]:
        assert shard["verdict"] == "accepted"
        assert len({run["executor"] for run in shard["runs"]}) == len(shard["runs"]) == 2
    # Both ran every shard, so each earned its bid: once.
    assert earned == prices


def _check_chains(coordinator: FleetNode, nodes: Fleet, taken: dict[Cid, bytes]) -> None:
    for node in nodes.nodes:
        with Store.open(node.home.path) as store:
            store.ledger.audit()
            assert store.ledger.sum() == 0
            if node is coordinator:
                assert all(verify_block(str(cid), block, store.blocks.get).verified for cid, block in taken.items())
                continue
            did = Did.parse(node.did)
            assert store.receipts.faults(did) == ()
            own = {row.cid for row in store.receipts.list()}
            from_it = {cid for cid, block in taken.items() if read_receipt(block).signer == did}
            assert from_it <= own
            assert len(from_it) >= SHARDS


def test_the_nodes_end_with_whoever_started_them(nodes: Fleet) -> None:
    node = start(nodes, "executor-1")
    family = [psutil.Process(node.process.pid), *psutil.Process(node.process.pid).children(recursive=True)]
    assert len(family) > 1  # the zygote
    assert node.process.stdin is not None
    node.process.stdin.close()
    _, left = psutil.wait_procs(family, timeout=20)
    assert not left
    with Store.open(node.home.path) as store:
        assert not store.after_unclean_end
    assert not node.home.control_socket.exists()


def test_a_stale_socket_and_an_unclean_end_are_no_obstacle(nodes: Fleet) -> None:
    node = start(nodes, "executor-1")
    kill(nodes, node)
    assert node.home.control_socket.exists()
    back = again(nodes, node)
    assert back.did == node.did
    assert back.control.ask_map("status")["did"] == node.did
    assert replace(back).control.ask_map("status")["port"] == node.port
