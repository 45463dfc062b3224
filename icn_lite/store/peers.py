"""Peers that this node has met, so that it finds them again where discovery is deaf (a phone with its screen off).

Bounded: of more than `MAX_PEERS` the one seen longest ago is forgotten, configured ones last. "Long ago" counts
sightings, not time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from icn_lite.model.did import Did
from icn_lite.model.errors import StoreError
from icn_lite.store.database import Database

MAX_PEERS: Final = 1_024  # far more than one cooperative's neighbourhood; the table stays under 1 MB
MAX_ENDPOINTS: Final = 8  # UDP and TCP, over both address families, on two interfaces
MAX_URI_CHARS: Final = 256
MAX_CAPABILITY_BYTES: Final = 8_192  # a signed capability document takes about 600


class Found(Enum):
    """How a peer was found."""

    STATIC = "static"
    MDNS = "mdns"
    MULTICAST = "multicast"  # it answered when the whole link was asked
    DIRECTORY = "directory"
    INVITED = "invited"  # an invitation named its address
    MET = "met"


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """A remembered peer: CoAP URIs, best first, and its last signed capability document."""

    did: Did
    endpoints: tuple[str, ...]
    found: Found
    capability: bytes | None = None


class Peers:
    """The remembered peers."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def remember(self, peer: PeerRecord) -> None:
        """Add or replace a peer, now the last one seen. A capability document that is left out is kept as it was."""
        if len(peer.endpoints) > MAX_ENDPOINTS or any(len(uri) > MAX_URI_CHARS for uri in peer.endpoints):
            raise StoreError(f"expected at most {MAX_ENDPOINTS} endpoints of {MAX_URI_CHARS} characters for {peer.did}")
        if peer.capability is not None and len(peer.capability) > MAX_CAPABILITY_BYTES:
            raise StoreError(f"expected a capability document of at most {MAX_CAPABILITY_BYTES} bytes for {peer.did}")
        did = str(peer.did)
        with self._db.write():
            self._db.run(
                """INSERT INTO peers(did, found, capability, seen)
                VALUES (?, ?, ?, (SELECT coalesce(max(seen), 0) + 1 FROM peers)) ON CONFLICT(did) DO UPDATE SET
                found = excluded.found, capability = coalesce(excluded.capability, capability), seen = excluded.seen""",
                (did, peer.found.value, peer.capability),
            )
            self._db.run("DELETE FROM peer_endpoints WHERE did = ?", (did,))
            for position, uri in enumerate(peer.endpoints):
                self._db.run("INSERT INTO peer_endpoints VALUES (?, ?, ?)", (did, position, uri))
            self._db.run(
                """DELETE FROM peers WHERE did IN (SELECT did FROM peers WHERE did <> ?
                ORDER BY found = 'static', seen LIMIT max(0, (SELECT count(*) FROM peers) - ?))""",
                (did, MAX_PEERS),
            )

    def get(self, did: Did) -> PeerRecord | None:
        """One peer, or None."""
        row = self._db.row("SELECT did, found, capability FROM peers WHERE did = ?", (str(did),))
        return self._record(str(row[0]), str(row[1]), row[2]) if row else None

    def all(self) -> tuple[PeerRecord, ...]:
        """All peers, the last one seen first."""
        rows = self._db.rows("SELECT did, found, capability FROM peers ORDER BY seen DESC")
        return tuple(self._record(str(did), str(found), capability) for did, found, capability in rows)

    def forget(self, did: Did) -> bool:
        """Remove a peer; returns whether it was known."""
        with self._db.write():
            return self._db.run("DELETE FROM peers WHERE did = ?", (str(did),)) > 0

    def _record(self, did: str, found: str, capability: object) -> PeerRecord:
        rows = self._db.rows("SELECT uri FROM peer_endpoints WHERE did = ? ORDER BY position", (did,))
        document = capability if isinstance(capability, bytes) else None
        return PeerRecord(Did.parse(did), tuple(str(row[0]) for row in rows), Found(found), document)
