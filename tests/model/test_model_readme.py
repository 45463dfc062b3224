"""The tables of the room's README are drawn from the code: this compares them."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from pathlib import Path
from typing import Any

import pytest
from model_strategies import SIGNER
from test_model_receipt import largest

import icn_lite.model
from icn_lite.model.job import MESH_JOB_PARAMS, JobSpec
from icn_lite.model.mapping import JOB_PROTOCOL
from icn_lite.model.receipt import ExecutionReceipt, ReceiptStatus, sign_receipt

ROOM = Path(icn_lite.model.__path__[0])
README = (ROOM / "README.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The rows under a table's heading, cells without their back-ticks."""
    lines = README[README.index(f"| {heading} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(
    ("heading", "mapping"),
    [("`MeshJobParams`, `JobRequest`", MESH_JOB_PARAMS), ("`mesh-job-protocol.md`", JOB_PROTOCOL)],
)
def test_mappings(heading: str, mapping: dict[str, str]) -> None:
    assert table(heading) == [[field, path] for field, path in mapping.items()]


@pytest.mark.parametrize("path", sorted(JOB_PROTOCOL.values()))
def test_paths_exist(path: str) -> None:
    cls: Any = JobSpec
    for step in path.split("."):
        if step == "id":
            assert isinstance(JobSpec.__dict__["id"], property)
            return
        hint = typing.get_type_hints(cls)[step]
        choices = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        cls = next(choice for choice in choices if choice is not types.NoneType)


def test_receipt_fields() -> None:
    assert [row[0] for row in table("field")] == [field.name for field in dataclasses.fields(ExecutionReceipt)]


def test_files() -> None:
    named = set(re.findall(r"`(\w+)`", " ".join(row[0] + "`" for row in (["`" + r[0]] for r in table("file")))))
    assert named == {path.stem for path in ROOM.glob("*.py")} - {"__init__"}


def test_the_largest_receipt_is_as_large_as_said() -> None:
    said = re.search(r"With every field at its bound it has (\d+) without", README)
    assert said is not None
    made = [len(sign_receipt(largest(s, entry=None, args=(), results=()), SIGNER).block) for s in ReceiptStatus]
    assert max(made) == int(said.group(1))
