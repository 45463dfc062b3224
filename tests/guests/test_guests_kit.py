"""The kit itself: header against the host's table, committed binaries against their sources, script's errors."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from guest_engines import BUILD, GUESTS, run_wasm3, run_wasmtime
from guest_programs import asc, everywhere, rustc

from icn_lite.model.errors import HostAbiError
from icn_lite.node.jobfile import read_job_file
from icn_lite.wasm.hostfuncs import HOST_FUNCTIONS
from icn_lite.wasm.opcodes import I32, I64

VECTORS = Path(__file__).parent / "vectors"
DECLARATION = re.compile(r'ICN_IMPORT\("(\w+)"\)\s*(void|i32|i64)\s+\w+\(([^;]*)\);')
# the compiler whose bytes are committed: Debian 12's
COMMITTED_CLANG = "14.0.6"
C_GUESTS = ("echo", "manifest", "count")
BUILD_TIMEOUT_S = 60


def value_type(declared: str) -> int:
    """The wasm type of one C parameter or result."""
    return I64 if declared.startswith(("i64", "u64")) else I32


def table() -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """The host's own."""
    return {f.name: (f.params, f.results) for f in HOST_FUNCTIONS.values() if f.module == "icn"}


def named_types(params: str) -> tuple[int, ...]:
    """Of `name: type, …`, as Rust and AssemblyScript write parameters."""
    types = [part.split(":")[1].strip() for part in params.split(",") if part.strip()]
    assert all(t in ("i32", "u32", "usize", "i64", "u64") or t.startswith("*") for t in types), types
    return tuple(value_type(t) for t in types)


def test_the_header_declares_the_hosts_table() -> None:
    declared = {
        name: (
            tuple(value_type(p.strip()) for p in params.split(",")) if params != "void" else (),
            () if result == "void" else (value_type(result),),
        )
        for name, result, params in DECLARATION.findall((GUESTS / "icn.h").read_text())
    }
    assert declared == table()


def test_the_rust_file_declares_the_hosts_table() -> None:
    text = (GUESTS / "icn.rs").read_text()
    declared = {
        name: (named_types(params), (value_type(result),) if result else ())
        for name, params, result in re.findall(r"pub fn (\w+)\(([^)]*)\)(?: -> (\w+))?;", text)
    }
    assert declared == table()


def test_the_assemblyscript_file_declares_the_hosts_table() -> None:
    text = (GUESTS / "icn.ts").read_text()
    found = re.findall(r'@external\("icn", "(\w+)"\)\s+export declare function (\w+)\(([^)]*)\): (\w+);', text)
    assert all(imported == name for imported, name, _, _ in found)
    declared = {
        name: (named_types(params), () if result == "void" else (value_type(result),))
        for name, _, params, result in found
    }
    assert declared == table()


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("icn.h", r"ICN_E_(\w+) = (-\d+)"),
        ("icn.rs", r"pub const (\w+): Error = Error\((-\d+)\)"),
        ("icn.ts", r"^  (\w+) = (-\d+),$"),
    ],
)
def test_errors_have_the_specifications_numbers(file: str, pattern: str) -> None:
    found = re.findall(pattern, (GUESTS / file).read_text(), re.MULTILINE)
    if file == "icn.ts":
        found = [(re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper(), number) for name, number in found]
    assert {name: int(number) for name, number in found} == {error.name: int(error) for error in HostAbiError if error}


def clang_version() -> str | None:
    """Clang's version, or None where clang or its linker is absent."""
    if not shutil.which("clang") or not shutil.which("wasm-ld"):
        return None
    said = subprocess.run(["clang", "--version"], capture_output=True, text=True, check=True, timeout=BUILD_TIMEOUT_S)
    found = re.search(r"clang version (\d+\.\d+\.\d+)", said.stdout)
    return found[1] if found else None


def build(out: Path, *sources: str, **names: str) -> subprocess.CompletedProcess[str]:
    """Run the kit's script from another folder; `names` are its variables."""
    return subprocess.run(
        [GUESTS / "build.sh", *sources],
        env={**os.environ, "OUT": str(out), **names},
        cwd=out,
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_TIMEOUT_S,
    )


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if clang_version() is None:
        pytest.skip("clang and wasm-ld are not installed (apt-get install clang lld)")
    out = tmp_path_factory.mktemp("guests")
    done = build(out, *(f"{name}.c" for name in C_GUESTS))
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("name", C_GUESTS)
def test_the_committed_compiler_gives_the_committed_bytes_and_any_other_the_same_behaviour(
    rebuilt: Path, name: str
) -> None:
    ours, theirs = (BUILD / f"{name}.wasm").read_bytes(), (rebuilt / f"{name}.wasm").read_bytes()
    if clang_version() == COMMITTED_CLANG:
        assert theirs == ours, "the sources have changed: run tools/guests/build.sh and commit the result"
    for path in sorted(VECTORS.glob("*.json")):
        data = bytes.fromhex(json.loads(path.read_text())["input"])
        assert run_wasm3(theirs, data) == run_wasm3(ours, data)


def test_a_build_does_not_depend_on_where_it_stands(rebuilt: Path, tmp_path: Path) -> None:
    kit = tmp_path / "elsewhere" / "guests"
    kit.mkdir(parents=True)
    for source in GUESTS.glob("*.[ch]"):
        shutil.copy(source, kit)
    shutil.copy(GUESTS / "build.sh", kit)
    done = subprocess.run([kit / "build.sh"], capture_output=True, text=True, check=False, timeout=BUILD_TIMEOUT_S)
    assert (kit / "build" / "manifest.wasm").exists(), done.stderr
    assert (kit / "build" / "manifest.wasm").read_bytes() == (rebuilt / "manifest.wasm").read_bytes()


