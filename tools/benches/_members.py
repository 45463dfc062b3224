"""What several benches share: members of one cooperative, as nodes are."""

from __future__ import annotations

import secrets
from pathlib import Path

from icn_lite.model.cose import KeySigner
from icn_lite.node.clock import Clock
from icn_lite.node.cooperatives import new_key
from icn_lite.node.fleet import enrol
from icn_lite.node.home import Home
from icn_lite.node.memberships import Memberships


def members(folder: Path, *names: str) -> list[Memberships]:
    """One's memberships each, of the same cooperative."""
    key, made = new_key(), []
    for name in names:
        home, signer = Home(folder / name), KeySigner(secrets.token_bytes(32))
        enrol(home, signer, key, "bench")
        made.append(Memberships(home.cooperatives, signer, Clock(), secrets.token_bytes))
        made[-1].load()
    return made
