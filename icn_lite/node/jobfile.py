"""Job files: what a person writes to submit a job, in TOML or JSON.

The keys are those of `JobSpec` (model/job.py), with paths where the document has CIDs:

    name = "checksums"
    module = "manifest.wasm"          # the guest
    inputs = ["a.bin", "b.bin"]       # one shard each; or input = "a.bin" for a single one
    function = "run"                  # left out: the guest's own entry
    memory_pages = 160
    deadline_in_s = 3600
    redundancy = "Full(2)"            # None, Sampling(n), Full(n)
    [budget]
    max_total = 1000
    [compute]
    max_fuel = 1000000000

Paths are relative to the file. Whatever else stands in the file must be a key of `JobSpec`; the node refuses the
rest by name.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from icn_lite.model.errors import JobError
from icn_lite.node.control import Json

MAX_FILE_BYTES: Final = 1 << 20
MAX_INPUTS: Final = 100_000  # a plan holds no more shards
DEFAULT_DEADLINE_S: Final = 3_600
_REDUNDANCY: Final = re.compile(r"(None|Sampling|Full|ZeroKnowledge)(?:\((\d{1,4})\))?")


@dataclass(frozen=True, slots=True)
class JobFile:
    """A job file as read: where its bytes lie, and the fields for the node."""

    module: Path
    inputs: tuple[Path, ...]
    fields: Mapping[str, Json]
    function: str | None
    memory_pages: int | None


def read_job_file(path: Path) -> JobFile:
    """Read a job file; raises `JobError` with the key at fault."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise JobError(f"can't read {path}: {error.strerror}", hint="check the path") from error
    if len(data) > MAX_FILE_BYTES:
        raise JobError(f"{path}: expected at most {MAX_FILE_BYTES} bytes", hint="inputs are named, not included")
    return parse_job(_parse(path, data), path.parent)


def parse_job(table: dict[str, Json], folder: Path) -> JobFile:
    """The parts of a job from its keys."""
    fields = dict(table)
    module = _text(fields, "module")
    if module is None:
        raise JobError("module: missing", hint='name the guest: module = "guest.wasm"')
    inputs = _inputs(fields, folder)
    pages = fields.pop("memory_pages", None)
    if pages is not None and (not isinstance(pages, int) or isinstance(pages, bool)):
        raise JobError(f"memory_pages: expected a number of pages, found {pages!r}")
    if isinstance(fields.get("redundancy"), str):
        fields["redundancy"] = _redundancy(str(fields["redundancy"]))
    if "deadline" not in fields and "deadline_in_s" not in fields:
        fields["deadline_in_s"] = DEFAULT_DEADLINE_S
    for key in ("runtime", "submitter", "created_at", "nonce"):
        if key in fields:
            raise JobError(f"{key}: is made by the node and can't be set here")
    return JobFile(folder / module, inputs, fields, _text(fields, "function"), pages)


def _parse(path: Path, data: bytes) -> dict[str, Json]:
    try:
        text = data.decode("utf-8")
        table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise JobError(f"{path}: {error}", hint="a job file is TOML, or JSON where its name ends in .json") from error
    if not isinstance(table, dict):
        raise JobError(f"{path}: expected a table of keys")
    return table


def _inputs(fields: dict[str, Json], folder: Path) -> tuple[Path, ...]:
    single, several = fields.pop("input", None), fields.pop("inputs", None)
    if (single is None) == (several is None):
        raise JobError(
            "input: expected one of input (a file) and inputs (a list of files)",
            hint='name an input: input = "data.bin"; an empty file is one',
        )
    names = [single] if several is None else several
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise JobError("inputs: expected a list of file names")
    if len(names) > MAX_INPUTS:
        raise JobError(f"inputs: expected at most {MAX_INPUTS} files, found {len(names)}")
    return tuple(folder / str(name) for name in names)


def _text(fields: dict[str, Json], key: str) -> str | None:
    value = fields.pop(key, None)
    if value is not None and (not isinstance(value, str) or not value):
        raise JobError(f"{key}: expected text, found {value!r}")
    return value


def _redundancy(text: str) -> dict[str, Json]:
    match = _REDUNDANCY.fullmatch(text)
    counted = text.startswith(("Sampling", "Full"))
    if match is None or counted != (match[2] is not None):
        raise JobError(f"redundancy: expected None, Sampling(n), Full(n) or ZeroKnowledge, found {text!r}")
    return {"type": match[1], "n": int(match[2])} if counted else {"type": match[1]}
