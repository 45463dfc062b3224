"""WASI preview 1: every answer by its number, and programs built with Debian's clang and wasi-libc."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from sandbox_kit import ENGINE_NAMES, request

from icn_lite.sandbox import wasi
from icn_lite.sandbox.digests import RandomStream
from icn_lite.sandbox.outcome import RunContext, RunOutcome, RunRequest
from icn_lite.sandbox.pool import run_once
from icn_lite.wasm.prepare import prepare

E = {"SUCCESS": 0, "EBADF": 8, "EFAULT": 21, "EINVAL": 28, "ENOSPC": 51, "ENOSYS": 52, "ESPIPE": 70}

IMPORTS = """
 (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
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


def calls(*expressions: str, **fields: object) -> list[int]:
    """Results of calls made one after another in `_start`, the same on both engines; each as i32."""
    stores = "\n".join(f"(i32.store (i32.const {1000 + 4 * i}) {text})" for i, text in enumerate(expressions))
    text = f"""(module {IMPORTS} (memory 1) {DATA} (data (i32.const 100) "hello") (data (i32.const 200) "you")
      (data (i32.const 992) "\\e8\\03\\00\\00\\00\\02\\00\\00")
      (func (export "_start") {stores} (drop (call $fd_write (i32.const 1) (i32.const 992) (i32.const 1) (i32.const 980)))))"""  # noqa: E501
    outcome = both(request(text, **fields))
    assert (outcome.status, outcome.exit_code) == ("completed", 0), outcome
    tail = outcome.output[-512:]
    return [int.from_bytes(tail[4 * i : 4 * i + 4], "little") for i in range(len(expressions))]


def both(run: RunRequest) -> RunOutcome:
    first, second = (run_once(run, engine=engine) for engine in ENGINE_NAMES)
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
    assert found == [
        E["ESPIPE"], E["ESPIPE"], E["EBADF"], E["EBADF"], 0, wasi.RIGHT_WRITE, E["EBADF"], 0, E["EBADF"], 0, E["EBADF"],
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
    assert found == [0, 8, 0, 2, 0, 0, 8, 8, 0, 8, 21, 21, 21, 21, 21]


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
        "(call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))",
        "(call $proc_raise (i32.const 9))",
        "(call $sched_yield)",
        "(call $environ_sizes_get (i32.const 500) (i32.const 504))",
        "(i32.load (i32.const 500))",
        "(i32.load (i32.const 504))",
    )
    assert found == [0, 0, 0, 28, 21, 0, 1, 52, 52, 0, 0, 0, 0]


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
