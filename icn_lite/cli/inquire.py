"""What `icn-lite job` asks of other nodes, through the one that runs here: a guest's log, and how a job stands."""

from __future__ import annotations

import codecs
from typing import Final

from icn_lite.cli.app import App
from icn_lite.cli.output import Json, flatten, flush_stdout, printable, write_stdout
from icn_lite.model.errors import PeerError
from icn_lite.node.control import Json as Answer
from icn_lite.node.control import ask

WAIT_MS: Final = 10_000  # for more of a log, each time
ANSWER_S: Final = 45.0  # a way through relays, tried twice


def show_log(app: App, cid: str, shard: int, *, follow: bool) -> None:
    """Print what the guest of a shard has said, and with `follow` what it says until its end."""
    said, last = bytearray(), dict[str, Answer]()
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode  # a character may be cut between two pieces
    while True:
        fields: dict[str, Answer] = {"job": cid, "shard": shard, "from": len(said), "wait_ms": WAIT_MS if follow else 0}
        if isinstance(last.get("executor"), str):
            fields["executor"] = last["executor"]  # another one's log has other offsets
        last = _asked(app, "log", fields)
        data = bytes.fromhex(str(last["data"]))
        said += data
        if not app.as_json:
            write_stdout(printable(decode(data)))
            flush_stdout()
        if last["ended"] or not (data or follow):
            break
    if app.as_json:
        told: dict[str, Json] = {name: last[name] for name in ("executor", "lease", "shard", "ended")}
        app.out.document({"job": cid, **told, "bytes": len(said), "text": said.decode("utf-8", "replace")})


def show_status_at(app: App, cid: str, of: str) -> None:
    """Show how a job stands at the node that submitted it."""
    told = _asked(app, "job_at", {"job": cid, "of": of})
    if app.as_json:
        app.out.document(told)
    else:
        app.out.facts(flatten(told))


def _asked(app: App, command: str, fields: dict[str, Answer]) -> dict[str, Answer]:
    home = app.existing_home()
    if not home.control_socket.exists():
        raise PeerError("no node runs on this home, and another one has to be asked", hint="start it: `icn-lite up`")
    answer = ask(home.control_socket, {**fields, "command": command}, timeout_s=ANSWER_S)
    if not isinstance(answer, dict):
        raise PeerError(f"the node answered {command} with something else", hint="is it another version?")
    return answer
