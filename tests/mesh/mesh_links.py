"""Links of the tests: network namespaces joined by veth pairs, made with iproute2 where the kernel lets us."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
WAIT_S = 60

# Runs in a namespace of its own: makes a second one, joins both by links, and runs one program in each.
_STAGE = r"""
set -eu
ip link set lo up
unshare --net sh -c 'ip link set lo up; echo $$ >"$1"; exec sleep 60' sh "$1/pid" & other=$!
trap 'kill $other 2>/dev/null' EXIT
while ! [ -s "$1/pid" ]; do sleep 0.02; done
there=$(cat "$1/pid")
for n in $(seq 1 "$2"); do
  ip link add "here$n" type veth peer name "there$n"
  ip link set "there$n" netns "$there"
done
nsenter --net="/proc/$there/ns/net" sh -c "$3"
eval "$4"
nsenter --net="/proc/$there/ns/net" "$5" -W error -c "$6" >"$1/asked" 2>"$1/asked.err" & asked=$!
"$5" -W error -c "$7"
{ kill $asked; wait $asked || true; } 2>/dev/null
cat "$1/asked.err" >&2
"""


def on_two_machines(folder: Path, links: int, set_up: tuple[str, str], programs: tuple[str, str]) -> object:
    """Run a server there and a client here; `set_up` is shell for each side. Returns the client's JSON."""
    for name, package in (("ip", "iproute2"), ("unshare", "util-linux"), ("nsenter", "util-linux")):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is missing (Debian: {package})")
    enter = ["unshare", "--user", "--map-root-user", "--net"]
    probe = subprocess.run(
        [*enter, "ip", "link", "add", "x", "type", "veth", "peer", "name", "y"], capture_output=True, check=False
    )
    if probe.returncode:
        pytest.skip("links between network namespaces can't be made here (veth, or the kernel's permission)")
    done = subprocess.run(
        [*enter, "sh", "-c", _STAGE, "sh", str(folder), str(links), *set_up, sys.executable, *programs],
        capture_output=True, text=True, timeout=WAIT_S, check=False, cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{HERE}", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    found: object = json.loads(done.stdout)
    return found
