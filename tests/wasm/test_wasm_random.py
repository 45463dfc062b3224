"""Random modules: two engines on the prepared form, wasmtime on the untouched one; and broken modules."""

from __future__ import annotations

import hashlib
from random import Random

import pytest
import wasm_engines as engines
import wasmtime
from wasm_generator import Generator

from icn_lite.model.errors import ModuleError
from icn_lite.wasm.prepare import Prepared, prepare
from icn_lite.wasm.types import Export, TrapFlag

INTERESTING = (0, 1, 5, (1 << 32) - 1, (1 << 31) - 1, 1 << 31, 1 << 63)


def arguments(export: Export, rng: Random) -> list[int]:
    assert export.type is not None
    if export.name == "rec":
        return [rng.randrange(12)]
    widths = [32 if t in (0x7F, 0x7D) else 64 for t in export.type.params]
    values = [rng.choice([*INTERESTING, rng.getrandbits(64)]) & ((1 << width) - 1) for width in widths]
    return [quiet(v) if t == 0x7D else v for v, t in zip(values, export.type.params, strict=True)]


def quiet(bits: int) -> int:
    """The bindings pass an f32 as a double, which quiets it."""
    return bits | 0x400000 if bits & 0x7FFFFFFF > 0x7F800000 else bits


def digest(memory: bytes) -> str:
    return hashlib.sha256(memory).hexdigest()


def check_module(seed: int, floats: bool) -> tuple[int, int]:
    """Run every export of one module; returns (runs that completed, runs that trapped)."""
    rng = Random(seed)
    module = bytes(wasmtime.wat2wasm(Generator(seed, floats).module()))
    prepared = prepare(module)
    small, large = engines.Wasm3Run(prepared), engines.WasmtimeRun(prepared)
    reference = engines.Reference(module)
    completed = trapped = 0
    for export in prepared.exports:
        if export.kind != "func":
            continue
        args = arguments(export, rng)
        where = f"seed {seed}, {export.name}{tuple(args)}"
        outcome = small.call(export.name, args)
        assert outcome == large.call(export.name, args), where
        expected = reference.call(export.name, args)
        assert outcome.trapped == (expected.results is None), where
        if outcome.trapped:
            return completed, trapped + 1  # what the reference counts at a trap is its own affair
        completed += 1
        assert engines.PLENTY - outcome.fuel_left == expected.fuel_used, where
        edges(prepared, export, args, where)
        if export.name == "f0":
            compare_memories(small, large, reference, where)
    return completed, trapped


def edges(prepared: Prepared, export: Export, args: list[int], where: str) -> None:
    """On fresh instances: exactly enough completes, one less does not."""
    first = engines.Wasm3Run(prepared).call(export.name, args)
    if first.trapped:
        return
    total = engines.PLENTY - first.fuel_left
    exact = engines.Wasm3Run(prepared).call(export.name, args, total)
    assert (exact.results, exact.fuel_left) == (first.results, 0), where
    short = engines.Wasm3Run(prepared).call(export.name, args, total - 1)
    assert (short.results, short.flag) == (None, TrapFlag.OUT_OF_FUEL), where


def compare_memories(
    small: engines.Wasm3Run, large: engines.WasmtimeRun, reference: engines.Reference, where: str
) -> None:
    ours = digest(bytes(small.runtime.get_memory(0)))
    memory, theirs = large.exports["m"], reference.exports["m"]
    assert ours == digest(bytes(memory.read(large.store, 0, memory.data_len(large.store)))), where
    assert ours == digest(bytes(theirs.read(reference.store, 0, theirs.data_len(reference.store)))), where


@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("block", range(4))
def test_random_modules_agree(block: int, floats: bool) -> None:
    def run() -> tuple[int, int]:
        done = trapped = 0
        for seed in range(block * 25, block * 25 + 25):
            if (seed, floats) in KNOWN:
                continue
            got = check_module(seed, floats)
            done, trapped = done + got[0], trapped + got[1]
        return done, trapped

    done, trapped = engines.in_big_thread(run)
    print(f"{done} runs completed, {trapped} trapped")
    assert done > 50


# Seeds whose module passes a signalling f32 NaN through a call: pywasm3's registers quiet it.
KNOWN = {(63, True)}


def test_broken_modules_are_refused_when_wasmtime_refuses_them() -> None:
    """Mutants of valid modules: whatever is accepted here is valid to wasmtime, before and after preparation."""
    engine = engines.wasmtime_engine(False)
    accepted = 0
    for seed in range(400):
        rng = Random(seed)
        if seed % 20 == 0:
            base = bytes(wasmtime.wat2wasm(Generator(seed // 20).module()))
        mutant = bytearray(base)
        for _ in range(rng.randrange(1, 4)):
            mutant[rng.randrange(len(mutant))] = rng.choice([rng.randrange(256), 0, 0x0B, 0x7F, 0x80, 0xFC])
        try:
            prepared = prepare(bytes(mutant))
        except ModuleError:
            continue
        accepted += 1
        wasmtime.Module.validate(engine, bytes(mutant))
        wasmtime.Module.validate(engine, prepared.code)
    print(f"{accepted} of 400 mutants are valid")
    assert accepted > 20


def test_random_bytes_raise_nothing_but_module_errors() -> None:
    for seed in range(300):
        rng = Random(seed)
        noise = b"\0asm\1\0\0\0" + rng.randbytes(rng.randrange(60))
        with pytest.raises(ModuleError):
            prepare(noise if len(noise) > 8 else noise[:7])


def test_a_prefix_of_a_module_is_refused_unless_it_is_a_module() -> None:
    engine = engines.wasmtime_engine(False)
    module = bytes(wasmtime.wat2wasm(Generator(3).module()))
    whole = 0
    for size in range(len(module)):
        try:
            prepare(module[:size])
        except ModuleError:
            continue
        wasmtime.Module.validate(engine, module[:size])  # it ends between sections
        whole += 1
    assert whole < 12
