"""Runs the benchmarks of the rooms and shows them side by side with their baselines and peers.

Each `tools/benches/ROOM.py` has a function `rows()` that yields dicts: `room`, `name`, `value` (median of several
runs), `unit`, and, each None where there is none, `baseline` (the same work without ours), `peer` (another program's
figure, measured in the same run), `goal` and `ok` (whether the goal is met). A room whose benches can't run is told
as an error and fails the whole, after the others have run.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

Scalar = str | int | float | bool | None
FILE_WIDTH = 160  # columns of a table that goes to a file or a pipe
FOLDER = Path(__file__).resolve().parent / "benches"


@dataclass(frozen=True, slots=True)
class Row:
    room: str
    name: str
    value: float | int
    unit: str
    baseline: Scalar = None
    peer: Scalar = None
    goal: Scalar = None
    ok: bool | None = None


def parse_row(row: dict[str, Scalar], room: str) -> Row:
    """Check one dict of a room; refuses unknown keys and values that no table could show."""
    known = {field.name for field in fields(Row)}
    values = {"room": room, **row}
    if unknown := sorted(values.keys() - known):
        raise ValueError(f"bench row of {room}: unknown keys {unknown}, expected some of {sorted(known)}")
    if missing := [key for key in ("name", "value", "unit") if key not in values]:
        raise ValueError(f"bench row of {room}: lacks {missing}")
    value = values["value"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"bench row {values['name']!r} of {room}: expected a number as value, found {value!r}")
    return Row(**values)  # type: ignore[arg-type]


def discover(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")}


def run_room(room: str, path: Path) -> list[Row]:
    spec = importlib.util.spec_from_file_location(f"icn_lite_bench_{room}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    rows: Iterable[dict[str, Scalar]] = module.rows()
    return [parse_row(row, room) for row in rows]


def machine() -> dict[str, Scalar]:
    """What a figure depends on besides the code."""
    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "load_1min_percent": round(os.getloadavg()[0] * 100) if hasattr(os, "getloadavg") else None,
    }


def show(value: Scalar) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def table_of(rows: list[Row]) -> Table:
    table = Table(title="icn-lite benchmarks (medians)")
    for name in ("room", "what"):
        table.add_column(name)
    for name in ("value", "unit", "baseline", "peer", "goal"):
        table.add_column(name, justify="left" if name == "unit" else "right")
    table.add_column("met")
    for row in rows:
        met = "–" if row.ok is None else "yes" if row.ok else "no"
        cells = (show(row.value), row.unit, show(row.baseline), show(row.peer), show(row.goal), met)
        table.add_row(row.room, row.name, *cells)
    return table


@click.command(epilog="Example: tools/bench wasm sandbox --json --output bench.json")
@click.argument("rooms", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the JSON document here too.")
@click.option("--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=FOLDER, hidden=True)
def main(rooms: tuple[str, ...], as_json: bool, output: Path | None, folder: Path) -> None:
    """Measure ROOMS (all of them without a name). Exit code 0 when every bench ran, whether or not goals are met."""
    benches = discover(folder)
    if unknown := [room for room in rooms if room not in benches]:
        raise click.UsageError(f"no benches for {', '.join(unknown)}; there are: {', '.join(benches) or 'none'}")
    results: list[Row] = []
    errors: list[dict[str, str]] = []
    for room in rooms or benches:
        click.echo(f"bench: {room} …", err=True)
        started = time.monotonic()
        try:
            found = run_room(room, benches[room])
        except Exception as error:  # noqa: BLE001 - one room's fault must not lose the figures of the others
            errors.append({"room": room, "message": f"{type(error).__name__}: {error}"})
            click.echo(f"bench: {room} failed: {type(error).__name__}: {error}", err=True)
            continue
        results += found
        click.echo(f"bench: {room}: {len(found)} rows in {time.monotonic() - started:.1f} s", err=True)
    document = json.dumps(
        {"machine": machine(), "rows": [asdict(row) for row in results], "errors": errors}, indent=2, ensure_ascii=False
    )
    if output:
        output.write_text(document + "\n", encoding="utf-8")
    if as_json:
        click.echo(document)
    else:
        console = Console()
        # Where no terminal says how wide it is, nothing has to wrap.
        (console if console.is_terminal else Console(width=FILE_WIDTH)).print(table_of(results))
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()
