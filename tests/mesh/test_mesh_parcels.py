"""The resources of gossip and relay: without a carrier they aren't there, with one they hand up what came, bounded."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from mesh_openers import Opener
from mesh_samples import SIGNER, Node

from icn_lite.mesh import table
from icn_lite.mesh.client import Client
from icn_lite.mesh.far import Far
from icn_lite.mesh.ports import Remote
from icn_lite.model import cbor, document
from icn_lite.model.cid import Cid
from icn_lite.model.errors import DocumentError, PeerError, PeerRefused
from icn_lite.model.parcel import MAX_HOPS, Envelope

BLOCK = bytes(range(256)) * 20
CID = Cid.of_raw(BLOCK)
ENVELOPE = Envelope(b"a parcel", 3, 7, 9)


@dataclass
class Carried:
    """A carrier that notes what it is given."""

    heard: list[Envelope] = field(default_factory=list)
    asked: list[Far] = field(default_factory=list)

    async def on_rumour(self, envelope: Envelope, remote: Remote) -> None:
        self.heard.append(envelope)

    async def on_parcel(self, envelope: Envelope, remote: Remote) -> bytes:
        return b"reply to " + envelope.parcel

    def rumours(self, start: int) -> bytes:
        return cbor.encode({"ids": [CID] if start == 0 else [], "next": 5})

    def rumour(self, cid: Cid) -> bytes | None:
        return document.encode(ENVELOPE) if cid == CID else None

    async def block_of(self, cid: Cid, way: Far, remote: Remote) -> bytes | None:
        self.asked.append(way)
        return BLOCK if cid == CID and way.hops > 1 else None


async def served(open_endpoint: Opener, carrier: Carried | None) -> str:
    node = Node()
    node.carrier = carrier  # type: ignore[assignment]
    return f"coap://127.0.0.1:{(await open_endpoint(node)).port}"


async def test_a_carrier_gets_what_neighbours_hand_over(client: Client, open_endpoint: Opener) -> None:
    carrier = Carried()
    uri = await served(open_endpoint, carrier)
    assert await client.hand_on(uri, table.RUMOURS, ENVELOPE) == b""
    assert carrier.heard == [ENVELOPE]
    assert await client.hand_on(uri, table.PARCELS, Envelope(b"x" * 2_000, 1, 0)) == b"reply to " + b"x" * 2_000
    assert await client.rumours(uri, 0) == ([CID], 5)
    assert await client.rumours(uri, 5) == ([], 5)
    assert await client.rumour(uri, CID) == ENVELOPE


async def test_without_a_carrier_nothing_is_there(client: Client, open_endpoint: Opener) -> None:
    uri = await served(open_endpoint, None)
    with pytest.raises(PeerRefused, match="hands nothing on"):
        await client.hand_on(uri, table.PARCELS, ENVELOPE)
    with pytest.raises(PeerRefused):
        await client.rumours(uri, 0)
    with pytest.raises(PeerRefused):
        await client.fetch_far([uri], CID, Far(SIGNER.did, 3), 10_000)


async def test_a_block_of_somebody_further_away_is_fetched_for_who_names_it(
    client: Client, open_endpoint: Opener
) -> None:
    carrier = Carried()
    uri = await served(open_endpoint, carrier)
    with pytest.raises(PeerRefused):  # who doesn't name anybody gets what is here
        await client.fetch_block([uri], CID, 10_000)
    assert carrier.asked == []
    assert await client.fetch_far([uri], CID, Far(SIGNER.did, 3), 10_000) == BLOCK
    assert carrier.asked[0] == Far(SIGNER.did, 3)
    with pytest.raises(PeerRefused):
        await client.fetch_far([uri], CID, Far(SIGNER.did, 1), 10_000)
    with pytest.raises(PeerError):
        await client.fetch_far([uri], CID, Far(SIGNER.did, 3), 1_000)


async def test_what_is_no_envelope_is_refused(client: Client, open_endpoint: Opener) -> None:
    uri = await served(open_endpoint, Carried())
    with pytest.raises(PeerRefused) as refused:
        await client.post(uri, table.RUMOURS, b"\x00junk")
    assert refused.value.response == "4.15"  # not in this format


OF = f"of={SIGNER.did}"


@pytest.mark.parametrize(
    "query", [(OF, "far=0"), (OF, f"far={MAX_HOPS + 1}"), (OF,), ("far=3",), ("of=me", "far=3"), ("of=", "far=x")]
)
def test_a_query_for_somebody_has_one_form(query: tuple[str, ...]) -> None:
    with pytest.raises(DocumentError):
        Far.parse(query)


def test_a_query_is_read_as_it_is_written() -> None:
    for hops in (1, MAX_HOPS):
        assert Far.parse(Far(SIGNER.did, hops).query) == Far(SIGNER.did, hops)
    assert Far.parse(()) is None
    assert Far.parse(("from=3",)) is None
