"""What follows from memberships in a running node: sessions that end, revocations that spread, certificates renewed.

A revocation ends its member's sessions here at once, then goes to `REVOCATION_FAN_OUT` peers, chosen by lot, each of
which does the same with what is new to it. Who was not there hears of it when it is met again: each node asks a peer
that it meets, or that comes back, or every `PULL_EVERY` greetings, for what it has heard since it was last asked.

A membership whose last third has begun is renewed by the first admin that is met; the cooperative's own key, where it
lies here, renews ours without anybody.
"""

from __future__ import annotations

import logging
from typing import Final

from icn_lite.mesh import limits, table
from icn_lite.mesh.client import Client
from icn_lite.mesh.endpoint import Endpoint
from icn_lite.model import cbor
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import DocumentError, IcnLiteError, PeerError, SignatureError, VerificationError
from icn_lite.model.membership import Revocation
from icn_lite.node.cooperatives import Cooperative
from icn_lite.node.memberships import Memberships
from icn_lite.node.pulling import Pulling
from icn_lite.node.shell import Shell
from icn_lite.store.peers import Found
from icn_lite.work.gossip import REVOCATION_FAN_OUT, chosen

PULL_EVERY: Final = 10  # greetings, which is five minutes
MAX_PAGES: Final = 512  # of one peer in one go: as much as a node keeps
RENEW_EVERY_MS: Final = 6 * 3_600_000  # a membership that is due has ten days left at least
MAX_ASKED: Final = 1_024
log = logging.getLogger(__name__)


class Belonging:
    """Memberships of a node whose endpoint listens."""

    def __init__(self, shell: Shell, endpoint: Endpoint, client: Client, memberships: Memberships) -> None:
        self._shell = shell
        self._endpoint = endpoint
        self.client = client
        self._memberships = memberships
        self._asked: dict[tuple[Did, Did], int] = {}  # when whom, about which cooperative
        self._pulling = Pulling(PULL_EVERY, limits.REVOCATIONS_PAGE, MAX_PAGES)
        memberships.changed = self._changed
        memberships.revoked = self._revoked
        self._propose()

    def _changed(self) -> None:
        self._endpoint.memberships_changed()
        self._propose()
        self._shell.peers.hurry(self._shell.clock.now_ms())
        self._shell.changed.ring()

    def _propose(self) -> None:
        """Whoever invited us is worth a greeting."""
        for held in self._memberships.held:
            self._shell.peers.propose(held.addresses, Found.INVITED, self._shell.clock.now_ms())

    def _revoked(self, sealed: Sealed[Revocation]) -> None:
        member = sealed.document.member
        if member == self._shell.did:
            log.warning("this node was put out of a cooperative by %s", sealed.signer)
            self._endpoint.memberships_changed()
            return
        log.info("%s is put out by %s", member, sealed.signer)
        self._endpoint.dismiss(member)  # and whoever was admitted on its word
        self._shell.peers.peers.pop(member, None)
        live = [peer.did for peer in self._shell.peers.live(self._shell.clock.now_ms())]
        for did in chosen(sealed.cid, self._shell.did, live, REVOCATION_FAN_OUT):
            self._shell.tasks.spawn(self._tell(did, sealed.block), f"revocation to {did.short}")

    async def _tell(self, did: Did, block: bytes) -> None:
        try:
            await self._shell.send(did, table.REVOCATIONS, block)
        except PeerError as error:
            log.debug("revocation not told to %s: %s", did, error)  # it asks when it is back

    async def met(self, uri: str, did: Did, *, anew: bool) -> None:
        """A greeting was answered: hear what that peer knows, unless it was asked lately."""
        try:
            await self._pulling.met(did, lambda start: self._take_page(uri, did, start), anew=anew)
        except (PeerError, ValueError) as error:
            log.debug("no revocations from %s: %s", did, error)
        await self._renew_due(did)

    async def renew(self, cooperative: Cooperative, did: Did) -> Cooperative:
        """Ask somebody, who has to be an admin, for the successor of our membership; raises `PeerError`."""
        try:
            return await self._memberships.renewed(await self._shell.ask(did, table.MEMBERSHIP, cooperative.held.block))
        except (DocumentError, SignatureError, VerificationError) as error:
            raise PeerError(f"{did} gave no successor of this membership: {error.message}") from error

    async def _renew_due(self, did: Did) -> None:
        """Whoever is met may be an admin; each is asked for each membership once in `RENEW_EVERY_MS`."""
        now_ms = self._shell.clock.now_ms()
        for cooperative in self._memberships.due():
            asked_ms = self._asked.get((did, cooperative.did))
            if asked_ms is not None and now_ms - asked_ms < RENEW_EVERY_MS:
                continue
            if len(self._asked) >= MAX_ASKED:
                self._asked.clear()
            self._asked[(did, cooperative.did)] = now_ms
            try:
                await self.renew(cooperative, did)
                log.info("the membership of %r was renewed by %s", cooperative.name, did)
            except IcnLiteError as error:
                log.debug("the membership of %r is not renewed by %s: %s", cooperative.name, did, error)

    async def _take_page(self, uri: str, did: Did, start: int) -> tuple[int, int]:
        blocks, after = _page((await self.client.get(uri, f"{table.REVOCATIONS}?from={start}", to=did)).payload)
        for block in blocks:
            try:
                await self._memberships.on_revocation(block)
            except IcnLiteError as error:
                log.debug("a revocation from %s is left out: %s", did, error)
        return len(blocks), after


def _page(payload: bytes) -> tuple[list[bytes], int]:
    """What a peer answered: signed blocks, and the number to go on from."""
    try:
        value = cbor.decode(payload)
    except IcnLiteError as error:
        raise PeerError(f"no page of revocations: {error.message}") from error
    blocks, after = (value.get("blocks"), value.get("next")) if isinstance(value, dict) else (None, None)
    if not isinstance(blocks, list) or not isinstance(after, int) or len(blocks) > limits.REVOCATIONS_PAGE:
        raise PeerError("no page of revocations")
    return [block for block in blocks if isinstance(block, bytes)], after
