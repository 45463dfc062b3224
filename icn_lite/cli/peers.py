"""`icn-lite peers`: the nodes that this one knows."""

from __future__ import annotations

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.framework import command
from icn_lite.cli.live import ask_node
from icn_lite.cli.output import Json
from icn_lite.cli.reader import reading


@command("peers", examples=("icn-lite peers", "icn-lite peers --json"))
@pass_app
def peers(app: App) -> None:
    """List the peers: who, where, how each was found, and, while this node runs, which are live and what they offer."""
    home = app.existing_home()
    live = ask_node(home, "peers")
    rows = [row for row in live if isinstance(row, dict)] if isinstance(live, list) else _remembered(app)
    if app.as_json:
        app.out.document({"running": live is not None, "peers": rows})
        return
    columns = {"did": "Peer", "endpoints": "Endpoints", "found": "Found by"}
    if live is not None:
        columns |= {"live": "Live", "rtt_ms": "RTT ms>", "profile": "Profile", "allowance": "Allowance"}
    app.out.table(list(columns.values()), [[_shown(row.get(name)) for name in columns] for row in rows])


def _remembered(app: App) -> list[dict[str, Json]]:
    """The peers in the store."""
    with reading(app) as store:
        found = store.peers.all() if store else ()
    return [{"did": str(p.did), "endpoints": list(p.endpoints), "found": p.found.value} for p in found]


def _shown(value: Json) -> str:
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
