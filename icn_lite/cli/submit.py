"""`icn-lite submit` and `icn-lite cancel`: jobs into the node that runs here, and out of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.framework import answer, command
from icn_lite.cli.output import Json

ENDED_WELL: Final = "completed"


@command("submit", examples=("icn-lite submit job.toml", "icn-lite submit job.toml --wait --json"))
@click.argument("file", metavar="FILE")
@click.option("--wait", is_flag=True, help="Wait until the job is over; exit with 1 if it failed.")
@pass_app
def submit(app: App, file: str, wait: bool) -> int:
    """Submit the job that FILE describes (TOML, or JSON where its name ends in .json) to the node that runs here.

    \b
        name = "checksums"
        module = "manifest.wasm"       # the guest, next to this file
        inputs = ["a.bin", "b.bin"]    # one shard each; or: input = "a.bin"
        redundancy = "Full(2)"         # every shard by two executors
        deadline_in_s = 3600
        [budget]
        max_total = 1000               # mana, for all executions together
        [compute]
        max_fuel = 1000000000          # of one shard

    The module is checked here before anything is announced.
    """
    from icn_lite.node.jobfile import read_job_file
    from icn_lite.node.submitting import NodeAtHome, follow, submit_file

    node = NodeAtHome(app.existing_home().control_socket)
    job = submit_file(node, read_job_file(Path(file)))
    if not wait:
        answer(app.out, {"job": job, "status": "bidding"}, [f"job {job}", f"follow it with `icn-lite job {job}`"])
        return 0
    last = follow(node, job, lambda done, total: _progress(app, done, total))
    document: dict[str, Json] = {
        "job": job,
        "status": last["status"],
        "message": last["message"],
        "settled": last["settled"],
        "shards": last["shards"],
    }
    answer(app.out, document, [f"job {job}", f"{last['status']}: {last['message']}"])
    return 0 if last["status"] == ENDED_WELL else 1


@command("cancel", examples=("icn-lite cancel $JOB",))
@click.argument("cid", metavar="CID")
@pass_app
def cancel(app: App, cid: str) -> None:
    """Call off a job that this node submitted; what was verified so far stays paid, the rest comes back."""
    from icn_lite.node.submitting import NodeAtHome

    NodeAtHome(app.existing_home().control_socket).ask("cancel", {"job": cid})
    answer(app.out, {"job": cid, "status": "cancelled"}, [f"job {cid} is cancelled"])


def _progress(app: App, done: int, total: int) -> None:
    """A count that overwrites itself on a terminal; elsewhere silence until the end."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done} of {total} shards verified")
        sys.stderr.write("\n" if done == total else "")
        sys.stderr.flush()
