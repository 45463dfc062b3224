"""Syncing: what two nodes send to find a hundred differences among a hundred thousand receipts, and how fast many come.

The nodes are real ones on loopback, within the guarded channel, both in this process. What they have in common is noise
of a receipt's length, put straight into the store's tables: it is compared and never sent. Whatever is sent is a signed
receipt with hashes and times of its own, and is verified.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from icn_lite.model import cose
from icn_lite.model.cid import Cid
from icn_lite.model.cose import KeySigner
from icn_lite.model.did import Did
from icn_lite.model.receipt import NO_SIGNATURE, Clock, ExecutionReceipt, Health, ReceiptStatus, sign_receipt
from icn_lite.node.config import Config, Role
from icn_lite.node.cooperatives import CooperativeSigner
from icn_lite.node.fleet import enrol
from icn_lite.node.home import Home
from icn_lite.node.node import Node, NodeOptions
from icn_lite.store.db import Store
from icn_lite.work.reconcile import Differences, SortedItems, answer, begin, go_on

Row = dict[str, str | int | float | bool | None]

CHAINS = 100
EACH = 1_000
RECEIPT_BYTES = 880
DIFFERENT = 100
MANY = 10_000
RUNS = 3
BYTES_GOAL = 64 << 10
MS_GOAL = 2_000
PER_S_GOAL = 1_500
GROWTH_MB_GOAL = 16
COOPERATIVE = CooperativeSigner(b"\xc0" * 32)


def receipt_of(executor: Did, seq: int, prev: Cid | None, dice: random.Random) -> ExecutionReceipt:
    """Like a real one: hashes that differ, times that differ, one job."""
    job = Cid.of_dag_cbor(b"\xa0")
    return ExecutionReceipt(
        job=job, shard=seq, stage=0, module=Cid.of_raw(b"module"), input=Cid.of_raw(dice.randbytes(8)),
        status=ReceiptStatus.COMPLETED, fuel_used=dice.randrange(1 << 30), fuel_limit=1 << 31, schedule="icn-fuel-1",
        meter="icn-meter/1", peak_pages=17, host_calls=12, cpu_ms=dice.randrange(900), wall_ms=dice.randrange(900),
        executor=executor, seq=seq, clock=Clock(b"b" * 16, dice.randrange(1 << 30), 1_790_000_000 + seq), price=77,
        core_signature=NO_SIGNATURE, prev=prev, lease=Cid.of_raw((seq // 32).to_bytes(4, "big")),
        output=Cid.of_raw(dice.randbytes(8)), exit_code=0, health=Health(88, True, 45_000),
    )  # fmt: skip


def signers(count: int) -> list[KeySigner]:
    return [KeySigner(number.to_bytes(32, "big")) for number in range(1, count + 1)]


def fill(folder: Path) -> None:
    """A home with a hundred thousand receipts, a hundred executors' chains."""
    dice = random.Random(1)
    with Store.open(folder) as store, store.transaction():
        for signer in signers(CHAINS):
            did, total, before = str(signer.did), 0, None
            for seq in range(EACH):
                block = dice.randbytes(RECEIPT_BYTES)
                cid = Cid.of_dag_cbor(block)
                total += int.from_bytes(cid.digest, "big")
                store._db.run(
                    "INSERT INTO receipts(cid, executor, seq, prev, job, shard, status, fuel_used, data, whole,"
                    " anchored) VALUES (?, ?, ?, ?, '', 0, 'completed', 0, ?, 1, 1)",
                    (str(cid), did, seq, before, block),
                )
                before = str(cid)
            summed = (total % (1 << 256)).to_bytes(32, "big")
            store._db.run("INSERT INTO chains VALUES (?, ?, ?, 0, ?, ?)", (did, EACH, EACH, summed, before))


def extend(store: Store, chosen: list[KeySigner], count: int) -> None:
    """More receipts, signed, on these chains in turn."""
    dice = random.Random(2)
    with store.transaction():
        for number in range(count):
            signer = chosen[number % len(chosen)]
            link = store.receipts.next_link(signer.did)
            store.receipts.put_sealed(sign_receipt(receipt_of(signer.did, link.seq, link.prev, dice), signer))


