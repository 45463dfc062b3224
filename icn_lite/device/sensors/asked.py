"""A source that is a program: asked rarely, under a deadline, and more rarely still while it fails.

A program costs a hundred times what a file costs, and some hang (`termux-battery-status` after ten to twenty calls).
So it is asked at the pace of its row, less often while no guest runs; after a failure not before a back-off that
doubles up to `MAX_BACKOFF_MS`. In between the last answer goes on ageing, and whoever needs it decides when it is too
old. A program that would only repeat what files tell is a stand-in: it is asked while those don't know.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Final

from icn_lite.device.reading import Quantity, Reading, Readings, unknown
from icn_lite.device.sensors.command import CommandFailed, run_command
from icn_lite.device.sensors.source import Pace, Paced

MAX_BACKOFF_MS: Final = 600_000

Run = Callable[[Sequence[str], int], bytes]  # a command and its deadline in ms -> its output, or `CommandFailed`


class Asked(Paced):
    """One program. A subclass says what to run and what its output means, in `_ask`."""

    def __init__(self, name: str, quantities: Sequence[Quantity], pace: Pace, run: Run = run_command) -> None:
        self.name = name
        self._quantities = tuple(quantities)
        self._pace = pace
        self._run = run
        self._answer: tuple[Reading, ...] = ()
        self._answered_ms = 0
        self._asked_ms: int | None = None
        self._backoff_ms = 0
        self._failure = ""

    @property
    def problem(self) -> str:
        """Why the last call failed; empty if it didn't."""
        return self._failure

    def due(self, now_ms: int, said: Callable[[], Readings], *, busy: bool) -> bool:
        """Whether its pace and its back-off let it be asked."""
        if self._asked_ms is None:
            return True
        passed_ms = now_ms - self._asked_ms
        return self._pace.due(passed_ms, busy=busy) and not 0 <= passed_ms < self._backoff_ms

    def read(self, now_ms: int) -> Sequence[Reading]:
        """Ask, and give the answer; after a failure the last one with its age, or why there is none."""
        self._asked_ms = now_ms
        try:
            self._answer, self._answered_ms = tuple(self._ask(now_ms)), now_ms
            self._backoff_ms, self._failure = 0, ""
        except CommandFailed as error:
            self._failure = str(error)
            self._backoff_ms = min(max(2 * self._backoff_ms, self._pace.busy_ms), MAX_BACKOFF_MS)
        if self._failure and not self._answer:
            return [unknown(quantity, self.name, self._failure) for quantity in self._quantities]
        return [reading.remembered(now_ms - self._answered_ms) for reading in self._answer]

    @abstractmethod
    def _ask(self, now_ms: int) -> Sequence[Reading]:
        """Run and understand; raises `CommandFailed`."""

    def _output(self, *command: str) -> bytes:
        return self._run(command, self._pace.deadline_ms)


def parse_object(output: bytes) -> dict[str, object]:
    """A program's JSON object. Raises `CommandFailed` when it is none."""
    try:
        found: object = json.loads(output)
    except (ValueError, RecursionError) as error:
        raise CommandFailed(f"expected JSON, found {output[:40]!r}") from error
    if not isinstance(found, dict):
        raise CommandFailed(f"expected a JSON object, found {output[:40]!r}")
    return found


def whole(value: object, factor: int = 1) -> int | None:
    """A JSON number times `factor`, rounded towards zero; anything else, and what no int can be, is None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return int(value * factor)
    except (OverflowError, ValueError):  # JSON as Python reads it knows Infinity and NaN
        return None
