"""Refusals: which CoAP code and problem details (RFC 9290) an error becomes, from one table.

What the mesh itself refuses is a `Refusal`; what a handler refuses is an `IcnLiteError`, translated by `refusal_of`.
Each has a kind, one word of `KINDS`, that is counted.
"""

from __future__ import annotations

from typing import Final

from aiocoap import Message
from aiocoap.numbers.codes import Code

from icn_lite.mesh import problem
from icn_lite.model import errors

# Most special first: the first class that fits decides.
CODES: Final[tuple[tuple[type[errors.IcnLiteError], Code], ...]] = (
    (errors.SignatureError, Code.UNAUTHORIZED),  # 4.01: who says so is not shown
    (errors.NotAdmitted, Code.FORBIDDEN),  # 4.03: shown, and not one of ours
    (errors.DocumentError, Code.BAD_REQUEST),  # 4.00: not a document of this kind
    (errors.VerificationError, Code.UNPROCESSABLE_ENTITY),  # 4.22: well formed, doesn't fit
    (errors.JobError, Code.UNPROCESSABLE_ENTITY),
    (errors.BidError, Code.UNPROCESSABLE_ENTITY),
    (errors.LedgerError, Code.UNPROCESSABLE_ENTITY),
    (errors.ModuleError, Code.UNPROCESSABLE_ENTITY),
    (errors.UsageError, Code.BAD_REQUEST),
    (errors.NotSupported, Code.NOT_IMPLEMENTED),
    (errors.Later, Code.SERVICE_UNAVAILABLE),  # 5.03 with Max-Age: later
    (errors.DiskFullError, Code.SERVICE_UNAVAILABLE),
    (errors.DeviceRefuses, Code.SERVICE_UNAVAILABLE),
    (errors.StoreError, Code.SERVICE_UNAVAILABLE),
    (errors.PeerError, Code.BAD_GATEWAY),
    (errors.IcnLiteError, Code.INTERNAL_SERVER_ERROR),
)
_PRIVATE: Final = (errors.StoreError, errors.PeerError)  # they speak of this node's paths and neighbours
RETRY_AFTER_S: Final = {errors.DiskFullError: 300, errors.DeviceRefuses: 60, errors.StoreError: 10}

# The mesh's own refusals: kind, code, title.
OWN: Final[dict[str, tuple[Code, str]]] = {
    "not_found": (Code.NOT_FOUND, "Nothing here"),
    "no_such_method": (Code.METHOD_NOT_ALLOWED, "Not with this method"),
    "unknown_option": (Code.BAD_OPTION, "Critical option not understood"),
    "not_a_proxy": (Code.PROXYING_NOT_SUPPORTED, "No proxy"),
    "not_acceptable": (Code.NOT_ACCEPTABLE, "Not in this format"),
    "wrong_format": (Code.UNSUPPORTED_CONTENT_FORMAT, "Body in another format"),
    "unexpected_body": (Code.BAD_REQUEST, "No body is taken here"),
    "missing_body": (Code.BAD_REQUEST, "A body is missing"),
    "bad_query": (Code.BAD_REQUEST, "Query not understood"),
    "bad_block": (Code.BAD_REQUEST, "Block option out of order"),
    "incomplete": (Code.REQUEST_ENTITY_INCOMPLETE, "A block is missing"),
    "too_large": (Code.REQUEST_ENTITY_TOO_LARGE, "Body too large"),
    "echo_required": (Code.UNAUTHORIZED, "Show that you are there"),
    "session_required": (Code.UNAUTHORIZED, "Members only"),
    "session_unknown": (Code.UNAUTHORIZED, "No such session"),
    "stale_offer": (Code.UNAUTHORIZED, "Begin the handshake anew"),
    "replayed": (Code.UNAUTHORIZED, "Seen before"),
    "role_required": (Code.FORBIDDEN, "Not with your roles"),
    "not_the_author": (Code.FORBIDDEN, "Another's document"),
    "overload": (Code.SERVICE_UNAVAILABLE, "Too much at once"),
    "internal": (Code.INTERNAL_SERVER_ERROR, "A fault of this node"),
}
_J_CODES: Final = dict.fromkeys(("too_large", "overload"), errors.JobErrorCode.RESOURCE_EXHAUSTED.value)
# Counted without an answer, because one would cost more than it tells.
SILENT: Final = ("rate_limited", "malformed_message", "too_many_connections", "idle_connection", "slow_reader")
_ERROR_KINDS: Final = (
    item.kind for item in vars(errors).values() if isinstance(item, type) and issubclass(item, errors.IcnLiteError)
)
KINDS: Final = frozenset((*OWN, *SILENT, *_ERROR_KINDS))
OVERLOAD_RETRY_S: Final = 2


