"""What `icn-lite check` tells about an accepted module: needs, entry, numbers against limits, what preparing added."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from icn_lite.cli.app import App
from icn_lite.cli.output import Json
from icn_lite.model.errors import UsageError

if TYPE_CHECKING:
    from icn_lite.cli.check import Accepted
    from icn_lite.wasm.prepared import Prepared
    from icn_lite.wasm.survey import Measure, Survey
    from icn_lite.wasm.types import Import

SHOWN_EXPORTS: Final = 12  # for people; --json has all
# Keys of the document in their order; a refused module has the same, empty.
_EMPTY: Final[dict[str, Json]] = {
    "accepted": False, "reason": None, "imports": [], "exports": [], "entry": None, "functions": None,
    "memory": None, "table": None, "stack_bytes": None, "features": [], "limits": [], "made_by": [],
    "module_bytes": None, "code_bytes": None, "custom_bytes": None, "prepared_bytes": None, "growth": None,
    "cached": False, "prepare_ms": None,
}  # fmt: skip


def document_of(accepted: Accepted | None, survey: Survey | None) -> dict[str, Json]:
    """The answer for programs; `None` for a refused module."""
    if accepted is None or survey is None:
        return dict(_EMPTY)
    prepared = accepted.prepared
    filled: dict[str, Json] = {
        "accepted": True,
        "imports": [_import_json(item) for item in prepared.imports],
        "exports": [
            {"name": e.name, "kind": e.kind, "type": str(e.type) if e.type else None} for e in prepared.exports
        ],
        "entry": _entry(prepared)[0],
        "functions": prepared.functions,
        "memory": _memory_json(accepted, survey),
        "table": None if survey.table is None else {"min": survey.table[0], "max": survey.table[1]},
        "stack_bytes": prepared.stack_bytes,
        "features": list(survey.features),
        "limits": [{"name": m.name, "value": m.value, "limit": m.limit} for m in survey.measures],
        "made_by": list(survey.made_by),
        "module_bytes": len(accepted.data),
        "code_bytes": survey.code_bytes,
        "custom_bytes": survey.custom_bytes,
        "prepared_bytes": len(prepared.code),
        "growth": _growth(accepted, survey),
        "cached": accepted.cached,
        "prepare_ms": accepted.prepare_ms,
    }
    return {**_EMPTY, **filled}


def tell(app: App, accepted: Accepted, survey: Survey) -> None:
    """The answer for people: facts, then imports, then numbers."""
    prepared = accepted.prepared
    exports = [f"{e.name} {e.type or e.kind}" for e in prepared.exports[:SHOWN_EXPORTS]]
    if len(prepared.exports) > SHOWN_EXPORTS:
        exports.append(f"and {len(prepared.exports) - SHOWN_EXPORTS} more")
    made = f", made by {', '.join(survey.made_by)}" if survey.made_by else ""
    how = "taken from the cache" if accepted.cached else "prepared"
    app.out.facts(
        [
            ("accepted", f"{accepted.name}, {len(accepted.data)} bytes, {prepared.functions} functions{made}"),
            ("entry", _entry(prepared)[1]),
            ("exports", "\n".join(exports) or "none"),
            ("memory", _memory_text(accepted, survey)),
            ("table", "none" if survey.table is None else f"{survey.table[0]} entries"),
            ("stack", f"{prepared.stack_bytes >> 10} KiB at most"),
            ("features", ", ".join(survey.features) or "none beyond the first version of WebAssembly"),
            ("prepared", f"{len(prepared.code)} bytes, {_growth(accepted, survey)} times the module without its custom "
                         f"sections; {how} in {accepted.prepare_ms} ms"),
        ]
    )  # fmt: skip
    app.out.line()
    if prepared.imports:
        rows = [[name, kind, permission, price] for name, kind, permission, price in map(_import_row, prepared.imports)]
        app.out.table(["Import", "Type", "Permission", "Price in fuel"], rows)
    else:
        app.out.line("It imports nothing.")
    app.out.line()
    app.out.table(["Limit", "Here>", "Allowed>", "Used>"], [_measure_row(m) for m in survey.measures])


def _growth(accepted: Accepted, survey: Survey) -> float:
    """Custom sections are dropped, so they don't count as what was before."""
    return round(len(accepted.prepared.code) / max(1, len(accepted.data) - survey.custom_bytes), 2)


def _entry(prepared: Prepared) -> tuple[str | None, str]:
    """What runs when a job names no function: the name, and a sentence."""
    from icn_lite.sandbox.entry import plan_entry
    from icn_lite.sandbox.outcome import RunRequest

    try:
        entry = plan_entry(RunRequest(prepared, max_pages=prepared.memory_max_pages))
    except UsageError as error:
        return None, f"none by itself: {error.hint or error.message}"
    if entry.is_wasi:
        return entry.name, f"{entry.name}: a WASI program, its input is stdin, its output stdout"
    if entry.takes_input:
        where = f"where {entry.alloc} says" if entry.alloc else "at 1024"
        return entry.name, f"{entry.name}: gets the input's pointer and length, the input lies {where}"
    return entry.name, f"{entry.name}: called without arguments, gives {' '.join(entry.results)}"


def _memory_json(accepted: Accepted, survey: Survey) -> Json:
    if survey.memory is None:
        return None
    return {
        "min": survey.memory[0],
        "max": survey.memory[1],
        "allowed": accepted.prepared.memory_max_pages,
        "imported": survey.memory_imported,
    }


def _memory_text(accepted: Accepted, survey: Survey) -> str:
    if survey.memory is None:
        return "none"
    imported = ", imported as env.memory and made its own" if survey.memory_imported else ""
    return f"{survey.memory[0]} pages at the start, {accepted.prepared.memory_max_pages} at most{imported}"


def _import_json(item: Import) -> Json:
    name, kind, permission, _ = _import_row(item)
    row = _host_row(item)
    return {
        "module": item.module,
        "name": name.removeprefix(f"{item.module}."),
        "type": kind,
        "permission": permission or None,
        "fuel_base": row[0],
        "fuel_per_byte": row[1],
    }


def _import_row(item: Import) -> tuple[str, str, str, str]:
    from icn_lite.wasm.hostfuncs import HOST_FUNCTIONS

    row = HOST_FUNCTIONS.get((item.module, item.name))
    base, per_byte = _host_row(item)
    price = f"{base} + {per_byte} a byte" if per_byte else str(base)
    return f"{item.module}.{item.name}", str(item.type), row.permission if row else "", price


def _host_row(item: Import) -> tuple[int, int]:
    """Price of a call, and of a byte where the function has any."""
    from icn_lite.wasm.hostfuncs import HOST_FUNCTIONS

    row = HOST_FUNCTIONS.get((item.module, item.name))
    if row is None:
        return 0, 0
    return row.fuel_base, 0 if row.byte_param is None else row.fuel_per_byte


def _measure_row(measure: Measure) -> list[str]:
    used = f"{100 * measure.value // measure.limit} %" if measure.limit else ""
    return [measure.name, str(measure.value), str(measure.limit), used]
