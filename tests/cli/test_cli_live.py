"""Commands beside a running node: they show what it knows, and what they leave to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from icn_lite.cli.live import ask_node
from icn_lite.model.cid import Cid
from icn_lite.node.control import ControlServer, Json, ask
from icn_lite.node.home import Home

if TYPE_CHECKING:
    from conftest import Program

UP = ("up", "--port", "0", "--bind", "127.0.0.1", "--no-mdns", "--json", "--until-eof")


def start(home: Path, *words: str) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """A node on `home`, and what it says when it listens."""
    environ = {**os.environ, "ICN_LITE_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "icn_lite.cli", *UP, *words],
        env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    told = b""
    while not told.endswith(b"}\n"):
        line = process.stdout.readline()
        assert line, process.communicate(timeout=30)
        told += line
    document = json.loads(told)
    assert isinstance(document, dict)
    return process, document


def stop(process: subprocess.Popen[bytes]) -> int:
    """End its stdin, which ends it."""
    process.communicate(timeout=60)
    return process.returncode


@pytest.fixture
def node(home: Path) -> Iterator[dict[str, Any]]:
    """A running node."""
    process, document = start(home)
    yield document
    assert stop(process) == 0
    assert not (home / "control.sock").exists()


def test_views_of_a_running_node(node: dict[str, Any], icn: Program, home: Path, guests: Path) -> None:
    status = icn("status", "--json").json
    assert status["running"] is True
    assert status["node"]["port"] == node["port"]
    assert status["did"] == status["node"]["did"] == node["did"]
    assert "allowance" in icn("status").out
    why = icn("why", "--json").json
    assert why["running"] is True
    assert {**status["node"]["device"], "running": True}.keys() <= why.keys()  # the same document, a moment later
    assert why["forecast"]["duty_pm"] == why["duty_pm"]
    assert len(why["history"]) >= 1
    assert icn("why").out.startswith(f"allowance  {why['allowance']}, ")
    assert icn("peers", "--json").json == {"running": True, "peers": []}
    assert icn("jobs", "--json").json == {"jobs": []}
    absent = str(Cid.of_dag_cbor(b"absent"))
    assert icn("job", absent).code == 1

    done = icn("run", guests / "add.wasm", "--invoke", "add", "i32:1", "i32:2", "--json").json
    assert (done["results"], done["receipt"]) == (["i32:3"], None)
    assert "in use by process" in done["receipt_error"]


def test_a_second_node_on_one_home_is_refused(node: dict[str, Any], icn: Program) -> None:
    refused = icn(*UP[:-1])
    assert refused.code == 1
    assert refused.json["error"]["kind"] == "home_in_use"


def test_sigterm_stops_a_node(home: Path, icn: Program) -> None:
    process, _ = start(home)
    process.send_signal(signal.SIGTERM)
    assert stop(process) == 0
    assert icn("status", "--json").json["running"] is False


def test_a_socket_that_a_killed_node_left_behind(home: Path, icn: Program) -> None:
    process, _ = start(home)
    process.kill()
    process.communicate(timeout=30)
    assert (home / "control.sock").exists()
    answer = icn("status", "--json").json
    assert (answer["running"], answer["node"]) == (False, None)
    assert icn("peers", "--json").json["running"] is False
    again, _ = start(home)
    assert stop(again) == 0


async def test_a_home_that_lies_deep_has_an_ear_too(tmp_path: Path) -> None:
    """Regression 2: a Unix socket's address holds 107 bytes."""
    import asyncio

    home = Home(tmp_path / ("d" * 100) / ("e" * 100))
    home.create()

    async def echo(request: object, body: bytes) -> Json:
        return body.decode()

    server = ControlServer(home.control_socket, {"echo": echo})
    await server.start()
    try:
        assert await asyncio.to_thread(ask, home.control_socket, {"command": "echo"}, b"deep") == "deep"
        assert await asyncio.to_thread(ask_node, home, "echo") == ""
        assert await asyncio.to_thread(ask_node, home, "unknown") is None
    finally:
        await server.close()
    assert not home.control_socket.exists()
