"""A lossy link in userspace: a port that stands before another, and treats datagrams and streams badly.

Datagrams are lost, sent twice, held back behind later ones, and delayed. Streams are delayed, and end after so many
bytes; a stream loses nothing in between, as TCP does not. What happens to the nth datagram of a direction is drawn from
the seed alone, whatever the time is.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from icn_lite.mesh.addresses import bind_sockets

READ_BYTES = 65_536


@dataclass(frozen=True)
class Weather:
    """How a link treats what passes; percentages are of datagrams."""

    lost_pct: int = 0
    twice_pct: int = 0
    held_back_pct: int = 0
    delay_ms: int = 0
    streams_end_after: tuple[int, ...] = ()  # bytes to the asker: of the first stream, the second, …; later ones last


FAIR = Weather()
DEAD = Weather(lost_pct=100)


@dataclass
class LossyLink:
    """The link to one port. `uri` is what a client asks instead."""

    target: int
    seed: int
    weather: Weather = FAIR
    to_asker_bytes: int = 0
    lost: int = 0
    _askers: dict[tuple[str, int], asyncio.DatagramTransport] = field(default_factory=dict)
    _streams: set[asyncio.Task[None]] = field(default_factory=set)
    _opened: int = 0

    async def open(self) -> None:
        udp, tcp = bind_sockets("127.0.0.1", 0)
        self.uri = f"coap://127.0.0.1:{tcp.getsockname()[1]}"
        self._dice = {name: random.Random(f"{self.seed} {name}") for name in ("there", "back")}
        loop = asyncio.get_running_loop()
        self._front, _ = await loop.create_datagram_endpoint(lambda: _Front(self), sock=udp)
        self._server = await asyncio.start_server(self._accept, sock=tcp)

    async def close(self) -> None:
        self._front.close()
        for back in self._askers.values():
            back.close()
        self._server.close()
        for stream in tuple(self._streams):
            stream.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)
        await asyncio.sleep(0)

    # Datagrams

    async def there(self, data: bytes, asker: tuple[str, int]) -> None:
        back = self._askers.get(asker)
        if back is None:
            loop = asyncio.get_running_loop()
            back, _ = await loop.create_datagram_endpoint(
                lambda: _Back(self, asker), remote_addr=("127.0.0.1", self.target)
            )
            self._askers[asker] = cast(asyncio.DatagramTransport, back)
        self._treat("there", partial(cast(asyncio.DatagramTransport, back).sendto, data))

    def back(self, data: bytes, asker: tuple[str, int]) -> None:
        def send() -> None:
            self.to_asker_bytes += len(data)
            cast(asyncio.DatagramTransport, self._front).sendto(data, asker)

        self._treat("back", send)

    def _treat(self, direction: str, send: Callable[[], None]) -> None:
        dice, weather = self._dice[direction], self.weather
        lost, twice, held = (dice.randrange(100) for _ in range(3))  # always three, so that draws stay aligned
        if lost < weather.lost_pct:
            self.lost += 1
            return
        delay_s = weather.delay_ms / 1000
        if held < weather.held_back_pct:
            delay_s = 3 * delay_s + 0.002
        for _ in range(2 if twice < weather.twice_pct else 1):
            asyncio.get_running_loop().call_later(delay_s, self._send, send)

    def _send(self, send: Callable[[], None]) -> None:
        if not self._front.is_closing():
            send()

    # Streams

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self._opened = self._opened, self._opened + 1
        ends = self.weather.streams_end_after
        task = asyncio.create_task(self._carry(reader, writer, ends[number] if number < len(ends) else None))
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None) -> None:
        ends = [writer]
        pumps: list[asyncio.Task[None]] = []
        try:
            with contextlib.suppress(OSError):
                there, back = await asyncio.open_connection("127.0.0.1", self.target)
                ends.append(back)
                pumps += (
                    asyncio.create_task(self._pump(reader, back)),
                    asyncio.create_task(self._pump_back(there, writer, left)),
                )
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            for end in ends:
                end.transport.abort()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(READ_BYTES):
                await self._delayed()
                writer.write(data)
                await writer.drain()

    async def _pump_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None) -> None:
        with contextlib.suppress(ConnectionError):
            while (left is None or left > 0) and (data := await reader.read(READ_BYTES)):
                await self._delayed()
                if left is not None:
                    data, left = data[:left], left - len(data)
                self.to_asker_bytes += len(data)
                writer.write(data)
                await writer.drain()

    async def _delayed(self) -> None:
        if self.weather.delay_ms:
            await asyncio.sleep(self.weather.delay_ms / 1000)


@dataclass
class _Front(asyncio.DatagramProtocol):
    link: LossyLink
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        task = asyncio.ensure_future(self.link.there(data, addr))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


@dataclass
class _Back(asyncio.DatagramProtocol):
    link: LossyLink
    asker: tuple[str, int]

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.link.back(data, self.asker)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there at the moment: as lost."""


@contextlib.asynccontextmanager
async def lossy_link(target: int, seed: int, weather: Weather = FAIR) -> AsyncIterator[LossyLink]:
    print(f"lossy link: seed {seed}, {weather}")
    link = LossyLink(target, seed, weather)
    await link.open()
    try:
        yield link
    finally:
        await link.close()
