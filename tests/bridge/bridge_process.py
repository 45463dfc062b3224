"""A bridge in a process of its own, so that it can be killed as a power cut does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bridge_harness import PATIENCE_S

from icn_lite.model.cose import KeySigner
from icn_lite.node.control import ask
from icn_lite.node.cooperatives import CooperativeSigner
from icn_lite.node.fleet import enrol
from icn_lite.node.home import Home
from icn_lite.node.keys import create_key


@dataclass
class BridgeProcess:
    """`icn-lite bridge` on a home of its own; started again it is the same one."""

    home: Home
    upstream: str
    port: int
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def make(cls, folder: Path, name: str, upstream: str, port: int) -> BridgeProcess:
        """A member of the mesh that its name begins with, with every role."""
        home = Home(folder / name)
        home.create()
        seed = name.encode().ljust(32, b"\1")[:32]
        create_key(home.key, None, seed=seed)
        enrol(home, KeySigner(seed), CooperativeSigner(name[0].encode() * 32), name[0])
        return cls(home, upstream, port)

    @property
    def endpoints(self) -> tuple[str, ...]:
        return (f"coap://127.0.0.1:{self.port}",)

    async def start(self) -> None:
        command = [sys.executable, "-m", "icn_lite.cli", "--home", str(self.home.path), "bridge", "--json", "--no-mdns"]
        command += ["--until-eof", "--bind", "127.0.0.1", "--port", str(self.port), "--role", "submit"]
        command += ["--profile", "server", "--upstream", self.upstream]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ICN_LITE_")}
        with (self.home.path / "log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment,
                start_new_session=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            said = await asyncio.to_thread(self.process.stdout.readline)
            while True:
                try:
                    json.loads(said)
                except ValueError:
                    more = await asyncio.to_thread(self.process.stdout.readline)
                    assert more, (self.home.path / "log").read_text()
                    said += more
                else:
                    return

    async def status(self) -> dict[str, object]:
        """What `icn-lite bridge status` shows."""
        found = await asyncio.to_thread(ask, self.home.control_socket, {"command": "bridge_status"})
        assert isinstance(found, dict)
        return dict(found)

    def kill(self) -> None:
        """As a power cut does, with everything that it started."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(PATIENCE_S)
            for stream in (self.process.stdin, self.process.stdout):
                if stream is not None:
                    stream.close()
            self.process = None
