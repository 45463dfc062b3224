"""Something large: QuickJS, a JavaScript interpreter of 54,000 lines, from its sources, unchanged.

The sources are those of the PyPI package `quickjs`; ICN_TEST_QUICKJS names its sdist (.ci/run fetches it). The same
sources built for this machine are the oracle of the output, wasmtime over the untouched module that of the fuel.
"""

from __future__ import annotations

import os
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from guest_programs import COMPILER_TIMEOUT_S, clang_with_wasi, compile_with, everywhere, prepared_once
from warm import warm_run

from icn_lite.sandbox.outcome import RunRequest

SDIST = "quickjs-1.19.4"
# Optimising takes the compiler fifteen seconds, its code generator alone five. (-O0 has more locals than we take.)
LEVEL = ("-Os",) if os.environ.get("ICN_LITE_LONG") == "1" else ("-O1", "-Xclang", "-disable-llvm-passes")
SHELL = Path(__file__).with_name("quickjs_shell.c")
SOURCES = ("quickjs.c", "libregexp.c", "libunicode.c", "cutils.c")
# EMSCRIPTEN is how these sources spell "WebAssembly": no threads, no computed goto, no look at the native stack.
DEFINES = ("-D_GNU_SOURCE", '-DCONFIG_VERSION="2021-03-27"', "-DEMSCRIPTEN", "-w")
NO_ROUNDING_MODES = ("-DFE_DOWNWARD=0", "-DFE_UPWARD=0")  # WebAssembly has one; fenv.h of wasi-libc says so by silence
DEEPER_STACK = ("-Wl,--stack-first", "-Wl,-z,stack-size=262144", "-Wl,--strip-all")

TOUR = """
function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2) }
print(fib(14));
const counts = new Map();
for (const word of "the quick brown fox jumps over the lazy dog the end".split(" "))
    counts.set(word, (counts.get(word) || 0) + 1);
print(JSON.stringify([...counts].sort()));
print(/(\\d+)-(?<rest>\\d+)/.exec("tel 555-1234").groups.rest, "aXbX".replace(/x/gi, m => m + m));
try { null.x } catch (error) { print(error.name + ": " + error.message) }
function* squares() { for (let i = 0; i < 5; i++) yield i * i }
print([...squares()].join());
print([3.14159, 1 / 3, -0, 1e21, 0.1 + 0.2, NaN, -Infinity, 5e-324].map(String).join(" "));
for (let i = 1; i < 6; i++) print(Math.sqrt(i), (i / 7).toFixed(4), (1e5 / i).toExponential(3), i ** -3);
print("ÄÖÜß".toLowerCase(), "x".padStart(5, "-"), parseInt("ff", 16), new Date(86400000).toISOString());
class Counter { #n = 1; get n() { return this.#n } static of() { return new this } }
print(Counter.of().n, typeof Symbol.iterator, [1, [2, [3]]].flat(Infinity), BigIntless());
function BigIntless() { return typeof BigInt }
const bytes = new Uint8Array(256).map((_, i) => i * 7);
print(bytes.reduce((a, b) => (a * 31 + b) | 0, 7), new Float32Array([0.1, 1e-46])[0], Object.keys({b: 1, a: 2}));
const sorted = Array.from({length: 300}, (_, i) => (i * 7919) % 1009).sort((a, b) => a - b);
print(sorted.slice(0, 9), sorted[299]);
Promise.resolve(1).then(print);
print(Array.from("añ€😀").map(c => c.codePointAt(0).toString(16)), encodeURIComponent("a b&ü"));
"""


@dataclass(frozen=True)
class Built:
    """The interpreter twice: for WebAssembly and for this machine."""

    code: bytes
    native: Path

    def natively(self, script: str) -> tuple[int, bytes, bytes]:
        done = subprocess.run(
            [self.native], input=script.encode(), capture_output=True, check=False, timeout=COMPILER_TIMEOUT_S
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def quickjs(tmp_path_factory: pytest.TempPathFactory) -> Built:
    clang = clang_with_wasi()
    sdist = os.environ.get("ICN_TEST_QUICKJS")
    if not sdist:
        pytest.skip(
            "QuickJS's sources are missing: pip download --no-deps --no-binary :all: quickjs==1.19.4, "
            f"and ICN_TEST_QUICKJS=…/{SDIST}.tar.gz"
        )
    folder = tmp_path_factory.mktemp("quickjs")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    sources = folder / SDIST / "upstream-quickjs"
    common = ["-I", str(sources), *DEFINES, str(SHELL), *SOURCES, "-lm", "-o"]
    wasm = [clang, "--target=wasm32-wasi", *LEVEL, *NO_ROUNDING_MODES, *DEEPER_STACK, *common, str(folder / "js.wasm")]
    native = [clang, "-O0", *common, str(folder / "js")]
    with ThreadPoolExecutor(2) as both:  # the large file takes most of the time, so two at once is all there is to gain
        for done in [both.submit(compile_with, command, cwd=sources) for command in (wasm, native)]:
            done.result()
    return Built((folder / "js.wasm").read_bytes(), folder / "js")


def test_an_interpreter_says_what_it_says_natively_and_costs_what_wasmtime_counts(quickjs: Built) -> None:
    outcome = everywhere(quickjs.code, TOUR.encode())
    assert (outcome.exit_code, outcome.output, outcome.log) == quickjs.natively(TOUR)
    assert outcome.output.startswith(b"377\n")
    assert outcome.fuel_used > 1_000_000


@pytest.mark.parametrize("script", ["let a = [1, 2", "print('before'); null.f()"])
def test_an_interpreter_fails_as_it_does_natively(quickjs: Built, script: str) -> None:
    outcome = everywhere(quickjs.code, script.encode())
    assert (outcome.status, outcome.exit_code) == ("completed", 1)
    assert (1, outcome.output, outcome.log) == quickjs.natively(script)


def test_an_endless_script_runs_out_of_fuel_and_an_endless_recursion_traps(quickjs: Built) -> None:

    prepared = prepared_once(quickjs.code)
    endless = warm_run(RunRequest(prepared, input=b"for (;;);", fuel_limit=20_000_000, timeout_ms=60_000))
    assert (endless.status, endless.fuel_used) == ("out_of_fuel", 20_000_000)
    deep = warm_run(RunRequest(prepared, input=b"function f() { f() } f()", fuel_limit=10**9, timeout_ms=60_000))
    assert (deep.status, deep.trap) in (
        ("trapped", "call_stack_exhausted"), ("trapped", "out_of_bounds_memory_access"),
    )  # fmt: skip
