"""The commands that speak with a running node, against real ones: up, submit, job, jobs, peers, status, cancel."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from icn_lite.model.capability import AllowanceLevel
from icn_lite.node.fleet import Fleet, FleetNode, fleet
from icn_lite.node.peerbook import LIVE_MS
from icn_lite.resources import guest_module

# (module (func (export "run") (result i32) (loop br 0) i32.const 0)): ends with its fuel, after half a minute
SPIN = bytes.fromhex("0061736d010000000105016000017f030201000707010372756e00000a0b01090003400c000b41000b")
PATIENCE_S = 90  # of one command on a loaded machine; reaching it fails the test


@dataclass(frozen=True)
class Nodes:
    """A coordinator and two executors as processes, and a folder with a job file."""

    running: Fleet
    coordinator: FleetNode
    folder: Path

    def icn(self, *words: str, code: int = 0) -> Any:
        """`icn-lite WORDS --json` on the coordinator's home; job files are those of the folder."""
        words = tuple(str(self.folder / word) if word.endswith(".toml") else word for word in words)
        command = [sys.executable, "-m", "icn_lite.cli", "--home", str(self.coordinator.home.path), *words, "--json"]
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == code, done.stderr.decode() + done.stdout.decode()
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    folder = tmp_path_factory.mktemp("nodes")
    (folder / "echo.wasm").write_bytes(guest_module("echo"))
    (folder / "spin.wasm").write_bytes(SPIN)
    (folder / "a.txt").write_text("first", encoding="utf-8")
    (folder / "b.txt").write_text("second", encoding="utf-8")
    for name, module, fuel in (("job", "echo", 10_000_000), ("long", "spin", 30_000_000_000)):
        (folder / f"{name}.toml").write_text(
            f"""
        name = "{module}"
        module = "{module}.wasm"
        inputs = ["a.txt", "b.txt"]
        redundancy = "Full(2)"
        deadline_in_s = 600
        [budget]
        max_total = 1000
        [compute]
        max_fuel = {fuel}
        """,
            encoding="utf-8",
        )
    with fleet(folder) as running:
        options = ("--no-mdns", "--bidding-ms", "300")
        executors = [running.start(name, "execute", "server", options) for name in ("first", "second")]
        running.wait_ready()
        peers = [word for node in executors for uri in node.endpoints for word in ("--peer", uri)]
        coordinator = running.start("coordinator", "submit", "server", (*options, *peers))
        running.wait_ready()
        yield Nodes(running, coordinator, folder)


def test_a_job_file_from_submission_to_its_receipts(nodes: Nodes) -> None:
    done = nodes.icn("submit", "job.toml", "--wait")
    assert (done["status"], done["settled"], done["shards"]) == ("completed", 2, 2)
    shown = nodes.icn("job", done["job"])
    assert len(shown["receipts"]) == 4
    assert [row["job"] for row in nodes.icn("jobs")["jobs"]].count(done["job"]) == 1
    verified = nodes.icn("receipts", "verify", *(receipt["cid"] for receipt in shown["receipts"]), "--rerun")
    assert verified["verified"] is True
    assert all(check["state"] == "passed" for row in verified["receipts"] for check in row["checks"])


def test_a_log_and_how_a_job_stands_elsewhere(nodes: Nodes) -> None:
    job = nodes.icn("submit", "job.toml", "--wait")["job"]
    told = nodes.icn("job", job, "--log", "1", "--follow")
    assert (told["job"], told["shard"], told["text"], told["ended"]) == (job, 1, "", True)  # echo says nothing
    assert told["executor"] in {n.did for n in nodes.running.nodes if n.role == "execute"}
    nobody = nodes.icn("job", job, "--log", "2", code=1)
    assert "shard 2" in nobody["error"]["message"]
    executor = next(node for node in nodes.running.nodes if node.role == "execute")
    stands = Nodes(nodes.running, executor, nodes.folder).icn("job", job, "--at", nodes.coordinator.did)
    assert (stands["phase"], stands["settled"], stands["originator"]) == ("completed", 2, nodes.coordinator.did)


