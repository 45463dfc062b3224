"""Being found where no multicast passes: this node registers with directories and looks up who else did (RFC 9176).

Every node offers a directory to members. Those used are the configured peers first (any of them may be a directory and
nothing else), then the live peers with the smallest names, so that nodes that share neighbours choose the same ones.
What a directory tells is proposed; `peerbook.py` decides by greeting.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from icn_lite.mesh.endpoint import Endpoint
from icn_lite.mesh.registration import Registrar
from icn_lite.model.errors import PeerError
from icn_lite.node.config import Config
from icn_lite.node.shell import Shell
from icn_lite.store.peers import Found

MAX_DIRECTORIES: Final = 3  # one may be asleep, one may lie
MAX_TRIED: Final = 8  # addresses asked in one round for whether they are directories
FIRST_MS: Final = 20_000  # until then most neighbours were greeted
ROUND_MS: Final = 600_000  # six times within a registration's hour
ASK_MS: Final = 5_000
log = logging.getLogger(__name__)


class Directories:
    """The registrations of one node."""

    def __init__(self, shell: Shell, endpoint: Endpoint, config: Config) -> None:
        self._shell = shell
        self._endpoint = endpoint
        self._config = config
        self._registrar = Registrar(endpoint)

    async def watch(self) -> None:
        """Register and look up, again and again, until cancelled."""
        while True:
            await asyncio.sleep(FIRST_MS / 1000)
            if await self.round():
                await asyncio.sleep((ROUND_MS - FIRST_MS) / 1000)

    async def round(self) -> int:
        """Register with the chosen directories and propose whom they know; returns with how many."""
        registered = 0
        for uri in self._chosen():
            if registered >= MAX_DIRECTORIES:
                break
            try:
                registered += await self._visit(uri)
            except PeerError as error:
                log.debug("no directory at %s: %s", uri, error)
        return registered

    async def _visit(self, uri: str) -> bool:
        loop, registrar = asyncio.get_running_loop(), self._registrar
        desk = await registrar.find(uri, loop.time() + ASK_MS / 1000)
        if desk is None:
            return False
        bases = [base for base in self._shell.endpoints if "127.0.0.1" not in base]
        base = bases[0] if bases else None
        await registrar.register(desk, str(self._shell.did), base, loop.time() + ASK_MS / 1000)
        found = await registrar.lookup(desk, loop.time() + ASK_MS / 1000)
        others = [other for other in found if other not in self._shell.endpoints]
        self._shell.peers.propose(others, Found.DIRECTORY, self._shell.clock.now_ms())
        self._shell.changed.ring()
        return True

    def _chosen(self) -> list[str]:
        live = sorted(self._shell.peers.live(self._shell.clock.now_ms()), key=lambda peer: str(peer.did))
        near = [peer.endpoints[0] for peer in live if peer.endpoints]
        return [*dict.fromkeys((*self._config.peers, *near))][:MAX_TRIED]
