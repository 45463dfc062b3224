"""Real nats-server processes: a hub with JetStream and leaf nodes before it, on free ports, ended by their ids."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from bridge_harness import PATIENCE_S, up

from icn_lite.bridge.nats import NatsUpstream
from icn_lite.bridge.nats_address import NatsAddress
from icn_lite.bridge.nats_layout import token
from icn_lite.bridge.nkey import public_nkey
from icn_lite.bridge.upstream import Upstream
from icn_lite.model.cose import KeySigner
from icn_lite.model.did import Did

SERVER = shutil.which("nats-server")
PASSWORD = "between leaf and hub of a test"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def signer_of(name: str) -> KeySigner:
    return KeySigner(name.encode().ljust(32, b"\1")[:32])


@dataclass
class Server:
    """One nats-server with its configuration; started again it is the same one."""

    folder: Path
    name: str
    config: str
    port: int
    process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"{self.name}.conf"
        path.write_text(f"server_name: {self.name}\nlisten: 127.0.0.1:{self.port}\n{self.config}")
        assert SERVER is not None
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen([SERVER, "-c", str(path)], stdout=log, stderr=log)  # noqa: ASYNC220
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        """As a power cut does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(PATIENCE_S)
            self.process = None


def permitted(did: Did) -> str:
    """A user of the hub as the bridge's README has it: it speaks in its own name only."""
    name = token(did)
    return (
        f"{{ nkey: {public_nkey(did)}, permissions: {{ publish: ["
        f'"icn.v1.work.*.*.{name}", "icn.v1.receipts.*.{name}", "icn.v1.acks.*", '
        f'"$KV.icn_bridges.{name}", "$KV.icn_capabilities.*", "$O.icn_blocks.>", '
        f'"$JS.API.>", "$JS.hub.API.>", "$JS.ACK.>", "_INBOX.>"] }} }}'
    )


@dataclass
class NatsHarness:
    """One hub, and for each bridge of a name in `leaves` a leaf node; the others speak with the hub itself."""

    folder: Path
    leaves: frozenset[str] = frozenset()
    servers: dict[str, Server] = field(default_factory=dict)
    upstreams: list[NatsUpstream] = field(default_factory=list)
    members: tuple[str, ...] = ("here", "there", "third")
    leaf_port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        if SERVER is None:
            pytest.skip("nats-server is missing (Debian: nats-server)")

    async def hub(self) -> Server:
        if "hub" not in self.servers:
            users = ", ".join(permitted(signer_of(name).did) for name in self.members)
            config = (
                f'jetstream {{ store_dir: "{self.folder}/hub", domain: hub, max_file_store: 1GB }}\n'
                f"authorization {{ users: [{users}] }}\n"
                f"leafnodes {{ listen: 127.0.0.1:{self.leaf_port}, "
                f'authorization {{ user: leaf, password: "{PASSWORD}" }} }}\n'
            )
            self.servers["hub"] = Server(self.folder / "nats", "hub", config, free_port())
            await self.servers["hub"].start()
        return self.servers["hub"]

    async def leaf(self, name: str) -> Server:
        key = f"leaf-{name}"
        if key not in self.servers:
            url = f"nats://leaf:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.leaf_port}"
            config = (
                f"authorization {{ users: [{{ nkey: {public_nkey(signer_of(name).did)} }}] }}\n"
                f'leafnodes {{ reconnect: 1, remotes: [{{ url: "{url}" }}] }}\n'
            )
            self.servers[key] = Server(self.folder / "nats", key, config, free_port())
            await self.servers[key].start()
        return self.servers[key]

    async def address(self, name: str) -> NatsAddress:
        hub = await self.hub()
        if name in self.leaves:
            return NatsAddress.parse(f"nats://127.0.0.1:{(await self.leaf(name)).port}?domain=hub")
        return NatsAddress.parse(f"nats://127.0.0.1:{hub.port}?domain=hub")

    async def bridge(self, name: str) -> Upstream:
        upstream = NatsUpstream(await self.address(name), signer_of(name), Random(name))
        await upstream.start()
        self.upstreams.append(upstream)
        await up(upstream)
        return upstream

    async def cut(self) -> None:
        (await self.hub()).kill()

    async def mend(self) -> None:
        await (await self.hub()).start()

    async def close(self) -> None:
        for upstream in self.upstreams:
            await upstream.close()
        for server in self.servers.values():
            server.kill()
