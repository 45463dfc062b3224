"""The way to those who are no members of this mesh: through bridges, which hand over what others signed.

Whoever is heard of through a bridge is reached through it again: a job's originator for bids and receipts, a bidder
for leases. What was learned so is forgotten at a restart; then every bridge among the neighbours is asked in turn.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from icn_lite.mesh.ports import Remote
from icn_lite.model.capability import NodeRole
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import PeerError, PeerRefused
from icn_lite.model.messages import ReceiptAckV1

if TYPE_CHECKING:
    from icn_lite.node.shell import Shell

MAX_BEHIND: Final = 1_024  # somebodies that were heard of through bridges
MAX_BRIDGES: Final = 4  # asked in turn, each may cost a deadline
T = TypeVar("T")
log = logging.getLogger(__name__)


class Beyond(Protocol):
    """What lies beyond this mesh, as the drivers see it."""

    def knows(self, did: Did) -> bool:
        """Whether somebody may be reached there."""
        ...

    def announce(self, path: str, block: bytes) -> None:
        """What everybody shall hear."""
        ...

    async def send(self, to: Did, path: str, block: bytes) -> None:
        """Bring a signed block to somebody."""
        ...

    async def hand_in(self, to: Did, block: bytes) -> Sealed[ReceiptAckV1]:
        """Bring a receipt to its originator; returns that one's acknowledgement."""
        ...

    async def fetch(self, of: Did, cid: Cid, most: int) -> bytes:
        """A block or blob that somebody there has."""
        ...


class ThroughBridges:
    """Beyond, for a node that is no bridge itself."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._behind: OrderedDict[Did, Did] = OrderedDict()

    def learn(self, did: Did, remote: Remote) -> None:
        """A document of `did` was handed over; by somebody else, if that was a bridge."""
        if remote.speaker is None or remote.speaker.did == did:
            return
        self._behind[did] = remote.speaker.did
        self._behind.move_to_end(did)
        if len(self._behind) > MAX_BEHIND:
            self._behind.popitem(last=False)

    def knows(self, did: Did) -> bool:
        """Whether there is a bridge that may reach somebody."""
        return did != self._shell.did and bool(self._bridges(did))

    def announce(self, path: str, block: bytes) -> None:
        """Bridges hear it as everybody does."""

    async def send(self, to: Did, path: str, block: bytes) -> None:
        """To the first bridge that takes it."""
        await self._try(to, lambda bridge: self._shell.send(bridge, path, block))

    async def hand_in(self, to: Did, block: bytes) -> Sealed[ReceiptAckV1]:
        """To the first bridge that has the acknowledgement, or will have it."""
        return await self._try(to, lambda bridge: self._shell.hand_in(bridge, block))

    async def fetch(self, of: Did, cid: Cid, most: int) -> bytes:
        """From the first bridge that has it or finds it."""
        endpoints = self._shell.peers.endpoints
        return await self._try(of, lambda bridge: self._shell.fetch(endpoints(bridge), bridge, cid, most))

    async def _try(self, did: Did, call: Callable[[Did], Awaitable[T]]) -> T:
        error: PeerError = PeerError(f"no bridge is here that reaches {did}", hint="see `icn-lite peers`")
        for bridge in self._bridges(did):
            try:
                return await call(bridge)
            except PeerRefused as refused:
                if bridge == self._behind.get(did):
                    raise  # it knows them: its word counts
                error = refused
            except PeerError as unreachable:
                error = unreachable
        if isinstance(error, PeerRefused):  # of bridges that may never have heard of them: not their last word
            raise PeerError(error.message, hint=error.hint)
        raise error

    def _bridges(self, did: Did) -> list[Did]:
        """Whom to ask: the bridge that it was heard through, then all others."""
        known = self._behind.get(did)
        live = self._shell.peers.live(self._shell.clock.now_ms())
        bridges = [peer.did for peer in live if NodeRole.BRIDGE in peer.advert.capability.roles and peer.did != did]
        if known is not None:
            bridges = [known, *(bridge for bridge in bridges if bridge != known)]
        return bridges[:MAX_BRIDGES]
