"""How much longer four nodes take for a job while fifty mean harm: slow, half-open, oversize, replaying, flooding.

A coordinator and three executors, each a process of its own; the fifty are one further process (`_mob.py`). The same
job in turns, undisturbed and disturbed, after one that doesn't count. What the fifty cost this machine is part of it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from icn_lite.node.fleet import enrol, fleet
from icn_lite.node.home import Home
from icn_lite.node.keys import create_key

sys.path.insert(0, str(Path(__file__).parent))
from _jobs import crew, make_shards, settle_s

EXECUTORS = 3
SHARDS = 24
ROUNDS = 3
HOSTILE = 50
GOAL = 2.0  # times as long as undisturbed
MOB = Path(__file__).with_name("_mob.py")
END_S = 30

Row = dict[str, str | int | float | bool | None]


def rows() -> Iterator[Row]:
    quiet, disturbed, strokes = [], [], 0
    with tempfile.TemporaryDirectory(prefix="icn-bench-") as folder, fleet(Path(folder)) as nodes:
        coordinator, executors = crew(nodes, EXECUTORS)
        home = Home(Path(folder) / "traitor")
        home.create()
        enrol(home, create_key(home.key, None), nodes._cooperative, "fleet")
        shards = make_shards(SHARDS)
        settle_s(coordinator, shards)
        for _ in range(ROUNDS):
            quiet.append(settle_s(coordinator, shards))
            with _mob(home, [node.port for node in (coordinator, *executors)]) as mob:
                disturbed.append(settle_s(coordinator, shards))
                told, _ = mob.communicate(timeout=END_S)
            strokes += sum(json.loads(told.splitlines()[-1]).values())
    ratio = statistics.median(disturbed) / statistics.median(quiet)
    yield {"name": f"a job of {SHARDS} shards among {HOSTILE} hostile sessions, undisturbed = 1", "value":
           round(ratio, 2), "unit": "times", "baseline": 1, "goal": GOAL, "ok": ratio < GOAL}  # fmt: skip
    yield {"name": "the same job (baseline: undisturbed)", "value": round(statistics.median(disturbed), 2), "unit": "s",
           "baseline": round(statistics.median(quiet), 2)}  # fmt: skip
    yield {"name": "what the fifty did meanwhile", "value": round(strokes / sum(disturbed)), "unit": "strokes/s"}


def _mob(home: Home, ports: list[int]) -> subprocess.Popen[str]:
    """The fifty, who have begun."""
    process = subprocess.Popen(
        [sys.executable, str(MOB), str(home.path), *map(str, ports)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        process.kill()
        process.wait()
        raise RuntimeError("the fifty did not begin")
    process.stdin.write("go\n")
    process.stdin.flush()
    return process
