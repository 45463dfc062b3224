"""CoAP over UDP: the library's message layer and datagrams with the bounds that they lack.

With `tcp.py` one of the two modules that reach into aiocoap's insides (0.4). What is added, and why (measured; see
this room's README):

- requests over a peer's rate are turned away before anything is kept of them (5.03, without a task or an entry);
- the memory of duplicates is bounded (the library keeps 2.6 kB a request for 247 s);
- a request that its asker gave up is neither retransmitted nor left in the queue (the library goes on for 76 s and
  holds up everything else to that peer);
- a stranger (`echo.py`) is sent one datagram for one of its own, never an acknowledgement and then an answer that is
  repeated until it is acknowledged;
- bytes that raise anything at all while they are read are counted and dropped.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import Final

from aiocoap import Message
from aiocoap.interfaces import EndpointAddress
from aiocoap.messagemanager import MessageManager
from aiocoap.numbers.codes import SERVICE_UNAVAILABLE
from aiocoap.numbers.types import ACK, CON, NON
from aiocoap.tokenmanager import TokenManager
from aiocoap.transports.udp6 import MessageInterfaceUDP6, UDP6EndpointAddress
from aiocoap.util import hostportsplit

from icn_lite.mesh.addresses import zone_index
from icn_lite.mesh.echo import weight
from icn_lite.mesh.guard import Guard, sent_to_all
from icn_lite.mesh.limits import DEFAULT_PORT
from icn_lite.mesh.refusals import OVERLOAD_RETRY_S

EXCHANGE_LIFETIME_S: Final = 247.0  # RFC 7252 §4.8.2: how long a duplicate may still arrive


class Exchanges(MessageManager):
    """The message layer over UDP (RFC 7252 §4)."""

    def __init__(self, tokens: TokenManager, guard: Guard) -> None:
        super().__init__(tokens)
        self.guard = guard
        self._recent_messages: OrderedDict[tuple[EndpointAddress, int], Message | None] = OrderedDict()
        self._recent_until: deque[tuple[float, tuple[EndpointAddress, int]]] = deque()

    def dispatch_message(self, message: Message) -> None:
        """A datagram that could be read came in."""
        if message.mtype is not NON and sent_to_all(message.remote):
            return  # RFC 7252 §8.1: such a one is no request, and nothing that is answered
        if message.code.is_request() and not self.guard.admit(message.remote):
            self._turn_away(message)
            return
        try:
            super().dispatch_message(message)
        except Exception as fault:  # noqa: BLE001 - whatever a stranger's message raises, the endpoint goes on
            self.guard.refused("malformed_message")
            self.log.warning("dropped a message from %r: %s: %s", message.remote, type(fault).__name__, fault)

    async def shutdown(self) -> None:
        """Close; acknowledgements that were due are not sent any more."""
        for _, due in self._piggyback_opportunities.values():
            due.cancel()
        await super().shutdown()

    def _turn_away(self, message: Message) -> None:
        """Answer 5.03 with what the message itself holds; nothing is kept. Non-confirmable ones get no answer."""
        if message.mtype is not CON or message.remote.is_multicast_locally:
            return
        busy = Message(code=SERVICE_UNAVAILABLE, _mtype=ACK, _mid=message.mid, _token=message.token)
        busy.opt.max_age = OVERLOAD_RETRY_S
        if weight(busy) > weight(message):
            busy.opt.max_age = None
        busy.remote = message.remote.as_response_address()
        self._send_via_transport(busy)

    def _process_request(self, request: Message) -> None:
        super()._process_request(request)
        key = (request.remote, request.token)
        waiting = self._piggyback_opportunities.get(key)
        if waiting is None or request.mtype is not CON or self.guard.believes(request.remote):
            return
        mid, soon = waiting
        soon.cancel()
        late_s = self.guard.limits.handler_ms / 1000
        late = self.loop.call_later(late_s, lambda: self._piggyback_opportunities.pop(key, None))
        self._piggyback_opportunities[key] = (mid, late)

    def _deduplicate_message(self, message: Message) -> bool:
        """Whether the message was seen before; answers it again if so (RFC 7252 §4.5)."""
        now_s = self.loop.time()
        while self._recent_until and (
            self._recent_until[0][0] <= now_s or len(self._recent_until) > self.guard.limits.recent_messages
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

    def _continue_backlog(self, remote: EndpointAddress) -> None:
        try:
            super()._continue_backlog(remote)
        except KeyError:  # sending the next failed at once, and with it the whole queue was given up
            if remote in self._backlogs:
                raise

    def dispatch_error(self, fault: Exception, remote: EndpointAddress) -> None:
        """The network said that a peer can't be reached: nothing queued for it is sent any more."""
        if self._active_exchanges is not None and remote in self._backlogs:
            self._backlogs[remote].clear()
        super().dispatch_error(fault, remote)


class Udp(MessageInterfaceUDP6):
    """Datagrams."""

    def __init__(self, exchanges: Exchanges, log: logging.Logger, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(exchanges, log, loop)
        self._guard = exchanges.guard

    def datagram_msg_received(self, data: bytes, ancdata: object, flags: int, address: object) -> None:
        """Read one datagram, whatever is in it."""
        try:
            super().datagram_msg_received(data, ancdata, flags, address)
        except Exception as fault:  # noqa: BLE001 - see Exchanges.dispatch_message
            self.log.warning("dropped a datagram from %s: %s: %s", address, type(fault).__name__, fault)
            self._guard.refused("malformed_message")

    async def determine_remote(self, request: Message) -> UDP6EndpointAddress | None:
        """The address of a URI; a literal one without asking a resolver (which takes a thread)."""
        if request.requested_scheme in ("coap", None) and request.unresolved_remote is not None:
            host, port = hostportsplit(request.unresolved_remote)
            literal = _literal(host)
            if literal is not None:
                return UDP6EndpointAddress((literal[0], port or DEFAULT_PORT, 0, literal[1]), self)
        return await super().determine_remote(request)


def _literal(host: str) -> tuple[str, int] | None:
    """The IPv6 form of a literal address and the index of its zone; None for names. OSError: a zone that isn't here."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return f"::ffff:{address}", 0
    zone = address.scope_id
    return str(address).partition("%")[0], zone_index(zone) if zone is not None else 0
