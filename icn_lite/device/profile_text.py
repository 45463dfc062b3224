"""TOML text against rows of allowed keys, with the line of every complaint.

`tomllib` gives values without lines, so the line of a key is found by scanning the text for its section's header and
its name; where the scan finds nothing (a dotted key, an inline table), the complaint goes without a line. Pure.
"""

from __future__ import annotations

import builtins
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from icn_lite.model.errors import ProfileError

Kind = Literal["int", "bool", "text", "texts", "ints", "choice", "spans"]

# The largest shipped profile has 2 KiB; this is room for comments, and a bound for files from strangers.
MAX_PROFILE_BYTES: Final = 64 * 1024
MAX_TEXT_CHARS: Final = 200  # longest title or pattern
MAX_LIST_ITEMS: Final = 64
MAX_OTHERS: Final = 5  # faults named beside the first; more is another file, not a mistake

_HEADER = re.compile(r"\s*\[\s*([A-Za-z0-9_-]+)\s*\]\s*(?:#.*)?")
_KEY = re.compile(r"""\s*["']?([A-Za-z0-9_*-]+)["']?\s*=""")
_TOML_LINE = re.compile(r"\(at line (\d+), column (\d+)\)")
_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_KIND_WORDS: Final[dict[Kind, str]] = {
    "int": "an integer",
    "bool": "true or false",
    "text": "a text",
    "texts": "a list of texts",
    "ints": "a list of integers",
    "choice": "a text",
    "spans": 'a list of spans of the day like "22:00-07:00"',
}


@dataclass(frozen=True, slots=True)
class Key:
    """One row: a key that may (or must) stand in a section. The name `*` allows any name."""

    name: str
    kind: Kind
    meaning: str
    bounds: tuple[int, int] | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """The rows of one `[section]`; the empty name stands for the top of the file."""

    name: str
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """In `section`, `lower` is less than `upper`."""

    section: str
    lower: str
    upper: str


class Table:
    """The checked values of one section, typed on the way out."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def int(self, key: str) -> builtins.int:
        """An integer that is present."""
        value = self._values[key]
        assert isinstance(value, builtins.int)
        return value

    def text(self, key: str) -> str:
        """A text that is present."""
        value = self._values[key]
        assert isinstance(value, str)
        return value

    def flag(self, key: str) -> bool:
        """A truth value; absent is false."""
        return self._values.get(key, False) is True

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; absent is empty."""
        value = self._values.get(key, [])
        assert isinstance(value, list)
        return tuple(str(item) for item in value)

    def spans(self, key: str) -> tuple[tuple[builtins.int, builtins.int], ...]:
        """Spans of the day in minutes since midnight: from, and until; the latter is smaller past midnight."""
        found = (_SPAN.fullmatch(text) for text in self.texts(key))
        times = ([builtins.int(part) for part in span.groups()] for span in found if span)
        return tuple((60 * time[0] + time[1], 60 * time[2] + time[3]) for time in times)

    def numbers(self, key: str) -> tuple[builtins.int, ...]:
        """A list of integers; absent is empty."""
        value = self._values.get(key, [])
        assert isinstance(value, list)
        return tuple(builtins.int(item) for item in value)

    def ints(self) -> dict[str, builtins.int]:
        """The whole section, all of whose values are integers."""
        return {key: self.int(key) for key in self._values}


def read_tables(text: str, name: str, sections: Sequence[Section], orders: Sequence[Order]) -> dict[str, Table]:
    """Section name -> values, every one checked against its row. Raises `ProfileError`."""
    return _Reader(text, name, sections).read(orders)


