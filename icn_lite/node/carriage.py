"""Gossip and relay in a running node: the mesh's `Carrier`, and the way to whoever is no neighbour.

What passes here waits nowhere on disk: who sends a parcel keeps what it is about in its journal and sends it anew until
the signed answer is there. What is for a neighbour that is away for a moment is kept in memory (`work/holding.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from icn_lite.mesh import table
from icn_lite.mesh.client import Client
from icn_lite.mesh.delivery import Delivery
from icn_lite.mesh.far import Far
from icn_lite.mesh.ports import MeshHandlers, Remote
from icn_lite.model import cbor, document
from icn_lite.model.capability import NodeCapability
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.messages import CapabilityAdvertisementV1
from icn_lite.model.parcel import MAX_LIFETIME_MS, Envelope, Method, Question
from icn_lite.node.memberships import Memberships
from icn_lite.node.parcels import SEND_MS, Parcels
from icn_lite.node.passing import Passing
from icn_lite.node.post import Post, source_of
from icn_lite.node.rumours import Rumours
from icn_lite.node.shell import Shell
from icn_lite.work.holding import KEEP_MS
from icn_lite.work.routes import Way

# What is as good later: a relay may keep it for a receiver that is away. A lease or a bid that comes late helps nobody.
WHEN_BACK: Final = frozenset((table.RECEIPTS, table.LEASE_RETURNS))
BEACON_MS: Final = 240_000  # two may be lost before a route is forgotten


class Carriage:
    """What a node hands on, and what it has handed on."""

    def __init__(self, shell: Shell, client: Client, memberships: Memberships, handlers: MeshHandlers) -> None:
        self.post = Post(shell, client, memberships, Delivery(handlers, memberships))
        self.rumours_heard = Rumours(self.post)
        self.parcels = Parcels(self.post)
        self.passing = Passing(self.post)
        self._beacon_ms: int | None = None

    # -- mesh.ports.Carrier

    async def on_rumour(self, envelope: Envelope, remote: Remote) -> None:
        """A neighbour hands on what everybody shall hear."""
        self.rumours_heard.take(envelope, source_of(remote), remote)

    async def on_parcel(self, envelope: Envelope, remote: Remote) -> bytes:
        """A neighbour hands on what somebody shall get; returns the signed reply."""
        return await self.parcels.take(envelope, remote)

    def rumours(self, start: int) -> bytes:
        """A page of names."""
        ids, after = self.rumours_heard.gossip.page(start, self.post.now_ms())
        return cbor.encode({"ids": list(ids), "next": after})

    def rumour(self, cid: Cid) -> bytes | None:
        """A rumour as it is handed on now."""
        envelope = self.rumours_heard.told(cid)
        return document.encode(envelope) if envelope is not None else None

    async def block_of(self, cid: Cid, way: Far, remote: Remote) -> bytes | None:
        """A block that somebody further away has."""
        return await self.passing.block_of(cid, way, remote)

    # -- node.shell.Relays

    def knows(self, did: Did) -> bool:
        """Whether somebody is known to be reached through a neighbour."""
        ways = self.post.routes.ways(did, self.post.neighbours(), self.post.now_ms())
        return any(way.via != did for way in ways)

    def spread(self, path: str, block: bytes, lifetime_ms: int) -> None:
        """Tell everybody."""
        self.rumours_heard.spread(path, block, lifetime_ms)

    async def send(self, to: Did, path: str, block: bytes) -> bytes:
        """Bring a signed block to somebody; returns the body of the reply."""
        lifetime_ms = KEEP_MS if path in WHEN_BACK else SEND_MS
        return await self.parcels.ask(to, Question(Method.POST, path, block), lifetime_ms=lifetime_ms)

    async def get(self, to: Did, path: str) -> bytes:
        """Read a small resource of somebody; returns its body."""
        return await self.parcels.ask(to, Question(Method.GET, path))

    async def fetch(self, of: Did, cid: Cid, most: int) -> bytes:
        """A block or blob that somebody has who is no neighbour."""
        return await self.passing.fetch(of, cid, most)

    def capability(self, did: Did) -> NodeCapability | None:
        """What somebody further away offers, as far as was heard."""
        return self.rumours_heard.capability(did)

    # -- life

    def reached(self) -> dict[Did, Way]:
        """Everybody who is reached through neighbours."""
        return self.post.routes.reached(self.post.neighbours(), self.post.now_ms())

    def relayed(self) -> dict[Did, Way]:
        """Those of them who are no neighbours, the nearest first."""
        far = [(did, way) for did, way in self.reached().items() if way.via != did]
        return dict(sorted(far, key=lambda one: (one[1].hops, one[0].public_key)))

    def advert(self, did: Did) -> CapabilityAdvertisementV1 | None:
        """The advertisement of somebody further away, as it was heard last."""
        return self.rumours_heard.advert(did)

    def tick(self, advert: Callable[[], bytes]) -> None:
        """Say now and then that we are there; others learn from it how we are reached."""
        now_ms = self.post.now_ms()
        if (self._beacon_ms is None or now_ms >= self._beacon_ms) and self.post.neighbours():
            self._beacon_ms = now_ms + BEACON_MS
            self.spread(table.CAPABILITY, advert(), MAX_LIFETIME_MS)

    async def met(self, uri: str, did: Did, *, anew: bool) -> None:
        """A greeting was answered."""
        self.parcels.back(did)
        await self.rumours_heard.met(uri, did, anew=anew)
