"""The standard benchmark, what its receipt has to say, the calibrated profile, and a job that asks for the proof."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from node_world import World, ended, submit, until

from icn_lite.device.catalogue import load_profile
from icn_lite.model.cid import Cid
from icn_lite.model.cose import KeySigner
from icn_lite.model.did import Did
from icn_lite.model.errors import BidError, DeviceRefuses, FailureReason, ProfileError, StoreError
from icn_lite.model.receipt import ExecutionReceipt, ReceiptStatus, read_receipt
from icn_lite.node import benchmark as measuring
from icn_lite.node.calibration import (
    Calibration,
    calibrated,
    format_calibration,
    load_calibration,
    overridden,
    parse_calibration,
    save_calibration,
)
from icn_lite.node.capability import FuelMeter
from icn_lite.node.clock import Clock
from icn_lite.node.config import Role
from icn_lite.node.home import Home
from icn_lite.node.node import Node
from icn_lite.node.receipting import RunRecord, make_receipt
from icn_lite.node.runner import RunOrder, plan_locally, prepare_order
from icn_lite.node.verify import rerun, verify_block
from icn_lite.resources import guest_module
from icn_lite.sandbox.outcome import RunOutcome
from icn_lite.sandbox.pool import run_once
from icn_lite.store.db import Store
from icn_lite.work import benchmark

SIGNER = KeySigner(b"\x07" * 32)
OTHER = KeySigner(b"\x08" * 32)
SERVER = load_profile("server")
SUBJECT = measuring.Subject(replace(SERVER, guest=replace(SERVER.guest, memory_pages=64)), 1, "wasm3", 1)
BIDDING_MS = 3_000
MADE = Calibration("server", 1_800_000_000, Cid.of_dag_cbor(b"r"), 123_456_789, 160, 10, 1, 2, 2, 3, 4, 5, 6)


@pytest.fixture(scope="module")
def measured() -> measuring.Measured:
    """This machine, measured once."""
    return measuring.measure(SUBJECT, SIGNER, lambda _: None)


@pytest.fixture(scope="module")
def receipt(measured: measuring.Measured) -> ExecutionReceipt:
    """The receipt of it, as its executor would sign it."""
    record = RunRecord(measured.planned.subject, measured.middle, Clock().claim())
    return make_receipt(SIGNER, record, 0, None)


def now_s() -> int:
    return Clock().wall_s()


# -- the guest


def test_the_shipped_guest_is_the_one_that_is_known() -> None:
    assert str(Cid.of_raw(guest_module(benchmark.GUEST))) == benchmark.MODULE


def test_its_fuel_is_the_same_for_every_input_and_its_output_is_not() -> None:
    outcomes = [run(data) for data in (b"", b"\1", bytes(range(40)))]
    for outcome in outcomes:
        assert (outcome.status, outcome.fuel_used) == ("completed", benchmark.FUEL)
        assert (outcome.memory_pages_peak, outcome.host_calls) == (benchmark.PAGES, benchmark.HOST_CALLS)
    assert len({outcome.output for outcome in outcomes}) == 3


def test_a_unit_less_fuel_does_not_suffice() -> None:
    assert run(b"", benchmark.FUEL - 1).status == "out_of_fuel"


def run(data: bytes, fuel: int = benchmark.FUEL) -> RunOutcome:
    order = RunOrder(module=guest_module(benchmark.GUEST), input=data, fuel_limit=fuel)
    return run_once(plan_locally(order, prepare_order(order), SIGNER, Clock()).request)


# -- what its receipt has to say


def test_a_receipt_shows_the_speed_that_was_measured(measured: measuring.Measured, receipt: ExecutionReceipt) -> None:
    rate = benchmark.check_benchmark(receipt, SIGNER.did, now_s())
    assert rate == benchmark.FUEL * 1000 // receipt.cpu_ms == measured.fuel_per_s.median


def test_without_a_clock_nobody_judges_an_age(receipt: ExecutionReceipt) -> None:
    old = replace(receipt, clock=replace(receipt.clock, wall_s=5, source="unset"))
    assert benchmark.check_benchmark(old, SIGNER.did, None) > 0


CID = Cid.of_raw(b"another")
TRAPPED = {"status": ReceiptStatus.TRAPPED, "trap": "unreachable", "output": None, "results": ()}
REFUSED: dict[str, dict[str, object]] = {
    "executor": {"executor": OTHER.did},
    "module": {"module": CID},
    "input": {"input": Cid.of_raw(OTHER.did.public_key)},
    "entry": {"entry": "hold"},
    "status": TRAPPED,
    "fuel schedule": {"schedule": "icn-fuel-0"},
    "meter": {"meter": "icn-meter/0"},
    "fuel": {"fuel_used": benchmark.FUEL - 1},
    "peak pages": {"peak_pages": 2},
    "host calls": {"host_calls": 0},
    "don't fit into": {"cpu_ms": 300, "wall_ms": 249},
    "more than 16000000000 is not believed": {"cpu_ms": 13, "wall_ms": 13},
}


@pytest.mark.parametrize("part", REFUSED)
def test_a_receipt_of_something_else_is_none(part: str, receipt: ExecutionReceipt) -> None:
    with pytest.raises(BidError, match=part) as refused:
        benchmark.check_benchmark(replace(receipt, **REFUSED[part]), SIGNER.did, now_s())  # type: ignore[arg-type]
    assert refused.value.reason == "proof"
    assert "icn-lite bench" in refused.value.hint


def test_a_receipt_is_neither_too_old_nor_from_tomorrow(receipt: ExecutionReceipt) -> None:
    made_s = receipt.clock.wall_s
    for age_s in (-benchmark.MAX_AHEAD_S, 0, benchmark.MAX_AGE_S):
        assert benchmark.check_benchmark(receipt, SIGNER.did, made_s + age_s)
    with pytest.raises(BidError, match="180 days old, accepted are 180"):
        benchmark.check_benchmark(receipt, SIGNER.did, made_s + benchmark.MAX_AGE_S + 1)
    with pytest.raises(BidError, match="86401 s ahead"):
        benchmark.check_benchmark(receipt, SIGNER.did, made_s - benchmark.MAX_AHEAD_S - 1)
    unset = replace(receipt, clock=replace(receipt.clock, source="unset"))
    with pytest.raises(BidError, match="clock was not set"):
        benchmark.check_benchmark(unset, SIGNER.did, made_s)


# -- measuring


def test_a_measurement_says_how_far_it_spreads(measured: measuring.Measured) -> None:
    for spread in (
        measured.fuel_per_s,
        measured.signatures_per_s,
        measured.verifications_per_s,
        measured.prepared_bytes_per_s,
        measured.start_us,
    ):
        assert 0 < spread.least <= spread.median <= spread.most
    assert measured.memory_pages == 64
    assert measuring.Spread.of([5, 1, 9, 7]) == measuring.Spread(5, 1, 9, 4)


def test_more_memory_than_is_free_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Held:
        def __init__(self, pages: int) -> None:
            self.status, self.failure = ("failed", FailureReason.OUT_OF_MEMORY) if pages > 16 else ("completed", None)

    class Pool:
        async def run(self, request: object) -> Held:
            asked.append(request.args[0].bits)  # type: ignore[attr-defined]
            return Held(asked[-1])

    class Memory:
        def read(self, now_ms: int) -> list[object]:
            from icn_lite.device.reading import Quantity, known

            return [known(Quantity.MEMORY_AVAILABLE, 3, "test")]  # 48 pages

    monkeypatch.setattr(measuring, "System", Memory)

    pages = asyncio.run(measuring._holding(Pool(), SUBJECT, lambda _: None))  # type: ignore[arg-type]
    assert (asked, pages) == ([32, 16], 16)


def test_a_guest_that_fails_is_no_measurement() -> None:
    failed = RunOutcome("failed", "wasm3", 1, failure=FailureReason.CPU_TIMEOUT, detail="ran longer than 1 ms")
    with pytest.raises(DeviceRefuses, match="ran longer than 1 ms"):
        measuring._check_run(failed)


def test_the_receipt_is_kept_and_can_be_run_again_by_anyone(tmp_path: Path, measured: measuring.Measured) -> None:
    home = Home(tmp_path / "home")
    home.create()
    first = measuring.keep_benchmark(home, SIGNER, measured)
    second = measuring.keep_benchmark(home, SIGNER, measured)
    assert (second.document.seq, second.document.prev) == (1, first.cid)
    with Store.open(home.path) as store:
        assert store.blocks.pinned(second.cid)
        assert not store.blocks.pinned(first.cid)
        block = store.blocks.get(second.cid)
        assert block is not None
        assert verify_block("benchmark", block, store.blocks.get).verified
        again = rerun(read_receipt(block).document, store.blocks.get)
        assert (again.state, str(benchmark.FUEL) in again.detail) == ("passed", True)
        with pytest.raises(StoreError, match="is in use by process"):  # as while a node runs
            measuring.keep_benchmark(replace_wait(home), SIGNER, measured)


def replace_wait(home: Home) -> Home:
    """The same home with a socket, which is not waited for."""
    home.control_socket.touch()
    return home


# -- the calibrated profile


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "calibration.toml"
    assert load_calibration(path) is None
    save_calibration(path, MADE)
    assert load_calibration(path) == MADE
    odd = replace(MADE, profile='my "board" \\ 7')
    assert parse_calibration(format_calibration(odd)) == odd


def test_a_calibration_takes_the_place_of_what_the_profile_believes() -> None:
    after = calibrated(SERVER, MADE)
    assert (after.prior.fuel_per_s, after.guest.memory_pages) == (123_456_789, 160)
    assert overridden(SERVER, MADE) == {
        "prior.fuel_per_s": (SERVER.prior.fuel_per_s, 123_456_789),
        "guest.memory_pages": (SERVER.guest.memory_pages, 160),
    }
    assert replace(after, prior=SERVER.prior, guest=SERVER.guest) == SERVER


def test_a_calibration_never_gives_more_memory_and_counts_for_no_other_device() -> None:
    assert calibrated(SERVER, replace(MADE, memory_pages=65_536)).guest == SERVER.guest
    for other in (None, replace(MADE, profile="pi-4")):
        assert calibrated(SERVER, other) is SERVER
        assert overridden(SERVER, other) == {}


LINES = {
    "fuel_per_s = 123_456_789": ("fuel_per_s = 0", r"prior.fuel_per_s: expected 1 to .*\(line 8\)"),
    "memory_pages = 160": ("memory_pages = -1", r"guest.memory_pages: expected 1 to 65536, found -1 \(line 11\)"),
    "[prior]": ("[thermal]\nhard_c = 120\n[prior]", r"unknown section \[thermal\]"),
    "workers = 2": ("workers = 2\nsoft_c = 9", "unknown key measured.soft_c"),
    f'"{MADE.benchmark}"': ('"baf"', "calibration: benchmark"),
    "start_us = 6": ("", "missing key measured.start_us"),
    "runs = 10": ("runs = true", "measured.runs: expected an integer"),
}


@pytest.mark.parametrize("line", LINES)
def test_a_damaged_calibration_is_refused_with_its_line(line: str, tmp_path: Path) -> None:
    text = format_calibration(MADE)
    assert text.count(line) == 1
    changed, message = LINES[line]
    path = tmp_path / "calibration.toml"
    path.write_text(text.replace(line, changed))
    with pytest.raises(ProfileError, match=message) as refused:
        load_calibration(path)
    assert refused.value.hint


@pytest.mark.parametrize("data", [b"\xff", b"#" * 10_000])
def test_a_file_that_is_no_calibration_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "calibration.toml"
    path.write_bytes(data)
    with pytest.raises(ProfileError, match="calibration"):
        load_calibration(path)


def test_what_no_profile_could_say_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "calibration.toml"
    with pytest.raises(ProfileError, match="fuel_per_s"):
        save_calibration(path, replace(MADE, fuel_per_s=0))
    assert not path.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_measured_speed_is_not_forgotten_with_the_first_run() -> None:
    believed, known = FuelMeter(1_000), FuelMeter(1_000, replace(MADE, fuel_per_s=2_000))
    assert (believed.fuel_per_s, known.fuel_per_s, known.benchmark) == (1_000, 2_000, MADE.benchmark)
    for meter in (believed, known):
        meter.ran(700, 100)  # 7000 a second
    assert (believed.fuel_per_s, known.fuel_per_s) == (7_000, 3_000)


# -- a job that asks for the proof


async def bench(world: World, name: str) -> Did:
    """Measure for a node's home, as `icn-lite bench` does before it starts."""
    home = Home(world.folder / name)
    home.create()
    signer = KeySigner(name.encode().ljust(32, b"\1")[:32])
    order = RunOrder(
        module=guest_module(benchmark.GUEST),
        input=benchmark.input_of(signer.did),
        fuel_limit=benchmark.FUEL,
    )
    planned = plan_locally(order, prepare_order(order), signer, Clock())

    outcome = await asyncio.to_thread(run_once, planned.request)
    spread = measuring.Spread(benchmark.fuel_per_s(outcome.cpu_ms), 1, 1, 1)
    found = measuring.Measured(spread, 1024, spread, spread, spread, spread, planned, outcome)
    sealed = measuring.keep_benchmark(home, signer, found)
    subject = measuring.Subject(SERVER, 1, "wasm3", 1)
    save_calibration(home.calibration, measuring.calibration_of(subject, found, sealed.cid))
    return signer.did


