"""Two libraries that sync with each other over frames, and counts of what went over."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "simulators"))

from mesh_library import MemoryLibrary

from icn_lite.model.sync import (
    FRAME_BYTES,
    Answered,
    Give,
    SyncAsk,
    Took,
    read_answer,
    read_ask,
    write_answer,
    write_ask,
)
from icn_lite.work.library import Library, respond
from icn_lite.work.sync import Report, Session, Verify, read_known, verified, verified_all

__all__ = ["MemoryLibrary", "Wire", "sync"]


@dataclass
class Wire:
    """How asks reach the other side: as frames, whose number and bytes are counted."""

    library: Library
    verify: Verify = read_known
    most: int = FRAME_BYTES
    asks: int = 0
    bytes: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def ask(self, ask: SyncAsk) -> Answered:
        frame = write_ask(ask)
        answer = self.answer(read_ask(frame))
        self.asks += 1
        self.bytes += len(frame) + len(answer)
        self.kinds[type(ask.ask).__name__] = self.kinds.get(type(ask.ask).__name__, 0) + 1
        return read_answer(answer)

    def answer(self, ask: SyncAsk) -> bytes:
        if isinstance(ask.ask, Give):
            return write_answer(Took(len(self.library.take(verified_all(ask.ask.blocks, self.verify)).new)))
        return respond(ask, self.library)


def sync(mine: Library, wire: Wire, verify: Verify = read_known, stop_after: int = 1 << 30) -> Report:
    """One session; cut off after so many asks."""
    session = Session()
    following = session.start(mine)
    asks = 0
    while following is not None and asks < stop_after:
        asks += 1
        following = session.handle(verified(wire.ask(SyncAsk(following, wire.most)), verify), mine)
    return session.report
