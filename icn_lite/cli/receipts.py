"""`icn-lite receipts`: list, show, verify, export, import; what anchors keep, and which chains fork."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.files import write_file
from icn_lite.cli.framework import group, subcommand
from icn_lite.cli.output import Json, flatten
from icn_lite.cli.reader import reading, reading_if_any
from icn_lite.cli.receipt_sources import Sources, find_block
from icn_lite.model.errors import UsageError, VerificationError

if TYPE_CHECKING:
    from icn_lite.model.document import Sealed
    from icn_lite.model.receipt import ExecutionReceipt
    from icn_lite.node.verify import Check, Verdict

MAX_LISTED: Final = 1_000


@group("receipts", examples=("icn-lite receipts", "icn-lite receipts list --json"), invoke_without_command=True)
@click.pass_context
def receipts(context: click.Context) -> None:
    """Signed statements about runs: list, show, verify, export and import them.

    Without a command it lists them.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_command)


@subcommand(
    receipts,
    "list",
    examples=("icn-lite receipts list", "icn-lite receipts list --limit 5 --json"),
)
@click.option("--job", metavar="CID", help="Only those of this job.")
@click.option("--executor", metavar="DID", help="Only those of this executor.")
@click.option("--after", type=click.IntRange(0), default=0, help="Only those with a larger number.")
@click.option("--limit", type=click.IntRange(1, MAX_LISTED), default=100, show_default=True)
@pass_app
def list_command(
    app: App, job: str | None = None, executor: str | None = None, after: int = 0, limit: int = 100
) -> None:
    """List receipts in the order in which they came."""
    from icn_lite.model.cid import Cid
    from icn_lite.model.did import Did

    wanted_job = Cid.parse(job) if job else None
    wanted_executor = Did.parse(executor) if executor else None
    with reading(app) as store:
        rows = store.receipts.list(job=wanted_job, executor=wanted_executor, after=after, limit=limit) if store else ()
        count = store.receipts.count() if store else 0
        pending = store.chains.pending() if store else 0
    if app.as_json:
        listed: list[Json] = [
            {
                "number": row.number,
                "cid": str(row.cid),
                "executor": str(row.executor),
                "seq": row.seq,
                "prev": str(row.prev) if row.prev else None,
                "job": str(row.job),
                "shard": row.shard,
                "status": row.status,
                "fuel_used": row.fuel_used,
                "anchored": row.anchored,
            }
            for row in rows
        ]
        app.out.document({"receipts": listed, "count": count, "pending": pending})
        return
    cells = [
        [
            str(row.cid), row.executor.short, str(row.seq), str(row.shard), row.status, str(row.fuel_used),
            "yes" if row.anchored else "pending",
        ]
        for row in rows
    ]  # fmt: skip
    app.out.table(["Receipt", "Executor", "Seq>", "Shard>", "Status", "Fuel>", "Anchored"], cells)
    if pending:
        app.out.note(f"{pending} of {count} are kept by no anchor that is known of")
    if count > len(rows):
        app.out.note(f"{len(rows)} of {count}; --after {rows[-1].number if rows else after} goes on")


@subcommand(
    receipts,
    "show",
    examples=("icn-lite receipts show $RECEIPT", "icn-lite receipts show $RECEIPT --raw > receipt.cose"),
)
@click.argument("name", metavar="CID|FILE")
@click.option("--raw", is_flag=True, help="Write the signed block's bytes (COSE_Sign1).")
@pass_app
def show(app: App, name: str, raw: bool) -> None:
    """Show a receipt, or write its signed block.

    Both signatures are checked first. With --json --raw the bytes come in base64.
    """
    from icn_lite.model.receipt import read_receipt

    with reading_if_any(app) as store:
        block = find_block(name, store)
    sealed = read_receipt(block)
    if raw and app.as_json:
        app.out.document({"cid": str(sealed.cid), "block": base64.b64encode(block).decode("ascii")})
    elif raw:
        app.out.raw(block)
    elif app.as_json:
        app.out.document(_receipt_json(sealed))
    else:
        flat = [("receipt", str(sealed.cid)), *flatten(_receipt_json(sealed)["receipt"])]
        app.out.facts([(name, value) for name, value in flat if name != "core_signature"])


