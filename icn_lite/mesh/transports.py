"""The transports of an endpoint, chosen and put together here, never by the library's guess."""

from __future__ import annotations

import socket

from aiocoap.protocol import Context
from aiocoap.tokenmanager import TokenManager

from icn_lite.mesh.guard import Guard
from icn_lite.mesh.tcp import Dialer, Listener
from icn_lite.mesh.udp import Exchanges, Udp


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
