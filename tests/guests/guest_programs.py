"""Compilers of guests where they are installed, and runs of one program on every engine, the stock wasmtime included.

`everywhere` is the promise of DESIGN.md in one call: the module as the compiler left it, under wasmtime with
`consume_fuel` and canonical NaNs, says the same and costs the same as the prepared one in the sandbox's two engines.
Host functions answer wasmtime through the sandbox's own classes, so that both see one WASI; `own_wasi` asks
wasmtime's.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
import wasmtime
from absent import engine_names
from warm import warm_run

from icn_lite.sandbox.engine import Engine, GuestExit
from icn_lite.sandbox.hostabi import IcnFunctions, JobFacts, Streams
from icn_lite.sandbox.memory import GuestMemory
from icn_lite.sandbox.outcome import (
    DEFAULT_LOG_BYTES,
    DEFAULT_OUTPUT_BYTES,
    DEFAULT_PAGES,
    RunContext,
    RunOutcome,
    RunRequest,
)
from icn_lite.sandbox.wasi import MODULE as WASI
from icn_lite.sandbox.wasi import WasiFunctions
from icn_lite.wasm.hostfuncs import HOST_FUNCTIONS, HostFunction
from icn_lite.wasm.limits import PAGE_BYTES
from icn_lite.wasm.prepare import Prepared, prepare

ENGINES = engine_names()
ENOUGH_FUEL = 10**12
COMPILER_TIMEOUT_S = 120
RUN_TIMEOUT_MS = 120_000
SYSROOT = Path("/usr/lib/wasm32-wasi")
SEED = b"the CID of the input"


@cache
def clang_with_wasi() -> str:
    clang = shutil.which("clang")
    if clang is None or shutil.which("wasm-ld") is None or not SYSROOT.is_dir():
        pytest.skip("clang, lld or wasi-libc is missing: apt-get install clang lld wasi-libc libclang-rt-dev-wasm32")
    return clang


WASI_TARGETS = ("wasm32-wasip1", "wasm32-wasi")  # as Rust calls it since 1.78, and before


@cache
def rustc(*targets: str) -> tuple[str, str]:
    """A rustc that has the standard library of one of the targets; the one that rustup manages seldom does."""
    for candidate in (os.environ.get("RUSTC"), "/usr/bin/rustc", shutil.which("rustc")):
        for target in targets if candidate and Path(candidate).exists() else ():
            command = [str(candidate), "--print", "target-libdir", "--target", target]
            told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMPILER_TIMEOUT_S)
            if told.returncode == 0 and Path(told.stdout.strip()).is_dir():
                return str(candidate), target
    pytest.skip(f"no rustc for {' or '.join(targets)}: apt-get install rustc libstd-rust-dev-wasm32 lld")


@cache
def asc() -> str:
    found = os.environ.get("ASC") or shutil.which("asc")
    if not found or not shutil.which("node"):
        pytest.skip("AssemblyScript's compiler is missing: npm install assemblyscript, and ASC=…/node_modules/.bin/asc")
    return found


def compile_with(command: list[str], **options: object) -> None:
    done = subprocess.run(  # type: ignore[call-overload]
        command, capture_output=True, text=True, check=False, timeout=COMPILER_TIMEOUT_S, **options
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


@cache
def c_program(source: str, *flags: str) -> bytes:
    """A WASI command as Debian's clang makes it."""
    command = [clang_with_wasi(), "--target=wasm32-wasi", "-O2", *flags, "-x", "c", "-", "-lm", "-o", "/dev/stdout"]
    built = subprocess.run(command, input=source.encode(), capture_output=True, check=False, timeout=COMPILER_TIMEOUT_S)
    assert built.returncode == 0, built.stderr.decode()
    return built.stdout


def rust_program(folder: Path, source: str) -> bytes:
    """A WASI command as rustc makes it."""
    (folder / "program.rs").write_text(source)
    compiler, target = rustc(*WASI_TARGETS)
    command = [compiler, "--target", target, "-O", "-C", "strip=symbols", "program.rs", "-o", "rust.wasm"]
    compile_with(command, cwd=folder)
    return (folder / "rust.wasm").read_bytes()


# AssemblyScript's compiler takes seconds to get going, so several programs are given to one.
AT_ONCE = """import asc from %s;
for (const options of %s) {
  const { error, stderr } = await asc.main(options);
  if (error) { console.error(options.join(" "), stderr.toString()); process.exitCode = 1; }
}
"""


def script_programs(folder: Path, sources: dict[str, tuple[str, tuple[str, ...]]]) -> dict[str, bytes]:
    """Programs of AssemblyScript by name, from source and flags; each is `NAME.ts` to its compiler."""
    compiler = Path(asc()).resolve().parents[1] / "dist" / "asc.js"
    options = [[f"{name}.ts", "-o", f"{name}.wasm", *flags] for name, (_, flags) in sources.items()]
    for name, (source, _) in sources.items():
        (folder / f"{name}.ts").write_text(source)
    (folder / "all.mjs").write_text(AT_ONCE % (json.dumps(compiler.as_uri()), json.dumps(options)))
    compile_with(["node", "all.mjs"], cwd=folder)
    return {name: (folder / f"{name}.wasm").read_bytes() for name in sources}


@dataclass(frozen=True, slots=True)
class StockRun:
    """What the untouched module did under wasmtime; `fuel` with the prices of host functions added."""

    exit_code: int | None
    output: bytes
    log: bytes
    fuel: int
    trapped: bool