def test_peers_and_status_of_a_running_node(nodes: Nodes) -> None:
    peers = nodes.icn("peers")
    assert peers["running"] is True
    assert {row["did"] for row in peers["peers"]} == {n.did for n in nodes.running.nodes if n.role == "execute"}
    assert all(row["live"] and row["found"] == "static" for row in peers["peers"])
    for row in peers["peers"]:
        assert row["rtt_ms"] >= 0
        assert 0 <= row["heard_ms_ago"] < LIVE_MS
        assert row["allowance"] in {level.value for level in AllowanceLevel}
        assert row["battery_pct"] is None or 0 <= row["battery_pct"] <= 100  # a laptop that runs this has one
    status = nodes.icn("status")
    assert (status["running"], status["did"]) == (True, nodes.coordinator.did)


def test_a_submission_without_waiting_and_its_cancelling(nodes: Nodes) -> None:
    job = nodes.icn("submit", "long.toml")["job"]
    answer = nodes.icn("cancel", job)
    assert answer == {"job": job, "status": "cancelled"}
    refused = nodes.icn("cancel", job, code=1)
    assert (refused["error"]["code"], refused["error"]["kind"]) == ("J001", "invalid_job")


@pytest.mark.parametrize(
    ("line", "code", "error"),
    [
        ('module = "none.wasm"', 1, "J001"),
        ('inputs = ["none.txt"]', 1, "J001"),
        ("inputs = []", 1, "J001"),
        ("deadline_in_s = -1", 1, "J010"),
        ("max_fuel = 1.5", 1, "J001"),
        ("max_total = 100000000", 1, "J007"),
        ('redundancy = "Twice"', 1, "J001"),
        ('module = "a.txt"', 3, "J008"),
    ],
)
def test_job_files_that_can_not_be(nodes: Nodes, line: str, code: int, error: str) -> None:
    key = line.split(" = ")[0]
    text = (nodes.folder / "job.toml").read_text(encoding="utf-8")
    lines = [line if row.strip().startswith(f"{key} =") else row for row in text.splitlines()]
    (nodes.folder / "bad.toml").write_text("\n".join(lines), encoding="utf-8")
    before = nodes.icn("jobs")
    assert nodes.icn("submit", "bad.toml", code=code)["error"]["code"] == error
    assert nodes.icn("jobs") == before


def test_an_executor_submits_nothing_and_says_how_it_could(nodes: Nodes) -> None:
    executor = next(node for node in nodes.running.nodes if node.role == "execute")
    answer = Nodes(nodes.running, executor, nodes.folder).icn("submit", "job.toml", code=1)
    assert answer["error"]["kind"] == "not_supported"
    assert "--role submit" in answer["error"]["hint"]


def test_without_a_node_the_next_step_is_named(nodes: Nodes, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "icn_lite.cli", "--home", str(tmp_path / "home")]
    subprocess.run([*command, "init"], check=True, capture_output=True, timeout=PATIENCE_S)
    done = subprocess.run(
        [*command, "submit", str(nodes.folder / "job.toml")], capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 7
    assert b"icn-lite up" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_up_listens_says_so_and_ends_in_order(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "icn_lite.cli", "--home", str(tmp_path / "home"), "up", "--json", "--no-mdns"]
    with subprocess.Popen(
        [*command, "--port", "0", "--bind", "127.0.0.1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        text = b""
        while b"\n}\n" not in text:
            line = process.stdout.readline()
            assert line, process.stderr.read() if process.stderr else b""
            text += line
        facts = json.loads(text)
        assert facts["endpoints"] == [f"coap://127.0.0.1:{facts['port']}"]
        process.send_signal(number)
        rest, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, rest) == (0, b"")
    assert b"Traceback" not in errors
    assert not (tmp_path / "home" / "control.sock").exists()


def test_a_taken_port_is_refused_in_one_line(nodes: Nodes, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "icn_lite.cli", "--home", str(tmp_path / "home"), "up", "--no-mdns", "--json"]
    done = subprocess.run(
        [*command, "--bind", "127.0.0.1", "--port", str(nodes.coordinator.port)],
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 7
    assert json.loads(done.stdout)["error"]["kind"] == "peer"
