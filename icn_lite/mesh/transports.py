"""UDP and TCP for CoAP: the library's transports with the bounds that it lacks, and its traps closed.

This is the one module that reaches into aiocoap's insides (0.4): message and token management stay the library's.
What is added, and why (measured; see this room's README):

- requests over a peer's rate are turned away before anything is kept of them (5.03, without a task or an entry);
- the memory of duplicates is bounded (the library keeps 2.6 kB a request for 247 s);
- a request that its asker gave up is neither retransmitted nor left in the queue (the library goes on for 76 s and
  holds up everything else to that peer);
- bytes that raise anything at all while they are read are counted and dropped;
- TCP connections have a number, an idle time, a largest message and a largest backlog of answers; a second
  connection to one peer is not opened while the first is being.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiocoap import Message, error
from aiocoap.interfaces import EndpointAddress
from aiocoap.messagemanager import MessageManager
from aiocoap.numbers.codes import CSM, EMPTY, SERVICE_UNAVAILABLE
from aiocoap.numbers.types import ACK, CON
from aiocoap.protocol import Context
from aiocoap.tokenmanager import TokenManager
from aiocoap.transports.tcp import TCPClient, TcpConnection, TCPServer
from aiocoap.transports.udp6 import MessageInterfaceUDP6, UDP6EndpointAddress
from aiocoap.util import hostportsplit

from icn_lite.mesh.gate import Gate, peer_key
from icn_lite.mesh.limits import DEFAULT_PORT, MeshLimits
from icn_lite.mesh.ports import Remote
from icn_lite.mesh.refusals import OVERLOAD_RETRY_S

EXCHANGE_LIFETIME_S: Final = 247.0  # RFC 7252 §4.8.2: how long a duplicate may still arrive
TCP_SLACK_BYTES: Final = 1024  # options and framing beside the payload of one message
LISTEN_BACKLOG: Final = 64


@dataclass(frozen=True, slots=True)
class Guard:
    """What both transports share: bounds, rates, and where refusals are counted."""

    limits: MeshLimits
    gate: Gate
    refused: Callable[[str], None]
    loop: asyncio.AbstractEventLoop

    def admit(self, address: EndpointAddress) -> bool:
        """Whether a request from there is let in; counts it if not."""
        remote = remote_of(address)
        if self.gate.admit(peer_key(remote.host, remote.port), self.loop.time()):
            return True
        self.refused("rate_limited")
        return False


def remote_of(address: EndpointAddress) -> Remote:
    """The host, port and transport of a peer's address."""
    if isinstance(address, UDP6EndpointAddress):
        return Remote(_plain(address.sockaddr[0]), address.sockaddr[1], "udp")
    if isinstance(address, TcpConnection):
        host, port = address._remote_hostinfo
        return Remote(_plain(host), port or DEFAULT_PORT, "tcp")
    raise TypeError(f"an address of neither transport: {type(address).__name__}")


def _plain(host: str) -> str:
    """An address without the IPv6 clothes of an IPv4 one."""
    return host[7:] if host.startswith("::ffff:") and "." in host else host


