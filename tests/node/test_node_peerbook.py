"""Who the neighbours are: bounds, patience with the silent, and which address is tried first."""

from __future__ import annotations

import itertools

from icn_lite.model.capability import NodeCapability, NodeRole
from icn_lite.model.cose import KeySigner
from icn_lite.model.document import Sealed, seal
from icn_lite.model.job import Architecture
from icn_lite.model.messages import MAX_ENDPOINTS, CapabilityAdvertisementV1
from icn_lite.node.peerbook import (
    HEARTBEAT_MS,
    LAST_RETRY_MS,
    LIVE_MS,
    MAX_CANDIDATES,
    MAX_PEERS,
    MAX_PROVEN,
    PeerBook,
)
from icn_lite.store.peers import Found

OWN = KeySigner(b"\x01" * 32)
PEER = KeySigner(b"\x02" * 32)
URI = "coap://10.0.0.2:5683"
OTHER = "coap://10.0.0.3:5683"


def advert(
    signer: KeySigner = PEER, endpoints: tuple[str, ...] = (URI,), seq: int = 1
) -> Sealed[CapabilityAdvertisementV1]:
    capability = NodeCapability(
        profile="test", roles=(NodeRole.EXECUTE,), architecture=Architecture.X86_64, cpu_cores=1, memory_mb=64,
        max_pages=160, workers=1, fuel_per_s=1,
    )  # fmt: skip
    return seal(CapabilityAdvertisementV1(signer.did, capability, endpoints, seq), signer)


def greet(book: PeerBook, uri: str, sealed: Sealed[CapabilityAdvertisementV1], now_ms: int) -> bool:
    """A candidate that is due is greeted and answers."""
    assert uri in [candidate.uri for candidate in book.due(now_ms, MAX_CANDIDATES)]
    return book.greeted(uri, sealed, now_ms, 3)


def test_a_greeting_that_is_answered_makes_a_peer() -> None:
    book = PeerBook(OWN.did)
    book.propose([URI], Found.MDNS, 0)
    assert greet(book, URI, advert(), 0)
    (peer,) = book.live(0)
    assert (peer.did, peer.endpoints, peer.found, peer.rtt_ms) == (PEER.did, (URI,), Found.MDNS, 3)
    assert not greet(book, URI, advert(), HEARTBEAT_MS)  # known already
    assert book.live(HEARTBEAT_MS + LIVE_MS - 1)
    assert book.live(HEARTBEAT_MS + LIVE_MS) == []
    assert book.endpoints(PEER.did) == (URI,)  # silent is not forgotten


def test_the_silent_are_asked_ever_more_rarely_and_the_living_every_heartbeat() -> None:
    book = PeerBook(OWN.did)
    book.propose([URI], Found.STATIC, 0)
    asked, now_ms = [], 0
    for _ in range(12):
        assert [candidate.uri for candidate in book.due(now_ms, 8)] == [URI]
        assert book.due(now_ms, 8) == []
        next_ms = book.candidates[URI].next_ms
        assert book.due(next_ms - 1, 8) == []
        asked.append(next_ms - now_ms)
        now_ms = next_ms
    assert asked[:4] == [1_000, 2_000, 4_000, 8_000]
    assert asked == sorted(asked)
    assert asked[-1] == LAST_RETRY_MS
    book.propose([URI], Found.MDNS, now_ms - 1)  # somebody says that it is here
    assert greet(book, URI, advert(), now_ms - 1)
    assert book.candidates[URI].next_ms == now_ms - 1 + HEARTBEAT_MS


def test_our_own_address_heard_back_is_no_neighbour() -> None:
    book = PeerBook(OWN.did)
    book.propose([URI], Found.MDNS, 0)
    assert not greet(book, URI, advert(OWN), 0)
    assert not book.heard(advert(OWN), (), Found.MET, 0)
    assert (book.peers, book.candidates) == ({}, {})
    assert not book.greeted("coap://10.9.9.9", advert(), 0, 1)  # nobody proposed it


def test_proven_addresses_come_before_claimed_ones_and_both_are_few() -> None:
    book = PeerBook(OWN.did)
    claimed = tuple(f"coap://10.1.0.{number}:5683" for number in range(MAX_ENDPOINTS))
    book.propose([URI], Found.MDNS, 0)
    assert greet(book, URI, advert(endpoints=claimed), 0)
    assert book.endpoints(PEER.did) == (URI, *claimed)
    for seq in range(2, 40):  # somebody who claims another address every time
        endpoints = tuple(f"coap://10.2.{seq}.{number}:5683" for number in range(MAX_ENDPOINTS))
        sealed = advert(endpoints=endpoints, seq=seq)
        book.heard(sealed, (), Found.MET, seq)
        book.propose(endpoints, Found.MET, seq)
        assert book.endpoints(PEER.did)[0] == URI
        assert book.endpoints(PEER.did)[1:] == endpoints
    for number in range(8):  # and one that answers at many
        uri = f"coap://10.3.0.{number}:5683"
        book.propose([uri], Found.MDNS, 100)
        assert greet(book, uri, advert(seq=99), 100)
        assert book.endpoints(PEER.did)[0] == uri
        assert len(book.endpoints(PEER.did)) <= MAX_PROVEN + MAX_ENDPOINTS


def test_an_older_advertisement_does_not_replace_a_newer_one() -> None:
    book = PeerBook(OWN.did)
    book.heard(advert(seq=5), (), Found.MET, 0)
    assert not book.heard(advert(endpoints=(OTHER,), seq=4), (), Found.MET, 10)
    assert book.endpoints(PEER.did) == (URI,)
    assert book.peers[PEER.did].heard_ms == 10
    book.heard(advert(endpoints=(OTHER,), seq=6), (), Found.MET, 5)
    assert book.endpoints(PEER.did) == (OTHER,)
    assert book.peers[PEER.did].heard_ms == 10  # time doesn't run backwards


def test_candidates_are_bounded_and_configured_ones_stay() -> None:
    book = PeerBook(OWN.did)
    static = [f"coap://10.0.1.{number}" for number in range(10)]
    book.propose(static, Found.STATIC, 0)
    for number in itertools.count():
        book.propose([f"coap://10.4.{number // 250}.{number % 250}"], Found.MET, 0)
        if number > 2 * MAX_CANDIDATES:
            break
    assert len(book.candidates) == MAX_CANDIDATES
    assert set(static) <= book.candidates.keys()
    full = PeerBook(OWN.did)
    full.propose([f"coap://10.5.{n // 250}.{n % 250}" for n in range(MAX_CANDIDATES)], Found.STATIC, 0)
    full.propose([URI], Found.MDNS, 0)
    assert URI not in full.candidates


def test_peers_are_bounded_and_only_the_silent_make_room() -> None:
    book = PeerBook(OWN.did)
    signers = [KeySigner(number.to_bytes(32, "big")) for number in range(1_000, 1_000 + MAX_PEERS + 1)]
    for index, signer in enumerate(signers[:-1]):
        assert book.heard(advert(signer), (), Found.MET, index)
    assert not book.heard(advert(signers[-1]), (), Found.MET, MAX_PEERS)
    assert len(book.peers) == MAX_PEERS
    late_ms = LIVE_MS + 1  # the first two are silent now
    assert book.heard(advert(signers[-1]), (), Found.MET, late_ms)
    assert len(book.peers) == MAX_PEERS
    assert signers[0].did not in book.peers
    assert signers[1].did in book.peers
