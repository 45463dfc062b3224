"""Fuzzes preparation: `tools/fuzz TARGET [--seconds N | --runs N] [--seed S] [--findings DIR] [--json]`.

Targets and mutators stand in tests/wasm/wasm_fuzz.py. Every input comes from the seed and its number, so a finding is
made again by `--seed S --first N --runs 1`; its bytes are written to the folder of findings too.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from random import Random

TOP = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP), str(TOP / "tests" / "wasm")]
MOST_FINDINGS = 20  # then it stops: more would tell nothing new


def main() -> int:
    import wasm_engines
    import wasm_fuzz

    parser = argparse.ArgumentParser(prog="tools/fuzz", description="Fuzz the preparation of guests.")
    parser.add_argument("target", choices=sorted(wasm_fuzz.TARGETS))
    parser.add_argument("--seconds", type=float, help="stop after so long (default 10, without --runs)")
    parser.add_argument("--runs", type=int, help="stop after so many inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="folder for inputs that fail")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    seconds = args.seconds if args.seconds is not None else (10.0 if args.runs is None else float("inf"))
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the engine prints a backtrace for each trap
    report = wasm_engines.in_big_thread(lambda: run(args, seconds), None)
    if args.json:
        print(json.dumps(report))
    else:
        print(
            f"{report['target']}: {report['runs']} inputs in {report['seconds']} s, {len(report['findings'])} findings"
        )
        print(", ".join(f"{name} {count}" for name, count in sorted(report["seen"].items())))
        for finding in report["findings"]:
            print(f"{finding['file']} (--first {finding['number']} --runs 1): {finding['message']}")
    return 1 if report["findings"] else 0


def run(args: argparse.Namespace, seconds: float) -> dict:
    """Inputs until one of the limits, and what they showed."""
    import wasm_fuzz

    seeds, tally, findings = wasm_fuzz.corpus(), wasm_fuzz.Tally(), []
    target, started, number = wasm_fuzz.TARGETS[args.target], time.monotonic(), args.first
    last = None if args.runs is None else args.first + args.runs
    while number != last and time.monotonic() - started < seconds and len(findings) < MOST_FINDINGS:
        rng = Random(f"{args.seed}/{args.target}/{number}")
        data = wasm_fuzz.mutate(rng, seeds)
        try:
            target(data, rng, tally)
        except Exception as error:  # noqa: BLE001 - any error but the target's own refusals is a finding
            args.findings.mkdir(parents=True, exist_ok=True)
            file = args.findings / f"{args.target}-{args.seed}-{number}.wasm"
            file.write_bytes(data)
            message = f"{type(error).__name__}: {str(error)[:300]}"
            findings.append({"number": number, "file": str(file), "message": message})
        number += 1
    return {
        "target": args.target, "seed": args.seed, "runs": number - args.first, "seeds": len(seeds),
        "seconds": round(time.monotonic() - started, 1), "slowest_ms": tally.slowest_ms, "seen": dict(tally.seen),
        "findings": findings,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
