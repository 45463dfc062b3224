"""The demo of a network that goes: a device takes shards along, works alone, loses its power once, and comes back.

An owner submits a job over the files of the installed packages; one device takes it with leases for the road. When it
has every input, the owner is killed. The device runs on; in the middle of a shard it is killed as well, and started
again with no network at all. When all shards have their receipt both come back, and every receipt's way is watched:
committed, arrived, acknowledged. What is real: processes, sockets, SIGKILL, the guest, receipts, the ledger.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from icn_lite.model.cid import Cid
from icn_lite.model.errors import JobError, PeerError
from icn_lite.model.receipt import read_receipt
from icn_lite.node.control import Json
from icn_lite.node.demo import Progress, Say, lent_profile, until_met
from icn_lite.node.fleet import Fleet, FleetNode, fleet
from icn_lite.node.manifest import ListedFile, fuel_for, listed_files, pack, plan
from icn_lite.node.submitting import submit_shards
from icn_lite.node.verify import verify_block, verify_chain
from icn_lite.resources import guest_module
from icn_lite.store.db import Store
from icn_lite.wasm.limits import PAGE_BYTES

SHARDS: Final = 12
SHARD_BYTES: Final = 1 << 20  # half a second on a PC: long enough to lose power in
MAX_FILE_BYTES: Final = SHARD_BYTES // 2
GUEST_PAGES: Final = 16  # stack, tables and report beside the input
AWAY_HOURS: Final = 12
DEVICE_PROFILE: Final = "x86-laptop"
STEP_S: Final = 120.0  # for anything that has to happen, on a small device too
LOOK_S: Final = 0.05
BUDGET: Final = 100_000
FUEL_MARGIN: Final = 4
DEADLINE_S: Final = 2 * 86_400
QUIET: Final = ("--no-mdns", "--bidding-ms", "500")


@dataclass(slots=True)
class ShardStory:
    """What became of one shard; times are seconds since both were back."""

    index: int
    when: str = ""  # it was run: "with the owner", "alone", "after the power was back"
    receipt: str = ""
    seq: int = -1
    arrived_s: float | None = None
    acknowledged_s: float | None = None


@dataclass(slots=True)
class OfflineResult:
    """Everything that the demo found out."""

    folder: Path
    job: str = ""
    status: str = ""
    lease_hours: int = 0
    shards: list[ShardStory] = field(default_factory=list)
    power_losses: int = 0
    repeated: int = 0  # runs that the power loss cost
    receipts_verified: int = 0
    double: int = 0
    ledger_sum: int = 0
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def lost(self) -> int:
        """Shards whose receipt never arrived."""
        return sum(story.arrived_s is None for story in self.shards)

    @property
    def as_expected(self) -> bool:
        """Every receipt arrived once and was acknowledged, and every one verifies."""
        acknowledged = all(story.acknowledged_s is not None for story in self.shards)
        sound = self.status == "completed" and self.ledger_sum == 0 and not self.faults
        whole = bool(self.shards) and self.receipts_verified == len(self.shards) and acknowledged
        return sound and whole and not self.lost and not self.double

    def as_json(self) -> dict[str, Json | float]:
        """The demo's one document."""
        return {
            "verified": self.as_expected,
            "job": self.job,
            "status": self.status,
            "lease_hours": self.lease_hours,
            "shards": [
                {
                    "index": story.index,
                    "run": story.when,
                    "receipt": story.receipt,
                    "seq": story.seq,
                    "arrived_ms": _ms(story.arrived_s),
                    "acknowledged_ms": _ms(story.acknowledged_s),
                }
                for story in self.shards
            ],
            "power_losses": self.power_losses,
            "repeated": self.repeated,
            "lost": self.lost,
            "double": self.double,
            "receipts_verified": self.receipts_verified,
            "ledger_sum": self.ledger_sum,
            "faults": list[Json](self.faults),
            "seconds": round(self.seconds, 3),
            "home": str(self.folder),
        }


