"""Three cooperatives that know nothing of each other share a job through three bridges and one NATS hub.

Run by `tools/run bridge-demo [--json]`; needs Debian's nats-server. The first mesh submits, the other two run; two
bridges stand behind leaf nodes, and the hub is killed and started again while the work is under way. Exits with 0 when
every shard has one receipt and every receipt is acknowledged.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from icn_lite.bridge.nkey import public_nkey
from icn_lite.model.did import Did
from icn_lite.node.fleet import Fleet, FleetNode, fleet
from icn_lite.node.home import Home
from icn_lite.node.keys import create_key
from icn_lite.node.submitting import follow, submit_shards
from icn_lite.resources import guest_module

SHARDS = 8
WAIT_S = 60.0
BRIDGE = "bridge"


@dataclass
class Server:
    """One nats-server on a port of its own."""

    path: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.path.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(["nats-server", "-c", str(self.path)], stdout=log, stderr=log)
        until(lambda: listens(self.port), f"nats-server on port {self.port}")

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


def until(condition: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > end_s:
            raise SystemExit(f"bridge-demo: {what} took more than {WAIT_S:.0f} s")
        time.sleep(0.1)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def make_server(folder: Path, name: str, config: str) -> Server:
    path, port = folder / f"{name}.conf", free_port()
    path.write_text(f"server_name: {name}\nlisten: 127.0.0.1:{port}\n{config}\n")
    return Server(path, port)


def bridge_key(folder: Path, mesh: str) -> Did:
    """The identity of a mesh's bridge, made before it starts, so that the hub can know it."""
    home = Home(folder / mesh / BRIDGE)
    home.path.parent.mkdir()
    home.create()
    return create_key(home.key, None).did


def servers(folder: Path, stack: ExitStack) -> tuple[Server, dict[str, Server]]:
    """The hub, and for each mesh the server that its bridge speaks with: a leaf node, but for the last one."""
    keys = {mesh: public_nkey(bridge_key(folder, mesh)) for mesh in "abc"}
    leaf_port = free_port()
    users = ", ".join(f"{{ nkey: {key} }}" for key in keys.values())
    hub = make_server(
        folder, "hub",
        f'jetstream {{ store_dir: "{folder}/jetstream", domain: hub, max_file_store: 1GB }}\n'
        f"authorization {{ users: [{users}] }}\nleafnodes {{ listen: 127.0.0.1:{leaf_port} }}",
    )  # fmt: skip
    leaves = {
        mesh: make_server(
            folder, f"leaf-{mesh}",
            f"authorization {{ users: [{{ nkey: {keys[mesh]} }}] }}\n"
            f'leafnodes {{ reconnect: 1, remotes: [{{ url: "nats://127.0.0.1:{leaf_port}" }}] }}',
        )
        for mesh in "ab"
    }  # fmt: skip
    for server in (hub, *leaves.values()):
        stack.callback(server.kill)
        server.start()
    return hub, {**leaves, "c": hub}


def start_mesh(made: Fleet, role: str, server: Server) -> tuple[FleetNode, FleetNode]:
    """A bridge and one node, which are told of each other."""
    upstream = f"nats://127.0.0.1:{server.port}?domain=hub"
    bridge = made.start(BRIDGE, "submit", "server", ("--no-mdns", "--upstream", upstream))
    node = made.start("node", role, "server", ("--no-mdns", "--bidding-ms", "4000"))
    made.wait_ready()
    node.control.ask("greet", {"uris": list(bridge.endpoints)})
    until(lambda: int(str(node.control.ask_map("status")["peers"])) == 1, "meeting the bridge")
    return bridge, node


def up(bridge: FleetNode) -> bool:
    upstreams = bridge.control.ask_map("bridge_status")["upstreams"]
    return isinstance(upstreams, list) and all(isinstance(row, dict) and row["state"] == "up" for row in upstreams)


def run(folder: Path) -> dict[str, object]:
    """The story; returns what came of it."""
    with ExitStack() as stack:
        hub, upstreams = servers(folder, stack)
        say("one hub, two leaf nodes; now three cooperatives with a bridge each …")
        fleets = {mesh: stack.enter_context(fleet(folder / mesh)) for mesh in "abc"}
        roles = {"a": "submit", "b": "execute", "c": "execute"}
        pairs = {mesh: start_mesh(fleets[mesh], roles[mesh], upstreams[mesh]) for mesh in "abc"}
        for bridge, _ in pairs.values():
            until(lambda b=bridge: up(b), "reaching the hub")  # type: ignore[misc]
        coordinator = pairs["a"][1].control
        module = coordinator.put(guest_module("echo"))
        job = submit_shards(
            coordinator,
            {
                "name": "bridge demo", "runtime": {"type": "WASM", "module": str(module), "memory_pages": 40},
                "budget": {"max_total": 1000}, "deadline_in_s": 600,
                "compute": {"max_fuel": 10_000_000, "timeout_ms": 30_000},
            },
            (b"shard %d" % number for number in range(SHARDS)),
        )  # fmt: skip
        say(f"a submits job {job} of {SHARDS} shards; b and c bid through their bridges …")
        workers = {mesh: pairs[mesh][1].control for mesh in "bc"}
        until(lambda: any(worker.ask_map("status")["leases"] for worker in workers.values()), "the first lease")
        say("leases are out: the hub is killed …")
        hub.kill()
        time.sleep(1)
        hub.start()
        say("… and started again")
        end = follow(coordinator, job, lambda settled, shards: say(f"{settled} of {shards} shards settled"))
        until(lambda: not any(worker.ask_map("status")["leases"] for worker in workers.values()), "acknowledging")
        made = {mesh: int(str(worker.ask_map("status")["receipts"])) for mesh, worker in workers.items()}
        held = int(str(coordinator.ask_map("status")["receipts"]))
        ledger = coordinator.ask_map("ledger")
        good = end["status"] == "completed" and held == SHARDS == sum(made.values()) and ledger["sum"] == 0
        return {"job": job, "status": end["status"], "receipts": held, "made": made, "good": good}


def main() -> int:
    if shutil.which("nats-server") is None:
        raise SystemExit("bridge-demo: nats-server is missing (Debian: apt install nats-server)")
    with tempfile.TemporaryDirectory(prefix="icn-lite-bridge-") as folder:
        result = run(Path(folder))
    if "--json" in sys.argv[1:]:
        print(json.dumps(result))
    else:
        made = ", ".join(f"{count} by {mesh}" for mesh, count in dict(result["made"]).items())  # type: ignore[call-overload]
        print(f"job {result['status']}: {result['receipts']} receipts, {made}; each acknowledged by its originator")
    return 0 if result["good"] else 1


if __name__ == "__main__":
    sys.exit(main())
