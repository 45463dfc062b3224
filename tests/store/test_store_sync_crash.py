"""Killed while receipts and acknowledgements are taken in: whole answers only, and marks that fit what is there."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "simulators"))

from mesh_library import MemoryLibrary
from store_samples import PYTHON, child_environment
from test_store_chains import ACKS, BRANCH, CHAIN, EVERYTHING, compare

from icn_lite.store.db import Store
from icn_lite.work.library import Known

SEED = 20_261_121
# In an order in which gaps are filled later and a word of an anchor comes early; a fork is known before its words.
ORDER: list[list[Known]] = [
    [CHAIN[0], CHAIN[2]],
    [CHAIN[3], BRANCH[0]],
    [ACKS[3], CHAIN[5]],
    [CHAIN[1], *BRANCH[1:]],
    [*ACKS[1:], CHAIN[4]],
    [*EVERYTHING],
]
WRITER = """
import os, signal, sys
from pathlib import Path
from test_store_sync_crash import ORDER
from icn_lite.node.library import StoreLibrary
from icn_lite.store.db import Store
store = Store.open(Path(sys.argv[1]))
left = int(sys.argv[2])
def step():
    global left
    left -= 1
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0
print("ready", flush=True)
store._db._connection.set_progress_handler(step, 1)
for number, some in enumerate(ORDER):
    with store.transaction():
        StoreLibrary(store).take(some)
    print(number, flush=True)
"""


def test_killed_in_the_middle_of_taking(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    choose = random.Random(SEED)
    environ = child_environment()
    environ["PYTHONPATH"] += f":{Path(__file__).resolve().parents[2] / 'tools' / 'simulators'}"
    done = 0
    for number in range(5):
        home = tmp_path / str(number)
        command = [PYTHON, "-c", WRITER, str(home), str(choose.randrange(50, 9_000))]
        child = subprocess.run(command, stdout=subprocess.PIPE, env=environ, text=True, timeout=120, check=False)
        said = child.stdout.split()
        assert child.returncode in (0, -signal.SIGKILL)
        assert said[0] == "ready"
        with Store.open(home) as store:
            # What was told is there, at most one answer more, and every answer whole.
            kept = next(n for n in (len(said) - 1, len(said)) if store.receipts.count() == _count(n))
            model = MemoryLibrary()
            for some in ORDER[:kept]:
                model.take(some)
            compare(store, model)
        done += child.returncode == -signal.SIGKILL
    assert done >= 3


def _count(answers: int) -> int:
    model = MemoryLibrary()
    for some in ORDER[:answers]:
        model.take(some)
    return len(model.receipts)