def run_offline_demo(folder: Path, max_files: int | None, show: tuple[Say, Progress]) -> OfflineResult:
    """Run the demo in `folder`; raises an `IcnLiteError` when it can't be run at all."""
    begun_s = time.monotonic()
    result, (say, progress) = OfflineResult(folder), show
    with fleet(folder) as nodes:
        say(f"starting an owner and a device under {folder}")
        device = _start_device(nodes, *QUIET, "--offline-hours", str(AWAY_HOURS))
        owner = _start_owner(nodes, device)
        result.job = _submit(owner, max_files)
        _take_along(device, result, progress)
        say(f"the device has taken {SHARDS} shards for {result.lease_hours} h; now the owner and the network are gone")
        nodes.kill(owner)
        _alone(nodes, device, result, show)
        say("both are back")
        nodes.end(next(node for node in nodes.nodes if node.name == "device"))
        device = _start_device(nodes, *QUIET)
        owner = _start_owner(nodes, device)
        _arrive(owner, device, result, progress)
        result.ledger_sum = cast(int, owner.control.ask_map("ledger")["sum"])
    _verify_from_disk(owner, device, result)
    result.seconds = time.monotonic() - begun_s
    return result


def _start_device(nodes: Fleet, *options: str) -> FleetNode:
    node = nodes.start("device", "execute", str(lent_profile(nodes.folder, DEVICE_PROFILE)), options)
    nodes.wait_ready()
    return node


def _start_owner(nodes: Fleet, device: FleetNode) -> FleetNode:
    peers = [word for uri in device.endpoints for word in ("--peer", uri)]
    owner = nodes.start("owner", "submit", "server", (*QUIET, "--initial-mana", str(BUDGET), *peers))
    nodes.wait_ready()
    if not until_met(owner, [device], STEP_S):
        raise PeerError("the nodes can't reach each other on loopback", hint=f"see the logs under {nodes.folder}")
    return owner


