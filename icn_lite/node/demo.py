"""The demo: three nodes on this machine verify the files of the installed packages, and everything is checked.

One coordinator submits, two executors with different profiles run every shard, so that each output has two
witnesses. What is real: processes, sockets, mDNS, the guest, receipts, ledger. What is not: the profiles are those
of other devices than this one, and don't mind what else this machine does. At the end the nodes are stopped, all
receipts are written out as files, and every one is verified from there; one shard is run again by this process and
compared.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from icn_lite.model.cid import Cid
from icn_lite.model.errors import JobError, PeerError
from icn_lite.model.receipt import read_receipt
from icn_lite.node.control import Json
from icn_lite.node.fleet import Fleet, FleetNode, fleet
from icn_lite.node.manifest import ListedFile, Report, fuel_for, listed_files, pack, plan, read_report
from icn_lite.node.submitting import follow, submit_shards
from icn_lite.node.verify import Verdict, rerun, verify_block, verify_chain
from icn_lite.resources import guest_module, profile_files
from icn_lite.store.db import Store
from icn_lite.wasm.limits import PAGE_BYTES

COORDINATOR_PROFILE: Final = "server"
EXECUTOR_PROFILES: Final = ("pi-5", "x86-laptop")
_NO_MANNERS: Final = {"idle_s": 0, "busy_pm": 1000, "busy_resume_pm": 999}
TARGET_BYTES: Final = 1 << 20  # of a shard: one coap+tcp transfer of a fraction of a second, some seconds on a Pi
MAX_PAGES: Final = 640  # what both executors' profiles give a guest
GUEST_PAGES: Final = 8  # stack, tables and report beside the input
MIN_PAGES: Final = 40
DISCOVERY_S: Final = 8.0  # until static peers take over from mDNS
MEETING_S: Final = 30.0
MANA: Final = 1_000_000
BUDGET: Final = 500_000
TIMEOUT_MS: Final = 60_000
DEADLINE_S: Final = 6 * 3600

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What a person may choose."""

    folder: Path
    tamper: bool = False
    max_files: int | None = None
    mdns: bool = True  # without it the nodes are told of each other, and no node of others takes part


@dataclass(slots=True)
class DemoResult:
    """Everything that the demo found out."""

    folder: Path
    nodes: list[dict[str, Json]] = field(default_factory=list)
    found_by: str = ""
    files: int = 0
    bytes: int = 0
    too_large: list[str] = field(default_factory=list)
    tampered: str | None = None
    mismatches: list[str] = field(default_factory=list)
    job: str = ""
    status: str = ""
    message: str | None = None
    shards: list[dict[str, Json]] = field(default_factory=list)
    ledger: dict[str, int] = field(default_factory=dict)
    ledger_sum: int = 0
    receipts: list[str] = field(default_factory=list)
    receipts_verified: int = 0
    faults: list[str] = field(default_factory=list)
    rerun: str = ""
    seconds: float = 0.0

    @property
    def verified(self) -> bool:
        """Every listed file is what its RECORD says, and every statement about it holds."""
        return self.sound and not self.mismatches

    @property
    def sound(self) -> bool:
        """The job completed, every shard was accepted, every receipt holds, the ledger sums to zero."""
        accepted = bool(self.shards) and all(shard["verdict"] == "accepted" for shard in self.shards)
        receipts = bool(self.receipts) and self.receipts_verified == len(self.receipts)
        return self.status == "completed" and accepted and receipts and self.ledger_sum == 0 and not self.faults

    @property
    def as_expected(self) -> bool:
        """Sound, and the only file reported is the one that was tampered with, if any."""
        return self.sound and self.mismatches == ([self.tampered] if self.tampered else [])

    def as_json(self) -> dict[str, Json | float]:
        """The demo's one document."""
        return {
            "verified": self.verified,
            "files": self.files,
            "bytes": self.bytes,
            "mismatches": list[Json](self.mismatches),
            "tampered": self.tampered,
            "too_large": list[Json](self.too_large),
            "nodes": list[Json](self.nodes),
            "found_by": self.found_by,
            "job": self.job,
            "status": self.status,
            "message": self.message,
            "shards": list[Json](self.shards),
            "ledger": {"accounts": dict[str, Json](self.ledger), "sum": self.ledger_sum},
            "receipts": list[Json](self.receipts),
            "receipts_verified": self.receipts_verified,
            "faults": list[Json](self.faults),
            "rerun": self.rerun,
            "seconds": round(self.seconds, 3),
            "home": str(self.folder),
        }


