"""WASI preview 1: every answer by its number, and programs built with Debian's clang and wasi-libc."""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
import wasmtime
from sandbox_kit import ENGINE_NAMES, request
from warm import warm_run

from icn_lite.sandbox import wasi
from icn_lite.sandbox.digests import RandomStream
from icn_lite.sandbox.outcome import RunContext, RunOutcome, RunRequest
from icn_lite.wasm.hostfuncs import HOST_FUNCTIONS
from icn_lite.wasm.prepare import prepare

E = {"SUCCESS": 0, "EBADF": 8, "EFAULT": 21, "EINVAL": 28, "ENOSPC": 51, "ENOSYS": 52, "ESPIPE": 70}

IMPORTS = """
 (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_renumber" (func $fd_renumber (param i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_seek" (func $fd_seek (param i32 i64 i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_tell" (func $fd_tell (param i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fd_fdstat_get (param i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_filestat_get" (func $fd_filestat_get (param i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_sync" (func $fd_sync (param i32) (result i32)))
 (import "wasi_snapshot_preview1" "path_open"
   (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "sched_yield" (func $sched_yield (result i32)))
 (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
 (import "wasi_snapshot_preview1" "clock_res_get" (func $clock_res_get (param i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "sock_shutdown" (func $sock_shutdown (param i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "proc_raise" (func $proc_raise (param i32) (result i32)))
 (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
"""
# (iovec at 0: 5 bytes at 100; at 8: 3 bytes at 200; at 16: a pointer past the end)
VECTORS = ((100, 5), (200, 3), (65535, 2))
DATA = '(data (i32.const 0) "{}")'.format(
    "".join(f"\\{byte:02x}" for pair in VECTORS for n in pair for byte in n.to_bytes(4, "little"))
)


def calls(*expressions: str, more: str = "", **fields: object) -> list[int]:
    """Results of calls made one after another in `_start`, the same on both engines; each as i32."""
    stores = "\n".join(f"(i32.store (i32.const {1000 + 4 * i}) {text})" for i, text in enumerate(expressions))
    text = f"""(module {IMPORTS} (memory 1) {DATA} (data (i32.const 100) "hello") (data (i32.const 200) "you")
      {more} (data (i32.const 992) "\\e8\\03\\00\\00\\00\\02\\00\\00")
      (func (export "_start") {stores} (drop (call $fd_write (i32.const 1) (i32.const 992) (i32.const 1) (i32.const 980)))))"""  # noqa: E501
    outcome = both(request(text, **fields))
    assert (outcome.status, outcome.exit_code) == ("completed", 0), outcome
    tail = outcome.output[-512:]
    return [int.from_bytes(tail[4 * i : 4 * i + 4], "little") for i in range(len(expressions))]


def both(run: RunRequest) -> RunOutcome:
    first, second = (warm_run(run, engine) for engine in (ENGINE_NAMES[0], ENGINE_NAMES[-1]))
    fields = ("status", "trap", "exit_code", "output", "log", "fuel_used", "memory_pages_peak", "host_calls")
    assert [getattr(first, f) for f in fields] == [getattr(second, f) for f in fields]
    return first


def test_descriptors() -> None:
    found = calls(
        "(call $fd_seek (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 500))",
        "(call $fd_tell (i32.const 1) (i32.const 500))",
        "(call $fd_seek (i32.const 3) (i64.const 0) (i32.const 0) (i32.const 500))",
        "(call $fd_prestat_get (i32.const 3) (i32.const 500))",
        "(call $fd_fdstat_get (i32.const 2) (i32.const 500))",
        "(i32.load (i32.const 508))",
        "(call $fd_fdstat_get (i32.const 9) (i32.const 500))",
        "(call $fd_filestat_get (i32.const 0) (i32.const 500))",
        "(call $fd_sync (i32.const 1))",
        "(call $fd_close (i32.const 0))",
        "(call $fd_close (i32.const 0))",
        "(call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 600))",
        "(call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0)"
        " (i64.const 0) (i32.const 0) (i32.const 0))",
        "(call $sock_shutdown (i32.const 4) (i32.const 0))",
    )
    rights = wasi.RIGHT_WRITE | wasi.RIGHT_POLL
    assert found == [
        E["ESPIPE"], E["ESPIPE"], E["EBADF"], E["EBADF"], 0, rights, E["EBADF"], 0, E["EBADF"], 0, E["EBADF"],
        E["EBADF"], E["EBADF"], E["EBADF"],
    ]  # fmt: skip


