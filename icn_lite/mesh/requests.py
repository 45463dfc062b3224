"""One request to one peer: its blocks out, the blocks of its answer in, each bounded, all before one deadline.

The library's own block-wise client assembles whatever a server sends; this one stops at `max_answer`. It keeps
below the rate at which message ids would wrap, and every wait ends at the caller's deadline: a non-confirmable
request, or a peer that dies after its empty acknowledgement, would wait for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from aiocoap import Message, error
from aiocoap.interfaces import EndpointAddress
from aiocoap.numbers.codes import Code
from aiocoap.protocol import Context

from icn_lite.mesh import problem, table
from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.channels import Ask, Asked, Channels, SessionLostError
from icn_lite.mesh.gate import Gate
from icn_lite.mesh.limits import BERT_EXPONENT, BERT_UNIT_BYTES, UDP_BLOCK_BYTES, UDP_BLOCK_EXPONENT, MeshLimits
from icn_lite.mesh.tcp import Connection
from icn_lite.model.did import Did
from icn_lite.model.errors import JobErrorCode, PeerError, PeerRefused

Transport: TypeAlias = Literal["udp", "tcp"]

_SCHEMES: Final = {"udp": "coap", "tcp": "coap+tcp"}
_J_CODES: Final = {code.value: code for code in JobErrorCode}
_CHANNEL_PATH: Final = tuple(table.CHANNEL.strip("/").split("/"))
_TAG_BYTES: Final = 4  # Request-Tag (RFC 9175 §3): keeps two bodies to one resource apart


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked: `method` `path` with a body, how large the answer may be, and whose it has to be.

    Any member may come to answer at an address; `to` is told it, or nobody is. Without `to` whoever answers is.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    body: bytes = b""
    body_format: int | None = None
    max_answer: int = UDP_BLOCK_BYTES * 8
    to: Did | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What was answered: its CoAP code as text (`2.04`), its body, and the body's content format."""

    code: str
    payload: bytes
    content_format: int | None