@contextlib.asynccontextmanager
async def running(home: Home, name: str) -> AsyncIterator[Node]:
    """A node on a home that may have receipts already."""
    home.create()
    signer = KeySigner(name.encode().ljust(32, b"\1"))
    enrol(home, signer, COOPERATIVE, "bench")
    config = Config(port=0, bind="127.0.0.1", mdns=False, profile="server", workers=1, roles=(Role.SUBMIT,))
    node = Node(NodeOptions(home, config, signer))
    ready = asyncio.Event()
    task = asyncio.create_task(node.run(ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiting}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        yield node
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@dataclass(slots=True)
class Count:
    """Frames and their bytes, as they go over."""

    asks: int = 0
    bytes: int = 0


async def session(mine: Node, theirs: Node) -> tuple[Count, float, int, int]:
    """One session: what went over, ms, receipts fetched and given."""
    assert mine.syncing is not None
    assert mine.syncing._asker is not None
    await mine.shell.courier.ping_ms(theirs.shell.endpoints[0])  # type: ignore[attr-defined]  # the handshake
    count, asker = Count(), mine.syncing._asker
    ask = type(asker).sync

    async def counted(uri: str, frame: bytes, *, udp: bool = False, to: Did | None = None) -> bytes:
        got = await ask(asker, uri, frame, udp=udp, to=to)  # type: ignore[arg-type]
        count.asks += 1
        count.bytes += len(frame) + len(got)
        return got

    asker.sync = counted  # type: ignore[method-assign]
    begun = time.perf_counter()
    report = await mine.syncing.sync_with(theirs.shell.endpoints[0], theirs.shell.did)
    spent = (time.perf_counter() - begun) * 1000
    del asker.sync
    return count, spent, report.fetched, report.given


async def differences(folder: Path, chains: int) -> tuple[Count, float]:
    """A hundred receipts that one side lacks: of one chain all of them, of a hundred chains half on either side."""
    homes = [Home(folder / side) for side in ("a", "b")]
    for home in homes:
        shutil.copytree(folder / "filled", home.path)
    chosen = signers(CHAINS)
    async with running(homes[0], "a") as one, running(homes[1], "b") as other:
        if chains == 1:
            await one.shell.storage.run(lambda store: extend(store, chosen[:1], DIFFERENT))
        else:
            half = len(chosen) // 2
            await one.shell.storage.run(lambda store: extend(store, chosen[:half], DIFFERENT // 2))
            await other.shell.storage.run(lambda store: extend(store, chosen[half:], DIFFERENT // 2))
        count, spent, fetched, given = await session(one, other)
    assert fetched + given == DIFFERENT, (fetched, given)
    for home in homes:
        shutil.rmtree(home.path)
    return count, spent


async def fresh(folder: Path) -> tuple[float, int, float]:
    """A fresh node takes ten thousand: receipts a second, bytes, MB that it grew by in the second half."""
    async with running(Home(folder / "full"), "full") as full, running(Home(folder / "fresh"), "fresh") as new:
        await full.shell.storage.run(lambda store: extend(store, signers(10), MANY // 2))
        await session(new, full)  # the first half: everything is loaded and warm
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await full.shell.storage.run(lambda store: extend(store, signers(10), MANY // 2))
        made = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        count, spent, fetched, _ = await session(new, full)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - max(before, made)
        assert fetched == MANY // 2
    shutil.rmtree(folder / "full")
    shutil.rmtree(folder / "fresh")
    return fetched / spent * 1000, count.bytes, grown / 1024


def rows() -> Iterator[Row]:
    rounds, size, spent = sets()
    yield {"name": f"a set without a chain: {DIFFERENT} of 100,000 differ: rounds", "value": rounds, "unit": ""}
    yield {"name": "… bytes", "value": size, "unit": "B"}
    yield {"name": "… both sides' time", "value": round(spent), "unit": "ms"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        filled = Home(folder / "filled")
        filled.create()
        fill(filled.path)
        for chains in (1, CHAINS):
            found = [asyncio.run(differences(folder, chains)) for _ in range(RUNS)]
            size = max(count.bytes for count, _ in found)
            spent = statistics.median(spent for _, spent in found)
            of = f"{DIFFERENT} of 100,000 receipts differ, in {chains} of {CHAINS} chains"
            yield {"name": f"{of}: bytes", "value": size, "unit": "B", "goal": BYTES_GOAL, "ok": size < BYTES_GOAL}
            yield {"name": "… exchanges", "value": found[0][0].asks, "unit": ""}
            yield {"name": "… time", "value": round(spent), "unit": "ms", "goal": MS_GOAL, "ok": spent < MS_GOAL}
        shutil.rmtree(filled.path)
        taken = [asyncio.run(fresh(folder)) for _ in range(RUNS)]
    per_s = round(statistics.median(rate for rate, _, _ in taken))
    yield {
        "name": f"a fresh node takes receipts, of {MANY:,}, each verified",
        "value": per_s,
        "unit": "1/s",
        "baseline": f"signatures alone {signatures_per_s()}",
        "goal": PER_S_GOAL,
        "ok": per_s >= PER_S_GOAL,
    }
    yield {"name": "… a receipt on the wire", "value": round(taken[0][1] / (MANY // 2)), "unit": "B"}
    grown = round(max(grown for _, _, grown in taken), 1)
    name = "… memory that the second half adds, both nodes"
    yield {"name": name, "value": grown, "unit": "MB", "goal": GROWTH_MB_GOAL, "ok": grown <= GROWTH_MB_GOAL}


def signatures_per_s() -> int:
    """Receipts a second, were there nothing to do but to verify two signatures of each, on this machine now."""
    signer = signers(1)[0]
    message = bytes(700)
    signature = signer.sign(message)
    begun = time.perf_counter()
    for _ in range(1_000):
        cose.verify_bytes(signer.did, message, signature)
    return round(500 / (time.perf_counter() - begun))


def sets() -> tuple[int, int, float]:
    """Two sets of a hundred thousand without a chain that differ in a hundred: rounds, bytes, ms."""
    dice = random.Random(3)
    both = [(0, dice.randbytes(16)) for _ in range(CHAINS * EACH)]
    mine, theirs = SortedItems(both[: -DIFFERENT // 2]), SortedItems(both[DIFFERENT // 2 :])
    begun = time.perf_counter()
    found, message, rounds, size = Differences(), begin(mine), 0, 0
    while message:
        reply = answer(theirs, message, 48 << 10)
        rounds, size = rounds + 1, size + len(message) + len(reply)
        message = go_on(mine, reply, 48 << 10, found)
    assert len(found) == DIFFERENT
    return rounds, size, (time.perf_counter() - begun) * 1000
