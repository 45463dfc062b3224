"""What the tests of the command line share: a home, a folder of guests, the program within this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from icn_lite.cli import main as cli
from icn_lite.resources import guest_module

ADD = """(module
  (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
  (func (export "div") (param i32 i32) (result i32) local.get 0 local.get 1 i32.div_s)
  (func (export "half") (param f64) (result f64) local.get 0 f64.const 0.5 f64.mul)
  (func (export "wide") (param i64) (result i64) local.get 0)
  (func (export "boom") unreachable)
  (func (export "spin") (loop br 0))
  (func (export "pair") (result i32 i32) i32.const 1 i32.const 2))"""
TALK = """(module
  (import "icn" "log" (func $log (param i32 i32)))
  (import "icn" "put_output" (func $put (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "said\\1b[2J")
  (func (export "run") (result i32)
    (call $log (i32.const 16) (i32.const 8)) (drop (call $put (i32.const 16) (i32.const 4))) i32.const 7))"""
EXIT = """(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (call $exit (i32.sub (i32.load (i32.const 0)) (i32.const 1)))))"""
GROW = """(module (memory 1)
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"""
UNKNOWN_IMPORT = """(module (import "env" "open" (func (param i32) (result i32))))"""


@dataclass(frozen=True)
class Answer:
    """What one invocation printed."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        """stdout as text."""
        return self.raw.decode("utf-8")

    @property
    def json(self) -> dict[str, Any]:
        """The one document of stdout; fails when there is anything else."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


class Program:
    """`icn-lite` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[bytes]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Answer:
        self._capsys.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        shown = self._capsys.readouterr()
        return Answer(code, shown.out, shown.err.decode("utf-8"))


@pytest.fixture
def icn(capsysbinary: pytest.CaptureFixture[bytes], home: Path) -> Program:
    """The program on a fresh home."""
    return Program(capsysbinary)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that is named by the environment and doesn't exist yet."""
    path = tmp_path / "home"
    monkeypatch.setenv("ICN_LITE_HOME", str(path))
    for name in ("ICN_LITE_PASSPHRASE", "ICN_LITE_PASSPHRASE_FILE"):
        monkeypatch.delenv(name, raising=False)
    return path


@pytest.fixture(scope="session")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of modules."""
    folder = tmp_path_factory.mktemp("guests")
    texts = {"add": ADD, "talk": TALK, "exit": EXIT, "grow": GROW, "unknown": UNKNOWN_IMPORT}
    for name, text in texts.items():
        (folder / f"{name}.wasm").write_bytes(bytes(wasmtime.wat2wasm(text)))
    (folder / "echo.wasm").write_bytes(guest_module("echo"))
    (folder / "cut.wasm").write_bytes((folder / "add.wasm").read_bytes()[:-3])
    return folder