async def judge(world: World, *executors: Node) -> Node:
    """A coordinator that knows them, and takes bids long enough to fetch what proves them on a loaded machine."""
    peers = tuple(uri for node in executors for uri in node.shell.endpoints)
    node = await world.start("coordinator", Role.SUBMIT, peers=peers, bidding_ms=BIDDING_MS)
    await until(node, lambda: len(node.shell.peers.live(node.clock.now_ms())) == len(executors))
    return node


async def test_only_who_shows_its_speed_gets_a_job_that_asks_for_it(world: World) -> None:
    shown = await bench(world, "executor-1")
    first = await world.start("executor-1", Role.EXECUTE)
    second = await world.start("executor-2", Role.EXECUTE)
    coordinator = await judge(world, first, second)
    calibration = load_calibration(first.options.home.calibration)
    assert calibration is not None
    assert first.profile.prior.fuel_per_s == calibration.fuel_per_s
    assert first.advert().document.capability.benchmark == calibration.benchmark
    assert second.advert().document.capability.benchmark is None
    job = await submit(
        coordinator, [b"once"], redundancy={"type": "None"}, policy={"min_fuel_per_s": calibration.fuel_per_s // 2}
    )
    assert await ended(coordinator, job) == "completed"
    assert second.executions is not None
    assert "no benchmark's receipt" in second.executions.offers.declined[job].message
    assert coordinator.originations is not None
    bids = coordinator.originations.jobs[job].machine.bids
    assert set(bids) == {shown}
    kept = await coordinator.shell.storage.run(lambda store: store.blocks.get(calibration.benchmark))
    assert kept is not None  # whoever doubts the choice runs it again
    assert read_receipt(kept).document.executor == shown


async def test_a_speed_that_the_receipt_does_not_show_is_refused(world: World) -> None:
    await bench(world, "executor-1")
    executor = await world.start("executor-1", Role.EXECUTE)
    coordinator = await judge(world, executor)
    job = await submit(coordinator, [b"once"], redundancy={"type": "None"}, policy={"min_fuel_per_s": 15_000_000_000})
    assert executor.executions is not None
    declined = executor.executions.offers.declined
    await until(executor, lambda: job in declined)
    assert "the benchmark's receipt shows" in declined[job].message


async def test_a_receipt_that_is_not_there_or_not_its_own_is_no_proof(world: World) -> None:
    await bench(world, "executor-1")
    home = Home(world.folder / "executor-1")
    own = load_calibration(home.calibration)
    assert own is not None
    with Store.open(home.path) as store:
        block = store.blocks.get(own.benchmark)
    assert block is not None
    for name, claim in (("thief", own), ("boaster", replace(own, benchmark=CID))):
        other = Home(world.folder / name)
        other.create()
        save_calibration(other.calibration, claim)
    with Store.open(world.folder / "thief") as store:
        store.blocks.put(own.benchmark, block)
    thief, boaster = [await world.start(name, Role.EXECUTE) for name in ("thief", "boaster")]
    coordinator = await judge(world, thief, boaster)
    job = await submit(coordinator, [b"once"], redundancy={"type": "None"}, policy={"min_fuel_per_s": 0})
    for node, part in ((thief, "executor: expected"), (boaster, "can't be fetched")):
        assert node.executions is not None
        declined = node.executions.offers.declined
        await until(node, lambda declined=declined: job in declined)  # type: ignore[misc]
        assert part in declined[job].message
