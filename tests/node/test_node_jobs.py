"""Whole jobs through real nodes: what the parts promise one by one has to hold of them together."""

from __future__ import annotations

import asyncio

import pytest
from node_world import PATIENCE_S, World, command, ended, submit, until

from icn_lite.model import cbor
from icn_lite.model.errors import JobError, LedgerError, ModuleError, NotSupported, UsageError
from icn_lite.model.receipt import read_receipt
from icn_lite.node.config import Role
from icn_lite.node.node import Node
from icn_lite.node.verify import rerun, verify_block


async def receipts_of(node: Node) -> list[bytes]:
    def read(store):  # type: ignore[no-untyped-def]
        return [store.receipts.get(row.cid) for row in store.receipts.list()]

    return await node.shell.storage.run(read)


async def test_a_job_of_several_shards_is_run_twice_verified_and_paid(world: World) -> None:
    coordinator, first, second = await world.trio()
    inputs = [bytes([number]) * (1000 + number) for number in range(5)]
    job = await submit(coordinator, inputs)
    assert await ended(coordinator, job) == "completed"
    view = await command(coordinator, "job", job=str(job))
    executors = {str(first.shell.did), str(second.shell.did)}
    for shard, data in zip(view["shards"], inputs, strict=True):
        assert shard["verdict"] == "accepted"
        assert {run["executor"] for run in shard["runs"]} == executors
        assert len({run["fuel_used"] for run in shard["runs"]}) == 1
        assert bytes.fromhex(await command(coordinator, "get_block", cid=shard["output"])) == data
    ledger = await command(coordinator, "ledger")
    assert ledger["sum"] == 0
    assert ledger["accounts"][f"escrow:{job}"] == 0
    paid = sum(ledger["accounts"][did] - 1000 for did in executors)
    assert paid == view["paid"] > 0
    for executor in (first, second):
        await until(executor, lambda e=executor: not e.executions.leases)  # every receipt acknowledged


async def test_receipts_verify_and_run_again_the_same_from_the_store_alone(world: World) -> None:
    coordinator, *_ = await world.trio()
    job = await submit(coordinator, [b"once", b"twice"])
    assert await ended(coordinator, job) == "completed"
    blocks = await receipts_of(coordinator)
    assert len(blocks) == 4
    await world.stop("executor-1")

    def check(store):  # type: ignore[no-untyped-def]
        return [
            (verify_block("r", block, store.blocks.get).verified, rerun(read_receipt(block).document, store.blocks.get))
            for block in blocks
        ]

    for verified, again in await asyncio.to_thread(lambda: _on_own_store(world, check)):
        assert verified
        assert again.state == "passed", again.detail


def _on_own_store(world: World, work):  # type: ignore[no-untyped-def]
    from icn_lite.store.db import Store

    with Store.open(world.folder / "coordinator", read_only=True) as store:
        return work(store)


async def test_a_trap_on_every_executor_ends_the_job_and_pays_for_the_work(world: World) -> None:
    coordinator, *_ = await world.trio()
    job = await submit(coordinator, [b"x" * 100], compute={"max_fuel": 10, "timeout_ms": 5000})
    assert await ended(coordinator, job) == "failed"
    view = await command(coordinator, "job", job=str(job))
    assert view["code"] == "J009"
    assert "out_of_fuel" in view["message"]
    assert (await command(coordinator, "ledger"))["sum"] == 0


async def test_without_enough_executors_the_job_fails_and_the_budget_comes_back(world: World) -> None:
    executor = await world.start("executor-1", Role.EXECUTE)
    coordinator = await world.start("coordinator", Role.SUBMIT, peers=executor.shell.endpoints)
    await until(coordinator, lambda: bool(coordinator.shell.peers.peers))
    job = await submit(coordinator, [b"lonely"])
    assert await ended(coordinator, job) == "failed"
    view = await command(coordinator, "job", job=str(job))
    assert view["code"] == "J003"
    assert (await command(coordinator, "ledger"))["own"] == 10_000


async def test_a_cancelled_job_refunds_and_stays_cancelled(world: World) -> None:
    coordinator, *_ = await world.trio()
    job = await submit(coordinator, [b"a", b"b"])
    await command(coordinator, "cancel", job=str(job))
    assert await ended(coordinator, job) == "cancelled"
    with pytest.raises(JobError, match="has ended already"):
        await command(coordinator, "cancel", job=str(job))
    ledger = await command(coordinator, "ledger")
    assert (ledger["sum"], ledger["own"]) == (0, 10_000)