class Refusal(Exception):
    """A request that gets an error as its answer."""

    def __init__(
        self,
        kind: str,
        detail: str = "",
        *,
        code: Code | None = None,
        told: problem.Problem | None = None,
        size1: int | None = None,
        max_age_s: int | None = None,
        echo: bytes | None = None,
    ) -> None:
        super().__init__(detail or kind)
        self.kind = kind
        self.code = code if code is not None else OWN[kind][0]
        self.told = told if told is not None else problem.Problem(OWN[kind][1], detail, kind, _J_CODES.get(kind, ""))
        self.size1 = size1
        self.max_age_s = max_age_s
        self.echo = echo

    def message(self) -> Message:
        """The answer, with its problem details."""
        answer = Message(code=self.code, payload=self.told.encode(), content_format=problem.CONTENT_FORMAT)
        if self.size1 is not None:
            answer.opt.size1 = self.size1  # RFC 7959 §4: what would have been taken
        if self.max_age_s is not None:
            answer.opt.max_age = self.max_age_s  # RFC 7252 §5.9.3.4: when to try again
        if self.echo is not None:
            answer.opt.echo = self.echo
        return answer


def too_large(limit: int, found: int) -> Refusal:
    """4.13 with Size1."""
    return Refusal("too_large", f"expected at most {limit} bytes, found {found}", size1=limit)


def overload(detail: str) -> Refusal:
    """5.03 with Max-Age."""
    return Refusal("overload", detail, max_age_s=OVERLOAD_RETRY_S)


def refusal_of(error: errors.IcnLiteError) -> Refusal:
    """An error of a handler, or of reading a document, as the answer to the peer."""
    code = next(code for cls, code in CODES if isinstance(error, cls))
    retry = next((seconds for cls, seconds in RETRY_AFTER_S.items() if isinstance(error, cls)), None)
    if isinstance(error, errors.Later):
        retry = error.retry_after_s
    if code is Code.INTERNAL_SERVER_ERROR:
        return Refusal("internal", "see this node's log")  # what went wrong inside is not the peer's to read
    title = _TITLES.get(error.kind, error.kind.replace("_", " "))
    if isinstance(error, _PRIVATE):
        told = problem.Problem(title, kind=error.kind, code=error.code.value if error.code is not None else "")
        return Refusal(error.kind, error.message, code=code, told=told, max_age_s=retry)
    told = problem.Problem(
        title=f"{title}: {error.reason}" if isinstance(error, errors.BidError) else title,
        detail=error.message,
        kind=error.kind,
        code=error.code.value if error.code is not None else "",
        hint=error.hint,
    )
    return Refusal(error.kind, error.message, code=code, told=told, max_age_s=retry)


_TITLES: Final = {
    "malformed_document": "Not such a document",
    "bad_signature": "Not signed as such a document",
    "verification_failed": "It does not fit",
    "invalid_job": "The job can't be taken",
    "bid_refused": "The bid is refused",
    "payment_failed": "The accounts don't allow it",
    "store": "This node can't store it now",
    "disk_full": "The disk is full",
    "not_admitted": "No member here",
    "device_refuses": "The device refuses now",
    "later": "Not yet",
}
