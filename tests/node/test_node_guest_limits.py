"""What a device keeps of output, log and host calls: by its profile it declines or fails, and changes no result."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import wasmtime
from node_world import World, command, ended, submit, until

from icn_lite.model.errors import FailureReason
from icn_lite.model.receipt import ExecutionReceipt, read_receipt
from icn_lite.node.config import Role
from icn_lite.node.node import Node
from icn_lite.store.db import Store

PROFILES = Path(__file__).resolve().parents[2] / "firmware_profiles"
CALLS = """(module
  (import "icn" "log" (func $log (param i32 i32)))
  (import "icn" "put_output" (func $put (param i32 i32) (result i32)))
  (memory 1)
  (func (export "run") (result i32) (local $i i32)
    (loop (call $log (i32.const 0) (i32.const 100))
      (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const COUNT))))
    (call $put (i32.const 0) (i32.const 8))))"""


def profile(folder: Path, **guest: int) -> str:
    """The server's profile with other limits for guests."""
    text = (PROFILES / "server.toml").read_text(encoding="utf-8")
    for key, value in guest.items():
        text, found = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
        assert found == 1, key
    path = folder / "small.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


async def pair(world: World, **guest: int) -> tuple[Node, Node]:
    executor = await world.start("executor-1", Role.EXECUTE, profile=profile(world.folder, **guest))
    coordinator = await world.start("coordinator", Role.SUBMIT, peers=tuple(executor.shell.endpoints))
    await until(coordinator, lambda: len(coordinator.shell.peers.live(coordinator.clock.now_ms())) == 1)
    await until(executor, lambda: bool(executor.shell.peers.live(executor.clock.now_ms())))
    return coordinator, executor


async def test_more_output_than_the_device_keeps_is_a_reason_to_decline(world: World) -> None:
    coordinator, executor = await pair(world, output_bytes=4096)
    alone = {"type": "None"}
    job = await submit(coordinator, [b"x"], storage={"max_output_bytes": 4097}, redundancy=alone)
    declined = executor.executions.offers.declined
    await until(executor, lambda: job in declined)
    assert declined[job].message == "outputs of 4097 bytes: this device keeps 4096 at most"
    shown = (await command(executor, "status"))["declined"]
    assert [(row["code"], row["needed"], row["available"], row["unit"]) for row in shown] == [
        ("J009", 4097, 4096, "bytes")
    ]
    fits = await submit(coordinator, [b"x"], storage={"max_output_bytes": 4096}, redundancy=alone)
    assert await ended(coordinator, fits) == "completed"


@pytest.mark.parametrize(("count", "failure"), [(999, None), (1000, FailureReason.OUT_OF_MEMORY)])
async def test_more_host_calls_than_the_device_has_memory_for_fail_there(
    world: World, count: int, failure: FailureReason | None
) -> None:
    coordinator, executor = await pair(world, host_calls=1000, log_bytes=10)
    module = bytes(wasmtime.wat2wasm(CALLS.replace("COUNT", str(count))))
    await submit(coordinator, [b"x"], module, redundancy={"type": "None"})

    def receipts(store: Store) -> list[ExecutionReceipt]:
        blocks = [store.receipts.get(row.cid) for row in store.receipts.list()]
        return [read_receipt(block).document for block in blocks if block is not None]

    async def has_run() -> bool:
        return bool(await executor.shell.storage.run(receipts))

    await until(executor, has_run)
    (receipt,) = await executor.shell.storage.run(receipts)
    assert (receipt.failure, receipt.host_calls) == (failure, 1000)