class Exchanges(MessageManager):
    """The message layer over UDP (RFC 7252 §4)."""

    def __init__(self, tokens: TokenManager, guard: Guard) -> None:
        super().__init__(tokens)
        self._guard = guard
        self._recent_messages: OrderedDict[tuple[EndpointAddress, int], Message | None] = OrderedDict()
        self._recent_until: deque[tuple[float, tuple[EndpointAddress, int]]] = deque()

    def dispatch_message(self, message: Message) -> None:
        """A datagram that could be read came in."""
        if message.code.is_request() and not self._guard.admit(message.remote):
            self._turn_away(message)
            return
        try:
            super().dispatch_message(message)
        except Exception as fault:  # noqa: BLE001 - whatever a stranger's message raises, the endpoint goes on
            self._guard.refused("malformed_message")
            self.log.warning("dropped a message from %r: %s: %s", message.remote, type(fault).__name__, fault)

    def _turn_away(self, message: Message) -> None:
        """Answer 5.03 with what the message itself holds; nothing is kept. Non-confirmable ones get no answer."""
        if message.mtype is not CON or message.remote.is_multicast_locally:
            return
        busy = Message(code=SERVICE_UNAVAILABLE, _mtype=ACK, _mid=message.mid, _token=message.token)
        busy.opt.max_age = OVERLOAD_RETRY_S
        busy.remote = message.remote.as_response_address()
        self._send_via_transport(busy)

    def _deduplicate_message(self, message: Message) -> bool:
        """Whether the message was seen before; answers it again if so (RFC 7252 §4.5)."""
        now_s = self.loop.time()
        while self._recent_until and (
            self._recent_until[0][0] <= now_s or len(self._recent_until) > self._guard.limits.recent_messages
        ):
            self._recent_messages.pop(self._recent_until.popleft()[1], None)
        key = (message.remote, message.mid)
        if key not in self._recent_messages:
            self._recent_messages[key] = None
            self._recent_until.append((now_s + EXCHANGE_LIFETIME_S, key))
            return False
        answered = self._recent_messages[key]
        if message.mtype is CON and answered is not None:
            self._send_initially(answered)
        return True

    def send_message(self, message: Message, messageerror_monitor: Callable[[], None]) -> Callable[[], None] | None:
        """Send; returns what withdraws a request whose asker gave up."""
        super().send_message(message, messageerror_monitor)
        return partial(self._withdraw, message) if message.code.is_request() else None

    def _withdraw(self, message: Message) -> None:
        if self._active_exchanges is None:
            return
        waiting = self._backlogs.get(message.remote)
        if waiting is not None:
            waiting[:] = [entry for entry in waiting if entry[0] is not message]
        exchange = self._active_exchanges.pop((message.remote, message.mid), None)
        if exchange is not None:
            exchange[1].cancel()
            if message.remote in self._backlogs:
                self._continue_backlog(message.remote)

    def dispatch_error(self, fault: Exception, remote: EndpointAddress) -> None:
        """The network said that a peer can't be reached: nothing queued for it is sent any more."""
        if self._active_exchanges is not None and remote in self._backlogs:
            self._backlogs[remote].clear()
        super().dispatch_error(fault, remote)


class Udp(MessageInterfaceUDP6):
    """Datagrams."""

    def datagram_msg_received(self, data: bytes, ancdata: object, flags: int, address: object) -> None:
        """Read one datagram, whatever is in it."""
        try:
            super().datagram_msg_received(data, ancdata, flags, address)
        except Exception as fault:  # noqa: BLE001 - see Exchanges.dispatch_message
            self.log.warning("dropped a datagram from %s: %s: %s", address, type(fault).__name__, fault)
            self._ctx._guard.refused("malformed_message")

    async def determine_remote(self, request: Message) -> UDP6EndpointAddress | None:
        """The address of a URI; a literal one without asking a resolver (which takes a thread)."""
        if request.requested_scheme in ("coap", None) and request.unresolved_remote is not None:
            host, port = hostportsplit(request.unresolved_remote)
            literal = _literal(host)
            if literal is not None:
                return UDP6EndpointAddress((literal, port or DEFAULT_PORT, 0, 0), self)
        return await super().determine_remote(request)


