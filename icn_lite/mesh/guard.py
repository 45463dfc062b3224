"""What both transports share: whose message this is, whether it is let in, where refusals are counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiocoap.interfaces import EndpointAddress
from aiocoap.transports.tcp import TcpConnection
from aiocoap.transports.udp6 import UDP6EndpointAddress

from icn_lite.mesh.addresses import plain
from icn_lite.mesh.echo import Echoes
from icn_lite.mesh.gate import Gate, peer_key
from icn_lite.mesh.limits import DEFAULT_PORT, MeshLimits
from icn_lite.mesh.ports import Remote


@dataclass(frozen=True, slots=True)
class Guard:
    """What both transports share: bounds, rates, and where refusals are counted."""

    limits: MeshLimits
    gate: Gate
    echoes: Echoes
    refused: Callable[[str], None]
    loop: asyncio.AbstractEventLoop

    def admit(self, address: EndpointAddress) -> bool:
        """Whether a request from there is let in; counts it if not."""
        remote, now_s = remote_of(address), self.loop.time()
        stranger = not self.echoes.proved(remote, now_s)
        if self.gate.admit(peer_key(remote.host, remote.port), now_s, stranger=stranger):
            return True
        self.refused("rate_limited")
        return False

    def believes(self, address: EndpointAddress) -> bool:
        """Whether somebody was shown to be at this address."""
        return self.echoes.believes(remote_of(address), self.loop.time())


def remote_of(address: EndpointAddress) -> Remote:
    """The host, port and transport of a peer's address."""
    if isinstance(address, UDP6EndpointAddress):
        return Remote(plain(address.sockaddr[0], address.sockaddr[3]), address.sockaddr[1], "udp")
    if isinstance(address, TcpConnection):
        host, port = address._remote_hostinfo
        return Remote(plain(host), port or DEFAULT_PORT, "tcp")
    raise TypeError(f"an address of neither transport: {type(address).__name__}")


def sent_to_all(address: EndpointAddress) -> bool:
    """Whether a datagram from there was sent to a group, by its IPV6_PKTINFO (RFC 3542 §6)."""
    info = address.pktinfo if isinstance(address, UDP6EndpointAddress) else None
    if info is None:
        return False
    return bool(info[0] == 0xFF or (info[:12] == _MAPPED and info[12] >> 4 == 0xE))


_MAPPED: Final = bytes(10) + b"\xff\xff"
