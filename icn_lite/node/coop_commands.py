"""What the owner may ask a running node about its cooperatives: list, create, invite, join, revoke."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError, NotSupported, PeerError, UsageError
from icn_lite.model.invitation import Invitation
from icn_lite.model.membership import MemberRole
from icn_lite.node import views
from icn_lite.node.control import Command, Json
from icn_lite.node.cooperatives import Cooperative
from icn_lite.node.joining import join
from icn_lite.node.memberships import DEFAULT_DAYS, DEFAULT_MINUTES, WORK_ROLES, Memberships, Terms

if TYPE_CHECKING:
    from icn_lite.node.node import Node

MAX_NAME_BYTES = 32  # it stands twice in what an admin issues, which has to fit a datagram


class CoopCommands:
    """The commands over one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def table(self) -> dict[str, Command]:
        """Command names and what answers them."""
        return {
            "coops": self.coops,
            "coop_create": self.create,
            "coop_revoke": self.revoke,
            "coop_renew": self.renew,
            "invite": self.invite,
            "join": self.join,
        }

    async def coops(self, request: Mapping[str, Json], body: bytes) -> Json:
        """What this node belongs to."""
        return list[Json](views.cooperatives_view(self._node.memberships))

    async def create(self, request: Mapping[str, Json], body: bytes) -> Json:
        """Make a cooperative."""
        return self._shown(self._node.memberships.create(check_name(request.get("name"))))

    async def invite(self, request: Mapping[str, Json], body: bytes) -> Json:
        """Make an invitation to this node's address."""
        if self._node.belonging is None:
            raise NotSupported("an open or offline node invites nobody", hint="start it without --open and --offline")
        memberships = self._node.memberships
        cooperative, terms = memberships.find(text_of(request, "coop")), terms_of(request)
        made = memberships.invite(cooperative, terms, self._node.shell.endpoints)
        return invitation_view(made, cooperative, terms)

    async def join(self, request: Mapping[str, Json], body: bytes) -> Json:
        """Join the cooperative that an invitation names."""
        belonging = self._node.belonging
        if belonging is None:
            raise NotSupported("an open or offline node joins nothing", hint="start it without --open and --offline")
        invitation = Invitation.parse(text_of(request, "uri") or "")
        return self._shown(await join(belonging.client, self._node.memberships, invitation))

    async def revoke(self, request: Mapping[str, Json], body: bytes) -> Json:
        """Put a member out."""
        return await revoke(self._node.memberships, text_of(request, "coop"), text_of(request, "did") or "")

    async def renew(self, request: Mapping[str, Json], body: bytes) -> Json:
        """Ask an admin, or everybody who is here, for the successor of our membership."""
        belonging, shell = self._node.belonging, self._node.shell
        if belonging is None:
            raise NotSupported("an open or offline node renews nothing", hint="start it without --open and --offline")
        named, cooperative = text_of(request, "of"), self._node.memberships.named(text_of(request, "coop"))
        asked = [did_of(named)] if named else [peer.did for peer in shell.peers.live(shell.clock.now_ms())]
        error = PeerError("nobody is here who could be asked", hint="name an admin: --of DID")
        for did in asked:
            try:
                return self._shown(await belonging.renew(cooperative, did))
            except PeerError as refused:
                error = refused
        raise error

    def _shown(self, cooperative: Cooperative) -> Json:
        return views.cooperative_view(self._node.memberships, cooperative)


async def revoke(memberships: Memberships, coop: str | None, member: str) -> dict[str, Json]:
    """Put a member out, with or without a running node."""
    did, cooperative = did_of(member), memberships.find(coop)
    sealed = await memberships.revoke(cooperative, did)
    return {
        "cooperative": str(cooperative.did),
        "name": cooperative.name,
        "member": member,
        "revoked_at": sealed.document.revoked_at,
        "revocation": str(sealed.cid),
    }


def did_of(text: str) -> Did:
    """A member as a person names it."""
    try:
        return Did.parse(text)
    except DocumentError as error:
        raise UsageError(f"expected a member's DID: {error.reason}", hint="`icn-lite peers` shows DIDs") from error


def check_name(name: Json) -> str:
    """What a cooperative may be called."""
    if not isinstance(name, str) or not name.isprintable() or name != name.strip():
        raise UsageError(f"name: expected printable characters, found {name!r}")
    if not 1 <= len(name.encode()) <= MAX_NAME_BYTES:
        raise UsageError(f"name: expected 1 to {MAX_NAME_BYTES} bytes, found {len(name.encode())}")
    return name


def terms_of(request: Mapping[str, Json]) -> Terms:
    """The terms that a request names, with the defaults of an invitation."""
    words = request.get("roles") or [role.value for role in WORK_ROLES]
    known = {role.value: role for role in MemberRole}
    if not isinstance(words, list) or not all(isinstance(word, str) and word in known for word in words):
        raise UsageError(f"roles: expected some of {', '.join(known)}, found {words!r}")
    days, minutes = request.get("days", DEFAULT_DAYS), request.get("minutes", DEFAULT_MINUTES)
    if not isinstance(days, int) or not isinstance(minutes, int) or isinstance(days, bool) or isinstance(minutes, bool):
        raise UsageError("days, minutes: expected whole numbers")
    scope = text_of(request, "scope")
    if scope is not None:
        check_name(scope)
    return Terms(tuple(dict.fromkeys(known[str(word)] for word in words)), scope, days, minutes)


def text_of(request: Mapping[str, Json], key: str) -> str | None:
    """A text of a request, or None."""
    value = request.get(key)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{key}: expected text")
    return value


def invitation_view(made: Invitation, cooperative: Cooperative, terms: Terms) -> dict[str, Json]:
    """An invitation for people and programs."""
    return {
        "uri": made.format(),
        "name": cooperative.name,
        "cooperative": str(cooperative.did),
        "fingerprint": made.fingerprint.hex(),
        "addresses": list[Json](made.addresses),
        "roles": [role.value for role in terms.roles],
        "scope": terms.scope,
        "days": terms.days,
        "minutes": terms.minutes,
    }
