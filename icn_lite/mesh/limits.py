"""Every bound of the mesh in one value, with the reason beside each.

A `MeshLimits` is given to the endpoint once; nothing here changes while it runs. Sizes are bytes, times
milliseconds, rates whole numbers a second. Tests and benches make their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from icn_lite.model.errors import UsageError

DEFAULT_PORT: Final = 5683  # RFC 7252 §12.6
UDP_BLOCK_BYTES: Final = 1024  # the largest block of RFC 7959; one fits an unfragmented datagram
UDP_BLOCK_EXPONENT: Final = 6  # 2 ** (6 + 4) = 1024
BERT_EXPONENT: Final = 7  # RFC 8323 §6: any multiple of 1024 at once, over TCP only
BERT_UNIT_BYTES: Final = 1024

CAPABILITY_BYTES: Final = 4096  # names of engines, regions, scopes; typically 600
ANNOUNCEMENT_BYTES: Final = 65_536  # a job names its shards by CID; decoding this much takes some 50 ms
BID_BYTES: Final = 2048  # fixed fields and four CIDs; typically 700
LEASE_BYTES: Final = 4096  # at most 32 shards (messages.py); more travel in several leases
CHANNEL_BYTES: Final = 66 << 10  # one sealed message; what is inside keeps the bounds of its own resource
REVOCATION_BYTES: Final = 1024  # one signed document
REVOCATIONS_PAGE: Final = 32  # revocations told at a time, 1 KiB each at most
LINKS_BYTES: Final = 1024  # what somebody registers with a directory; ours is one link
STATUS_BYTES: Final = 4096  # one sentence of 512 characters, up to four bytes each
RECEIPT_BYTES: Final = 1024  # receipt.py: a signed receipt fits one block
DOORBELL_BYTES: Final = 1024  # an observed representation over 4088 bytes is cut silently: one block, always


@dataclass(frozen=True, slots=True)
class MeshLimits:
    """The bounds of one endpoint; `MeshLimits()` suits a phone."""

    max_block_bytes: int = 16 << 20  # one module, input or output; held in memory once while it is served
    udp_fetch_bytes: int = 64 << 10  # above this block-wise UDP takes minutes on a lossy path
    unfinished_bytes: int = 16 << 20  # what failed transfers leave for the next try; one blob of the usual size
    unfinished_ms: int = 120_000  # a next try comes within a minute, or not at all
    piece_ms: int = 10_000  # two retransmissions; then the next provider is asked
    tcp_message_bytes: int = 66 << 10  # what a stranger's connection may make us hold; larger bodies come in blocks
    tcp_answer_bytes: int = 512 << 10  # one piece of a block to a peer that can take it; 16 pieces are 8 MiB
    tcp_backlog_bytes: int = 2 << 20  # answers that a peer asked for and doesn't read; then the connection goes

    assemblies: int = 32  # bodies that arrive in blocks at the same time; 32 × 64 KiB = 2 MiB at worst
    assemblies_per_peer: int = 4
    assembly_ms: int = 30_000  # between two blocks; a lossy UDP path retransmits for 45 s, then starts again

    active: int = 64  # requests being handled at a time; the rest hear 5.03
    handler_ms: int = 20_000  # a handler that takes longer has lost its asker
    served_ms: int = 30_000  # a block that nobody fetched from for so long leaves memory
    requests_per_s: int = 1000  # in all
    requests_per_s_strangers: int = 250  # of all whose address nobody proved: a flood leaves the rest for members
    requests_per_s_peer: int = 200  # message ids wrap after 65,536 in 247 s: 265 a second would hang
    burst: int = 400  # two seconds of a peer at full rate
    peers_tracked: int = 1024  # 300 bytes each; the longest silent is forgotten
    echo_ms: int = 60_000  # an Echo is good for one to two times as long; a slow asker needs seconds
    believed_ms: int = 300_000  # how long an address that answered an Echo is no stranger
    leisure_ms: int = 5_000  # RFC 7252 §8.2: answers to one multicast are spread over so long
    leisurely: int = 32  # answers to multicasts that wait for their moment; the rest is silence
    groups: int = 16  # interfaces on which multicasts are heard; Linux takes 20 IPv4 groups a socket

    recent_messages: int = 4096  # duplicates known; 2.6 kB each is 10 MB at worst, and handlers bear duplicates

    connections: int = 64  # incoming TCP
    connections_per_peer: int = 16  # a house behind one address
    connections_out: int = 64  # the idlest is closed for a new one
    idle_ms: int = 120_000  # without one whole message; keeps a mobile NAT from being our memory
    connect_ms: int = 3_000  # three SYNs; a peer without TCP then gets UDP
    tcp_retry_ms: int = 60_000  # how long a peer without TCP is not asked for it again

    sessions: int = 256  # that peers began with us; the one unused longest goes, 2 kB each
    sessions_per_peer: int = 4  # of one DID: two transports, an old one that is still in use, and one to spare
    sessions_out: int = 256  # that we began
    session_ms: int = 3_600_000  # then both sides agree on new keys
    session_idle_ms: int = 900_000  # a peer that lives is greeted every half minute
    session_messages: int = 1 << 20  # under one key; ChaCha20-Poly1305 would bear far more
    offer_ms: int = 60_000  # how long one ephemeral key is offered; it is forgotten after twice that
    handshake_ms: int = 10_000  # of ours, both round trips; two retransmissions
    proofs_remembered: int = 256  # a proof that comes twice gets the same grant, not a second session

    observers: int = 128
    observers_per_peer: int = 16
    observe_ms: int = 300_000  # an observer that doesn't renew is gone
    doorbell_ms: int = 250  # between two rings of one observer, so that a silent one has 300 queued at most
    watchdog_ms: int = 60_000  # how often a client renews: an observation across a restart goes silent

    requests_out: int = 64  # our own requests under way
    log_lines_per_s: int = 5  # 50,000 random datagrams made 23 MB of log
    log_line_chars: int = 300

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value < 1:
                raise UsageError(f"mesh limit {name}: expected at least 1, found {value}")
