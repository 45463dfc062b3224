"""Work on a memory stick: receipts with outputs to the owner, acknowledgements back, nothing for whom it isn't."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from node_guests import wide_guest
from node_world import World, command, ended, submit, until

from icn_lite.model import document
from icn_lite.model.cid import Cid
from icn_lite.model.errors import IcnLiteError, VerificationError
from icn_lite.model.receipt import read_receipt
from icn_lite.model.unixfs import sections
from icn_lite.node.car import CarFile, encode_header, encode_section
from icn_lite.node.config import Role
from icn_lite.node.node import Node
from icn_lite.node.stick import Stick
from icn_lite.work.executor import Step

SHARDS = 4
OUTPUT_BYTES = 700_000  # more than one chunk, so that an output is a tree


def stick_of(node: Node) -> Stick:
    return Stick(node.shell, node.originations, node.executions)


async def export(node: Node, file: Path) -> None:
    """What `icn-lite work export` writes."""
    load = await stick_of(node).load()
    body = b"".join(encode_section(Cid.of_dag_cbor(block), block) for block in load.documents)
    for cid in load.blocks:
        data = await node.shell.storage.run(lambda store, cid=cid: store.blocks.get(cid))
        assert data is not None
        body += b"".join(encode_section(name, block) for name, block in sections(cid, data))
    await asyncio.to_thread(file.write_bytes, encode_header(()) + body)


async def take(node: Node, file: Path) -> tuple[int, list[str]]:
    """What `icn-lite work import` does; how much was taken, and why the rest was not."""
    taken, refused = 0, []
    with CarFile(str(file)) as car:
        for block in car.signed():
            try:
                _, missing = await stick_of(node).wants(block)
                for cid in missing:
                    data = car.blob(cid)
                    assert data is not None
                    await node.shell.storage.run(lambda store, cid=cid, data=data: store.blocks.put(cid, data))
                await stick_of(node).take(block)
                taken += 1
            except IcnLiteError as error:
                refused.append(error.message)
    return taken, refused


def steps(node: Node) -> list[Step]:
    assert node.executions is not None
    return [work.step for run in node.executions.leases.values() for work in run.machine.shards.values()]


async def test_receipts_and_acknowledgements_travel_both_ways_without_a_network(world: World, tmp_path: Path) -> None:
    device = await world.start("device", Role.EXECUTE, offline_hours=24)
    owner = await world.start("owner", Role.SUBMIT, peers=device.shell.endpoints)
    await until(owner, lambda: bool(owner.shell.peers.live(owner.clock.now_ms())))
    inputs = [bytes([n]) * OUTPUT_BYTES for n in range(SHARDS)]
    module = await command(owner, "put_block", wide_guest(400_000, OUTPUT_BYTES))
    job = await submit(
        owner,
        inputs,
        redundancy={"type": "None"},
        deadline_in_s=200_000,
        runtime={"type": "WASM", "module": module, "function": "run", "memory_pages": 20},
        compute={"max_fuel": 10_000_000, "timeout_ms": 20_000},
    )
    await until(device, lambda: len(steps(device)) == SHARDS and Step.FETCHING not in steps(device))
    await world.stop("owner")
    await world.stop("device")
    device = await world.start("device", Role.EXECUTE, offline=True)
    await until(device, lambda: set(steps(device)) <= {Step.UNACKED, Step.DONE})

    stick = tmp_path / "stick.car"
    await export(device, stick)
    owner = await world.start("owner", Role.SUBMIT)  # which nobody can reach
    done = [shard for shard in (await command(owner, "job", job=str(job)))["shards"] if shard["runs"]]
    taken, refused = await take(owner, stick)
    assert refused == []
    assert taken + len(done) >= SHARDS
    assert await ended(owner, job) == "completed"
    again, refused = await take(owner, stick)
    assert (again, refused) == (taken, []), "a stick may be read twice"
    paid = (await command(owner, "job", job=str(job)))["paid"]
    assert (await command(owner, "ledger"))["sum"] == 0

    back = tmp_path / "back.car"
    await export(owner, back)
    taken, refused = await take(device, back)
    assert (taken, refused) == (SHARDS, [])
    await until(device, lambda: not device.executions.leases)  # type: ignore[union-attr]
    assert (await command(owner, "job", job=str(job)))["paid"] == paid


async def test_what_is_for_others_or_changed_on_the_way_changes_nothing(world: World, tmp_path: Path) -> None:
    coordinator, first, _ = await world.trio()
    job = await submit(coordinator, [b"one", b"two"])
    assert await ended(coordinator, job) == "completed"
    load = await stick_of(coordinator).load()
    assert load.documents, "acknowledgements"
    stranger = await world.start("stranger")
    for block in load.documents:
        with pytest.raises(VerificationError, match="not for this node"):
            await stick_of(stranger).wants(block)
    receipt = await coordinator.shell.storage.run(lambda store: store.receipts.get(store.receipts.list()[0].cid))
    with pytest.raises(VerificationError, match="none of ours"):
        await stick_of(stranger).wants(receipt)
    broken = receipt[:-1] + bytes([receipt[-1] ^ 1])
    for node in (coordinator, stranger, first):
        with pytest.raises(IcnLiteError):
            await stick_of(node).wants(broken)
    assert read_receipt(receipt).document.job == job
    with pytest.raises(IcnLiteError):
        await stick_of(first).wants(document.encode(read_receipt(receipt).document))  # unsigned
