"""Run in a network, mount and process namespace of its own: Avahi's daemon beside our announcement, on loopback.

Prints one JSON document: how `avahi-browse` resolves our service, whom we find of what `avahi-publish-service`
announces, and whether we notice that it was taken back. The namespaces end with this process, and everything in them.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from icn_lite.mesh.discovery import SERVICE, Candidate, Discovery, DiscoveryConfig
from icn_lite.model.cose import KeySigner

WAIT_S = 20.0
HOST = "127.0.0.1"
OURS, THEIRS = KeySigner(b"\x01" * 32), KeySigner(b"\x02" * 32)
OUR_PORT, THEIR_PORT = 40_001, 40_002
TYPE = SERVICE.removesuffix(".local.")
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/bus</listen><auth>EXTERNAL</auth><policy context="default">
<allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy></busconfig>
"""
AVAHI = """[server]
host-name=other
allow-interfaces=lo
use-ipv6=no
[publish]
publish-workstation=no
"""


def prepare() -> None:
    """A /run of this namespace's own, and loopback."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "multicast", "on", "up"], check=True)
    Path("/run/bus.conf").write_text(BUS, encoding="utf-8")
    Path("/run/avahi.conf").write_text(AVAHI, encoding="utf-8")
    os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=/run/bus"


async def begin(says: str, *command: str) -> asyncio.subprocess.Process:
    """Start a program, and wait until it says so."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    heard = b""
    while says.encode() not in (line := await process.stdout.readline()):
        heard += line
        if not line:
            raise SystemExit(f"{command[0]} ended: {heard.decode()}")
    return process


async def browsed(name: str) -> list[str]:
    """How Avahi resolves the service of that name: interface, protocol, type, domain, host, address, port, TXT."""
    while True:
        done = await asyncio.create_subprocess_exec(
            "avahi-browse", "--parsable", "--terminate", "--resolve", TYPE, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await done.communicate()
        for line in out.decode().splitlines():
            if line.startswith("=") and line.split(";")[3] == name:
                return line.split(";")


async def main() -> None:
    prepare()
    found, gone = asyncio.Queue[Candidate](), asyncio.Queue[str]()
    bus = await begin("unix:path=", "dbus-daemon", "--config-file=/run/bus.conf", "--nofork", "--nopidfile",
                      "--print-address=1")  # fmt: skip
    daemon = await begin("Server startup complete", "avahi-daemon", "--file=/run/avahi.conf", "--no-drop-root",
                         "--no-chroot", "--no-rlimits")  # fmt: skip
    node = Discovery(DiscoveryConfig(OURS.did, OUR_PORT, HOST), found.put_nowait, gone.put_nowait)
    async with asyncio.timeout(WAIT_S):
        await node.start()
        ours = await browsed(node.name.removesuffix(f".{SERVICE}"))
        theirs = await begin("Established", "avahi-publish-service", "theirs", TYPE, str(THEIR_PORT),
                             f"did={THEIRS.did}", "v=1", f"port={THEIR_PORT}")  # fmt: skip
        while (candidate := await found.get()).name != f"theirs.{SERVICE}":
            pass
        theirs.terminate()
        withdrawn = await gone.get()
    await node.close()
    for process in (theirs, daemon, bus):
        if process.returncode is None:
            process.terminate()
        await process.communicate()
    json.dump({"available": node.why, "ours": ours, "did": str(candidate.did), "uris": candidate.uris,
               "withdrawn": withdrawn}, sys.stdout)  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main())
