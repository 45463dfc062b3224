"""What has arrived of one block, from whom, and where to go on; and what is kept of transfers that failed.

A block arrives in order. Its first bytes are kept when a provider fails, and the next goes on behind them, at once or
at the next try. Bytes of several providers can only be judged together: if they don't make the block it is fetched
again from one alone, so that whoever lies is known.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.limits import UDP_BLOCK_BYTES, MeshLimits
from icn_lite.model.cid import Cid
from icn_lite.model.digest import bulk

HASH_INLINE_BYTES: Final = 32_768  # hashed in 0.2 ms on this side of a thread's cost, 2 ms on a small board


class Partial:
    """The beginning of a block and the hash of it. Large pieces are hashed off the loop, while the next comes."""

    def __init__(self) -> None:
        self.sources: set[PeerAddress] = set()
        self.size = 0
        self.alone = False  # several providers' bytes did not fit together: from now on one at a time
        self._pieces: list[bytes] = []
        self._hash = bulk()()
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
            sources = set(self.sources)
            await self.clear()
            self.sources = sources
            await self.add(kept)

    async def digest(self) -> bytes:
        """The sha2-256 of all pieces."""
        await self._hashed()
        return self._hash.digest()

    def whole(self) -> bytes:
        """All pieces."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    async def clear(self) -> None:
        """Throw everything away."""
        await self._hashed()
        self._pieces, self._hash, self.size = [], bulk()(), 0
        self.sources.clear()

    async def begin_with(self, provider: PeerAddress) -> None:
        """A provider goes on; what another gave is dropped where one alone has to give the whole."""
        if self.alone and self.sources - {provider}:
            await self.clear()

    async def _hashed(self) -> None:
        if self._hashing is not None:
            await asyncio.shield(self._hashing)  # whoever waits may be cancelled; the hash goes on in order
            self._hashing = None


class Unfinished:
    """Beginnings of blocks that nobody could finish, for the next try: bounded in bytes and in time."""

    def __init__(self, limits: MeshLimits) -> None:
        self._limits = limits
        self._kept: OrderedDict[Cid, tuple[Partial, float]] = OrderedDict()

    @property
    def size(self) -> int:
        """The bytes of all beginnings."""
        return sum(partial.size for partial, _ in self._kept.values())

    def take(self, cid: Cid, now_s: float) -> Partial:
        """What is kept of a block, or an empty beginning. While it is out, it is not given to another."""
        self.forget_old(now_s)
        kept = self._kept.pop(cid, None)
        return kept[0] if kept is not None else Partial()

    def keep(self, cid: Cid, partial: Partial, now_s: float) -> None:
        """Keep a beginning; the oldest goes where there is no room."""
        if partial.size == 0:
            return
        self._kept[cid] = (partial, now_s + self._limits.unfinished_ms / 1000)
        self._kept.move_to_end(cid)
        while self.size > self._limits.unfinished_bytes:
            self._kept.popitem(last=False)

    def forget_old(self, now_s: float) -> None:
        """Let go what was not gone on with in time."""
        while self._kept and next(iter(self._kept.values()))[1] <= now_s:
            self._kept.popitem(last=False)
