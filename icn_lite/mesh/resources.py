"""What each row of the table does: read the body as its signed document, hand it up, give the answer.

A body that reaches here is within its bound. It is unsealed (form, kind, signature, author) before anybody above
sees it, so that a handler never meets a document that its author didn't sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiocoap.numbers.codes import Code

from icn_lite.mesh import limits, table
from icn_lite.mesh.ports import MeshHandlers, Remote
from icn_lite.mesh.refusals import Refusal
from icn_lite.mesh.table import Action, Row
from icn_lite.model.bid import Bid
from icn_lite.model.cid import Cid
from icn_lite.model.document import unseal
from icn_lite.model.errors import DocumentError, SignatureError
from icn_lite.model.messages import (
    AssignJobV1,
    CapabilityAdvertisementV1,
    JobAnnouncementV1,
    JobStatusUpdateV1,
    LeaseReturnV1,
)
from icn_lite.model.receipt import read_receipt

ETAG_BYTES: Final = 8  # RFC 7252 §5.10.6: at most 8; the beginning of the digest


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, before it is cut into blocks. `etag` is set for what never changes under its name."""

    code: Code
    payload: bytes = b""
    content_format: int | None = None
    etag: bytes | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request whose form was checked: its row, the CID in its path, its body and where it came from."""

    row: Row
    cid: Cid | None
    query: tuple[str, ...]
    body: bytes
    remote: Remote


class Resources:
    """The actions of the table over the node's handlers."""

    def __init__(self, handlers: MeshHandlers) -> None:
        self._handlers = handlers

    async def perform(self, asked: Asked) -> Answer:
        """Do what was asked; raises `IcnLiteError` or `Refusal`."""
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
        if cid is None:
            raise Refusal("not_found", "expected a CID at the end of the path")
        if action is Action.JOB_STATUS:
            status = self._there(await self._handlers.job_status(cid), f"job {cid}")
            if len(status) > limits.DOORBELL_BYTES:
                raise DocumentError(f"status of {len(status)} bytes exceeds the {limits.DOORBELL_BYTES} of one block")
            return Answer(Code.CONTENT, status, table.CBOR)
        etag = cid.digest[:ETAG_BYTES]
        if action is Action.BLOCK:
            block = self._there(await self._handlers.block(cid), f"block {cid}")
            return Answer(Code.CONTENT, block, table.OCTETS, etag)
        return Answer(
            Code.CONTENT, self._there(await self._handlers.receipt(cid), f"receipt {cid}"), table.COSE_SIGN1, etag
        )

    async def _post(self, action: Action, body: bytes, remote: Remote) -> bytes:
        """Unseal the body as its row's kind and hand it up; returns the body of the answer."""
        handlers = self._handlers
        match action:
            case Action.CAPABILITY:
                advert = unseal(CapabilityAdvertisementV1, body, max_bytes=limits.CAPABILITY_BYTES)
                return await handlers.on_capability(advert, remote)
            case Action.GIVE_RECEIPT:
                return await handlers.on_receipt(read_receipt(body), remote)
            case Action.ANNOUNCEMENT:
                job = unseal(JobAnnouncementV1, body, max_bytes=limits.ANNOUNCEMENT_BYTES)
                await handlers.on_announcement(job, remote)
            case Action.BID:
                await handlers.on_bid(unseal(Bid, body, max_bytes=limits.BID_BYTES), remote)
            case Action.LEASE:
                await handlers.on_lease(unseal(AssignJobV1, body, max_bytes=limits.LEASE_BYTES), remote)
            case Action.LEASE_RETURN:
                await handlers.on_lease_return(unseal(LeaseReturnV1, body, max_bytes=limits.LEASE_BYTES), remote)
            case Action.STATUS:
                await handlers.on_status(unseal(JobStatusUpdateV1, body, max_bytes=limits.STATUS_BYTES), remote)
            case _:
                raise Refusal("no_such_method")
        return b""

    def _there(self, found: bytes | None, what: str) -> bytes:
        if found is None:
            raise Refusal("not_found", f"no {what} here")
        return found
