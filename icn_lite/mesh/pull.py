"""One block from one provider, from where it ends: range after range of it (Block2 with NUM > 0, RFC 7959 §2.4).

Over TCP the provider gives as much at once as fits a message (BERT, RFC 8323 §6). Over UDP blocks of 1 KiB are asked
for by non-confirmable requests, which are repeated here: the first tells size and round-trip time, the others go out
several at a time. Their number grows with every answer up to `UDP_WINDOW` and is halved
with every loss (RFC 7252 §4.7 leaves more than one request at a time to such a control).
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

from aiocoap import Message, Unreliable
from aiocoap.interfaces import EndpointAddress
from aiocoap.numbers.codes import Code

from icn_lite.mesh import table
from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.limits import BERT_EXPONENT, UDP_BLOCK_BYTES, UDP_BLOCK_EXPONENT
from icn_lite.mesh.partial import Partial
from icn_lite.mesh.requests import Call, Requester, Transport, block_bytes
from icn_lite.mesh.tcp import Connection
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import PeerError, PeerRefused

MAX_BUSY: Final = 3  # times that a provider may say "later" (5.03) before the next is asked
MAX_BUSY_S: Final = 5
UDP_WINDOW: Final = 10  # requests at a time: the MAX_PAYLOADS of RFC 9177 §7.2
RETRY_MIN_S: Final = 0.1  # below, a busy peer is asked twice for what it is about to send
RETRY_FIRST_S: Final = 0.5  # while the round-trip time is not known; a link at home has less than a tenth of that
RETRY_MAX_S: Final = 2.0  # RFC 7252's first retransmission
_BLOCK_PATH: Final = tuple(table.BLOCK.strip("/").split("/")[:-1])
RETRY_ROUND_TRIPS: Final = 3  # after so many round trips without an answer it is lost


@dataclass(frozen=True, slots=True)
class Wanted:
    """A block that is wanted: its CID, how large it may be, until when (loop time), and its size where it is known."""

    cid: Cid
    max_bytes: int
    until_s: float
    size: int = 0
    query: tuple[str, ...] = ()  # `far.Far`, where providers may have to fetch it themselves
    whose: Mapping[PeerAddress, Did] = field(default_factory=dict)  # who has to answer at an address; else anybody may


@dataclass(slots=True)
class _Burst:
    """The blocks of one UDP transfer that are still missing."""

    provider: PeerAddress
    remote: EndpointAddress
    wanted: Wanted
    size: int
    retry_s: float
    window: float = 2.0
    got: dict[int, bytes] = field(default_factory=dict)
    missing: list[int] = field(default_factory=list)
    flight: dict[asyncio.Task[bytes | None], int] = field(default_factory=dict)


class Puller:
    """Asks one provider at a time; remembers who has no TCP."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester
        self._limits = requester.limits
        self._loop = asyncio.get_running_loop()
        self._without_tcp: dict[PeerAddress, float] = {}
        self._connections: WeakValueDictionary[PeerAddress, Connection] = WeakValueDictionary()

    async def pull(self, provider: PeerAddress, wanted: Wanted, partial: Partial) -> None:
        """Bring `partial` to its end; raises `PeerError`, and leaves in it what came. Nothing is verified here."""
        await partial.begin_with(provider)
        too_large = wanted.size > self._limits.udp_fetch_bytes
        tcp_failed = self._without_tcp.get(provider, 0.0) > self._loop.time()
        if wanted.max_bytes <= UDP_BLOCK_BYTES or (tcp_failed and not too_large):
            await self._ranges(provider, "udp", wanted, partial)
            return
        try:
            await self._ranges(provider, "tcp", wanted, partial)
        except PeerRefused:
            raise
        except PeerError:
            too_large = too_large or partial.size > self._limits.udp_fetch_bytes
            if self._loop.time() >= wanted.until_s or too_large:
                raise
            await self._ranges(provider, "udp", wanted, partial)

    def without_tcp(self, provider: PeerAddress) -> None:
        """A provider's TCP port can't be reached: for a while it is asked over UDP at once."""
        if len(self._without_tcp) >= self._limits.peers_tracked:
            self._without_tcp.clear()
        self._without_tcp[provider] = self._loop.time() + self._limits.tcp_retry_ms / 1000

    async def _address(self, provider: PeerAddress, transport: Transport, until_s: float) -> EndpointAddress:
        """The address, or the connection, under which a provider is asked."""
        known = self._connections.get(provider) if transport == "tcp" else None
        if known is not None and known.is_open:
            return known
        request = self._requester.message(provider, transport, Call("GET", table.BLOCK))
        try:
            await self._requester.resolve(provider, request, until_s)
        except PeerError:
            if transport == "tcp":
                self.without_tcp(provider)
            raise
        if isinstance(request.remote, Connection):
            self._connections[provider] = request.remote
        return request.remote

    async def _ranges(self, provider: PeerAddress, transport: Transport, wanted: Wanted, partial: Partial) -> None:
        """Ask for range after range from where `partial` ends, on one connection."""
        exponent = BERT_EXPONENT if transport == "tcp" else UDP_BLOCK_EXPONENT
        limit = wanted.max_bytes if transport == "tcp" else min(wanted.max_bytes, self._limits.udp_fetch_bytes)
        await partial.align()
        remote = await self._address(provider, transport, wanted.until_s)
        while True:
            begun_s = self._loop.time()
            answer = await self._patiently(provider, remote, wanted, (partial.size // block_bytes(exponent), exponent))
            partial.sources.add(provider)
            self._check(provider, answer, partial.size, limit)
            await partial.add(bytes(answer.payload))
            block2 = answer.opt.block2
            if block2 is None or not block2.more:
                return
            exponent = min(exponent, int(block2.size_exponent))
            size = answer.opt.size2
            if transport == "udp" and exponent == UDP_BLOCK_EXPONENT and size is not None:
                retry_s = min(RETRY_MAX_S, max(RETRY_MIN_S, RETRY_ROUND_TRIPS * (self._loop.time() - begun_s)))
                await self._burst(_Burst(provider, remote, wanted, int(size), retry_s), partial)
                return

    async def _patiently(
        self, provider: PeerAddress, remote: EndpointAddress, wanted: Wanted, place: tuple[int, int]
    ) -> Message:
        """One range, at the block number and size exponent `place`; a provider that says "later" is asked again."""
        patience = MAX_BUSY
        while True:
            until_s = min(wanted.until_s, self._loop.time() + self._limits.piece_ms / 1000)
            ask = self._repeatedly if remote.scheme == "coap" else self._requester.exchange
            request, to = _request(wanted, remote, place), wanted.whose.get(provider)
            try:
                return self._requester.checked(provider, await ask(provider, request, until_s, to))
            except PeerRefused as refused:
                if refused.retry_after_s is None or patience == 0:
                    raise
                patience -= 1
                await asyncio.sleep(min(refused.retry_after_s, MAX_BUSY_S))

    async def _repeatedly(self, provider: PeerAddress, request: Message, until_s: float, to: Did | None) -> Message:
        """A request over UDP, repeated until it is answered."""
        wait_s = RETRY_FIRST_S
        while self._loop.time() + wait_s < until_s:
            asked = request.copy(mid=None, token=b"", transport_tuning=Unreliable)
            answer = await self._in_time(provider, asked, self._loop.time() + wait_s, to)
            if answer is not None:
                return answer
            wait_s = min(RETRY_MAX_S, 2 * wait_s)
        return await self._requester.exchange(provider, request, until_s, to)

    async def _in_time(self, provider: PeerAddress, request: Message, until_s: float, to: Did | None) -> Message | None:
        """The answer, or None when none came until then; an error that comes sooner is raised."""
        try:
            return await self._requester.exchange(provider, request, until_s, to)
        except PeerError:
            if self._loop.time() < until_s:
                raise
            return None

    async def _burst(self, burst: _Burst, partial: Partial) -> None:
        """The rest of a block over UDP, several requests at a time; `partial` grows in order."""
        first = partial.size // UDP_BLOCK_BYTES
        burst.missing = list(range(first, -(-burst.size // UDP_BLOCK_BYTES)))
        silent_until_s = self._loop.time() + self._limits.piece_ms / 1000
        try:
            while burst.missing or burst.flight:
                while burst.missing and len(burst.flight) < int(burst.window):
                    number = heapq.heappop(burst.missing)
                    burst.flight[asyncio.create_task(self._one(burst, number), name=f"block {number}")] = number
                done, _ = await asyncio.wait(burst.flight, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if self._landed(burst, task):
                        silent_until_s = self._loop.time() + self._limits.piece_ms / 1000
                    elif self._loop.time() >= min(silent_until_s, burst.wanted.until_s):
                        raise PeerError(f"{burst.provider} went silent", hint="is it still running and near?")
                while partial.size // UDP_BLOCK_BYTES in burst.got and partial.size < burst.size:
                    await partial.add(burst.got.pop(partial.size // UDP_BLOCK_BYTES))
        finally:
            for task in burst.flight:
                task.cancel()
            await asyncio.gather(*burst.flight, return_exceptions=True)

    def _landed(self, burst: _Burst, task: asyncio.Task[bytes | None]) -> bool:
        """Take what a request brought; returns whether that was something."""
        number, data = burst.flight.pop(task), task.result()
        if data is not None:
            burst.got[number] = data
            burst.window = min(float(UDP_WINDOW), burst.window + 1 / burst.window)
            return True
        heapq.heappush(burst.missing, number)
        burst.window = max(1.0, burst.window / 2)
        return False

    async def _one(self, burst: _Burst, number: int) -> bytes | None:
        """One block, asked for once; None where no answer came, or "later"."""
        request = _request(burst.wanted, burst.remote, (number, UDP_BLOCK_EXPONENT))
        request.transport_tuning = Unreliable
        begun_s = self._loop.time()
        until_s = min(burst.wanted.until_s, begun_s + burst.retry_s)
        answer = await self._in_time(burst.provider, request, until_s, burst.wanted.whose.get(burst.provider))
        if answer is None or answer.code is Code.SERVICE_UNAVAILABLE:
            return None
        start = number * UDP_BLOCK_BYTES
        self._check(burst.provider, self._requester.checked(burst.provider, answer), start, burst.size)
        if len(answer.payload) != min(UDP_BLOCK_BYTES, burst.size - start):
            raise PeerError(f"{burst.provider} gave {len(answer.payload)} bytes at {start} of a block of {burst.size}")
        taken_s = RETRY_ROUND_TRIPS * (self._loop.time() - begun_s)
        burst.retry_s = min(RETRY_MAX_S, max(RETRY_MIN_S, (burst.retry_s + taken_s) / 2))
        return bytes(answer.payload)

    def _check(self, provider: PeerAddress, answer: Message, have: int, limit: int) -> None:
        """Refuse a range that is none, or that leads beyond `limit`."""
        if answer.code is not Code.CONTENT:
            raise PeerError(f"{provider} answered {answer.code.dotted} where a block was asked for")
        announced = answer.opt.size2
        if announced is not None and announced > limit:
            raise PeerError(f"{provider} has {announced} bytes where at most {limit} are taken")
        if answer.opt.block2 is None:
            if have or len(answer.payload) > limit:
                raise PeerError(f"{provider} answered with another block than the one asked for")
        elif answer.payload or answer.opt.block2.block_number:
            self._requester.check_piece(provider, answer, have, limit)


def _request(wanted: Wanted, remote: EndpointAddress, place: tuple[int, int]) -> Message:
    """The request for one range. Its options are set one by one: reading a URI into them takes three times as long."""
    request = Message(code=Code.GET)
    request.opt.uri_path = (*_BLOCK_PATH, str(wanted.cid))
    if wanted.query:
        request.opt.uri_query = wanted.query
    request.opt.block2 = (place[0], False, place[1])
    request.remote = remote
    return request
