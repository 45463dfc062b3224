"""`icn-lite receipts`: what was run can be listed, shown, exported, and verified by anyone; what was changed can't."""

from __future__ import annotations

import base64
import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from icn_lite.model import cbor
from icn_lite.model.cid import Cid
from icn_lite.model.cose import KeySigner
from icn_lite.model.receipt import ExecutionReceipt, read_receipt, sign_receipt
from icn_lite.node.home import Home
from icn_lite.node.keys import create_key, load_key
from icn_lite.node.runner import RunOrder, prepare_order, run_locally
from icn_lite.store.db import Store

if TYPE_CHECKING:
    from conftest import Program


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, guests: Path) -> tuple[Path, list[str]]:
    """A home in which three runs were made, and their receipts' CIDs."""
    made = Home(tmp_path_factory.mktemp("ran") / "home")
    made.create()
    key = create_key(made.key, None)
    cids: list[str] = []
    for invoke, *words in (["add", "i32:2", "i32:40"], ["div", "i32:1", "i32:0"], ["half", "f64:3"]):
        order = RunOrder((guests / "add.wasm").read_bytes(), invoke=invoke, words=tuple(words))
        done = run_locally(order, prepare_order(order), made, key)
        assert done.receipt is not None
        cids.append(str(done.receipt.cid))
    return made.path, cids


@pytest.fixture
def three(home: Path, ran: tuple[Path, list[str]]) -> list[str]:
    """The home of this test as a copy of that one."""
    shutil.copytree(ran[0], home, copy_function=shutil.copy2)
    return ran[1]


def block_of(home: Path, cid: str) -> bytes:
    with Store.open(home, read_only=True) as store:
        block = store.receipts.get(Cid.parse(cid))
    assert block is not None
    return block


def resigned(home: Path, cid: str, **changes: object) -> bytes:
    """A receipt with other contents under a signature that holds."""
    receipt = read_receipt(block_of(home, cid)).document
    signer = load_key(home / "key", lambda: b"")
    changed: ExecutionReceipt = replace(receipt, **changes)  # type: ignore[arg-type]
    return sign_receipt(changed, signer).block


def test_list(icn: Program, three: list[str]) -> None:
    answer = icn("receipts", "list", "--json").json
    assert answer["count"] == 3
    rows = answer["receipts"]
    assert [row["cid"] for row in rows] == three
    assert [row["seq"] for row in rows] == [0, 1, 2]
    assert [row["prev"] for row in rows] == [None, *three[:2]]
    assert [row["status"] for row in rows] == ["completed", "trapped", "completed"]
    assert icn("receipts", "--json").json == answer
    assert [r["cid"] for r in icn("receipts", "list", "--limit", "1", "--after", "1", "--json").json["receipts"]] == [
        three[1]
    ]
    job = rows[1]["job"]
    assert [r["cid"] for r in icn("receipts", "list", "--job", job, "--json").json["receipts"]] == [three[1]]
    by = icn("receipts", "list", "--executor", rows[0]["executor"], "--json").json["receipts"]
    assert len(by) == 3
    told = icn("receipts", "list", "--limit", "2")
    assert three[0] in told.out
    assert "2 of 3" in told.err


def test_list_refuses_what_is_no_name(icn: Program, three: list[str]) -> None:
    for words in (["--job", "x"], ["--executor", "did:web:x"], ["--limit", "0"], ["--after", "-1"]):
        assert icn("receipts", "list", *words).code in (2, 8)


def test_without_a_home_there_is_nothing_to_list(icn: Program, home: Path) -> None:
    done = icn("receipts", "--json")
    assert (done.code, done.json["error"]["kind"]) == (1, "store")
    icn("init")
    assert icn("receipts", "--json").json == {"receipts": [], "count": 0, "pending": 0}
    assert not (home / "node.db").exists()  # looking writes nothing


def test_show(icn: Program, home: Path, three: list[str]) -> None:
    answer = icn("receipts", "show", three[0], "--json").json
    assert set(answer) == {"cid", "signer", "standard_status", "bytes", "receipt"}
    assert answer["cid"] == three[0]
    assert answer["standard_status"] == "CompletedSuccessfully"
    body = answer["receipt"]
    assert body["executor"] == answer["signer"]
    assert (body["args"], body["results"], body["fuel_used"]) == (["i32:2", "i32:40"], ["i32:42"], 4)
    assert answer["bytes"] < 1024
    told = icn("receipts", "show", three[0])
    assert three[0] in told.out
    assert base64.b64decode(icn("receipts", "show", three[0], "--raw", "--json").json["block"]) == block_of(
        home, three[0]
    )