def _literal(host: str) -> str | None:
    """The IPv6 form of a literal address without a zone; None for names."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return f"::ffff:{address}"
    return str(address) if address.scope_id is None and not address.is_link_local else None


class Connection(TcpConnection):
    """One TCP connection, incoming or outgoing."""

    def __init__(self, pool: Listener | Dialer, guard: Guard, *, is_server: bool) -> None:
        super().__init__(pool, pool.log, guard.loop, is_server=is_server)
        self._guard = guard
        limits = guard.limits
        self._my_max_message_size = TCP_SLACK_BYTES + (
            limits.tcp_message_bytes if is_server else limits.tcp_answer_bytes
        )
        self._last_message_s = guard.loop.time()
        self._unsent_bytes = 0
        self._idle: asyncio.TimerHandle | None = None
        self.settled: asyncio.Future[None] = guard.loop.create_future()  # the peer's settings (CSM) are known

    @property
    def last_message_s(self) -> float:
        return self._last_message_s

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._remote_hostinfo = transport.get_extra_info("peername")[:2]
        if self._local_is_server and not self._ctx.may_enter(self):
            self._transport = transport
            self._local_hostinfo = transport.get_extra_info("sockname")[:2]
            self._guard.refused("too_many_connections")
            transport.abort()
            return
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if not self.settled.done():
            self.settled.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes in, whatever is in them."""
        if self._transport is None or self._transport.is_closing():
            return
        try:
            super().data_received(data)
        except Exception as fault:  # noqa: BLE001 - see Exchanges.dispatch_message
            self._guard.refused("malformed_message")
            self.log.warning("closed a connection from %s: %s", self._remote_hostinfo, fault)
            self._transport.abort()

    def _process_signaling(self, msg: Message) -> None:
        super()._process_signaling(msg)
        if msg.code == CSM and not self.settled.done():
            self.settled.set_result(None)

    def _send_message(self, msg: Message) -> None:
        if self._transport is None or self._transport.is_closing():
            return  # its asker hears of it through connection_lost
        if self._transport.get_write_buffer_size() > self._guard.limits.tcp_backlog_bytes:
            self._guard.refused("slow_reader")
            self._transport.abort()
            return
        self.touch()
        super()._send_message(msg)

    def touch(self) -> None:
        """A whole message passed."""
        self._last_message_s = self.loop.time()

    def _watch(self) -> None:
        """Close the connection once no whole message passed, and nothing drained, for `idle_ms`."""
        idle_s = self._guard.limits.idle_ms / 1000
        now_s = self.loop.time()
        unsent = self._transport.get_write_buffer_size() if self._transport is not None else 0
        if unsent < self._unsent_bytes:
            self.touch()
        self._unsent_bytes = unsent
        if now_s - self._last_message_s >= idle_s and self._transport is not None:
            self._guard.refused("idle_connection")
            self._transport.abort()
            return
        self._idle = self.loop.call_later(self._last_message_s + idle_s - now_s, self._watch)

    def shut(self) -> None:
        """Close without waiting for the peer."""
        if self._transport is not None:
            self._transport.abort()


def _dispatch(pool: Listener | Dialer, guard: Guard, connection: Connection, msg: Message) -> None:
    """A message came in over TCP (RFC 8323): requests within the rate, responses, nothing else."""
    connection.touch()
    if msg.code == EMPTY:
        return
    if msg.code.is_response():
        pool._tokenmanager.process_response(msg)
    elif not msg.code.is_request():
        guard.refused("malformed_message")
    elif guard.admit(connection):
        pool._tokenmanager.process_request(msg)
    else:
        busy = Message(code=SERVICE_UNAVAILABLE, _token=msg.token)
        busy.opt.max_age = OVERLOAD_RETRY_S
        connection._send_message(busy)


class Listener(TCPServer):
    """Incoming TCP connections."""

    def __init__(self, tokens: TokenManager, guard: Guard, log: logging.Logger) -> None:
        super().__init__()
        self._tokenmanager = tokens
        self._guard = guard
        self.log = log

    async def listen(self, sock: socket.socket) -> None:
        """Accept on a bound socket."""
        self.server = await self._guard.loop.create_server(self._accept, sock=sock, backlog=LISTEN_BACKLOG)

    def _accept(self) -> Connection:
        return Connection(self, self._guard, is_server=True)

    def may_enter(self, connection: Connection) -> bool:
        """Take a new connection into the pool if there is room for it."""
        limits = self._guard.limits
        host = connection._remote_hostinfo[0]
        of_host = sum(other._remote_hostinfo[0] == host for other in self._pool)
        if len(self._pool) >= limits.connections or of_host >= limits.connections_per_peer:
            return False
        self._pool.add(connection)
        return True

    def _dispatch_incoming(self, connection: Connection, msg: Message) -> None:
        _dispatch(self, self._guard, connection, msg)

    async def shutdown(self) -> None:
        """Say goodbye (RFC 8323 §5.5), close every connection, stop listening."""
        self._tokenmanager = None
        self.server.close()
        for connection in tuple(self._pool):
            await connection.release()
            connection.shut()


