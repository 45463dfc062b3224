"""Blocks that pass: fetched for a neighbour from further away, kept a while in memory, within a byte budget.

A block that several neighbours ask for is fetched once. How far a request goes falls from node to node (`mesh/far.py`),
so it ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from icn_lite.mesh.far import Far
from icn_lite.mesh.ports import Remote
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import DeviceRefuses, PeerError
from icn_lite.model.parcel import MAX_HOPS
from icn_lite.node.post import Post, fulfil, source_of

MAX_PASSING_BYTES: Final = 1 << 20  # one block; what is larger than 256 KiB is cut into leaves before it travels
KEPT_BYTES: Final = 4 << 20  # a module and some inputs, for the next one who asks
FETCHING: Final = 8  # at a time, 8 MiB at worst
FETCHING_OF: Final = 4  # of one neighbour
WAIT_MS: Final = 18_000  # less than an endpoint gives its handlers; who waited longer asks again
DETOUR: Final = 2  # how much further than last heard somebody may be
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Fetching:
    source: Did
    future: asyncio.Future[bytes]


class Passing:
    """The blocks that pass one node."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._kept: OrderedDict[Cid, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._fetching: dict[Cid, _Fetching] = {}

    async def fetch(self, of: Did, cid: Cid, most: int) -> bytes:
        """A block or blob of somebody who is no neighbour; raises `PeerError`."""
        ways = self._post.routes.ways(of, self._post.neighbours(), self._post.now_ms())
        if not ways:
            raise PeerError(f"no way to {of} is known, who has block {cid}")
        far = Far(of, min(MAX_HOPS, ways[0].hops + DETOUR))
        return await self._post.client.fetch_far(self._at([way.via for way in ways]), cid, far, most)

    async def block_of(self, cid: Cid, far: Far, remote: Remote) -> bytes | None:
        """A block that `far.of` has, for the neighbour that asks; None where we are no nearer to it."""
        kept = self._kept.get(cid)
        if kept is not None:
            self._kept.move_to_end(cid)
            return kept
        source = source_of(remote)
        fetching = self._fetching.get(cid) or self._begin(cid, far, source)
        if fetching is None:
            return None
        try:
            async with asyncio.timeout(WAIT_MS / 1000):
                return await asyncio.shield(fetching.future)
        except TimeoutError as late:
            if self._fetching.get(cid) is fetching:
                del self._fetching[cid]  # what was never ended doesn't take a place for ever
            raise DeviceRefuses(f"block {cid} is still on its way") from late

    def _begin(self, cid: Cid, far: Far, source: Did) -> _Fetching | None:
        post = self._post
        others = set(post.neighbours()) - {source}
        ways = [way for way in post.routes.ways(far.of, others, post.now_ms()) if way.hops < far.hops]
        if not ways:
            return None
        own = [fetching.source for fetching in self._fetching.values()]
        if len(own) >= FETCHING or own.count(source) >= FETCHING_OF:
            raise DeviceRefuses("too many blocks are being fetched for others")
        fetching = self._fetching[cid] = _Fetching(source, asyncio.get_running_loop().create_future())
        nearer = Far(far.of, ways[0].hops)
        at = self._at([way.via for way in ways])
        post.shell.tasks.spawn(self._bring(cid, fetching, nearer, at), f"block {cid} for {source.short}")
        return fetching

    async def _bring(self, cid: Cid, fetching: _Fetching, far: Far, at: dict[str, Did | None]) -> None:
        async def brought() -> bytes:
            data = await self._post.client.fetch_far(at, cid, far, MAX_PASSING_BYTES, part=True)
            self._keep(cid, data)
            return data

        try:
            await fulfil(fetching.future, brought())
        finally:
            if self._fetching.get(cid) is fetching:
                del self._fetching[cid]

    def _keep(self, cid: Cid, data: bytes) -> None:
        self._kept_bytes += len(data) - len(self._kept.get(cid, b""))
        self._kept[cid] = data
        while self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popitem(last=False)[1])

    def _at(self, vias: list[Did]) -> dict[str, Did | None]:
        """One address of each, the proven one."""
        return {uri: via for via in vias for uri in self._post.shell.peers.endpoints(via)[:1]}
