"""`icn-lite invite`: let one more node into a cooperative."""

from __future__ import annotations

import io
import sys

import click

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.framework import command
from icn_lite.cli.output import write_stdout
from icn_lite.node.control import Json

WHITE_ON_BLACK = "\x1b[97;40m"  # so that the code is read whatever the terminal's colours are
RESET = "\x1b[0m"
ROLES = ("execute", "submit", "bridge", "admin")


@command(
    "invite",
    examples=(
        "icn-lite invite",
        "icn-lite invite --role execute --minutes 60",
        "icn-lite invite --coop home --role execute --role submit --json",
    ),
)
@click.option("--coop", "coop", metavar="NAME", help="The cooperative, where this node may choose.")
@click.option("--role", "roles", type=click.Choice(ROLES), multiple=True, help="What the member may do; several times.")
@click.option("--scope", metavar="NAME", help="The circle within the cooperative in which the membership counts.")
@click.option("--days", type=int, default=365, show_default=True, help="How long the membership lasts.")
@click.option("--minutes", type=int, default=15, show_default=True, help="How long the invitation may be used.")
@pass_app
def invite(app: App, /, coop: str | None, roles: tuple[str, ...], scope: str | None, days: int, minutes: int) -> None:
    """Print an invitation that one other node may use once: a URI, and in a terminal its QR code.

    The URI is a secret for as long as it may be used: whoever has it first, joins. Without --role the member may
    execute and submit. The node must run, because the other one comes to it to join: `icn-lite join URI` there.
    """
    from icn_lite.model.errors import PeerError
    from icn_lite.node.control import ask

    home = app.existing_home()
    request: dict[str, Json] = {"command": "invite", "coop": coop, "scope": scope, "days": days, "minutes": minutes}
    request["roles"] = list[Json](roles)
    made = ask(home.control_socket, request)
    if not isinstance(made, dict):
        raise PeerError("the node answered with something else", hint="is it another version?")
    if app.as_json:
        app.out.document(made)
        return
    uri = str(made["uri"])
    if sys.stdout.isatty():
        write_stdout(qr_code(uri))
    app.out.line(uri)
    app.out.note(f"Cooperative {made['name']}, fingerprint {grouped(str(made['fingerprint']))}")
    app.out.note(f"On the other device, within {minutes} minutes:  icn-lite join '{uri}'")


def qr_code(text: str) -> str:
    """A QR code of half blocks, with its quiet zone."""
    import segno

    drawn = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(out=drawn, border=2, compact=True)
    return "".join(f"{WHITE_ON_BLACK}{line}{RESET}\n" for line in drawn.getvalue().splitlines())


def grouped(text: str) -> str:
    """In fours, for two people to compare."""
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))