def test_reading_and_writing() -> None:
    read = "(call $fd_read (i32.const 0) (i32.const 0) (i32.const 2) (i32.const 600))"
    found = calls(
        read,
        "(i32.load (i32.const 600))",
        read,
        "(i32.load (i32.const 600))",
        read,
        "(i32.load (i32.const 600))",
        "(call $fd_read (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 600))",
        "(call $fd_write (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 600))",
        "(call $fd_write (i32.const 2) (i32.const 0) (i32.const 2) (i32.const 600))",
        "(i32.load (i32.const 600))",
        "(call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 600))",
        "(call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 65533))",
        "(call $fd_write (i32.const 1) (i32.const -8) (i32.const 2) (i32.const 600))",
        "(call $fd_write (i32.const 1) (i32.const 0) (i32.const 1025) (i32.const 600))",
        "(call $fd_read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 600))",
        input=b"0123456789",
    )
    assert found == [0, 8, 0, 2, 0, 0, 8, 8, 0, 8, 21, 21, 21, 28, 21]


def test_descriptors_change_places() -> None:
    read = "(call $fd_read (i32.const {}) (i32.const 0) (i32.const 1) (i32.const 600))"
    found = calls(
        "(call $fd_renumber (i32.const 0) (i32.const 7))",
        "(call $fd_renumber (i32.const 7) (i32.const 0))",
        "(call $fd_renumber (i32.const 1) (i32.const 1))",
        "(call $fd_renumber (i32.const 0) (i32.const 2))",
        read.format(0),
        read.format(2),
        "(i32.load (i32.const 600))",
        "(call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 600))",
        "(call $fd_renumber (i32.const 0) (i32.const 1))",
        input=b"abc",
    )
    assert found == [8, 8, 0, 0, 8, 0, 3, 8, 8]


# What a call answers on each of stdin, stdout and 7, which nobody opened.
BY_DESCRIPTOR = (
    ("fd_advise", 0, 0, 0), ("fd_allocate", 0, 1), ("fd_datasync",), ("fd_sync",), ("fd_fdstat_set_flags", 0),
    ("fd_fdstat_set_rights", 0, 0), ("fd_fdstat_get", 600), ("fd_filestat_get", 504), ("fd_filestat_set_size", 0),
    ("fd_filestat_set_times", 0, 0, 0), ("fd_pread", 0, 1, 0, 600), ("fd_pwrite", 0, 1, 0, 600),
    ("fd_prestat_get", 600), ("fd_prestat_dir_name", 600, 1), ("fd_read", 0, 1, 600),
    ("fd_readdir", 600, 10, 0, 704), ("fd_seek", 0, 0, 600), ("fd_tell", 600), ("fd_write", 0, 1, 600),
    ("path_create_directory", 100, 1), ("path_filestat_get", 0, 100, 1, 600),
    ("path_filestat_set_times", 0, 100, 1, 0, 0, 0), ("path_link", 0, 100, 1, 3, 100, 1),
    ("path_open", 0, 100, 1, 0, 0, 0, 0, 600), ("path_readlink", 100, 1, 600, 8, 700),
    ("path_remove_directory", 100, 1), ("path_rename", 100, 1, 3, 100, 1), ("path_unlink_file", 100, 1),
    ("sock_accept", 0, 600), ("sock_recv", 0, 1, 0, 600, 700), ("sock_send", 0, 1, 0, 600), ("sock_shutdown", 1),
)  # fmt: skip
WITHOUT_DESCRIPTOR = (
    ("args_sizes_get", 600, 604), ("args_get", 700, 800), ("environ_sizes_get", 600, 604), ("environ_get", 600, 700),
    ("clock_res_get", 0, 600), ("clock_res_get", 1, 600), ("clock_res_get", 2, 600), ("clock_res_get", 3, 600),
    ("clock_time_get", 0, 1, 600), ("clock_time_get", 1, 1, 600), ("clock_time_get", 2, 1, 600),
    ("clock_time_get", 3, 1, 600), ("random_get", 600, 8), ("sched_yield",), ("poll_oneoff", 0, 600, 0, 700),
    ("path_symlink", 100, 1, 3, 102, 1), ("fd_renumber", 7, 0), ("fd_renumber", 0, 7), ("fd_renumber", 1, 1),
    ("fd_renumber", 2, 0), ("fd_write", 0, 0, 1, 600), ("fd_write", 2, 0, 1, 600), ("fd_close", 1), ("fd_close", 1),
    ("fd_close", 7),
)  # fmt: skip
# (call, first argument): wasmtime's answer, ours. All else is equal.
ANSWERED_OTHERWISE = {
    ("fd_fdstat_set_flags", 0): (8, 0),  # streams that never block may be told not to
    ("fd_fdstat_set_flags", 1): (8, 0),
    ("clock_res_get", 2): (8, 0),  # the processor's time stands as still as any
    ("clock_res_get", 3): (8, 0),
    ("clock_time_get", 2): (8, 0),
    ("clock_time_get", 3): (8, 0),
}
# In the standard there are 46, the last added being sock_accept; proc_exit answers nothing, proc_raise is retired.
EVERY_CALL = 46


