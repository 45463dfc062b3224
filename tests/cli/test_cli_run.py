"""`icn-lite run`: every status with its exit code, the shape of its answer, and what is kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.receipt import read_receipt
from icn_lite.store.db import Store
from icn_lite.wasm.prepared import METER

if TYPE_CHECKING:
    from conftest import Program

KEYS = {
    "status", "trap", "exit_code", "results", "fuel_used", "fuel_limit", "memory_pages_peak", "module", "input",
    "output", "output_bytes", "cpu_ms", "wall_ms", "engine", "meter", "receipt", "receipt_error", "job", "host_calls",
    "failure", "detail", "log", "reason",
}  # fmt: skip


def test_a_completed_run(icn: Program, home: Path, guests: Path) -> None:
    done = icn("run", guests / "add.wasm", "--invoke", "add", "i32:2", "i32:40", "--json")
    answer = done.json
    assert done.code == 0
    assert set(answer) == KEYS
    module = (guests / "add.wasm").read_bytes()
    expected = {
        "status": "completed",
        "trap": None,
        "exit_code": None,
        "results": ["i32:42"],
        "fuel_used": 4,
        "fuel_limit": 1_000_000_000,
        "module": str(Cid.of_raw(module)),
        "input": str(Cid.of_raw(b"")),
        "output": str(Cid.of_raw(b"")),
        "output_bytes": 0,
        "engine": "wasm3",
        "meter": METER,
        "receipt_error": None,
        "reason": None,
    }
    assert {key: answer[key] for key in expected} == expected
    assert all(isinstance(answer[key], int) for key in ("cpu_ms", "wall_ms", "memory_pages_peak", "host_calls"))
    with Store.open(home, read_only=True) as store:
        block = store.receipts.get(Cid.parse(answer["receipt"]))
        assert block is not None
        receipt = read_receipt(block).document
        for cid in (receipt.module, receipt.input, receipt.output, receipt.job):
            assert cid is not None
            assert store.blocks.has(cid)
    assert (receipt.seq, receipt.entry, receipt.args, receipt.results) == (0, "add", ("i32:2", "i32:40"), ("i32:42",))
    assert str(receipt.job) == answer["job"]


@pytest.mark.parametrize(
    ("words", "code", "status", "trap"),
    [
        (["--invoke", "boom"], 4, "trapped", "unreachable"),
        (["--invoke", "div", "i32:1", "i32:0"], 4, "trapped", "integer_divide_by_zero"),
        (["--invoke", "div", "i32:-2147483648", "i32:-1"], 4, "trapped", "integer_overflow"),
        (["--invoke", "spin", "--fuel", "1000"], 5, "out_of_fuel", None),
        (["--invoke", "add", "i32:1", "i32:2", "--fuel", "3"], 5, "out_of_fuel", None),
        (["--invoke", "add", "i32:1", "i32:2", "--fuel", "4"], 0, "completed", None),
        (["--invoke", "add", "i32:1", "i32:2", "--fuel", "0"], 5, "out_of_fuel", None),
        (["--invoke", "spin", "--fuel", "1000000000000", "--timeout", "0.3"], 1, "failed", None),
    ],
)
def test_every_ending_has_its_exit_code_and_a_receipt(
    icn: Program, guests: Path, words: list[str], code: int, status: str, trap: str | None
) -> None:
    done = icn("run", guests / "add.wasm", *words, "--json")
    answer = done.json
    assert (done.code, answer["status"], answer["trap"]) == (code, status, trap)
    assert set(answer) == KEYS
    assert answer["receipt"] is not None
    assert (answer["failure"] is not None) == (status == "failed")
    assert (answer["output"] is not None) == (status == "completed")
    assert icn("receipts", "verify", answer["receipt"], "--rerun", "--json").json["verified"] is True


def test_out_of_fuel_uses_all_of_it(icn: Program, guests: Path) -> None:
    answer = icn("run", guests / "add.wasm", "--invoke", "spin", "--fuel", "1000", "--json").json
    assert answer["fuel_used"] == answer["fuel_limit"] == 1000


@pytest.mark.parametrize(("module", "kind"), [("cut.wasm", "malformed"), ("unknown.wasm", "unsupported")])
def test_a_refused_module(icn: Program, home: Path, guests: Path, module: str, kind: str) -> None:
    done = icn("run", guests / module, "--json")
    answer = done.json
    assert done.code == 3
    assert set(answer) == KEYS | {"error"}
    assert answer["status"] == "refused"
    assert answer["reason"]["kind"] == kind
    assert answer["receipt"] is None
    assert not home.exists()  # nothing ran, so no identity was needed
    assert "refused" not in icn("run", guests / module).out


def test_a_module_over_its_limit_is_refused(icn: Program, guests: Path) -> None:
    done = icn("run", guests / "grow.wasm", "--invoke", "grow", "i32:1", "--pages", "0", "--json")
    assert (done.code, done.json["reason"]["kind"]) == (3, "limit")


def test_pages_bound_what_a_guest_gets(icn: Program, guests: Path) -> None:
    def grown(pages: int) -> list[str]:
        words = ["--invoke", "grow", "i32:3", "--pages", str(pages), "--json"]
        answer = icn("run", guests / "grow.wasm", *words).json
        assert answer["memory_pages_peak"] == (4 if answer["results"] == ["i32:1"] else 1)
        assert icn("receipts", "verify", answer["receipt"], "--rerun", "--json").json["verified"] is True
        results: list[str] = answer["results"]
        return results

    assert (grown(3), grown(4)) == (["i32:-1"], ["i32:1"])


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (["half", "f64:1.5"], "f64:0x3fe8000000000000"),
        (["half", "f64:0x4000000000000000"], "f64:0x3ff0000000000000"),
        (["wide", "i64:-1"], "i64:-1"),
        (["add", "i32:-1", "i32:4294967295"], "i32:-2"),
    ],
)
def test_values_are_typed(icn: Program, guests: Path, call: list[str], result: str) -> None:
    assert icn("run", guests / "add.wasm", "--invoke", *call).out == f"{result}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["--invoke", "add", "i32:1"],
        ["--invoke", "add", "i32:1", "i64:1"],
        ["--invoke", "add", "1", "2"],
        ["--invoke", "add", "i32:x", "i32:1"],
        ["--invoke", "absent"],
        ["--invoke", "x" * 129],
        ["--invoke", "add", *["i32:1"] * 9],
        [],  # neither _start nor run
        ["--fuel", "-1"],
        ["--fuel", str(1 << 62)],
        ["--pages", "65537"],
        ["--timeout", "0"],
        ["--engine", "v8"],
        ["--output", "-"],
        ["--profile", "absent"],
    ],
)
def test_a_senseless_call_is_a_usage_error(icn: Program, guests: Path, words: list[str]) -> None:
    done = icn("run", guests / "add.wasm", *words, "--json")
    assert done.code == 2 or "profile" in done.json["error"]["kind"]
    assert set(done.json) == {"error"}


def test_files_that_are_missing(icn: Program, guests: Path) -> None:
    assert icn("run", "/absent.wasm").code == 2
    assert icn("run", guests / "echo.wasm", "--input", "/absent").code == 2
    assert icn("run", guests).code == 2  # a folder
    assert icn("run", "-", "--input", "-").code == 2


def test_input_and_output_files(icn: Program, guests: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"\x00\xffdata")
    done = icn("run", guests / "echo.wasm", "--input", tmp_path / "in", "--output", tmp_path / "out", "--json")
    assert done.json["status"] == "completed"
    assert (tmp_path / "out").read_bytes() == b"\x00\xffdata"
    assert done.json["output"] == done.json["input"] == str(Cid.of_raw(b"\x00\xffdata"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "in", "out"]  # nothing half-written beside it
    assert icn("run", guests / "echo.wasm", "--input", tmp_path / "in", "--output", "/absent/x").code == 1


def test_a_person_gets_output_on_stdout_and_the_rest_on_stderr(icn: Program, guests: Path) -> None:
    icn("init")
    done = icn("run", guests / "talk.wasm")
    assert (done.code, done.out) == (0, "said")
    assert "said\ufffd[2J" in done.err  # the guest's log can't clear the screen
    assert "returned i32:7" in done.err
    assert "receipt bafy" in done.err


def test_a_log_is_part_of_the_answer(icn: Program, guests: Path) -> None:
    answer = icn("run", guests / "talk.wasm", "--json").json
    assert answer["log"] == "said\x1b[2J\n"
    assert answer["host_calls"] == 2


@pytest.mark.parametrize(("words", "exit_code"), [([], 0), (["one", "--", "-two"], 2)])
def test_a_wasi_program_takes_words_and_ends_with_a_code(
    icn: Program, guests: Path, words: list[str], exit_code: int
) -> None:
    done = icn("run", "--json", guests / "exit.wasm", *words)
    answer = done.json
    assert (answer["status"], answer["exit_code"]) == ("completed", exit_code)
    assert done.code == (1 if exit_code else 0)
    checked = icn("receipts", "verify", answer["receipt"], "--rerun", "--json").json
    assert checked["verified"] is True
    assert [c["state"] for c in checked["receipts"][0]["checks"] if c["name"] == "rerun"] == ["passed"]


def test_engines_agree(icn: Program, guests: Path) -> None:
    both = [
        icn("run", guests / "add.wasm", "--invoke", "half", "f64:0x7ff8000000000001", "--engine", name, "--json").json
        for name in ("wasm3", "wasmtime")
    ]
    assert [answer["engine"] for answer in both] == ["wasm3", "wasmtime"]
    for key in ("status", "results", "output", "fuel_used", "memory_pages_peak"):
        assert both[0][key] == both[1][key]


def test_the_first_run_makes_an_identity_and_says_so_once(icn: Program, home: Path, guests: Path) -> None:
    first = icn("run", guests / "add.wasm", "--invoke", "add", "i32:1", "i32:1", "--json")
    second = icn("run", guests / "add.wasm", "--invoke", "add", "i32:1", "i32:1", "--json")
    assert first.err.startswith("new identity did:key:")
    assert len(first.err.splitlines()) == 1
    assert second.err == ""
    assert (home / "key").stat().st_mode & 0o777 == 0o600


def test_a_sealed_identity_needs_its_passphrase(icn: Program, guests: Path, tmp_path: Path) -> None:
    secret, wrong = tmp_path / "secret", tmp_path / "wrong"
    secret.write_text("secret")
    wrong.write_text("wrong")
    assert icn("init", "--passphrase-file", secret).code == 0
    call = ["run", guests / "add.wasm", "--invoke", "add", "i32:1", "i32:1", "--json"]
    for words in ([], ["--passphrase-file", wrong]):
        refused = icn(*call, *words)
        assert refused.code == 2
        assert "passphrase" in refused.json["error"]["message"]
    assert icn(*call, "--passphrase-file", secret).json["receipt"] is not None
    assert icn("receipts", "verify", "--all", "--json").json["verified"] is True  # without any passphrase


def test_a_home_in_use_lets_the_run_stand_without_receipt(icn: Program, home: Path, guests: Path) -> None:
    icn("init")
    (home / "control.sock").touch()  # as a running node leaves it: it is not waited for
    with Store.open(home):
        done = icn("run", guests / "add.wasm", "--invoke", "add", "i32:1", "i32:1", "--json")
    assert done.code == 0
    assert done.json["results"] == ["i32:2"]
    assert done.json["receipt"] is None
    assert f"process {os.getpid()}" in done.json["receipt_error"]
    assert "no receipt was stored" in done.err


def test_runs_side_by_side_on_one_home_all_get_their_place(icn: Program, home: Path, guests: Path) -> None:
    icn("init")
    command = [
        sys.executable,
        "-m",
        "icn_lite.cli",
        "run",
        str(guests / "add.wasm"),
        "--invoke",
        "add",
        "i32:1",
        "i32:1",
    ]
    environ = {**os.environ, "ICN_LITE_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen([*command, "--json"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    ended = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0] * 4
    assert all(json.loads(out)["receipt"] for out, _ in ended)
    did = Did.parse(icn("init", "--home", str(home) + "2", "--json").json["did"])
    with Store.open(home, read_only=True) as store:
        (executor,) = store.receipts.executors()
        assert executor != did
        assert sorted(row.seq for row in store.receipts.list()) == [0, 1, 2, 3]
        assert store.receipts.faults(executor) == ()


def test_ctrl_c_ends_a_run_quietly_and_leaves_no_process(home: Path, guests: Path, icn: Program) -> None:
    icn("init")
    environ = {**os.environ, "ICN_LITE_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    words = ["run", str(guests / "add.wasm"), "--invoke", "spin", "--fuel", str(1 << 60), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "icn_lite.cli", *words],
        env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    _wait_for_guest(process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err.strip()) == (130, b"", b"")
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    with Store.open(home):
        pass  # no lock is left behind


def _wait_for_guest(process: subprocess.Popen[bytes]) -> None:
    """Until the zygote has a child that works: the run is under way."""
    import time

    import psutil

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None
        below = psutil.Process(process.pid).children(recursive=True)
        if len(below) >= 2:
            return
    raise AssertionError("no guest appeared within 30 s")
