"""The specification's own test suite as data: every module with what is asserted of it, and what is left out and why.

The text files become modules and JSON by wabt's `wast2json`. Nothing here links modules with each other, so what needs
another module's table, memory or global is left out by name, below; everything else has to be right.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from icn_lite.model.errors import ModuleError
from icn_lite.wasm.hostfuncs import HostFunction, HostTable, host_table
from icn_lite.wasm.leb import read_u32, write_u32
from icn_lite.wasm.limits import Limits
from icn_lite.wasm.opcodes import F32, F64, I32, I64

SUITE = Path(os.environ.get("WASM_TESTSUITE") or Path(__file__).resolve().parents[3] / "shared" / "wasm-testsuite")
LIMITS = Limits(memory_pages=1000)
NUMBERS = ("i32", "i64", "f32", "f64")

NEEDED = [
    pytest.mark.skipif(
        not SUITE.is_dir(),
        reason=f"no test suite at {SUITE}: clone github.com/WebAssembly/testsuite and set WASM_TESTSUITE to it",
    ),
    pytest.mark.skipif(shutil.which("wast2json") is None, reason="wast2json is missing (Debian package wabt)"),
]

SPECTEST: HostTable = host_table(
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

# Assertions that are not made. What preparation refuses stands here by its words.
TEXT = "a malformed text: texts are nobody's business here"
LINKED = "needs another module's table, memory, global or function: modules are not linked with each other"
REFERENCES = "reference types: tables as values, more than one table, instructions that change tables"
NUL = "an export with a NUL in its name, which ends the name in the engine"
FLOAT_GLOBAL = "reads a float global from outside, which the sandbox never does"
REFUSALS = (
    (r"import of ", LINKED),
    (r".*a NUL in a name", NUL),
    (r"more than one table|a table of|values of type (extern|func)ref|table\.|elem\.drop|reference types", REFERENCES),
)

# Assertions about a table, memory or global that other modules write: file, lines.
LINKED_LINES: dict[str, tuple[int, ...]] = {
    "elem": (587, 588, 600, 601, 602),
    "linking": (209, 215, 275, 288, 349, 406, 407, 419, 452, 453),
}



def reason_of(error: ModuleError) -> str:
    """Why the assertions about a refused module are not made."""
    words = re.sub(r"^function \d+( \(.*?\))?: ", "", error.message)
    return next((reason for pattern, reason in REFUSALS if re.match(pattern, words)), error.message)


# The suite's words for traps, by their beginnings, and ours.
TRAP_NAMES = (
    ("out of bounds memory access", "out_of_bounds_memory_access"),
    ("out of bounds table access", "out_of_bounds_table_access"),
    ("undefined element", "out_of_bounds_table_access"),
    ("uninitialized element", "uninitialized_element"),
    ("indirect call type mismatch", "indirect_call_type_mismatch"),
    ("integer divide by zero", "integer_divide_by_zero"),
    ("integer overflow", "integer_overflow"),
    ("invalid conversion to integer", "invalid_conversion_to_integer"),
    ("call stack exhausted", "call_stack_exhausted"),
    ("unreachable", "unreachable"),
)


def trap_name(text: str) -> str:
    return next(name for words, name in TRAP_NAMES if text.startswith(words))


@dataclass
class Call:
    """One assertion about one export. `expected` holds the suite's rows, `trap` our name for the trap."""

    line: int
    kind: str  # assert_return, assert_trap, assert_exhaustion, action
    name: str
    args: list[int]
    arg_types: list[str]
    expected: list[dict[str, Any]]
    trap: str | None
    is_get: bool = False

    def holds(self, results: list[int] | tuple[int, ...]) -> bool:
        """Whether results (bits) are what is expected, bit for bit; a NaN may be of a kind."""
        return len(results) == len(self.expected) and all(map(matches, results, self.expected))


@dataclass
class Instance:
    """A module that the suite instantiates, and its assertions in their order."""

    file: str
    line: int
    path: Path
    calls: list[Call] = field(default_factory=list)

    @property
    def module(self) -> bytes:
        return own_memory(self.path.read_bytes())

    def __str__(self) -> str:
        return f"{self.file}.wast:{self.line}"


