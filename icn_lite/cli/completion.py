"""`icn-lite completion`: the script that a shell evaluates to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.framework import PROGRAM, command
from icn_lite.cli.main import COMPLETE_VARIABLE, program


@command(
    "completion",
    examples=(
        'eval "$(icn-lite completion bash)"',
        "icn-lite completion fish > ~/.config/fish/completions/icn-lite.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_app
def completion(app: App, shell: str) -> None:
    """Print a completion script for SHELL."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"the installed click completes no {shell}")
    source = kind(program, {}, PROGRAM, COMPLETE_VARIABLE).source()
    if app.as_json:
        app.out.document({"shell": shell, "script": source})
    else:
        app.out.raw(source.encode())
