"""Every finding of random programs and of fuzzing, kept: `regressions/NNN-what.wat` or `.wasm`.

A `.wat` is run on three machines (`wasm_oracle.py`): its first comment says what was wrong, `;; call NAME BITS…` lines
what to call. A `.wasm` is a mutant: the verdict that it must get stands in its name (`-refused`, `-accepted`).
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import wasm_engines as engines
import wasmtime
from wasm_generator import HOST
from wasm_oracle import Checker

from icn_lite.model.errors import ModuleError
from icn_lite.wasm.prepare import prepare

FOLDER = Path(__file__).parent / "regressions"


def calls_in(text: str) -> list[tuple[str, list[int]]]:
    rows = [line.split()[2:] for line in text.splitlines() if line.startswith(";; call ")]
    return [(name, [int(a, 0) for a in args]) for name, *args in rows]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.wat")), ids=lambda path: path.stem)
def test_a_program_stays_right(path: Path) -> None:
    text = path.read_text()
    calls = calls_in(text)
    module = bytes(wasmtime.wat2wasm(text))
    found = engines.in_big_thread(lambda: Checker(module, HOST).check(calls, Random(0)))
    assert found.completed + found.trapped == len(calls)


def test_mutants_keep_their_verdicts() -> None:
    for path in sorted(FOLDER.glob("*.wasm")):
        if path.stem.endswith("-refused"):
            with pytest.raises(ModuleError):
                prepare(path.read_bytes())
        else:
            wasmtime.Module.validate(engines.wasmtime_engine(False), prepare(path.read_bytes()).code)


def test_numbers_are_used_once() -> None:
    numbers = [path.name.split("-")[0] for path in FOLDER.iterdir()]
    assert len(numbers) == len(set(numbers))
    assert all(len(number) == 3 and number.isdigit() for number in numbers)
