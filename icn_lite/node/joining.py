"""Joining a cooperative: from an invitation to a certificate in the home, with or without a running node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from icn_lite.mesh.client import Client
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.ports import Admission, Admitted, MeshHandlers, Speaker
from icn_lite.model import cose
from icn_lite.model.did import Did
from icn_lite.model.errors import NotAdmitted, PeerError, PeerRefused
from icn_lite.model.invitation import Invitation
from icn_lite.model.membership import fingerprint, read_membership
from icn_lite.node.cooperatives import Cooperative
from icn_lite.node.memberships import Memberships


async def join(client: Client, memberships: Memberships, invitation: Invitation) -> Cooperative:
    """Ask the inviting node at each of its addresses until one answers, and keep what it gives."""
    error = PeerError("the invitation names no address")
    for uri in invitation.uris:
        try:
            block = await client.join(uri, invitation)
        except PeerRefused:
            raise
        except PeerError as unreachable:
            error = unreachable
            continue
        sealed = read_membership(block)
        if fingerprint(sealed.document.cooperative) != invitation.fingerprint:
            raise PeerError(f"{uri} gave a membership of another cooperative than the one that invited")
        return memberships.accept(block, invitation.uris)
    raise error


async def join_from_home(memberships: Memberships, invitation: Invitation) -> Cooperative:
    """Join while no node runs on the home: by an endpoint that lives for this alone and lets nobody in."""
    # With this admission no request ever reaches a handler, so there is nothing but the counting of refusals.
    handlers = cast(MeshHandlers, _Counting())
    endpoint = Endpoint(EndpointConfig(port=0, admission=_Closed(memberships.signer)), handlers)
    await endpoint.start()
    try:
        return await join(Client(endpoint), memberships, invitation)
    finally:
        await endpoint.close()


class _Counting:
    def on_refused(self, kind: str) -> None:
        """Nobody asks for these counts."""


class _Closed(Admission):
    """Lets nobody in and belongs nowhere yet."""

    def __init__(self, signer: cose.Signer) -> None:
        self._signer = signer

    @property
    def signer(self) -> cose.Signer:
        return self._signer

    def cooperatives(self) -> tuple[Did, ...]:
        return ()

    def certificates(self, shared: Sequence[Did]) -> tuple[bytes, ...]:
        return ()

    def admit(self, did: Did, certificates: Sequence[bytes]) -> Admitted:
        raise NotAdmitted("this node is only joining")

    def invited(self, invitation: bytes) -> tuple[bytes, Did] | None:
        return None

    async def join(self, speaker: Speaker) -> bytes:
        raise NotAdmitted("this node is only joining")

    async def renew(self, speaker: Speaker, block: bytes) -> bytes:
        raise NotAdmitted("this node is only joining")

    async def on_revocation(self, block: bytes) -> None:
        raise NotAdmitted("this node is only joining")

    def revocations(self, start: int) -> bytes:
        raise NotAdmitted("this node is only joining")
