"""A local run: what it keeps, what it refuses, and that its receipt can be run again; CAR files beside it."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.device.catalogue import load_profile
from icn_lite.model import document
from icn_lite.model.cid import Cid
from icn_lite.model.cose import KeySigner
from icn_lite.model.errors import DocumentError, ModuleError, ProfileError, UsageError
from icn_lite.model.job import JobSpec, WasmRuntime
from icn_lite.model.receipt import ReceiptStatus, read_receipt
from icn_lite.node import runner
from icn_lite.node.car import encode_header, encode_section, read_car
from icn_lite.node.home import Home
from icn_lite.node.runner import LocalRun, RunOrder, prepare_order, profile_limits, run_locally
from icn_lite.node.verify import Blocks, rerun, verify_block, verify_chain
from icn_lite.store.db import Store

SIGNER = KeySigner(hashlib.sha256(b"runner").digest())
LONG_NAME = "e" * 128
MODULE = bytes(
    wasmtime.wat2wasm(
        """(module
  (import "icn" "host_job_get_id" (func $id (param i32 i32) (result i32)))
  (import "icn" "put_output" (func $put (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "id") (drop (call $put (i32.const 0) (call $id (i32.const 0) (i32.const 100)))))
  (func (export "eight") (export "LONG") (param i64 i64 i64 i64 i64 i64 i64 i64) (result i64) local.get 0)
  (func (export "five") (result i32 i32 i32 i32 i32)
    i32.const 1 i32.const 1 i32.const 1 i32.const 1 i32.const 1)
  (func (export "spin") (loop br 0)))""".replace("LONG", LONG_NAME)
    )
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


def run(home: Home, **order: object) -> LocalRun:
    full = RunOrder(MODULE, **order)  # type: ignore[arg-type]
    return run_locally(full, prepare_order(full), home, SIGNER)


def blocks_of(home: Home) -> Blocks:
    def get(cid: Cid) -> bytes | None:
        with Store.open(home.path, read_only=True) as store:
            return store.blocks.get(cid)

    return get


def test_a_run_keeps_its_job_and_blocks_with_its_receipt(home: Home) -> None:
    done = run(home, invoke="id", input=b"data", fuel_limit=12345, pages=7)
    assert done.receipt is not None
    blocks = blocks_of(home)
    job = document.decode(JobSpec, blocks(done.job.id) or b"")
    assert job == done.job
    assert isinstance(job.runtime, WasmRuntime)
    assert (job.submitter, job.budget.max_total, job.runtime.memory_pages) == (SIGNER.did, 0, 7)
    assert (job.compute.max_fuel, job.input.data) == (12345, Cid.of_raw(b"data"))
    assert done.outcome.output == str(job.id).encode()
    assert blocks(done.module) == MODULE
    assert blocks(done.input) == b"data"
    assert done.receipt.document.output == Cid.of_raw(done.outcome.output)
    assert rerun(done.receipt.document, blocks).state == "passed"


def test_two_runs_are_two_jobs_in_one_chain(home: Home) -> None:
    first, second = run(home, invoke="id"), run(home, invoke="id")
    assert first.receipt is not None
    assert second.receipt is not None
    assert first.job.id != second.job.id
    assert (second.receipt.document.seq, second.receipt.document.prev) == (1, first.receipt.cid)
    assert verify_chain([second.receipt, first.receipt]) == ()


def test_a_call_that_does_not_fit_a_receipt_goes_into_a_block_of_its_own(home: Home) -> None:
    words = tuple(f"i64:-{9_000_000_000_000_000_000 + n}" for n in range(8))
    done = run(home, invoke=LONG_NAME, words=words)
    assert done.receipt is not None
    receipt = done.receipt.document
    assert len(done.receipt.block) <= 1024
    assert receipt.call is not None
    assert (receipt.entry, receipt.args) == (None, ())
    assert rerun(receipt, blocks_of(home)).state == "passed"
    without = rerun(receipt, lambda cid: None if cid == receipt.call else blocks_of(home)(cid))
    assert without.state == "failed"


@pytest.mark.parametrize(
    "order",
    [
        {"invoke": "five"},
        {"invoke": "eight", "words": ("i64:1",) * 9},
        {"invoke": "eight", "words": ("i64:1",)},
        {"invoke": "absent"},
        {"invoke": ""},
        {"invoke": "id", "words": ("x" * 129,)},
    ],
)
def test_a_call_that_makes_no_sense_is_refused_and_nothing_is_kept(home: Home, order: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        run(home, **order)
    assert not home.database.exists()


def test_a_module_beyond_the_limits_is_refused() -> None:
    with pytest.raises(ModuleError) as caught:
        prepare_order(RunOrder(MODULE, pages=0))
    assert caught.value.reason == "limit"


def test_a_full_disk_keeps_the_outcome_and_says_why_there_is_no_receipt(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(home, invoke="id")
    opened = Store.open

    def small(path: Path) -> Store:
        return opened(path, block_budget_bytes=1)

    monkeypatch.setattr(runner.Store, "open", small)
    done = run(home, invoke="id", input=b"other")
    assert done.outcome.status == "completed"
    assert done.receipt is None
    assert "doesn't fit" in done.unstored
    monkeypatch.undo()
    with Store.open(home.path, read_only=True) as store:
        assert store.receipts.count() == 1
        assert store.blocks.get(done.input) is None  # all or nothing


def test_waiting_for_the_home_has_an_end(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LOCK_WAIT_MS", 0)
    with Store.open(home.path):
        done = run(home, invoke="id")
    assert done.receipt is None
    assert f"process {os.getpid()}" in done.unstored


def test_a_profile_sets_limits_but_not_what_a_guest_computes() -> None:
    profile = load_profile("termux-old-phone")
    limits = profile_limits(profile)
    assert limits.memory_pages == profile.guest.memory_pages
    for name in ("stack_bytes", "memory_pages", "nonsense"):
        with pytest.raises(ProfileError):
            profile_limits(replace(profile, wasm={name: 1}))


def test_receipts_that_cannot_be_run_again_are_skipped_not_passed(home: Home) -> None:
    done = run(home, invoke="spin", fuel_limit=1 << 60, timeout_ms=100)
    assert done.receipt is not None
    assert done.receipt.document.status is ReceiptStatus.FAILED
    assert rerun(done.receipt.document, blocks_of(home)).state == "skipped"
    good = run(home, invoke="id").receipt
    assert good is not None
    other_meter = replace(good.document, meter="icn-meter/0")
    assert rerun(other_meter, blocks_of(home)).state == "skipped"
    assert rerun(good.document, lambda cid: None).state == "skipped"
    assert read_receipt(good.block).document == good.document


def test_a_job_that_does_not_fit_its_receipt_is_noticed(home: Home) -> None:
    done = run(home, invoke="id")
    assert done.receipt is not None

    def with_job(block: bytes) -> tuple[str, str]:
        verdict = verify_block(
            "x", done.receipt.block if done.receipt else b"", lambda cid: block if cid == done.job.id else None
        )
        (check,) = [check for check in verdict.checks if check.name == "job"]
        return check.state, check.detail

    assert with_job(document.encode(done.job))[0] == "passed"
    assert with_job(b"\xa0")[0] == "failed"
    runtime = done.job.runtime
    assert isinstance(runtime, WasmRuntime)
    other = replace(done.job, runtime=replace(runtime, module=Cid.of_raw(b"x")))
    assert "runs module" in with_job(document.encode(other))[1]


def test_killing_the_program_leaves_no_guest_behind(home: Home, tmp_path: Path) -> None:
    module = tmp_path / "m.wasm"
    module.write_bytes(MODULE)
    words = ["run", str(module), "--invoke", "spin", "--fuel", str(1 << 60)]
    environ = {**os.environ, "ICN_LITE_HOME": str(home.path), "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-m", "icn_lite.cli", *words], env=environ, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    below: list[psutil.Process] = []
    while len(below) < 2 and time.monotonic() < deadline:
        below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    gone, alive = psutil.wait_procs(below, timeout=20)
    assert (len(gone), alive) == (len(below), [])


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.binary(max_size=300), max_size=6))
def test_an_archive_gives_back_what_went_in(blocks: list[bytes]) -> None:
    pairs = [(Cid.of_raw(block), block) for block in blocks]
    data = encode_header(cid for cid, _ in pairs) + b"".join(encode_section(*pair) for pair in pairs)
    assert list(read_car(io.BytesIO(data))) == pairs


def test_every_truncation_of_an_archive_is_refused_or_ends_between_blocks() -> None:
    sections = [encode_section(Cid.of_raw(block), block) for block in (b"one", b"two" * 100)]
    header = encode_header([Cid.of_raw(b"one")])
    data = header + b"".join(sections)
    whole = {len(header), len(header) + len(sections[0]), len(data)}
    for length in range(len(data) + 1):
        if length in whole:
            list(read_car(io.BytesIO(data[:length])))
            continue
        with pytest.raises(DocumentError):
            list(read_car(io.BytesIO(data[:length])))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x01\xa0",
        encode_header([])[:1] + b"\xff" * 50,
        encode_header([]) + b"\xff" * 9,
        encode_header([]) + b"\xff\xff\xff\xff\x7f" + b"x",
        encode_header([]) + b"\x03abc",
        encode_header([]) + encode_section(Cid.of_raw(b"a"), b"b"),
    ],
)
def test_a_malformed_archive_is_refused(data: bytes) -> None:
    with pytest.raises(DocumentError):
        list(read_car(io.BytesIO(data)))
