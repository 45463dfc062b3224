"""Bodies that arrive in blocks (Block1, RFC 7959 §2.5), bounded before they are assembled.

A body may be as large as its resource takes, no more: a first block whose Size1 says otherwise, or a block that
would go over, is refused with 4.13 and what had arrived is dropped. The number of unfinished bodies is bounded in
all and for each peer, and an unfinished one is forgotten after `assembly_ms`. Pure: the caller brings the time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from icn_lite.mesh.limits import BERT_EXPONENT, BERT_UNIT_BYTES, MeshLimits
from icn_lite.mesh.refusals import Refusal, overload, too_large


@dataclass(frozen=True, slots=True)
class Block:
    """A Block1 or Block2 option: number, whether more follow, size exponent."""

    number: int
    more: bool
    exponent: int

    @property
    def size(self) -> int:
        """Bytes of one block; of BERT (exponent 7), its unit."""
        return BERT_UNIT_BYTES if self.exponent == BERT_EXPONENT else 1 << (self.exponent + 4)

    @property
    def start(self) -> int:
        """Where the block stands in the body."""
        return self.number * self.size

    def fits(self, length: int) -> bool:
        """Whether a block of `length` bytes may stand here: full unless it is the last."""
        if self.exponent == BERT_EXPONENT:
            return length % BERT_UNIT_BYTES == 0 and length > 0 if self.more else True
        return length == self.size if self.more else length <= self.size


@dataclass(slots=True)
class _Body:
    peer: str
    until_s: float
    data: bytearray = field(default_factory=bytearray)


class Assemblies:
    """The unfinished bodies of one endpoint."""

    def __init__(self, limits: MeshLimits) -> None:
        self._limits = limits
        self._bodies: OrderedDict[Hashable, _Body] = OrderedDict()

    def __len__(self) -> int:
        return len(self._bodies)

    def check(self, block: Block, payload: bytes, limit: int, size1: int | None) -> None:
        """Refuse a block by what it says of itself, before anything is kept of it."""
        if size1 is not None and size1 > limit:
            raise too_large(limit, size1)
        if block.start + len(payload) > limit:
            raise too_large(limit, block.start + len(payload))
        if not block.fits(len(payload)):
            raise Refusal("bad_block", f"block of {len(payload)} bytes where {block.size} were announced")

    def feed(self, key: Hashable, peer: str, block: Block, payload: bytes, now_s: float) -> bytes | None:
        """Add a checked block; returns the body with its last one, None before."""
        self.forget_old(now_s)
        if block.number == 0:
            self._bodies.pop(key, None)  # a new attempt replaces an unfinished one
            self._admit(peer)
            body = self._bodies[key] = _Body(peer, 0.0)
        else:
            found = self._bodies.get(key)
            if found is None or len(found.data) != block.start:
                self._bodies.pop(key, None)
                raise Refusal("incomplete", f"block {block.number} came without those before it; start again")
            body = found
        body.data += payload
        if not block.more:
            del self._bodies[key]
            return bytes(body.data)
        body.until_s = now_s + self._limits.assembly_ms / 1000
        self._bodies.move_to_end(key)
        return None

    def drop(self, key: Hashable) -> None:
        """Forget an unfinished body."""
        self._bodies.pop(key, None)

    def _admit(self, peer: str) -> None:
        if len(self._bodies) >= self._limits.assemblies:
            raise overload("too many bodies are arriving in blocks")
        if sum(body.peer == peer for body in self._bodies.values()) >= self._limits.assemblies_per_peer:
            raise overload("too many bodies are arriving in blocks from this peer")

    def forget_old(self, now_s: float) -> None:
        """Let go what was not gone on with in time."""
        while self._bodies:
            key, body = next(iter(self._bodies.items()))
            if body.until_s > now_s:
                return
            del self._bodies[key]
