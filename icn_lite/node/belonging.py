"""What follows from memberships in a running node: sessions that end, and revocations that spread.

A revocation ends its member's sessions here at once, then goes to `REVOCATION_FAN_OUT` peers, chosen by lot, each of
which does the same with what is new to it. Who was not there hears of it when it is met again: each node asks a peer
that it meets, or that comes back, or every `PULL_EVERY` greetings, for what it has heard since it was last asked.
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
from icn_lite.model.errors import IcnLiteError, PeerError
from icn_lite.model.membership import Revocation
from icn_lite.node.memberships import Memberships
from icn_lite.node.pulling import Pulling
from icn_lite.node.shell import Shell
from icn_lite.store.peers import Found
from icn_lite.work.gossip import REVOCATION_FAN_OUT, chosen

PULL_EVERY: Final = 10  # greetings, which is five minutes
MAX_PAGES: Final = 512  # of one peer in one go: as much as a node keeps
log = logging.getLogger(__name__)


class Belonging:
    """Memberships of a node whose endpoint listens."""

    def __init__(self, shell: Shell, endpoint: Endpoint, client: Client, memberships: Memberships) -> None:
        self._shell = shell
        self._endpoint = endpoint
        self.client = client
        self._memberships = memberships
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

    async def _take_page(self, uri: str, did: Did, start: int) -> tuple[int, int]:
        blocks, after = _page((await self.client.get(uri, f"{table.REVOCATIONS}?from={start}")).payload)
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
