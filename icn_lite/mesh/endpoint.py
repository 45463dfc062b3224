"""A node's end of the mesh: one port, UDP and TCP, server and client.

The transports are chosen here, never by the library's guess from platform and environment (on Android it would
choose one that cannot bind, and installing `websockets` would open a further port).
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
from dataclasses import dataclass, field
from typing import Final

from aiocoap.protocol import Context

from icn_lite.mesh import addresses, multicast
from icn_lite.mesh.channels import Channels
from icn_lite.mesh.door import Door
from icn_lite.mesh.echo import SECRET_BYTES, Echoes
from icn_lite.mesh.gate import Gate
from icn_lite.mesh.guard import Guard
from icn_lite.mesh.limits import DEFAULT_PORT, MeshLimits
from icn_lite.mesh.logs import BoundedLog, bounded_logger
from icn_lite.mesh.ports import Admission, MeshHandlers
from icn_lite.mesh.site import Site
from icn_lite.mesh.transports import attach
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import PeerError, UsageError

TIDY_S: Final = 30.0  # how often blocks that nobody fetches any more leave memory


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """Where to listen. `::` is every address, IPv4 and IPv6; port 0 finds one that is free."""

    bind: str = "::"
    port: int = DEFAULT_PORT
    limits: MeshLimits = field(default_factory=MeshLimits)
    admission: Admission | None = None  # without one everybody is let in: for laboratories and tests


class Endpoint:
    """Opened by `start`, closed by `close`; both once."""

    def __init__(self, config: EndpointConfig, handlers: MeshHandlers) -> None:
        self.limits = config.limits
        self.handlers = handlers
        self._config = config
        admission = config.admission
        self._door = Door(admission, config.limits, secrets.token_bytes) if admission is not None else None
        self._echoes = Echoes(config.limits, secrets.token_bytes(SECRET_BYTES))
        self._site = Site(handlers, config.limits, self._echoes, self._door)
        self._channels: Channels | None = None
        self._context: Context | None = None
        self._log: BoundedLog | None = None
        self._tidy: asyncio.TimerHandle | None = None
        self._port = 0
        self._udp: socket.socket | None = None

    async def start(self) -> None:
        """Listen. Raises `PeerError` if the port is taken, `UsageError` for an address that is none."""
        if self._context is not None:
            raise UsageError("the endpoint is open already")
        udp, tcp = addresses.bind_sockets(self._config.bind, self._config.port)
        loop = asyncio.get_running_loop()
        logger, self._log = bounded_logger(self.limits)
        context = Context(loop=loop, serversite=self._site, loggername=logger.name)
        gate = Gate(self.limits, loop.time())
        guard = Guard(self.limits, gate, self._echoes, self.handlers.on_refused, loop)
        self._port = tcp.getsockname()[1]
        try:
            await attach(context, guard, udp, tcp)
        except BaseException:
            for sock in (udp, tcp):
                sock.close()
            logger.removeFilter(self._log)
            raise
        if self._config.admission is not None:
            self._channels = Channels(self._config.admission, self.limits, secrets.token_bytes)
        self._udp = udp
        self.hear_groups()
        self._context = context  # held: an unreferenced context is collected and its port closes
        self._tidy = loop.call_later(TIDY_S, self._forget_old)

    async def close(self) -> None:
        """Close both transports and every connection; requests under way fail."""
        if self._context is None:
            return
        context, self._context, self._udp = self._context, None, None
        if self._tidy is not None:
            self._tidy.cancel()
        if self._channels is not None:
            await self._channels.close()
        await context.shutdown()
        await self._site.close()
        if self._log is not None:
            context.log.removeFilter(self._log)

    @property
    def context(self) -> Context:
        """The library's context, for the client."""
        if self._context is None:
            raise PeerError("the endpoint is closed", hint="start the node first")
        return self._context

    @property
    def channels(self) -> Channels | None:
        """The sessions that this node began, for the client; None where the endpoint is open."""
        return self._channels

    @property
    def sessions(self) -> int:
        """How many sessions others have with this node."""
        return len(self._door) if self._door is not None else 0

    def dismiss(self, did: Did) -> None:
        """Somebody is no member any more: its sessions end now, on both sides."""
        if self._door is not None:
            self._door.drop(did)
        if self._channels is not None:
            self._channels.drop(did)

    def memberships_changed(self) -> None:
        """What this node belongs to has changed: all sessions are begun anew."""
        if self._door is not None:
            self._door.review()
        if self._channels is not None:
            self._channels.review()

    @property
    def port(self) -> int:
        """The port in use."""
        return self._port

    @property
    def bind(self) -> str:
        """The address that was asked for."""
        return self._config.bind

    def addresses(self) -> tuple[str, ...]:
        """The URIs under which peers reach this endpoint, at most four."""
        return addresses.uris(self._config.bind, self._port)

    def hear_groups(self) -> int:
        """Listen for multicasts on every interface that there is now; returns on how many groups that is."""
        if self._udp is None or not ipaddress.ip_address(self._config.bind).is_unspecified:
            return 0
        return multicast.join(self._udp, self.limits.groups)

    def notify_job(self, job: Cid) -> None:
        """Ring those who observe a job: its status changed."""
        self._site.observers.ring(job)

    def _forget_old(self) -> None:
        loop = asyncio.get_running_loop()
        self._site.forget_old(loop.time())
        self._tidy = loop.call_later(TIDY_S, self._forget_old)
