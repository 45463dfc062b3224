"""Small kernel files, read without ever raising and never more than a page."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# sysfs attributes are at most one page; whoever writes more is no sensor.
MAX_FILE_BYTES: Final = 4096
# Phones have about 100 thermal zones; more entries than this are not looked at.
MAX_ENTRIES: Final = 512
_DECIMAL: Final = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,12}))?")


@dataclass(frozen=True, slots=True)
class FileText:
    """Stripped text of a file, or None and why."""

    text: str | None
    why: str = ""
    missing: bool = False


@dataclass(frozen=True, slots=True)
class FileNumber:
    """The integer that a file holds, or None and why."""

    value: int | None
    why: str = ""
    missing: bool = False


def read_text(path: Path | str) -> FileText:
    """The file's text without surrounding white space. A plain path costs half of a `Path` where many are read."""
    try:
        # O_NONBLOCK: a fifo in the place of an attribute must not hang the reader
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return FileText(None, _why(path, error), missing=isinstance(error, FileNotFoundError))
    try:
        data = os.read(handle, MAX_FILE_BYTES)
    except OSError as error:
        return FileText(None, _why(path, error))
    finally:
        os.close(handle)
    return FileText(data.decode("utf-8", "replace").strip())


def _why(path: Path | str, error: OSError) -> str:
    return f"{os.path.basename(path)}: {error.strerror}"


def read_int(path: Path | str) -> FileNumber:
    """The file's decimal integer."""
    text = read_text(path)
    if text.text is None:
        return FileNumber(None, text.why, text.missing)
    try:
        return FileNumber(int(text.text))
    except ValueError:
        return FileNumber(None, f"{os.path.basename(path)}: expected an integer, found {text.text[:40]!r}")


def parse_decimal(text: str, places: int) -> int | None:
    """`23.5` with three places is 23500; None for whatever is no such number. No float is involved."""
    found = _DECIMAL.fullmatch(text.strip())
    if found is None:
        return None
    sign, whole, fraction = found.groups("")
    digits = int(whole + fraction[:places].ljust(places, "0"))
    return -digits if sign else digits


def list_folder(path: Path) -> tuple[list[Path], str, bool]:
    """The entries in order of name, why there are none, and whether the folder is missing altogether."""
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        return [], f"{path.name}: {error.strerror}", isinstance(error, FileNotFoundError)
    return [path / name for name in names[:MAX_ENTRIES]], "", False
