"""What the drivers share: identity, clock, store, peers, the way out, and the tasks."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from icn_lite.mesh.streams import Piece, Where
from icn_lite.mesh.table import JOB, LOG, RECEIPTS
from icn_lite.model import cose
from icn_lite.model.capability import NodeCapability
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed, unseal
from icn_lite.model.errors import DocumentError, PeerError, PeerRefused, SignatureError
from icn_lite.model.messages import CapabilityAdvertisementV1, ReceiptAckV1
from icn_lite.node.beyond import Beyond
from icn_lite.node.clock import Clock
from icn_lite.node.peerbook import LIVE_MS, PeerBook
from icn_lite.node.storage import Storage
from icn_lite.node.tasks import Tasks

if TYPE_CHECKING:
    from icn_lite.mesh.client import Providers
    from icn_lite.mesh.requests import Response

T = TypeVar("T")
REQUEST_MS: Final = 10_000  # one request to one endpoint
RELAYED_WAIT_MS: Final = 5_000  # for more of a log: the relays on the way wait along, and have few places
TRANSFERS: Final = 8  # blocks on their way at once, in and out
MAX_FIRST: Final = 4  # addresses of the peer that should have a block
MAX_OTHERS: Final = 4  # of peers that may have it too: whoever ran another shard has the module
log = logging.getLogger(__name__)


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

    async def post(
        self, uri: str, path: str, block: bytes, *, deadline_ms: int = ..., to: Did | None = ...
    ) -> Response: ...

    async def advertise(self, uri: str, *, deadline_ms: int = ...) -> Sealed[CapabilityAdvertisementV1]: ...

    async def post_receipt(
        self, uri: str, block: bytes, *, deadline_ms: int = ..., to: Did | None = ...
    ) -> Sealed[ReceiptAckV1]: ...

    async def fetch_block(self, at: Providers, cid: Cid, max_bytes: int, *, deadline_ms: int = ...) -> bytes: ...

    async def get(self, uri: str, path: str, *, deadline_ms: int = ..., to: Did | None = ...) -> Response: ...

    async def read_log(
        self, uri: str, lease: Cid, where: Where, *, deadline_ms: int = ..., to: Did | None = ...
    ) -> Piece: ...


class Relays(Protocol):
    """The way to whoever is no neighbour: `node.carriage.Carriage`."""

    def knows(self, did: Did) -> bool:
        """Whether somebody is known to be reached through a neighbour."""
        ...

    def spread(self, path: str, block: bytes, lifetime_ms: int) -> None: ...

    async def send(self, to: Did, path: str, block: bytes) -> bytes: ...

    async def get(self, to: Did, path: str) -> bytes: ...

    async def fetch(self, of: Did, cid: Cid, most: int) -> bytes: ...

    def capability(self, did: Did) -> NodeCapability | None: ...


class NoCourier:
    """The way to nobody, of a node that was started offline."""

    async def post(self, uri: str, path: str, block: bytes, *, deadline_ms: int = 0, to: Did | None = None) -> Response:
        """Raises `PeerError`."""
        raise _offline()

    async def advertise(self, uri: str, *, deadline_ms: int = 0) -> Sealed[CapabilityAdvertisementV1]:
        """Raises `PeerError`."""
        raise _offline()

    async def post_receipt(
        self, uri: str, block: bytes, *, deadline_ms: int = 0, to: Did | None = None
    ) -> Sealed[ReceiptAckV1]:
        """Raises `PeerError`."""
        raise _offline()

    async def fetch_block(self, at: Providers, cid: Cid, max_bytes: int, *, deadline_ms: int = 0) -> bytes:
        """Raises `PeerError`."""
        raise _offline()

    async def get(self, uri: str, path: str, *, deadline_ms: int = 0, to: Did | None = None) -> Response:
        """Raises `PeerError`."""
        raise _offline()

    async def read_log(
        self, uri: str, lease: Cid, where: Where, *, deadline_ms: int = 0, to: Did | None = None
    ) -> Piece:
        """Raises `PeerError`."""
        raise _offline()


def _offline() -> PeerError:
    return PeerError("this node was started with --offline", hint="start it without: what waits is then sent")


@dataclass(slots=True)
class Shell:
    """One node's shared parts."""

    signer: cose.Signer
    clock: Clock
    storage: Storage
    peers: PeerBook
    courier: Courier = field(default_factory=lambda: NoCourier())  # another when the endpoint listens
    job_changed: Callable[[Cid], None] = lambda job: None  # rings those who observe a job; set likewise
    relays: Relays | None = None  # set when the endpoint listens, where it is guarded
    beyond: Beyond | None = None  # set likewise
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
        live = self.peers.live(self.clock.now_ms())
        others = [peer for peer in live if peer.did != first and peer.rtt_ms is not None]
        others.sort(key=lambda peer: peer.rtt_ms or 0)
        near = (peer.endpoints[0] for peer in others[:MAX_OTHERS] if peer.endpoints)
        return (*self.peers.endpoints(first)[:MAX_FIRST], *near)

    def reaches(self, did: Did) -> bool:
        """Whether somebody is a peer, or known to be reached through one."""
        return self._is_near(did) or (self.beyond is not None and self.beyond.knows(did))

    def _is_near(self, did: Did) -> bool:
        """Whether somebody is a peer, or known to be reached through one; others may be reached through a bridge."""
        return bool(self.peers.endpoints(did)) or (self.relays is not None and self.relays.knows(did))

    async def _beyond(self, did: Did, call: Callable[[Beyond], Awaitable[T]]) -> tuple[T] | None:
        """What comes of a call beyond this mesh, for somebody who is known there and not here; None if nobody there is
        reached: then the ways in this mesh are left."""
        if self.beyond is None or self._is_near(did) or not self.beyond.knows(did):
            return None
        try:
            return (await call(self.beyond),)
        except PeerRefused:
            raise
        except PeerError as error:
            log.debug("%s is not reached beyond this mesh: %s", did, error)
            return None

    def capability(self, did: Did) -> NodeCapability | None:
        """What somebody offers, as it was heard last."""
        peer = self.peers.peers.get(did)
        if peer is not None:
            return peer.advert.capability
        return self.relays.capability(did) if self.relays is not None else None

    def announce(self, path: str, block: bytes, lifetime_ms: int) -> None:
        """Tell everybody, as far as neighbours hand it on."""
        if self.relays is not None:
            self.relays.spread(path, block, lifetime_ms)
        if self.beyond is not None:
            self.beyond.announce(path, block)

    async def send(self, to: Did, path: str, block: bytes) -> None:
        """Bring a signed block to somebody; raises `PeerRefused` when it said no, else `PeerError`."""
        if await self._beyond(to, lambda beyond: beyond.send(to, path, block)) is not None:
            return

        async def directly(uri: str) -> None:
            await self.courier.post(uri, path, block, deadline_ms=REQUEST_MS, to=to)

        async def relayed(relays: Relays) -> None:
            await relays.send(to, path, block)

        await self._directly_or_not(to, directly, relayed)

    async def ask(self, to: Did, path: str, block: bytes) -> bytes:
        """Bring a signed block to somebody; returns what it answers. Raises `PeerRefused` or `PeerError`."""

        async def directly(uri: str) -> bytes:
            return (await self.courier.post(uri, path, block, deadline_ms=REQUEST_MS, to=to)).payload

        return await self._directly_or_not(to, directly, lambda relays: relays.send(to, path, block))

    async def hand_in(self, to: Did, block: bytes) -> Sealed[ReceiptAckV1]:
        """Deliver a receipt; returns the acknowledgement of this very receipt."""
        there = await self._beyond(to, lambda beyond: beyond.hand_in(to, block))
        if there is not None:
            return there[0]

        async def relayed(relays: Relays) -> Sealed[ReceiptAckV1]:
            try:
                ack = unseal(ReceiptAckV1, await relays.send(to, RECEIPTS, block))
            except (DocumentError, SignatureError) as error:
                raise PeerError(f"{to} answered with no acknowledgement: {error.message}") from error
            if ack.document.receipt != Cid.of_dag_cbor(block):
                raise PeerError(f"{to} acknowledged receipt {ack.document.receipt} where another was handed in")
            return ack

        return await self._directly_or_not(to, lambda uri: self.courier.post_receipt(uri, block, to=to), relayed)

    async def job_status(self, of: Did, job: Cid) -> bytes:
        """How a job stands at its originator, as DAG-CBOR."""
        path = JOB.replace("{cid}", str(job))

        async def directly(uri: str) -> bytes:
            return (await self.courier.get(uri, path, deadline_ms=REQUEST_MS, to=of)).payload

        return await self._directly_or_not(of, directly, lambda relays: relays.get(of, path))

    async def read_log(self, of: Did, lease: Cid, where: Where) -> Piece:
        """What the guest of a shard says at its executor, from an offset on; waits for more as `where` says."""

        async def relayed(relays: Relays) -> Piece:
            asked = replace(where, wait_ms=min(where.wait_ms, RELAYED_WAIT_MS))
            try:
                piece = Piece.decode(await relays.get(of, f"{LOG.replace('{cid}', str(lease))}?{asked.query}"))
            except DocumentError as error:
                raise PeerError(f"{of} answered with no piece of a log: {error.message}") from error
            if piece.start != where.start:
                raise PeerError(f"{of} answered with byte {piece.start} of a log, asked was {where.start}")
            return piece

        return await self._directly_or_not(of, lambda uri: self.courier.read_log(uri, lease, where, to=of), relayed)

    async def fetch(self, uris: Sequence[str], of: Did, cid: Cid, most: int) -> bytes:
        """A block or blob from these addresses, or from `of` through neighbours."""
        there = await self._beyond(of, lambda beyond: beyond.fetch(of, cid, most))
        if there is not None:
            return there[0]
        relays = self.relays
        try:
            if uris or relays is None:
                return await self.courier.fetch_block(self._whose(uris, of), cid, most)
        except PeerError as error:
            if relays is None or not relays.knows(of):
                raise
            log.debug("block %s: %s", cid, error)
        assert relays is not None
        return await relays.fetch(of, cid, most)

    def _whose(self, uris: Sequence[str], of: Did) -> dict[str, Did | None]:
        """Who has to answer at each of these addresses: `of` at its own, others where they were greeted."""
        met = [peer for peer in self.peers.peers.values() if peer.rtt_ms is not None and peer.endpoints]
        here = {peer.endpoints[0]: peer.did for peer in met}
        own = self.peers.endpoints(of)
        return {uri: of if uri in own else here.get(uri) for uri in uris}

    async def _directly_or_not(
        self, to: Did, call: Callable[[str], Awaitable[T]], relayed: Callable[[Relays], Awaitable[T]]
    ) -> T:
        """To a peer directly, else through neighbours; these first for a peer that has gone silent."""
        relays = self.relays
        if relays is None:
            return await self.try_endpoints(to, call)
        ways: list[Callable[[], Awaitable[T]]] = [lambda: self.try_endpoints(to, call), lambda: relayed(relays)]
        peer = self.peers.peers.get(to)
        if relays.knows(to) and (peer is None or self.clock.now_ms() - peer.heard_ms >= LIVE_MS):
            ways.reverse()
        try:
            return await ways[0]()
        except PeerRefused:
            raise
        except PeerError as error:
            log.debug("%s is tried another way: %s", to, error)
        return await ways[1]()

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
