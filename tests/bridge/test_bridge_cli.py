"""`icn-lite bridge` as people have it: without an upstream, with one that is no address, running, asked how it is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from bridge_harness import until
from bridge_process import BridgeProcess
from nats_servers import NatsHarness, free_port, signer_of

from icn_lite.bridge.nkey import public_nkey
from icn_lite.cli import main as cli

NAME = "a-bridge"


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[NatsHarness]:
    made = NatsHarness(tmp_path, members=(NAME,))
    yield made
    await made.close()


def run(home: Path, *words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.run(["--home", str(home), *words])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ((), "nats://127.0.0.1:4222"),
        (("--upstream", "hub.example"), "nats://127.0.0.1:4222"),
        (("--upstream", "nats://u:p@hub"), "own key"),
    ],
    ids=["none", "no address", "a password"],
)
def test_without_an_upstream_it_is_no_bridge(
    words: tuple[str, ...], hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "home", "init", capsys=capsys)[0] == 0
    code, _, said = run(tmp_path / "home", "bridge", *words, capsys=capsys)
    assert code == 2
    assert hint in said
    code, _, said = run(tmp_path / "home", "bridge", "status", capsys=capsys)
    assert code == 7
    assert "icn-lite up" in said


async def test_a_running_bridge_says_how_its_upstream_stands(
    harness: NatsHarness, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bridge = BridgeProcess.make(tmp_path, NAME, str(await harness.address(NAME)), free_port())
    try:
        await bridge.start()

        def state() -> Any:
            code, out, _ = run(bridge.home.path, "bridge", "status", "--json", capsys=capsys)
            assert code == 0
            return json.loads(out)["upstreams"][0]

        await until(lambda: state()["state"] == "up" and state()["last_error"] is None)
        shown = run(bridge.home.path, "bridge", "status", capsys=capsys)[1]
        assert "connected" in shown
        assert "0 jobs went up" in shown
        await harness.cut()
        await until(lambda: state()["state"] != "up")
        assert state()["last_error"] in state()["sentence"]
        assert state()["last_error"] in run(bridge.home.path, "bridge", "status", capsys=capsys)[1]
        found = json.loads(run(bridge.home.path, "bridge", "key", "--json", capsys=capsys)[1])
        did = signer_of(NAME).did
        assert found == {"did": str(did), "nkey": public_nkey(did), "name": str(did)[8:]}
    finally:
        bridge.kill()
