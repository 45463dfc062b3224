"""What a node asks of its peers: documents out, signed answers and verified blocks in.

A peer is named by a URI (`coap://host:port`). Bodies of one block go over UDP, larger ones over TCP on the same
port, or block-wise over UDP where a peer has no TCP. Every call has a deadline and fails as a `PeerError` (not
reached) or a `PeerRefused` (reached, and said no, with its J-code).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from icn_lite.mesh import limits, table
from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.endpoint import Endpoint
from icn_lite.mesh.far import Far
from icn_lite.mesh.pull import Wanted
from icn_lite.mesh.requests import Call, Requester, Response
from icn_lite.mesh.streams import MAX_PIECE_BYTES, MAX_WAIT_MS, Piece, Where
from icn_lite.mesh.transfer import Fetcher
from icn_lite.mesh.watch import watch
from icn_lite.model import cbor, document
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed, unseal
from icn_lite.model.errors import DocumentError, PeerError, PeerRefused, SignatureError
from icn_lite.model.invitation import Invitation
from icn_lite.model.messages import CapabilityAdvertisementV1, ReceiptAckV1
from icn_lite.model.parcel import MAX_ENVELOPE_BYTES, MAX_REPLY_BYTES, Envelope, read_envelope
from icn_lite.model.sync import FRAME_BYTES

DEADLINE_MS: Final = 10_000  # two retransmissions (RFC 7252 §4.2: 2–3 s, then twice that)
FETCH_DEADLINE_MS: Final = 60_000
LOG_DEADLINE_MS: Final = MAX_WAIT_MS + DEADLINE_MS
MAX_NAMES: Final = 64  # rumours named in one page
ACK_BYTES: Final = 1024  # a signed acknowledgement names four things
# Addresses to ask, in this order, and where it is known who has to answer there: who answers in another's place is as
# good as silent, and can't say that a block isn't there.
Providers: TypeAlias = Sequence[str] | Mapping[str, Did | None]


class Client:
    """The client side of an open endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._requester = Requester(endpoint.context, endpoint.limits, endpoint.channels)
        self._fetcher = Fetcher(self._requester)
        self._loop = asyncio.get_running_loop()

    async def post(
        self, uri: str, path: str, block: bytes, *, deadline_ms: int = DEADLINE_MS, to: Did | None = None
    ) -> Response:
        """Send a signed document to a resource of the table; to `to` alone where it is named."""
        call = Call("POST", path, block, table.COSE_SIGN1, limits.CAPABILITY_BYTES, to)
        return await self._call(PeerAddress.parse(uri), call, deadline_ms)

    async def get(self, uri: str, path: str, *, deadline_ms: int = DEADLINE_MS, to: Did | None = None) -> Response:
        """Read a small resource: a capability, a receipt, a job's status; of `to` alone where it is named."""
        return await self._call(PeerAddress.parse(uri), Call("GET", path, to=to), deadline_ms)

    async def ping_ms(self, uri: str, *, deadline_ms: int = DEADLINE_MS) -> int:
        """The round-trip time to a peer, in whole milliseconds."""
        begun_s = self._loop.time()
        await self.get(uri, table.PING, deadline_ms=deadline_ms)
        return round((self._loop.time() - begun_s) * 1000)

    async def advertise(self, uri: str, *, deadline_ms: int = DEADLINE_MS) -> Sealed[CapabilityAdvertisementV1]:
        """Tell a peer what we offer and hear what it does."""
        own = await self._endpoint.handlers.own_capability()
        response = await self.post(uri, table.CAPABILITY, own, deadline_ms=deadline_ms)
        with _answered(uri, "an advertisement"):
            advert = unseal(CapabilityAdvertisementV1, response.payload, max_bytes=limits.CAPABILITY_BYTES)
        speaker = self.who_answers(uri)
        if speaker not in (None, advert.signer):
            raise PeerError(f"{uri} is {speaker} and answered with the advertisement of {advert.signer}")
        return advert

    async def join(self, uri: str, invitation: Invitation, *, deadline_ms: int = DEADLINE_MS) -> bytes:
        """Join the cooperative that an invitation names at one of its addresses; returns the certificate."""
        requester, peer, until_s = self._requester, PeerAddress.parse(uri), self._until_s(deadline_ms)
        if requester.channels is None:
            raise PeerError("an open node joins nothing", hint="start it without --open")
        request = requester.message(peer, "udp", Call("POST", table.JOIN))
        await requester.resolve(peer, request, until_s)
        link = await requester.channels.shake(peer, requester.asks(peer, request.remote), invitation)
        asked = requester.channels.seal_in(peer, link, request)
        answer = asked.open(await requester.exchange_plain(peer, asked.outer, until_s))
        return bytes(requester.checked(peer, answer).payload)

    def who_answers(self, uri: str) -> Did | None:
        """Whose session there is with an address."""
        channels = self._requester.channels
        return channels.peer(PeerAddress.parse(uri)) if channels is not None else None

    async def post_receipt(
        self, uri: str, block: bytes, *, deadline_ms: int = DEADLINE_MS, to: Did | None = None
    ) -> Sealed[ReceiptAckV1]:
        """Deliver a signed receipt; returns the acknowledgement, which must name this very receipt."""
        response = await self.post(uri, table.RECEIPTS, block, deadline_ms=deadline_ms, to=to)
        with _answered(uri, "an acknowledgement"):
            ack = unseal(ReceiptAckV1, response.payload, max_bytes=ACK_BYTES)
        sent = Cid.of_dag_cbor(block)
        if ack.document.receipt != sent:
            raise PeerError(f"{uri} acknowledged receipt {ack.document.receipt}, sent was {sent}")
        return ack

    async def sync(self, uri: str, frame: bytes, *, udp: bool = False, to: Did | None = None) -> bytes:
        """One ask of a session of syncing (`model/sync.py`); returns the answer's frame."""
        call = Call("POST", table.SYNC, frame, table.OCTETS, FRAME_BYTES, to)
        peer, until_s = PeerAddress.parse(uri), self._until_s(DEADLINE_MS)
        return (await self._requester.call(peer, "udp" if udp else "tcp", call, until_s)).payload

    async def fetch_block(
        self, at: Providers, cid: Cid, max_bytes: int, *, deadline_ms: int = FETCH_DEADLINE_MS
    ) -> bytes:
        """The bytes of a block or a blob, verified against its CID, from whichever of the providers have them."""
        bound = min(max_bytes, self._endpoint.limits.max_block_bytes)
        wanted = Wanted(cid, bound, self._until_s(deadline_ms), whose=_whose(at))
        return await self._fetcher.fetch(_addresses(at), wanted)

    async def fetch_far(self, at: Providers, cid: Cid, far: Far, max_bytes: int, *, part: bool = False) -> bytes:
        """A block or blob that `far.of` has, through neighbours; with `part` one block, whatever it is a part of."""
        bound = min(max_bytes, self._endpoint.limits.max_block_bytes)
        wanted = Wanted(cid, bound, self._until_s(FETCH_DEADLINE_MS), query=far.query, whose=_whose(at))
        return await (self._fetcher.fetch_part if part else self._fetcher.fetch)(_addresses(at), wanted)

    async def hand_on(
        self, uri: str, path: str, envelope: Envelope, *, deadline_ms: int = DEADLINE_MS, to: Did | None = None
    ) -> bytes:
        """Give a parcel to a neighbour; returns the reply to it, empty for a rumour."""
        call = Call("POST", path, document.encode(envelope), table.CBOR, MAX_REPLY_BYTES, to)
        return (await self._call(PeerAddress.parse(uri), call, deadline_ms)).payload

    async def rumours(self, uri: str, start: int, to: Did | None = None) -> tuple[list[Cid], int]:
        """The names of rumours that a neighbour heard from its number `start` on, and the number to go on from."""
        response = await self.get(uri, f"{table.RUMOURS}?from={start}", to=to)
        with _answered(uri, "a page of rumours"):
            value = cbor.decode(response.payload)
        ids, after = (value.get("ids"), value.get("next")) if isinstance(value, dict) else (None, None)
        if not isinstance(ids, list) or not isinstance(after, int) or len(ids) > MAX_NAMES:
            raise PeerError(f"{uri} answered with no page of rumours")
        return [cid for cid in ids if isinstance(cid, Cid)], after

    async def rumour(self, uri: str, cid: Cid, to: Did | None = None) -> Envelope:
        """One of them."""
        call = Call("GET", table.RUMOUR.replace("{cid}", str(cid)), max_answer=MAX_ENVELOPE_BYTES, to=to)
        response = await self._requester.call(PeerAddress.parse(uri), "tcp", call, self._until_s(DEADLINE_MS))
        with _answered(uri, "a rumour"):
            return read_envelope(response.payload)

    def observe_status(self, uri: str, job: Cid, to: Did | None = None) -> AsyncIterator[bytes]:
        """Ring by ring, the status of a job at its originator (DAG-CBOR); ends with `PeerError` when it is lost.

        Rings are hints: several changes may give one. Close the iterator (`aclose`) to stop.
        """
        return watch(self._requester, PeerAddress.parse(uri), job, to)

    async def read_log(
        self, uri: str, lease: Cid, where: Where, *, deadline_ms: int = LOG_DEADLINE_MS, to: Did | None = None
    ) -> Piece:
        """What a shard's guest has said from an offset on; waits for more as long as `where` says."""
        path = f"{table.LOG.replace('{cid}', str(lease))}?{where.query}"
        call = Call("GET", path, max_answer=MAX_PIECE_BYTES, to=to)
        peer, until_s = PeerAddress.parse(uri), self._until_s(deadline_ms)
        try:
            response = await self._requester.call(peer, "tcp", call, until_s)
        except PeerRefused:
            raise
        except PeerError:
            if self._loop.time() >= until_s:
                raise
            response = await self._requester.call(peer, "udp", call, until_s)
        with _answered(uri, "a piece of a log"):
            piece = Piece.decode(response.payload)
        if piece.start != where.start:
            raise PeerError(f"{uri} answered with byte {piece.start} of a log where {where.start} was asked for")
        return piece

    async def _call(self, peer: PeerAddress, call: Call, deadline_ms: int) -> Response:
        until_s = self._until_s(deadline_ms)
        if len(call.body) <= limits.UDP_BLOCK_BYTES:
            return await self._requester.call(peer, "udp", call, until_s)
        try:
            return await self._requester.call(peer, "tcp", call, until_s)
        except PeerRefused:
            raise
        except PeerError:
            if self._loop.time() >= until_s or len(call.body) > self._endpoint.limits.udp_fetch_bytes:
                raise
            return await self._requester.call(peer, "udp", call, until_s)

    def _until_s(self, deadline_ms: int) -> float:
        return self._loop.time() + deadline_ms / 1000


def _addresses(at: Providers) -> list[PeerAddress]:
    return [PeerAddress.parse(uri) for uri in dict.fromkeys(at)]


def _whose(at: Providers) -> dict[PeerAddress, Did]:
    return {PeerAddress.parse(uri): did for uri, did in at.items() if did} if isinstance(at, Mapping) else {}


@contextlib.contextmanager
def _answered(uri: str, what: str) -> Iterator[None]:
    """A signed answer that can't be read, or isn't what was asked for, is the peer's fault."""
    try:
        yield
    except (DocumentError, SignatureError) as error:
        raise PeerError(f"{uri} answered with no such thing as {what}: {error.message}") from error
