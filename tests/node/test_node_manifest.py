"""Packing installed files into shards, against the oracle that was written from the guest's description."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.model.errors import DocumentError
from icn_lite.node import manifest
from icn_lite.node.manifest import ListedFile, Report, fuel_for, listed_files, pack, plan, read_report, shard_bytes
from icn_lite.resources import guest_module
from icn_lite.sandbox.outcome import RunRequest
from icn_lite.sandbox.pool import Pool, PoolConfig
from icn_lite.wasm.prepare import prepare

sys.path.insert(0, str(Path(__file__).parents[1] / "guests"))
import manifest_format as oracle

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)
FILES = st.lists(st.tuples(NAMES, st.binary(max_size=200), st.booleans()), max_size=12)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(FILES)
def test_a_shard_is_packed_as_the_guest_reads_it(files: list[tuple[str, bytes, bool]]) -> None:
    made = [oracle.file(name, data, good=good) for name, data, good in files]
    assert pack([(path.decode(), data, digest) for path, data, digest in made]) == oracle.pack(made)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(FILES)
def test_a_report_is_read_as_the_guest_writes_it(files: list[tuple[str, bytes, bool]]) -> None:
    made = [oracle.file(name, data, good=good) for name, data, good in files]
    wrong = tuple(index for index, (_, _, good) in enumerate(files) if not good)
    expected = Report(len(files), sum(len(data) for _, data, _ in files), wrong)
    assert read_report(oracle.report(made)) == expected


async def test_the_guest_finds_what_the_oracle_finds_within_the_fuel_planned() -> None:
    files = [oracle.file(f"f{n}", bytes([n]) * (n * 1001), good=n % 3 != 1) for n in range(12)]
    shard = pack([(path.decode(), data, digest) for path, data, digest in files])
    fuel = fuel_for(shard, len(files))
    request = RunRequest(
        prepared=prepare(guest_module("manifest")), invoke="run", input=shard, fuel_limit=fuel, timeout_ms=20_000
    )
    async with Pool(PoolConfig(1)) as pool:
        outcome = await pool.run(request)
    assert (outcome.status, outcome.output) == ("completed", oracle.report(files))
    assert outcome.fuel_used < fuel


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"v": 2, "bytes": 1, "files": 1, "mismatches": []},
        {"v": 1, "bytes": 1, "files": 1},
        {"v": 1, "bytes": 1, "files": 1, "mismatches": [], "more": 1},
        {"v": 1, "bytes": "1", "files": 1, "mismatches": []},
        {"v": 1, "bytes": 1, "files": None, "mismatches": []},
        {"v": 1, "bytes": 1, "files": 1, "mismatches": {}},
        {"v": 1, "bytes": 1, "files": 1, "mismatches": [1]},
        {"v": 1, "bytes": 1, "files": 1, "mismatches": [-1]},
        {"v": 1, "bytes": 1, "files": 1, "mismatches": ["0"]},
    ],
)
def test_what_is_no_report_is_refused(value: object) -> None:
    with pytest.raises(DocumentError):
        read_report(cbor2.dumps(value, canonical=True))


@pytest.mark.parametrize("name", ["", "x" * 4097, "ü" * 2049])
def test_a_name_that_a_shard_can_not_hold(name: str) -> None:
    with pytest.raises(DocumentError, match="expected a name of 1 to 4096 bytes"):
        pack([(name, b"", bytes(32))])


def listed(number: int, size: int) -> ListedFile:
    return ListedFile(f"file-{number:04}", Path("nowhere"), size, bytes(32))


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.lists(st.integers(0, 5_000), max_size=60), st.integers(500, 4_000))
def test_a_plan_holds_every_file_once_and_no_group_is_too_large(sizes: list[int], target: int) -> None:
    files = [listed(number, size) for number, size in enumerate(sizes)]
    groups = plan(files, target)
    assert sorted(file.name for group in groups for file in group) == [file.name for file in files]
    for group in groups:
        assert group
        assert len(group) == 1 or sum(map(shard_bytes, group)) <= target
    assert groups == plan(list(reversed(files)), target)  # the order in which they were found doesn't matter
    total = sum(map(shard_bytes, files))
    assert len(groups) <= 2 * (total // target) + 1 + sum(shard_bytes(file) > target for file in files)


def test_the_files_listed_are_those_with_a_hash_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "sample-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sample\nVersion: 1.0\n")
    (tmp_path / "b.py").write_bytes(b"b")
    (tmp_path / "a.py").write_bytes(b"a")
    (tmp_path / "md5.py").write_bytes(b"c")
    digest = "ypeBEsobvcr6wjGzmiPcTaeG7_gUfE5yuYB3ha_uSLs"  # of "a", RFC 4648 §5 without padding
    (info / "RECORD").write_text(
        f"b.py,sha256={digest},1\na.py,sha256={digest},1\n./a.py,sha256={digest},1\n"
        f"gone.py,sha256={digest},1\nmd5.py,md5=1B2M2Y8AsgTpgAmY7PhCfg,1\nsample-1.0.dist-info/RECORD,,\n"
    )
    monkeypatch.setattr(
        manifest.importlib.metadata,
        "distributions",
        lambda: manifest.importlib.metadata.Distribution.discover(path=[str(tmp_path)]),
    )
    files = list(listed_files())
    assert [file.name for file in files] == ["a.py", "b.py"]
    assert files[0].sha256 == hashlib.sha256(b"a").digest()
    assert [file.size for file in files] == [1, 1]
