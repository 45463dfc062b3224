"""Spoken with by Avahi: it resolves what we announce, and we find what it announces and notice when that is gone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import mesh_avahi
import pytest

from icn_lite.mesh.discovery import SERVICE

PROGRAMS = ("avahi-daemon", "avahi-browse", "avahi-publish-service", "dbus-daemon")
NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child")
WAIT_S = 60


def test_avahi_and_we_find_each_other() -> None:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{missing[0]} is missing (Debian: avahi-daemon, avahi-utils, dbus)")
    may = [*NAMESPACES, "sh", "-c", "mount -t tmpfs tmpfs /run && ip link set lo up"]
    if shutil.which("unshare") is None or subprocess.run(may, capture_output=True, check=False).returncode:
        pytest.skip("a network namespace can't be made here (root, util-linux's unshare, iproute2, mounts)")
    script = Path(mesh_avahi.__file__)
    done = subprocess.run(
        [*NAMESPACES, sys.executable, str(script)], capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    _, interface, protocol, _, kind, domain, _, address, port, txt = told["ours"]
    assert (interface, protocol, kind, domain) == ("lo", "IPv4", mesh_avahi.TYPE, "local")
    assert (address, port) == ("127.0.0.1", str(mesh_avahi.OUR_PORT))
    assert f'"did={mesh_avahi.OURS.did}"' in txt.split()
    assert {f'"port={mesh_avahi.OUR_PORT}"', '"v=1"'} <= set(txt.split())
    assert told["did"] == str(mesh_avahi.THEIRS.did)
    assert f"coap://127.0.0.1:{mesh_avahi.THEIR_PORT}" in told["uris"]
    assert told["withdrawn"] == f"theirs.{SERVICE}"