def _submit(owner: FleetNode, max_files: int | None) -> str:
    """A job over `SHARDS` shards of files."""
    small = [file for file in listed_files() if file.size <= MAX_FILE_BYTES][:max_files]
    groups = plan(small, SHARD_BYTES)[:SHARDS]
    if not groups:
        raise JobError("no installed package lists its files", hint="install icn-lite with pip, which writes RECORD")
    groups = (groups * SHARDS)[:SHARDS]  # where little is installed, files are verified more than once
    shards = [pack([(file.name, file.path.read_bytes(), file.sha256) for file in group]) for group in groups]
    fields: dict[str, Json] = {
        "name": "demo-offline",
        "description": "Verify the files that the installed packages' RECORD manifests list",
        "runtime": {
            "type": "WASM",
            "module": str(owner.control.put(guest_module("manifest"))),
            "function": "run",
            "memory_pages": GUEST_PAGES + max(-(-len(shard) // PAGE_BYTES) for shard in shards),
        },
        "redundancy": {"type": "None"},
        "budget": {"max_total": BUDGET},
        "compute": {"max_fuel": _fuel(shards, groups), "timeout_ms": 60_000},
        "deadline_in_s": DEADLINE_S,
    }
    return submit_shards(owner.control, fields, shards)


def _fuel(shards: list[bytes], groups: list[list[ListedFile]]) -> int:
    return max(fuel_for(shard, len(group)) for shard, group in zip(shards, groups, strict=True))


def _take_along(device: FleetNode, result: OfflineResult, progress: Progress) -> None:
    """Wait until the device holds every shard with its input."""

    def held() -> bool:
        rows = _rows(device)
        here = sum(row["step"] != "fetching" for row in rows)
        progress("inputs arrive", here, SHARDS)
        return here == SHARDS

    _wait(held, "the device did not get its inputs")
    leases = cast(list[dict[str, Json]], device.control.ask("leases"))
    result.lease_hours = min(cast(int, lease["duration_ms"]) for lease in leases) // 3_600_000
    result.shards = [ShardStory(index) for index in range(SHARDS)]
    _note(result, _rows(device), "with the owner")


def _alone(nodes: Fleet, device: FleetNode, result: OfflineResult, show: tuple[Say, Progress]) -> None:
    """Nobody is there: run on, lose power in the middle, come up without a network, run the rest."""
    say, progress = show
    middle = min(SHARDS - 1, max(SHARDS // 2, _receipts(_rows(device)) + 1))
    _wait(lambda: _ran(device, middle, progress), "the device did not run its shards")
    rows = _rows(device)
    _note(result, rows, "alone")
    result.repeated = sum(row["step"] == "running" for row in rows)
    nodes.kill(device)
    result.power_losses += 1
    say(f"the device lost its power in the middle of a shard, after {_receipts(rows)} of {SHARDS}")
    device = _start_device(nodes, "--offline")
    kept = {story.receipt for story in result.shards if story.receipt}
    found = {str(row["receipt"]) for row in _rows(device) if row["receipt"]}
    result.faults += [f"receipt {cid} was lost with the power" for cid in sorted(kept - found)]
    _wait(lambda: _ran(device, SHARDS, progress), "the device did not run the rest")
    _note(result, _rows(device), "after the power was back")


def _ran(device: FleetNode, shards: int, progress: Progress) -> bool:
    done = _receipts(_rows(device))
    progress("shards run, nobody near", done, SHARDS)
    return done >= shards


def _arrive(owner: FleetNode, device: FleetNode, result: OfflineResult, progress: Progress) -> None:
    """Watch every receipt arrive at the owner, and its acknowledgement come back."""
    begun_s = time.monotonic()
    by_index = {story.index: story for story in result.shards}

    def all_there() -> bool:
        now_s = time.monotonic() - begun_s
        view = owner.control.ask_map("job", {"job": result.job})
        for shard in cast(list[dict[str, Json]], view["shards"]):
            if shard["runs"]:
                story = by_index[cast(int, shard["index"])]
                story.arrived_s = now_s if story.arrived_s is None else story.arrived_s
        waiting = {row["shard"] for row in _rows(device) if row["step"] != "done"}
        for story in result.shards:
            if story.arrived_s is not None and story.index not in waiting and story.acknowledged_s is None:
                story.acknowledged_s = now_s
        result.status = str(view["status"])
        done = sum(story.acknowledged_s is not None for story in result.shards)
        progress("receipts acknowledged", done, SHARDS)
        return done == SHARDS and result.status in ("completed", "failed")

    _wait(all_there, "the receipts did not arrive")


def _verify_from_disk(owner: FleetNode, device: FleetNode, result: OfflineResult) -> None:
    """Every receipt from the owner's store, the chain, and that no shard has two."""
    with Store.open(owner.home.path, read_only=True) as store:
        rows = store.receipts.list(job=Cid.parse(result.job), limit=10 * SHARDS)
        blocks = [store.receipts.get(row.cid) or b"" for row in rows]
        verdicts = [
            verify_block(str(row.cid), block, store.blocks.get) for row, block in zip(rows, blocks, strict=True)
        ]
        result.receipts_verified = sum(verdict.verified for verdict in verdicts)
        result.faults += [fault for verdict in verdicts for fault in verdict.faults]
        result.faults += [check.detail for check in verify_chain([read_receipt(block) for block in blocks])]
        result.double = len(rows) - len({row.shard for row in rows})
        seqs = {str(row.cid): row.seq for row in rows}
    for story in result.shards:
        story.seq = seqs.get(story.receipt, -1)
        if story.seq < 0:
            result.faults.append(f"shard {story.index}: the owner has another receipt than the device made")


def _note(result: OfflineResult, rows: list[dict[str, Json]], when: str) -> None:
    """Who has a receipt now and had none before was run in this part of the story."""
    for row in rows:
        story = result.shards[cast(int, row["shard"])]
        if row["receipt"] and not story.receipt:
            story.receipt, story.when = str(row["receipt"]), when


def _rows(device: FleetNode) -> list[dict[str, Json]]:
    """Every shard that the device holds."""
    leases = cast(list[dict[str, Json]], device.control.ask("leases"))
    return [row for lease in leases for row in cast(list[dict[str, Json]], lease["shards"])]


def _receipts(rows: list[dict[str, Json]]) -> int:
    return sum(bool(row["receipt"]) for row in rows)


def _wait(condition: Callable[[], bool], failure: str) -> None:
    until_s = time.monotonic() + STEP_S
    while not condition():
        if time.monotonic() > until_s:
            raise PeerError(f"{failure} within {STEP_S:.0f} s", hint="see the logs in the demo's folder")
        time.sleep(LOOK_S)


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(1000 * seconds)