class _Reader:
    """One reading of one text."""

    def __init__(self, text: str, name: str, sections: Sequence[Section]) -> None:
        self.name = name
        self.sections = {section.name: section for section in sections}
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > MAX_PROFILE_BYTES:
            raise self.error(f"the file has {size} bytes, accepted are {MAX_PROFILE_BYTES}", None)
        self.lines = _lines(text)
        self.raw = self._load(text)

    def error(self, message: str, where: tuple[str, str] | None, hint: str = "") -> ProfileError:
        """A complaint about the key (section, name), or about the file."""
        line = self.lines.get(where) or self.lines.get((where[0], "")) if where else None
        return ProfileError(f"profile {self.name}: {message}", line=line, hint=hint)

    def _load(self, text: str) -> dict[str, object]:
        try:
            return tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            found = _TOML_LINE.search(str(error))
            message = _TOML_LINE.sub("", str(error)).strip()
            line = int(found[1]) if found else None
            raise ProfileError(f"profile {self.name}: not TOML: {message}", line=line) from error

    def read(self, orders: Sequence[Order]) -> dict[str, Table]:
        """Check everything, in the order of the rows; one refusal for the first fault, and a hint for the others."""
        tables: dict[str, Mapping[str, object]] = {"": {}}
        faults: list[ProfileError] = []
        for key, value in self.raw.items():
            if not isinstance(value, dict):
                tables[""] = {**tables[""], key: value}
            elif key in self.sections and key:
                tables[key] = value
            else:
                known = ", ".join(name for name in self.sections if name)
                faults.append(self.error(f"unknown section [{key}]", (key, ""), f"known: {known}"))
        for section in self.sections.values():
            faults.extend(self._faults_of_section(section, tables.setdefault(section.name, {})))
        for order in orders:
            faults.extend(self._faults_of_order(order, tables[order.section]))
        if faults:
            raise _together(faults)
        return {name: Table(values) for name, values in tables.items()}

    def _faults_of_section(self, section: Section, values: Mapping[str, object]) -> Iterator[ProfileError]:
        rows = {row.name: row for row in section.keys}
        for key, value in values.items():
            row = rows.get(key) or rows.get("*")
            if row is None:
                label = f"{section.name}.{key}" if section.name else key
                yield self.error(f"unknown key {label}", (section.name, key), f"known: {', '.join(rows)}")
            else:
                yield from self._faults_of_value(section.name, key, row, value)
        for row in section.keys:
            if not row.optional and row.name not in values:
                label = f"{section.name}.{row.name}" if section.name else row.name
                yield self.error(f"missing key {label}: {row.meaning}", (section.name, ""))

    def _faults_of_value(self, section: str, key: str, row: Key, value: object) -> Iterator[ProfileError]:
        label = f"{section}.{key}" if section else key
        if not _is_kind(row.kind, value):
            yield self.error(f"{label}: expected {_KIND_WORDS[row.kind]}, found {value!r}"[:300], (section, key))
        elif row.choices and value not in row.choices:
            yield self.error(f"{label}: expected one of {', '.join(row.choices)}, found {value!r}", (section, key))
        elif row.bounds is not None:
            low, high = row.bounds
            for number in value if isinstance(value, list) else [value]:
                if isinstance(number, int) and not low <= number <= high:
                    yield self.error(f"{label}: expected {low} to {high}, found {number}", (section, key), row.meaning)

    def _faults_of_order(self, order: Order, values: Mapping[str, object]) -> Iterator[ProfileError]:
        lower, upper = values.get(order.lower), values.get(order.upper)
        if isinstance(lower, int) and isinstance(upper, int) and lower >= upper:
            yield self.error(
                f"{order.section}.{order.upper} = {upper} must be above {order.section}.{order.lower} = {lower}",
                (order.section, order.upper),
                "a limit and its resume value need a distance, or the device flaps between the two",
            )


def _together(faults: Sequence[ProfileError]) -> ProfileError:
    """The first fault; the next ones in its hint, so that a file is mended in one go."""
    first, others = faults[0], faults[1 : 1 + MAX_OTHERS]
    if others:
        said = "; ".join(fault.message.partition(": ")[2] for fault in others)
        more = f" and {len(faults) - 1 - len(others)} more" if len(faults) - 1 > len(others) else ""
        first.hint = f"{first.hint}; also: {said}{more}".lstrip("; ")
    return first


def _is_kind(kind: Kind, value: object) -> bool:
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "bool":
        return isinstance(value, bool)
    if kind in ("text", "choice"):
        return isinstance(value, str) and 0 < len(value) <= MAX_TEXT_CHARS
    if not isinstance(value, list) or len(value) > MAX_LIST_ITEMS:
        return False
    if kind == "spans":
        return all(isinstance(item, str) and _is_span(item) for item in value)
    return all(_is_kind("int" if kind == "ints" else "text", item) for item in value)


def _is_span(text: str) -> bool:
    """Two times of the day that differ: from one minute to the same would be never, or always."""
    span = _SPAN.fullmatch(text)
    return span is not None and span.group(1, 2) != span.group(3, 4)


def _lines(text: str) -> dict[tuple[str, str], int]:
    """(section, key) -> line; (section, "") is the line of the section's header."""
    lines: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.fullmatch(line):
            section = header[1]
            lines.setdefault((section, ""), number)
        elif key := _KEY.match(line):
            lines.setdefault((section, key[1]), number)
    return lines
