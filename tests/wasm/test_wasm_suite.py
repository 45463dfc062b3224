"""The specification's own test suite through preparation, on both engines, with fuel compared to wasmtime's."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import wasm_engines as engines

from icn_lite.model.errors import ModuleError
from icn_lite.wasm.decode import decode
from icn_lite.wasm.hostfuncs import HostFunction, host_table
from icn_lite.wasm.limits import Limits
from icn_lite.wasm.opcodes import F32, F64, I32, I64
from icn_lite.wasm.prepare import prepare
from icn_lite.wasm.validate import validate

SUITE = Path(os.environ.get("WASM_TESTSUITE") or Path(__file__).resolve().parents[3] / "shared" / "wasm-testsuite")
TYPES = {"i32": I32, "i64": I64, "f32": F32, "f64": F64}
LIMITS = Limits(memory_pages=1000)

pytestmark = [
    pytest.mark.skipif(
        not SUITE.is_dir(),
        reason=f"no test suite at {SUITE}: clone github.com/WebAssembly/testsuite and set WASM_TESTSUITE to it",
    ),
    pytest.mark.skipif(shutil.which("wast2json") is None, reason="wast2json is missing (Debian package wabt)"),
]

SPECTEST = host_table(
    tuple(
        HostFunction("spectest", name, params, (), "io", 0, 0, None)
        for name, params in (
            ("print", ()),
            ("print_i32", (I32,)),
            ("print_i64", (I64,)),
            ("print_f32", (F32,)),
            ("print_f64", (F64,)),
            ("print_i32_f32", (I32, F32)),
            ("print_f64_f64", (F64, F64)),
        )
    )
)
HOSTS = {name: (lambda *args: None) for _, name in SPECTEST}

# Whole files whose modules share tables, memories or globals with each other: nothing here links modules.
LINKING = {"linking", "elem", "imports"}


@functools.cache
def converted(folder: str) -> Path:
    """All files as JSON and modules."""
    for source in sorted(SUITE.glob("*.wast")):
        target = Path(folder) / source.stem
        target.mkdir()
        subprocess.run(
            ["wast2json", str(source), "-o", str(target / f"{source.stem}.json")], check=True, capture_output=True
        )
    return Path(folder)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(str(tmp_path_factory.mktemp("suite")))


def commands(suite: Path) -> list[tuple[str, Path, dict[str, Any]]]:
    found = []
    for path in sorted(suite.glob("*/*.json")):
        for command in json.loads(path.read_text())["commands"]:
            found.append((path.stem, path.parent, command))  # noqa: PERF401
    return found


def verdict(module: bytes) -> str:
    try:
        validate(decode(module, LIMITS), LIMITS)
    except ModuleError as error:
        return error.reason
    return "accepted"


def test_every_invalid_module_is_refused(suite: Path) -> None:
    seen: Counter[str] = Counter()
    for name, folder, command in commands(suite):
        if command["type"] not in ("assert_invalid", "assert_malformed") or command["module_type"] != "binary":
            continue
        found = verdict((folder / command["filename"]).read_bytes())
        assert found != "accepted", (name, command["line"], command["text"])
        seen[found] += 1
    print(dict(seen))
    assert sum(seen.values()) == 2211


def test_every_valid_module_is_accepted_or_of_an_unsupported_feature(suite: Path) -> None:
    seen: Counter[str] = Counter()
    for name, folder, command in commands(suite):
        if command["type"] == "module":
            found = verdict((folder / command["filename"]).read_bytes())
            assert found in ("accepted", "unsupported"), (name, command["line"])
            seen[found] += 1
    print(dict(seen))
    assert seen["accepted"] >= 925


def matches(bits: int, expected: dict[str, Any]) -> bool:
    wanted, single = expected["value"], expected["type"] == "f32"
    if wanted == "nan:canonical":
        return bits == (0x7FC00000 if single else 0x7FF8000000000000)
    if wanted == "nan:arithmetic":
        return (bits >> 22 & 0x1FF if single else bits >> 51 & 0xFFF) == (0x1FF if single else 0xFFF)
    return bits == int(wanted)


def signalling(value: dict[str, Any]) -> bool:
    """An f32 NaN with its quiet bit clear: pywasm3's registers are wider and quiet it."""
    if value["type"] not in ("f32", "i32") or not value["value"].isdigit():
        return False
    bits = int(value["value"])
    return bits & 0x7FFFFFFF > 0x7F800000 and not bits & 0x400000


