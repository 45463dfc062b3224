"""`icn-lite jobs` and `icn-lite job`: what this node submitted and what it works on."""

from __future__ import annotations

from typing import Final

import click

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.framework import command
from icn_lite.cli.live import ask_node
from icn_lite.cli.output import Json, flatten
from icn_lite.cli.reader import reading
from icn_lite.model.errors import StoreError

MAX_LISTED: Final = 1_000


@command("jobs", examples=("icn-lite jobs", "icn-lite jobs --role originator --json"))
@click.option("--role", type=click.Choice(["originator", "executor"]), help="Only those in this role.")
@click.option("--status", help="Only those with this status.")
@click.option("--limit", type=click.IntRange(1, MAX_LISTED), default=100, show_default=True)
@pass_app
def jobs(app: App, role: str | None, status: str | None, limit: int) -> None:
    """List jobs in the order in which they came. Local runs are not listed: see `icn-lite receipts`."""
    from icn_lite.store.jobs import JobRole

    with reading(app) as store:
        found = store.jobs.list(role=JobRole(role) if role else None, status=status, limit=limit) if store else ()
        names = {job.id: _name(store.blocks.get(job.document)) for job in found} if store else {}
    if app.as_json:
        listed: list[Json] = [
            {"job": str(j.id), "name": names[j.id], "role": j.role.value, "status": j.status, "error": j.error or None}
            for j in found
        ]
        app.out.document({"jobs": listed})
        return
    rows = [[str(job.id), names[job.id] or "", job.role.value, job.status, job.error] for job in found]
    app.out.table(["Job", "Name", "Role", "Status", "Error"], rows)


@command("job", examples=("icn-lite job $JOB", "icn-lite job $JOB --json"))
@click.argument("cid", metavar="CID")
@click.option("--log", "shard", type=click.IntRange(0), metavar="SHARD", help="Print what that shard's guest says.")
@click.option("--follow", is_flag=True, help="With --log: go on until the guest ends.")
@click.option("--at", "of", metavar="DID", help="Ask this node, which submitted the job, how it stands.")
@pass_app
def job(app: App, cid: str, shard: int | None, follow: bool, of: str | None) -> None:
    """Show a job: its status in each role, its document, and its receipts. A local run's job is shown as well.

    While the node runs that submitted it, bids, shards, verdicts and payments are shown too (`node` in JSON).
    --log and --at ask another node, through relays where it is no neighbour; logs are for whoever submitted the job.
    """
    from icn_lite.cli import inquire
    from icn_lite.model.cid import Cid

    if shard is not None:
        inquire.show_log(app, str(Cid.parse(cid)), shard, follow=follow)
    elif of is not None:
        inquire.show_status_at(app, str(Cid.parse(cid)), of)
    else:
        _show(app, cid)


def _show(app: App, cid: str) -> None:
    from icn_lite.model import document, schema
    from icn_lite.model.cid import Cid
    from icn_lite.model.job import JobSpec
    from icn_lite.store.jobs import JobRole

    wanted = Cid.parse(cid)
    with reading(app) as store:
        records = [record for role in JobRole if store and (record := store.jobs.get(wanted, role))]
        block = store.blocks.get(records[0].document if records else wanted) if store else None
        receipts = store.receipts.list(job=wanted) if store else ()
    if not records and block is None and not receipts:
        raise StoreError(f"job {cid} is not here", hint="`icn-lite jobs` lists those that are")
    live = ask_node(app.home, "job", job=cid)
    spec: Json = None
    if block is not None:
        spec = schema.to_value(document.decode(JobSpec, block), "json")  # type: ignore[assignment]  # JSON form
    if app.as_json:
        told: list[Json] = [
            {
                "cid": str(r.cid),
                "executor": str(r.executor),
                "shard": r.shard,
                "status": r.status,
                "fuel_used": r.fuel_used,
            }
            for r in receipts
        ]
        roles: dict[str, Json] = {r.role.value: {"status": r.status, "error": r.error or None} for r in records}
        app.out.document({"job": cid, "roles": roles, "spec": spec, "receipts": told, "node": live})
        return
    roles_told = [(record.role.value, f"{record.status} {record.error}".rstrip()) for record in records]
    app.out.facts([("job", cid), *roles_told, *flatten(spec if spec is not None else {})])
    if isinstance(live, dict):
        told_live = {name: live.get(name) for name in ("message", "budget", "paid", "settled", "bids", "shards")}
        app.out.facts(flatten({"node": told_live}))
    rows = [[str(r.cid), r.executor.short, str(r.shard), r.status, str(r.fuel_used)] for r in receipts]
    app.out.table(["Receipt", "Executor", "Shard>", "Status", "Fuel>"], rows)


def _name(block: bytes | None) -> str | None:
    from icn_lite.model import document
    from icn_lite.model.job import JobSpec

    return None if block is None else document.decode(JobSpec, block).name
