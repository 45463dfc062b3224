"""Blocks that are being fetched piece by piece, kept for the next piece.

A peer asks for an 8 MiB block in 32 pieces over TCP, or 64 KiB in 64 over UDP; without this each piece would read
the whole block from the store again. One budget of `max_block_bytes` for all; what nobody asked for during
`served_ms` is forgotten. Blocks are named by their content, so what is kept can't be stale.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from icn_lite.mesh.limits import MeshLimits
from icn_lite.mesh.resources import Answer
from icn_lite.model.cid import Cid


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: Answer
    until_s: float


class Served:
    """Answers of immutable resources, by CID (pure; the caller brings the time)."""

    def __init__(self, limits: MeshLimits) -> None:
        self._limits = limits
        self._kept: OrderedDict[Cid, _Kept] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, cid: Cid, now_s: float) -> Answer | None:
        """What was kept, if it is still."""
        self.forget_old(now_s)
        kept = self._kept.get(cid)
        if kept is None:
            return None
        self._kept[cid] = _Kept(kept.answer, now_s + self._limits.served_ms / 1000)
        self._kept.move_to_end(cid)
        return kept.answer

    def keep(self, cid: Cid, answer: Answer, now_s: float) -> None:
        """Keep an answer for the next piece, and let the oldest go for it."""
        if len(answer.payload) > self._limits.max_block_bytes or cid in self._kept:
            return
        self._kept[cid] = _Kept(answer, now_s + self._limits.served_ms / 1000)
        self._bytes += len(answer.payload)
        while self._bytes > self._limits.max_block_bytes:
            self._drop()

    def forget_old(self, now_s: float) -> None:
        """Let go what nobody asked for in time."""
        while self._kept and next(iter(self._kept.values())).until_s <= now_s:
            self._drop()

    def _drop(self) -> None:
        _, kept = self._kept.popitem(last=False)
        self._bytes -= len(kept.answer.payload)
