from __future__ import annotations

import sys
from pathlib import Path

import pytest

for folder in ("bridge", "mesh", "store", "node"):  # documents are made where they are tested
    sys.path.append(str(Path(__file__).parents[1] / folder))


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for silent hubs a second at most."""
    from icn_lite.bridge import nats

    for name in ("ANSWER_S", "PULL_S", "HEARTBEAT_S"):
        monkeypatch.setattr(nats, name, 1.0)
