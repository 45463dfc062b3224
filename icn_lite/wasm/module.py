"""A decoded module: what the sections say, with code and data left where they lie in the bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

from icn_lite.wasm.types import ExternKind, FuncType


@dataclass(frozen=True, slots=True)
class FuncImport:
    """An imported function; it comes before all defined ones in the index space."""

    module: str
    name: str
    type_index: int
    offset: int


@dataclass(frozen=True, slots=True)
class SizeRange:
    """Limits of a table or memory; `maximum` is None where the module names none."""

    minimum: int
    maximum: int | None


@dataclass(frozen=True, slots=True)
class Global:
    """A defined global with its constant initialiser, as canonical bytes without `end`."""

    value_type: int
    mutable: bool
    init: bytes


@dataclass(frozen=True, slots=True)
class RawExport:
    """An export as written."""

    name: str
    kind: ExternKind
    index: int


@dataclass(frozen=True, slots=True)
class Element:
    """An active segment: entries from an offset on; None is `ref.null`."""

    offset: int
    functions: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Data:
    """A data segment; `offset` is None when it is passive. The bytes are `module[start:end]`."""

    offset: int | None
    start: int
    end: int
    instructions: int = 1  # that the offset is made of


@dataclass(frozen=True, slots=True)
class Body:
    """A function body: `module[start:end]`, starting at the local declarations."""

    start: int
    end: int


@dataclass(slots=True)
class Module:
    """Filled by `decode`, read by everyone else."""

    data: bytes
    types: list[FuncType] = field(default_factory=list)
    imports: list[FuncImport] = field(default_factory=list)
    func_types: list[int] = field(default_factory=list)  # of imports, then of defined functions
    table: SizeRange | None = None
    memory: SizeRange | None = None
    memory_imported: bool = False
    table_imported: bool = False
    globals: list[Global] = field(default_factory=list)
    exports: list[RawExport] = field(default_factory=list)
    start: int | None = None
    element_fuel: int | None = None  # what wasmtime counts for references that it makes at the start; None without any
    global_fuel: int = 0  # what wasmtime counts for globals that are worked out
    element_segments: int = 0  # of all kinds
    elements: list[Element] = field(default_factory=list)
    declared: frozenset[int] = frozenset()  # functions that `ref.func` may name
    data_count: int | None = None
    bodies: list[Body] = field(default_factory=list)
    segments: list[Data] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    carried_values: int = 0  # by blocks, branches and calls, as `validate` counted them

    @property
    def start_fuel(self) -> int:
        """What wasmtime counts for its own start function, as measured: entry and call, constants that are worked out,
        the references that it makes, and the data that it copies when the memory is imported or an offset is worked
        out. Where a memory of the module's own begins with data, it is made as a whole, and what was counted before is
        lost.
        """
        active = [s for s in self.segments if s.offset is not None]
        copies = self.memory_imported or any(segment.instructions > 1 for segment in active)
        copied = active if copies else []
        if self.start is None and self.element_fuel is None and not copied and not self.global_fuel:
            return 0
        fuel = 1 + (self.start is not None) + sum(s.instructions + s.end - s.start for s in copied)
        made_whole = not copies and any(segment.end > segment.start for segment in active)
        return fuel if made_whole else fuel + (self.element_fuel or 0) + self.global_fuel

    def type_of(self, function: int) -> FuncType:
        """The type of a function index."""
        return self.types[self.func_types[function]]

    def describe(self, function: int) -> str:
        """A function as a message names it: its name from the name section where there is one."""
        name = self.names.get(function)
        return f"function {function} ({name})" if name else f"function {function}"
