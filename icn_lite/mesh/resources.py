"""What each row of the table does: read the body as its signed document, hand it up, give the answer.

A body that reaches here is within its bound. It is unsealed (form, kind, signature, author) before anybody above
sees it, so that a handler never meets a document that its author didn't sign.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, TypeVar

from aiocoap.numbers.codes import Code

from icn_lite.mesh import limits, table
from icn_lite.mesh.directory import Directory
from icn_lite.mesh.door import Door
from icn_lite.mesh.far import Far
from icn_lite.mesh.ports import MeshHandlers, Remote
from icn_lite.mesh.refusals import Refusal
from icn_lite.mesh.streams import Where
from icn_lite.mesh.table import Action, Row
from icn_lite.model.bid import Bid
from icn_lite.model.cid import Cid
from icn_lite.model.document import Document, Sealed, unseal
from icn_lite.model.errors import DocumentError, SignatureError
from icn_lite.model.membership import MemberRole
from icn_lite.model.messages import (
    AssignJobV1,
    CapabilityAdvertisementV1,
    JobAnnouncementV1,
    JobStatusUpdateV1,
    LeaseReturnV1,
)
from icn_lite.model.parcel import read_envelope
from icn_lite.model.receipt import read_receipt

MAX_START_DIGITS: Final = 6
ETAG_BYTES: Final = 8  # RFC 7252 §5.10.6: at most 8; the beginning of the digest
D = TypeVar("D", bound=Document)
_OF_THE_CARRIER: Final = frozenset((Action.HEAR, Action.RUMOURS, Action.RUMOUR, Action.PARCEL))
_OF_THE_DOOR: Final = frozenset(
    (Action.HANDSHAKE, Action.CHANNEL, Action.JOIN, Action.PROLONG, Action.REVOKE, Action.REVOCATIONS)
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, before it is cut into blocks. `etag` is set for what never changes under its name.

    `whole` is what goes out in one message, whatever its size: the handshake's fit one datagram.
    """

    code: Code
    payload: bytes = b""
    content_format: int | None = None
    etag: bytes | None = None
    location: tuple[str, ...] = ()
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A request whose form was checked: its row, the CID in its path, its body and where it came from."""

    row: Row
    cid: Cid | None
    query: tuple[str, ...]
    body: bytes
    remote: Remote


_OF_THE_DIRECTORY: Final = frozenset(
    (Action.REGISTER, Action.RENEW, Action.UNREGISTER, Action.ENDPOINTS, Action.REGISTERED)
)


class Resources:
    """The actions of the table over the node's handlers."""

    def __init__(self, handlers: MeshHandlers, door: Door | None = None) -> None:
        self._handlers = handlers
        self._door = door
        self.directory = Directory()

    async def perform(self, asked: Asked) -> Answer:
        """Do what was asked; raises `IcnLiteError` or `Refusal`."""
        if asked.row.action in _OF_THE_DOOR:
            return await self._at_the_door(asked)
        if asked.row.action in _OF_THE_DIRECTORY:
            return self._in_directory(asked, asyncio.get_running_loop().time())
        if asked.row.action in _OF_THE_CARRIER:
            return await self._carry(asked)
        if asked.row.action is Action.SYNC:
            return Answer(Code.CHANGED, await self._handlers.on_sync(asked.body, asked.remote), asked.row.gives)
        if asked.row.method == "POST":
            try:
                payload = await self._post(asked.row.action, asked.body, asked.remote)
            except (DocumentError, SignatureError) as error:
                error.code = error.code or asked.row.fault
                raise
            return Answer(Code.CHANGED, payload, asked.row.gives)
        return await self._get(asked)

    async def _get(self, asked: Asked) -> Answer:
        action, cid = asked.row.action, asked.cid
        if action is Action.CORE:
            return Answer(Code.CONTENT, table.links(asked.query), table.LINK_FORMAT)
        if action is Action.PING:
            return Answer(Code.CONTENT)
        if action is Action.OWN_CAPABILITY:
            return Answer(Code.CONTENT, await self._handlers.own_capability(), table.COSE_SIGN1)
        if action is Action.DEVICE:
            return Answer(Code.CONTENT, self._there(await self._handlers.device(), "device state"), table.SENML_CBOR)
        if cid is None:
            raise Refusal("not_found", "expected a CID at the end of the path")
        if action is Action.JOB_STATUS:
            status = self._there(await self._handlers.job_status(cid), f"job {cid}")
            if len(status) > limits.DOORBELL_BYTES:
                raise DocumentError(f"status of {len(status)} bytes exceeds the {limits.DOORBELL_BYTES} of one block")
            return Answer(Code.CONTENT, status, table.CBOR)
        if action is Action.LOG:
            piece = await self._handlers.log(cid, Where.parse(asked.query), asked.remote)
            if piece is None:
                raise Refusal("not_found", f"no log of lease {cid} here")
            return Answer(Code.CONTENT, piece.encode(), table.CBOR)
        etag = cid.digest[:ETAG_BYTES]
        if action is Action.BLOCK:
            block = await self._handlers.block(cid)
            far = Far.parse(asked.query) if block is None else None
            if far is not None and self._handlers.carrier is not None:
                block = await self._handlers.carrier.block_of(cid, far, asked.remote)
            return Answer(Code.CONTENT, self._there(block, f"block {cid}"), table.OCTETS, etag)
        return Answer(
            Code.CONTENT, self._there(await self._handlers.receipt(cid), f"receipt {cid}"), table.COSE_SIGN1, etag
        )

    async def _post(self, action: Action, body: bytes, remote: Remote) -> bytes:
        """Unseal the body as its row's kind and hand it up; returns the body of the answer."""
        handlers = self._handlers
        match action:
            case Action.CAPABILITY:
                advert = _by(remote, unseal(CapabilityAdvertisementV1, body, max_bytes=limits.CAPABILITY_BYTES))
                return await handlers.on_capability(advert, remote)
            case Action.GIVE_RECEIPT:
                return await handlers.on_receipt(_by(remote, read_receipt(body)), remote)
            case Action.ANNOUNCEMENT:
                job = _by(remote, unseal(JobAnnouncementV1, body, max_bytes=limits.ANNOUNCEMENT_BYTES))
                await handlers.on_announcement(job, remote)
            case Action.BID:
                await handlers.on_bid(_by(remote, unseal(Bid, body, max_bytes=limits.BID_BYTES)), remote)
            case Action.LEASE:
                await handlers.on_lease(_by(remote, unseal(AssignJobV1, body, max_bytes=limits.LEASE_BYTES)), remote)
            case Action.LEASE_RETURN:
                returned = _by(remote, unseal(LeaseReturnV1, body, max_bytes=limits.LEASE_BYTES))
                await handlers.on_lease_return(returned, remote)
            case Action.STATUS:
                update = _by(remote, unseal(JobStatusUpdateV1, body, max_bytes=limits.STATUS_BYTES))
                await handlers.on_status(update, remote)
            case _:
                raise Refusal("no_such_method")
        return b""

    async def _at_the_door(self, asked: Asked) -> Answer:
        """The handshake, joining, and who was revoked: what belongs to the channel itself."""
        if self._door is None or asked.row.action is Action.CHANNEL:
            raise Refusal("not_found", "this is not asked here" if self._door else "this node asks for no session")
        speaker, admission = asked.remote.speaker, self._door.admission
        match asked.row.action:
            case Action.HANDSHAKE:
                now_s = asyncio.get_running_loop().time()
                answer = self._door.handshake(asked.body, asked.remote, now_s)
                return Answer(Code.CHANGED, answer, table.CBOR, whole=True)
            case Action.JOIN if speaker is not None:
                return Answer(Code.CHANGED, await admission.join(speaker), table.COSE_SIGN1)
            case Action.PROLONG if speaker is not None:
                return Answer(Code.CHANGED, await admission.renew(speaker, asked.body), table.COSE_SIGN1)
            case Action.REVOKE:
                await admission.on_revocation(asked.body)
                return Answer(Code.CHANGED)
            case _:
                return Answer(Code.CONTENT, admission.revocations(_start(asked.query)), table.CBOR)

    async def _carry(self, asked: Asked) -> Answer:
        """Parcels, which are handed on."""
        carrier = self._handlers.carrier
        if carrier is None:
            raise Refusal("not_found", "this node hands nothing on")
        match asked.row.action:
            case Action.HEAR:
                await carrier.on_rumour(read_envelope(asked.body), asked.remote)
                return Answer(Code.CHANGED)
            case Action.PARCEL:
                reply = await carrier.on_parcel(read_envelope(asked.body), asked.remote)
                return Answer(Code.CHANGED, reply, table.COSE_SIGN1)
            case Action.RUMOURS:
                return Answer(Code.CONTENT, carrier.rumours(_start(asked.query)), table.CBOR)
            case _:
                found = carrier.rumour(asked.cid) if asked.cid is not None else None
                return Answer(Code.CONTENT, self._there(found, "such rumour"), table.CBOR)

    def _in_directory(self, asked: Asked, now_s: float) -> Answer:
        """Registrations of those who can't be found otherwise (RFC 9176)."""
        directory, query, remote = self.directory, asked.query, asked.remote
        match asked.row.action, asked.cid:
            case Action.REGISTER, _:
                cid = directory.register(query, asked.body, remote, now_s)
                return Answer(Code.CREATED, location=(*table.DIRECTORY.strip("/").split("/"), str(cid)))
            case Action.RENEW, Cid() as cid:
                directory.renew(cid, query, remote, now_s)
                return Answer(Code.CHANGED)
            case Action.UNREGISTER, Cid() as cid:
                directory.remove(cid, remote, now_s)
                return Answer(Code.DELETED)
            case Action.ENDPOINTS, _:
                return Answer(Code.CONTENT, directory.endpoints(query, now_s), table.LINK_FORMAT)
            case _:
                return Answer(Code.CONTENT, directory.resources(query, now_s), table.LINK_FORMAT)

    def _there(self, found: bytes | None, what: str) -> bytes:
        if found is None:
            raise Refusal("not_found", f"no {what} here")
        return found


def _by(remote: Remote, sealed: Sealed[D]) -> Sealed[D]:
    """A document that its author hands over, or somebody who bridges for others."""
    speaker = remote.speaker
    if speaker is not None and sealed.signer != speaker.did and MemberRole.BRIDGE not in speaker.roles:
        raise Refusal("not_the_author", f"{speaker.did} hands over a document of {sealed.signer} and is no bridge")
    return sealed


def _start(query: tuple[str, ...]) -> int:
    """The number in `from=N`; 0 without it."""
    found = next((part.removeprefix("from=") for part in query if part.startswith("from=")), "0")
    if not (found.isascii() and found.isdigit() and len(found) <= MAX_START_DIGITS):
        raise Refusal("bad_query", f"expected from=NUMBER, found {found[:20]!r}")
    return int(found)