def module_of_calls(asked: Sequence[tuple[str | int, ...]], ending: tuple[str, str] = ("", "")) -> str:
    """A `_start` that imports the whole standard and stores what the calls answer from 4096 on; then an ending."""
    rows = {name: row for (module, name), row in HOST_FUNCTIONS.items() if module == wasi.MODULE}
    words = {0x7F: "i32", 0x7E: "i64"}
    imports = [
        f'(import "{wasi.MODULE}" "{name}" (func ${name} (param {" ".join(words[p] for p in row.params)})'
        f"{' (result i32)' if row.results else ''}))"
        for name, row in rows.items()
    ]
    stores = []
    for index, (name, *args) in enumerate(asked):
        given = " ".join(f"({words[p]}.const {a})" for p, a in zip(rows[str(name)].params, args, strict=True))
        stores.append(f"(i32.store (i32.const {4096 + 4 * index}) (call ${name} {given}))")
    return f"""(module {ending[0]} {" ".join(imports)} (memory (export "memory") 1)
      (data (i32.const 0) "\\64\\00\\00\\00\\05") (data (i32.const 100) "hello")
      (func (export "_start") {" ".join(stores)} {ending[1]}))"""


def numbers(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]


@pytest.mark.parametrize("fd", [0, 1, 7, None])
def test_errors_are_those_of_wasmtime(fd: int | None, tmp_path: Path) -> None:
    asked: list[tuple[str | int, ...]] = list(WITHOUT_DESCRIPTOR)
    if fd is not None:
        asked = [(name, fd, *rest) for name, *rest in BY_DESCRIPTOR]
    size = 4 * len(asked)

    engine = wasmtime.Engine()
    store, linker, config = wasmtime.Store(engine), wasmtime.Linker(engine), wasmtime.WasiConfig()
    (tmp_path / "in").write_bytes(b"0123456789")
    config.stdin_file, config.stdout_file, config.stderr_file = (tmp_path / name for name in ("in", "out", "err"))
    store.set_wasi(config)
    linker.define_wasi()
    # links only when every signature of ours is the standard's
    exports = linker.instantiate(store, wasmtime.Module(engine, module_of_calls(asked))).exports(store)
    exports["_start"](store)
    theirs = numbers(bytes(exports["memory"].read(store, 4096, 4096 + size)))

    put = (
        '(import "icn" "put_output" (func $put (param i32 i32) (result i32)))',
        f"(drop (call $put (i32.const 4096) (i32.const {size})))",
    )
    ours = numbers(both(request(module_of_calls(asked, put), input=b"0123456789")).output[-size:])
    differing = {call[:2]: (a, b) for call, a, b in zip(asked, theirs, ours, strict=True) if a != b}
    assert differing == {call[:2]: ANSWERED_OTHERWISE[call[:2]] for call in asked if call[:2] in ANSWERED_OTHERWISE}


