"""`icn-lite`: the entry, the table of commands, and the way every error takes to a person or a program.

Exit codes: 0 done, 1 failed, 2 usage, 3 module refused, 4 trapped, 5 out of fuel, 6 device refuses, 7 peer or
network, 8 verification failed, 130 interrupted. With `--json` an error is `{"error": {"code", "kind", "message",
"hint"}}` on stdout, usage errors too. A person sees one line and a hint; the traceback needs `--debug`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NoReturn

import click

import icn_lite
from icn_lite.cli.app import App
from icn_lite.cli.framework import PROGRAM, LazyGroup, Row
from icn_lite.cli.output import AnswerLost, flush_stdout
from icn_lite.cli.report import (
    EXIT_BROKEN_PIPE,
    EXIT_INTERRUPTED,
    as_fault,
    drop_stdout,
    report,
    settle_streams,
)
from icn_lite.model.errors import IcnLiteError, UsageError

COMPLETE_VARIABLE: Final = "_ICN_LITE_COMPLETE"  # set by the completion scripts

COMMANDS: Final = {
    "demo": Row("icn_lite.cli.demo", "Watch a real job run through three nodes on this machine."),
    "init": Row("icn_lite.cli.init", "Make this device's identity and settings."),
    "up": Row("icn_lite.cli.up", "Run this node until it is told to stop."),
    "coop": Row("icn_lite.cli.coop", "Make cooperatives, list one's own, put members out."),
    "invite": Row("icn_lite.cli.invite", "Invite another node into a cooperative."),
    "join": Row("icn_lite.cli.join", "Join a cooperative by an invitation."),
    "submit": Row("icn_lite.cli.submit", "Submit a job to the node that runs here."),
    "cancel": Row("icn_lite.cli.submit", "Call off a job that this node submitted."),
    "run": Row("icn_lite.cli.run", "Run a WASM module here and keep a signed receipt."),
    "guest": Row("icn_lite.cli.guest", "Begin a guest of one's own, in C, Rust or AssemblyScript."),
    "check": Row("icn_lite.cli.check", "Say whether a WASM module is accepted, and why not."),
    "status": Row("icn_lite.cli.status", "Show this node at a glance."),
    "why": Row("icn_lite.cli.why", "Say what this device may lend now, and why."),
    "jobs": Row("icn_lite.cli.jobs", "List jobs that this node submitted or works on."),
    "job": Row("icn_lite.cli.jobs", "Show a job with its receipts."),
    "work": Row("icn_lite.cli.work", "List work that was taken; carry work and receipts as a file."),
    "peers": Row("icn_lite.cli.peers", "List the nodes that this one knows."),
    "receipts": Row("icn_lite.cli.receipts", "List, show, verify and export receipts."),
    "bridge": Row("icn_lite.cli.bridge", "Run this node as a bridge to larger networks."),
    "profile": Row("icn_lite.cli.profile", "List, show, detect and check device profiles."),
    "bench": Row("icn_lite.cli.bench", "Measure this device and calibrate its profile."),
    "doctor": Row("icn_lite.cli.doctor", "Check this device: key, sandbox, engines, clock, disk."),
    "completion": Row("icn_lite.cli.completion", "Print a completion script for a shell."),
}


class Program(LazyGroup):
    """The program with the commands of this release."""

    rows = COMMANDS
    examples = (f"{PROGRAM} --help", f"{PROGRAM} doctor --json")


def _print_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        app = context.ensure_object(App)
        if app.as_json:
            app.out.document({"version": icn_lite.__version__})
        else:
            app.out.line(f"{PROGRAM} {icn_lite.__version__}")
        context.exit()


@click.group(PROGRAM, cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, expose_value=False, callback=_print_version, help="Show the version.", default=False
)
@click.pass_context
def program(context: click.Context) -> None:
    """The InterCooperative Network's node for small devices.

    Lends this device's spare compute to a local cooperative: runs shards of work in a sandbox, signs a receipt for
    every run, and pays and is paid in mana.

    State lives in one folder: --home, else ICN_LITE_HOME, else the platform's data folder.
    """
    context.ensure_object(App)


def run(arguments: Sequence[str], *, own_process: bool = False) -> int:
    """Run one command line; answers and errors are printed, the exit code is returned.

    Where the process is the program's own, `up` may replace what runs in it.
    """
    app = App(as_json=_asks_for(arguments, "--json"), debug=_asks_for(arguments, "--debug"), own_process=own_process)
    try:
        code = _answer(app, arguments)
        flush_stdout()
    except BrokenPipeError:
        drop_stdout()
        return EXIT_BROKEN_PIPE
    except AnswerLost as error:
        drop_stdout()
        return _report(replace(app, as_json=False), error)
    return code


def _answer(app: App, arguments: Sequence[str]) -> int:
    """The command's answer, or its error's."""
    try:
        return _invoke(app, arguments)
    except (AnswerLost, BrokenPipeError):
        raise
    except IcnLiteError as error:
        return _report(app, error)
    except click.ClickException as error:
        return _report(app, _as_usage_error(error))
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 -- the last catch: a fault of ours, said in one line as well
        return _report(app, as_fault(error))


def _invoke(app: App, arguments: Sequence[str]) -> int:
    """What click's own `main` does, without its handling of errors: that stands in `run`."""
    if COMPLETE_VARIABLE in os.environ:
        program.main([], prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE)  # answers the shell and exits
    try:
        with program.make_context(PROGRAM, list(arguments), obj=app) as context:
            code = program.invoke(context)
    except click.exceptions.Exit as done:
        return done.exit_code
    return code if isinstance(code, int) else 0


def _asks_for(arguments: Sequence[str], flag: str) -> bool:
    """Whether a global flag stands on the line; errors of parsing have to know before the line is parsed."""
    words = list(arguments)
    return flag in (words[: words.index("--")] if "--" in words else words)


def _report(app: App, error: IcnLiteError) -> int:
    return report(app.out, error, debug=app.debug)


def _as_usage_error(error: click.ClickException) -> UsageError:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else PROGRAM
    message = " ".join(error.format_message().split())
    usage = UsageError(message, hint=f"`{path} --help` shows what it takes")
    usage.__cause__ = error
    return usage


def main() -> NoReturn:
    """The console script."""
    settle_streams()
    try:
        code = run(sys.argv[1:], own_process=True)
    except BrokenPipeError:  # stderr is gone too
        code = EXIT_BROKEN_PIPE
    sys.exit(code)