class _Stock(Engine):
    """A store with an untouched module: what `GuestMemory` wants of an engine."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        self.store = wasmtime.Store(engine)
        self.store.set_fuel(ENOUGH_FUEL)
        self.store.set_limits(memory_size=DEFAULT_PAGES * PAGE_BYTES)
        self.guest_memory: wasmtime.Memory | None = None

    def memory(self) -> memoryview:
        assert self.guest_memory is not None
        size = self.guest_memory.data_len(self.store)
        address = ctypes.cast(self.guest_memory.data_ptr(self.store), ctypes.c_void_p).value
        return memoryview((ctypes.c_ubyte * size).from_address(address or 0)).cast("B")


def stock(code: bytes, data: bytes = b"", arguments: tuple[str, ...] = (), entry: str = "_start") -> StockRun:
    """The module as it stands, with the sandbox's answers to its host calls."""
    compiler, module = compiled_once(code)
    engine = _Stock(compiler)
    store = engine.store
    memory = GuestMemory(engine)
    streams = Streams(data, DEFAULT_OUTPUT_BYTES, DEFAULT_LOG_BYTES)
    wasi = WasiFunctions(memory, streams, list(arguments), SEED)
    icn = IcnFunctions(memory, streams, JobFacts("", "", False, (0, "", "")), lambda *_: (-6, b""))
    linker = wasmtime.Linker(store.engine)
    prices = 0

    def answered(row: HostFunction) -> Callable[..., int | None]:
        answer = wasi.function(row.name) if row.module == WASI else icn.function(row.name, is_remote=False)

        def call(*args: int) -> int | None:
            nonlocal prices
            size = args[row.byte_param] & 0xFFFFFFFF if row.byte_param is not None else 0
            prices += row.fuel_base + row.fuel_per_byte * size
            memory.begin()
            value = answer(*args)
            return value if row.results else None

        return call

    for item in module.imports:
        if isinstance(item.type, wasmtime.MemoryType):
            engine.guest_memory = wasmtime.Memory(store, item.type)
            linker.define(store, item.module, str(item.name), engine.guest_memory)
        else:
            assert isinstance(item.type, wasmtime.FuncType)
            row = HOST_FUNCTIONS[item.module, str(item.name)]
            linker.define_func(item.module, str(item.name), item.type, answered(row))
    exports = linker.instantiate(store, module).exports(store)
    own = next((item for item in exports.values() if isinstance(item, wasmtime.Memory)), None)
    engine.guest_memory = own or engine.guest_memory
    exit_code, trapped = None, False
    try:
        exports[entry](store)
    except GuestExit as ending:
        exit_code = ending.code
    except wasmtime.Trap:
        trapped = True
    fuel = ENOUGH_FUEL - store.get_fuel() + prices
    return StockRun(exit_code, bytes(streams.output), bytes(streams.log), fuel, trapped)


def own_wasi(code: bytes, data: bytes, folder: Path, arguments: tuple[str, ...] = ()) -> tuple[int, bytes, bytes]:
    """Exit code, stdout and stderr under wasmtime's own WASI: for programs that ask neither clock nor chance."""
    store = wasmtime.Store()
    config = wasmtime.WasiConfig()
    config.argv = ["guest", *arguments]
    (folder / "stdin").write_bytes(data)
    config.stdin_file, config.stdout_file, config.stderr_file = (folder / n for n in ("stdin", "stdout", "stderr"))
    store.set_wasi(config)
    linker = wasmtime.Linker(store.engine)
    linker.define_wasi()
    exports = linker.instantiate(store, wasmtime.Module(store.engine, code)).exports(store)
    code_left = 0
    try:
        exports["_start"](store)
    except wasmtime.ExitTrap as ending:
        code_left = ending.code
    del store, exports
    return code_left, (folder / "stdout").read_bytes(), (folder / "stderr").read_bytes()


@cache
def prepared_once(code: bytes) -> Prepared:
    return prepare(code)


@cache
def compiled_once(code: bytes) -> tuple[wasmtime.Engine, wasmtime.Module]:
    config = wasmtime.Config()
    config.consume_fuel = True
    config.cranelift_nan_canonicalization = True
    engine = wasmtime.Engine(config)
    return engine, wasmtime.Module(engine, code)


def everywhere(code: bytes, data: bytes = b"", arguments: tuple[str, ...] = (), entry: str = "_start") -> RunOutcome:
    """The outcome that the sandbox's engines agree on, after comparing it with the untouched module's."""
    run = RunRequest(
        prepared_once(code), input=data, seed=SEED, fuel_limit=10**11, context=RunContext(arguments=arguments),
        timeout_ms=RUN_TIMEOUT_MS,
    )  # fmt: skip
    first, second = (warm_run(run, engine) for engine in (ENGINES[0], ENGINES[-1]))
    fields = ("status", "trap", "exit_code", "results", "output", "log", "fuel_used", "memory_pages_peak", "host_calls")
    assert {f: getattr(first, f) for f in fields} == {f: getattr(second, f) for f in fields}
    untouched = stock(code, data, arguments, entry)
    assert (first.output, first.log) == (untouched.output, untouched.log)
    assert (first.status == "trapped") == untouched.trapped, first
    if first.status == "completed":
        assert (first.exit_code or 0) == (untouched.exit_code or 0)
        assert first.fuel_used == untouched.fuel, "fuel differs from wasmtime's on the untouched module"
        # the rule of icn-fuel-1: exactly so much is enough, one less is not
        assert warm_run(replace(run, fuel_limit=first.fuel_used)).status == "completed"
        assert warm_run(replace(run, fuel_limit=first.fuel_used - 1)).status == "out_of_fuel"
    return first
