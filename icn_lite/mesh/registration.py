"""The asking side of a Resource Directory (RFC 9176): is there one, register with it, and look up who else is.

A directory may be another node, which is asked within a session, or any other server, which is asked in the open and
told no more than mDNS tells a link. What it answers are candidates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from icn_lite.mesh import table
from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.endpoint import Endpoint
from icn_lite.mesh.requests import Call, Requester
from icn_lite.model.errors import PeerError

LIFETIME_S: Final = 3_600  # registered anew well before; a node that left is forgotten within the hour
MAX_ANSWER: Final = 16_384  # 32 of the longest links, and some more from directories that know no pages
MAX_FOUND: Final = 64  # candidates of one lookup
OFFERED: Final = b"</icn/hs>;rt=icn.hs"  # the one resource that others need of us: from there a session begins
_LINK: Final = re.compile(r'<([^<>\s]{1,300})>((?:;[^,;"]{1,300}(?:"[^"]{0,300}")?)*)')


@dataclass(frozen=True, slots=True)
class Desk:
    """A directory: where it is, its paths, and whether it is asked within a session."""

    peer: PeerAddress
    register: str
    lookup: str
    sealed: bool


class Registrar:
    """Speaks with directories for one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._plain = Requester(endpoint.context, endpoint.limits)
        self._sealed = Requester(endpoint.context, endpoint.limits, endpoint.channels)
        self._guarded = endpoint.channels is not None

    async def find(self, uri: str, until_s: float) -> Desk | None:
        """The directory at an address, or None where something else answers; raises `PeerError`."""
        peer = PeerAddress.parse(uri)
        told = await self._plain.call(peer, "udp", Call("GET", table.CORE, max_answer=MAX_ANSWER), until_s)
        found: dict[str, str] = {}
        for target, attributes in _LINK.findall(told.payload.decode("utf-8", "replace")):
            for kind in re.findall(r'rt="?([^";]+)', attributes):
                for word in kind.split():
                    found.setdefault(word, target)
        register, lookup = found.get("core.rd"), found.get("core.rd-lookup-res")
        if not (register or "").startswith("/") or not (lookup or "").startswith("/"):
            return None  # none, or it sends us elsewhere
        assert register is not None
        assert lookup is not None
        return Desk(peer, register, lookup, self._guarded and "icn.hs" in found)

    async def register(self, desk: Desk, name: str, base: str | None, until_s: float) -> None:
        """Be registered for `LIFETIME_S`, under `base` or wherever the directory hears us."""
        path = f"{desk.register}?ep={quote(name)}&lt={LIFETIME_S}" + (
            f"&base={quote(base, safe=':/[]')}" if base else ""
        )
        call = Call("POST", path, OFFERED, table.LINK_FORMAT)
        await self._requester(desk).call(desk.peer, "udp", call, until_s)

    async def lookup(self, desk: Desk, until_s: float) -> tuple[str, ...]:
        """The URIs of the nodes that a directory knows, ourselves included."""
        call = Call("GET", f"{desk.lookup}?rt=icn.hs", max_answer=MAX_ANSWER)
        answer = await self._requester(desk).call(desk.peer, "udp", call, until_s)
        found: dict[str, None] = {}
        for target, _ in _LINK.findall(answer.payload.decode("utf-8", "replace")):
            try:
                parts = urlsplit(target)
                found[str(PeerAddress.parse(f"{parts.scheme}://{parts.netloc}"))] = None
            except (PeerError, ValueError):
                continue  # a directory tells what strangers told it
        return tuple(found)[:MAX_FOUND]

    def _requester(self, desk: Desk) -> Requester:
        return self._sealed if desk.sealed else self._plain
