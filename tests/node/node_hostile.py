"""Fifty who mean harm, ten of each kind: slow, half-open, oversize, replaying, flooding without any session."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiocoap import Message
from aiocoap.numbers.codes import CSM, Code
from aiocoap.numbers.types import CON, NON
from aiocoap.transports.tcp import _serialize

from icn_lite.mesh import handshake, table

HOST = "127.0.0.1"
PER_KIND = 10
PAUSE_S = 0.2  # between two strokes of one attacker: some 800 datagrams a second of all fifty


@dataclass
class Mob:
    """Attackers of nodes on these ports, from `begin` to `end`; `strokes` counts what they did, by kind."""

    ports: list[int]
    sealed: list[tuple[int, bytes]]  # whole datagrams of an honest member's session, caught on their way to a port
    seed: int = 20_261_121
    strokes: Counter[str] = field(default_factory=Counter)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def begin(self) -> None:
        kinds: dict[str, Callable[[random.Random, int], Awaitable[None]]] = {
            "slow": self._slow, "half-open": self._half_open, "oversize": self._oversize,
            "replayed": self._replay, "flood": self._flood,
        }  # fmt: skip
        for number in range(PER_KIND):
            for kind, stroke in kinds.items():
                rng = random.Random(f"{self.seed} {kind} {number}")
                port = self.ports[number % len(self.ports)]
                self._tasks.append(asyncio.create_task(self._strike(kind, stroke, rng, port), name=f"{kind} {number}"))

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _strike(
        self, kind: str, stroke: Callable[[random.Random, int], Awaitable[None]], rng: random.Random, port: int
    ) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await stroke(rng, port)
            self.strokes[kind] += 1
            await asyncio.sleep(PAUSE_S)

    async def _slow(self, rng: random.Random, port: int) -> None:
        """A message that comes byte by byte over TCP."""
        _, writer = await asyncio.open_connection(HOST, port)
        try:
            for byte in bytes(_serialize(Message(code=CSM))) + b"\xd0\xff\x02" + rng.randbytes(20):
                writer.write(bytes((byte,)))
                await asyncio.sleep(PAUSE_S / 10)
        finally:
            writer.transport.abort()

    async def _half_open(self, rng: random.Random, port: int) -> None:
        """A connection on which nothing comes, and a handshake that is begun and left."""
        _, writer = await asyncio.open_connection(HOST, port)
        try:
            await self._datagram(port, self._request(rng, Code.POST, table.HANDSHAKE, handshake.hello(), CON))
            await asyncio.sleep(rng.random() / 2)
        finally:
            writer.transport.abort()

    async def _oversize(self, rng: random.Random, port: int) -> None:
        """A message of four gigabytes is announced over TCP, a body of one over UDP."""
        _, writer = await asyncio.open_connection(HOST, port)
        writer.write(bytes(_serialize(Message(code=CSM))) + b"\xf0\xff\xff\xff\xff\x01" + rng.randbytes(4000))
        message = Message(code=Code.POST, payload=rng.randbytes(1024), _token=b"t")
        message.opt.uri_path = ("icn", "jobs")
        message.opt.block1, message.opt.size1 = (0, True, 6), 1 << 30
        message.mtype, message.mid = CON, rng.randrange(1 << 16)
        try:
            await self._datagram(port, bytes(message.encode()))
        finally:
            writer.transport.abort()

    async def _replay(self, rng: random.Random, port: int) -> None:
        """What a member sent, once more: as it was, or under another message id."""
        mine = [data for caught, data in self.sealed if caught == port] or [data for _, data in self.sealed]
        data = bytearray(rng.choice(mine))
        if rng.random() < 0.5:
            data[2:4] = rng.randbytes(2)
        await self._datagram(port, bytes(data))

    async def _flood(self, rng: random.Random, port: int) -> None:
        """Requests of a stranger for everything that there is, and junk."""
        for _ in range(10):
            row = rng.choice(table.TABLE)
            body = rng.randbytes(rng.randrange(600)) if row.body else b""
            await self._datagram(port, self._request(rng, Code[row.method], row.path, body, rng.choice((CON, NON))))
        await self._datagram(port, rng.randbytes(rng.randrange(1, 200)))

    @staticmethod
    def _request(rng: random.Random, code: Code, path: str, body: bytes, mtype: object) -> bytes:
        message = Message(code=code, payload=body, _token=rng.randbytes(4))
        message.opt.uri_path = tuple(path.strip("/").split("/"))
        message.mtype, message.mid = mtype, rng.randrange(1 << 16)
        return bytes(message.encode())

    @staticmethod
    async def _datagram(port: int, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(HOST, port))
        transport.sendto(data)
        transport.close()
