"""What a node costs while nothing happens, and what it adds to the guests' own time while something does.

Idle: three nodes with the default settings on loopback, looked at over a window that begins when their greetings and
mDNS probes are over: half a minute, ten minutes with ICN_LITE_LONG=1. They have a network of their own where this may
make one (root on Linux); elsewhere other nodes on this machine find them as well and make them less idle: the number of
peers stands in the name. Resident is RSS, all pages of the node's process, those of shared libraries too. Work: a job
over shards of 1 MiB for the demo's guest, every shard by two executors, beside one process that runs the same shards as
often. A shard costs two runs, three transfers' worth of blocks, and five commits.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from icn_lite.model.cid import Cid
from icn_lite.model.cose import KeySigner
from icn_lite.model.receipt import Clock
from icn_lite.node.demo import DemoOptions, run_demo
from icn_lite.node.fleet import FleetNode, fleet
from icn_lite.node.manifest import fuel_for
from icn_lite.node.receipting import RunRecord, RunSubject, store_run
from icn_lite.resources import guest_module
from icn_lite.sandbox.outcome import RunContext, RunOutcome, RunRequest
from icn_lite.sandbox.pool import Pool, PoolConfig
from icn_lite.store.db import Store
from icn_lite.wasm.limits import DEFAULT_LIMITS
from icn_lite.wasm.prepare import prepare

sys.path.insert(0, str(Path(__file__).parent))
from _jobs import COPIES, PAGES, crew, listed, make_shards, meet, settle_s

QUIET_S = 25.0  # probes, first queries and first greetings after the nodes have met
WINDOW_S = 600.0 if os.environ.get("ICN_LITE_LONG") else 30.0  # as often as they greet
CLONE_NEWNET = 0x40000000  # unshare(2)
SHARDS = 24
COMMITS = 60
STARTS = 3
DEMO_FILES = 300
RSS_GOAL_MB = 36.0
WAKE_UPS_GOAL = 1.0
DEMO_GOAL_S = 60
# Everything from outside that a node loads, and nothing of ours.
LIBRARIES = (
    "import asyncio, sqlite3, click, aiocoap, aiocoap.transports.tcp, zeroconf.asyncio, cbor2, nacl.signing, psutil"
)

Row = dict[str, str | int | float | bool | None]


def rows() -> Iterator[Row]:
    yield from _start()
    yield _commit()
    yield from _idle()
    yield _throughput()
    yield from _demo()


# -- memory and rest


def _idle() -> Iterator[Row]:
    _alone()
    with tempfile.TemporaryDirectory() as folder, fleet(Path(folder)) as nodes:
        # Submitters: they have a sandbox as well, and no other node of this machine gives them work meanwhile.
        first, *others = (nodes.start(f"node-{number}", "submit", "server") for number in (1, 2, 3))
        nodes.wait_ready()
        meet(first, others)
        time.sleep(QUIET_S)  # a bench measures time; nothing else tells that zeroconf has said everything
        trees = [_tree(node) for node in others]
        before = [[_use(pid) for pid in tree] for tree in trees]
        begun = time.monotonic()
        time.sleep(WINDOW_S)
        spent = time.monotonic() - begun
        after = [[_use(pid) for pid in tree] for tree in trees]
        pairs = [list(zip(now, then, strict=True)) for now, then in zip(after, before, strict=True)]
        wakes = statistics.mean(sum(now.wakes - then.wakes for now, then in pair) for pair in pairs) / spent
        cpu_ms = statistics.mean(sum(now.cpu_ms - then.cpu_ms for now, then in pair) for pair in pairs) / spent * 60
        resident = [[_memory(pid) for pid in tree] for tree in trees]
        peers = len(listed(first, "peers"))
    bare, isolated, libraries = _resident("", "-c"), _resident("", "-I", "-S", "-c"), _resident(LIBRARIES, "-c")
    rss, pss = (statistics.mean(figures[0][kind] for figures in resident) for kind in ("Rss", "Pss"))
    sandbox = statistics.mean(sum(figure["Pss"] for figure in figures[1:]) for figures in resident)
    yield {"name": "idle node, resident (baseline: bare Python; peer: its libraries alone)", "value": round(rss, 1),
           "unit": "MB", "baseline": bare["Rss"], "peer": libraries["Rss"], "goal": RSS_GOAL_MB,
           "ok": rss <= RSS_GOAL_MB}  # fmt: skip
    yield {"name": "idle node, proportional share (PSS)", "value": round(pss, 1), "unit": "MB",
           "baseline": bare["Pss"], "peer": libraries["Pss"]}  # fmt: skip
    yield {"name": "its zygote and spares, proportional share (baseline: python -I -S)", "value": round(sandbox, 1),
           "unit": "MB", "baseline": isolated["Pss"]}  # fmt: skip
    yield {"name": f"idle node with {peers} peers, wake-ups over {WINDOW_S:.0f} s, sandbox included",
           "value": round(wakes, 2), "unit": "1/s", "goal": WAKE_UPS_GOAL, "ok": wakes <= WAKE_UPS_GOAL}  # fmt: skip
    yield {"name": f"idle node with {peers} peers, CPU", "value": round(cpu_ms, 1), "unit": "ms/min"}


def _alone() -> None:
    """A network of our own, where we may: other nodes of this machine would find these."""
    unshare = getattr(ctypes.CDLL(None), "unshare", None)
    if unshare is not None and unshare(CLONE_NEWNET) == 0:
        subprocess.run(["ip", "link", "set", "lo", "up", "multicast", "on"], check=True)
        subprocess.run(["ip", "route", "add", "224.0.0.0/4", "dev", "lo"], check=True)


@dataclass(frozen=True)
class _Use:
    wakes: int
    cpu_ms: float


def _tree(node: FleetNode) -> list[int]:
    """A node's process, then its sandbox's."""
    pids = [node.process.pid]
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            pids += [int(child) for child in (task / "children").read_text().split()]
    return pids


def _use(pid: int) -> _Use:
    """Times that its threads went to sleep, and their CPU, since they began (proc(5): status, schedstat)."""
    wakes, spent_ns = 0, 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        wakes += int(status["voluntary_ctxt_switches"])
        spent_ns += int((task / "schedstat").read_text().split()[0])
    return _Use(wakes, spent_ns / 1e6)


def _memory(pid: int) -> dict[str, float]:
    """MB by kind."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: round(int(line.split()[1]) / 1024, 1) for line in lines}


