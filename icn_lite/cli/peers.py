"""`icn-lite peers`: the nodes that this one knows."""

from __future__ import annotations

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.framework import command
from icn_lite.cli.output import Json
from icn_lite.cli.reader import reading


@command("peers", examples=("icn-lite peers", "icn-lite peers --json"))
@pass_app
def peers(app: App) -> None:
    """List the peers that are remembered: who, where, and how each was found."""
    with reading(app) as store:
        found = store.peers.all() if store else ()
    if app.as_json:
        listed: list[Json] = [
            {"did": str(peer.did), "endpoints": list(peer.endpoints), "found": peer.found.value} for peer in found
        ]
        app.out.document({"peers": listed})
        return
    rows = [[str(peer.did), " ".join(peer.endpoints), peer.found.value] for peer in found]
    app.out.table(["Peer", "Endpoints", "Found by"], rows)
