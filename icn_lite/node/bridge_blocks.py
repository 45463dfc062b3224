"""The blocks of jobs that cross a bridge: laid down upstream before they are asked for, brought when asked for here.

What is laid down goes through the bridge's own store, within its budget. A block that several neighbours ask for is
brought once. Everything is checked against its CID.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from icn_lite.bridge.upstream import Upstream
from icn_lite.model import unixfs
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import Later, NotSupported, PeerError, StoreError, UpstreamError
from icn_lite.model.receipt import ExecutionReceipt
from icn_lite.node.shell import Shell
from icn_lite.store.db import Store

WAIT_S: Final = 15.0  # less than an endpoint gives its handlers; who waited longer asks again
AT_ONCE: Final = 8
TRIES: Final = 4  # over fifteen seconds, as long as an executor looks for its inputs
RETRY_S: Final = 2
log = logging.getLogger(__name__)


class BridgeBlocks:
    """The blocks that cross one bridge."""

    def __init__(self, shell: Shell, upstreams: Sequence[Upstream]) -> None:
        self._shell = shell
        self._upstreams = upstreams
        self._bringing: dict[Cid, asyncio.Future[bytes | None]] = {}

    async def block(self, cid: Cid) -> bytes | None:
        """A block that lies upstream, brought into the store; raises `Later` while it is on its way."""
        bringing = self._bringing.get(cid)
        if bringing is None:
            if len(self._bringing) >= AT_ONCE:
                raise Later("too many blocks are being brought from upstream", retry_after_s=RETRY_S)
            bringing = self._bringing[cid] = asyncio.get_running_loop().create_future()
            self._shell.tasks.spawn(self._bring(cid, bringing), f"block {cid} from upstream")
        try:
            async with asyncio.timeout(WAIT_S):
                return await asyncio.shield(bringing)
        except TimeoutError as late:
            raise Later(f"block {cid} is still on its way", retry_after_s=RETRY_S) from late

    async def _bring(self, cid: Cid, bringing: asyncio.Future[bytes | None]) -> None:
        found: bytes | None = None
        try:
            data = await self._find(cid, unixfs.MAX_BLOB_BYTES)
            if data is not None:
                found = await self._shell.storage.run(lambda store: _put_and_read(store, cid, data))
        finally:
            del self._bringing[cid]
            if not bringing.done():
                bringing.set_result(found)

    async def fetch(self, cid: Cid, most: int) -> bytes:
        """A block or blob from upstream; raises `PeerError` where it isn't."""
        data = await self._find(cid, most)
        if data is None:
            raise PeerError(f"block {cid} is not upstream")
        return data

    async def _find(self, cid: Cid, most: int) -> bytes | None:
        for upstream in self._upstreams:
            try:
                data = await upstream.get_block(cid, most)
            except (UpstreamError, NotSupported) as error:
                log.debug("block %s: %s", cid, error)
                continue
            if data is not None:
                return data
        return None

    async def lay_down(self, cids: Sequence[Cid], of: Did, upstreams: Sequence[Upstream]) -> None:
        """Blocks of somebody here, for whoever works on them beyond."""
        for cid in cids:
            for attempt in range(TRIES):
                try:
                    data = await self._own(cid, of)
                    for upstream in upstreams:
                        await upstream.put_block(cid, data)
                    break
                except NotSupported as unknown:
                    log.debug("block %s is not laid down: %s", cid, unknown)
                    break
                except (PeerError, StoreError) as error:
                    log.info("block %s is not laid down: %s", cid, error)
                    await asyncio.sleep(1 << attempt)

    async def hold(self, cid: Cid, of: Did) -> None:
        """Have a block of somebody here in the store, before they go."""
        await self._own(cid, of)

    async def lay_down_output(self, upstream: Upstream, receipt: Sealed[ExecutionReceipt]) -> None:
        """What a receipt promises; where its executor has gone, the receipt goes up without."""
        for cid in (receipt.document.output, receipt.document.call):
            if cid is None:
                continue
            try:
                data = await self._own(cid, receipt.signer)
            except (PeerError, StoreError) as error:
                log.info("receipt %s goes up without block %s: %s", receipt.cid, cid, error)
                continue
            try:
                await upstream.put_block(cid, data)
            except NotSupported as unknown:
                log.debug("receipt %s goes up without block %s: %s", receipt.cid, cid, unknown)

    async def _own(self, cid: Cid, of: Did) -> bytes:
        """A block or blob of somebody here, from the store or from them."""
        shell = self._shell
        kept = await shell.storage.run(lambda store: store.blocks.get(cid))
        if kept is not None:
            return kept
        async with shell.transfers:
            data = await shell.fetch(shell.peers.endpoints(of), of, cid, unixfs.MAX_BLOB_BYTES)
        await shell.storage.run(lambda store: store.blocks.put(cid, data))
        return data


def _put_and_read(store: Store, cid: Cid, data: bytes) -> bytes | None:
    """Keep a blob; returns the block of this name in it."""
    store.blocks.put(cid, data)
    return store.blocks.block(cid)