class Requester:
    """Sends requests over an endpoint's context."""

    def __init__(self, context: Context, limits: MeshLimits, channels: Channels | None = None) -> None:
        self.context = context
        self.limits = limits
        self.channels = channels
        self._loop = asyncio.get_running_loop()
        self._pace = Gate(limits, self._loop.time())
        self._slots = asyncio.Semaphore(limits.requests_out)
        self._tags = itertools.count(1)

    async def call(self, peer: PeerAddress, transport: Transport, call: Call, until_s: float) -> Response:
        """Make the request; raises `PeerError`, or `PeerRefused` for an answer that says no."""
        answer = await self.answer(peer, self.message(peer, transport, call), call, until_s)
        payload = bytearray(self.checked(peer, answer).payload)
        while answer.opt.block2 is not None and answer.opt.block2.more:
            follow = self.message(peer, transport, Call(call.method, call.path))
            follow.remote = answer.remote
            exponent = answer.opt.block2.size_exponent
            follow.opt.block2 = (len(payload) // block_bytes(exponent), False, exponent)
            answer = self.checked(peer, await self.exchange(peer, follow, until_s, call.to))
            self.check_piece(peer, answer, len(payload), call.max_answer)
            payload += answer.payload
        if len(payload) > call.max_answer:
            raise PeerError(f"{peer} answered with more than {call.max_answer} bytes to {call.method} {call.path}")
        content_format = answer.opt.content_format
        return Response(answer.code.dotted, bytes(payload), int(content_format) if content_format is not None else None)

    def message(self, peer: PeerAddress, transport: Transport, call: Call) -> Message:
        """The request without its body."""
        try:
            message = Message(code=Code[call.method], uri=f"{_SCHEMES[transport]}://{peer.netloc}{call.path}")
        except (error.Error, ValueError) as fault:
            raise PeerError(f"{peer} is no address that can be asked", hint="check the URI") from fault
        if call.body_format is not None:
            message.opt.content_format = call.body_format
        return message

    async def answer(self, peer: PeerAddress, message: Message, call: Call, until_s: float) -> Message:
        """Send a request with its body, in blocks where it needs them (RFC 7959 §2.5); returns the last answer."""
        body = call.body
        await self.resolve(peer, message, until_s)
        first, size, exponent = message, *self._piece(message)
        if len(body) > size:
            first.opt.size1 = len(body)
            first.opt.request_tag = (next(self._tags).to_bytes(_TAG_BYTES, "big"),)
        at = 0
        while True:
            piece = body[at : at + size]
            more = at + len(piece) < len(body)
            part = first if at == 0 else first.copy(mid=None, token=b"", size1=None)
            part.payload = piece
            if more or at:
                part.opt.block1 = (at // block_bytes(exponent), more, exponent)
            answer = await self.exchange(peer, part, until_s, call.to)
            at += len(piece)
            if not more or answer.code is not Code.CONTINUE:
                return answer
            first.remote = answer.remote
            taken = answer.opt.block1
            if taken is not None and taken.size_exponent < exponent:
                exponent, size = taken.size_exponent, block_bytes(taken.size_exponent)

    async def resolve(self, peer: PeerAddress, message: Message, until_s: float) -> None:
        """Find the address of a message's peer, or the connection to it.

        Done here and not by the library within a request: there a deadline would end the request but not this.
        """
        async with _before(peer, until_s):
            await self.context.find_remote_and_interface(message)
        if message.remote.is_multicast:
            raise PeerError(f"{peer} names no single machine", hint="check the name")

    def _piece(self, message: Message) -> tuple[int, int]:
        """How many bytes of a body go into one message to a peer, and the exponent of that."""
        if message.remote.scheme == "coap":
            return UDP_BLOCK_BYTES, UDP_BLOCK_EXPONENT
        if message.remote.maximum_block_size_exp < BERT_EXPONENT:
            return UDP_BLOCK_BYTES, UDP_BLOCK_EXPONENT
        return max(1, message.remote.maximum_payload_size // BERT_UNIT_BYTES) * BERT_UNIT_BYTES, BERT_EXPONENT

    async def exchange(self, peer: PeerAddress, message: Message, until_s: float, to: Did | None = None) -> Message:
        """One message and its answer, sealed where the channel is guarded; withdrawn when the deadline comes first.

        A session that the peer has lost is begun anew, once, and with the same: to say that one is lost is open to
        everybody, and what was meant for one is not for the next who answers there.
        """
        if self.channels is None:
            return await self.exchange_plain(peer, message, until_s)
        asked = await self.sealed(peer, message, until_s, to)
        try:
            return asked.open(await self.exchange_plain(peer, asked.outer, until_s))
        except SessionLostError:
            self.channels.forget(peer, asked.link)
        asked = await self.sealed(peer, message, until_s, asked.link.did)
        return asked.open(await self.exchange_plain(peer, asked.outer, until_s))

    async def sealed(self, peer: PeerAddress, message: Message, until_s: float, to: Did | None = None) -> Asked:
        """A request, whose peer's address was resolved, sealed in the session with that peer, who has to be `to`."""
        assert self.channels is not None
        link = self.channels.ready(peer)
        if link is None:
            async with _before(peer, until_s):
                link = await self.channels.link(peer, self.asks(peer, message.remote), until_s)
        if to is not None and link.did != to:
            raise PeerError(f"{peer} is {link.did}, not {to}", hint="see `icn-lite peers`")
        return self.channels.seal_in(peer, link, message)

    def asks(self, peer: PeerAddress, remote: EndpointAddress) -> Ask:
        """How a peer at this address, or on this connection, is asked for a handshake's next message."""

        async def ask(body: bytes) -> bytes:
            until_s = self._loop.time() + self.limits.handshake_ms / 1000
            request = self.message(peer, "udp", Call("POST", table.HANDSHAKE, body_format=table.CBOR))
            request.payload, request.remote = body, remote
            return bytes(self.checked(peer, await self.exchange_plain(peer, request, until_s)).payload)

        return ask

    async def exchange_plain(self, peer: PeerAddress, message: Message, until_s: float) -> Message:
        """One message and its answer as they are; the request is withdrawn when the deadline comes first."""
        begun_s = self._loop.time()
        try:
            return await self._exchanged(peer, message, until_s)
        except PeerError:
            self._suspect(message.remote, begun_s)
            raise

    async def _exchanged(self, peer: PeerAddress, message: Message, until_s: float) -> Message:
        async with _before(peer, until_s), self._slots:
            if message.remote is None or message.remote.scheme == "coap":
                pace = self._pace.peer(peer.netloc, self._loop.time())
                await asyncio.sleep(pace.reserve(self._loop.time()))
            answer = await self.context.request(message, handle_blockwise=False).response
            if answer.code is not Code.UNAUTHORIZED or answer.opt.echo is None or message.opt.uri_path == _CHANNEL_PATH:
                return answer  # in a session it says that there is none any more
            again = with_echo(message, answer.opt.echo)
            return await self.context.request(again, handle_blockwise=False).response

    def _suspect(self, remote: object, begun_s: float) -> None:
        """Close a connection on which nothing came since a request that failed, so that the next opens another."""
        if not isinstance(remote, Connection) or remote.last_message_s > begun_s:
            return
        if self._loop.time() - begun_s >= self.limits.connect_ms / 1000:
            remote.shut()

    def checked(self, peer: PeerAddress, answer: Message) -> Message:
        """The answer, if it is a success; else what its problem details say, as an error."""
        if answer.code.is_successful():
            return answer
        told = problem.decode(answer.payload) if answer.opt.content_format == problem.CONTENT_FORMAT else None
        told = told or problem.Problem(answer.code.name_printable)
        said = f"{told.title}: {told.detail}" if told.detail else told.title
        raise PeerRefused(
            f"{peer} refused ({answer.code.dotted}): {said}",
            response=answer.code.dotted,
            problem=told.kind,
            retry_after_s=answer.opt.max_age if answer.code is Code.SERVICE_UNAVAILABLE else None,
            hint=told.hint,
            code=_J_CODES.get(told.code),
        )

    def check_piece(self, peer: PeerAddress, answer: Message, have: int, limit: int) -> None:
        """A later block must begin where the `have` bytes before it end, and stay within `limit`."""
        block2 = answer.opt.block2
        if block2 is None or block2.block_number * block_bytes(block2.size_exponent) != have:
            raise PeerError(f"{peer} answered with another block than the one asked for")
        if have + len(answer.payload) > limit:
            raise PeerError(f"{peer} answered with more than {limit} bytes")
        if not answer.payload or (block2.more and len(answer.payload) % block_bytes(block2.size_exponent)):
            raise PeerError(f"{peer} answered with a block of {len(answer.payload)} bytes that more should follow")


@contextlib.asynccontextmanager
async def _before(peer: PeerAddress, until_s: float) -> AsyncIterator[None]:
    """What happens inside ends in time, and fails as a `PeerError` that names the peer."""
    try:
        async with asyncio.timeout_at(until_s):
            yield
    except TimeoutError as late:
        raise PeerError(f"no answer from {peer} in time", hint=_HINT) from late
    except error.ResolutionError as fault:
        raise PeerError(f"{peer} has no address", hint="check the name, or write its address") from fault
    except (error.Error, OSError, ValueError) as fault:  # ValueError: a host that no name can be
        cause = fault.__cause__
        why = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause or fault)
        raise PeerError(f"{peer} can't be reached: {why}", hint=_HINT) from fault


_HINT: Final = "check that the node runs there and that nothing between blocks UDP and TCP on its port"


def with_echo(message: Message, echo: bytes) -> Message:
    """The same request once more: the peer wants to know first whether we are where we say (RFC 9175 §2.3)."""
    again = message.copy(mid=None, token=b"", echo=echo)
    again.mtype = None
    return again


def block_bytes(exponent: int) -> int:
    """Bytes of one block of a size exponent (RFC 7959 §2.2; RFC 8323 §6 for 7)."""
    return BERT_UNIT_BYTES if exponent == BERT_EXPONENT else 1 << (exponent + 4)
