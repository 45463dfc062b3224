"""Blocks and blobs by CID from whoever has them, verified as they arrive, resumed elsewhere.

A single block is asked of one provider after the other: each goes on where the one before it failed (`pull.py`), and
the bytes are checked at the end. A blob that is a tree (`model/unixfs.py`) is fetched node by node from its root, each
checked against its CID and its place, and then its leaves from all providers at once (`swarm.py`), each checked as it
comes. What has arrived when nobody can go on is kept for the next try (`partial.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.partial import Partial, Unfinished
from icn_lite.mesh.pull import Puller, Wanted
from icn_lite.mesh.requests import Requester
from icn_lite.mesh.swarm import FAILURES, Lane, Leaf, Swarm
from icn_lite.model import unixfs
from icn_lite.model.cid import DAG_PB, Cid
from icn_lite.model.errors import DocumentError, JobErrorCode, PeerError, PeerRefused
from icn_lite.model.unixfs import FileNode

MAX_PROVIDERS: Final = 8  # asked before giving up


class LyingPeerError(PeerError):
    """A peer whose bytes are not the block that it was asked for."""


class _MixedError(Exception):
    """Pieces of several providers that don't make the block."""


@dataclass(slots=True)
class _Run:
    """One blob under way: its leaves, those that bring them, and the last thing that went wrong."""

    swarm: Swarm
    wanted: Wanted
    fault: PeerError
    requests: dict[Leaf, asyncio.Task[None]] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def ring(self) -> None:
        """Something changed: idle lanes look again."""
        self.news.set()
        self.news = asyncio.Event()


