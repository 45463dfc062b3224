"""Several nodes as processes of this machine, each with a home of its own: what the demo and its tests run.

Every node is started with `--until-eof` and holds the reading end of a pipe from us, so that it ends in order when
we end, however that comes. `stop` waits, then kills; nothing is left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from icn_lite.model import cose, document
from icn_lite.model.errors import PeerError, StoreError
from icn_lite.model.membership import MemberRole, Membership
from icn_lite.node.config import ENVIRONMENT_PREFIX
from icn_lite.node.cooperatives import CooperativeSigner, new_key, place
from icn_lite.node.home import Home
from icn_lite.node.keys import create_key, load_key
from icn_lite.node.submitting import NodeAtHome

START_S: Final = 60.0  # importing everything takes seconds on a Pi Zero
STOP_S: Final = 10.0
READ_BYTES: Final = 65_536
LOG_TAIL_BYTES: Final = 2_000
ENROLLED_S: Final = 3650 * 86_400


@dataclass(slots=True)
class FleetNode:
    """One node of the fleet."""

    name: str
    role: str
    profile: str
    home: Home
    process: subprocess.Popen[bytes]
    did: str = ""
    port: int = 0
    mdns: bool = False
    endpoints: tuple[str, ...] = ()

    @property
    def control(self) -> NodeAtHome:
        """How to ask it."""
        return NodeAtHome(self.home.control_socket)


@dataclass(slots=True)
class Fleet:
    """Nodes under one folder."""

    folder: Path
    nodes: list[FleetNode] = field(default_factory=list)
    _cooperative: CooperativeSigner = field(default_factory=new_key)  # its nodes let each other in, and nobody else

    def start(self, name: str, role: str, profile: str, options: Sequence[str] = ()) -> FleetNode:
        """Start a node; it isn't ready yet (`wait_ready`)."""
        home = Home(self.folder / name)
        home.create()
        key = load_key(home.key, _no_passphrase) if home.initialised else create_key(home.key, None)
        enrol(home, key, self._cooperative, "fleet")
        command = [sys.executable, "-m", "icn_lite.cli", "--home", str(home.path), "up", "--json", "--until-eof"]
        command += ["--port", "0", "--bind", "127.0.0.1", "--role", role, "--profile", profile, *options]
        with (home.path / "log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(),
                start_new_session=True,  # Ctrl-C reaches us alone; we stop the nodes in order
            )
        node = FleetNode(name, role, profile, home, process)
        self.nodes.append(node)
        return node

    def wait_ready(self) -> None:
        """Wait until every node listens; raises `PeerError` with the log's end for one that doesn't."""
        until_s = time.monotonic() + START_S
        for node in self.nodes:
            if not node.did:
                facts = _read_facts(node, until_s)
                node.did, node.port, node.mdns = str(facts["did"]), int(str(facts["port"])), bool(facts["mdns"])
                endpoints = facts["endpoints"]
                node.endpoints = tuple(str(uri) for uri in endpoints) if isinstance(endpoints, list) else ()

    def kill(self, node: FleetNode) -> None:
        """End one node as the power would; what it started ends with it."""
        node.process.kill()
        node.process.wait()
        for stream in (node.process.stdin, node.process.stdout):
            if stream is not None:
                stream.close()
        self.nodes.remove(node)

    def end(self, node: FleetNode) -> None:
        """Let one node end in order, by force if it can't."""
        _end([node])
        self.nodes.remove(node)

    def stop(self) -> None:
        """End all nodes: in order if they can, by force if not."""
        _end(self.nodes)


def _end(nodes: Sequence[FleetNode]) -> None:
    for node in nodes:
        with contextlib.suppress(OSError):
            if node.process.stdin is not None:
                node.process.stdin.close()
    until_s = time.monotonic() + STOP_S
    for node in nodes:
        try:
            node.process.wait(max(0.1, until_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.process.pid, signal.SIGKILL)
            node.process.wait()
        if node.process.stdout is not None:
            node.process.stdout.close()


def enrol(home: Home, signer: cose.Signer, cooperative: CooperativeSigner, name: str) -> None:
    """Make a home's node a member of a cooperative, with every role, for as long as a home of this kind lasts."""
    now_s = int(time.time())
    membership = Membership(
        cooperative.did, cooperative.did, signer.did, name, tuple(MemberRole), now_s, now_s + ENROLLED_S,
        secrets.token_bytes(16),
    )  # fmt: skip
    place(home.cooperatives, document.seal(membership, cooperative), signer)


def _no_passphrase() -> bytes:
    raise StoreError("a fleet's homes have unsealed keys", hint="choose another folder")


@contextlib.contextmanager
def fleet(folder: Path) -> Iterator[Fleet]:
    """A fleet that is stopped at the end, whatever happens."""
    started = Fleet(folder)
    try:
        yield started
    finally:
        started.stop()


def _environment() -> dict[str, str]:
    """Ours, without settings of a node that are meant for another one."""
    return {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}


def _read_facts(node: FleetNode, until_s: float) -> dict[str, object]:
    """The document that `up --json` prints when the node listens."""
    assert node.process.stdout is not None
    handle, data = node.process.stdout.fileno(), b""
    while True:
        with contextlib.suppress(ValueError):
            value = json.loads(data)
            if isinstance(value, dict) and "did" in value:
                return value
        left_s = until_s - time.monotonic()
        ready = left_s > 0 and select.select([handle], [], [], left_s)[0]
        piece = os.read(handle, READ_BYTES) if ready else b""
        if not piece:
            why = "ended" if ready else f"did not listen within {START_S:.0f} s"
            raise PeerError(
                f"node {node.name} {why}: {_tail(node.home.path / 'log')}", hint=f"see {node.home.path}/log"
            )
        data += piece


def _tail(log: Path) -> str:
    text = log.read_bytes()[-LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()
    return text.splitlines()[-1] if text else "it said nothing"
