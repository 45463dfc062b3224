"""Gossip in a running node: what it hears, what it hands on, and what it asks for.

A rumour is delivered here and pushed on by tasks of their own. After a greeting a neighbour is asked for the names of
what it heard since it was last asked: so a partition heals with one question, and a lost push with the next.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import Final

from icn_lite.mesh import table
from icn_lite.mesh.ports import Remote
from icn_lite.mesh.refusals import Refusal
from icn_lite.model import document
from icn_lite.model.capability import NodeCapability
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import IcnLiteError, PeerError, PeerRefused
from icn_lite.model.messages import CapabilityAdvertisementV1
from icn_lite.model.parcel import MAX_BODY_BYTES, MAX_HOPS, MAX_LIFETIME_MS, Envelope, Notice
from icn_lite.node.post import Post
from icn_lite.node.pulling import Pulling
from icn_lite.work.gossip import PAGE, Deliver, Effect, Gossip, Push, Rumour

PUSH_MS: Final = 10_000
PUSHES: Final = 8  # at a time
PULL_EVERY: Final = 4  # greetings, which is two minutes
MAX_PAGES: Final = 16  # of names, in one go: twice as many as anybody keeps
MAX_ADVERTS: Final = 1_024  # of those further away, as many as there may be routes
NOBODY: Final = Remote("", 0, "tcp")  # brought what we asked for ourselves
log = logging.getLogger(__name__)


class Rumours:
    """What one node hears and tells."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._shell = post.shell
        self.gossip = Gossip(post.shell.did)
        self._adverts: OrderedDict[Did, CapabilityAdvertisementV1] = OrderedDict()
        self._pushing = asyncio.Semaphore(PUSHES)
        self._pulling = Pulling(PULL_EVERY, PAGE, MAX_PAGES)

    def capability(self, did: Did) -> NodeCapability | None:
        """What somebody further away offers, as far as was heard."""
        advert = self._adverts.get(did)
        return advert.capability if advert is not None else None

    def advert(self, did: Did) -> CapabilityAdvertisementV1 | None:
        """What somebody further away said of itself last."""
        return self._adverts.get(did)

    def spread(self, path: str, block: bytes, lifetime_ms: int) -> None:
        """Tell everybody."""
        if len(block) > MAX_BODY_BYTES:
            log.info("%d bytes for %s are told to neighbours only", len(block), path)
            return
        lifetime_ms = max(1, min(lifetime_ms, MAX_LIFETIME_MS))
        sealed = self._post.notice(path, block, lifetime_ms)
        rumour = Rumour(sealed.cid, sealed.signer, sealed.block, MAX_HOPS, 0, lifetime_ms)
        self._perform(self.gossip.heard(rumour, None, self._post.neighbours(), self._post.now_ms()), None, NOBODY)

    def take(self, envelope: Envelope, source: Did, bringer: Remote = NOBODY) -> None:
        """A neighbour brings a rumour."""
        post = self._post
        known = self.gossip.origin(Cid.of_dag_cbor(envelope.parcel))
        if known is not None:  # its signature was checked the first time
            post.learn(known, source, envelope.hops)
            return
        sealed = post.open_notice(envelope)
        if sealed.signer == self._shell.did:
            return
        post.learn(sealed.signer, source, envelope.hops)
        lifetime_ms = sealed.document.lifetime_ms
        rumour = Rumour(sealed.cid, sealed.signer, envelope.parcel, envelope.hops, envelope.age_ms, lifetime_ms)
        self._perform(self.gossip.heard(rumour, source, post.neighbours(), post.now_ms()), sealed, bringer)

    def told(self, cid: Cid) -> Envelope | None:
        """A rumour as it is handed on now."""
        told = self.gossip.told(cid, self._post.now_ms())
        return Envelope(told.block, told.hops, told.age_ms) if told is not None else None

    async def met(self, uri: str, did: Did, *, anew: bool) -> None:
        """A greeting was answered: hear what that neighbour has heard, unless it was asked lately."""
        try:
            await self._pulling.met(did, lambda start: self._take_page(uri, did, start), anew=anew)
        except PeerError as error:
            log.debug("no rumours from %s: %s", did, error)

    async def _take_page(self, uri: str, did: Did, start: int) -> tuple[int, int]:
        names, after = await self._post.client.rumours(uri, start, did)
        for cid in names:
            if not self.gossip.knows(cid):
                try:
                    self.take(await self._post.client.rumour(uri, cid, did), did)
                except PeerRefused:
                    pass  # its time was over meanwhile
                except (IcnLiteError, Refusal) as error:
                    log.debug("a rumour from %s is left out: %s", did, error)
        return len(names), after

    def _perform(self, effects: list[Effect], sealed: Sealed[Notice] | None, bringer: Remote) -> None:
        for effect in effects:
            match effect:
                case Deliver() if sealed is not None:
                    self._shell.tasks.spawn(self._hear(sealed, bringer), "rumour")
                case Push(cid, targets):
                    for did in targets:
                        self._shell.tasks.spawn(self._push(cid, did), f"rumour to {did.short}")

    async def _hear(self, sealed: Sealed[Notice], bringer: Remote) -> None:
        """What a rumour says to this node."""
        notice = sealed.document
        if notice.path == table.CAPABILITY:
            self._keep_advert(document.unseal(CapabilityAdvertisementV1, notice.body), notice.sender)
            return
        answer = await self._post.delivery.notice(notice, bringer)
        if not answer.code.startswith("2."):
            log.debug("a rumour of %s was not taken: %s", notice.sender, answer.code)

    def _keep_advert(self, advert: Sealed[CapabilityAdvertisementV1], sender: Did) -> None:
        known = self._adverts.get(advert.signer)
        if advert.signer != sender or (known is not None and known.seq > advert.document.seq):
            return
        self._adverts[sender] = advert.document
        self._adverts.move_to_end(sender)
        if len(self._adverts) > MAX_ADVERTS:
            self._adverts.popitem(last=False)
        self._shell.changed.ring()

    async def _push(self, cid: Cid, did: Did) -> None:
        async with self._pushing:
            envelope = self.told(cid)
            if envelope is None:
                return
            try:
                await self._post.hand(did, table.RUMOURS, envelope, PUSH_MS)
            except PeerError as error:
                log.debug("a rumour did not reach %s: %s", did, error)  # it asks when it is back
