"""A C program on wasi-libc, built here: the same output, exit code and fuel before and after preparation."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import wasm_engines as engines
import wasmtime

from icn_lite.wasm.prepare import FUEL_GLOBAL, Prepared, prepare

SYSROOT = Path("/usr/lib/wasm32-wasi")
pytestmark = [
    pytest.mark.skipif(shutil.which("clang") is None, reason="clang is missing (Debian package clang)"),
    pytest.mark.skipif(shutil.which("wasm-ld") is None, reason="wasm-ld is missing (Debian package lld)"),
    pytest.mark.skipif(not SYSROOT.is_dir(), reason="wasi-libc is missing (Debian package wasi-libc)"),
    pytest.mark.skipif(
        not list(Path("/usr/lib").glob("llvm-*/lib/clang/*/lib/wasi/libclang_rt.builtins-wasm32.a")),
        reason="compiler-rt for wasm32 is missing (Debian package libclang-rt-14-dev-wasm32)",
    ),
]

SOURCE = r"""
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
int main(int argc, char **argv) {
  int a[100];
  for (int i = 0; i < 100; i++) a[i] = (i * 7919) % 101;
  qsort(a, 100, sizeof *a, compare);
  char *text = malloc(100000);
  memset(text, 'x', 99999);
  text[99999] = 0;
  printf("%d %f %d %s\n", a[5], sin(argc) * pow(2, 0.5), (int)strlen(text), argv[argc - 1]);
  free(text);
  if (argc > 2) exit(argc);
  return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("program")
    source = folder / "program.c"
    source.write_text(SOURCE)
    built = folder / "program.wasm"
    command = ["clang", "--target=wasm32-wasi", "--sysroot=/usr", "-O2", "-o", str(built), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return built.read_bytes()


def run(code: bytes, prepared: Prepared | None, args: list[str], output: Path) -> tuple[int, str, int]:
    """Exit code, output and fuel of a WASI program in wasmtime."""
    engine = engines.wasmtime_engine(prepared is None)
    store = wasmtime.Store(engine)
    if prepared is None:
        store.set_fuel(engines.PLENTY)
    config = wasmtime.WasiConfig()
    config.argv = ["program", *args]
    config.stdout_file = str(output)
    store.set_wasi(config)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    exports = linker.instantiate(store, wasmtime.Module(engine, code)).exports(store)
    if prepared is not None:
        exports[FUEL_GLOBAL].set_value(store, engines.PLENTY)
    status = 0
    try:
        exports["_start"](store)
    except wasmtime.ExitTrap as trap:
        status = trap.code
    left = store.get_fuel() if prepared is None else exports[FUEL_GLOBAL].value(store)
    return status, output.read_text(), engines.PLENTY - left


@pytest.mark.parametrize("args", [[], ["one", "two"]])
def test_a_program_is_the_same_before_and_after(program: bytes, args: list[str], tmp_path: Path) -> None:
    prepared = prepare(program)
    before = run(program, None, args, tmp_path / "before")
    after = run(prepared.code, prepared, args, tmp_path / "after")
    assert before == after
    assert before[0] == (3 if args else 0)
    assert before[2] > 100_000
