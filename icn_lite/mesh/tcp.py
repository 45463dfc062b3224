"""CoAP over TCP (RFC 8323): the library's connections with the bounds that they lack.

With `udp.py` one of the two modules that reach into aiocoap's insides (0.4). What is added: connections have a
number in all and for each peer, an idle time, a largest message and a largest backlog of answers; requests over a
peer's rate get 5.03 without a task; bytes that raise anything at all while they are read close their connection;
a second connection to one peer is not opened while the first is being, and dialing has a deadline.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from functools import partial
from typing import Final, TypeAlias

from aiocoap import Message, error
from aiocoap.numbers.codes import CSM, EMPTY, SERVICE_UNAVAILABLE
from aiocoap.tokenmanager import TokenManager
from aiocoap.transports.rfc8323common import CloseConnection
from aiocoap.transports.tcp import (
    TCPClient,
    TcpConnection,
    TCPServer,
    _decode_message,
    _encode_length,
    _extract_message_size,
)
from aiocoap.util import hostportsplit

from icn_lite.mesh.gate import peer_key
from icn_lite.mesh.guard import Guard, remote_of
from icn_lite.mesh.limits import DEFAULT_PORT
from icn_lite.mesh.refusals import OVERLOAD_RETRY_S

TCP_SLACK_BYTES: Final = 1024  # options and framing beside the payload of one message
LISTEN_BACKLOG: Final = 64

_LENGTH_BYTES: Final = 5  # of a message's first bytes, which tell how long it is
_TOKEN_BYTES: Final = 8
_SMALL_BYTES: Final = 2_048  # of which copies cost less than to avoid them
_PAYLOAD_MARKER: Final = 0xFF
_MARKER: Final = bytes((_PAYLOAD_MARKER,))
_EXTENDED_BYTES: Final = (*(0,) * 13, 1, 2, 0)  # behind a field of this value (15 is refused where it is decoded)
_EXTENDED_FROM: Final = (0, 13, 269)

Pool: TypeAlias = "Listener | Dialer"


class Connection(TcpConnection):
    """One TCP connection, incoming or outgoing."""

    def __init__(self, pool: Pool, guard: Guard, *, is_server: bool) -> None:
        super().__init__(pool, pool.log, guard.loop, is_server=is_server)
        self._guard = guard
        limits = guard.limits
        self._my_max_message_size = TCP_SLACK_BYTES + (
            limits.tcp_message_bytes if is_server else limits.tcp_answer_bytes
        )
        self._last_message_s = guard.loop.time()
        self._unsent_bytes = 0
        self._pieces: list[bytes] = []  # of messages that are not whole yet
        self._held_bytes = 0
        self._awaited_bytes = 1  # so many have to be here before it is worth looking
        self._idle: asyncio.TimerHandle | None = None
        self.settled: asyncio.Future[bool] = guard.loop.create_future()  # the peer's settings (CSM) came, or will not

    @property
    def last_message_s(self) -> float:
        return self._last_message_s

    @property
    def is_open(self) -> bool:
        """Whether a message can still go out on it."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def peer(self) -> str:
        """The name under which this connection's peer is counted."""
        remote = remote_of(self)
        return peer_key(remote.host, remote.port)

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
            self.settled.set_result(False)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes in, whatever is in them."""
        if not self.is_open:
            return
        self._pieces.append(data)
        self._held_bytes += len(data)
        try:
            if self._held_bytes >= self._awaited_bytes:
                self._cut()
        except Exception as fault:  # noqa: BLE001 - see Exchanges.dispatch_message
            self._guard.refused("malformed_message")
            self.log.warning("closed a connection from %s: %s", self._remote_hostinfo, fault)
            self._transport.abort()

    def _cut(self) -> None:
        """Take whole messages out of what is here. The library copies all of it once for each piece and message."""
        held = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        at = 0
        while (sizes := _extract_message_size(held[at : at + _LENGTH_BYTES])) is not None:
            end = at + sum(sizes)
            if end - at > self._my_max_message_size:
                self.abort("Overly large message announced")
                return
            if end > len(held):
                break
            message = _message(held, at, end)
            at = end
            if not self._took(message) or not self.is_open:
                return
        self._pieces = [held[at:]] if at < len(held) else []
        self._held_bytes = len(held) - at
        self._awaited_bytes = self._held_bytes + 1 if sizes is None else sum(sizes)

    def _took(self, message: Message) -> bool:
        """Act on one message; False when the connection ends with it."""
        message.remote = self
        if message.code.is_signalling():
            try:
                self._process_signaling(message)
            except CloseConnection as reason:
                self._ctx._dispatch_error(self, reason.args[0])
                self._transport.close()
                return False
        elif self._remote_settings is None:
            self.abort("No CSM received")
            return False
        else:
            self._ctx._dispatch_incoming(self, message)
        return True

    def _process_signaling(self, msg: Message) -> None:
        super()._process_signaling(msg)
        if msg.code == CSM and not self.settled.done():
            self.settled.set_result(True)

    def _send_message(self, msg: Message) -> None:
        if not self.is_open:
            if msg.code.is_request():
                raise error.NetworkError("the TCP connection is closed")  # the library would let its asker wait
            return
        if self._transport.get_write_buffer_size() > self._guard.limits.tcp_backlog_bytes:
            self._guard.refused("slow_reader")
            self._transport.abort()
            return
        self._transport.write(_serialized(msg))

    def touch(self) -> None:
        """A whole message came, or the peer took some of what was sent; sending alone shows no life."""
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
            if self._local_is_server:
                self._guard.refused("idle_connection")
            self._transport.abort()
            return
        self._idle = self.loop.call_later(self._last_message_s + idle_s - now_s, self._watch)

    def shut(self) -> None:
        """Close without waiting for the peer."""
        if self._transport is not None:
            self._transport.abort()


def _message(held: bytes, begin: int, end: int) -> Message:
    """The message that stands there. Of a large one the library would copy the payload once for each option."""
    if end - begin <= _SMALL_BYTES:
        return _decode_message(held[begin:end])
    token_at, token_bytes, _ = _extract_message_size(held[begin : begin + _LENGTH_BYTES])
    options_at = begin + token_at + token_bytes
    payload_at = _options_end(held, options_at, end)
    message = _decode_message(held[begin:payload_at])  # the length in it isn't looked at again
    message.payload = held[payload_at + 1 : end]
    return message


def _options_end(held: bytes, at: int, end: int) -> int:
    """Where the options end (RFC 7252 §3.1): at the payload's marker, or where they stop making sense."""
    while at < end and held[at] != _PAYLOAD_MARKER:
        fields = held[at] >> 4, held[at] & 0x0F
        at += 1 + _EXTENDED_BYTES[fields[0]]
        width = _EXTENDED_BYTES[fields[1]]
        extended = int.from_bytes(held[at : at + width], "big") + _EXTENDED_FROM[width]
        at += width + (extended if width else fields[1])
    return min(at, end)


def _serialized(msg: Message) -> bytes:
    """A message's bytes (RFC 8323 §3.2), its payload copied once."""
    options = msg.opt.encode()
    behind = len(options) + (1 + len(msg.payload) if msg.payload else 0)
    length, extended = _encode_length(behind)
    if len(msg.token) > _TOKEN_BYTES:
        raise ValueError("Overly long token")
    head = bytes((length << 4 | len(msg.token),)), extended, bytes((msg.code,)), msg.token, options
    return b"".join((*head, _MARKER, msg.payload) if msg.payload else head)


def _dispatch(pool: Pool, guard: Guard, connection: Connection, msg: Message) -> None:
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
        of_peer = sum(other.peer == connection.peer for other in self._pool)
        if len(self._pool) >= limits.connections or of_peer >= limits.connections_per_peer:
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
                if not await connection.settled:
                    raise error.NetworkError("the TCP connection was closed at once")
        except asyncio.CancelledError:
            connection.shut()
            raise
        except TimeoutError as fault:
            connection.shut()
            raise error.NetworkError(f"no TCP connection within {limits.connect_ms} ms") from fault
        except socket.gaierror as fault:
            raise error.ResolutionError(f"{key[0]} has no address") from fault
        except OSError as fault:
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