@subcommand(
    receipts,
    "verify",
    examples=(
        "icn-lite receipts verify receipt.cose",
        "icn-lite receipts verify $RECEIPT --rerun --json",
        "icn-lite receipts verify receipt.cose --rerun --module add.wasm",
        "icn-lite receipts verify receipt.cose --rerun --engine wasmtime-stock",
    ),
)
@click.argument("names", metavar="[CID|FILE]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Verify every receipt in the home, and the chains.")
@click.option("--rerun", is_flag=True, help="Run again and compare output, status and fuel.")
@click.option("--module", metavar="FILE", help="The module, where the home doesn't have it.")
@click.option("--input", "input_name", metavar="FILE", help="The input, likewise.")
@click.option("--output", "output_name", metavar="FILE", help="The output, likewise.")
@click.option(
    "--engine",
    type=click.Choice(["wasm3", "wasmtime", "wasmtime-stock"]),
    default="wasm3",
    show_default=True,
    help="What runs it again; wasmtime-stock is wasmtime's own fuel over the untouched module.",
)
@pass_app
def verify(
    app: App,
    names: tuple[str, ...],
    everything: bool,
    rerun: bool,
    module: str | None,
    input_name: str | None,
    output_name: str | None,
    engine: str,
) -> int:
    """Verify receipts by CID, from files (a signed block or a CARv1), or all of the home.

    Needs no node and no key: form, both signatures, the chain between the receipts given, and, where the blocks are
    at hand, job and output. --rerun runs the module again and compares everything that doesn't depend on the device.
    With --engine wasmtime-stock nothing of ours counts: the module runs as its author made it, wasmtime measures.
    Exits with 8 when anything doesn't hold.
    """
    from dataclasses import replace

    from icn_lite.node.verify import rerun as run_again
    from icn_lite.node.verify import verify_block, verify_chain

    if not names and not everything:
        raise UsageError("name a receipt by its CID or file, or give --all", hint="`icn-lite receipts` lists them")
    verdicts: list[Verdict] = []
    with reading_if_any(app) as store:
        named = {"module": module, "input": input_name, "output": output_name}
        sources = Sources(store, {what: name for what, name in named.items() if name is not None})
        found: list[Sealed[ExecutionReceipt]] = []
        for label, block in sources.receipts(names, everything=everything):
            verdict = verify_block(label, block, sources.get)
            if verdict.receipt is not None:
                extra = sources.misfits(verdict.receipt)
                if rerun:
                    extra.append(run_again(verdict.receipt, sources.get, engine))
                verdict = replace(verdict, checks=(*verdict.checks, *extra))
                found.append(_sealed(verdict, block))
            verdicts.append(verdict)
        chain = verify_chain(found)
    return _report(app, verdicts, chain)


@subcommand(
    receipts,
    "export",
    examples=("icn-lite receipts export receipts.car", "icn-lite receipts export all.car --blocks --json"),
)
@click.argument("file", metavar="FILE")
@click.option("--job", metavar="CID", help="Only those of this job.")
@click.option("--executor", metavar="DID", help="Only those of this executor.")
@click.option("--blocks", is_flag=True, help="Also jobs, modules, inputs and outputs, as far as they are here.")
@pass_app
def export(app: App, file: str, job: str | None, executor: str | None, blocks: bool) -> None:
    """Write receipts into a CARv1 file, which `receipts import`, `receipts verify` and IPFS tools read.

    What anchors have acknowledged of their chains goes along. With --blocks whoever has the file can run everything
    again.
    """
    from icn_lite.cli.receipt_sources import export_car
    from icn_lite.model.cid import Cid
    from icn_lite.model.did import Did

    if file == "-" and app.as_json:
        raise UsageError("a CAR on stdout and --json exclude each other", hint="write the receipts to a file")
    with reading(app) as store:
        made = export_car(
            store, Cid.parse(job) if job else None, Did.parse(executor) if executor else None, with_blocks=blocks
        )
    write_file(file, made.data)
    if app.as_json:
        counts: dict[str, Json] = {"receipts": made.receipts, "acks": made.acks, "blocks": made.blocks}
        app.out.document({"file": file, **counts, "bytes": len(made.data)})
    else:
        app.out.note(
            f"{made.receipts} receipts, {made.acks} acknowledgements and {made.blocks} other blocks,"
            f" {len(made.data)} bytes, in {file}"
        )


@subcommand(
    receipts,
    "import",
    examples=(
        "icn-lite receipts export receipts.car && icn-lite receipts import receipts.car",
        "icn-lite receipts export stick.car && icn-lite receipts import stick.car --json",
    ),
)
@click.argument("file", metavar="FILE")
@click.option("--passphrase-file", metavar="FILE", help="Where the key's passphrase stands, if it has one.")
@pass_app
def import_command(app: App, file: str, passphrase_file: str | None) -> None:
    """Take receipts and acknowledgements from a CARv1 file into the home, whether its node runs or not.

    Every block is checked against its CID, every signature is verified; with one that doesn't hold the import ends, and
    what came before it stays. What is here already changes nothing, so a file may be imported twice.
    """
    from icn_lite.cli.receipt_import import import_car

    found, others = import_car(app, file, passphrase_file)
    if app.as_json:
        counts: dict[str, Json] = dict(asdict(found))
        app.out.document({"file": file, **counts, "others": others})
        return
    app.out.note(f"{found.receipts} receipts and {found.acks} acknowledgements were new, {found.known} were not")
    if found.refused:
        app.out.note(f"{found.refused} are more than is kept here")
    if found.forks:
        app.out.note(f"{found.forks} forks were found: see `icn-lite receipts forks`")


