"""What the tests of the verification guests share: the packer, runs on two engines, reports."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import cbor2
from guest_engines import BUILD, GUESTS, GuestRun, run_wasm3, run_wasmtime

VECTORS = Path(__file__).parent / "vectors" / "verify"
NAMES = ("merkle", "ed25519", "ed25519_native", "wellformed", "groth16")


@cache
def load_packer() -> ModuleType:
    """`tools/guests/verify/make.py` as a module."""
    spec = importlib.util.spec_from_file_location("verify_make", GUESTS / "verify" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def code(name: str) -> bytes:
    return (BUILD / f"{name}.wasm").read_bytes()


def run_both(name: str, data: bytes) -> GuestRun:
    """As it stands on both engines, with one answer."""
    first, second = (engine(code(name), data) for engine in (run_wasm3, run_wasmtime))
    assert first == second
    return first


def mismatches(run: GuestRun, items: int) -> list[int]:
    """The findings of a run that ended well."""
    assert (run.result, run.log) == (0, ()), run
    report = cbor2.loads(run.output)
    assert (report["v"], report["items"]) == (1, items)
    assert cbor2.dumps(report, canonical=True) == run.output
    found: list[int] = list(report["mismatches"])
    return found
