"""Addresses of this machine and of peers: what a URI names, what a node tells others of itself, bound sockets.

A peer is written `coap://host:port` everywhere; the same host and port take `coap+tcp` too. A link-local address
carries its zone (`coap://[fe80::1%eth0]:5683`; `%25` is read too, RFC 6874): it means something on this machine alone,
so it is proposed and remembered here, and never stands in a document.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

import ifaddr

from icn_lite.mesh.limits import DEFAULT_PORT
from icn_lite.model.errors import PeerError, UsageError
from icn_lite.model.messages import MAX_ENDPOINTS

PORT_ATTEMPTS: Final = 32  # a port that is free for TCP is nearly always free for UDP
PROBES: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))  # RFC 5737, 3849: nothing is sent


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where a peer is reached."""

    host: str
    port: int = DEFAULT_PORT

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read `coap://host[:port]` or `coap+tcp://…`; paths, users and other schemes are refused."""
        try:
            parts = urlsplit(uri)
            port = parts.port
        except ValueError as error:
            raise PeerError(f"not a peer's URI: {uri[:80]!r}", hint=_URI_HINT) from error
        odd = parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None
        if parts.scheme not in ("coap", "coap+tcp") or not parts.hostname or odd or port == 0:
            raise PeerError(f"not a peer's URI: {uri[:80]!r}", hint=_URI_HINT)
        if not _names_one_machine(parts.hostname):
            raise PeerError(f"{uri[:80]!r} names no single machine", hint=_URI_HINT)
        return cls(parts.hostname.replace("%25", "%"), port or DEFAULT_PORT)

    @property
    def netloc(self) -> str:
        """`host:port`, as it stands in a URI."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"coap://{self.netloc}"


def _names_one_machine(host: str) -> bool:
    """Whether a host may be asked: strangers' documents shall not make this node shout into a network."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return True  # a name; what it resolves to is looked at before anything is sent
    return not (address.is_multicast or address.is_unspecified or str(address) == "255.255.255.255")


_URI_HINT: Final = "write coap://192.168.1.20:5683 or coap://[fe80::1%eth0]:5683"


def plain(host: str, scope: int = 0) -> str:
    """An address as people write it: an IPv4 one without its IPv6 clothes, a link-local one with its zone's name."""
    if host.startswith("::ffff:") and "." in host:
        return host[7:]
    if not scope or "%" in host or not ipaddress.IPv6Address(host).is_link_local:
        return host
    try:
        return f"{host}%{socket.if_indextoname(scope)}"
    except OSError:  # the interface is gone, or may not be looked up
        return f"{host}%{scope}"


def zone_index(zone: str) -> int:
    """The index of a zone, which is written by name or by number; raises OSError for one that isn't here."""
    return int(zone) if zone.isdigit() else socket.if_nametoindex(zone)


def local_addresses(bind: str) -> tuple[str, ...]:
    """The addresses under which others reach a socket bound to `bind`, best first, without link-local ones."""
    bound = ipaddress.ip_address(bind)
    if not bound.is_unspecified:
        return (str(bound),)
    found = _interface_addresses() or _routed_addresses()
    usable = [a for a in found if not (a.is_loopback or a.is_link_local or a.is_multicast or a.is_unspecified)]
    if bound.version == 4:
        usable = [a for a in usable if a.version == 4]
    usable.sort(key=lambda a: (a.version, not a.is_private))
    return tuple(dict.fromkeys(str(a) for a in usable)) or ("127.0.0.1",)


def own_hosts() -> frozenset[str]:
    """Every address of this machine, link-local ones without their zone."""
    found = _interface_addresses() or _routed_addresses()
    return frozenset(str(address) for address in found)


def link_local() -> tuple[str, ...]:
    """This machine's link-local IPv6 addresses without zones: what a link without a router knows it by."""
    return tuple(dict.fromkeys(str(a) for a in _interface_addresses() if a.version == 6 and a.is_link_local))


def _interface_addresses() -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        adapters = ifaddr.get_adapters()  # zeroconf has loaded it; psutil would take 0.7 MB for this alone
    except OSError:  # Android 11 and later refuses netlink
        return []
    addresses = (
        entry.ip if isinstance(entry.ip, str) else entry.ip[0] for adapter in adapters for entry in adapter.ips
    )
    return [ipaddress.ip_address(address.partition("%")[0]) for address in addresses]


def _routed_addresses() -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The address that this machine would send from, without sending."""
    found = []
    for family, target in PROBES:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                found.append(ipaddress.ip_address(probe.getsockname()[0].split("%")[0]))
        except OSError:
            continue
    return found


def uris(bind: str, port: int) -> tuple[str, ...]:
    """What a node writes into its documents: at most `MAX_ENDPOINTS` URIs."""
    return tuple(str(PeerAddress(host, port)) for host in local_addresses(bind)[:MAX_ENDPOINTS])


def bind_sockets(bind: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket on one port; port 0 finds one that is free for both.

    Neither shares its port: a second node on it is refused, where the library would let it in silently.
    """
    try:
        address = ipaddress.ip_address(bind)
    except ValueError as error:
        raise UsageError(f"bind: expected an address, found {bind!r}", hint="use :: for all, or 127.0.0.1") from error
    if not 0 <= port <= 65_535:
        raise UsageError(f"port: expected 0 to 65535, found {port}")
    for attempt in range(PORT_ATTEMPTS):
        tcp: socket.socket | None = None
        try:
            tcp = _bound_tcp(address, port)
            return _bound_udp(address, tcp.getsockname()[1]), tcp
        except OSError as error:
            if tcp is not None:
                tcp.close()
            if port == 0 and error.errno == errno.EADDRINUSE and attempt < PORT_ATTEMPTS - 1:
                continue
            raise _bind_error(bind, port, error) from error
    raise AssertionError("unreachable: the last attempt raises")


def _bind_error(bind: str, port: int, error: OSError) -> PeerError:
    if error.errno == errno.EADDRINUSE:
        return PeerError(
            f"port {port} on {bind} is in use by another program (perhaps another node)",
            hint="stop it, or choose another with --port N (0 finds a free one)",
        )
    if error.errno == errno.EAFNOSUPPORT:
        return PeerError(
            "this machine's kernel has no IPv6 sockets, which CoAP over UDP is built on here",
            hint="start the kernel without ipv6.disable=1; no IPv6 address or route is needed",
        )
    return PeerError(f"can't bind {bind} port {port}: {error.strerror}", hint="name an address of this machine")


def _bound_tcp(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # past connections' TIME_WAIT, not a second listener
        if address.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # `::` takes IPv4 too, as it does on UDP
        sock.bind((str(address), port))
        sock.listen(1)  # bound alone, with SO_REUSEADDR, it would let another in
    except OSError:
        sock.close()
        raise
    return sock


def _bound_udp(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((f"::ffff:{address}" if address.version == 4 else str(address), port))
    except OSError:
        sock.close()
        raise
    return sock
