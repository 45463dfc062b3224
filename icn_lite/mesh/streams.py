"""Append-only streams read by offset, with a long poll: what a guest logs while it runs, for whoever waits elsewhere.

A reader says from which byte on, and how long it would wait for more. The answer is what there is from there, at most
so much as goes well over its transport, and whether the stream is at its end; a reader that lost an answer asks for the
same offset again. Streams are bounded in number and in bytes, and so are those who wait: past that, an answer comes at
once, empty.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Self

from icn_lite.model import cbor
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError

MAX_WAIT_MS: Final = 15_000  # below the time that a handler may take
MAX_WAITING: Final = 16  # a quarter of the requests that an endpoint handles at a time
MAX_STREAMS: Final = 64  # the oldest goes for a new one
MAX_STREAM_BYTES: Final = 64 << 10  # of one stream; what a run may log is less in every profile but the largest
UDP_BYTES: Final = 768  # with its frame one block
TCP_BYTES: Final = 16 << 10
LETTER_BYTES: Final = 2 << 10  # what an answer in a letter has room for
PIECE_BYTES: Final = {"udp": UDP_BYTES, "tcp": TCP_BYTES, "letter": LETTER_BYTES}  # by how a reader asks
MAX_PIECE_BYTES: Final = TCP_BYTES + 64
MAX_OFFSET: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Where:
    """What a reader asks: which shard's stream, from which byte on, how long it waits for more."""

    shard: int = 0
    start: int = 0
    wait_ms: int = 0

    @classmethod
    def parse(cls, query: tuple[str, ...]) -> Self:
        """Read `shard=3`, `from=1024`, `wait=10000`; each may be absent, anything else is refused."""
        found: dict[str, int] = {}
        for part in query:
            name, _, text = part.partition("=")
            if name not in ("shard", "from", "wait") or name in found or not (text.isascii() and text.isdecimal()):
                raise DocumentError(f"expected shard=, from= or wait= with a number, found {part[:40]!r}")
            found[name] = int(text[:12])
        start, shard = found.get("from", 0), found.get("shard", 0)
        if start > MAX_OFFSET or shard > MAX_OFFSET:
            raise DocumentError(f"expected numbers up to {MAX_OFFSET}, found {max(start, shard)}")
        return cls(shard, start, min(MAX_WAIT_MS, found.get("wait", 0)))

    @property
    def query(self) -> str:
        """The query that `parse` reads."""
        return f"shard={self.shard}&from={self.start}&wait={self.wait_ms}"


@dataclass(frozen=True, slots=True)
class Piece:
    """What was there: bytes from `start` on, and whether nothing comes behind them any more."""

    start: int
    data: bytes
    ended: bool

    def encode(self) -> bytes:
        """As DAG-CBOR."""
        return cbor.encode({"from": self.start, "data": self.data, "ended": self.ended})

    @classmethod
    def decode(cls, block: bytes) -> Self:
        """Read a piece; raises `DocumentError` for anything else."""
        value = cbor.decode(block, max_bytes=MAX_PIECE_BYTES)
        if not isinstance(value, dict) or sorted(value) != ["data", "ended", "from"]:
            raise DocumentError("expected a piece of a stream: {data, ended, from}")
        start, data, ended = value["from"], value["data"], value["ended"]
        if type(start) is not int or not isinstance(data, bytes) or not isinstance(ended, bool):
            raise DocumentError("expected a piece of a stream: an offset, bytes, and whether it ended")
        return cls(start, data, ended)


class Stream:
    """One stream, and who may read it."""

    def __init__(self, owner: Did) -> None:
        self.owner = owner
        self._data = bytearray()
        self._ended = False
        self._more = asyncio.Event()

    def put(self, at: int, data: bytes) -> None:
        """Bytes of the stream from offset `at`; those that are known already are the same and left out."""
        if at <= len(self._data):
            self._data += data[len(self._data) - at :][: MAX_STREAM_BYTES - len(self._data)]
            self._ring()

    def end(self) -> None:
        """Nothing comes any more."""
        self._ended = True
        self._ring()

    def _ring(self) -> None:
        self._more.set()
        self._more = asyncio.Event()

    def piece(self, start: int, most: int) -> Piece:
        """What is there from `start` on, at most `most` bytes."""
        data = bytes(self._data[start : start + most])
        return Piece(start, data, self._ended and start + len(data) >= len(self._data))

    async def more(self, start: int, wait_ms: int) -> None:
        """Wait until there is something behind `start`, or the end, or the time is over."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + wait_ms / 1000
        while len(self._data) <= start and not self._ended and loop.time() < until_s:
            try:
                async with asyncio.timeout_at(until_s):
                    await self._more.wait()
            except TimeoutError:
                return


class Streams:
    """The streams of one node, by lease and shard."""

    def __init__(self) -> None:
        self._streams: OrderedDict[tuple[Cid, int], Stream] = OrderedDict()
        self._waiting = 0

    def __len__(self) -> int:
        return len(self._streams)

    def begin(self, lease: Cid, shard: int, owner: Did) -> Stream:
        """A new stream, in place of an earlier one of this shard."""
        stream = self._streams[(lease, shard)] = Stream(owner)
        self._streams.move_to_end((lease, shard))
        while len(self._streams) > MAX_STREAMS:
            self._streams.popitem(last=False)[1].end()
        return stream

    async def read(self, lease: Cid, where: Where, most: int, asker: Did | None) -> Piece | None:
        """A piece of a stream, or None where there is none for the asker (None where nobody is told apart)."""
        stream = self._streams.get((lease, where.shard))
        if stream is None or asker not in (None, stream.owner):
            return None
        if where.wait_ms and self._waiting < MAX_WAITING:
            self._waiting += 1
            try:
                await stream.more(where.start, where.wait_ms)
            finally:
                self._waiting -= 1
        return stream.piece(where.start, most)
