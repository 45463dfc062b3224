"""The demo of a network that goes: nothing is lost with the power, every receipt arrives once and is acknowledged."""

from __future__ import annotations

import json
from pathlib import Path

from demo_world import demo

from icn_lite.node.demo_offline import AWAY_HOURS, SHARDS


def test_every_receipt_arrives_once_after_a_network_and_a_power_loss(tmp_path: Path) -> None:
    with demo(tmp_path, "--offline", "--json", multicast=False) as running:
        code, out = running.end()
        assert not running.left()
    assert code == 0, running.said
    result = json.loads(out)
    assert (result["verified"], result["status"], result["faults"]) == (True, "completed", [])
    assert (result["lost"], result["double"], result["power_losses"]) == (0, 0, 1)
    assert result["receipts_verified"] == len(result["shards"]) == SHARDS
    assert result["lease_hours"] >= AWAY_HOURS
    assert sorted(shard["seq"] for shard in result["shards"]) == list(range(SHARDS))
    assert any(shard["run"] == "after the power was back" for shard in result["shards"])
    assert all(shard["arrived_ms"] is not None and shard["acknowledged_ms"] is not None for shard in result["shards"])
    assert any("lost its power" in line for line in running.said), running.said


def test_the_two_stories_do_not_mix(tmp_path: Path) -> None:
    with demo(tmp_path, "--offline", "--tamper", "--json") as running:
        code, out = running.end()
    assert code == 2
    assert json.loads(out)["error"]["hint"] == "icn-lite demo --offline"
