"""Blobs and logs between nodes: inputs and outputs larger than a block, and what a guest says while it runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from node_stranger import Stranger
from node_world import World, until
from test_node_refusals import executor_and_originator, strangers

from icn_lite.mesh import table as paths
from icn_lite.mesh.streams import Where
from icn_lite.model import unixfs
from icn_lite.model.cid import DAG_PB, Cid
from icn_lite.model.errors import PeerRefused
from icn_lite.model.job import InputSpec
from icn_lite.model.receipt import ReceiptStatus
from icn_lite.model.unixfs import CHUNK_BYTES
from icn_lite.node import execution
from icn_lite.resources import guest_module

__all__ = ["strangers"]  # a fixture

DATA = bytes(range(256)) * 2_600  # three leaves, the last one not full
SAID = b"hello from a guest\n"
TALKER = """(module (import "icn" "log" (func $log (param i32 i32)))
  (memory (export "memory") 1) (data (i32.const 0) "hello from a guest")
  (func (export "run") (result i32) (call $log (i32.const 0) (i32.const 18)) (i32.const 0)))"""


def serve(originator: Stranger, data: bytes) -> Cid:
    """Let a stranger have every block of a blob."""
    tree = unixfs.tree_of(data)
    originator.blocks |= dict(tree.nodes)
    originator.blocks |= {leaf: data[at * CHUNK_BYTES :][:CHUNK_BYTES] for at, leaf in enumerate(tree.leaves)}
    return tree.root


async def test_an_input_and_an_output_larger_than_a_block(world: World, strangers: list[Stranger]) -> None:
    _node, originator = await executor_and_originator(world, strangers)
    given = originator.job(b"", guest_module("echo"))
    job = replace(given, input=InputSpec(data=serve(originator, DATA), total_bytes=len(DATA)))
    bid = await originator.announce(job)
    await originator.post(paths.LEASES, originator.lease(job, bid).block)
    receipt = (await originator.until(lambda: originator.receipts))[0].document
    assert (receipt.status, receipt.output) == (ReceiptStatus.COMPLETED, unixfs.blob_cid(DATA))
    assert receipt.output.codec == DAG_PB
    assert await originator.client.fetch_block([originator.uri], receipt.output, len(DATA)) == DATA


async def test_an_output_stays_for_its_originator_while_there_is_room(
    world: World, strangers: list[Stranger], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, originator = await executor_and_originator(world, strangers)
    assert node.executions is not None
    outputs = []
    for number in range(3):
        if number == 2:
            monkeypatch.setattr(execution, "OUTPUTS_SHARE", 1 << 30)  # no room at all
        job = originator.job(b"payload %d" % number, guest_module("echo"), nonce=bytes([number]) * 16)
        bid = await originator.announce(job)
        await originator.post(paths.LEASES, originator.lease(job, bid).block)
        await originator.until(lambda count=number: len(originator.receipts) > count)
        await until(node, lambda: not node.executions.leases)
        outputs.append(Cid.of_raw(b"payload %d" % number))
        kept = [await node.shell.storage.run(lambda store, cid=cid: store.blocks.pinned(cid)) for cid in outputs]
        assert kept == ([True] * (number + 1) if number < 2 else [False] * 3)


async def test_what_a_guest_says_is_read_by_offset(world: World, strangers: list[Stranger]) -> None:
    wasmtime = pytest.importorskip("wasmtime", reason="wasmtime, which assembles the guest, is missing")
    _node, originator = await executor_and_originator(world, strangers)
    job = originator.job(b"", bytes(wasmtime.wat2wasm(TALKER)))
    bid = await originator.announce(job)
    lease = originator.lease(job, bid)
    await originator.post(paths.LEASES, lease.block)
    await originator.until(lambda: originator.receipts)
    read = b""
    while True:
        piece = await originator.client.read_log(originator.uri, lease.cid, Where(0, len(read), 1000))
        read += piece.data
        if piece.ended:
            break
    assert read == SAID
    assert (await originator.client.read_log(originator.uri, lease.cid, Where(0, 6))).data == SAID[6:]
    with pytest.raises(PeerRefused, match="no log of lease"):
        await originator.client.read_log(originator.uri, lease.cid, Where(1))
