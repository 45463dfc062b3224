"""The demo from end to end: its document, a tampered copy, a damaged file, and how the nodes find each other."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from demo_world import FILE_BYTES, FILES, REPOSITORY, demo

from icn_lite.model.cid import Cid
from icn_lite.model.receipt import read_receipt

KEYS = {
    "verified", "files", "mismatches", "nodes", "shards", "ledger", "receipts", "receipts_verified", "seconds", "home",
}  # fmt: skip
SHARD_KEYS = {"index", "executors", "fuel_used", "ms", "verdict"}


def test_the_document_of_a_demo_without_multicast_and_its_receipts_elsewhere(tmp_path: Path) -> None:
    with demo(tmp_path, "--json", multicast=False) as running:
        code, out = running.end()
        assert not running.left()
    assert code == 0, running.said
    assert any("static peers" in line for line in running.said), running.said
    result = json.loads(out)
    assert result.keys() >= KEYS
    assert result["found_by"] == "static"
    assert (result["verified"], result["mismatches"]) == (True, [])
    assert result["files"] == FILES
    assert result["home"] == str(running.folder)
    assert 0 < result["seconds"] < 90
    executors = _check_nodes(result["nodes"])
    _check_shards(result["shards"], executors)
    assert result["ledger"]["sum"] == sum(result["ledger"]["accounts"].values()) == 0
    assert result["receipts_verified"] == len(result["receipts"]) == 2 * len(result["shards"])
    files = [running.folder / "receipts" / f"{cid}.cose" for cid in result["receipts"]]
    for cid, file in zip(result["receipts"], files, strict=True):
        assert Cid.of_dag_cbor(file.read_bytes()) == Cid.parse(cid)
        assert str(read_receipt(file.read_bytes()).signer) in executors
    _check_elsewhere(tmp_path, files)


def _check_nodes(nodes: list[dict[str, str]]) -> set[str]:
    assert len(nodes) == len({node["did"] for node in nodes}) == 3
    assert sorted(node["role"] for node in nodes) == ["execute", "execute", "submit"]
    executors = [node for node in nodes if node["role"] == "execute"]
    assert len({node["profile"] for node in executors}) == 2
    return {node["did"] for node in executors}


def _check_shards(shards: list[dict[str, object]], executors: set[str]) -> None:
    assert [shard["index"] for shard in shards] == list(range(len(shards)))
    assert len(shards) == 4
    for shard in shards:
        assert shard.keys() >= SHARD_KEYS
        assert set(shard["executors"]) == executors  # type: ignore[call-overload]
        assert shard["verdict"] == "accepted"
        assert isinstance(shard["fuel_used"], int)
        assert shard["fuel_used"] > 80 * FILE_BYTES
        assert isinstance(shard["ms"], int)


def _check_elsewhere(tmp_path: Path, files: list[Path]) -> None:
    """Any copy of the files is enough: another folder, no home, no key, no node."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    names = []
    for number, file in enumerate(files):
        names.append(f"{number}.cose")
        (elsewhere / names[-1]).write_bytes(file.read_bytes())
    environ = {**os.environ, "HOME": "/nonexistent", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "icn_lite.cli", "receipts", "verify", *names]
    done = subprocess.run(command, cwd=elsewhere, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lie = bytearray((elsewhere / "0.cose").read_bytes())
    lie[len(lie) // 2] ^= 1
    (elsewhere / "0.cose").write_bytes(lie)
    done = subprocess.run(command, cwd=elsewhere, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 8, done.stdout + done.stderr


def test_a_tampered_copy_is_named_and_the_original_left_alone(tmp_path: Path) -> None:
    with demo(tmp_path, "--json", "--tamper") as running:
        site = tmp_path / "site" / "!sample"
        before = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in site.iterdir()}
        code, out = running.end()
        assert not running.left()
    result = json.loads(out)
    assert code == 0, running.said  # the demo showed what it should
    assert result["verified"] is False
    assert result["mismatches"] == [result["tampered"]]
    assert result["tampered"].startswith("!sample/")
    assert result["receipts_verified"] == len(result["receipts"])
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in site.iterdir()} == before
    (copy,) = (running.folder / "tampered").iterdir()
    original = (tmp_path / "site" / result["tampered"]).read_bytes()
    assert sum(a != b for a, b in zip(original, copy.read_bytes(), strict=True)) == 1


def test_a_damaged_file_is_named_to_people_too(tmp_path: Path) -> None:
    with demo(tmp_path, damaged=5) as running:
        code, out = running.end()
        assert not running.left()
    assert code == 8
    assert "MISMATCH: !sample/05.bin" in out
    assert out.count("MISMATCH") == 1
    assert f"{FILES} files" in out
    assert "receipts verified again from disk" in out
