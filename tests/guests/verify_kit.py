"""What the tests of the verification guests share: runs on two engines, reports."""

from __future__ import annotations

from pathlib import Path

import cbor2
from guest_engines import BUILD, GuestRun, run_wasm3, run_wasmtime

VECTORS = Path(__file__).parent / "vectors" / "verify"
NAMES = ("merkle", "ed25519", "ed25519_native", "wellformed", "groth16")


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
