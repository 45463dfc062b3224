"""A cooperative's market over a day: simulated devices and jobs, the node's own bidding, scoring, selection, shards.

The same jobs, devices, audiences and mishaps meet three ways of choosing: by score (`mesh-job-protocol.md` §3.2),
by lowest price, and by lot. What comes out is what a cooperative asks about: are jobs done in time, is the work shared,
what does it cost in joules, how much is run for nothing.

    tools/sim_market --json | jq '.strategies'
    tools/sim_market --scaling
    tools/sim_market --devices 200 --jobs 100 --svg plots/
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from market_costs import auction_cost, scaling
from market_day import STRATEGIES, Outcome, simulate
from svg import bars, lorenz

BARS: Final = (
    ("completed_share", "Jobs done in time, share"),
    ("gini", "Inequality of earnings, Gini"),
    ("kj_a_job", "Energy a job, kJ"),
    ("wasted_share", "Work run for nothing, share"),
    ("mana_a_job", "Mana a job"),
)


def main() -> int:
    """Run all strategies and tell."""
    parser = argparse.ArgumentParser(prog="tools/sim_market", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--devices", type=int, default=1_000, metavar="N", help="devices (1000)")
    parser.add_argument("--jobs", type=int, default=1_000, metavar="N", help="jobs in the day (1000)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of devices, jobs and mishaps (1)")
    parser.add_argument("--scaling", action="store_true", help="also how the cost grows with the number of bids")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--svg", type=Path, metavar="FOLDER", help="plots of earnings and figures")
    options = parser.parse_args()
    if options.devices < 2 or options.jobs < 1:
        parser.error("expected at least 2 devices and 1 job")
    figures: dict[str, Outcome] = {}
    earnings: dict[str, list[int]] = {}
    for strategy in STRATEGIES:
        print(f"simulating {strategy.name} …", file=sys.stderr)
        name = strategy.name
        figures[name], earnings[name] = simulate(strategy, options.devices, options.jobs, options.seed)
    if options.svg:
        options.svg.mkdir(parents=True, exist_ok=True)
        (options.svg / "earnings.svg").write_text(lorenz(earnings, "Who earns what: Lorenz curves"), encoding="utf-8")
        for key, title in BARS:
            values = {name: float(getattr(outcome, key)) for name, outcome in figures.items()}
            (options.svg / f"{key}.svg").write_text(bars(values, title), encoding="utf-8")
    costs: dict[str, object] = {}
    if options.scaling:
        costs["auction"] = auction_cost(options.seed)
        costs["day"] = scaling(options.devices, options.jobs, options.seed)
    if options.json:
        document = {
            "seed": options.seed,
            "devices": options.devices,
            "strategies": {name: asdict(outcome) for name, outcome in figures.items()},
            **costs,
        }
        print(json.dumps(document, indent=2))
        return 0
    _table(figures)
    for name, cost in costs.items():
        print(f"{name}: {json.dumps(cost)}")
    return 0


def _table(figures: dict[str, Outcome]) -> None:
    rows = [key for key in Outcome.__dataclass_fields__ if key != "refusals"]
    print(f"{'':18}" + "".join(f"{name:>14}" for name in figures))
    for key in rows:
        print(f"{key:18}" + "".join(f"{getattr(outcome, key):>14}" for outcome in figures.values()))


if __name__ == "__main__":
    raise SystemExit(main())
