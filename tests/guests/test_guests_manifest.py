"""The manifest guest against hashlib and dag-cbor, on wasm3 and on wasmtime."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from guest_engines import BUILD, GuestRun, run_wasm3, run_wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st
from manifest_format import File, file, pack, report

MANIFEST = (BUILD / "manifest.wasm").read_bytes()
VECTORS = Path(__file__).parent / "vectors"
ENGINES = (run_wasm3, run_wasmtime)
ENTRY = struct.calcsize("<II32s")


def run_both(data: bytes) -> GuestRun:
    """Both engines give the same result, output and log."""
    first, second = (engine(MANIFEST, data) for engine in ENGINES)
    assert first == second
    return first


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.json")), ids=lambda p: p.stem)
def test_every_vector_holds(path: Path) -> None:
    vector = json.loads(path.read_text())
    run = run_both(bytes.fromhex(vector["input"]))
    assert run.result == vector["exit_code"], vector["what"]
    assert run.output.hex() == vector["output"]


def test_the_vectors_cover_every_exit_code_a_shard_can_cause() -> None:
    codes = {json.loads(path.read_text())["exit_code"] for path in VECTORS.glob("*.json")}
    assert codes == {0, 1, 2, 3, 4, 5}


# 55, 56, 63, 64 are the edges of SHA-256's padding; 23, 24, 255, 256, 65535, 65536 those of CBOR's integers
lengths = st.sampled_from([0, 1, 3, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 1000])
files_of_any_kind = st.lists(
    st.builds(
        lambda n, fill, path, good: file(path, bytes((fill + i) % 256 for i in range(n)), good=good),
        lengths,
        st.integers(0, 255),
        st.text(min_size=1, max_size=20),
        st.booleans(),
    ),
    max_size=40,
)


@given(files_of_any_kind)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_report_is_what_hashlib_says(files: list[File]) -> None:
    run = run_both(pack(files))
    assert run.result == 0
    assert run.output == report(files)
    assert run.log == ()


@pytest.mark.parametrize("count", [0, 23, 24, 25, 255, 256, 257, 5000])
def test_numbers_of_every_width_are_encoded_shortest(count: int) -> None:
    files = [file(f"{i}", bytes([i % 251]), good=i % 2 == 0) for i in range(count)]
    assert run_both(pack(files)).output == report(files)


def test_four_mebibytes_fit_the_node_s_160_pages() -> None:
    data = bytes(range(256)) * 16384
    files = [file("large", data), file("large too", data[:100], good=False)]
    run = run_both(pack(files))
    assert run.output == report(files)
    assert run.pages <= 160


def test_a_shard_beyond_the_page_limit_ends_with_a_code() -> None:
    run = run_wasmtime(MANIFEST, pack([file("large", bytes(300_000))]), pages=4)
    assert (run.result, run.output) == (6, b"")
    assert run.log == ("manifest: the input does not fit the memory",)


def test_a_host_that_refuses_the_report_ends_with_a_code() -> None:
    for engine in ENGINES:
        run = engine(MANIFEST, pack([]), put_result=-9)
        assert (run.result, run.log) == (7, ("manifest: the host refuses the report",))


@given(st.data())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_damaged_shard_never_traps_and_never_reports_falsely(data: st.DataObject) -> None:
    files = [file("a", b"x" * 70), file("bc", b""), file("d", b"y" * 64, good=False)]
    shard = bytearray(pack(files))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(shard) - 1))
        shard[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(shard)))
    damaged = bytes(shard[:cut]) if data.draw(st.booleans()) else bytes(shard)
    run = run_wasm3(MANIFEST, damaged)
    if run.result == 0:
        assert run.output == report(unpack(damaged))
    else:
        assert run.result in {1, 2, 3, 4, 5}
        assert run.output == b""
        assert len(run.log) == 1


def unpack(shard: bytes) -> list[File]:
    """A shard that the guest accepted, taken apart."""
    magic, version, count = struct.unpack_from("<4sII", shard)
    assert (magic, version) == (b"ICNM", 1)
    entries = [struct.unpack_from("<II32s", shard, 12 + ENTRY * i) for i in range(count)]
    at = 12 + ENTRY * count
    paths, files = [], []
    for path_len, _, _ in entries:
        paths.append(shard[at : at + path_len])
        at += path_len
    for path, (_, data_len, digest) in zip(paths, entries, strict=True):
        files.append((path, shard[at : at + data_len], digest))
        at += data_len
    assert at == len(shard)
    return files
