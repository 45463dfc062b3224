"""Prepared modules on the disk: what comes back is what was put in, or nothing; never more than the bound."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import wasmtime

from icn_lite.model import cbor
from icn_lite.model.cid import Cid
from icn_lite.model.errors import ModuleError
from icn_lite.node import prepared_cache, preparing
from icn_lite.node.prepared_cache import (
    MAGIC,
    BadEntry,
    PreparedCache,
    cache_key,
    decode_entry,
    encode_entry,
)
from icn_lite.node.preparing import Preparations, known_module, prepare_module
from icn_lite.resources import guest_module
from icn_lite.wasm.limits import DEFAULT_LIMITS
from icn_lite.wasm.prepare import prepare
from icn_lite.wasm.prepared import Prepared

ROOT = Path(__file__).resolve().parents[2]
FLOATS = bytes(
    wasmtime.wat2wasm(
        """(module (import "icn" "log" (func (param i32 i32))) (import "icn" "host_get_reputation" (func (result i64)))
  (memory (export "memory") 1) (global (export "g") (mut i64) (i64.const 1)) (table (export "t") 1 funcref)
  (func $s) (start $s)
  (func (export "run") (param f32 f64) (result f64) local.get 1))"""
    )
)
MODULES = [FLOATS, guest_module("echo"), guest_module("sum"), guest_module("manifest")]


def numbered(number: int) -> bytes:
    return bytes(wasmtime.wat2wasm(f'(module (func (export "run") (result i32) (i32.const {number})))'))


def key_of(module: bytes) -> str:
    return cache_key(Cid.of_raw(module), DEFAULT_LIMITS)


@pytest.fixture
def cache(tmp_path: Path) -> PreparedCache:
    return PreparedCache(tmp_path / "prepared")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The modules that were really prepared."""
    done: list[bytes] = []

    def counting(code: bytes, limits: object) -> Prepared:
        done.append(code)
        return prepare(code, limits)  # type: ignore[arg-type]

    monkeypatch.setattr("icn_lite.wasm.prepare.prepare", counting)
    return done


@pytest.mark.parametrize("module", MODULES)
def test_what_comes_back_is_what_was_put_in(module: bytes, cache: PreparedCache) -> None:
    prepared = prepare(module)
    assert decode_entry(encode_entry(prepared)) == prepared
    assert cache.get(key_of(module)) is None
    cache.put(key_of(module), prepared)
    assert cache.get(key_of(module)) == prepared


