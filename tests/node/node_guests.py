"""Guests that tests need and nobody else does."""

from __future__ import annotations

import pytest

FUEL_A_ROUND = 7  # of the loop below, as wasmtime counts
LOOP = """(module (memory (export "memory") 1)
  (func (export "run") (result i32) (local $left i32)
    (local.set $left (i32.const {rounds}))
    (loop $again (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (local.get $left)))"""


WIDE = """(module (import "icn" "put_output" (func $put (param i32 i32) (result i32))) (memory (export "memory") 20)
  (func (export "run") (result i32) (local $left i32)
    (local.set $left (i32.const {rounds}))
    (loop $again (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (memory.fill (i32.const 0) (i32.const 7) (i32.const {size}))
    (drop (call $put (i32.const 0) (i32.const {size})))
    (local.get $left)))"""


def wide_guest(rounds: int, size: int) -> bytes:
    """A guest as slow as `slow_guest`, with an output of `size` bytes."""
    wasmtime = pytest.importorskip("wasmtime", reason="wasmtime, which assembles the slow guest, is missing")
    return bytes(wasmtime.wat2wasm(WIDE.format(rounds=rounds, size=size)))


def slow_guest(rounds: int) -> bytes:
    """A guest that counts down from `rounds`: about 5 ms for 100,000 on a laptop."""
    wasmtime = pytest.importorskip("wasmtime", reason="wasmtime, which assembles the slow guest, is missing")
    return bytes(wasmtime.wat2wasm(LOOP.format(rounds=rounds)))
