"""What the drivers share: identity, clock, store, peers, the way out, and the tasks."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from icn_lite.model import cose
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import IcnLiteError, PeerError
from icn_lite.model.messages import CapabilityAdvertisementV1, ReceiptAckV1
from icn_lite.node.clock import Clock
from icn_lite.node.peerbook import PeerBook
from icn_lite.node.storage import Storage
from icn_lite.node.tasks import Tasks

T = TypeVar("T")
REQUEST_MS: Final = 10_000  # one request to one endpoint
TRANSFERS: Final = 8  # blocks on their way at once, in and out


class Courier(Protocol):
    """The way to other nodes: `mesh.client.Client`, or a simulated network in tests."""

    async def post(self, uri: str, path: str, block: bytes, *, deadline_ms: int) -> bytes: ...

    async def advertise(self, uri: str, block: bytes) -> Sealed[CapabilityAdvertisementV1]: ...

    async def deliver(self, uri: str, receipt: bytes) -> Sealed[ReceiptAckV1]: ...

    async def fetch_block(self, uris: tuple[str, ...], cid: Cid, max_bytes: int) -> bytes: ...


@dataclass(slots=True)
class Shell:
    """One node's shared parts."""

    signer: cose.Signer
    clock: Clock
    storage: Storage
    peers: PeerBook
    courier: Courier
    endpoints: tuple[str, ...] = ()
    tasks: Tasks = field(default_factory=Tasks)
    transfers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(TRANSFERS))
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def did(self) -> Did:
        """Who we are."""
        return self.signer.did

    def nonce(self) -> bytes:
        """16 fresh random bytes."""
        return secrets.token_bytes(16)

    async def send(self, to: Did, path: str, block: bytes) -> bytes:
        """Post a signed block to a peer, over each of its endpoints in turn; a refusal ends the search."""
        error: IcnLiteError = PeerError(f"no address of {to} is known", hint="see `icn-lite peers`")
        for uri in self.peers.endpoints(to):
            try:
                return await self.courier.post(uri, path, block, deadline_ms=REQUEST_MS)
            except PeerError as unreachable:
                error = unreachable
        raise error

    async def notify(self) -> None:
        """Wake whoever waits for something to change."""
        async with self.changed:
            self.changed.notify_all()
