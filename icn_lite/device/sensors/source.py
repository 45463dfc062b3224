"""The two ports that sources of readings stand behind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from icn_lite.device.reading import Reading, Readings


class Source(Protocol):
    """One place where readings come from, quickly: small files of the kernel.

    `read` never raises and gives, for each quantity it knows of, one reading: known, or unknown with its reason. It may
    block for a moment (the hub runs it in a thread) but bounds its own waits.
    """

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    def read(self, now_ms: int) -> Sequence[Reading]:
        """Readings with their age at `now_ms`, a monotonic clock."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How often something is asked while guests run and while none does, and how long it may take."""

    busy_ms: int
    idle_ms: int
    deadline_ms: int = 2_000

    def due(self, passed_ms: int, *, busy: bool) -> bool:
        """Whether it is time again; a clock that went back must not silence it."""
        return not 0 <= passed_ms < (self.busy_ms if busy else self.idle_ms)


@dataclass(frozen=True, slots=True)
class Spaced:
    """A quick source whose matter changes slowly: not read at every look, because every file costs."""

    source: Source
    pace: Pace

    @property
    def name(self) -> str:
        """As the source's."""
        return self.source.name

    def read(self, now_ms: int) -> Sequence[Reading]:
        """As the source's."""
        return self.source.read(now_ms)


class Paced(ABC):
    """A source that takes its time, a program for example: it has a thread of its own, and says when it is due."""

    name: str

    @property
    @abstractmethod
    def problem(self) -> str:
        """Why the last call failed; empty if it didn't."""

    @abstractmethod
    def due(self, now_ms: int, said: Callable[[], Readings], *, busy: bool) -> bool:
        """Whether to ask it now; `said` gives what all sources said last. Never called while `read` runs."""

    @abstractmethod
    def read(self, now_ms: int) -> Sequence[Reading]:
        """As `Source.read`."""
