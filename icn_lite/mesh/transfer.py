"""Blocks by CID from whoever has them: TCP first, UDP block-wise for small ones, verified, resumed elsewhere.

Each provider is tried in turn. What a provider gave before it failed is kept, and the next goes on from there. At
the end the bytes are checked against the CID; where they don't fit and came from one provider, that one is named
and its bytes thrown away; where they came from several, each is then asked for the whole.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiocoap import Message
from aiocoap.numbers.codes import Code

from icn_lite.mesh import table
from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.limits import BERT_EXPONENT, UDP_BLOCK_BYTES, UDP_BLOCK_EXPONENT
from icn_lite.mesh.requests import Call, Requester, Transport, block_bytes
from icn_lite.model.cid import Cid
from icn_lite.model.errors import JobErrorCode, PeerError, PeerRefused

MAX_PROVIDERS: Final = 8  # asked in turn before giving up
MAX_BUSY: Final = 3  # times that a provider may say "later" (5.03) before the next is asked
MAX_BUSY_S: Final = 5
HASH_INLINE_BYTES: Final = 32_768  # hashed in 0.2 ms on this side of a thread's cost, 2 ms on a small board


class _Partial:
    """What has arrived, from whom, and the hash of it. Large pieces are hashed off the loop, while the next comes."""

    def __init__(self) -> None:
        self.sources: set[PeerAddress] = set()
        self.size = 0
        self._pieces: list[bytes] = []
        self._hash = hashlib.sha256()
        self._hashing: asyncio.Future[None] | None = None

    async def add(self, piece: bytes) -> None:
        """Append a piece."""
        await self._hashed()
        self._pieces.append(piece)
        self.size += len(piece)
        if len(piece) < HASH_INLINE_BYTES:
            self._hash.update(piece)
        else:
            self._hashing = asyncio.get_running_loop().run_in_executor(None, self._hash.update, piece)

    async def align(self) -> None:
        """Cut to whole blocks, from which any provider can go on; small blocks of one may have ended between them."""
        spare = self.size % UDP_BLOCK_BYTES
        if spare:
            kept = b"".join(self._pieces)[:-spare]
            await self.clear(forget_sources=False)
            await self.add(kept)

    async def digest(self) -> bytes:
        """The sha2-256 of all pieces."""
        await self._hashed()
        return self._hash.digest()

    def whole(self) -> bytes:
        """All pieces."""
        return b"".join(self._pieces)

    async def clear(self, *, forget_sources: bool = True) -> None:
        """Throw everything away."""
        await self._hashed()
        self._pieces, self._hash, self.size = [], hashlib.sha256(), 0
        if forget_sources:
            self.sources.clear()

    async def _hashed(self) -> None:
        if self._hashing is not None:
            await self._hashing
            self._hashing = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A block that is wanted: its CID, how large it may be, and until when (loop time)."""

    cid: Cid
    max_bytes: int
    until_s: float


class Fetcher:
    """Fetches blocks through a requester."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester
        self._limits = requester.limits
        self._loop = asyncio.get_running_loop()
        self._without_tcp: dict[PeerAddress, float] = {}

    async def fetch(self, providers: Sequence[PeerAddress], wanted: Wanted) -> bytes:
        """The bytes that `wanted.cid` names; raises the last provider's error if none has them."""
        if not providers:
            raise PeerError(f"nobody is known who has block {wanted.cid}")
        partial = _Partial()
        fault = PeerError(f"no provider gave block {wanted.cid}")
        suspects: list[PeerAddress] = []
        for provider in providers[:MAX_PROVIDERS]:
            try:
                return await self._whole(provider, wanted, partial)
            except _MixedError:
                suspects.append(provider)
            except PeerError as error:
                fault = error
        for provider in suspects:  # each alone, now that the mixture did not fit
            await partial.clear()
            try:
                return await self._whole(provider, wanted, partial)
            except PeerError as error:
                fault = error
        raise fault

    async def _whole(self, provider: PeerAddress, wanted: Wanted, partial: _Partial) -> bytes:
        """Go on with a provider until the block is whole, then check it."""
        await self._pull(provider, wanted, partial)
        if await partial.digest() == wanted.cid.digest:
            return partial.whole()
        sources, size = len(partial.sources), partial.size
        await partial.clear()
        if sources > 1:
            raise _MixedError(f"the pieces of block {wanted.cid} from {sources} peers don't fit together")
        raise PeerError(
            f"{provider} gave {size} bytes that are not block {wanted.cid}",
            hint="that peer is broken or lies; the bytes were thrown away",
            code=JobErrorCode.VALIDATION_FAILED,
        )

    async def _pull(self, provider: PeerAddress, wanted: Wanted, partial: _Partial) -> None:
        small = wanted.max_bytes <= UDP_BLOCK_BYTES
        if small or self._without_tcp.get(provider, 0.0) > self._loop.time():
            await self._pieces(provider, "udp", wanted, partial)
            return
        try:
            await self._pieces(provider, "tcp", wanted, partial)
        except PeerRefused:
            raise
        except PeerError:
            if self._loop.time() >= wanted.until_s:
                raise
            if not partial.size:
                self._remember_without_tcp(provider)
            await self._pieces(provider, "udp", wanted, partial)

    def _remember_without_tcp(self, provider: PeerAddress) -> None:
        if len(self._without_tcp) >= self._limits.peers_tracked:
            self._without_tcp.clear()
        self._without_tcp[provider] = self._loop.time() + self._limits.tcp_retry_ms / 1000

    async def _pieces(self, provider: PeerAddress, transport: Transport, wanted: Wanted, partial: _Partial) -> None:
        """Ask for piece after piece from where `partial` ends."""
        requester = self._requester
        call = Call("GET", table.BLOCK.replace("{cid}", str(wanted.cid)))
        exponent = BERT_EXPONENT if transport == "tcp" else UDP_BLOCK_EXPONENT
        limit = wanted.max_bytes if transport == "tcp" else min(wanted.max_bytes, self._limits.udp_fetch_bytes)
        await partial.align()
        remote, patience = None, MAX_BUSY
        while True:
            request = requester.message(provider, transport, call)
            if remote is not None:
                request.remote = remote  # the connection, or the address, that the piece before came from
            else:
                await requester.resolve(provider, request, wanted.until_s)
            request.opt.block2 = (partial.size // block_bytes(exponent), False, exponent)
            until_s = min(wanted.until_s, self._loop.time() + self._limits.piece_ms / 1000)
            try:
                answer = requester.checked(provider, await requester.exchange(provider, request, until_s))
            except PeerRefused as refused:
                if refused.retry_after_s is None or patience == 0:
                    raise
                patience -= 1
                await asyncio.sleep(min(refused.retry_after_s, MAX_BUSY_S))
                continue
            remote = answer.remote
            partial.sources.add(provider)
            self._check(provider, answer, partial.size, limit)
            await partial.add(answer.payload)
            if answer.opt.block2 is not None:
                exponent = min(exponent, int(answer.opt.block2.size_exponent))
            if answer.opt.block2 is None or not answer.opt.block2.more:
                return

    def _check(self, provider: PeerAddress, answer: Message, have: int, limit: int) -> None:
        """Refuse a piece that is none, or that leads beyond `limit`."""
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


class _MixedError(Exception):
    """Pieces of several providers that don't make the block."""
