"""`icn-lite up`: run this node until it is told to stop."""

from __future__ import annotations

import click

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.framework import command
from icn_lite.cli.node_options import Words, node_options


@command(
    "up", examples=("icn-lite up", "icn-lite up --port 5683 --peer coap://192.168.1.20:5683", "icn-lite up --json")
)
@click.option("--passphrase-file", metavar="FILE", help="Open the sealed key by the passphrase in FILE.")
@click.option("--until-eof", is_flag=True, help="Stop when standard input ends: for programs that start nodes.")
@node_options
@pass_app
def up(app: App, /, passphrase_file: str | None, until_eof: bool, **settings: Words) -> None:
    """Run this node: find neighbours, bid on their jobs when the device allows it, run shards, deliver receipts.

    Ctrl-C or SIGTERM stop it; what was taken is taken up again at the next start. With --json one document is
    printed when the node listens.
    """
    from icn_lite.cli.daemon import Order, hand_over, serve
    from icn_lite.node.config import load_config

    home = app.home_for_work()
    load_config(home.config, app.environ, settings)  # what is wrong with them is said before anything begins
    seed = app.load_key(home, passphrase_file).seed
    given = {name: words for name, words in settings.items() if words not in (None, ())}
    order = Order(str(home.path), seed, given, until_eof=until_eof, as_json=app.as_json, debug=app.debug)
    if app.own_process:
        hand_over(order)
    serve(order)
