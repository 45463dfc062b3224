"""`icn-lite work`: what this node has taken from others, and work that is carried on a memory stick."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, cast

import click

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.files import write_file
from icn_lite.cli.framework import group, subcommand
from icn_lite.cli.output import Json
from icn_lite.model.errors import IcnLiteError, PeerError, StoreError, UsageError

if TYPE_CHECKING:
    from icn_lite.model.cid import Cid
    from icn_lite.node.car import CarFile
    from icn_lite.node.submitting import NodeAtHome

MAX_FILE_BYTES: Final = 256 << 20  # held while it is written; inputs of 128 shards of 1 MiB fit
NAMES: Final = {
    "icn-lite/lease/1": "leases",
    "icn-lite/receipt/1": "receipts",
    "icn-lite/receipt-ack/1": "acknowledgements",
}


@group("work", examples=("icn-lite work", "icn-lite work export stick.car"), invoke_without_command=True)
@click.pass_context
def work(context: click.Context) -> None:
    """List the work that this node has taken; carry work, receipts and acknowledgements as a file.

    A device that meets nobody for days still delivers: its receipts and outputs go onto a stick (`export`), the
    owner of the job takes them (`import`) and gives its acknowledgements back the same way. Everything is signed, so
    it does not matter who carries the stick. Without a command it lists.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_command)


@subcommand(work, "list", examples=("icn-lite work list", "icn-lite work list --json"))
@pass_app
def list_command(app: App) -> None:
    """List every shard that this node holds, the lease that ends first at the head."""
    leases = cast(list[dict[str, Json]], _node(app).ask("leases"))
    if app.as_json:
        app.out.document({"leases": list[Json](leases)})
        return
    rows = [
        [
            str(lease["job"]),
            str(shard["shard"]),
            str(shard["step"]),
            _left(lease["left_ms"]),
            str(shard["receipt"] or ""),
        ]
        for lease in leases
        for shard in cast(list[dict[str, Json]], lease["shards"])
    ]
    app.out.table(["Job", "Shard>", "Step", "Lease ends in>", "Receipt"], rows)


@subcommand(work, "export", examples=("icn-lite work export stick.car", "icn-lite work export stick.car --json"))
@click.argument("file", metavar="FILE")
@pass_app
def export(app: App, file: str) -> None:
    """Write into a CARv1 file what others wait for: receipts with outputs, leases with inputs, acknowledgements."""
    from icn_lite.model.cid import Cid
    from icn_lite.model.unixfs import sections
    from icn_lite.node.car import encode_header, encode_section

    node = _node(app)
    load = node.ask_map("work_load")
    documents = [bytes.fromhex(str(block)) for block in cast(list[str], load["documents"])]
    roots = [Cid.of_dag_cbor(block) for block in documents]
    body = bytearray().join(encode_section(root, block) for root, block in zip(roots, documents, strict=True))
    blocks = 0
    for text in cast(list[str], load["blocks"]):
        data = bytes.fromhex(str(node.ask("get_block", {"cid": text})))
        for cid, block in sections(Cid.parse(text), data):
            body += encode_section(cid, block)
            blocks += 1
        if len(body) > MAX_FILE_BYTES:
            raise StoreError(f"expected at most {MAX_FILE_BYTES} bytes in one file", hint="deliver some of it first")
    written = encode_header(roots) + bytes(body)
    write_file(file, written)
    if app.as_json:
        app.out.document({"file": file, "documents": len(documents), "blocks": blocks, "bytes": len(written)})
    else:
        app.out.note(f"{len(documents)} signed documents and {blocks} blocks, {len(written)} bytes, in {file}")


@subcommand(work, "import", examples=("icn-lite work export stick.car && icn-lite work import stick.car",))
@click.argument("file", metavar="FILE")
@pass_app
def import_command(app: App, file: str) -> int:
    """Take from such a file what is for this node; it has to be running (`icn-lite up`, with or without a network).

    Signatures are checked as if the network had brought them. What is for others, or here already, changes nothing.
    """
    from icn_lite.node.car import CarFile

    node = _node(app)
    taken: Counter[str] = Counter()
    refused: list[dict[str, Json]] = []
    try:
        with CarFile(file) as car:
            for block in car.signed():
                try:
                    taken[_take(node, car, block)] += 1
                except PeerError:
                    raise
                except IcnLiteError as error:
                    refused.append({"kind": error.kind, "message": error.message})
    except OSError as error:
        raise UsageError(f"can't read {file}: {error.strerror}", hint="check the path") from error
    counts: dict[str, Json] = {name: taken[kind] for kind, name in NAMES.items()}
    if app.as_json:
        app.out.document({"file": file, **counts, "refused": list[Json](refused)})
    else:
        app.out.note(", ".join(f"{count} {name}" for name, count in counts.items()) + " taken")
        for reason, count in Counter(str(one["message"]) for one in refused).most_common():
            app.out.note(f"{count} not for this node or not in order: {reason}")
    return 0


def _take(node: NodeAtHome, car: CarFile, block: bytes) -> str:
    """Hand one document to the node, its blocks first; returns its kind."""
    answer = cast(dict[str, Json], node.ask("work_wants", {}, block))
    for cid in _missing(cast(list[str], answer["missing"])):
        data = car.blob(cid)
        if data is None:
            raise StoreError(f"block {cid} is neither here nor in the file", hint="export again where it is")
        node.put(data)
    node.ask("work_take", {}, block)
    return str(answer["kind"])


def _missing(texts: list[str]) -> Iterator[Cid]:
    from icn_lite.model.cid import Cid

    return (Cid.parse(text) for text in texts)


def _node(app: App) -> NodeAtHome:
    from icn_lite.node.submitting import NodeAtHome

    return NodeAtHome(app.existing_home().control_socket)


def _left(left_ms: Json) -> str:
    seconds = cast(int, left_ms) // 1000
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