class Fetcher:
    """Fetches through a requester."""

    def __init__(self, requester: Requester) -> None:
        self.puller = Puller(requester)
        self.unfinished = Unfinished(requester.limits)
        self._loop = asyncio.get_running_loop()

    async def fetch(self, providers: Sequence[PeerAddress], wanted: Wanted) -> bytes:
        """The block or blob that `wanted.cid` names; raises the last provider's error if none has it."""
        asked = list(dict.fromkeys(providers))[:MAX_PROVIDERS]
        if not asked:
            raise PeerError(f"nobody is known who has block {wanted.cid}")
        return await (self._blob if wanted.cid.codec == DAG_PB else self._block)(asked, wanted)

    async def fetch_part(self, providers: Sequence[PeerAddress], wanted: Wanted) -> bytes:
        """One block as it is, whatever it is a part of."""
        return await self._block(list(dict.fromkeys(providers))[:MAX_PROVIDERS], wanted)

    # A single block

    async def _block(self, providers: list[PeerAddress], wanted: Wanted) -> bytes:
        partial = self.unfinished.take(wanted.cid, self._loop.time())
        try:
            try:
                await self._from_each(providers, wanted, partial)
            except _MixedError:
                await self._from_each(providers, wanted, partial)  # each alone, now that a mixture did not fit
        except BaseException:
            self.unfinished.keep(wanted.cid, partial, self._loop.time())
            raise
        return partial.whole()

    async def _from_each(self, providers: list[PeerAddress], wanted: Wanted, partial: Partial) -> None:
        fault = PeerError(f"no provider gave block {wanted.cid}")
        for provider in providers:
            try:
                await self.puller.pull(provider, wanted, partial)
                await _judge(provider, wanted.cid, partial)
                return
            except PeerError as error:
                fault = error
        raise fault

    # A blob

    async def _blob(self, providers: list[PeerAddress], wanted: Wanted) -> bytes:
        order = await self._leaves(providers, wanted)
        distinct = list(dict.fromkeys(order))
        for leaf in distinct:
            leaf.partial = self.unfinished.take(leaf.cid, self._loop.time())
            if leaf.partial.size == leaf.size and await leaf.partial.digest() != leaf.cid.digest:
                await leaf.partial.clear()  # it was given up between its last byte and its check
        swarm = Swarm([leaf for leaf in distinct if leaf.partial.size < leaf.size], providers)
        run = _Run(swarm, wanted, PeerError(f"no provider gave all of {wanted.cid}"))
        try:
            await self._bring(run)
        finally:
            if swarm.left:
                for leaf in distinct:
                    self.unfinished.keep(leaf.cid, leaf.partial, self._loop.time())
        return b"".join(leaf.partial.whole() for leaf in order)

    async def _leaves(self, providers: list[PeerAddress], wanted: Wanted) -> list[Leaf]:
        """The leaves of a blob in order, from its nodes; there are few of these, and they are fetched in turn.

        Leaves with equal bytes are one and the same `Leaf`.
        """
        node_wanted = replace(wanted, max_bytes=unixfs.MAX_NODE_BYTES)
        root = await self._block(providers, node_wanted)
        try:
            level = [unixfs.decode_root(root, max_bytes=min(wanted.max_bytes, unixfs.MAX_BLOB_BYTES))]
            while level[0].depth > 1:
                level = [child for node in level for child in await self._children(providers, node_wanted, node)]
        except DocumentError as error:
            raise PeerError(f"{wanted.cid} is no file that is taken here: {error.message}") from error
        leaves: dict[tuple[Cid, int], Leaf] = {}
        children = (child for node in level for child in node.children)
        return [
            leaves.setdefault((child.cid, child.file_bytes), Leaf(child.cid, child.file_bytes)) for child in children
        ]

    async def _children(self, providers: list[PeerAddress], wanted: Wanted, node: FileNode) -> list[FileNode]:
        return [
            unixfs.decode_child(await self._block(providers, replace(wanted, cid=child.cid)), node, number)
            for number, child in enumerate(node.children)
        ]

    async def _bring(self, run: _Run) -> None:
        """Run every lane until all leaves are here; raises the last fault when nobody can bring the rest."""
        lanes = [asyncio.create_task(self._serve(run, lane), name=f"from {lane.provider}") for lane in run.swarm.lanes]
        try:
            await asyncio.gather(*lanes)
        finally:
            under_way = [*lanes, *run.requests.values()]
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        if run.swarm.left:
            raise run.fault

    async def _serve(self, run: _Run, lane: Lane) -> None:
        """One lane: leaf after leaf, and wait while there is nothing to do for it."""
        swarm = run.swarm
        while not swarm.over and not swarm.out(lane.provider) and self._loop.time() < run.wanted.until_s:
            leaf = swarm.take(lane, self._loop.time())
            if leaf is None:
                await _news_or(run, swarm.next_look())
            else:
                await self._bring_leaf(run, lane, leaf)
                run.ring()

    async def _bring_leaf(self, run: _Run, lane: Lane, leaf: Leaf) -> None:
        slow = run.requests.pop(leaf, None)
        if slow is not None:
            slow.cancel()
            await asyncio.wait((slow,))
            if not slow.cancelled():
                slow.exception()  # seen: whatever came of it, this lane goes on with the leaf
        request = run.requests[leaf] = asyncio.create_task(self._leaf(lane.provider, run.wanted, leaf))
        await asyncio.wait((request,))
        if lane.leaf is not leaf:
            return  # taken over
        del run.requests[leaf]
        try:
            request.result()
        except _MixedError:
            run.swarm.failed(lane, 0)
        except PeerError as fault:
            run.fault = fault
            final = isinstance(fault, LyingPeerError) or (
                isinstance(fault, PeerRefused) and fault.retry_after_s is None
            )
            run.swarm.failed(lane, FAILURES if final else 1)
        else:
            run.swarm.brought(lane, self._loop.time())

    async def _leaf(self, provider: PeerAddress, wanted: Wanted, leaf: Leaf) -> None:
        """Bring one leaf to its end."""
        if leaf.partial.size < leaf.size:
            await self.puller.pull(
                provider, replace(wanted, cid=leaf.cid, max_bytes=leaf.size, size=leaf.size), leaf.partial
            )
        await _judge(provider, leaf.cid, leaf.partial)
        if leaf.partial.size != leaf.size:
            raise PeerError(f"leaf {leaf.cid} has {leaf.partial.size} bytes, its node says {leaf.size}")


async def _judge(provider: PeerAddress, cid: Cid, partial: Partial) -> None:
    """Refuse bytes that don't make the block, and throw them away."""
    if await partial.digest() == cid.digest:
        return
    sources, size = len(partial.sources), partial.size
    await partial.clear()
    if sources > 1:
        partial.alone = True
        raise _MixedError(f"the pieces of block {cid} from {sources} peers don't fit together")
    raise LyingPeerError(
        f"{provider} gave {size} bytes that are not block {cid}",
        hint="that peer is broken or lies; the bytes were thrown away",
        code=JobErrorCode.VALIDATION_FAILED,
    )


async def _news_or(run: _Run, look_s: float | None) -> None:
    """Wait until something changed, or until it is time to look for something slow."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(min(run.wanted.until_s, look_s or run.wanted.until_s)):
            await run.news.wait()
