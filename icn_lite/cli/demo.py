"""`icn-lite demo`: a real job through three nodes, from announcement to verified receipts."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, cast

import click

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.framework import command
from icn_lite.cli.output import Json
from icn_lite.model.errors import UsageError

if TYPE_CHECKING:
    from icn_lite.node.demo import DemoResult
    from icn_lite.node.demo_offline import OfflineResult


@command(
    "demo", examples=("icn-lite demo", "icn-lite demo --tamper", "icn-lite demo --offline", "icn-lite demo --json")
)
@click.option("--tamper", is_flag=True, help="Flip a byte in a copy of one file; the report has to name it.")
@click.option("--offline", is_flag=True, help="Another story: a device takes work along, the network and its power go.")
@click.option("--folder", metavar="DIR", help="Where everything is kept; a new temporary folder if left out.")
@click.option("--files", "max_files", type=click.IntRange(1), help="Verify only so many files, for a slow device.")
@pass_app
def demo(app: App, tamper: bool, offline: bool, folder: str | None, max_files: int | None) -> int:
    """Let three nodes on this machine verify the files of the installed packages.

    A coordinator announces the job; two executors bid, take leases, run every shard in the sandbox and sign receipts;
    outputs are compared, mana is paid, and all receipts are verified again from disk.

    With --offline two nodes play: a device takes twelve shards along, the network goes, it works on, loses its power
    once, comes back, and every receipt arrives once and is acknowledged.

    Exits with 0 when everything is as it should be: with --tamper that is when exactly that file is reported.
    """
    from icn_lite.node.demo import DemoOptions, DemoResult, run_demo
    from icn_lite.node.demo_offline import run_offline_demo

    if offline and tamper:
        raise UsageError("--offline and --tamper are two stories", hint="icn-lite demo --offline")
    path = Path(folder).absolute() if folder else Path(tempfile.mkdtemp(prefix="icn-lite-demo-"))
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, _interrupt)
    shown = _Progress(app)
    result: DemoResult | OfflineResult
    try:
        if offline:
            result = run_offline_demo(path, max_files, (shown.say, shown.advance))
        else:
            result = run_demo(DemoOptions(path, tamper, max_files), shown.say, shown.advance)
    finally:
        shown.close()
    if app.as_json:
        app.out.document(result.as_json())
    elif isinstance(result, DemoResult):
        _show(app, result)
    else:
        _show_offline(app, result)
    return 0 if result.as_expected else 8


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM takes the same way out as Ctrl-C, past every `finally`."""
    raise KeyboardInterrupt


class _Progress:
    """Progress on stderr: a bar on a terminal, a line a step elsewhere."""

    def __init__(self, app: App) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True, no_color=app.color is False or None)
        self._out = app.out
        self._bar = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._live = console.is_terminal
        self._task: tuple[str, int] | None = None  # what is shown, and the bar's number for it

    def say(self, text: str) -> None:
        """A line about what comes next."""
        if self._live:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            self._out.note(text)

    def advance(self, step: str, done: int, total: int) -> None:
        """So much of a step is done."""
        if not self._live:
            return
        if self._task is None or self._task[0] != step:
            if self._task is not None:
                self._bar.remove_task(self._task[1])  # type: ignore[arg-type]
            self._bar.start()
            self._task = (step, self._bar.add_task(step, total=total))
        self._bar.update(self._task[1], completed=done, total=total)  # type: ignore[arg-type]

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live:
            self._bar.stop()


def _show(app: App, result: DemoResult) -> None:
    """The report for people."""
    names = {str(node["did"]): str(node["name"]) for node in result.nodes}
    out = app.out
    rows = [[str(node["name"]), str(node["role"]), str(node["profile"]), str(node["did"])] for node in result.nodes]
    out.table(["Node", "Role", "Profile", "DID"], rows, title="Nodes")
    out.line()
    rows = []
    for shard in result.shards:
        runs = cast(list[dict[str, Json]], shard["runs"])
        rows.append(
            [
                str(shard["index"]),
                str(shard["files"]),
                str(shard["bytes"]),
                " ".join(names.get(str(run["executor"]), "?") for run in runs),
                str(shard["fuel_used"]),
                " ".join(str(run["ms"]) for run in runs),
                str(shard["verdict"]),
            ]
        )
    out.table(["Shard>", "Files>", "Bytes>", "Executors", "Fuel>", "ms>", "Verdict"], rows, title="Shards")
    out.line()
    rows = [[names.get(account, account), str(balance)] for account, balance in result.ledger.items() if balance]
    out.table(["Account", "Mana>"], [*rows, ["sum", str(result.ledger_sum)]], title="Mana at the coordinator")
    out.line()
    out.line(f"{result.files} files, {result.bytes / 1e6:.1f} MB, {len(result.shards)} shards: {result.message}")
    for name in result.too_large:
        out.line(f"  left out, larger than a guest's memory: {name}")
    if result.tampered:
        out.line(f"  tampered with a copy of: {result.tampered}")
    for name in result.mismatches:
        out.line(f"  MISMATCH: {name} is not what its RECORD says")
    if not result.mismatches:
        out.line("  every file is what its RECORD says")
    out.line(f"{result.receipts_verified} of {len(result.receipts)} receipts verified again from disk")
    out.line(f"run again here: {result.rerun}")
    for fault in result.faults:
        out.line(f"  FAULT: {fault}")
    out.line(f"receipts: {result.folder / 'receipts'}")
    out.line(f"all of it: {result.folder} (remove it when you have seen enough)")
    out.line(f"{result.seconds:.1f} s")


def _show_offline(app: App, result: OfflineResult) -> None:
    """The report for people."""
    out = app.out
    rows = [
        [str(story.index), story.when, str(story.seq), _after(story.arrived_s), _after(story.acknowledged_s)]
        for story in result.shards
    ]
    out.table(["Shard>", "Run", "Receipt no.>", "Arrived>", "Acknowledged>"], rows, title="After both were back")
    out.line()
    out.line(f"the leases were for {result.lease_hours} h; the power loss cost {_runs(result.repeated)} and no receipt")
    out.line(f"{len(result.shards)} shards, {result.lost} receipts lost, {result.double} shards with more than one")
    out.line(f"{result.receipts_verified} of {len(result.shards)} receipts verified again from the owner's disk")
    for fault in result.faults:
        out.line(f"  FAULT: {fault}")
    out.line(f"all of it: {result.folder} (remove it when you have seen enough)")
    out.line(f"{result.seconds:.1f} s")


def _runs(count: int) -> str:
    if count == 0:
        return "nothing"
    return "one run, which was taken up again" if count == 1 else f"{count} runs, which were taken up again,"


def _after(seconds: float | None) -> str:
    return "never" if seconds is None else f"after {seconds:.1f} s"