def test_files_are_of_this_user_alone(cache: PreparedCache, tmp_path: Path) -> None:
    os.umask(os.umask(0))  # whatever it is
    cache.put(key_of(FLOATS), prepare(FLOATS))
    (path,) = (tmp_path / "prepared").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_key_holds_everything_that_the_result_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {key_of(FLOATS), key_of(MODULES[1])}
    seen.add(cache_key(Cid.of_raw(FLOATS), replace(DEFAULT_LIMITS, memory_pages=7)))
    seen.add(cache_key(Cid.of_raw(FLOATS), replace(DEFAULT_LIMITS, locals=7)))
    for name, value in (
        ("METER", "icn-meter/0"),
        ("FUEL_SCHEDULE", "icn-fuel-0"),
        ("_host_table", lambda: "another"),
        ("_preparing_code", lambda: "changed"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(prepared_cache, name, value)
            seen.add(key_of(FLOATS))
    assert len(seen) == 8
    assert key_of(FLOATS) in seen


def test_the_preparing_code_is_known_by_its_files() -> None:
    told = prepared_cache._preparing_code()
    assert "rewrite.py " in told
    assert "prepare.py " in told


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def another_form(path: Path) -> None:
    body = cbor.encode({"code": b""})
    path.write_bytes(MAGIC + hashlib.sha256(body).digest() + body)


def no_cbor(path: Path) -> None:
    path.write_bytes(MAGIC + hashlib.sha256(b"\xff").digest() + b"\xff")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def linked(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def huge(path: Path) -> None:
    os.truncate(path, prepared_cache.MAX_ENTRY_BYTES + 1)


def open_to_others(path: Path) -> None:
    path.chmod(0o620)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    "harm",
    [flip, another_form, no_cbor, truncated, linked, huge, open_to_others, a_pipe, lambda p: p.write_bytes(b"")],
)
def test_what_is_wrong_is_deleted_and_made_again(
    harm: Callable[[Path], object],
    cache: PreparedCache,
    tmp_path: Path,
    counted: list[bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    wanted = prepare_module(FLOATS, DEFAULT_LIMITS, cache)
    path = tmp_path / "prepared" / key_of(FLOATS)
    harm(path)
    with caplog.at_level(logging.WARNING):
        assert cache.get(key_of(FLOATS)) is None
    assert "made again" in caplog.text
    assert not path.is_symlink()
    assert not path.exists()
    assert prepare_module(FLOATS, DEFAULT_LIMITS, cache) == wanted
    assert prepare_module(FLOATS, DEFAULT_LIMITS, cache) == wanted
    assert len(counted) == 2


@pytest.mark.parametrize("data", [b"", MAGIC, MAGIC + bytes(32), b"icnprep0" + bytes(40)])
def test_bytes_that_are_no_entry_are_refused(data: bytes) -> None:
    with pytest.raises(BadEntry):
        decode_entry(data)


@pytest.mark.parametrize("field", ["imports", "exports"])
@pytest.mark.parametrize("value", [None, [1], [["run"]], [["run", "thing", None, None]], [[1, 2, 3, 4]]])
def test_rows_of_another_form_are_refused(field: str, value: cbor.Value) -> None:
    facts = cbor.decode(encode_entry(prepare(FLOATS))[len(MAGIC) + 32 :])
    assert isinstance(facts, dict)
    body = cbor.encode({**facts, field: value})
    with pytest.raises(BadEntry):
        decode_entry(MAGIC + hashlib.sha256(body).digest() + body)


def test_a_folder_that_others_may_write_to_is_not_believed(
    cache: PreparedCache, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.put(key_of(FLOATS), prepare(FLOATS))
    (tmp_path / "prepared").chmod(0o770)
    assert cache.get(key_of(FLOATS)) is None
    assert "others may write" in caplog.text
    cache.put(key_of(MODULES[1]), prepare(MODULES[1]))
    assert len(list((tmp_path / "prepared").iterdir())) == 1


def test_a_folder_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "prepared").symlink_to("elsewhere")
    cache = PreparedCache(tmp_path / "prepared")
    cache.put(key_of(FLOATS), prepare(FLOATS))
    assert cache.get(key_of(FLOATS)) is None
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_disk_that_cannot_be_written_to_costs_time_only(tmp_path: Path, counted: list[bytes]) -> None:
    cache = PreparedCache(tmp_path / "absent" / "prepared")
    for _ in range(2):
        assert prepare_module(FLOATS, DEFAULT_LIMITS, cache) == prepare(FLOATS)
    assert len(counted) == 2


def test_a_write_that_breaks_off_leaves_no_file(
    cache: PreparedCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        cache.put(key_of(FLOATS), prepare(FLOATS))
    assert not list((tmp_path / "prepared").iterdir())


def test_those_used_least_lately_go_first(tmp_path: Path) -> None:
    modules = [numbered(number) for number in range(10, 16)]
    entry = len(encode_entry(prepare(modules[0])))
    cache = PreparedCache(tmp_path / "prepared", max_bytes=4 * entry)
    folder = tmp_path / "prepared"
    for age, module in enumerate(modules[:4]):
        cache.put(key_of(module), prepare(module))
        os.utime(folder / key_of(module), ns=(age, age))  # the clock is not asked
    assert cache.get(key_of(modules[0])) is not None  # the oldest, now the newest
    cache.put(key_of(modules[4]), prepare(modules[4]))
    cache.put(key_of(modules[5]), prepare(modules[5]))
    here = {path.name for path in folder.iterdir()}
    assert here == {key_of(modules[number]) for number in (0, 3, 4, 5)}
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 4 * entry


def test_what_is_larger_than_the_bound_is_not_kept(tmp_path: Path) -> None:
    cache = PreparedCache(tmp_path / "prepared", max_bytes=100)
    cache.put(key_of(FLOATS), prepare(FLOATS))
    assert cache.get(key_of(FLOATS)) is None
    assert not (tmp_path / "prepared").exists()


WRITER = """
import sys; sys.path.insert(0, {root!r})
from pathlib import Path
from icn_lite.node.prepared_cache import PreparedCache, cache_key
from icn_lite.node.preparing import prepare_module
from icn_lite.resources import guest_module
from icn_lite.wasm.limits import DEFAULT_LIMITS
cache = PreparedCache(Path(sys.argv[1]), max_bytes=40_000)
for _ in range(20):
    for name in ("echo", "sum", "manifest"):
        assert prepare_module(guest_module(name), DEFAULT_LIMITS, cache).functions
"""


def test_several_processes_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER.format(root=str(ROOT)), str(tmp_path / "prepared")]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    for process in running:
        assert process.communicate(timeout=60)[1] == b""
        assert process.returncode == 0
    cache = PreparedCache(tmp_path / "prepared")
    for path in (tmp_path / "prepared").iterdir():
        assert cache.get(path.name) is not None


def test_a_known_module_is_found_without_the_preparing_code(tmp_path: Path) -> None:
    """A node at rest, or `run` of what ran before, never loads it."""
    prepare_module(guest_module("sum"), DEFAULT_LIMITS, PreparedCache(tmp_path / "prepared"))
    script = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from icn_lite.node.preparing import prepare_module, PreparedCache
from icn_lite.resources import guest_module
from icn_lite.wasm.limits import DEFAULT_LIMITS
assert prepare_module(guest_module("sum"), DEFAULT_LIMITS, PreparedCache(Path(sys.argv[1]))).functions
assert "icn_lite.wasm.prepare" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "prepared")], check=True, timeout=60)


def test_a_refusal_is_not_kept_on_the_disk(cache: PreparedCache, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ModuleError) as caught:
            prepare_module(FLOATS[:-1], DEFAULT_LIMITS, cache)
        assert caught.value.hint
    assert known_module(FLOATS[:-1], DEFAULT_LIMITS, cache) is None
    assert not (tmp_path / "prepared").exists()


async def test_a_node_prepares_once_over_its_lives(cache: PreparedCache, counted: list[bytes]) -> None:
    for _ in range(2):
        node = Preparations(DEFAULT_LIMITS, cache)
        found = await asyncio.gather(*(node.get(Cid.of_raw(FLOATS), FLOATS, 160) for _ in range(4)))
        assert len(set(map(id, found))) == 1
    assert counted == [FLOATS]


async def test_a_known_module_does_not_wait_for_one_that_is_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Preparations(DEFAULT_LIMITS)
    await node.get(Cid.of_raw(FLOATS), FLOATS, 160)
    async with node._lock:  # as while a large module is prepared
        async with asyncio.timeout(10):
            assert await node.get(Cid.of_raw(FLOATS), FLOATS, 160)


async def test_memory_is_bounded_in_bytes_and_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Preparations(DEFAULT_LIMITS)
    for number in range(preparing.MAX_KEPT + 3):
        module = numbered(number)
        await node.get(Cid.of_raw(module), module, 160)
    assert len(node._kept) == preparing.MAX_KEPT
    monkeypatch.setattr(preparing, "MAX_KEPT_BYTES", 1000)
    module = guest_module("manifest")
    await node.get(Cid.of_raw(module), module, 160)
    assert len(node._kept) == 1  # the one in use, though it is larger
    await node.get(Cid.of_raw(numbered(1)), numbered(1), 160)
    assert node.kept_bytes <= 1000