@subcommand(receipts, "forks", examples=("icn-lite receipts forks", "icn-lite receipts forks --json"))
@click.option("--after", type=click.IntRange(0), default=0, help="Only those with a larger number.")
@pass_app
def forks_command(app: App, after: int) -> None:
    """List the forks that were found: receipts of one executor that exclude each other.

    It signed both, so either its disk was copied or set back, or it cheats. Both receipts are kept as evidence.
    """
    with reading(app) as store:
        found = store.chains.forks(after=after) if store else ()
    if app.as_json:
        listed: list[Json] = [
            {
                "number": fork.number,
                "executor": str(fork.executor),
                "seq": fork.seq,
                "receipts": [str(fork.first), str(fork.second)],
                "kind": "broken_link" if fork.broken else "fork",
            }
            for fork in found
        ]
        app.out.document({"forks": listed})
        return
    cells = [[fork.executor.short, str(fork.seq), str(fork.first), str(fork.second)] for fork in found]
    app.out.table(["Executor", "Seq>", "Receipt", "And"], cells)


@subcommand(receipts, "acks", examples=("icn-lite receipts acks", "icn-lite receipts acks --json"))
@pass_app
def acks_command(app: App) -> None:
    """List what anchors have acknowledged: whose receipts they keep, and up to which one."""
    with reading(app) as store:
        found = store.acks.list() if store else ()
    if app.as_json:
        listed: list[Json] = [
            {
                "cid": str(ack.cid),
                "anchor": str(ack.anchor),
                "executor": str(ack.executor),
                "seq": ack.seq,
                "head": str(ack.head),
            }
            for ack in found
        ]
        app.out.document({"acks": listed})
        return
    cells = [[ack.anchor.short, ack.executor.short, str(ack.seq), str(ack.head)] for ack in found]
    app.out.table(["Anchor", "Executor", "Up to>", "Receipt"], cells)


def _receipt_json(sealed: Sealed[ExecutionReceipt]) -> dict[str, Json]:
    from icn_lite.model import schema

    body: Json = schema.to_value(sealed.document, "json")  # type: ignore[assignment]  # JSON form has no bytes or CIDs
    return {
        "cid": str(sealed.cid),
        "signer": str(sealed.signer),
        "standard_status": sealed.document.standard_status.value,
        "bytes": len(sealed.block),
        "receipt": body,
    }


def _sealed(verdict: Verdict, block: bytes) -> Sealed[ExecutionReceipt]:
    from icn_lite.model.document import Sealed

    assert verdict.receipt is not None
    return Sealed(verdict.receipt, verdict.receipt.executor, block, verdict.cid)


def _report(app: App, verdicts: list[Verdict], chain: tuple[Check, ...]) -> int:
    faults = [f"{verdict.name}: {fault}" for verdict in verdicts for fault in verdict.faults]
    faults += [check.detail for check in chain]
    error = VerificationError(faults[0], hint="don't pay for it, and keep it as evidence") if faults else None
    if app.as_json:
        document: dict[str, Json] = {
            "verified": error is None,
            "count": len(verdicts),
            "receipts": [_verdict_json(verdict) for verdict in verdicts],
            "chain": [check.detail for check in chain],
        }
        app.out.document({**document, "error": error.as_json()} if error else document)
        return error.exit_code if error else 0
    for verdict in verdicts:
        app.out.line(f"{'verified' if verdict.verified else 'WRONG':<9} {verdict.cid}")
        for check in verdict.checks:
            app.out.line(f"  {check.name:<10} {check.state:<8} {check.detail}".rstrip())
    for check in chain:
        app.out.line(f"  {check.name:<10} {check.state:<8} {check.detail}")
    right = sum(verdict.verified for verdict in verdicts)
    app.out.note(f"{right} of {len(verdicts)} receipts hold" + (f"; {len(chain)} faults in chains" if chain else ""))
    return error.exit_code if error else 0


def _verdict_json(verdict: Verdict) -> Json:
    receipt = verdict.receipt
    return {
        "name": verdict.name,
        "cid": str(verdict.cid),
        "verified": verdict.verified,
        "executor": str(receipt.executor) if receipt else None,
        "seq": receipt.seq if receipt else None,
        "status": receipt.status.value if receipt else None,
        "checks": [{"name": c.name, "state": c.state, "detail": c.detail} for c in verdict.checks],
    }
