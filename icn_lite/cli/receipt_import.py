"""Taking receipts from a file: by the home's node where one runs, else straight into the home."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from icn_lite.cli.app import App
from icn_lite.model.errors import PeerError, UsageError
from icn_lite.model.sync import Give, SyncAsk, write_ask
from icn_lite.node.anchors import Anchors
from icn_lite.node.car import read_car
from icn_lite.node.clock import Clock
from icn_lite.node.config import load_config
from icn_lite.node.control import Json, ask
from icn_lite.node.home import Home
from icn_lite.node.importing import Imported, batches, import_blocks, is_known_kind
from icn_lite.node.memberships import Memberships
from icn_lite.store.db import Store

ANSWER_S: Final = 60.0  # of one batch: fifty signatures and a commit


class _Counted:
    """The signed blocks of a file, and how many others there were."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.others = 0

    def __iter__(self) -> Iterator[bytes]:
        for cid, block in read_car(self._stream):
            if is_known_kind(cid, block):
                yield block
            else:
                self.others += 1


def import_car(app: App, name: str, passphrase_file: str | None) -> tuple[Imported, int]:
    """Import a file, batch by batch; also returns how many other blocks it has."""
    home = app.existing_home()
    try:
        with Path(name).open("rb") as stream:
            blocks = _Counted(stream)
            found = (
                _through_the_node(home, blocks) if _runs(home) else _into_the_home(app, home, blocks, passphrase_file)
            )
    except OSError as error:
        raise UsageError(f"can't read {name}: {error.strerror}", hint="check the path") from error
    return found, blocks.others


def _runs(home: Home) -> bool:
    """Whether a node answers; a socket may be left of one that was killed."""
    if not home.control_socket.exists():
        return False
    try:
        ask(home.control_socket, {"command": "status"}, timeout_s=ANSWER_S)
    except PeerError:
        return False
    return True


def _through_the_node(home: Home, blocks: _Counted) -> Imported:
    found = Imported()
    for batch in batches(blocks):
        frame = write_ask(SyncAsk(Give(tuple(batch))))
        answer = ask(home.control_socket, {"command": "take_receipts"}, frame, timeout_s=ANSWER_S)
        found += _counts(answer)
    return found


def _counts(answer: Json) -> Imported:
    if not isinstance(answer, dict):
        raise PeerError("the node answered with no counts", hint="is it of the same version?")
    numbers = {name: value for name, value in answer.items() if isinstance(value, int)}
    return Imported(*(numbers.get(name, 0) for name in ("receipts", "acks", "known", "refused", "forks")))


def _into_the_home(app: App, home: Home, blocks: _Counted, passphrase_file: str | None) -> Imported:
    config = load_config(home.config, app.environ, {})
    memberships = Memberships(home.cooperatives, app.load_key(home, passphrase_file), Clock(), secrets.token_bytes)
    memberships.load()
    anchors = Anchors(frozenset(config.anchors), None if config.open else memberships)
    found = Imported()
    with Store.open(home.path) as store:
        for batch in batches(blocks):
            found += import_blocks(store, anchors, batch)
    return found