def test_every_call_of_the_standard_can_be_imported() -> None:
    rows = {name for module, name in HOST_FUNCTIONS if module == wasi.MODULE}
    assert len(rows) == EVERY_CALL
    named = {call[0] for call in (*BY_DESCRIPTOR, *WITHOUT_DESCRIPTOR)}
    assert rows - named == {"proc_exit", "proc_raise"}, "each has its answers compared"
    listed = Path("/usr/lib/wasm32-wasi/libc.imports")
    if listed.is_file():  # what Debian's wasi-libc may ask for
        prefix = f"__imported_{wasi.MODULE}_"
        assert {line.removeprefix(prefix) for line in listed.read_text().split()} <= rows


def subscription(userdata: int, kind: int, what: int, timeout: int = 0) -> str:
    """48 bytes as text of a data segment."""
    numbers = ((userdata, 8), (kind, 8), (what, 8), (timeout, 8), (0, 16))
    return "".join(f"\\{byte:02x}" for value, width in numbers for byte in value.to_bytes(width, "little"))


CLOCK, READ, WRITE = 0, 1, 2


@pytest.mark.parametrize(
    ("waits", "events"),
    [
        ([(1, CLOCK, 1, 10**12)], [(1, 0, CLOCK, 0, 0)]),  # a sleep returns at once
        ([(1, CLOCK, 0, 20), (2, CLOCK, 1, 10), (3, CLOCK, 3, 10)], [(2, 0, CLOCK, 0, 0), (3, 0, CLOCK, 0, 0)]),
        ([(1, CLOCK, 0, 1), (2, READ, 0)], [(2, 0, READ, 3, 0)]),  # no time passes while something is ready
        ([(1, CLOCK, 0, 0), (2, WRITE, 1), (3, WRITE, 2)],
         [(1, 0, CLOCK, 0, 0), (2, 0, WRITE, 4096, 0), (3, 0, WRITE, 4096, 0)]),
        ([(1, READ, 1), (2, WRITE, 0), (3, READ, 9), (4, CLOCK, 4, 5)],
         [(1, 8, READ, 0, 0), (2, 8, WRITE, 0, 0), (3, 8, READ, 0, 0), (4, 28, CLOCK, 0, 0)]),
    ],
)  # fmt: skip
def test_waiting(waits: list[tuple[int, ...]], events: list[tuple[int, ...]]) -> None:
    text = f"""(module {IMPORTS} (import "icn" "put_output" (func $put (param i32 i32) (result i32)))
      (memory 1) (data (i32.const 0) "{"".join(subscription(*wait) for wait in waits)}")
      (func (export "_start") (local i32)
        (local.set 0 (call $poll_oneoff (i32.const 0) (i32.const 1024) (i32.const {len(waits)}) (i32.const 1020)))
        (drop (call $put (i32.const 1020) (i32.const 1028)))
        (call $proc_exit (local.get 0))))"""
    outcome = both(request(text, input=b"abc"))
    assert outcome.exit_code == 0
    fields = struct.unpack("<I", outcome.output[:4])
    assert fields == (len(events),)
    found = [struct.unpack("<QHB5xQH6x", outcome.output[at : at + 32]) for at in range(4, 4 + 32 * len(events), 32)]
    assert found == events
    assert not any(outcome.output[4 + 32 * len(events) :])


def test_waiting_at_the_end_of_the_input_and_in_wrong_places() -> None:
    ready = subscription(7, READ, 0)
    poll = "(call $poll_oneoff (i32.const {}) (i32.const {}) (i32.const {}) (i32.const {}))"
    found = calls(
        poll.format(300, 400, 1, 500),
        "(i32.load16_u (i32.const 424))",
        poll.format(65500, 400, 1, 500),
        poll.format(300, 65510, 1, 500),
        poll.format(300, 400, 1, 65533),
        poll.format(300, 400, 1025, 500),
        poll.format(300, 400, -1, 500),
        poll.format(348, 400, 1, 500),
        more=f'(data (i32.const 300) "{ready}") (data (i32.const 348) "{subscription(7, 3, 0)}")',
    )
    assert found == [0, wasi.HANGUP, 21, 21, 21, 28, 28, 28]