@dataclass
class Refusal:
    """A module that must not run: invalid, malformed, unlinkable, or trapping while it is instantiated."""

    file: str
    line: int
    kind: str
    text: str
    path: Path

    def __str__(self) -> str:
        return f"{self.file}.wast:{self.line} ({self.text})"


@dataclass
class Suite:
    instances: list[Instance] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    left_out: list[tuple[str, int, str]] = field(default_factory=list)  # file, line, reason


SPECTEST_MEMORY = b"\x08spectest\x06memory\x02"


def own_memory(module: bytes) -> bytes:
    """`spectest.memory`, one page that grows to two, by the name under which a guest may import a memory."""
    at = 8
    while at < len(module):
        size, start = read_u32(module, at + 1, len(module))
        body = module[start : start + size]
        found = body.find(SPECTEST_MEMORY) if module[at] == 2 else -1
        if found >= 0:
            end = found + len(SPECTEST_MEMORY)
            flag, end = body[end], end + 1
            for _ in range(1 + flag):
                _, end = read_u32(body, end, len(body))
            body = body[:found] + b"\x03env\x06memory\x02\x01\x01\x02" + body[end:]
            return module[: at + 1] + write_u32(len(body)) + body + module[start + size :]
        at = start + size
    return module


def matches(bits: int, expected: dict[str, Any]) -> bool:
    """A number bit for bit; where the specification leaves a NaN open, ours is the canonical one or a quiet one."""
    wanted, single = expected["value"], expected["type"] == "f32"
    if wanted == "nan:canonical":
        return bits == (0x7FC00000 if single else 0x7FF8000000000000)
    if wanted == "nan:arithmetic":
        return (bits >> 22 & 0x1FF if single else bits >> 51 & 0xFFF) == (0x1FF if single else 0xFFF)
    return bits == int(wanted)


@functools.cache
def load() -> Suite:
    """Convert and read everything; the folder lives as long as the process."""
    folder = Path(tempfile.mkdtemp(prefix="icn-suite-"))
    _FOLDERS.append(folder)
    suite = Suite()
    for source in sorted(SUITE.glob("*.wast")):
        target = folder / source.stem
        target.mkdir()
        listing = target / "suite.json"
        subprocess.run(["wast2json", str(source), "-o", str(listing)], check=True, capture_output=True, timeout=60)
        _read(source.stem, target, json.loads(listing.read_text()), suite)
    return suite


_FOLDERS: list[Path] = []


def clean_up() -> None:
    """Remove what `load` has written."""
    load.cache_clear()
    while _FOLDERS:
        shutil.rmtree(_FOLDERS.pop())


def _read(file: str, folder: Path, listing: dict[str, Any], suite: Suite) -> None:
    current: Instance | None = None
    named: dict[str, Instance] = {}
    for command in listing["commands"]:
        kind, line = command["type"], command["line"]
        if kind == "module":
            current = Instance(file, line, folder / command["filename"])
            suite.instances.append(current)
            if "name" in command:
                named[command["name"]] = current
        elif kind in ("assert_return", "assert_trap", "assert_exhaustion", "action"):
            action = command["action"]
            owner = named[action["module"]] if "module" in action else current
            assert owner is not None
            rows = action.get("args", []) + command.get("expected", [])
            if any(row["type"] not in NUMBERS for row in rows):
                suite.left_out.append((file, line, REFERENCES))
            elif line in LINKED_LINES.get(file, ()):
                suite.left_out.append((file, line, LINKED))
            elif action["type"] == "get" and any(row["type"][0] == "f" for row in rows):
                suite.left_out.append((file, line, FLOAT_GLOBAL))
            else:
                args = action.get("args", [])
                trap = trap_name(command["text"]) if "text" in command else None
                owner.calls.append(
                    Call(line, kind, action["field"], [int(a["value"]) for a in args], [a["type"] for a in args],
                         command.get("expected", []), trap, action["type"] == "get")
                )  # fmt: skip
        elif kind != "register":
            if command["module_type"] == "text":
                suite.left_out.append((file, line, TEXT))
            else:
                suite.refusals.append(Refusal(file, line, kind, command["text"], folder / command["filename"]))
