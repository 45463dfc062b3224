"""Transfers over a lossy link with the kernel's own TCP: two network namespaces, and between them this program.

Each namespace has a TUN device. What one sends is read here as packets, lost with the given probability, held back for
the given time, and written to the other. So TCP meets losses as it does on bad Wi-Fi, which no proxy of streams can
show. Needs root (or CAP_NET_ADMIN with user namespaces), /dev/net/tun and iproute2.

    tools/lossy_tun.py LOSS_PERCENT DELAY_MS SEED

prints one JSON document: seconds of each transfer.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from icn_lite.model.cid import Cid

SERVER, ASKER = "10.97.0.1", "10.97.0.2"
TUN = Path("/dev/net/tun")
CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN_WITHOUT_INFO = 0x1001
RUNS = 5
LARGE_BYTES, MIDDLE_BYTES = 1 << 20, 64 << 10
BURST = 64  # packets read at once


def missing() -> str:
    """What this machine lacks, empty if nothing."""
    if not TUN.exists():
        return f"{TUN} is missing"
    if shutil.which("ip") is None:
        return "iproute2 is missing"
    return "" if os.geteuid() == 0 else "not root"


def _device(address: str) -> int:
    """Enter a network namespace of its own with one TUN device; returns the device."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "no network namespace")
    device = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"link0", IFF_TUN_WITHOUT_INFO))
    for command in ("link set lo up", f"addr add {address}/24 dev link0", "link set link0 up mtu 1500"):
        subprocess.run(["ip", *command.split()], check=True)
    return device


def _forked(address: str, work: Callable[[], object]) -> tuple[int, int, socket.socket]:
    """A child in a namespace that does `work` when told, and sends what came of it; its id, device and socket."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        try:
            socket.send_fds(theirs, [b"d"], [_device(address)])
            if theirs.recv(1):
                theirs.sendall(json.dumps(work()).encode())
        except Exception:  # noqa: BLE001 - the parent reads an end of file; a child must not go on as a second parent
            traceback.print_exc()
        os._exit(0)
    theirs.close()
    return pid, socket.recv_fds(ours, 1, 1)[1][0], ours


def _forward(devices: tuple[int, int], loss: float, delay_s: float, seed: int) -> None:
    """Carry packets until the process ends."""
    dice, held = random.Random(seed), list[tuple[float, int, int, bytes]]()
    other = {devices[0]: devices[1], devices[1]: devices[0]}
    number = 0
    while True:
        now_s = time.monotonic()
        while held and held[0][0] <= now_s:
            _, _, device, packet = heapq.heappop(held)
            os.write(device, packet)
        wait_s = max(0.0, held[0][0] - now_s) if held else None
        for device in select.select(devices, (), (), wait_s)[0]:
            for _ in range(BURST):
                try:
                    packet = os.read(device, 65_536)
                except BlockingIOError:
                    break
                number += 1
                if dice.random() >= loss:
                    heapq.heappush(held, (time.monotonic() + delay_s, number, other[device], packet))


def _blocks() -> tuple[bytes, bytes]:
    return random.Random(1).randbytes(LARGE_BYTES), random.Random(2).randbytes(MIDDLE_BYTES)


class _Node:
    """Handlers that have blocks and nothing else."""

    def __init__(self, blocks: dict[Cid, bytes]) -> None:
        self.blocks = blocks

    async def block(self, cid: Cid) -> bytes | None:
        return self.blocks.get(cid)

    def on_refused(self, kind: str) -> None:
        print(f"refused: {kind}", file=sys.stderr)


def _serve() -> None:
    from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
    from icn_lite.model import unixfs

    large, middle = _blocks()
    tree = unixfs.tree_of(large)
    size = unixfs.CHUNK_BYTES
    blocks = dict(tree.nodes) | {cid: large[at * size : (at + 1) * size] for at, cid in enumerate(tree.leaves)}
    blocks[unixfs.blob_cid(middle)] = middle

    async def serve() -> None:
        await Endpoint(EndpointConfig(port=5683), _Node(blocks)).start()  # type: ignore[arg-type]
        await asyncio.Event().wait()

    asyncio.run(serve())


def _ask() -> dict[str, list[float]]:
    from icn_lite.mesh.addresses import PeerAddress
    from icn_lite.mesh.client import Client
    from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
    from icn_lite.model import unixfs

    uri = f"coap://{SERVER}:5683"

    async def one(data: bytes, *, tcp: bool) -> float:
        endpoint = Endpoint(EndpointConfig(port=5683), _Node({}))  # type: ignore[arg-type]
        await endpoint.start()
        client = Client(endpoint)
        if not tcp:
            client._fetcher.puller.without_tcp(PeerAddress.parse(uri))
        begun = time.monotonic()
        fetched = await client.fetch_block([uri], unixfs.blob_cid(data), len(data))
        taken_s = time.monotonic() - begun
        await endpoint.close()
        assert fetched == data
        return taken_s

    async def ask() -> dict[str, list[float]]:
        large, middle = _blocks()
        return {
            "large_tcp": [await one(large, tcp=True) for _ in range(RUNS)],
            "middle_udp": [await one(middle, tcp=False) for _ in range(RUNS)],
        }

    return asyncio.run(ask())


def main(loss_pct: str, delay_ms: str, seed: str) -> None:
    """Make the link, run the transfers over it, print what they took."""
    server, first, to_server = _forked(SERVER, _serve)
    asker, second, to_asker = _forked(ASKER, _ask)
    carry = (first, second), float(loss_pct) / 100, float(delay_ms) / 1000, int(seed)
    threading.Thread(target=_forward, args=carry, daemon=True).start()
    to_server.send(b"g")
    time.sleep(1)
    to_asker.send(b"g")
    try:
        print(to_asker.recv(65_536).decode() or "{}", flush=True)
    finally:
        for child in (asker, server):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    os._exit(0)  # the thread carries packets for nobody now


if __name__ == "__main__":
    main(*sys.argv[1:4])
