"""Asking a whole link who is there: multicast CoAP (RFC 7252 §8) to ff02::fd, ff05::fd and 224.0.1.187.

A node listens in these groups on every interface. It answers one question, GET /.well-known/core with an `rt` that is
its own, after a random leisure, in no more bytes than were asked with (the sender may be invented); all else is
silence. `ask` puts the question on every interface and gives the addresses that answered, link-local ones with their
zone. They are candidates: whoever answers may say anything, and is greeted before it is believed.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from aiocoap import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.types import NON

from icn_lite.mesh import table
from icn_lite.mesh.addresses import PeerAddress, plain

GROUPS_V6: Final = ("ff02::fd", "ff05::fd")  # RFC 7252 §12.8, of the link and of the site
GROUP_V4: Final = "224.0.1.187"
MAX_ANSWERS: Final = 256  # of one question; a link full of impostors shall not fill memory
MAX_INTERFACES: Final = 16
TOKEN_BYTES: Final = 4
SLACK_MS: Final = 500  # an answer's way after its leisure
QUERY: Final = "rt=icn.hs"
LINK: Final = b"</icn/hs>;rt=icn.hs"  # the whole answer: shorter than its question


def interfaces() -> tuple[int, ...]:
    """The indices of this machine's interfaces; (0,), which is whichever routes, where they can't be listed."""
    try:
        return tuple(index for index, _ in socket.if_nameindex())[:MAX_INTERFACES] or (0,)
    except OSError:  # Android refuses netlink
        return (0,)


def join(sock: socket.socket, most: int) -> int:
    """Hear the groups on at most `most` interfaces; returns how many memberships there are, old ones included.

    Where an interface doesn't take multicast the node is deaf there, and found in other ways.
    """
    joined = 0
    for index in interfaces()[:most]:
        for group in GROUPS_V6:
            request = socket.inet_pton(socket.AF_INET6, group) + struct.pack("@I", index)
            joined += _joined(sock, socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        request = socket.inet_aton(GROUP_V4) + bytes(4) + struct.pack("@I", index)
        joined += _joined(sock, socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    return joined


def _joined(sock: socket.socket, level: int, option: int, request: bytes) -> bool:
    try:
        sock.setsockopt(level, option, request)
    except OSError as error:
        return error.errno in _ALREADY
    return True


_ALREADY: Final = (98, 48)  # EADDRINUSE on Linux and elsewhere: joined before


def matches(request: Message) -> bool:
    """Whether this is the question that is answered when everybody was asked."""
    if request.code is not Code.GET or request.mtype is not NON or request.payload:
        return False
    if request.opt.uri_path != tuple(table.CORE.strip("/").split("/")):
        return False
    query = request.opt.uri_query
    return len(query) == 1 and query[0].startswith("rt=") and LINK[: LINK.index(b">") + 1] in table.links(query)


@dataclass
class _Ears(asyncio.DatagramProtocol):
    """Collects the answers to one question."""

    token: bytes
    found: dict[str, None] = field(default_factory=dict)

    def datagram_received(self, data: bytes, addr: tuple[str, int] | tuple[str, int, int, int]) -> None:
        if len(self.found) >= MAX_ANSWERS:
            return
        with contextlib.suppress(Exception):  # whatever strangers send
            message = Message.decode(data)
            if message.token == self.token and message.code is Code.CONTENT and b"icn.hs" in message.payload:
                zone = addr[3] if len(addr) == 4 else 0
                self.found[str(PeerAddress(plain(addr[0], zone), addr[1]))] = None

    def error_received(self, exc: Exception) -> None:
        """An interface that can't send is one that nobody answers on."""


async def ask(ports: Iterable[int], leisure_ms: int) -> tuple[str, ...]:
    """Ask every link on these ports who is there; returns the URIs of those who answered within their leisure."""
    loop = asyncio.get_running_loop()
    ears = _Ears(secrets.token_bytes(TOKEN_BYTES))
    opened = []
    try:
        for family in (socket.AF_INET6, socket.AF_INET):
            try:
                sock = socket.socket(family, socket.SOCK_DGRAM)
            except OSError:
                continue  # a machine without this family
            sock.setblocking(False)
            for port in dict.fromkeys(ports):
                _shout(sock, port, _question(ears.token))
            try:
                sock.getsockname()
                transport, _ = await loop.create_datagram_endpoint(lambda: ears, sock=sock)
            except OSError:
                sock.close()
                continue
            opened.append(transport)
        await asyncio.sleep((leisure_ms + SLACK_MS) / 1000)
    finally:
        for transport in opened:
            transport.close()
    return tuple(ears.found)


def _question(token: bytes) -> bytes:
    message = Message(code=Code.GET, _mtype=NON, _mid=secrets.randbelow(1 << 16), _token=token)
    message.opt.uri_path = tuple(table.CORE.strip("/").split("/"))
    message.opt.uri_query = (QUERY,)
    return bytes(message.encode())


def _shout(sock: socket.socket, port: int, data: bytes) -> None:
    """Send to the groups on every interface; where one doesn't take it, the others do."""
    for index in interfaces():
        _shout_through(sock, index, port, data)


def _shout_through(sock: socket.socket, index: int, port: int, data: bytes) -> None:
    """Send to the groups through one interface."""
    six = sock.family is socket.AF_INET6
    for group in GROUPS_V6 if six else (GROUP_V4,):
        with contextlib.suppress(OSError):
            if six:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
                sock.sendto(data, (group, port, 0, index if group == GROUPS_V6[0] else 0))
                continue
            through = bytes(8) + struct.pack("@I", index)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, through)
            sock.sendto(data, (group, port))


def comes_back(wait_ms: int) -> dict[str, bool]:
    """For every interface, by name, whether a multicast of ours comes back on it within `wait_ms` (blocks so long).

    Where nothing does, the system or the interface refuses multicast and no neighbour can be found by it.
    """
    found: dict[str, bool] = {}
    for index in interfaces():
        with contextlib.suppress(OSError):  # an interface that went meanwhile
            name = socket.if_indextoname(index) if index else "default"
            if name != "lo":
                found[name] = _back_on(index, wait_ms)
    return found


def _back_on(index: int, wait_ms: int) -> bool:
    """Send to the group of each family through one interface and listen for it there."""
    token = secrets.token_bytes(TOKEN_BYTES)
    for family in (socket.AF_INET6, socket.AF_INET):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind(("", 0))
            if family is socket.AF_INET6:
                request = socket.inet_pton(family, GROUPS_V6[0]) + struct.pack("@I", index)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
            else:
                request = socket.inet_aton(GROUP_V4) + bytes(4) + struct.pack("@I", index)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
            port = sock.getsockname()[1]
            _shout_through(sock, index, port, token)
            sock.settimeout(wait_ms / 1000)
            if sock.recv(100) == token:
                return True
    return False
