"""What gossip and relay share in a running node: neighbours, routes, parcels sealed and opened, the way to the next."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Final, TypeVar

from icn_lite.mesh.client import Client
from icn_lite.mesh.delivery import Delivery, check_path
from icn_lite.mesh.ports import Remote
from icn_lite.model import document
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import IcnLiteError, NotAdmitted, PeerError, PeerRefused
from icn_lite.model.parcel import MAX_HOPS, Envelope, Parcel, over, read_parcel
from icn_lite.node.memberships import Memberships
from icn_lite.node.shell import Shell
from icn_lite.work.relay import Relay
from icn_lite.work.routes import Routes

T = TypeVar("T")
MAX_TRIED: Final = 2  # addresses of one neighbour; proven ones come first


class Post:
    """One node's place between its neighbours."""

    def __init__(self, shell: Shell, client: Client, memberships: Memberships, delivery: Delivery) -> None:
        self.shell = shell
        self.client = client
        self.delivery = delivery
        self._memberships = memberships
        self.relay = Relay(shell.did, Routes())

    @property
    def routes(self) -> Routes:
        """Through whom others are reached."""
        return self.relay.routes

    def now_ms(self) -> int:
        """The machines' time."""
        return self.shell.clock.now_ms()

    def neighbours(self) -> tuple[Did, ...]:
        """Who can be handed something."""
        return tuple(peer.did for peer in self.shell.peers.live(self.now_ms()) if peer.endpoints)

    def learn(self, did: Did, via: Did, hops: int) -> None:
        """Something of `did` came by, which may still be handed on `hops` times."""
        if did != self.shell.did:
            self.routes.learn(did, via, MAX_HOPS - hops, self.now_ms())
            self.relay.heard_of(did)

    def seal(self, path: str, block: bytes, to: Did | None, lifetime_ms: int) -> Sealed[Parcel]:
        """A parcel of ours."""
        shell, claim = self.shell, self.shell.clock.claim()
        expires_at = None if claim.source == "unset" else claim.wall_s + 1 + lifetime_ms // 1000
        certificates = self._memberships.certificates(self._memberships.cooperatives())
        parcel = Parcel(shell.did, path, block, certificates, lifetime_ms, shell.nonce(), to, expires_at)
        return document.seal(parcel, shell.signer)

    def open(self, envelope: Envelope) -> Sealed[Parcel]:
        """A parcel that a member signed, for something that parcels are taken for, whose time is not over."""
        sealed = read_parcel(envelope.parcel)
        check_path(sealed.document)
        claim = self.shell.clock.claim()
        if over(sealed.document, envelope.age_ms, None if claim.source == "unset" else claim.wall_s):
            raise PeerError("the time of this parcel is over")
        self.delivery.speaker(sealed.document)
        return sealed

    async def hand(self, did: Did, path: str, envelope: Envelope, deadline_ms: int) -> bytes:
        """Give an envelope to a neighbour; raises `PeerRefused` when it said no, else `PeerError`."""
        error = PeerError(f"no address of {did} is known")
        for uri in self.shell.peers.endpoints(did)[:MAX_TRIED]:
            try:
                return await self.client.hand_on(uri, path, envelope, deadline_ms=max(1, deadline_ms))
            except PeerRefused:
                raise
            except PeerError as unreachable:
                error = unreachable
        raise error


async def fulfil(future: asyncio.Future[T], work: Coroutine[object, object, T]) -> None:
    """Tell everybody who waits what came of it."""
    try:
        found = await work
    except IcnLiteError as error:
        if not future.done():
            future.set_exception(error)
            future.exception()  # seen, should nobody wait any more
    except BaseException:
        future.cancel()
        raise
    else:
        if not future.done():
            future.set_result(found)


def source_of(remote: Remote) -> Did:
    """The neighbour that hands something over."""
    if remote.speaker is None:
        raise NotAdmitted("parcels are handed on between members", hint="start the nodes without --open")
    return remote.speaker.did
