"""A Resource Directory (RFC 9176), which every node offers: the deaf to multicast register, others look them up.

`POST /rd?ep=NAME&lt=SECONDS&base=URI` with links as its body registers, `POST` or `DELETE` to the location that was
answered renews or ends it, `/rd-lookup/ep` and `/rd-lookup/res` tell, filtered by `ep` and `rt`, in pages of `count`.
On a guarded node members alone may, each under its own DID; the same name has the same location, so repeating is safe.
What was registered lasts its lifetime, a day at most, in memory. Pure: the caller brings the time.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.ports import Remote
from icn_lite.mesh.refusals import Refusal, overload
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import PeerError

MAX_REGISTRATIONS: Final = 256  # neighbours of one local mesh; 1.5 kB each at most
MAX_LINKS: Final = 16  # of one endpoint; ours registers one
MAX_NAME_BYTES: Final = 63  # RFC 9176 §5: an endpoint name
LIFETIME_S: Final = 90_000  # RFC 9176 §5: unless another is given, and the longest here
PAGE: Final = 32  # what one lookup tells at most
_LINK: Final = re.compile(
    r'\s*<([^<>\s"]{1,200})>((?:;[a-z0-9*-]{1,32}(?:=(?:"[^"\\]{0,200}"|[^",;\s]{1,200}))?)*)\s*(?:,|$)'
)
_RT: Final = re.compile(r';rt=(?:"([^"]*)"|([^",;]+))')


@dataclass(frozen=True, slots=True)
class Link:
    """One registered link: its target, its attributes as they were written, and its resource types."""

    target: str
    attributes: str
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Registration:
    """An endpoint: its name, its base URI, what it offers, until when, and who registered it."""

    ep: str
    base: str
    links: tuple[Link, ...]
    until_s: float
    owner: Did | None


class Directory:
    """What is registered at one node."""

    def __init__(self) -> None:
        self._found: OrderedDict[Cid, Registration] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def register(self, query: Sequence[str], body: bytes, remote: Remote, now_s: float) -> Cid:
        """Register an endpoint; returns the CID that stands for it in its location."""
        given, ep = _parameters(query), _parameters(query).get("ep", "")
        owner = remote.speaker.did if remote.speaker is not None else None
        if not 0 < len(ep.encode()) <= MAX_NAME_BYTES or '"' in ep:
            raise Refusal("bad_query", f"expected ep=NAME of at most {MAX_NAME_BYTES} bytes")
        if owner is not None and ep != str(owner):
            raise Refusal("not_the_author", f"expected ep={owner}, the name of who registers")
        cid = Cid.of_raw(ep.encode())
        self.forget_old(now_s)
        if cid not in self._found and len(self._found) >= MAX_REGISTRATIONS:
            raise overload("the directory is full")
        self._found[cid] = Registration(
            ep, _base(given.get("base"), remote), links_of(body), now_s + _lifetime_s(given), owner
        )
        return cid

    def renew(self, cid: Cid, query: Sequence[str], remote: Remote, now_s: float) -> None:
        """Let a registration last on, with another base if one is given."""
        given, known = _parameters(query), self._own(cid, remote, now_s)
        base = _base(given["base"], remote) if "base" in given else known.base
        self._found[cid] = replace(known, base=base, until_s=now_s + _lifetime_s(given))

    def remove(self, cid: Cid, remote: Remote, now_s: float) -> None:
        """End a registration."""
        self._own(cid, remote, now_s)
        del self._found[cid]

    def endpoints(self, query: Sequence[str], now_s: float) -> bytes:
        """The endpoints that fit, as links (RFC 9176 §6.4)."""
        told = [
            f'</rd/{cid}>;ep="{known.ep}";base="{known.base}";rt="core.rd-ep"'
            for cid, known in self._living(now_s)
            if _fits(query, known.ep, [kind for link in known.links for kind in link.types])
        ]
        return _page(told, query)

    def resources(self, query: Sequence[str], now_s: float) -> bytes:
        """The links that fit, each resolved against its endpoint's base (RFC 9176 §6.3)."""
        told = [
            f'<{known.base}{link.target}>{link.attributes};anchor="{known.base}"'
            for _, known in self._living(now_s)
            for link in known.links
            if _fits(query, known.ep, link.types)
        ]
        return _page(told, query)

    def forget_old(self, now_s: float) -> None:
        """Let go what was not renewed in time."""
        for cid, known in [*self._found.items()]:
            if known.until_s <= now_s:
                del self._found[cid]

    def _living(self, now_s: float) -> list[tuple[Cid, Registration]]:
        self.forget_old(now_s)
        return [*self._found.items()]

    def _own(self, cid: Cid, remote: Remote, now_s: float) -> Registration:
        self.forget_old(now_s)
        known = self._found.get(cid)
        if known is None:
            raise Refusal("not_found", "no such registration, or not any more")
        if known.owner is not None and (remote.speaker is None or remote.speaker.did != known.owner):
            raise Refusal("not_the_author", "registered by somebody else")
        return known


def links_of(body: bytes) -> tuple[Link, ...]:
    """Read links (RFC 6690) whose targets are paths; raises a refusal for anything else."""
    try:
        text = body.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise Refusal("bad_query", "expected links in UTF-8") from error
    found: list[Link] = []
    at = 0
    while at < len(text):
        match = _LINK.match(text, at)
        if match is None or not match[1].startswith("/") or len(found) >= MAX_LINKS:
            raise Refusal("bad_query", f"expected at most {MAX_LINKS} links </path>;attribute=value, at character {at}")
        kinds = _RT.search(match[2])
        types = (kinds[1] or kinds[2] or "").split() if kinds else []
        found.append(Link(match[1], match[2], tuple(types)))
        at = match.end()
    return tuple(found)


def _parameters(query: Sequence[str]) -> dict[str, str]:
    return {name: value for name, _, value in (part.partition("=") for part in query)}


def _base(written: str | None, remote: Remote) -> str:
    """Where an endpoint is reached: as it says, else where it registered from; a zone means nothing to others."""
    if written is None:
        return str(PeerAddress(remote.host.partition("%")[0], remote.port))
    try:
        peer = PeerAddress.parse(written)
    except PeerError as error:
        raise Refusal("bad_query", error.message) from error
    return str(PeerAddress(peer.host.partition("%")[0], peer.port))


def _lifetime_s(given: dict[str, str]) -> int:
    text = given.get("lt", str(LIFETIME_S))
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= 10 and int(text) > 0):
        raise Refusal("bad_query", f"expected lt=SECONDS, found {text[:20]!r}")
    return min(int(text), LIFETIME_S)


def _fits(query: Sequence[str], ep: str, types: Sequence[str]) -> bool:
    """Whether something passes every filter of a lookup; an unknown one lets nothing through."""
    values = {"ep": [ep], "rt": types}
    for name, wanted in ((name, value) for name, _, value in (part.partition("=") for part in query)):
        if name in ("page", "count"):
            continue
        prefix = wanted.removesuffix("*")
        if not any(
            value == wanted or (wanted.endswith("*") and value.startswith(prefix)) for value in values.get(name, ())
        ):
            return False
    return True


def _page(told: list[str], query: Sequence[str]) -> bytes:
    given = _parameters(query)
    count = min(PAGE, _number(given.get("count", str(PAGE))))
    start = _number(given.get("page", "0")) * count
    return ",".join(told[start : start + count]).encode()


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise Refusal("bad_query", f"expected a number, found {text[:20]!r}")
    return int(text)
