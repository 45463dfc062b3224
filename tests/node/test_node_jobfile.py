"""Job files: every key as it is read, and every refusal with the key at fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from icn_lite.model.errors import JobError
from icn_lite.node import jobfile
from icn_lite.node.jobfile import DEFAULT_DEADLINE_S, parse_job, read_job_file

FOLDER = Path("/jobs")
LEAST: dict[str, Any] = {"module": "guest.wasm", "input": "data.bin"}


def test_every_key(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text(
        'name = "checksums"\nmodule = "manifest.wasm"\ninputs = ["a.bin", "/abs/b.bin"]\nfunction = "run"\n'
        'memory_pages = 160\ndeadline_in_s = 60\nredundancy = "Full(2)"\n[budget]\nmax_total = 1000\n'
        "[compute]\nmax_fuel = 1000000000\n"
    )
    job = read_job_file(path)
    assert job.module == tmp_path / "manifest.wasm"
    assert job.inputs == (tmp_path / "a.bin", Path("/abs/b.bin"))
    assert (job.function, job.memory_pages) == ("run", 160)
    assert dict(job.fields) == {
        "name": "checksums",
        "deadline_in_s": 60,
        "redundancy": {"type": "Full", "n": 2},
        "budget": {"max_total": 1000},
        "compute": {"max_fuel": 1_000_000_000},
    }


def test_json_says_the_same_and_little_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(LEAST))
    job = read_job_file(path)
    assert (job.module, job.inputs) == (tmp_path / "guest.wasm", (tmp_path / "data.bin",))
    assert (job.function, job.memory_pages) == (None, None)
    assert dict(job.fields) == {"deadline_in_s": DEFAULT_DEADLINE_S}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("None", {"type": "None"}),
        ("Sampling(3)", {"type": "Sampling", "n": 3}),
        ("Full(2)", {"type": "Full", "n": 2}),
        ("ZeroKnowledge", {"type": "ZeroKnowledge"}),
    ],
)
def test_redundancy_as_text(text: str, value: dict[str, Any]) -> None:
    assert parse_job({**LEAST, "redundancy": text}, FOLDER).fields["redundancy"] == value


def test_what_the_file_gives_as_a_map_is_left_to_the_node() -> None:
    given = {"type": "Full", "n": 2}
    assert parse_job({**LEAST, "redundancy": given}, FOLDER).fields["redundancy"] == given
    assert parse_job({**LEAST, "deadline": 5}, FOLDER).fields == {"deadline": 5}


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"module": None}, "module"),
        ({"module": ""}, "module"),
        ({"module": 7}, "module"),
        ({"input": None}, "input"),
        ({"inputs": ["a"]}, "input"),
        ({"input": None, "inputs": []}, "inputs"),
        ({"input": None, "inputs": "a.bin"}, "inputs"),
        ({"input": None, "inputs": ["a", 1]}, "inputs"),
        ({"input": None, "inputs": ["a", ""]}, "inputs"),
        ({"input": ""}, "inputs"),
        ({"function": ""}, "function"),
        ({"function": ["run"]}, "function"),
        ({"memory_pages": "160"}, "memory_pages"),
        ({"memory_pages": True}, "memory_pages"),
        ({"memory_pages": 1.5}, "memory_pages"),
        ({"redundancy": "Full"}, "redundancy"),
        ({"redundancy": "None(2)"}, "redundancy"),
        ({"redundancy": "Half(2)"}, "redundancy"),
        ({"redundancy": "Full(-1)"}, "redundancy"),
        ({"redundancy": "Full(12345)"}, "redundancy"),
        ({"runtime": {}}, "runtime"),
        ({"submitter": "did:key:z"}, "submitter"),
        ({"created_at": 1}, "created_at"),
        ({"nonce": ""}, "nonce"),
    ],
)
def test_what_is_refused_names_its_key(changed: dict[str, Any], key: str) -> None:
    table = {name: value for name, value in {**LEAST, **changed}.items() if value is not None}
    with pytest.raises(JobError, match=f"^{key}: ") as refused:
        parse_job(table, FOLDER)
    assert refused.value.as_json()["code"] == "J001"


def test_too_many_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobfile, "MAX_INPUTS", 2)
    with pytest.raises(JobError, match=r"^inputs: expected at most 2 files, found 3"):
        parse_job({"module": "m", "inputs": ["a", "b", "c"]}, FOLDER)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("job.toml", b"name = "),
        ("job.toml", b"\xff\xfe"),
        ("job.json", b"{"),
        ("job.json", b"[1]"),
        ("job.json", b"[" * 100_000),
        ("job.toml", b"#" * (jobfile.MAX_FILE_BYTES + 1)),
    ],
)
def test_a_file_that_can_not_be_read_is_named(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(JobError, match=str(path)):
        read_job_file(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"can't read .*nothing\.toml: No such file"):
        read_job_file(tmp_path / "nothing.toml")
