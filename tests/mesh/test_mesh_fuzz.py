"""A guarded endpoint under mutated datagrams and connections: memory and log stay small, members are served on.

The short form runs everywhere; ICN_LITE_LONG=1 sends 50,000 datagrams and 3,000 connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import mesh_fuzzed
import mesh_samples as samples
import pytest
from aiocoap import Message
from aiocoap.numbers.codes import CSM, Code
from aiocoap.numbers.types import CON, NON
from aiocoap.transports.tcp import _serialize
from mesh_members import member
from mesh_raw import raw_udp

from icn_lite.mesh import handshake, table, udp
from icn_lite.mesh.client import Client
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.limits import MeshLimits
from icn_lite.model.cid import Cid

SEED = 20_261_121
LONG = bool(os.environ.get("ICN_LITE_LONG"))
DATAGRAMS, CONNECTIONS = (50_000, 3_000) if LONG else (5_000, 300)
MEMORY_KIB = 20_000_000 // 1024
LOG_BYTES = 100_000
BATCH = 100  # datagrams between two that are answered, so that none is lost in the socket's buffer
AT_A_TIME = 30  # connections
WAIT_S = 10.0
REACHED = ("malformed_message", "session_required", "replayed", "unknown_option", "malformed_document", "bad_block")


@dataclass
class Fuzzed:
    """The endpoint's process."""

    process: asyncio.subprocess.Process
    port: int
    log: Path

    async def state(self) -> tuple[int, dict[str, int]]:
        """Its resident memory in KiB, and how often it refused what."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        resident_kib, refused = (await self.line()).split(maxsplit=1)
        return int(resident_kib), json.loads(refused)

    async def line(self) -> bytes:
        assert self.process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            return await self.process.stdout.readline()


@pytest.fixture
async def fuzzed(tmp_path: Path) -> AsyncIterator[Fuzzed]:
    log = tmp_path / "log"
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            sys.executable, mesh_fuzzed.__file__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=written, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
    server = Fuzzed(process, 0, log)
    try:
        server.port = int(await server.line())
        yield server
    finally:
        process.kill()
        await process.communicate()


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every datagram that an honest member sends."""
    found: list[bytes] = []
    send: Callable[..., None] = udp.Udp.send

    def listen(self: udp.Udp, message: Message) -> None:
        found.append(bytes(message.encode()))
        send(self, message)

    monkeypatch.setattr(udp.Udp, "send", listen)
    return found


@contextlib.asynccontextmanager
async def honest() -> AsyncIterator[Client]:
    endpoint = Endpoint(EndpointConfig("127.0.0.1", 0, MeshLimits(), member(samples.SIGNER)), samples.Node())
    await endpoint.start()
    yield Client(endpoint)
    await endpoint.close()


async def serve(client: Client, port: int) -> None:
    """Everything that a member asks usually."""
    uri = f"coap://127.0.0.1:{port}"
    await client.advertise(uri)
    await client.post(uri, table.BIDS, samples.bid().block)
    cid = Cid.of_raw(samples.BLOCK)
    assert await client.fetch_block([uri], cid, 100) == samples.BLOCK


def open_requests() -> list[Message]:
    """One request of each row, as from somebody without a session."""
    found = [Message(code=Code.POST, uri_path=("icn", "hs"), payload=handshake.hello(), content_format=table.CBOR)]
    for row in table.TABLE:
        path = tuple(row.path.replace("{cid}", str(samples.JOB_ID)).strip("/").split("/"))
        message = Message(code=Code[row.method], uri_path=path, payload=samples.bid().block if row.body else b"")
        if row.takes is not None:
            message.opt.content_format = row.takes
            message.opt.block1 = (0, True, 6)
        if row.observable:
            message.opt.observe = 0
        found.append(message)
    return found


def datagram(message: Message, mid: int) -> bytes:
    message.mtype, message.mid, message.token = (CON, NON)[mid % 2], mid, mid.to_bytes(2, "big")
    return bytes(message.encode())


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Some bytes other, some gone or doubled, the end cut off; now and then noise."""
    if not rng.randrange(10):
        return rng.randbytes(rng.randint(0, 300))
    changed = bytearray(data)
    for _ in range(rng.randint(0, 6)):
        at = rng.randrange(min(len(changed), rng.choice((8, 40, len(changed)))) or 1)
        match rng.randrange(3):
            case 0:
                changed[at : at + 1] = rng.randbytes(1)
            case 1:
                del changed[at : at + rng.randint(1, 4)]
            case _:
                changed[at:at] = changed[at : at + rng.randint(1, 30)]
    return bytes(changed[: rng.randint(1, len(changed))] if changed and not rng.randrange(3) else changed)


async def throw(rng: random.Random, port: int, seeds: list[bytes]) -> None:
    """The datagrams, from twenty addresses, each batch no sooner than the one before was worked off."""
    sockets = [await raw_udp(port) for _ in range(20)]
    watch = await raw_udp(port)
    await watch.be_believed()
    for number in range(DATAGRAMS):
        data = bytearray(mutated(rng, rng.choice(seeds)))
        if len(data) > 4 and rng.randrange(4):
            data[2:4] = (number & 0xFFFF).to_bytes(2, "big")  # no duplicate of one before
        sockets[number % len(sockets)].send(bytes(data))
        if number % BATCH == 0:
            await watch.be_believed()
            for raw in sockets:
                while not raw.arrived.empty():
                    raw.arrived.get_nowait()
    for raw in (*sockets, watch):
        raw.transport.close()


async def dial(rng: random.Random, port: int, seeds: list[bytes]) -> None:
    """The connections: each says some mutated messages and is closed by one side or the other."""

    async def one(data: bytes, patient: bool) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(data)
                if patient:
                    writer.write_eof()
                    async with asyncio.timeout(WAIT_S):
                        while await reader.read(65_536):
                            pass
            finally:
                writer.close()

    settings = bytes(_serialize(Message(code=CSM)))
    for _ in range(0, CONNECTIONS, AT_A_TIME):
        said = [
            (settings if rng.randrange(4) else b"") + b"".join(mutated(rng, rng.choice(seeds)) for _ in range(3))
            for _ in range(AT_A_TIME)
        ]
        await asyncio.gather(*(one(data, bool(rng.randrange(3))) for data in said))


async def test_memory_and_log_stay_small(fuzzed: Fuzzed, caught: list[bytes]) -> None:
    print("seed", SEED)
    rng = random.Random(SEED)
    async with honest() as client:
        await serve(client, fuzzed.port)
        sealed = [data for data in caught if len(data) > 20]
    before, _ = await fuzzed.state()
    await throw(rng, fuzzed.port, [*sealed, *(datagram(m, n) for n, m in enumerate(open_requests()))])
    await dial(rng, fuzzed.port, [bytes(_serialize(message)) for message in open_requests()])
    async with honest() as client:
        await serve(client, fuzzed.port)
    after, refused = await fuzzed.state()
    written = fuzzed.log.stat().st_size
    print(f"{after - before} KiB more memory, {written} bytes of log", refused)
    assert after - before < MEMORY_KIB
    assert written < LOG_BYTES
    for kind in REACHED:  # not turned away at the door
        assert refused.get(kind, 0) > 0, refused
