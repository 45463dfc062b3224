"""`icn-lite bridge`: run this node as a bridge to larger networks, and see how they stand."""

from __future__ import annotations

import click

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.framework import group, subcommand
from icn_lite.cli.node_options import Words, node_options
from icn_lite.cli.output import Json


@group(
    "bridge",
    examples=(
        "icn-lite bridge --upstream 'nats://127.0.0.1:4222?domain=hub'",
        "icn-lite bridge status",
        "icn-lite bridge --json",
    ),
    invoke_without_command=True,
)
@click.option("--passphrase-file", metavar="FILE", help="Open the sealed key by the passphrase in FILE.")
@click.option("--until-eof", is_flag=True, help="Stop when standard input ends: for programs that start nodes.")
@node_options
@pass_app
@click.pass_context
def bridge(
    context: click.Context, app: App, /, passphrase_file: str | None, until_eof: bool, **settings: Words
) -> None:
    """Run this node as a bridge: jobs, bids, leases and receipts cross between this mesh and its upstreams.

    It is `icn-lite up` with at least one upstream, from the settings or --upstream. Its membership needs the role
    `bridge`: `icn-lite invite --role bridge` gives it. Upstreams are NATS hubs (nats://HOST:PORT or tls://HOST:PORT,
    with ?domain=NAME where the hub is behind a leaf node) and icn-core nodes, which take receipts and blocks
    (icn-core+http://HOST:PORT, with ?key-file=PATH for an API key).
    """
    if context.invoked_subcommand is not None:
        return
    from icn_lite.cli.up import up
    from icn_lite.model.errors import UsageError
    from icn_lite.node.config import load_config
    from icn_lite.node.upstreams import check_upstreams

    config = load_config(app.home_for_work().config, app.environ, settings)
    if not config.upstreams:
        raise UsageError(
            "upstreams: expected at least one, found none",
            hint="for example --upstream 'nats://127.0.0.1:4222?domain=hub'",
        )
    check_upstreams(config.upstreams)
    context.invoke(up, passphrase_file=passphrase_file, until_eof=until_eof, **settings)


@subcommand(bridge, "status", examples=("icn-lite bridge status", "icn-lite bridge status --json"))
@pass_app
def status(app: App) -> None:
    """Show each upstream: how it stands, what waits for it, its last error.

    Lag is how many receipts wait; refused are those that the upstream didn't take: they are kept and tried again.
    """
    from icn_lite.node.control import ask

    found = ask(app.existing_home().control_socket, {"command": "bridge_status"})
    if app.as_json:
        app.out.document(found)
        return
    assert isinstance(found, dict)
    app.out.line(f"{found['jobs_up']} jobs went up, {found['jobs_down']} came down")
    columns = {"upstream": "Upstream", "lag": "Lag>", "refused": "Refused>", "sent": "Sent>", "received": "Received>"}
    rows = found["upstreams"]
    assert isinstance(rows, list)
    shown = [row for row in rows if isinstance(row, dict)]
    names = [*columns.values(), "State"]
    app.out.table(names, [[*(_cell(row[key]) for key in columns), _cell(row["sentence"])] for row in shown])


@subcommand(bridge, "key", examples=("icn-lite bridge key", "icn-lite bridge key --json"))
@pass_app
def key(app: App) -> None:
    """Show the nkey with which this node logs in at a NATS hub, and the name under which the hub's subjects know it.

    Both follow from the node's DID. The hub's configuration lists the nkey as a user: see the bridge's README.
    """
    from icn_lite.bridge.nkey import public_nkey
    from icn_lite.node.keys import read_key_file

    did = read_key_file(app.existing_home().key).did
    facts = [("did", str(did)), ("nkey", public_nkey(did)), ("name", str(did).removeprefix("did:key:"))]
    if app.as_json:
        app.out.document(dict(facts))
    else:
        app.out.facts(facts)


def _cell(value: Json) -> str:
    return str(value)
