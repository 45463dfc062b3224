"""`icn-lite check`: whether a module would be accepted, and if not what its author can do about it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.files import read_module, write_file
from icn_lite.cli.framework import command
from icn_lite.cli.output import Json
from icn_lite.model.errors import ModuleError, UsageError

if TYPE_CHECKING:
    from icn_lite.wasm.limits import Limits


@command(
    "check",
    examples=(
        "icn-lite check add.wasm",
        "icn-lite check add.wasm --json",
        "icn-lite check add.wasm --emit prepared.wasm",
    ),
)
@click.argument("module", metavar="MODULE")
@click.option("--emit", metavar="FILE", help="Write the prepared module: metered, bounded, for any engine.")
@click.option("--profile", metavar="NAME", help="Check against the limits of this device profile.")
@click.option("--pages", type=click.IntRange(0, 65536), help="Most memory pages of 64 KiB.  [default: 160]")
@pass_app
def check(app: App, module: str, emit: str | None, profile: str | None, pages: int | None) -> int:
    """Say whether the WASM file MODULE is accepted, and why not.

    It is validated, held against the structural limits, and prepared: rewritten with fuel metering and bounds. Exits
    with 0 when it is accepted, with 3 when it is refused.
    """
    from icn_lite.wasm.prepare import prepare

    if app.as_json and emit == "-":
        raise UsageError("--emit - and --json both want stdout", hint="write the module to a file")
    limits = module_limits(profile, pages)
    data = read_module(module, limits.module_bytes)
    started_ns = time.perf_counter_ns()
    try:
        prepared = prepare(data, limits)
    except ModuleError as error:
        document: dict[str, Json] = {
            "accepted": False,
            "reason": reason_json(error),
            "imports": [],
            "exports": [],
            "functions": None,
            "prepared_bytes": None,
            "prepare_ms": _elapsed_ms(started_ns),
        }
        report_refusal(app, module, error, document)
        return error.exit_code
    document = {
        "accepted": True,
        "reason": None,
        "imports": [{"module": i.module, "name": i.name, "type": str(i.type)} for i in prepared.imports],
        "exports": [
            {"name": e.name, "kind": e.kind, "type": str(e.type) if e.type else None} for e in prepared.exports
        ],
        "functions": prepared.functions,
        "prepared_bytes": len(prepared.code),
        "prepare_ms": _elapsed_ms(started_ns),
    }
    if emit is not None:
        write_file(emit, prepared.code)
    if app.as_json:
        app.out.document(document)
    elif emit != "-":
        imports = [f"{i.module}.{i.name} {i.type}" for i in prepared.imports]
        exports = [f"{e.name} {e.type or e.kind}" for e in prepared.exports]
        facts = [
            ("accepted", f"{module}, {len(data)} bytes, {prepared.functions} functions"),
            ("prepared", f"{len(prepared.code)} bytes in {document['prepare_ms']} ms"),
            ("imports", "\n".join(imports) or "none"),
            ("exports", "\n".join(exports) or "none"),
        ]
        app.out.facts(facts)
    return 0


def module_limits(profile: str | None, pages: int | None) -> Limits:
    """The limits of a profile, or the defaults; `pages` overrides."""
    from dataclasses import replace

    from icn_lite.wasm.limits import DEFAULT_LIMITS

    limits = DEFAULT_LIMITS
    if profile is not None:
        from icn_lite.device.catalogue import load_profile
        from icn_lite.node.runner import profile_limits

        limits = profile_limits(load_profile(profile))
    return limits if pages is None else replace(limits, memory_pages=pages)


def reason_json(error: ModuleError) -> Json:
    """Why a module is refused."""
    return {
        "kind": error.reason,
        "offset": error.offset,
        "message": error.message,
        "function": error.function,
        "hint": error.hint,
    }


def report_refusal(app: App, module: str, error: ModuleError, document: dict[str, Json]) -> None:
    """A refusal for people or programs."""
    if app.as_json:
        app.out.document({**document, "error": error.as_json()})
        return
    where = "" if error.offset is None else f" at byte {error.offset:#x}"
    app.out.note(f"{module}: {error.reason}{where}: {error.message}")
    if error.hint:
        app.out.note(f"  hint: {error.hint}")


def _elapsed_ms(started_ns: int) -> float:
    return round((time.perf_counter_ns() - started_ns) / 1e6, 3)
