"""`icn-lite check`: whether a module would be accepted, what it needs, and if it is refused what its author can do."""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.files import read_module, write_file
from icn_lite.cli.framework import command
from icn_lite.cli.output import Json
from icn_lite.model.errors import ModuleError, StoreError, UsageError

if TYPE_CHECKING:
    from icn_lite.node.prepared_cache import PreparedCache
    from icn_lite.wasm.limits import Limits
    from icn_lite.wasm.prepared import Prepared
    from icn_lite.wasm.survey import Survey


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted module: its name and bytes, what became of it, and how long that took."""

    name: str
    data: bytes
    limits: Limits
    prepared: Prepared
    cached: bool
    prepare_ms: float


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
@click.option("--fresh", is_flag=True, help="Prepare it anew, even when that was done before.")
@pass_app
def check(app: App, module: str, emit: str | None, profile: str | None, pages: int | None, fresh: bool) -> int:
    """Say whether the WASM file MODULE is accepted, what it needs, or why it is refused.

    It is validated, held against the structural limits, and prepared: rewritten with fuel metering and bounds. Exits
    with 0 when it is accepted, with 3 when it is refused; then the fault's place is told, and the compilers' flags
    that avoid it.
    """
    from icn_lite.cli.check_report import document_of, tell

    if app.as_json and emit == "-":
        raise UsageError("--emit - and --json both want stdout", hint="write the module to a file")
    limits = module_limits(profile, pages)
    data = read_module(module, limits.module_bytes)
    importlib.import_module("icn_lite.wasm.prepare")  # loading it is no part of what is timed
    cache = None if fresh else usable_cache(app)
    started_ns = time.perf_counter_ns()
    try:
        prepared, cached = _prepare(data, limits, cache)
    except ModuleError as error:
        document = {**document_of(None, None), "prepare_ms": _elapsed_ms(started_ns)}
        document["reason"] = reason_json(data, error)
        report_refusal(app, module, data, error, document)
        return error.exit_code
    accepted = Accepted(module, data, limits, prepared, cached, _elapsed_ms(started_ns))
    if emit is not None:
        write_file(emit, prepared.code)
    if app.as_json:
        app.out.document(document_of(accepted, _survey(accepted)))
    elif emit != "-":
        tell(app, accepted, _survey(accepted))
    return 0


def _prepare(data: bytes, limits: Limits, cache: PreparedCache | None) -> tuple[Prepared, bool]:
    from icn_lite.node.preparing import known_module, prepare_module

    known = known_module(data, limits, cache)
    return (known, True) if known is not None else (prepare_module(data, limits, cache), False)


def _survey(accepted: Accepted) -> Survey:
    from icn_lite.wasm.survey import survey

    return survey(accepted.data, accepted.limits)


def usable_cache(app: App) -> PreparedCache | None:
    """The home's prepared modules; None where there is no home yet, or none that may be trusted."""
    from icn_lite.node.prepared_cache import PreparedCache

    home = app.home
    try:
        home.check()
    except StoreError:
        return None
    return PreparedCache(home.prepared)


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


def reason_json(data: bytes, error: ModuleError) -> Json:
    """Why a module is refused: what, where, and what to do, with the flag of each compiler that has one."""
    from icn_lite.wasm.advice import advise
    from icn_lite.wasm.sections import locate

    place, advice = locate(data, error), advise(data, error)
    return {
        "kind": error.reason,
        "offset": error.offset,
        "message": error.message,
        "function": place.function,
        "function_name": place.name,
        "section": place.section,
        "place": str(place),
        "hint": advice.text,
        "flags": dict(advice.flags),
    }


def report_refusal(app: App, module: str, data: bytes, error: ModuleError, document: dict[str, Json]) -> None:
    """A refusal for people or programs."""
    if app.as_json:
        app.out.document({**document, "error": error.as_json()})
        return
    from icn_lite.wasm.advice import advise
    from icn_lite.wasm.sections import locate

    place, advice = str(locate(data, error)), advise(data, error)
    app.out.note(f"{module} is refused ({error.reason}): {error.message}")
    lines = [("where", place), ("hint", advice.text), *advice.flags]
    for name, text in lines:
        if text:
            app.out.note(f"  {name:<6} {text}")


def _elapsed_ms(started_ns: int) -> float:
    return round((time.perf_counter_ns() - started_ns) / 1e6, 3)
