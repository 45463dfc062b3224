"""CoAP by hand: datagrams and TCP messages that no library would send, and answers as they stand on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from aiocoap import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.numbers.types import ACK, CON
from aiocoap.optiontypes import OpaqueOption

WAIT_S = 5.0


@dataclass
class RawUdp(asyncio.DatagramProtocol):
    """A UDP socket to one endpoint."""

    def __post_init__(self) -> None:
        self.arrived: asyncio.Queue[bytes] = asyncio.Queue()
        self.mid = 100

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.arrived.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        raise AssertionError(exc)

    def send(self, data: bytes) -> None:
        self.transport.sendto(data)

    async def next(self) -> Message:
        """The next message that is no empty acknowledgement."""
        while True:
            async with asyncio.timeout(WAIT_S):
                message = Message.decode(await self.arrived.get())
            if message.code is not Code.EMPTY:
                return message

    async def ask(self, code: Code, path: str, payload: bytes = b"", **options: Any) -> Message:
        """Send one confirmable request and return the answer; a stranger's address is shown first to be ours."""
        self.send(self.request(code, path, payload, **options))
        answer = await self.next()
        if answer.opt.echo is None or "echo" in options:
            return answer
        return await self.ask(code, path, payload, echo=answer.opt.echo, **options)

    async def be_believed(self) -> None:
        """Show that we are where we say we are, as whoever sends datagrams by hand has to."""
        assert (await self.ask(Code.GET, "/.well-known/core")).code is Code.CONTENT

    def request(self, code: Code, path: str, payload: bytes = b"", **options: Any) -> bytes:
        self.mid += 1
        message = Message(code=code, payload=payload, _mtype=CON, _mid=self.mid, _token=self.mid.to_bytes(2, "big"))
        message.opt.uri_path = tuple(path.strip("/").split("/"))
        number, value = options.pop("unknown", (0, b""))
        for name, setting in options.items():
            setattr(message.opt, name, setting)
        if number:
            message.opt.add_option(OpaqueOption(OptionNumber(number), value))
        return bytes(message.encode())

    def acknowledge(self, message: Message) -> None:
        self.send(bytes(Message(code=Code.EMPTY, _mtype=ACK, _mid=message.mid).encode()))


async def raw_udp(port: int, host: str = "127.0.0.1") -> RawUdp:
    _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(RawUdp, remote_addr=(host, port))
    return protocol


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop turn until something holds."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if holds():
                return
            await asyncio.sleep(0)