def test_output_past_the_limit_has_no_room() -> None:
    text = f"""(module {IMPORTS} (memory 1) {DATA}
      (func (export "_start")
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 600)))
        (call $proc_exit (call $fd_write (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 600)))))"""
    outcome = both(request(text, output_limit=12))
    assert (outcome.exit_code, len(outcome.output)) == (E["ENOSPC"], 5)


def test_clocks_stand_still_and_the_rest_is_not_there() -> None:
    found = calls(
        "(call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 500))",
        "(i32.load (i32.const 500))",
        "(call $clock_time_get (i32.const 3) (i64.const 1) (i32.const 500))",
        "(call $clock_time_get (i32.const 4) (i64.const 1) (i32.const 500))",
        "(call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 65530))",
        "(call $clock_res_get (i32.const 1) (i32.const 500))",
        "(i32.load (i32.const 500))",
        "(call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 500))",
        "(call $proc_raise (i32.const 9))",
        "(call $sched_yield)",
        "(call $environ_sizes_get (i32.const 500) (i32.const 504))",
        "(i32.load (i32.const 500))",
        "(i32.load (i32.const 504))",
    )
    assert found == [0, 0, 0, 28, 21, 0, 1, 28, 52, 0, 0, 0, 0]


def test_arguments() -> None:
    found = calls(
        "(call $args_sizes_get (i32.const 500) (i32.const 504))",
        "(i32.load (i32.const 500))",
        "(i32.load (i32.const 504))",
        "(call $args_get (i32.const 510) (i32.const 520))",
        "(i32.load8_u (i32.load (i32.const 514)))",
        "(call $args_get (i32.const 510) (i32.const 65535))",
        context=RunContext(arguments=("-x", "é")),
    )
    assert found == [0, 3, len("guest") + 1 + 3 + 3, 0, ord("-"), 21]


def test_random_numbers_come_from_the_seed() -> None:
    text = f"""(module {IMPORTS} (memory 1) (data (i32.const 0) "\\64\\00\\00\\00\\46\\00\\00\\00")
      (func (export "_start")
        (drop (call $random_get (i32.const 100) (i32.const 33)))
        (drop (call $random_get (i32.const 133) (i32.const 37)))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 600)))
        (call $proc_exit (call $random_get (i32.const 65000) (i32.const 1000)))))"""
    one, again, other = (both(request(text, seed=seed)) for seed in (b"cid-1", b"cid-1", b"cid-2"))
    assert one.output == again.output != other.output
    assert one.exit_code == E["EFAULT"]
    prefix = b"icn-lite/random/1" + (5).to_bytes(4, "big") + b"cid-1"
    blocks = b"".join(hashlib.sha256(prefix + n.to_bytes(8, "big")).digest() for n in range(3))
    assert one.output == blocks[:70]
    assert RandomStream(b"cid-1").take(96) == blocks


@pytest.mark.parametrize(
    ("call", "counted"),
    [
        ("(call $random_get (i32.const 2000) (i32.const 1023))", 1),
        ("(call $random_get (i32.const 2000) (i32.const 63000))", 1 + 61),
        ("(call $fd_write (i32.const 2) (i32.const 2000) (i32.const 1024) (i32.const 600))", 1 + 64),
        ("(call $fd_read (i32.const 0) (i32.const 2000) (i32.const 15) (i32.const 600))", 1),
        ("(call $poll_oneoff (i32.const 2000) (i32.const 20000) (i32.const 160) (i32.const 600))", 1 + 10),
    ],
)
def test_what_takes_long_counts_as_several_calls(call: str, counted: int) -> None:
    """Free of fuel as it is, a guest would have hours of the device for nothing."""
    once = f'(module {IMPORTS} (memory 1) (func (export "_start") (drop {call})))'
    assert both(request(once)).host_calls == counted
    forever = f'(module {IMPORTS} (memory 1) (func (export "_start") (loop (drop {call}) (br 0))))'
    limited = warm_run(request(forever, host_calls=200))
    assert (limited.status, limited.host_calls) == ("failed", 200)