class Dialer(TCPClient):
    """Outgoing TCP connections, reused for as long as they last."""

    def __init__(self, tokens: TokenManager, guard: Guard, log: logging.Logger) -> None:
        super().__init__()
        self._tokenmanager = tokens
        self._guard = guard
        self.log = log
        self.loop = guard.loop
        self._dialing: dict[tuple[str, int], asyncio.Task[Connection]] = {}

    async def _spawn_protocol(self, message: Message) -> Connection:
        """The connection to a message's peer; whoever asks while it is being opened waits for the same one."""
        if message.unresolved_remote is None:
            host, port = message.opt.uri_host, message.opt.uri_port
        else:
            host, port = hostportsplit(message.unresolved_remote)
        key = (host, port or DEFAULT_PORT)
        open_already: Connection | None = self._pool.get(key)
        if open_already is not None:
            return open_already
        task = self._dialing.get(key)
        if task is None:
            task = self._dialing[key] = self.loop.create_task(self._dial(key), name=f"dial {host}")
            task.add_done_callback(partial(self._dialed, key))
        return await asyncio.shield(task)

    def _dialed(self, key: tuple[str, int], task: asyncio.Task[Connection]) -> None:
        self._dialing.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen by whoever waited; nobody may be left

    async def _dial(self, key: tuple[str, int]) -> Connection:
        limits = self._guard.limits
        if len(self._pool) >= limits.connections_out:
            min(self._pool.values(), key=lambda other: other.last_message_s).shut()
        connection = Connection(self, self._guard, is_server=False)
        try:
            async with asyncio.timeout(limits.connect_ms / 1000):
                await self.loop.create_connection(lambda: connection, *key)
                await connection.settled
        except TimeoutError as fault:
            connection.shut()
            raise error.NetworkError(f"no TCP connection within {limits.connect_ms} ms") from fault
        except socket.gaierror as fault:
            raise error.ResolutionError(f"{key[0]} has no address") from fault
        except (OSError, asyncio.CancelledError) as fault:
            connection.shut()
            if isinstance(fault, asyncio.CancelledError) and not connection.settled.cancelled():
                raise
            raise error.NetworkError(f"TCP connection failed: {fault}") from fault
        self._pool[key] = connection
        return connection

    def _dispatch_incoming(self, connection: Connection, msg: Message) -> None:
        _dispatch(self, self._guard, connection, msg)

    async def shutdown(self) -> None:
        """Close every connection and stop dialing."""
        self._tokenmanager = None
        for task in tuple(self._dialing.values()):
            task.cancel()
        for connection in tuple(self._pool.values()):
            await connection.release()
            connection.shut()


async def attach(context: Context, guard: Guard, udp: socket.socket, tcp: socket.socket) -> None:
    """Give a context its transports over two bound sockets, which from then on are theirs to close."""
    tokens = TokenManager(context)
    exchanges = Exchanges(tokens, guard)
    exchanges.message_interface = await Udp._create_transport_endpoint(udp, exchanges, context.log, guard.loop)
    tokens.token_interface = exchanges
    context.request_interfaces.append(tokens)

    tokens = TokenManager(context)
    listener = Listener(tokens, guard, context.log)
    await listener.listen(tcp)
    tokens.token_interface = listener
    context.request_interfaces.append(tokens)

    tokens = TokenManager(context)
    tokens.token_interface = Dialer(tokens, guard, context.log)
    context.request_interfaces.append(tokens)