def _resident(statement: str, *options: str) -> dict[str, float]:
    """A Python that has run a statement and waits."""
    code = f"{statement}\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, *options, code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        found = _memory(process.pid)
        process.communicate(b"\n")
    return found


# -- start


def _start() -> Iterator[Row]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    version, bare = [], []
    for _ in range(STARTS):
        version.append(_seconds([sys.executable, "-m", "icn_lite.cli", "--version"], environment))
        bare.append(_seconds([sys.executable, "-c", "pass"], environment))
    yield {"name": "icn-lite --version (baseline: bare Python)", "value": round(statistics.median(version) * 1000),
           "unit": "ms", "baseline": round(statistics.median(bare) * 1000)}  # fmt: skip
    listening = []
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory() as folder, fleet(Path(folder)) as nodes:
            begun = time.perf_counter()
            nodes.start("node", "execute", "server", ("--no-mdns",))
            nodes.wait_ready()
            listening.append(time.perf_counter() - begun)
    yield {"name": "icn-lite up until it listens, without mDNS's probes",
           "value": round(statistics.median(listening) * 1000), "unit": "ms"}  # fmt: skip


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


# -- work


def _commit() -> Row:
    """A run's output and receipt, signed twice over, chained, on the disk; beside one fsync of as much."""
    signer, block = KeySigner(b"\1" * 32), Cid.of_raw(b"block")
    times, syncs = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        Store.open(Path(folder)) as store,
        (Path(folder) / "plain").open("wb") as plain,
    ):
        for number in range(COMMITS):
            outcome = RunOutcome("completed", "wasm3", 10**9, fuel_used=10**8, output=number.to_bytes(512, "big"))
            subject = RunSubject(job=block, module=block, input=block, fuel_limit=10**9, shard=number, lease=block)
            record = RunRecord(subject, outcome, Clock(bytes(16), 1, 1_800_000_000))
            begun = time.perf_counter()
            store_run(store, signer, record)
            times.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            plain.write(bytes(4096))
            plain.flush()
            os.fsync(plain.fileno())
            syncs.append(time.perf_counter() - begun)
    return {"name": "a shard's receipt and output, signed and committed (baseline: one fsync)",
            "value": round(statistics.median(times) * 1000, 2), "unit": "ms",
            "baseline": round(statistics.median(syncs) * 1000, 2)}  # fmt: skip