@pytest.mark.parametrize(("code", "seen"), [(0, 0), (3, 3), (255, 255), (-1, 0xFFFFFFFF)])
def test_exit_codes(code: int, seen: int) -> None:
    body = f"(call $proc_exit (i32.const {code})) (unreachable)"
    text = f'(module {IMPORTS} (memory 1) (func (export "_start") {body}))'
    outcome = both(request(text))
    assert (outcome.status, outcome.exit_code, outcome.trap) == ("completed", seen, None)


@cache
def compiled(source: str, *flags: str) -> bytes:
    """A C program as a WASI command."""
    clang, sysroot = shutil.which("clang"), Path("/usr/lib/wasm32-wasi")
    if clang is None or not sysroot.is_dir() or shutil.which("wasm-ld") is None:
        pytest.skip("clang, lld or wasi-libc is missing: apt-get install clang lld wasi-libc libclang-rt-dev-wasm32")
    command = [clang, "--target=wasm32-wasi", "-O2", *flags, "-x", "c", "-", "-o", "/dev/stdout"]
    built = subprocess.run(command, input=source.encode(), capture_output=True, check=False, timeout=60)
    assert built.returncode == 0, built.stderr.decode()
    return built.stdout


def run_c(source: str, **fields: object) -> RunOutcome:
    return both(RunRequest(prepare(compiled(source)), fuel_limit=10**9, **fields))  # type: ignore[arg-type]


def test_a_c_program_reads_sorts_and_writes() -> None:
    source = """
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    static int order(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }
    int main(int argc, char **argv) {
        char line[100], *lines[100]; int n = 0;
        while (n < 100 && fgets(line, sizeof line, stdin)) lines[n++] = strdup(line);
        qsort(lines, n, sizeof *lines, order);
        for (int i = 0; i < n; i++) fputs(lines[i], stdout);
        fprintf(stderr, "%d lines, %s %.3f\\n", n, argc > 1 ? argv[1] : "-", n / 3.0);
        return n;
    }"""
    outcome = run_c(source, input=b"pear\napple\nfig\nbanana\n", context=RunContext(arguments=("go",)))
    assert (outcome.status, outcome.exit_code) == ("completed", 4)
    assert outcome.output == b"apple\nbanana\nfig\npear\n"
    assert outcome.log == b"4 lines, go 1.333\n"


def test_a_c_program_sees_no_files_no_time_no_environment() -> None:
    source = """
    #include <errno.h>
    #include <fcntl.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <time.h>
    #include <unistd.h>
    extern char **environ;
    int main(void) {
        int opened = open("/etc/passwd", O_RDONLY);
        struct timespec now; clock_gettime(CLOCK_REALTIME, &now);
        unsigned char random[8]; getentropy(random, 8);
        printf("%d %d %d %d %d ", opened < 0, (int)now.tv_sec, environ == 0 || *environ == 0, isatty(1), lseek(0, 0, 0) < 0);
        for (int i = 0; i < 8; i++) printf("%02x", random[i]);
        abort();
    }"""  # noqa: E501
    outcome = run_c(source, seed=b"s")
    assert (outcome.status, outcome.trap) == ("trapped", "unreachable")
    first = run_c(source.replace("abort();", "return 0;"), seed=b"s")
    words = first.output.decode().split()
    assert words == ["1", "0", "1", "0", "1", RandomStream(b"s").take(8).hex()]


def test_a_c_program_that_overflows_its_stack_or_heap_harms_nobody() -> None:
    deep = "int f(volatile int *p) { volatile int a[64]; a[0] = *p; return f(a) + a[0]; } int main(void) { int x = 1; return f(&x); }"  # noqa: E501
    outcome = both(RunRequest(prepare(compiled(deep, "-O0")), fuel_limit=10**9))
    assert outcome.status == "trapped"
    assert outcome.trap in ("call_stack_exhausted", "out_of_bounds_memory_access")
    greedy = """
    #include <stdlib.h>
    #include <string.h>
    static char *volatile held[100];
    int main(void) { int n = 0; char *p; while ((p = malloc(1 << 20))) { memset(p, 1, 1 << 20); held[n++] = p; } return n; }"""  # noqa: E501
    outcome = run_c(greedy)
    assert (outcome.status, outcome.exit_code) == ("completed", 9)
    assert 144 <= outcome.memory_pages_peak <= 160