def test_raw_is_the_signed_block_bit_for_bit(icn: Program, three: list[str], home: Path) -> None:
    done = icn("receipts", "show", three[0], "--raw")
    raw = done.raw
    assert (done.code, done.err) == (0, "")
    assert raw == block_of(home, three[0])
    assert str(Cid.of_dag_cbor(raw)) == three[0]
    value = cbor.decode(raw)
    assert isinstance(value, list)
    assert len(value) == 4


@pytest.mark.parametrize("words", [["show"], ["verify"]])
def test_a_receipt_that_is_not_here(icn: Program, three: list[str], words: list[str]) -> None:
    absent = str(Cid.of_dag_cbor(b"absent"))
    done = icn("receipts", *words, absent, "--json")
    assert done.code == 1
    assert absent in done.json["error"]["message"]
    assert icn("receipts", *words, "/absent", "--json").code == 2


def test_anyone_can_verify_from_a_file(icn: Program, home: Path, three: list[str], tmp_path: Path) -> None:
    file = tmp_path / "receipt.cose"
    file.write_bytes(block_of(home, three[0]))
    nowhere = ["--home", str(tmp_path / "nowhere")]
    done = icn("receipts", "verify", file, *nowhere, "--json")
    answer = done.json
    assert done.code == 0
    assert set(answer) == {"verified", "count", "receipts", "chain"}
    assert answer["verified"] is True
    (verdict,) = answer["receipts"]
    assert set(verdict) == {"name", "cid", "verified", "executor", "seq", "status", "checks"}
    states = {check["name"]: check["state"] for check in verdict["checks"]}
    assert states == {"signature": "passed", "chain": "passed", "output": "skipped", "job": "skipped"}
    assert not (tmp_path / "nowhere").exists()


def test_running_again_with_files_alone(
    icn: Program, home: Path, three: list[str], guests: Path, tmp_path: Path
) -> None:
    file, output = tmp_path / "receipt.cose", tmp_path / "output"
    file.write_bytes(block_of(home, three[0]))
    output.write_bytes(b"")
    call = ["receipts", "verify", file, "--rerun", "--home", tmp_path / "nowhere", "--json"]
    skipped = icn(*call).json
    assert [c["state"] for c in skipped["receipts"][0]["checks"] if c["name"] == "rerun"] == ["skipped"]
    for engine in ("wasm3", "wasmtime"):
        done = icn(*call, "--module", guests / "add.wasm", "--output", output, "--engine", engine).json
        states = {check["name"]: check["state"] for check in done["receipts"][0]["checks"]}
        assert states.pop("chain") == "passed"
        assert states == {"signature": "passed", "output": "passed", "job": "skipped", "rerun": "passed"}
    for wrong in ("--module", "--output", "--input"):
        refused = icn(*call, wrong, guests / "talk.wasm")
        assert (refused.code, refused.json["verified"]) == (8, False)


def test_an_empty_output_is_at_hand(icn: Program, guests: Path) -> None:
    receipt = icn("run", guests / "exit.wasm", "--json").json["receipt"]
    verdict = icn("receipts", "verify", receipt, "--json").json["receipts"][0]
    assert {"name": "output", "state": "passed", "detail": "0 bytes"} in verdict["checks"]


def test_all_of_a_home(icn: Program, three: list[str]) -> None:
    done = icn("receipts", "verify", "--all", "--rerun", "--json")
    assert done.code == 0
    assert done.json["count"] == 3
    for verdict in done.json["receipts"]:
        assert {check["state"] for check in verdict["checks"] if check["name"] == "rerun"} == {"passed"}
    told = icn("receipts", "verify", "--all")
    assert "3 of 3 receipts hold" in told.err
    assert icn("receipts", "verify").code == 2


def test_every_changed_byte_is_noticed(icn: Program, home: Path, three: list[str], tmp_path: Path) -> None:
    block = block_of(home, three[0])
    file = tmp_path / "receipt.cose"
    for position in range(0, len(block), 41):
        changed = bytearray(block)
        changed[position] ^= 1
        file.write_bytes(changed)
        assert icn("receipts", "verify", file, "--json").code == 8
    for data in (b"", block[:-1], block + b"\0", b"\x84", b"junk", bytes(2000)):
        file.write_bytes(data)
        done = icn("receipts", "verify", file, "--json")
        assert (done.code, done.json["verified"]) == (8, False)
        assert done.json["error"]["code"] == "J005"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"fuel_used": 5}, "fuel 5 is 4"),
        ({"output": Cid.of_raw(b"lie"), "results": ()}, "output"),
        ({"results": ("i32:43",)}, "results i32:43 is i32:42"),
        ({"peak_pages": 1}, "peak pages"),
        ({"args": ("i32:2", "i32:41")}, "results"),
        ({"entry": "absent"}, "absent"),
        ({"fuel_limit": 1_000_000_001}, "allows 1000000000 fuel"),
        ({"module": Cid.of_raw(b"other")}, "the job runs module"),
        ({"input": Cid.of_raw(b"other")}, "the job's input is"),
    ],
)
def test_a_signed_lie_is_found_by_running_again(
    icn: Program, home: Path, three: list[str], tmp_path: Path, changes: dict[str, object], word: str
) -> None:
    file = tmp_path / "lie.cose"
    file.write_bytes(resigned(home, three[0], **changes))
    done = icn("receipts", "verify", file, "--rerun", "--json")
    assert done.code == 8
    faults = [check["detail"] for check in done.json["receipts"][0]["checks"] if check["state"] == "failed"]
    assert any(word in fault for fault in faults), faults


