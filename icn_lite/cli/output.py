"""What goes to whom: data to stdout, messages to stderr, and with `--json` one document on stdout and nothing else.

Texts that others wrote (a peer's name, a guest's log) are shown without their control characters, so that they can't
repaint a terminal. Tables fit themselves to a terminal by `rich`, which costs more to load than most commands take;
into a pipe they go as plain aligned lines, one a row, for other programs to cut.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from icn_lite.model.errors import IcnLiteError

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

_WHITESPACE_KEPT: Final = "\n\t"


def printable(text: str) -> str:
    """Text with control characters (C0, DEL, C1) replaced by U+FFFD; line ends and tabs stay."""
    return "".join(c if c in _WHITESPACE_KEPT or (c >= " " and not "\x7f" <= c <= "\x9f") else "\ufffd" for c in text)


def flatten(value: Json, prefix: str = "") -> list[tuple[str, str]]:
    """A nested document as dotted names and values, for people."""
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in flatten(item, f"{prefix}.{key}" if prefix else key)]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [pair for index, item in enumerate(value) for pair in flatten(item, f"{prefix}[{index}]")]
    if isinstance(value, list):
        return [(prefix, " ".join(str(item) for item in value))]
    return [(prefix, str(value))]


class AnswerLost(IcnLiteError):
    """stdout can't be written to: a full disk, most often."""

    kind = "output"


def write_stdout(data: str | bytes) -> None:
    """Text or bytes to stdout; raises `AnswerLost`. A reader that went away stays a `BrokenPipeError`."""
    try:
        if isinstance(data, str):
            sys.stdout.write(data)
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _lost(error) from error


def flush_stdout() -> None:
    """Everything that was written is out; raises `AnswerLost`."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _lost(error) from error


def _lost(error: OSError) -> AnswerLost:
    return AnswerLost(
        f"can't write the answer to stdout: {error.strerror}", hint="free some space, or send it elsewhere"
    )


class Output:
    """The three ways out of a command: `document`, `table` or `line` for data, `note` for messages, `raw` for bytes."""

    def __init__(self, *, as_json: bool, color: bool | None = None) -> None:
        self.as_json = as_json
        self.color = color

    def document(self, value: Json) -> None:
        """The one JSON document of this command."""
        write_stdout(json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False) + "\n")

    def line(self, text: str = "") -> None:
        """One line of data."""
        write_stdout(printable(text) + "\n")

    def raw(self, data: bytes) -> None:
        """Bytes to stdout as they are."""
        write_stdout(data)

    def note(self, text: str) -> None:
        """A message to whoever sits there."""
        sys.stderr.write(printable(text) + "\n")
        sys.stderr.flush()

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
        """Rows under headings; a heading that ends in `>` is aligned to the right."""
        shown = [[printable(cell).replace("\n", " ") for cell in row] for row in rows]
        if sys.stdout.isatty():
            self._rich_table(columns, shown, title)
            return
        heads = [column.rstrip(">") for column in columns]
        widths = [max(map(len, cells)) for cells in zip(heads, *shown, strict=True)]
        if title:
            self.line(title)
        for row in [heads, *shown]:
            cells = zip(row, widths, columns, strict=True)
            self.line(
                "  ".join(f"{cell:{'>' if c.endswith('>') else '<'}{width}}" for cell, width, c in cells).rstrip()
            )

    def facts(self, facts: Sequence[tuple[str, str]]) -> None:
        """Names and values in two columns."""
        width = max((len(name) for name, _ in facts), default=0)
        for name, value in facts:
            indented = value.replace("\n", "\n" + " " * (width + 2))
            self.line(f"{name:<{width}}  {indented}".rstrip())

    def _rich_table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(title) if title else None, title_justify="left", box=None, pad_edge=False)
        for column in columns:
            right = column.endswith(">")
            table.add_column(Text(column.rstrip(">")), justify="right" if right else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        Console(file=sys.stdout, no_color=self.color is False or None, highlight=False).print(table)
