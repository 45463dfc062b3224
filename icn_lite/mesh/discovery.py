"""Finding neighbours by mDNS/DNS-SD (RFC 6762, 6763): service `_icn-lite._udp.local.`, TXT `did`, `v`, `port`.

What is found are candidates. Anybody can announce anything, and a record outlives its node by twenty minutes and
more: the node asks a candidate itself (`Client.advertise`) and believes the signed answer.

Whether multicast works here is not guessed: it works once our own announcement came back through the network. Else
`available` is False and `why` says so in a sentence; a node then lives on the peers it was told.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from zeroconf import Error as ZeroconfError
from zeroconf import InterfaceChoice, IPVersion, ServiceStateChange, Zeroconf, _engine
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from icn_lite.mesh.addresses import PeerAddress, link_local, local_addresses, plain
from icn_lite.mesh.limits import MeshLimits
from icn_lite.mesh.logs import BoundedLog
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError
from icn_lite.model.messages import MAX_ENDPOINTS

SERVICE: Final = "_icn-lite._udp.local."  # at most 15 characters before `._udp` (RFC 6763 §7)
TXT_VERSION: Final = "1"
START_MS: Final = 2_000  # registering probes for 1.2 s; a node's start waits no longer than this
RESOLVE_MS: Final = 3_000
CLOSE_MS: Final = 2_000  # the goodbyes take half a second
MAX_NAMES: Final = 256  # candidates known at a time; a link full of impostors shall not fill memory
MAX_RESOLVING: Final = 16
MAX_NAME_BYTES: Final = 63  # one DNS label
FORGET_S: Final = 120  # how often the library looks for old records; its ten seconds were a tenth of our wake-ups
NAME_TAIL: Final = 20  # characters of the DID in our name: 117 bits


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody who may be a peer. `did` is what the announcement claims, or None."""

    name: str
    did: Did | None
    uris: tuple[str, ...]
    source: str = "mdns"


@dataclass(frozen=True, slots=True)
class DiscoveryConfig:
    """What we announce: who we are and the endpoint's address and port."""

    did: Did
    port: int
    bind: str = "::"
    limits: MeshLimits = field(default_factory=MeshLimits)


