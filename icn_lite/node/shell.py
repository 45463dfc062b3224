"""What the drivers share: identity, clock, store, peers, the way out, and the tasks."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from icn_lite.model import cose
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import PeerError, PeerRefused
from icn_lite.model.messages import CapabilityAdvertisementV1, ReceiptAckV1
from icn_lite.node.clock import Clock
from icn_lite.node.peerbook import PeerBook
from icn_lite.node.storage import Storage
from icn_lite.node.tasks import Tasks

T = TypeVar("T")
REQUEST_MS: Final = 10_000  # one request to one endpoint
TRANSFERS: Final = 8  # blocks on their way at once, in and out
MAX_FIRST: Final = 4  # addresses of the peer that should have a block
MAX_OTHERS: Final = 4  # of peers that may have it too: whoever ran another shard has the module


class Pulse:
    """Wakes whoever waits for something to change; who looks first and then waits misses nothing."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def ring(self) -> None:
        """Something changed."""
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for the next ring; returns whether it came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._next.wait()
        except TimeoutError:
            return False
        return True


class Courier(Protocol):
    """The way to other nodes: `mesh.client.Client`, or a simulated network in tests."""

    async def post(self, uri: str, path: str, block: bytes, *, deadline_ms: int = ...) -> object: ...

    async def advertise(self, uri: str, *, deadline_ms: int = ...) -> Sealed[CapabilityAdvertisementV1]: ...

    async def post_receipt(self, uri: str, block: bytes, *, deadline_ms: int = ...) -> Sealed[ReceiptAckV1]: ...

    async def fetch_block(self, uris: Sequence[str], cid: Cid, max_bytes: int, *, deadline_ms: int = ...) -> bytes: ...


@dataclass(slots=True)
class Shell:
    """One node's shared parts."""

    signer: cose.Signer
    clock: Clock
    storage: Storage
    peers: PeerBook
    courier: Courier = field(init=False)  # set when the endpoint listens
    job_changed: Callable[[Cid], None] = field(init=False)  # rings those who observe a job; set likewise
    endpoints: tuple[str, ...] = ()
    tasks: Tasks = field(default_factory=Tasks)
    transfers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(TRANSFERS))
    changed: Pulse = field(default_factory=Pulse)

    @property
    def did(self) -> Did:
        """Who we are."""
        return self.signer.did

    def nonce(self) -> bytes:
        """16 fresh random bytes."""
        return secrets.token_bytes(16)

    def providers(self, first: Did) -> tuple[str, ...]:
        """Where a block may be: at `first`, and at the nearest of the other neighbours that answer."""
        others = [peer for peer in self.peers.live(self.clock.now_ms()) if peer.did != first and peer.rtt_ms is not None]
        others.sort(key=lambda peer: peer.rtt_ms or 0)
        near = (peer.endpoints[0] for peer in others[:MAX_OTHERS] if peer.endpoints)
        return (*self.peers.endpoints(first)[:MAX_FIRST], *near)

    async def send(self, to: Did, path: str, block: bytes) -> None:
        """Post a signed block to a peer; raises `PeerRefused` when it said no, else `PeerError`."""
        await self.try_endpoints(to, lambda uri: self.courier.post(uri, path, block, deadline_ms=REQUEST_MS))

    async def try_endpoints(self, to: Did, call: Callable[[str], Awaitable[T]]) -> T:
        """`call` with each endpoint of a peer in turn until one answers; a refusal is an answer."""
        error = PeerError(f"no address of {to} is known", hint="see `icn-lite peers`")
        for uri in self.peers.endpoints(to):
            try:
                return await call(uri)
            except PeerRefused:
                raise
            except PeerError as unreachable:
                error = unreachable
        raise error