def run_suite(suite: Path, engine: type[engines.Wasm3Run]) -> Counter[str]:
    seen: Counter[str] = Counter()
    instance: Any = None
    named: dict[str, Any] = {}
    failures = []
    for name, folder, command in commands(suite):
        kind = command["type"]
        if kind == "module":
            instance = None
            try:
                prepared = prepare((folder / command["filename"]).read_bytes(), LIMITS, SPECTEST)
            except ModuleError as error:
                seen[f"module {error.reason}"] += 1
            else:
                instance = engine(prepared, HOSTS)
                instance.start()
            if "name" in command:
                named[command["name"]] = instance
            continue
        if kind not in ("assert_return", "assert_trap", "action", "assert_exhaustion") or name in LINKING:
            continue
        action = command["action"]
        target = named.get(action["module"]) if "module" in action else instance
        if target is None or action["type"] != "invoke" or any(a["type"] not in TYPES for a in action["args"]):
            seen["left out: module of an unsupported feature, or not a call"] += 1
            continue
        outcome = target.call(action["field"], [int(a["value"]) for a in action["args"]])
        if kind in ("assert_trap", "assert_exhaustion"):
            good = outcome.trapped and (kind == "assert_trap" or outcome.flag == 2)
        else:
            good = not outcome.trapped and all(map(matches, outcome.results, command.get("expected", [])))
        if not good and engine is engines.Wasm3Run and any(map(signalling, action["args"] + command["expected"])):
            seen["f32 signalling NaN quieted by the engine"] += 1
            continue
        seen[f"{kind} {'right' if good else 'wrong'}"] += 1
        if not good:
            failures.append((name, command["line"], action["field"], action["args"], outcome))
    print(dict(seen))
    assert failures == []
    return seen


def test_prepared_modules_do_right_on_wasm3(suite: Path, capfd: pytest.CaptureFixture[str]) -> None:
    seen = engines.in_big_thread(lambda: run_suite(suite, engines.Wasm3Run))
    capfd.readouterr()  # the engine writes a backtrace for every trap
    assert seen["assert_return right"] >= 19600
    assert seen["assert_trap right"] >= 470
    assert seen["f32 signalling NaN quieted by the engine"] <= 30


def test_prepared_modules_do_right_on_wasmtime_and_fuel_is_what_it_counts(suite: Path) -> None:
    def compare() -> Counter[str]:
        seen: Counter[str] = Counter()
        ours: Any = None
        theirs: Any = None
        for name, folder, command in commands(suite):
            kind = command["type"]
            if name in LINKING or kind not in ("module", "assert_return", "assert_trap", "action"):
                continue
            if kind == "module":
                ours = None
                module = (folder / command["filename"]).read_bytes()
                try:
                    prepared = prepare(module, LIMITS, SPECTEST)
                except ModuleError:
                    continue
                ours, theirs = engines.WasmtimeRun(prepared, HOSTS), engines.Reference(module, SPECTEST, HOSTS)
                started = ours.start()
                assert theirs.used() == (0 if started is None else engines.PLENTY - started.fuel_left), name
                continue
            action = command["action"]
            if ours is None or action["type"] != "invoke" or "module" in action:
                continue
            args = [int(a["value"]) for a in action["args"]]
            outcome = ours.call(action["field"], args)
            reference = theirs.call(action["field"], args)
            where = (name, command["line"], outcome, reference)
            assert outcome.trapped == (kind == "assert_trap"), where
            if kind != "assert_trap":
                assert all(map(matches, outcome.results, command.get("expected", []))), where
                assert engines.PLENTY - outcome.fuel_left == reference.fuel_used, where
            seen[kind] += 1
        return seen

    seen = engines.in_big_thread(compare)
    print(dict(seen))
    assert seen["assert_return"] >= 19600
    assert seen["assert_trap"] >= 470
