"""What stands in for wasmtime where its package installs and can't be loaded, as on 32-bit ARM.

Whatever needs it is skipped with the reason when it gets there, so that the rest of the same file runs; only turning
text into a module is done by wabt's `wat2wasm`, where that is installed.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import types
from typing import NoReturn

import pytest

WABT_S = 30


NEEDS_WASMTIME = pytest.mark.skipif(
    "isinstance(__import__('sys').modules['wasmtime'], __import__('absent').AbsentModule)",
    reason="wasmtime does not load here",
)


class AbsentModule(types.ModuleType):
    """A module of which nothing can be used."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name)
        self.reason = reason

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("Trap", "ExitTrap", "WasmtimeError"):  # for `except` clauses that nothing reaches
            return type(name, (Exception,), {})
        if name == "wat2wasm" and shutil.which("wat2wasm"):
            return wat2wasm
        return _Absent(self.reason)


class _Absent:
    """An attribute of it: any use ends the test."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def _skip(self) -> NoReturn:
        pytest.skip(self._reason, allow_module_level=True)

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        self._skip()

    def __getattr__(self, name: str) -> NoReturn:
        self._skip()


def wat2wasm(text: str) -> bytes:
    """The module of a text, by wabt."""
    command = ["wat2wasm", "--enable-all", "--no-check", "--debug-names", "--output=-", "-"]
    done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=WABT_S, check=False)
    if done.returncode:  # its grammar is not quite wasmtime's
        why = f"wasmtime does not load here, and wabt can't read the text: {done.stderr.decode()[:200]}"
        pytest.skip(why, allow_module_level=True)
    return done.stdout


def engine_names() -> tuple[str, ...]:
    """The engines that run prepared modules here."""
    return ("wasm3",) if isinstance(sys.modules.get("wasmtime"), AbsentModule) else ("wasm3", "wasmtime")


def stand_in(name: str) -> None:
    """Put an `AbsentModule` in a module's place if it can't be loaded."""
    try:
        importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        for known in [known for known in sys.modules if known == name or known.startswith(f"{name}.")]:
            del sys.modules[known]
        sys.modules[name] = AbsentModule(name, f"{name} does not load here: {error}")