def _throughput() -> Row:
    shards = make_shards(SHARDS)
    with tempfile.TemporaryDirectory() as folder, fleet(Path(folder)) as nodes:
        seconds = settle_s(crew(nodes, 2)[0], shards)
    alone = asyncio.run(_alone_s(shards))
    return {"name": f"shards of 1 MiB settled, {COPIES} runs each, three nodes (peer: one process, no mesh)",
            "value": round(SHARDS / seconds, 2), "unit": "1/s", "peer": round(SHARDS / alone, 2)}  # fmt: skip


async def _alone_s(shards: list[bytes]) -> float:
    """Seconds of the same runs by one pool with as many workers as this machine has cores, and nothing else."""
    prepared = prepare(guest_module("manifest"), replace(DEFAULT_LIMITS, memory_pages=PAGES))
    async with Pool(PoolConfig(workers=os.cpu_count() or 1)) as pool:

        async def run(data: bytes, shard: int) -> None:
            request = RunRequest(
                prepared=prepared,
                invoke="run",
                args=(),
                input=data,
                fuel_limit=fuel_for(data, 1),
                timeout_ms=60_000,
                max_pages=PAGES,
                output_limit=1 << 20,
                context=RunContext(job_id="bench", shard=shard, initial_input_cid=""),
                seed=b"",
            )
            outcome = await pool.run(request)
            if outcome.status != "completed":
                raise RuntimeError(f"shard {shard}: {outcome.status} {outcome.detail}")

        begun = time.perf_counter()
        waiting = [(data, shard) for shard, data in enumerate(shards) for _ in range(COPIES)]

        async def worker() -> None:
            while waiting:
                await run(*waiting.pop())

        await asyncio.gather(*(worker() for _ in range(os.cpu_count() or 1)))
        return time.perf_counter() - begun


def _demo() -> Iterator[Row]:
    """The demo as a newcomer sees it, start and re-verification included; its executors keep to their governors."""
    with tempfile.TemporaryDirectory() as folder:
        options = DemoOptions(Path(folder), max_files=DEMO_FILES, mdns=False)
        result = run_demo(options, lambda text: None, lambda what, done, total: None)
    if not result.verified:
        raise RuntimeError(f"the demo failed: {result.message} {result.faults} {result.mismatches}")
    rate = result.bytes / result.seconds / 1e6
    yield {"name": f"demo over {result.files} files, {result.bytes / 1e6:.0f} MB", "value": round(result.seconds, 1),
           "unit": "s", "goal": DEMO_GOAL_S, "ok": result.seconds < DEMO_GOAL_S}  # fmt: skip
    yield {"name": "demo, all in all", "value": round(rate, 1), "unit": "MB/s"}
    yield {"name": "demo, all in all", "value": round(len(result.shards) / result.seconds, 2), "unit": "shards/s"}
