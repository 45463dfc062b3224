"""What gossip and relay share in a running node: neighbours, routes, keys, notices and parcels, the way to the next."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Final, TypeVar

from icn_lite.mesh.client import Client
from icn_lite.mesh.delivery import Delivery, check_notice
from icn_lite.mesh.letter import Mailbox
from icn_lite.mesh.ports import Remote
from icn_lite.model import document
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import IcnLiteError, NotAdmitted, PeerError, PeerRefused
from icn_lite.model.parcel import MAX_HOPS, Envelope, Notice, Parcel, over, read_notice, read_parcel
from icn_lite.node.memberships import Memberships
from icn_lite.node.shell import Shell
from icn_lite.work.relay import Relay
from icn_lite.work.routes import Routes

T = TypeVar("T")
MAX_KEYS: Final = 1_024  # mailbox keys of others, as many as there may be routes
MAX_TRIED: Final = 2  # addresses of one neighbour; proven ones come first


class Post:
    """One node's place between its neighbours."""

    def __init__(self, shell: Shell, client: Client, memberships: Memberships, delivery: Delivery) -> None:
        self.shell = shell
        self.client = client
        self.delivery = delivery
        self._memberships = memberships
        self.relay = Relay(shell.did, Routes())
        self.mailbox = Mailbox(secrets.token_bytes)
        self._keys: OrderedDict[Did, bytes] = OrderedDict()

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

    def notice(self, path: str, block: bytes, lifetime_ms: int) -> Sealed[Notice]:
        """A notice of ours."""
        shell, mailbox = self.shell, self.mailbox.key(self.now_ms())
        certificates, expires_at = self._shown(), self._expires_at(lifetime_ms)
        notice = Notice(shell.did, path, block, certificates, lifetime_ms, shell.nonce(), mailbox, expires_at)
        return document.seal(notice, shell.signer)

    def parcel(self, to: Did, lifetime_ms: int) -> Parcel:
        """A parcel of ours, still without its letter."""
        shell, mailbox = self.shell, self.mailbox.key(self.now_ms())
        certificates, expires_at = self._shown(), self._expires_at(lifetime_ms)
        return Parcel(shell.did, to, certificates, lifetime_ms, shell.nonce(), mailbox, expires_at=expires_at)

    def _shown(self) -> tuple[bytes, ...]:
        return self._memberships.certificates(self._memberships.cooperatives())

    def _expires_at(self, lifetime_ms: int) -> int | None:
        claim = self.shell.clock.claim()
        return None if claim.source == "unset" else claim.wall_s + 1 + lifetime_ms // 1000

    def open_notice(self, envelope: Envelope) -> Sealed[Notice]:
        """A notice that a member signed, of something that everybody may be told, whose time is not over."""
        sealed = read_notice(envelope.parcel)
        check_notice(sealed.document)
        self._check(sealed.document, envelope)
        return sealed

    def open_parcel(self, envelope: Envelope) -> Sealed[Parcel]:
        """A parcel that a member signed, whose time is not over."""
        sealed = read_parcel(envelope.parcel)
        self._check(sealed.document, envelope)
        return sealed

    def _check(self, carried: Parcel | Notice, envelope: Envelope) -> None:
        claim = self.shell.clock.claim()
        if over(carried, envelope.age_ms, None if claim.source == "unset" else claim.wall_s):
            raise PeerError("the time of this parcel is over")
        self.delivery.speaker(carried)
        self.learn_key(carried.sender, carried.mailbox)

    def learn_key(self, did: Did, mailbox: bytes) -> None:
        """Somebody signed that letters to it are to be sealed for this key."""
        self._keys[did] = mailbox
        self._keys.move_to_end(did)
        if len(self._keys) > MAX_KEYS:
            self._keys.popitem(last=False)

    def key_of(self, did: Did) -> bytes | None:
        """The key for which letters to somebody are sealed, as it was heard last."""
        return self._keys.get(did)

    async def hand(self, did: Did, path: str, envelope: Envelope, deadline_ms: int) -> bytes:
        """Give an envelope to a neighbour; raises `PeerRefused` when it said no, else `PeerError`."""
        error = PeerError(f"no address of {did} is known")
        for uri in self.shell.peers.endpoints(did)[:MAX_TRIED]:
            try:
                return await self.client.hand_on(uri, path, envelope, deadline_ms=max(1, deadline_ms), to=did)
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
