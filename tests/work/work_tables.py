"""The transition tables of `work/` as Markdown, drawn from the code."""

from __future__ import annotations

from icn_lite.work import executor as ex
from icn_lite.work import originator
from icn_lite.work import originator_events as ev


def originator_table() -> str:
    """One row an event, one column a phase; what the handler of a marked cell does stands in its docstring or name."""
    phases = list(ev.Phase)
    rows = [["event", *(phase.name for phase in phases)]]
    rows.append(["---"] * len(rows[0]))
    for kind in ev.Event.__args__:
        cells = [originator.TRANSITIONS.get((phase, kind)) for phase in phases]
        rows.append(
            [f"`{kind.__name__}`", *(cell.__name__.strip("_").replace("_", " ") if cell else "" for cell in cells)]
        )
    return _markdown(rows)


def executor_table() -> str:
    """One row an event, one column a step; a cell is the step that follows."""
    steps = list(ex.Step)
    rows = [["event", *(step.name for step in steps)]]
    rows.append(["---"] * len(rows[0]))
    for kind in ex.Event.__args__:
        cells = [ex.TRANSITIONS.get((step, kind)) for step in steps]
        rows.append([f"`{kind.__name__}`", *(cell.name if cell else "" for cell in cells)])
    return _markdown(rows)


def _markdown(rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows).replace("|  |", "| |").replace("|  |", "| |")


if __name__ == "__main__":
    print(originator_table(), executor_table(), sep="\n\n")
