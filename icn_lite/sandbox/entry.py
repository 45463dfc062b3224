"""Which export a run calls, and with what: the entry rule of DESIGN.md, "Guests".

In this order: the function that the job names; `_start` (WASI preview 1); `run` as `()->i32`, `()->i64` or
`(i32 ptr, i32 len)->i32`. The last shape, under whatever name, gets the input when no arguments are given: at the
pointer that the guest's `alloc` gives for its length, or at 1024. A reactor's `_initialize` runs before any entry
other than `_start`, as wasi-libc expects. Pure: decided from the exports' types before anything runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from icn_lite.model.errors import UsageError
from icn_lite.sandbox.outcome import RunRequest
from icn_lite.sandbox.value import Value, ValueType
from icn_lite.wasm.prepared import Prepared
from icn_lite.wasm.types import Export, FuncType

TYPE_WORDS: Final[dict[int, ValueType]] = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64"}
INTEGER_TWIN: Final[dict[ValueType, ValueType]] = {"i32": "i32", "i64": "i64", "f32": "i32", "f64": "i64"}
START: Final = "_start"
RUN: Final = "run"
INITIALIZE: Final = "_initialize"
ALLOC: Final = "alloc"
MAX_LISTED: Final = 12  # names in a hint
MAX_ARGUMENTS: Final = 32  # wasm3's binding has room for so many, and every engine has to take a call or none


@dataclass(frozen=True, slots=True)
class Entry:
    """A call that is ready to be made. `function` is the engine's name for it, `results` the guest's types."""

    name: str
    function: str
    args: tuple[Value, ...]
    results: tuple[ValueType, ...]
    engine_results: tuple[ValueType, ...]
    takes_input: bool = False
    alloc: str | None = None
    calls_before: tuple[str, ...] = ()

    @property
    def is_wasi(self) -> bool:
        return self.name == START


def type_words(types: tuple[int, ...]) -> tuple[ValueType, ...]:
    """Value types of the binary format as words."""
    return tuple(TYPE_WORDS[t] for t in types)


def plan_entry(request: RunRequest) -> Entry:
    """The call to make; raises `UsageError` when the module has no such entry or the arguments don't fit it."""
    prepared = request.prepared
    export, signature = _find(prepared, request.invoke)
    params = type_words(signature.params)
    takes_input = not request.args and _takes_input(signature)
    if not takes_input and tuple(value.type for value in request.args) != params:
        found = " ".join(value.type for value in request.args) or "none"
        raise UsageError(
            f"{export.name} takes {' '.join(params) or 'no arguments'}, found {found}",
            hint=f"give {len(params)} arguments like {' '.join(t + ':1' for t in params)}" if params else "give none",
        )
    if len(params) > MAX_ARGUMENTS:
        raise UsageError(
            f"{export.name} takes {len(params)} arguments, and from outside a function gets at most {MAX_ARGUMENTS}",
            hint="pass them as input",
        )
    results = type_words(signature.results)
    before = [prepared.start] if prepared.start else []
    if export.name != START and _exports(prepared, INITIALIZE, FuncType((), ())):
        before.append(INITIALIZE)
    twin = export.bits is not None
    return Entry(
        name=export.name,
        function=export.bits or export.name,
        args=tuple(Value(INTEGER_TWIN[v.type], v.bits) for v in request.args) if twin else request.args,
        results=results,
        engine_results=tuple(INTEGER_TWIN[t] for t in results) if twin else results,
        takes_input=takes_input,
        alloc=ALLOC if takes_input and _exports(prepared, ALLOC, FuncType((0x7F,), (0x7F,))) else None,
        calls_before=tuple(before),
    )


def _takes_input(signature: FuncType) -> bool:
    return signature.params == (0x7F, 0x7F) and signature.results == (0x7F,)


def _find(prepared: Prepared, name: str | None) -> tuple[Export, FuncType]:
    functions = {export.name: export for export in prepared.exports if export.kind == "func"}
    if name is None:
        for candidate in (START, RUN):
            export = functions.get(candidate)
            if export is not None and export.type is not None and _fits(candidate, export.type):
                return export, export.type
        raise UsageError(
            f"the module exports neither {START} nor {RUN} in one of its shapes, and the job names no entry",
            hint=_exported(functions) or "export a function",
        )
    export = functions.get(name)
    if export is None or export.type is None:
        raise UsageError(f"the module exports no function {name[:80]!r}", hint=_exported(functions))
    return export, export.type


def _fits(name: str, signature: FuncType) -> bool:
    if name == START:
        return signature == FuncType((), ())
    return _takes_input(signature) or (not signature.params and signature.results in ((0x7F,), (0x7E,)))


def _exports(prepared: Prepared, name: str, signature: FuncType) -> bool:
    return any(e.name == name and e.kind == "func" and e.type == signature for e in prepared.exports)


def _exported(functions: dict[str, Export]) -> str:
    names = sorted(functions)[:MAX_LISTED]
    return f"name one of its functions: {', '.join(names)}" if names else ""
