"""Blocks of somebody who is no neighbour: how a request names them, and why it can't circle.

`GET /icn/blocks/{cid}?of=did:key:…&far=3` asks a neighbour for a block that the node `of` has. A neighbour that hasn't
got the block fetches it from one of its own that is nearer to `of`, provided that it is itself less than `far` away,
and names its own distance there: the numbers fall from node to node, so no request comes back to where it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError
from icn_lite.model.parcel import MAX_HOPS


@dataclass(frozen=True, slots=True)
class Far:
    """Somebody who has a block, and how many hops away from whoever asks it may be."""

    of: Did
    hops: int

    @classmethod
    def parse(cls, query: tuple[str, ...]) -> Self | None:
        """Read `of=` and `far=`; None where neither stands."""
        found = dict(part.split("=", 1) for part in query if part.startswith(("of=", "far=")))
        if not found:
            return None
        digits = found.get("far", "")
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= 2 and 1 <= int(digits) <= MAX_HOPS):
            raise DocumentError(f"expected far= with 1 to {MAX_HOPS}, found {digits[:20]!r}")
        return cls(Did.parse(found.get("of", "")), int(digits))

    @property
    def query(self) -> tuple[str, ...]:
        """The query that `parse` reads."""
        return f"of={self.of}", f"far={self.hops}"
