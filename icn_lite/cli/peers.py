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
    """List the peers: who, where, and how each was found (static, mdns, multicast, directory, invited, met, relay).

    While this node runs also which are live, their round-trip time, when each was last heard, battery and allowance;
    and who is reached through others only: how many hops away, and through which neighbour.
    """
    home = app.existing_home()
    live = ask_node(home, "peers")
    rows = [row for row in live if isinstance(row, dict)] if isinstance(live, list) else _remembered(app)
    if app.as_json:
        app.out.document({"running": live is not None, "peers": rows})
        return
    columns = {"did": "Peer", "endpoints": "Endpoints", "found": "Found by"}
    if live is not None:
        columns |= {
            "live": "Live",
            "hops": "Hops>",
            "via": "Via",
            "rtt_ms": "RTT ms>",
            "heard_ms_ago": "Last seen>",
            "battery_pct": "Battery>",
            "allowance": "Allowance",
            "profile": "Profile",
        }
    app.out.table(list(columns.values()), [[_cell(name, row.get(name)) for name in columns] for row in rows])


def _remembered(app: App) -> list[dict[str, Json]]:
    """The peers in the store."""
    with reading(app) as store:
        found = store.peers.all() if store else ()
    return [{"did": str(p.did), "endpoints": list(p.endpoints), "found": p.found.value} for p in found]


def _cell(name: str, value: Json) -> str:
    if name == "heard_ms_ago" and isinstance(value, int):
        seconds = value // 1000
        return f"{seconds} s ago" if seconds < 120 else f"{seconds // 60} min ago"
    if name == "battery_pct" and value is not None:
        return f"{value} %"
    if name == "via" and isinstance(value, str):
        return value[-8:]  # its end is in the first column too
    return _shown(value)


def _shown(value: Json) -> str:
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
