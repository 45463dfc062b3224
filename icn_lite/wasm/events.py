"""The events of a body: the instructions that steer, call or are rewritten, and how many of them are kept at once.

Those of all bodies are held from validation until the last body is written, because nothing can be written before the
whole call graph is known. As objects they would take 200 bytes each; packed they take 32, and are unpacked for the
body that is looked at.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain, repeat
from operator import itemgetter
from typing import Final, NamedTuple

from icn_lite.wasm import opcodes as op
from icn_lite.wasm.types import FuncType


class Event(NamedTuple):
    """One instruction that matters, and the plain span `module[raw:at]` before it.

    `cost` is the fuel of the span alone. `arg` is the label depth, function, type or segment index. `targets` are the
    depths of a `br_table`, the default last. `type` is the type of a block.
    """

    op: int
    raw: int
    at: int
    end: int
    cost: int
    arg: int
    targets: tuple[int, ...]
    type: FuncType | None


EventFields = tuple[int, int, int, int, int, int, tuple[int, ...], FuncType | None]
_NUMBERS: Final = 6  # the first fields
_ARG: Final = 5
_numbers_of: Final = itemgetter(*range(_NUMBERS))
_type_of: Final = itemgetter(7)
# Past `Event.__new__`, which is a function in Python and takes most of the time.
_make: Final = partial(tuple.__new__, Event)


class Events:
    """The events of one body, packed."""

    __slots__ = ("_numbers", "_targets", "_types")

    def __init__(self, events: Sequence[EventFields]) -> None:
        self._numbers: array[int] = array("I", chain.from_iterable(map(_numbers_of, events)))
        self._types = tuple(map(_type_of, events))
        self._targets = {i: fields[6] for i, fields in enumerate(events) if fields[6]}

    def __len__(self) -> int:
        return len(self._types)

    def unpack(self) -> list[Event]:
        """All of them."""
        numbers = iter(self._numbers)
        rows = zip(*(numbers,) * _NUMBERS, repeat(()), self._types, strict=False)
        events: list[Event] = list(map(_make, rows))
        for i, targets in self._targets.items():
            events[i] = events[i]._replace(targets=targets)
        return events

    def codes(self) -> Sequence[int]:
        """The opcode of each."""
        return self._numbers[::_NUMBERS]

    def callee(self, i: int) -> int:
        """What the call at a place goes to: a function's index, or -1 - type index for one through the table."""
        arg = self._numbers[i * _NUMBERS + _ARG]
        return arg if self._numbers[i * _NUMBERS] == op.CALL else -1 - arg

    def arguments(self, code: int) -> set[int]:
        """The `arg` of all events with an opcode."""
        return {self._numbers[i * _NUMBERS + _ARG] for i, found in enumerate(self.codes()) if found == code}

    def with_types(self, types: Mapping[int, FuncType]) -> Events:
        """The same with other types of some blocks."""
        if not types:
            return self
        found = Events(())
        found._numbers, found._targets = self._numbers, self._targets
        found._types = tuple(types.get(i, kind) for i, kind in enumerate(self._types))
        return found


NO_EVENTS: Final = Events(())
