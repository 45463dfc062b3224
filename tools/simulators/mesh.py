"""Many small worlds in which nodes sync receipts, each from its own seed; what is wrong with any of them is counted.

tools/sim_mesh --scenario sync --runs 1000 --seed 1 --json
tools/sim_mesh --scenario sync --runs 1 --seed 1 --first 417      one run of these again, with what went wrong
tools/sim_mesh --scenario sync --runs 200 --bug ack-before-commit  a bug on purpose: it has to be found
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time

from mesh_world import BUGS, World

SHOWN = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=("sync",), default="sync")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number of the first run")
    parser.add_argument("--bug", choices=sorted(BUGS), default="", help="build a bug in")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args()
    result = simulate(options.seed, options.first, options.runs, options.bug)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        for name, value in result.items():
            print(f"{name:<16} {value}")
    return 1 if result["violations"] else 0


def simulate(seed: int, first: int, runs: int, bug: str) -> dict[str, object]:
    """Run so many worlds; each depends on its seed and number alone."""
    begun_s = time.monotonic()
    events = nodes = receipts = forks = violations = 0
    largest = 0
    first_bad: str | None = None
    wrong: list[str] = []
    trace = hashlib.sha256()
    for number in range(first, first + runs):
        name = f"{seed}:{number}"
        world = World(name, bug)
        world.run()
        events += world.events
        nodes += len(world.nodes)
        largest = max(largest, len(world.nodes))
        receipts += len({cid for node in world.nodes.values() for cid in node.library.receipts})
        forks += len({pair for found in world.reported.values() for pair in found})
        trace.update(world.trace.digest())
        if world.violations:
            violations += 1
            first_bad = first_bad or name
            wrong += [f"{name}: {what}" for what in sorted(set(world.violations))][: max(0, SHOWN - len(wrong))]
    return {
        "scenario": "sync",
        "runs": runs,
        "violations": violations,
        "first_bad_seed": first_bad,
        "events": events,
        "nodes": nodes,
        "largest": largest,
        "receipts": receipts,
        "forks": forks,
        "wrong": wrong,
        "trace": trace.hexdigest()[:16],
        "seconds": round(time.monotonic() - begun_s, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
