"""What a function that is being generated knows of itself and of its module.

Its pieces stand in the files beside this one, each a class on top of the last: values, blocks, branches and calls,
and statements (`wasm_generator_body`). What a piece may cost is followed through loops and calls (`weight`,
`Signature.worst`), so that no program runs longer than it should.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from wasm_ops import NUMBERS

Types = tuple[str, ...]
MOST_WORK = 60_000  # instructions that one call of a function may run


@dataclass
class Signature:
    """A function that can be called: `worst` bounds what one call runs; `guarded` ones count their calls."""

    name: str
    params: Types
    results: Types
    worst: int = 0
    guarded: bool = False


@dataclass
class Surroundings:
    """What all functions of a module share."""

    rng: Random
    floats: bool
    globals: dict[str, list[str]]  # mutable, by type
    constants: dict[str, list[str]]  # immutable globals, by type
    callable: list[Signature]  # complete, so their cost is known
    all: list[Signature]
    slots: list[int | None]  # the table: index into `all`
    passive: int  # data segments that memory.init may name
    segments: int  # all data segments
    loose: bool = False  # a memory.grow may fail, so the reference's fuel may differ


@dataclass
class Label:
    carries: Types


@dataclass
class State:
    """One function at work."""

    around: Surroundings
    me: Signature
    locals: list[str]
    out: list[str] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    counters: list[str] = field(default_factory=list)
    weight: int = 1
    cost: int = 0
    nesting: int = 0
    left: int = 60
    loops: int = 0

    @property
    def rng(self) -> Random:
        return self.around.rng

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def emit(self, *words: object) -> None:
        self.out.append(" ".join(map(str, words)))
        self.cost += self.weight

    def type(self) -> str:
        return self.rng.choice(NUMBERS if self.around.floats else NUMBERS[:2])

    def types(self, most: int) -> Types:
        return tuple(self.type() for _ in range(self.rng.randrange(most + 1)))

    # what the classes on top provide

    def values(self, wanted: Types) -> None:
        """Leave exactly these on the stack."""
        raise NotImplementedError

    def statements(self, most: int) -> None:
        """Some that leave nothing there."""
        raise NotImplementedError