@pytest.mark.parametrize(
    ("fields", "error", "match"),
    [
        ({"deadline_in_s": -5}, JobError, "deadline"),
        ({"deadline_in_s": "soon"}, JobError, "deadline_in_s"),
        ({"input": {}}, JobError, "input"),
        ({"input": {"plan": None}}, JobError, "input.plan"),
        ({"budget": {"max_total": 1_000_000}}, LedgerError, "are needed"),
        ({"budget": {"max_total": 1}}, JobError, "cannot pay 2"),
        ({"budget": {}}, JobError, "max_total"),
        ({"colour": "blue"}, JobError, "colour"),
        ({"runtime": {"type": "Fortran"}}, JobError, "runtime.type"),
        ({"compute": {"max_fuel": 1.5}}, JobError, "max_fuel"),
        ({"code": {"args": ["i32:x"]}}, UsageError, "i32"),
        ({"privacy": "Private"}, NotSupported, "privacy Private"),
        ({"redundancy": {"type": "Sampling", "n": 2}}, NotSupported, "redundancy Sampling"),
        ({"is_interactive": True}, NotSupported, "conversations"),
        ({"budget": {"max_total": 1000, "early_completion_bonus": 5}}, NotSupported, "bonuses"),
    ],
)
async def test_a_job_that_can_not_be_is_refused_and_changes_nothing(
    world: World, fields: dict[str, object], error: type[Exception], match: str
) -> None:
    coordinator = await world.start("coordinator", Role.SUBMIT)
    with pytest.raises(error, match=match):
        await submit(coordinator, [b"x"], **fields)
    assert await command(coordinator, "jobs") == []
    assert (await command(coordinator, "ledger"))["accounts"] == {
        "mint": -10_000,
        str(coordinator.shell.did): 10_000,
    }


async def test_a_module_that_no_node_would_run_is_refused_at_submission(world: World) -> None:
    coordinator = await world.start("coordinator", Role.SUBMIT)
    with pytest.raises(ModuleError):
        await submit(coordinator, [b"x"], module=b"\0asm\1\0\0\0garbage")
    assert await command(coordinator, "jobs") == []


async def test_a_restarted_coordinator_finishes_its_job(world: World) -> None:
    coordinator, first, second = await world.trio()
    job = await submit(coordinator, [bytes([n]) * 500 for n in range(6)])
    await until(coordinator, lambda: coordinator.originations.jobs[job].machine.phase.value == "running")
    await world.stop("coordinator")
    again = await world.start("coordinator", Role.SUBMIT, peers=(*first.shell.endpoints, *second.shell.endpoints))
    assert await ended(again, job) == "completed"
    ledger = await command(again, "ledger")
    assert ledger["sum"] == 0
    assert ledger["accounts"][f"escrow:{job}"] == 0


async def test_a_restarted_executor_takes_its_leases_up_again(world: World) -> None:
    coordinator, first, _ = await world.trio()
    job = await submit(coordinator, [bytes([n]) * 500 for n in range(6)])
    await until(first, lambda: bool(first.executions.leases))
    await world.stop("executor-1")
    await world.start("executor-1", Role.EXECUTE, peers=coordinator.shell.endpoints)
    assert await ended(coordinator, job) == "completed"
    chains = await coordinator.shell.storage.run(
        lambda store: [store.receipts.faults(did) for did in store.receipts.executors()]
    )
    assert all(not faults for faults in chains)


async def test_two_nodes_on_one_home_are_refused(world: World) -> None:
    from icn_lite.model.errors import HomeInUse

    await world.start("coordinator", Role.SUBMIT)
    with pytest.raises(HomeInUse):
        async with asyncio.timeout(PATIENCE_S):
            await World(world.folder).start("coordinator", Role.SUBMIT)


async def test_who_observes_a_job_hears_of_its_end(world: World) -> None:
    coordinator, first, _ = await world.trio()
    job = await submit(coordinator, [b"a", b"b"])
    watch = first.shell.courier.observe_status(coordinator.shell.endpoints[0], job)  # type: ignore[attr-defined]
    phases: list[object] = []
    async with asyncio.timeout(PATIENCE_S / 2):  # less than the watchdog's minute: it is the rings that are heard
        async for ring in watch:
            status = cbor.decode(ring)
            assert isinstance(status, dict)
            phases.append(status["phase"])
            if status["phase"] == "completed":
                break
    await watch.aclose()
    assert phases[0] in ("bidding", "running")
    assert status["settled"] == status["shards"] == 2
