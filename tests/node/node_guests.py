"""Guests that tests need and nobody else does."""

from __future__ import annotations

import pytest

FUEL_A_ROUND = 7  # of the loop below, as wasmtime counts
LOOP = """(module (memory (export "memory") 1)
  (func (export "run") (result i32) (local $left i32)
    (local.set $left (i32.const {rounds}))
    (loop $again (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (local.get $left)))"""


def slow_guest(rounds: int) -> bytes:
    """A guest that counts down from `rounds`: about 5 ms for 100,000 on a laptop."""
    wasmtime = pytest.importorskip("wasmtime", reason="wasmtime, which assembles the slow guest, is missing")
    return bytes(wasmtime.wat2wasm(LOOP.format(rounds=rounds)))
