"""`icn-lite status`: this node at a glance, from its home; it works while the node runs and while it doesn't."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.framework import command
from icn_lite.cli.live import ask_node
from icn_lite.cli.output import Json
from icn_lite.cli.reader import reading

if TYPE_CHECKING:
    from icn_lite.model.did import Did
    from icn_lite.store.db import Store

MAX_NOTE_BYTES: Final = 256


@command("status", examples=("icn-lite status", "icn-lite status --json"))
@pass_app
def status(app: App) -> None:
    """Show this node: identity, whether it runs, jobs, receipts, mana, blocks, peers, counters.

    While it runs it adds what only it knows: addresses, profile, leases, and as `icn-lite why` does, allowance, limits
    and the last hours of the device (`node` in JSON).
    """
    from icn_lite.cli import care_report
    from icn_lite.node.keys import read_key_file

    home = app.existing_home()
    key = read_key_file(home.key)
    holder = lock_holder(home.path / "lock")
    document: dict[str, Json] = {
        "did": str(key.did),
        "home": str(home.path),
        "sealed": key.sealed is not None,
        "running": holder is not None,
        "pid": int(holder["pid"]) if holder else None,
        "since": holder.get("since") if holder else None,
    }
    with reading(app) as store:
        document.update(_stored(store, key.did) if store else dict.fromkeys(_STORED))
    live = ask_node(home, "status") if holder else None
    document["node"] = live
    if app.as_json:
        app.out.document(document)
        return
    running = f"yes, process {document['pid']} since {document['since']}" if holder else "no"
    facts = [("did", str(key.did)), ("home", str(home.path)), ("running", running)]
    facts += [(name, _shown(document[name])) for name in _STORED]
    if isinstance(live, dict):
        told = {*document, "device", "allowance", "duty_pm", "reasons"}
        facts += [(name, _shown(value)) for name, value in live.items() if name not in told]
    app.out.facts(facts)
    device = live.get("device") if isinstance(live, dict) else None
    if isinstance(device, dict):
        app.out.line()
        care_report.tell(app.out, device)


_STORED: Final = ("mana", "jobs", "receipts", "chain_head", "blocks", "block_bytes", "peers", "counters")


def _stored(store: Store, did: Did) -> dict[str, Json]:
    head = store.receipts.head(did)
    return {
        "mana": store.ledger.balance(str(did)),
        "jobs": dict(Counter(f"{job.role.value} {job.status}" for job in store.jobs.list())),
        "receipts": store.receipts.count(),
        "chain_head": {"seq": head[0], "cid": str(head[1])} if head else None,
        "blocks": store.blocks.count,
        "block_bytes": store.blocks.total_bytes,
        "peers": len(store.peers.all()),
        "counters": dict(store.counters.all()),
    }


def _shown(value: Json) -> str:
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_shown(item)}" for name, item in value.items()) or "none"
    return "none" if value is None else str(value)


def lock_holder(path: Path) -> dict[str, str] | None:
    """The note of the process that holds the home, or None; the lock itself is not touched.

    A note is left behind by a process that was killed, so its process has to be alive as well.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_NOTE_BYTES).decode("ascii", "replace")
        note = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        os.kill(int(note["pid"]), 0)
    except PermissionError:
        return note  # it is alive, under another user
    except (OSError, KeyError, ValueError):
        return None
    return note
