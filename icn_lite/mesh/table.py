"""The table of resources: one row for each method of each path, with who may, what goes in and out, and its bound.

`/.well-known/core` (RFC 6690), the routing of requests and the table in this room's README are all drawn from it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from icn_lite.mesh import limits
from icn_lite.mesh.handshake import HANDSHAKE_BYTES
from icn_lite.mesh.ports import Speaker
from icn_lite.model.errors import JobErrorCode
from icn_lite.model.membership import MEMBERSHIP_BYTES, MemberRole
from icn_lite.model.parcel import MAX_ENVELOPE_BYTES
from icn_lite.model.sync import FRAME_BYTES

COSE_ENCRYPT0: Final = 16  # application/cose; cose-type="cose-encrypt0" (RFC 9052 §2)
COSE_SIGN1: Final = 18  # application/cose; cose-type="cose-sign1" (RFC 9052 §2)
LINK_FORMAT: Final = 40
OCTETS: Final = 42
CBOR: Final = 60
SENML_CBOR: Final = 112  # application/senml+cbor (RFC 8428 §12.3.1)
FORMAT_NAMES: Final = {
    COSE_ENCRYPT0: "COSE_Encrypt0 (16)",
    COSE_SIGN1: "COSE_Sign1 (18)",
    LINK_FORMAT: "links (40)",
    OCTETS: "octets (42)",
    CBOR: "CBOR (60)",
    SENML_CBOR: "SenML (112)",
}

INTERFACE: Final = "icn-lite"  # `if` of all of them: how one speaks with it, documented in this room's README


class Action(Enum):
    """What a request asks for; each is one method of `resources.Site`."""

    CORE = "core"
    OWN_CAPABILITY = "own_capability"
    CAPABILITY = "capability"
    ANNOUNCEMENT = "announcement"
    BID = "bid"
    LEASE = "lease"
    LEASE_RETURN = "lease_return"
    STATUS = "status"
    JOB_STATUS = "job_status"
    BLOCK = "block"
    GIVE_RECEIPT = "give_receipt"
    RECEIPT = "receipt"
    LOG = "log"
    PING = "ping"
    DEVICE = "device"
    HANDSHAKE = "handshake"
    CHANNEL = "channel"
    JOIN = "join"
    PROLONG = "prolong"
    REVOKE = "revoke"
    REVOCATIONS = "revocations"
    REGISTER = "register"
    RENEW = "renew"
    UNREGISTER = "unregister"
    ENDPOINTS = "endpoints"
    REGISTERED = "registered"
    HEAR = "hear"
    RUMOURS = "rumours"
    RUMOUR = "rumour"
    PARCEL = "parcel"
    SYNC = "sync"


class Access(Enum):
    """Who is let in at all, where an endpoint is guarded."""

    ANYONE = "anyone"
    INVITED = "whoever was invited"
    MEMBER = "members"


@dataclass(frozen=True, slots=True)
class Row:
    """One method of one path; `{cid}` as last segment stands for a CID.

    `body` is the largest body, 0 for none; `fault` the J-code of a body that is no such document, if it has one.
    `roles` are those of which a member has to have one, none for any; `signed` that a body is its author's document.
    """

    method: str
    path: str
    action: Action
    access: Access
    rt: str
    takes: int | None = None
    gives: int | None = None
    body: int = 0
    observable: bool = False
    fault: JobErrorCode | None = None
    roles: tuple[MemberRole, ...] = ()

    @property
    def who(self) -> str:
        """Who may, in words."""
        text = "whoever has a session" if self.action is Action.CHANNEL else self.access.value
        if self.roles:
            text += f" with {' or '.join(role.value for role in self.roles)}"
        return text

    def may(self, speaker: Speaker | None) -> bool:
        """Whether somebody may ask this; without a session one is a stranger."""
        if self.access is Access.ANYONE:
            return True
        if speaker is None:
            return False
        if (speaker.invitation is not None) != (self.access is Access.INVITED):
            return False
        return not self.roles or not speaker.roles.isdisjoint(self.roles)


CORE: Final = "/.well-known/core"
HANDSHAKE: Final = "/icn/hs"
CHANNEL: Final = "/icn"  # one segment: it stands on every sealed request
PING: Final = "/icn/ping"
CAPABILITY: Final = "/icn/cap"
# LwM2M's Device object, under an alternate path: a request for plain `/3/0` is too short to be answered with an Echo.
DEVICE: Final = "/lwm2m/3/0"
JOBS: Final = "/icn/jobs"
BIDS: Final = "/icn/bids"
LEASES: Final = "/icn/leases"
LEASE_RETURNS: Final = "/icn/leases/return"
STATUS: Final = "/icn/status"
RECEIPTS: Final = "/icn/receipts"
JOIN: Final = "/icn/join"
MEMBERSHIP: Final = "/icn/membership"
REVOCATIONS: Final = "/icn/revocations"
RUMOURS: Final = "/icn/rumours"
PARCELS: Final = "/icn/parcels"
SYNC: Final = "/icn/sync"
RUMOUR: Final = "/icn/rumours/{cid}"
DIRECTORY: Final = "/rd"
ENDPOINTS: Final = "/rd-lookup/ep"
REGISTERED: Final = "/rd-lookup/res"
REGISTRATION: Final = "/rd/{cid}"
JOB: Final = "/icn/jobs/{cid}"
BLOCK: Final = "/icn/blocks/{cid}"
RECEIPT: Final = "/icn/receipts/{cid}"
LOG: Final = "/icn/logs/{cid}"  # of a lease; `?shard=0&from=0&wait=10000`

_EXECUTORS: Final = (MemberRole.EXECUTE, MemberRole.BRIDGE)
_SUBMITTERS: Final = (MemberRole.SUBMIT, MemberRole.BRIDGE)
_WORKERS: Final = (MemberRole.EXECUTE, MemberRole.SUBMIT, MemberRole.BRIDGE)


def _gets(path: str, action: Action, rt: str, gives: int | None = None, roles: tuple[MemberRole, ...] = ()) -> Row:
    return Row("GET", path, action, Access.MEMBER, rt, gives=gives, roles=roles)


def _posts(path: str, action: Action, rt: str, body: int, roles: tuple[MemberRole, ...] = ()) -> Row:
    return Row("POST", path, action, Access.MEMBER, rt, takes=COSE_SIGN1, body=body, roles=roles)


def _channel(method: str) -> Row:
    return Row(
        method, CHANNEL, Action.CHANNEL, Access.ANYONE, "icn.session", takes=COSE_ENCRYPT0, gives=COSE_ENCRYPT0,
        body=limits.CHANNEL_BYTES, observable=method == "FETCH",
    )  # fmt: skip


TABLE: Final[tuple[Row, ...]] = (
    Row("GET", CORE, Action.CORE, Access.ANYONE, "", gives=LINK_FORMAT),
    Row(
        "POST", HANDSHAKE, Action.HANDSHAKE, Access.ANYONE, "icn.hs", takes=CBOR, gives=CBOR, body=HANDSHAKE_BYTES
    ),
    _channel("POST"),
    _channel("FETCH"),
    Row("POST", JOIN, Action.JOIN, Access.INVITED, "icn.join", gives=COSE_SIGN1),
    replace(_posts(MEMBERSHIP, Action.PROLONG, "icn.membership", MEMBERSHIP_BYTES), gives=COSE_SIGN1),
    _gets(REVOCATIONS, Action.REVOCATIONS, "icn.revocations", CBOR),
    _posts(REVOCATIONS, Action.REVOKE, "icn.revocations", limits.REVOCATION_BYTES),
    _gets(PING, Action.PING, "icn.ping"),
    _gets(DEVICE, Action.DEVICE, "icn.device", SENML_CBOR),
    _gets(CAPABILITY, Action.OWN_CAPABILITY, "icn.cap", COSE_SIGN1),
    replace(_posts(CAPABILITY, Action.CAPABILITY, "icn.cap", limits.CAPABILITY_BYTES), gives=COSE_SIGN1),
    replace(
        _posts(JOBS, Action.ANNOUNCEMENT, "icn.jobs", limits.ANNOUNCEMENT_BYTES, _SUBMITTERS),
        fault=JobErrorCode.INVALID_JOB_SPEC,
    ),
    replace(_gets(JOB, Action.JOB_STATUS, "icn.job", CBOR), observable=True),
    _posts(BIDS, Action.BID, "icn.bids", limits.BID_BYTES, _EXECUTORS),
    _posts(LEASES, Action.LEASE, "icn.leases", limits.LEASE_BYTES, _SUBMITTERS),
    _posts(LEASE_RETURNS, Action.LEASE_RETURN, "icn.leases.return", limits.LEASE_BYTES, _EXECUTORS),
    _posts(STATUS, Action.STATUS, "icn.status", limits.STATUS_BYTES, _EXECUTORS),
    _gets(BLOCK, Action.BLOCK, "icn.block", OCTETS, _WORKERS),
    replace(
        _posts(RECEIPTS, Action.GIVE_RECEIPT, "icn.receipts", limits.RECEIPT_BYTES, _EXECUTORS),
        gives=COSE_SIGN1, fault=JobErrorCode.VALIDATION_FAILED,
    ),
    _gets(RECEIPT, Action.RECEIPT, "icn.receipt", COSE_SIGN1),
    replace(_posts(DIRECTORY, Action.REGISTER, "core.rd", limits.LINKS_BYTES), takes=LINK_FORMAT),
    Row("POST", REGISTRATION, Action.RENEW, Access.MEMBER, "core.rd"),
    Row("DELETE", REGISTRATION, Action.UNREGISTER, Access.MEMBER, "core.rd"),
    _gets(ENDPOINTS, Action.ENDPOINTS, "core.rd-lookup-ep", LINK_FORMAT),
    _gets(REGISTERED, Action.REGISTERED, "core.rd-lookup-res", LINK_FORMAT),
    _gets(LOG, Action.LOG, "icn.log", CBOR, _SUBMITTERS),
    replace(_posts(RUMOURS, Action.HEAR, "icn.rumours", MAX_ENVELOPE_BYTES), takes=CBOR),
    _gets(RUMOURS, Action.RUMOURS, "icn.rumours", CBOR),
    _gets(RUMOUR, Action.RUMOUR, "icn.rumour", CBOR),
    replace(_posts(PARCELS, Action.PARCEL, "icn.parcels", MAX_ENVELOPE_BYTES), takes=CBOR, gives=COSE_SIGN1),
    replace(_posts(SYNC, Action.SYNC, "icn.sync", FRAME_BYTES), takes=OCTETS, gives=OCTETS),
)  # fmt: skip

_WILDCARD: Final = "{cid}"


def _routes() -> dict[tuple[str, ...], dict[str, Row]]:
    routes: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in TABLE:
        routes.setdefault(tuple(row.path.strip("/").split("/")), {})[row.method] = row
    return routes


ROUTES: Final = _routes()


def find(path: tuple[str, ...]) -> tuple[dict[str, Row], str | None] | None:
    """The methods of a path and, where its last segment stands for a CID, that segment; None if nothing is there."""
    exact = ROUTES.get(path)
    if exact is not None:
        return None if path and path[-1] == _WILDCARD else (exact, None)
    methods = ROUTES.get((*path[:-1], _WILDCARD)) if path else None
    return (methods, path[-1]) if methods is not None else None


def links(query: tuple[str, ...] = ()) -> bytes:
    """The table as CoRE links (RFC 6690): `rt`, `if`, `ct`, `obs`; of `query` (`rt=icn.bids`, `href=/icn/*`) all hold.

    A path with a CID in it is no target; its parent is listed with its attributes instead.
    """
    found: dict[str, list[Row]] = {}
    for row in TABLE:
        if _WILDCARD not in row.path and row.path != CORE:
            found.setdefault(row.path, []).append(row)
    parents = {row.path.rsplit("/", 1)[0]: row for row in TABLE if _WILDCARD in row.path}
    for path, row in parents.items():
        found.setdefault(path, []).append(row)
    shown = (path for path, rows in found.items() if all(_fits(path, rows, part) for part in query))
    return ",".join(_link(path, found[path], parents.get(path)) for path in shown).encode("ascii")


def _fits(path: str, rows: list[Row], part: str) -> bool:
    """Whether one filter of RFC 6690 §4.1 lets a link through; an unknown attribute lets none."""
    name, _, wanted = part.partition("=")
    values = {"href": [path], "rt": [row.rt for row in rows], "if": [INTERFACE]}.get(name, [])
    if wanted.endswith("*"):
        return any(value.startswith(wanted[:-1]) for value in values)
    return wanted in values


def _link(path: str, rows: list[Row], child: Row | None) -> str:
    types = dict.fromkeys(row.rt for row in rows)
    formats = dict.fromkeys(str(f) for row in rows for f in (row.takes, row.gives) if f is not None)
    attributes = [f'rt="{" ".join(types)}"', f'if="{INTERFACE}"']
    if formats:
        attributes.append(f'ct="{" ".join(formats)}"' if len(formats) > 1 else f"ct={next(iter(formats))}")
    if any(row.observable for row in rows) or (child is not None and child.observable):
        attributes.append("obs")
    return f"<{path}>;" + ";".join(attributes)


def markdown() -> str:
    """The table as it stands in the README."""
    lines = ["| path | method | who may | takes | gives | largest body |", "| --- | --- | --- | --- | --- | --- |"]
    for row in TABLE:
        takes = FORMAT_NAMES[row.takes] if row.takes is not None else "–"
        gives = FORMAT_NAMES[row.gives] if row.gives is not None else "–"
        observe = ", observable" if row.observable else ""
        body = str(row.body) if row.body else "none"
        lines.append(f"| `{row.path}` | {row.method}{observe} | {row.who} | {takes} | {gives} | {body} |")
    return "\n".join(lines) + "\n"
