"""The verification guests as jobs: run twice by strangers and compared; and blocks that a guest writes."""

from __future__ import annotations

import cbor2
import wasmtime
from node_world import World, command, ended, submit, until
from verify_packer import load_packer

from icn_lite.model.cid import Cid
from icn_lite.resources import guest_module


def inputs() -> dict[str, bytes]:
    """One shard for each guest, whose second item is bad."""
    make = load_packer()
    leaves = [b"one", b"two", b"three"]
    proofs = [(i, leaf, make.tree_path(leaves, i)) for i, leaf in enumerate(leaves)]
    key = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")  # RFC 8032 §7.1, test 1
    signature = bytes.fromhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )
    signatures = make.ed25519([(b"", key, signature), (b"x", key, signature)])
    return {
        "merkle": make.merkle(3, make.tree_hash(leaves), [proofs[0], (1, b"other", proofs[1][2])]),
        "ed25519": signatures,
        "ed25519_native": signatures,
        "wellformed": make.wellformed([(make.JSON, b"{}"), (make.JSON, b"{")]),
    }


async def test_each_verification_guest_is_a_job(world: World) -> None:
    coordinator, *_ = await world.trio()
    jobs = {name: await submit(coordinator, [data], guest_module(name)) for name, data in inputs().items()}
    for name, job in jobs.items():
        assert await ended(coordinator, job) == "completed", name
        (shard,) = (await command(coordinator, "job", job=str(job)))["shards"]
        assert len({(run["executor"]) for run in shard["runs"]}) == 2
        assert len({run["fuel_used"] for run in shard["runs"]}) == 1, name
        report = cbor2.loads(bytes.fromhex(await command(coordinator, "get_block", cid=shard["output"])))
        assert (report["items"], report["mismatches"]) == (2, [1]), name


WRITER = """(module
  (import "icn" "host_data_write_buffer" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "icn" "put_output" (func $put (param i32 i32) (result i32)))
  (memory 1) (data (i32.const 0) "kept beside the output")
  (func (export "run") (result i32)
    (call $put (i32.const 100) (call $write (i32.const 0) (i32.const 22) (i32.const 100) (i32.const 59)))))"""


async def test_a_block_that_a_guest_writes_is_kept_by_who_ran_it(world: World) -> None:
    coordinator, *executors = await world.trio()
    job = await submit(coordinator, [b"x"], bytes(wasmtime.wat2wasm(WRITER)))
    assert await ended(coordinator, job) == "completed"
    (shard,) = (await command(coordinator, "job", job=str(job)))["shards"]
    name = bytes.fromhex(await command(coordinator, "get_block", cid=shard["output"])).decode()
    block = b"kept beside the output"
    assert name == str(Cid.of_raw(block))
    for executor in executors:
        await until(executor, lambda e=executor: not e.executions.leases)
        assert bytes.fromhex(await command(executor, "get_block", cid=name)) == block
