"""`icn-lite run`: one module, here and now, with a signed receipt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.check import module_limits, reason_json, report_refusal, usable_cache
from icn_lite.cli.files import read_file, read_module, write_file
from icn_lite.cli.framework import command
from icn_lite.cli.output import Json
from icn_lite.model.errors import ModuleError, UsageError

if TYPE_CHECKING:
    from icn_lite.node.runner import LocalRun, RunOrder

MAX_FUEL: Final = (1 << 62) - 1
EXIT_BY_STATUS: Final = {"completed": 0, "failed": 1, "trapped": 4, "out_of_fuel": 5}


@command(
    "run",
    examples=(
        "icn-lite run add.wasm --invoke add i32:2 i32:40",
        "icn-lite run echo.wasm --input notes.txt --output copy.txt",
        "icn-lite run add.wasm --invoke add i32:7 i32:-1 --fuel 1000 --json",
    ),
    context_settings={"ignore_unknown_options": False},
)
@click.argument("module", metavar="MODULE")
@click.argument("words", metavar="[ARG]...", nargs=-1)
@click.option("--invoke", metavar="NAME", help="The exported function to call.  [default: _start, then run]")
@click.option("--input", "input_name", metavar="FILE", help="The run's input; '-' is stdin.")
@click.option("--output", "output_name", metavar="FILE", help="Where the output goes; '-' is stdout.")
@click.option("--fuel", type=click.IntRange(0, MAX_FUEL), default=1_000_000_000, show_default=True, help="Fuel limit.")
@click.option("--pages", type=click.IntRange(0, 65536), help="Most memory pages of 64 KiB.  [default: 160]")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.001, 86400), default=30.0, show_default=True, help="Seconds."
)
@click.option("--engine", type=click.Choice(["wasm3", "wasmtime"]), default="wasm3", show_default=True)
@click.option("--profile", metavar="NAME", help="Use the limits of this device profile.")
@click.option("--passphrase-file", metavar="FILE", help="Opens a sealed key.")
@pass_app
def run(
    app: App,
    module: str,
    words: tuple[str, ...],
    invoke: str | None,
    input_name: str | None,
    output_name: str | None,
    fuel: int,
    pages: int | None,
    timeout_s: float,
    engine: str,
    profile: str | None,
    passphrase_file: str | None,
) -> int:
    """Run the WASM file MODULE in the sandbox and keep a signed receipt.

    Arguments are typed: i32:7, i64:-1, f64:1.5 or, by its bits, f64:0x3ff8000000000000. A WASI program (`_start`)
    takes plain words instead; its stdin is the input, its stdout the output.

    Results and output go to stdout, everything else to stderr. Exits with 0 when the run completed (1 when the
    program itself ended with a code other than 0), 1 when it failed, 3 when the module was refused, 4 when it
    trapped, 5 when it ran out of fuel.

    Without an identity one is made, unsealed, and said so. While a node runs on the same home no receipt is stored.
    """
    if app.as_json and output_name == "-":
        raise UsageError("--output - and --json both want stdout", hint="write the output to a file")
    if module == "-" and input_name == "-":
        raise UsageError("module and input can't both come from stdin", hint="save one of them to a file")
    from icn_lite.node.runner import RunOrder, keep_prepared, prepare_order, run_locally
    from icn_lite.sandbox.outcome import MAX_INPUT_BYTES

    limits = module_limits(profile, pages)
    order = RunOrder(
        module=read_module(module, limits.module_bytes),
        input=b"" if input_name is None else read_file(input_name, most=MAX_INPUT_BYTES, what="input"),
        invoke=invoke,
        words=words,
        fuel_limit=fuel,
        pages=limits.memory_pages,
        timeout_ms=max(1, round(timeout_s * 1000)),
        engine=engine,
        limits=limits,
    )
    cache = usable_cache(app)
    try:
        prepared = prepare_order(order, cache)
    except ModuleError as error:
        report_refusal(app, module, order.module, error, _refused(order, error))
        return error.exit_code
    home = app.home_for_work()
    if cache is None:  # the home was made just now
        keep_prepared(order, prepared, home)
    done = run_locally(order, prepared, home, app.load_key(home, passphrase_file))
    return _report(app, order, done, output_name)


def _report(app: App, order: RunOrder, done: LocalRun, output_name: str | None) -> int:
    outcome = done.outcome
    if output_name is not None and outcome.status == "completed":
        write_file(output_name, outcome.output)
    if app.as_json:
        app.out.document(_document(order, done))
    else:
        _tell(app, done, show_output=output_name is None)
    if done.unstored:
        app.out.note(f"no receipt was stored: {done.unstored}")
    if outcome.status == "completed" and outcome.exit_code:
        return 1
    return EXIT_BY_STATUS[outcome.status]


def _tell(app: App, done: LocalRun, *, show_output: bool) -> None:
    """For people: results and output to stdout, the rest to stderr."""
    outcome = done.outcome
    spoken = b"".join(value.to_bytes() for value in outcome.results)
    if outcome.output in (b"", spoken):  # the guest wrote none of its own: its results are the output
        for value in outcome.results:
            app.out.line(str(value))
    else:
        if show_output:
            app.out.raw(outcome.output)
        if outcome.results:
            app.out.note(f"returned {' '.join(str(value) for value in outcome.results)}")
    if outcome.log:
        app.out.note(outcome.log.decode("utf-8", "replace").rstrip("\n"))
    why = outcome.trap or (f"{outcome.failure.value}: {outcome.detail}" if outcome.failure else "")
    ended = outcome.status + (f" ({why})" if why else "")
    if outcome.exit_code is not None:
        ended += f", exit code {outcome.exit_code}"
    app.out.note(f"{ended}; fuel {outcome.fuel_used} of {outcome.fuel_limit}, {outcome.wall_ms} ms, {outcome.engine}")
    if done.receipt is not None:
        app.out.note(f"receipt {done.receipt.cid}")


def _document(order: RunOrder, done: LocalRun) -> Json:
    outcome = done.outcome
    output = done.receipt.document.output if done.receipt else _output_cid(done)
    return {
        "status": outcome.status,
        "trap": outcome.trap if outcome.status == "trapped" else None,
        "exit_code": outcome.exit_code,
        "results": [str(value) for value in outcome.results],
        "fuel_used": min(outcome.fuel_used, order.fuel_limit),
        "fuel_limit": order.fuel_limit,
        "memory_pages_peak": outcome.memory_pages_peak,
        "module": str(done.module),
        "input": str(done.input),
        "output": str(output) if output else None,
        "output_bytes": len(outcome.output),
        "cpu_ms": outcome.cpu_ms,
        "wall_ms": outcome.wall_ms,
        "engine": outcome.engine,
        "meter": _meter(),
        "receipt": str(done.receipt.cid) if done.receipt else None,
        "receipt_error": done.unstored or None,
        "job": str(done.job.id),
        "host_calls": outcome.host_calls,
        "failure": outcome.failure.value if outcome.failure else None,
        "detail": outcome.detail or None,
        "log": outcome.log.decode("utf-8", "replace"),
        "reason": None,
    }


def _refused(order: RunOrder, error: ModuleError) -> dict[str, Json]:
    """The same keys for a module that never ran."""
    from icn_lite.model.unixfs import blob_cid

    nothing: dict[str, Json] = dict.fromkeys(
        ("trap", "exit_code", "output", "receipt", "receipt_error", "job", "failure", "detail")
    )
    zero: dict[str, Json] = dict.fromkeys(
        ("fuel_used", "memory_pages_peak", "output_bytes", "cpu_ms", "wall_ms", "host_calls"), 0
    )
    return {
        "status": "refused",
        **nothing,
        **zero,
        "results": [],
        "fuel_limit": order.fuel_limit,
        "module": str(blob_cid(order.module)) if len(order.module) <= order.limits.module_bytes else None,
        "input": str(blob_cid(order.input)),
        "engine": order.engine,
        "meter": _meter(),
        "log": "",
        "reason": reason_json(order.module, error),
    }


def _output_cid(done: LocalRun) -> object:
    from icn_lite.model.unixfs import blob_cid

    return blob_cid(done.outcome.output) if done.outcome.status == "completed" else None


def _meter() -> str:
    from icn_lite.wasm.prepare import METER

    return METER
