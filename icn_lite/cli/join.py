"""`icn-lite join`: become a member of a cooperative."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.coop import ask_running
from icn_lite.cli.framework import answer, command
from icn_lite.cli.output import Json

if TYPE_CHECKING:
    from icn_lite.model.invitation import Invitation


@command(
    "join",
    examples=(
        "icn-lite join 'icn://192.168.1.20:5683/join?f=…&t=…&n=home'",
        "icn-lite join --json 'icn://192.168.1.20:5683/join?f=…&t=…&n=home'",
    ),
)
@click.argument("uri")
@pass_app
def join(app: App, uri: str) -> None:
    """Join the cooperative of an invitation that `icn-lite invite` printed on another device.

    That device is reached at the address in the URI, has to show that it belongs to the cooperative whose fingerprint
    stands there, and gives this node a membership. It works whether this node runs or not. With - for the URI it is
    read from standard input: what stands on a command line, every user of this device can read while it runs.
    """
    from icn_lite.model.invitation import MAX_URI_CHARS, Invitation

    app.home_for_work()
    if uri == "-":
        uri = sys.stdin.readline(MAX_URI_CHARS + 2).strip()
    invitation = Invitation.parse(uri)
    joined = ask_running(app, "join", {"uri": uri})
    if not isinstance(joined, dict):
        joined = _alone(app, invitation)
    answer(
        app.out,
        joined,
        [
            f"Joined       {joined['name']}",
            f"Fingerprint  {joined['fingerprint']}",
            f"Roles        {' '.join(map(str, _list(joined['roles'])))}",
        ],
    )


def _alone(app: App, invitation: Invitation) -> dict[str, Json]:
    """Join while no node runs."""
    from icn_lite.cli.coop import memberships_of
    from icn_lite.node.joining import join_from_home
    from icn_lite.node.views import cooperative_view

    with memberships_of(app) as memberships:
        joined = asyncio.run(join_from_home(memberships, invitation))
        return dict(cooperative_view(memberships, joined))


def _list(value: Json) -> list[Json]:
    return list(value) if isinstance(value, list) else []
