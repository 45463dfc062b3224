"""What `doctor` says of the port, of multicast and of the clock, and what `peers` shows of each neighbour."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from icn_lite.cli import peers
from icn_lite.mesh import multicast

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Program


def findings(icn: Program, topic: str) -> list[dict[str, str | None]]:
    return [found for found in icn("doctor", "--json").json["findings"] if found["topic"] == topic]


@pytest.mark.parametrize(
    ("back", "state", "text"),
    [
        ({"eth0": True, "wlan0": False}, "ok", "comes back on eth0; not on wlan0"),
        ({"eth0": True}, "ok", "comes back on eth0"),
        ({"wlan0": False}, "warning", "no multicast comes back on wlan0"),
        ({}, "warning", "there is no network interface"),
    ],
)
def test_multicast(icn: Program, monkeypatch: pytest.MonkeyPatch, back: dict[str, bool], state: str, text: str) -> None:
    monkeypatch.setattr(multicast, "comes_back", lambda wait_ms: back)
    (found,) = findings(icn, "multicast")
    assert (found["state"], found["text"]) == (state, text)
    assert (found["hint"] is not None) == (state == "warning")
    if state == "warning":
        assert "--peer" in str(found["hint"])


def test_ports(icn: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multicast, "comes_back", lambda wait_ms: {})
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("ICN_LITE_BIND", "127.0.0.1")
        monkeypatch.setenv("ICN_LITE_PORT", str(port))
        (busy,) = findings(icn, "ports")
        assert (busy["state"], f"port {port}" in str(busy["text"])) == ("warning", True)
        assert "--port" in str(busy["hint"])
    (free,) = findings(icn, "ports")
    assert (free["state"], free["text"]) == ("ok", f"UDP and TCP {port} on 127.0.0.1 are free for this node")


def test_the_clock(icn: Program, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multicast, "comes_back", lambda wait_ms: {})
    (right,) = findings(icn, "clock")
    assert (right["state"], right["hint"]) == ("ok", None)
    icn("init")
    assert findings(icn, "clock") == [right]
    key = next(path for path in home.iterdir() if path.is_file())
    now_s = time.time()
    os.utime(key, (now_s + 7_230, now_s + 7_230))
    (behind,) = findings(icn, "clock")
    assert (behind["state"], "at least 120 min behind" in str(behind["text"])) == ("warning", True)
    assert "NTP" in str(behind["hint"])
    with monkeypatch.context() as never_set:
        never_set.setattr(time, "time", lambda: 86_400.0)
        (unset,) = findings(icn, "clock")
    assert (unset["state"], "86400 s since 1970" in str(unset["text"])) == ("warning", True)
    assert "NTP" in str(unset["hint"])


def test_how_a_peer_is_shown() -> None:
    shown = [peers._cell(name, value) for name, value in (
        ("heard_ms_ago", 61_500), ("heard_ms_ago", 600_000), ("battery_pct", 80), ("battery_pct", None), ("live", True),
        ("hops", 3), ("via", "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw"), ("via", None),
    )]  # fmt: skip
    assert shown == ["61 s ago", "10 min ago", "80 %", "", "yes", "3", "Zq7oMMsw", ""]
