"""How many receipts a second go from one bridge through a NATS hub to another, beside nats-py alone.

The hub and two leaf nodes are real nats-server processes; receipts begin in the sender's outbox on the disk, are
verified on both sides, stored by the hub, confirmed by the other bridge, and cleared. The baseline publishes the same
bytes from one plain client through the same leaf, as many at a time, and pulls them with another.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import nats
from nats.js import api

from icn_lite.bridge import nats_layout as layout
from icn_lite.bridge.backoff import Backoff
from icn_lite.bridge.nats import NatsUpstream
from icn_lite.bridge.nats_address import NatsAddress
from icn_lite.bridge.outward import WINDOW, Outward
from icn_lite.bridge.upstream import ReceiptCame, State
from icn_lite.model.cid import Cid
from icn_lite.model.cose import KeySigner
from icn_lite.model.document import Sealed
from icn_lite.model.receipt import NO_SIGNATURE, Clock, ExecutionReceipt, ReceiptStatus, sign_receipt
from icn_lite.node.bridge_book import StoreOutbox
from icn_lite.node.clock import Clock as NodeClock
from icn_lite.node.peerbook import PeerBook
from icn_lite.node.shell import Shell
from icn_lite.node.storage import Storage
from icn_lite.store.db import Store

RECEIPTS = 2_000
RUNS = 3
START_S = 20.0
HERE, THERE = KeySigner(b"\x01" * 32), KeySigner(b"\x02" * 32)

Row = dict[str, str | int | float | bool | None]


def rows() -> Iterator[Row]:
    if shutil.which("nats-server") is None:
        raise RuntimeError("nats-server is missing (Debian: nats-server)")
    yield from asyncio.run(_measure())


async def _measure() -> list[Row]:
    receipts = _chain(RECEIPTS)
    ours, plain, taken = list[float](), list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        async with _servers(Path(folder)) as (port_here, port_there):
            for run in range(RUNS):  # in turns, because others load the machine
                plain.append(await _plain(port_here, port_there, receipts, run))
                seconds, in_s = await _ours(Path(folder) / f"home{run}", port_here, port_there, receipts)
                ours.append(seconds)
                taken.append(in_s)
    rate, alone = RECEIPTS / statistics.median(ours), RECEIPTS / statistics.median(plain)
    return [
        {
            "name": f"{RECEIPTS} receipts, outbox to the other bridge through leaf, hub and leaf",
            "value": round(rate), "unit": "1/s", "baseline": f"nats-py alone {alone:.0f}",
        },
        {
            "name": "receipts into the outbox, each on the disk before its answer",
            "value": round(RECEIPTS / 10 / statistics.median(taken)), "unit": "1/s",
        },
    ]  # fmt: skip


def _chain(length: int) -> list[Sealed[ExecutionReceipt]]:
    chain: list[Sealed[ExecutionReceipt]] = []
    for seq in range(length):
        receipt = ExecutionReceipt(
            job=Cid.of_dag_cbor(b"job"), shard=seq, stage=0, module=Cid.of_raw(b"module"), input=Cid.of_raw(b"input"),
            output=Cid.of_raw(b"output"), status=ReceiptStatus.COMPLETED, fuel_used=1, fuel_limit=2,
            schedule="icn-fuel-1", meter="1", peak_pages=1, host_calls=0, cpu_ms=1, wall_ms=1, executor=HERE.did,
            seq=seq, clock=Clock(bytes(16), 1, 0), price=1, core_signature=NO_SIGNATURE,
            prev=chain[-1].cid if chain else None,
        )  # fmt: skip
        chain.append(sign_receipt(receipt, HERE))
    return chain


async def _ours(home: Path, here: int, there: int, receipts: list[Sealed[ExecutionReceipt]]) -> tuple[float, float]:
    """Seconds for all of them to arrive, and for a tenth to be taken in."""
    storage = Storage(home, 64 << 20)
    await storage.open()
    shell = Shell(HERE, NodeClock(), storage, PeerBook(HERE.did))
    sender, receiver = _upstream(here, HERE), _upstream(there, THERE)
    outward = Outward(sender, StoreOutbox(shell, "bench"), Backoff(Random(1)), shell.clock.now_ms)
    route = layout.token(THERE.did)
    for upstream in (sender, receiver):
        await upstream.start()
        await _until_up(upstream)
    begun_s = time.perf_counter()
    for receipt in receipts[: len(receipts) // 10]:
        await outward.take_receipt(receipt, route)
    in_s = time.perf_counter() - begun_s
    rest = receipts[len(receipts) // 10 :]
    await storage.transact(lambda store: _fill(store, rest, route))
    await outward.start()
    begun_s = time.perf_counter()
    task = asyncio.create_task(outward.run())
    count = 0
    async for delivery in receiver.events():
        if isinstance(delivery.event, ReceiptCame):
            await delivery.confirm()
            count += 1
        if count == len(receipts):
            break
    seconds = time.perf_counter() - begun_s
    while len(outward.line):  # noqa: ASYNC110 -- nobody rings
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await _purge(here)
    await sender.close()
    await receiver.close()
    await storage.close()
    return seconds, in_s


def _fill(store: Store, receipts: list[Sealed[ExecutionReceipt]], route: str) -> None:
    from icn_lite.model import cbor

    for receipt in receipts:
        store.journal.append("outbox:bench", str(receipt.cid), cbor.encode([route, receipt.block]))


def _upstream(port: int, signer: KeySigner) -> NatsUpstream:
    return NatsUpstream(NatsAddress.parse(f"nats://127.0.0.1:{port}?domain=hub"), signer, Random(1))


async def _until_up(upstream: NatsUpstream) -> None:
    async with asyncio.timeout(START_S):
        while upstream.health().state is not State.UP:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def _purge(port: int) -> None:
    """Forget what was sent, so that the next run's receipts aren't known already."""
    client = await nats.connect(f"nats://127.0.0.1:{port}")
    await client.jetstream(domain="hub").delete_stream(layout.RECEIPTS)
    await client.close()


async def _plain(here: int, there: int, receipts: list[Sealed[ExecutionReceipt]], run: int) -> float:
    sender, receiver = await nats.connect(f"nats://127.0.0.1:{here}"), await nats.connect(f"nats://127.0.0.1:{there}")
    js, far = sender.jetstream(domain="hub"), receiver.jetstream(domain="hub")
    name = f"PLAIN{run}"
    await js.add_stream(api.StreamConfig(name=name, subjects=[f"plain{run}"]))
    sub = await far.pull_subscribe(f"plain{run}", durable="d", stream=name)
    begun_s = time.perf_counter()

    async def publish() -> None:
        for start in range(0, len(receipts), WINDOW):
            await asyncio.gather(
                *(
                    js.publish(f"plain{run}", one.block, stream=name, headers={"Nats-Msg-Id": str(one.cid)})
                    for one in receipts[start : start + WINDOW]
                )
            )

    publishing, count = asyncio.create_task(publish()), 0
    while count < len(receipts):
        for message in await sub.fetch(WINDOW, timeout=5):
            await message.ack()
            count += 1
    await publishing
    seconds = time.perf_counter() - begun_s
    await sender.close()
    await receiver.close()
    return seconds


@contextlib.asynccontextmanager
async def _servers(folder: Path) -> AsyncIterator[tuple[int, int]]:
    """A hub and two leaf nodes; yields the leaves' ports."""
    hub, leaves, first, second = (_free_port() for _ in range(4))
    configs = {
        "hub": f'listen: 127.0.0.1:{hub}\njetstream {{ store_dir: "{folder}/hub", domain: hub, max_file_store: 1GB }}\n'
        f"leafnodes {{ listen: 127.0.0.1:{leaves} }}\n",
        **{
            f"leaf-{port}": f"listen: 127.0.0.1:{port}\n"
            f'leafnodes {{ remotes: [{{ url: "nats://127.0.0.1:{leaves}" }}] }}\n'
            for port in (first, second)
        },
    }
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for name, config in configs.items():
            path = folder / f"{name}.conf"
            path.write_text(f"server_name: {name}\n{config}")
            processes.append(
                subprocess.Popen(  # noqa: ASYNC220
                    ["nats-server", "-c", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            )
        for port in (hub, first, second):
            await _listening(port)
        await asyncio.sleep(1.5)  # the leaves' first links
        yield first, second
    finally:
        for process in processes:
            process.kill()
            process.wait()


async def _listening(port: int) -> None:
    async with asyncio.timeout(START_S):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