def test_sum_is_built_from_its_text(tmp_path: Path) -> None:
    if not shutil.which("wat2wasm"):
        pytest.skip("wat2wasm is not installed (apt-get install wabt)")
    done = build(tmp_path, "sum.wat")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sum.wasm").read_bytes() == (BUILD / "sum.wasm").read_bytes()


@pytest.mark.parametrize("name", ["echo", "manifest", "count", "sum"])
def test_guests_hold_to_the_first_version_of_wasm(name: str) -> None:
    if not shutil.which("wasm-validate"):
        pytest.skip("wasm-validate is not installed (apt-get install wabt)")
    off = ("mutable-globals", "saturating-float-to-int", "sign-extension", "simd", "multi-value", "bulk-memory",
           "reference-types")  # fmt: skip
    subprocess.run(
        ["wasm-validate", *(f"--disable-{feature}" for feature in off), BUILD / f"{name}.wasm"],
        check=True,
        timeout=BUILD_TIMEOUT_S,
    )


def test_the_script_names_what_is_missing(tmp_path: Path) -> None:
    done = build(tmp_path, "nobody.c")
    assert done.returncode == 2
    assert "no source nobody.c" in done.stderr
    (tmp_path / "guest.go").touch()
    done = build(tmp_path, "guest.go")
    assert done.returncode == 2
    assert "none of .c, .rs, .ts, .wat" in done.stderr
    for name, compiler, kit in (("guest.rs", "RUSTC", "icn.rs"), ("guest.ts", "ASC", "icn.ts")):
        (tmp_path / name).touch()
        done = build(tmp_path, name, **{compiler: "true"})
        assert done.returncode == 2
        assert f"{kit} is not beside" in done.stderr
        done = build(tmp_path, name, **{compiler: "compiler-of-another-world"})
        assert done.returncode == 1
        assert "compiler-of-another-world is missing" in done.stderr
    done = subprocess.run(
        [GUESTS / "build.sh", "echo.c"],
        env={**os.environ, "OUT": str(tmp_path), "CLANG": "clang-of-another-world"},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_TIMEOUT_S,
    )
    assert done.returncode == 1
    assert "apt-get install clang lld" in done.stderr


def compiler_of(source: str, folder: Path) -> dict[str, str]:
    """Variables of the script for a source in a folder, with the kit's file put beside it; skips without compiler."""
    if source.endswith(".rs"):
        shutil.copy(GUESTS / "icn.rs", folder)
        return {"RUSTC": rustc("wasm32-unknown-unknown")[0]}
    if source.endswith(".ts"):
        shutil.copy(GUESTS / "icn.ts", folder)
        return {"ASC": asc()}
    if clang_version() is None:
        pytest.skip("clang and wasm-ld are not installed (apt-get install clang lld)")
    return {}


TEXTS = (b"", b"one", b"one two\nthree\n", b" \t\n\v\f\r x \x00\xff\n\ny", bytes(range(256)) * 40)


@pytest.mark.parametrize("source", ["count.c", "count.rs", "count.ts"])
def test_the_example_counts_alike_in_every_language(source: str, tmp_path: Path) -> None:
    shutil.copy(GUESTS / source, tmp_path)
    done = build(tmp_path, source, **compiler_of(source, tmp_path))
    assert done.returncode == 0, done.stderr
    code = (tmp_path / "count.wasm").read_bytes()
    for text in TEXTS:
        outcome = everywhere(code, text, entry="run")
        assert (outcome.status, outcome.results[0].bits) == ("completed", 0)
        counts = (text.count(b"\n"), len(text.split()), len(text))
        assert outcome.output == b"%d %d %d\n" % counts


@pytest.mark.parametrize("size", [0, 1, 65535, 200_000])
def test_echo_gives_back_what_it_got(size: int) -> None:
    code = (BUILD / "echo.wasm").read_bytes()
    data = bytes(i * 7 % 256 for i in range(size))
    for engine in (run_wasm3, run_wasmtime):
        run = engine(code, data)
        assert (run.result, run.output) == (0, data)
    assert run_wasm3(code, data, put_result=-9).result == 3


def test_sum_adds_up() -> None:
    assert run_wasm3((BUILD / "sum.wasm").read_bytes(), b"").result == 5050


@pytest.mark.parametrize("language", ["c", "rust", "ts"])
def test_the_readmes_first_guest_builds_and_runs(language: str, tmp_path: Path) -> None:
    source = re.search(rf"```{language}\n(.*?)```", (GUESTS / "README.md").read_text(), re.DOTALL)
    assert source
    file = {"c": "hello.c", "rust": "hello.rs", "ts": "hello.ts"}[language]
    (tmp_path / file).write_text(source[1])
    done = build(tmp_path, file, **compiler_of(file, tmp_path))
    assert done.returncode == 0, done.stderr
    outcome = everywhere((tmp_path / "hello.wasm").read_bytes(), entry="run")
    assert (outcome.results[0].bits, outcome.output, outcome.log) == (0, b"hello from a guest\n", b"saying hello\n")


def test_the_readmes_job_is_one(tmp_path: Path) -> None:
    shutil.copy(BUILD / "echo.wasm", tmp_path / "hello.wasm")
    (tmp_path / "question.txt").write_text("some bytes\n")
    found = re.search(r"```toml\n(.*?)```", (GUESTS / "README.md").read_text(), re.DOTALL)
    assert found
    (tmp_path / "job.toml").write_text(found[1])
    job = read_job_file(tmp_path / "job.toml")
    assert job.module == tmp_path / "hello.wasm"
