"""Commands as this program has them: loaded when called, global options on every one, examples in every help.

`LazyGroup` knows its commands by a table of rows (name, module, one line of help), so that `icn-lite --help` imports
none of them. `command` and `group` make commands whose help ends with `examples`; a test runs those.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import click

from icn_lite.cli.app import App
from icn_lite.cli.output import Json, Output
from icn_lite.cli.report import PROGRAM as PROGRAM

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Row:
    """A command: the module that holds it under its own name, and its line in `--help`."""

    module: str
    help: str


def _remember(name: str) -> Callable[[click.Context, click.Parameter, object], None]:
    """A callback that keeps a global option in the invocation's `App`, wherever on the line it stood."""

    def callback(context: click.Context, parameter: click.Parameter, value: object) -> None:
        if value is not None:
            setattr(context.ensure_object(App), name, value)

    return callback


def global_options(*, hidden: bool) -> list[click.Parameter]:
    """`--json` and its companions: shown in the program's help, taken by every command."""

    def option(declaration: str, name: str, **extra: Any) -> click.Option:
        return click.Option(
            [declaration, f"_{name}"],
            expose_value=False,
            is_eager=True,
            callback=_remember(name),
            default=None,
            **extra,
        )

    json = option("--json", "as_json", is_flag=True, flag_value=True, help="Answer with one JSON document on stdout.")
    return [
        option("--home", "home_option", metavar="PATH", help="The node's folder.", hidden=hidden),
        json,
        option("--debug", "debug", is_flag=True, flag_value=True, help="Show tracebacks.", hidden=hidden),
        option("--no-color", "color", is_flag=True, flag_value=False, help="No colours.", hidden=hidden),
    ]


class _WithExamples(click.Command):
    """A command whose help ends with examples."""

    examples: Sequence[str] = ()
    _global: Sequence[click.Parameter] = ()

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own parameters and the global ones."""
        self._global = self._global or global_options(hidden=ctx.parent is not None)
        return [*super().get_params(ctx), *self._global]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, each on a line of its own, never folded."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


class Command(_WithExamples):
    """A command of icn-lite."""


class Group(_WithExamples, click.Group):
    """A command with commands of its own."""


class LazyGroup(Group):
    """The program: a group that imports a command's module when it is called."""

    rows: Mapping[str, Row] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the table's order, which is the order of a newcomer's day."""
        return list(self.rows)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        row = self.rows.get(cmd_name)
        if row is None:
            return None
        return cast(click.Command, getattr(importlib.import_module(row.module), cmd_name.replace("-", "_")))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Like click's, with a guess at what was meant."""
        if args and args[0] not in self.rows and not args[0].startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], self.rows, n=1)
            guess = f"Did you mean {near[0]!r}?" if near else f"`{PROGRAM} --help` lists the commands."
            ctx.fail(f"No such command {args[0]!r}. {guess}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table's lines; nothing is imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, row.help) for name, row in self.rows.items()])


def command(name: str, *, examples: Sequence[str], **extra: Any) -> Callable[[F], Command]:
    """A command; its docstring is its help, `examples` are lines that a person can type."""

    def decorate(function: F) -> Command:
        made = click.command(name, cls=Command, **extra)(function)
        made.examples = tuple(examples)
        return made

    return decorate


def group(name: str, *, examples: Sequence[str], **extra: Any) -> Callable[[F], Group]:
    """A command with commands of its own."""

    def decorate(function: F) -> Group:
        made = click.group(name, cls=Group, **extra)(function)
        made.examples = tuple(examples)
        return made

    return decorate


def subcommand(parent: Group, name: str, *, examples: Sequence[str], **extra: Any) -> Callable[[F], Command]:
    """A command under `parent`."""

    def decorate(function: F) -> Command:
        made = command(name, examples=examples, **extra)(function)
        parent.add_command(made)
        return made

    return decorate


def answer(out: Output, document: Json, lines: Sequence[str]) -> None:
    """One document with `--json`, else lines for people."""
    if out.as_json:
        out.document(document)
        return
    for line in lines:
        out.line(line)