def test_forks_and_broken_links_between_receipts(icn: Program, home: Path, three: list[str], tmp_path: Path) -> None:
    fork, broken = tmp_path / "fork.cose", tmp_path / "broken.cose"
    fork.write_bytes(resigned(home, three[1], cpu_ms=77))
    broken.write_bytes(resigned(home, three[2], prev=Cid.of_dag_cbor(b"another")))
    forked = icn("receipts", "verify", three[1], fork, "--json")
    assert (forked.code, forked.json["verified"]) == (8, False)
    assert "fork" in forked.json["chain"][0]
    assert all(verdict["verified"] for verdict in forked.json["receipts"])
    assert "has prev" in icn("receipts", "verify", three[1], broken, "--json").json["chain"][0]
    assert icn("receipts", "verify", three[0], three[2]).code == 0  # a gap proves nothing


@pytest.mark.parametrize(
    ("changes", "word"), [({"seq": 2}, "seq 2 follows seq 0"), ({"seq": 9}, "seq 9 follows seq 0")]
)
def test_a_sequence_that_does_not_fit(
    icn: Program, home: Path, three: list[str], tmp_path: Path, changes: dict[str, object], word: str
) -> None:
    file = tmp_path / "lie.cose"
    file.write_bytes(resigned(home, three[1], **changes))
    done = icn("receipts", "verify", file, "--json")
    assert done.code == 8
    assert word in done.json["error"]["message"]
    elsewhere = icn("receipts", "verify", file, "--home", tmp_path / "none", "--json").json
    assert [c["state"] for c in elsewhere["receipts"][0]["checks"] if c["name"] == "chain"] == ["skipped"]


def test_export_and_verify_elsewhere(icn: Program, three: list[str], tmp_path: Path) -> None:
    plain, full = tmp_path / "plain.car", tmp_path / "full.car"
    assert icn("receipts", "export", plain, "--json").json == {
        "file": str(plain),
        "receipts": 3,
        "acks": 0,
        "blocks": 0,
        "bytes": plain.stat().st_size,
    }
    assert icn("receipts", "export", full, "--blocks", "--json").json["blocks"] == 5  # module, nothing, 3 jobs
    elsewhere = ["--home", tmp_path / "elsewhere", "--rerun", "--json"]
    done = icn("receipts", "verify", full, *elsewhere)
    assert done.code == 0
    assert done.json["count"] == 3
    for verdict in done.json["receipts"]:
        assert {c["state"] for c in verdict["checks"] if c["name"] in ("job", "rerun")} == {"passed"}
    assert icn("receipts", "verify", plain, *elsewhere).json["verified"] is True


def test_a_damaged_archive_is_refused_with_its_offset(icn: Program, three: list[str], tmp_path: Path) -> None:
    file = tmp_path / "all.car"
    icn("receipts", "export", file)
    data = file.read_bytes()
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    for changed in (flipped, data[:-1], data + b"\x05abc"):
        file.write_bytes(changed)
        done = icn("receipts", "verify", file, "--json")
        assert done.code == 8
        assert "at byte" in done.json["error"]["message"]


def test_an_archive_for_a_job_or_an_executor_alone(icn: Program, three: list[str], tmp_path: Path) -> None:
    job = icn("receipts", "list", "--json").json["receipts"][0]["job"]
    assert icn("receipts", "export", tmp_path / "a.car", "--job", job, "--json").json["receipts"] == 1
    stranger = KeySigner(hashlib.sha256(b"stranger").digest()).did
    done = icn("receipts", "export", tmp_path / "b.car", "--executor", str(stranger), "--json")
    assert done.json["receipts"] == 0
    assert icn("receipts", "verify", tmp_path / "b.car").code == 2
    assert icn("receipts", "export", "-", "--json").code == 2
