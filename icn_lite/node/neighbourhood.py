"""How candidates keep coming: mDNS, a question to the whole link, and again whenever this machine has moved or slept.

Every `LOOK_MS` the node compares its addresses with those it knew and the time that it slept. Where either changed it
tells its new addresses, announces itself anew, hears the groups of new interfaces, asks the links, and greets everybody
at once. Who may be there is only proposed here; `peerbook.py` decides by greeting.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Callable
from typing import Final

from icn_lite.mesh import multicast
from icn_lite.mesh.addresses import PeerAddress, link_local, own_hosts
from icn_lite.mesh.discovery import Candidate, Discovery, DiscoveryConfig
from icn_lite.mesh.endpoint import Endpoint
from icn_lite.mesh.limits import DEFAULT_PORT
from icn_lite.node.config import Config
from icn_lite.node.shell import Shell
from icn_lite.store.peers import Found

LOOK_MS: Final = 30_000  # a change of network is noticed within one heartbeat, for two wake-ups a minute
ASK_ALONE_MS: Final = 300_000  # between two questions to the link while nobody is here
ASK_MS: Final = 3_600_000  # and while somebody is: whoever comes asks by itself
SLEPT_S: Final = 5.0  # what a machine that was suspended lost at least; less is the clocks' own
log = logging.getLogger(__name__)


class Neighbourhood:
    """The sources of candidates of one node."""

    def __init__(
        self, shell: Shell, endpoint: Endpoint, config: Config, slept_s: Callable[[], float] | None = None
    ) -> None:
        self._shell = shell
        self._endpoint = endpoint
        self._config = config
        self._slept_s = slept_s or suspended_s
        self._lost_s = self._slept_s()
        self._places = self._here()
        self._ask_ms = 0
        self.discovery: Discovery | None = None

    @property
    def available(self) -> bool:
        """Whether mDNS works here."""
        return self.discovery is not None and self.discovery.available

    @property
    def why(self) -> str:
        """A sentence for people about `available`."""
        return self.discovery.why if self.discovery is not None else "switched off"

    async def start(self) -> None:
        """Announce this node, where that is wanted."""
        if not self._config.mdns:
            return
        config = DiscoveryConfig(self._shell.did, self._endpoint.port, self._config.bind)
        self.discovery = Discovery(config, self._announced, lambda name: None)
        await self.discovery.start()
        log.info("%s", self.discovery.why)

    async def close(self) -> None:
        """Take the announcement back."""
        if self.discovery is not None:
            await self.discovery.close()

    async def watch(self) -> None:
        """Ask and look, again and again, until cancelled."""
        while True:
            await self.ask_when_due()
            await asyncio.sleep(LOOK_MS / 1000)
            await self.look()

    async def look(self) -> bool:
        """Whether this machine moved or slept since the last look; then everything is begun anew."""
        places, lost_s = self._here(), self._slept_s()
        moved, slept = places != self._places, lost_s - self._lost_s > SLEPT_S
        self._places, self._lost_s = places, lost_s
        if not (moved or slept):
            return False
        self._shell.endpoints = self._endpoint.addresses()
        log.info(
            "%s; reached at %s now",
            "the addresses changed" if moved else "awake again",
            " ".join(self._shell.endpoints),
        )
        self._endpoint.hear_groups()
        self._shell.peers.wake(self._shell.clock.now_ms())
        self._shell.changed.ring()
        if moved and self.discovery is not None:  # its sockets are those of the interfaces that were
            await self.discovery.close()
            await self.start()
        self._ask_ms = 0
        return True

    async def ask_when_due(self) -> None:
        """Ask the links who is there, if that is wanted and was not done lately."""
        now_ms = self._shell.clock.now_ms()
        if not self._asks or now_ms < self._ask_ms:
            return
        alone = not self._shell.peers.live(now_ms)
        self._ask_ms = now_ms + (ASK_ALONE_MS if alone else ASK_MS)
        self.answered(await multicast.ask((DEFAULT_PORT, self._endpoint.port), self._endpoint.limits.leisure_ms))

    def answered(self, uris: tuple[str, ...]) -> None:
        """Addresses that answered the question; our own are left out."""
        own = own_hosts()
        found = [PeerAddress.parse(uri) for uri in uris]
        others = [
            str(peer) for peer in found if peer.port != self._endpoint.port or peer.host.partition("%")[0] not in own
        ]
        self._shell.peers.propose(others, Found.MULTICAST, self._shell.clock.now_ms())
        self._shell.changed.ring()

    @property
    def _asks(self) -> bool:
        return self._config.mdns and ipaddress.ip_address(self._config.bind).is_unspecified

    def _here(self) -> tuple[str, ...]:
        return (*self._endpoint.addresses(), *link_local())

    def _announced(self, candidate: Candidate) -> None:
        """mDNS names somebody; zeroconf calls this on the loop."""
        if candidate.did != self._shell.did:
            self._shell.peers.propose(candidate.uris, Found.MDNS, self._shell.clock.now_ms())
            self._shell.changed.ring()


def suspended_s() -> float:
    """How long this machine has been suspended since it was started; 0 where the system doesn't say."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(boottime) - time.monotonic() if boottime is not None else 0.0