def lent_profile(folder: Path, name: str) -> Path:
    """A file with this profile, but for its manners: executors on one machine would give way to each other, and to
    whoever has just typed the command.
    """
    text = profile_files()[name]
    for key, value in _NO_MANNERS.items():
        text = re.sub(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
    path = folder / f"{name}.toml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def run_demo(options: DemoOptions, say: Say, progress: Progress) -> DemoResult:
    """Run the demo in `options.folder`; raises an `IcnLiteError` when it can't be run at all."""
    begun_s = time.monotonic()
    result = DemoResult(options.folder)
    files = _choose(options, result)
    groups = plan(files, TARGET_BYTES)
    with fleet(options.folder) as nodes:
        say(f"starting three nodes under {options.folder}")
        scope = f"demo-{secrets.token_hex(8)}"  # other nodes may be found here too; the files are not for them
        mdns = "--mdns" if options.mdns else "--no-mdns"
        coordinator = nodes.start("coordinator", "submit", COORDINATOR_PROFILE, (mdns, "--initial-mana", str(MANA)))
        for number, profile in enumerate(EXECUTOR_PROFILES, start=1):
            lent = str(lent_profile(options.folder, profile))
            nodes.start(f"executor-{number}", "execute", profile, (mdns, "--trust-scope", scope, "--profile", lent))
        nodes.wait_ready()
        result.nodes = [
            {"did": node.did, "role": node.role, "profile": node.profile, "name": node.name} for node in nodes.nodes
        ]
        _meet(nodes, coordinator, result, say)
        tampered = _tamper(options, groups) if options.tamper else None
        result.tampered = tampered[0].name if tampered else None
        say(f"submitting {result.files} files, {result.bytes / 1e6:.1f} MB, in {len(groups)} shards")
        result.job = _submit(coordinator, (groups, tampered, scope), progress)
        last = follow(coordinator.control, result.job, lambda done, total: progress("verifying", done, total))
        result.status, result.message = str(last["status"]), cast(str | None, last["message"])
        _collect(coordinator, groups, result)
        say("stopping the nodes")
    _verify_from_disk(coordinator, result, progress)
    result.seconds = time.monotonic() - begun_s
    return result


def _choose(options: DemoOptions, result: DemoResult) -> list[ListedFile]:
    """The files that the installed packages' RECORD manifests list."""
    room = (MAX_PAGES - GUEST_PAGES) * PAGE_BYTES
    files: list[ListedFile] = []
    for file in listed_files():
        if file.size > room:
            result.too_large.append(file.name)
        elif options.max_files is None or len(files) < options.max_files:
            files.append(file)
    if not files:
        raise JobError("no installed package lists its files", hint="install icn-lite with pip, which writes RECORD")
    result.files, result.bytes = len(files), sum(file.size for file in files)
    return files


def _meet(nodes: Fleet, coordinator: FleetNode, result: DemoResult, say: Say) -> None:
    """Wait until the coordinator knows both executors and they know it: by mDNS, or by being told."""
    executors = [node for node in nodes.nodes if node is not coordinator]
    if all(node.mdns for node in nodes.nodes) and until_met(coordinator, executors, DISCOVERY_S):
        result.found_by = "mdns"
        say("the nodes found each other by mDNS")
        return
    result.found_by = "static"
    why = coordinator.control.ask_map("status")["mdns_why"]
    say(f"the nodes are told of each other (static peers): {why}")
    for node in executors:
        coordinator.control.ask("greet", {"uris": list[Json](node.endpoints)})
        node.control.ask("greet", {"uris": list[Json](coordinator.endpoints)})
    if not until_met(coordinator, executors, MEETING_S):
        raise PeerError("the nodes can't reach each other on loopback", hint=f"see the logs under {nodes.folder}")


def until_met(coordinator: FleetNode, executors: list[FleetNode], within_s: float) -> bool:
    """Poll until every executor is a live peer of the coordinator, and the other way round."""
    until_s = time.monotonic() + within_s
    pairs = [(coordinator, node) for node in executors] + [(node, coordinator) for node in executors]
    while time.monotonic() < until_s:
        pairs = [(who, whom) for who, whom in pairs if not _knows(who, whom)]
        if not pairs:
            return True
        time.sleep(0.1)
    return False


def _knows(who: FleetNode, whom: FleetNode) -> bool:
    peers = who.control.ask("peers")
    rows = peers if isinstance(peers, list) else []
    return any(isinstance(row, dict) and row["did"] == whom.did and row["live"] for row in rows)


def _tamper(options: DemoOptions, groups: list[list[ListedFile]]) -> tuple[ListedFile, bytes]:
    """A copy of one file with one bit flipped in one byte; the original is not touched."""
    candidates = sorted((file for group in groups for file in group if file.size), key=lambda file: file.name)
    file = candidates[len(candidates) // 2]
    content = bytearray(file.path.read_bytes())
    content[len(content) // 2] ^= 0x01
    copy = options.folder / "tampered" / file.path.name
    copy.parent.mkdir(exist_ok=True)
    copy.write_bytes(content)
    return file, copy.read_bytes()


def _submit(
    coordinator: FleetNode,
    what: tuple[list[list[ListedFile]], tuple[ListedFile, bytes] | None, str],
    progress: Progress,
) -> str:
    """Pack, hand over and submit all shards as one job for the demo's own executors."""
    groups, tampered, scope = what
    shards = [pack([(file.name, _content(file, tampered), file.sha256) for file in group]) for group in groups]
    largest = max(len(shard) for shard in shards)
    fuel = max(fuel_for(shard, len(group)) for shard, group in zip(shards, groups, strict=True))
    pages = max(MIN_PAGES, -(-largest // PAGE_BYTES) + GUEST_PAGES)
    module = coordinator.control.put(guest_module("manifest"))
    fields: dict[str, Json] = {
        "name": "demo-manifest",
        "description": "Verify the files that the installed packages' RECORD manifests list",
        "runtime": {"type": "WASM", "module": str(module), "function": "run", "memory_pages": pages},
        "policy": {"required_trust_scope": scope},
        "redundancy": {"type": "Full", "n": len(EXECUTOR_PROFILES)},
        "budget": {"max_total": BUDGET},
        "compute": {"max_fuel": fuel, "timeout_ms": TIMEOUT_MS},
        "deadline_in_s": DEADLINE_S,
    }

    def counted() -> Iterator[bytes]:
        for number, shard in enumerate(shards, start=1):
            yield shard
            progress("packing", number, len(shards))

    return submit_shards(coordinator.control, fields, counted())


def _content(file: ListedFile, tampered: tuple[ListedFile, bytes] | None) -> bytes:
    return tampered[1] if tampered is not None and file is tampered[0] else file.path.read_bytes()


def _collect(coordinator: FleetNode, groups: list[list[ListedFile]], result: DemoResult) -> None:
    """What the coordinator knows in the end: shards, reports, ledger."""
    view = coordinator.control.ask_map("job", {"job": result.job})
    for shard in cast(list[dict[str, Json]], view["shards"]):
        runs = cast(list[dict[str, Json]], shard["runs"])
        group = groups[cast(int, shard["index"])]
        report = _report(coordinator, shard)
        if report is not None:
            result.mismatches += [group[index].name for index in report.mismatches]
            if report.files != len(group):
                result.faults.append(f"shard {shard['index']}: the guest saw {report.files} of {len(group)} files")
        result.shards.append(
            {
                "index": shard["index"],
                "executors": [run["executor"] for run in runs],
                "files": len(group),
                "bytes": shard["bytes"],
                "fuel_used": runs[0]["fuel_used"] if runs else None,
                "ms": max((cast(int, run["wall_ms"]) for run in runs), default=None),
                "verdict": shard["verdict"],
                "runs": [
                    {"executor": run["executor"], "ms": run["wall_ms"], "receipt": run["receipt"]} for run in runs
                ],
            }
        )
        result.receipts += [str(run["receipt"]) for run in runs]
    result.mismatches.sort()
    ledger = coordinator.control.ask_map("ledger")
    result.ledger = cast(dict[str, int], ledger["accounts"])
    result.ledger_sum = cast(int, ledger["sum"])


def _report(coordinator: FleetNode, shard: dict[str, Json]) -> Report | None:
    if shard["output"] is None:
        return None
    data = coordinator.control.ask("get_block", {"cid": shard["output"]})
    return read_report(bytes.fromhex(str(data)))


def _verify_from_disk(coordinator: FleetNode, result: DemoResult, progress: Progress) -> None:
    """Write every receipt to a file, and verify all of them from these files and the coordinator's store."""
    folder = result.folder / "receipts"
    folder.mkdir(exist_ok=True)
    with Store.open(coordinator.home.path, read_only=True) as store:
        for text in result.receipts:
            block = store.receipts.get(Cid.parse(text))
            if block is not None:
                (folder / f"{text}.cose").write_bytes(block)
        verdicts: list[Verdict] = []
        for number, text in enumerate(result.receipts, start=1):
            verdicts.append(verify_block(text, (folder / f"{text}.cose").read_bytes(), store.blocks.get))
            progress("re-verifying receipts", number, len(result.receipts))
        result.receipts_verified = sum(verdict.verified for verdict in verdicts)
        result.faults += [fault for verdict in verdicts for fault in verdict.faults]
        sealed = [
            read_receipt((folder / f"{verdict.name}.cose").read_bytes()) for verdict in verdicts if verdict.receipt
        ]
        result.faults += [check.detail for check in verify_chain(sealed)]
        smallest = min((v.receipt for v in verdicts if v.receipt), key=lambda receipt: receipt.fuel_used, default=None)
        if smallest is not None:
            check = rerun(smallest, store.blocks.get)
            result.rerun = f"shard {smallest.shard}: {check.detail}"
            if check.state != "passed":
                result.faults.append(f"rerun of shard {smallest.shard}: {check.detail}")