class Discovery:
    """Announces this node and reports candidates, from `start` to `close`."""

    def __init__(
        self,
        config: DiscoveryConfig,
        on_candidate: Callable[[Candidate], None],
        on_withdrawn: Callable[[str], None],
    ) -> None:
        self._config = config
        self._on_candidate = on_candidate
        self._on_withdrawn = on_withdrawn
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._announcing: asyncio.Task[None] | None = None
        self._resolving: dict[str, asyncio.Task[None]] = {}
        self._names: set[str] = set()
        self._heard_own = asyncio.Event()
        self._log_bound = BoundedLog(config.limits)
        self._refused = ""
        tail = str(config.did)[-NAME_TAIL:]
        self.name = f"icn-{tail}-{config.port}.{SERVICE}"

    @property
    def available(self) -> bool:
        """Whether our own announcement was heard, so that others can hear it too."""
        return self._heard_own.is_set() and not self._refused

    @property
    def why(self) -> str:
        """A sentence for people about `available`."""
        if self.available:
            return "mDNS works here: our own announcement was heard"
        if self._heard_own.is_set():
            return f"mDNS works here, but {self._refused}"
        reason = self._refused or f"our own announcement was not heard within {START_MS} ms"
        return f"multicast is refused here: {reason}; using static peers"

    async def start(self) -> None:
        """Announce and listen; returns when our announcement was heard, at the latest after `START_MS`."""
        logging.getLogger("zeroconf").addFilter(self._log_bound)
        try:
            vars(_engine)["_CACHE_CLEANUP_INTERVAL"] = FORGET_S
            self._zeroconf = self._open()
        except OSError as error:
            self._refused = error.strerror or str(error)
            return
        self._browser = AsyncServiceBrowser(self._zeroconf.zeroconf, SERVICE, handlers=[self._changed])
        self._announcing = asyncio.create_task(self._announce(self._zeroconf), name="mdns announce")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_MS / 1000):
                heard = asyncio.create_task(self._heard_own.wait())
                try:
                    await asyncio.wait({heard, self._announcing}, return_when=asyncio.FIRST_COMPLETED)
                    if not self._refused:
                        await heard
                finally:
                    heard.cancel()

    async def close(self) -> None:
        """Take the announcement back and stop."""
        tasks = [*self._resolving.values(), *([self._announcing] if self._announcing else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._browser is not None:
            await self._browser.async_cancel()
        if self._zeroconf is not None:
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(CLOSE_MS / 1000):
                    await self._zeroconf.async_close()
        self._zeroconf = self._browser = self._announcing = None
        logging.getLogger("zeroconf").removeFilter(self._log_bound)

    def _open(self) -> AsyncZeroconf:
        """Sockets on the interfaces that our endpoint listens on; raises OSError where there are none."""
        bound = ipaddress.ip_address(self._config.bind)
        if not bound.is_unspecified:
            version = IPVersion.V4Only if bound.version == 4 else IPVersion.V6Only
            return AsyncZeroconf(interfaces=[str(bound)], ip_version=version)
        if sys.platform == "android" or hasattr(sys, "getandroidapilevel"):
            # Enumerating interfaces goes through netlink, refused since Android 11.
            return AsyncZeroconf(interfaces=InterfaceChoice.Default, ip_version=IPVersion.V4Only)
        fault: Exception | None = None
        for version in (IPVersion.V4Only,) if bound.version == 4 else (IPVersion.All, IPVersion.V4Only):
            try:
                return AsyncZeroconf(interfaces=InterfaceChoice.All, ip_version=version)
            except (OSError, RuntimeError) as error:
                fault = error
        raise OSError(f"no interface takes multicast ({fault})") from fault

    async def _announce(self, opened: AsyncZeroconf) -> None:
        config = self._config
        hosts = local_addresses(config.bind)[:MAX_ENDPOINTS]
        if ipaddress.ip_address(config.bind).is_unspecified and ":" in config.bind:
            # Where no router is, a link knows us by these alone; beside others they cost a few bytes.
            hosts = (*(host for host in hosts if host != "127.0.0.1"), *link_local()[:MAX_ENDPOINTS]) or hosts
        info = AsyncServiceInfo(
            SERVICE,
            self.name,
            port=config.port,
            addresses=[_packed(host) for host in hosts],
            properties={"did": str(config.did), "v": TXT_VERSION, "port": str(config.port)},
            server=f"{self.name.split('.')[0]}.local.",
        )
        try:
            await (await opened.async_register_service(info))
        except (ZeroconfError, OSError) as error:
            self._refused = f"announcing failed: {str(error) or type(error).__name__}"

    def _changed(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        """A record came, changed or went (called by the browser, in the event loop)."""
        if name == self.name:
            if state_change is not ServiceStateChange.Removed:
                self._heard_own.set()
            return
        if state_change is ServiceStateChange.Removed:
            if name in self._names:
                self._names.discard(name)
                self._on_withdrawn(name)
            return
        full = name not in self._names and len(self._names) >= MAX_NAMES
        if full or name in self._resolving or len(self._resolving) >= MAX_RESOLVING or len(name) > 255:
            return
        task = asyncio.get_running_loop().create_task(self._resolve(zeroconf, name), name=f"mdns {name}")
        self._resolving[name] = task
        task.add_done_callback(lambda _: self._resolving.pop(name, None))

    async def _resolve(self, zeroconf: Zeroconf, name: str) -> None:
        info = AsyncServiceInfo(SERVICE, name)
        try:
            if not await info.async_request(zeroconf, RESOLVE_MS):
                return
        except (ZeroconfError, OSError):
            return
        candidate = _candidate(name, info)
        if candidate is not None:
            self._names.add(name)
            self._on_candidate(candidate)


def _packed(host: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)


def _host(text: str) -> str | None:
    """An announced address as we would ask it, or None: a link-local one only with its interface."""
    address = ipaddress.ip_address(text)
    if address.is_unspecified or address.is_multicast:
        return None
    if not address.is_link_local:
        return text.partition("%")[0]
    host, _, zone = text.partition("%")
    return plain(host, int(zone)) if zone.isdigit() and address.version == 6 else None


def _candidate(name: str, info: AsyncServiceInfo) -> Candidate | None:
    """What an announcement says, as far as it can be used; strangers write these records."""
    if not info.port:
        return None
    hosts = [host for text in info.parsed_scoped_addresses() if (host := _host(text)) is not None]
    hosts.sort(key=lambda host: "%" in host)  # what means something beyond this link first
    claimed = info.properties.get(b"did")
    try:
        did = Did.parse(claimed.decode("ascii")) if claimed else None
    except (DocumentError, UnicodeDecodeError):
        did = None
    uris = tuple(str(PeerAddress(host, info.port)) for host in hosts[:MAX_ENDPOINTS])
    return Candidate(name, did, uris) if uris else None
