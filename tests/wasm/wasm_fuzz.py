"""Fuzz targets for preparation: what goes in, what must hold, and where the inputs come from.

decoder     any bytes: a module or a `ModuleError`, in bounded time.
validator   mutants of valid modules: what is accepted is valid to wasmtime; what wasmtime takes and we refuse has a
            reason of `limit` or `unsupported`.
rewriting   mutants that are valid: what is written is valid, and does the same on three machines (`wasm_oracle.py`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random

import wasm_suite
import wasm_walk as walk
import wasmtime
from wasm_generator import HOST, Generator
from wasm_oracle import Checker

from icn_lite.model.errors import ModuleError
from icn_lite.wasm.prepare import prepare

TOP = Path(__file__).resolve().parents[2]
MOST_BYTES = 16_384  # of a seed: larger ones only take longer
SLOW_S = 5.0  # a thousand times what a mutant takes: only a quadratic step gets there
MOST_FUEL = 300_000  # a mutant may loop for ever
BYTES = (
    0,
    1,
    0x0B,
    0x40,
    0x7F,
    0x7E,
    0x7D,
    0x7C,
    0x80,
    0xFC,
    0xFF,
    0x10,
    0x11,
    0x0C,
    0x0D,
    0x0E,
    0x02,
    0x03,
    0x04,
    0x05,
)


class Finding(AssertionError):
    """Something that must not be."""


@dataclass
class Tally:
    """What a target has seen."""

    seen: Counter[str] = field(default_factory=Counter)
    slowest_ms: int = 0


def corpus(generated: int = 60) -> list[bytes]:
    """Seeds: generated programs, the kernels and guests of `tools`, and the specification's modules where they are."""
    seeds = [bytes(wasmtime.wat2wasm(Generator(seed, floats=seed % 4 != 3, size=40).text)) for seed in range(generated)]
    seeds += [path.read_bytes() for path in sorted(TOP.glob("tools/*/**/*.wasm"))]
    seeds += [path.read_bytes() for path in sorted(Path(__file__).parent.glob("regressions/*.wasm"))]
    if not any(mark.args[0] for mark in wasm_suite.NEEDED):
        suite = wasm_suite.load()
        seeds += [instance.path.read_bytes() for instance in suite.instances]
        seeds += [refusal.path.read_bytes() for refusal in suite.refusals]
        wasm_suite.clean_up()
    return [seed for seed in dict.fromkeys(seeds) if len(seed) <= MOST_BYTES]


# mutators


def flip_bytes(data: bytes, rng: Random, seeds: list[bytes]) -> bytes:
    del seeds
    mutant = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        if mutant:
            at = rng.randrange(len(mutant))
            mutant[at] = rng.choice([rng.randrange(256), rng.choice(BYTES), mutant[at] ^ 1 << rng.randrange(8)])
    return bytes(mutant)


def cut_or_insert(data: bytes, rng: Random, seeds: list[bytes]) -> bytes:
    del seeds
    at, size = rng.randrange(len(data) + 1), rng.choice([1, 2, 3, 9])
    if rng.random() < 0.5:
        return data[:at] + data[at + size :]
    return data[:at] + bytes(rng.choice(BYTES) for _ in range(size)) + data[at:]


def mix_sections(data: bytes, rng: Random, seeds: list[bytes]) -> bytes:
    """Sections left out, repeated, moved, or taken from another module; sizes stay right."""
    parts = walk.sections(data)
    kind = rng.randrange(4)
    if kind == 0 and parts:
        parts.pop(rng.randrange(len(parts)))
    elif kind == 1 and parts:
        parts.insert(rng.randrange(len(parts) + 1), rng.choice(parts))
    elif kind == 2 and len(parts) > 1:
        rng.shuffle(parts)
    else:
        others = walk.sections(rng.choice(seeds))
        for other in rng.sample(others, min(len(others), 2)):
            same = [i for i, part in enumerate(parts) if part.id == other.id]
            if same:
                parts[same[0]] = other
            else:
                parts.append(other)
    return walk.assemble(parts)


def change_section(data: bytes, rng: Random, seeds: list[bytes]) -> bytes:
    """Bytes inside one section, whose size stays right."""
    parts = walk.sections(data)
    if parts:
        part = rng.choice(parts)
        part.content = rng.choice([flip_bytes, cut_or_insert])(part.content, rng, seeds)
    return walk.assemble(parts)


def change_code(data: bytes, rng: Random, seeds: list[bytes]) -> bytes:
    """Instructions of one body left out, doubled, swapped, replaced, or taken from another module."""
    parts = walk.sections(data)
    for part in parts:
        if part.id == walk.CODE:
            found = walk.bodies(part.content)
            if found:
                number = rng.randrange(len(found))
                head, code = walk.split_body(found[number])
                raws = [instruction.raw for instruction in code]
                for _ in range(rng.choice([1, 1, 2, 4])):
                    _change_one(raws, rng, seeds)
                found[number] = head + b"".join(raws)
                part.content = walk.join_bodies(found)
    return walk.assemble(parts)


def _change_one(raws: list[bytes], rng: Random, seeds: list[bytes]) -> None:
    at = rng.randrange(len(raws))
    kind = rng.randrange(6)
    if kind == 0:
        raws.pop(at) if len(raws) > 1 else None
    elif kind == 1:
        raws.insert(at, raws[rng.randrange(len(raws))])
    elif kind == 2:
        other = rng.randrange(len(raws))
        raws[at], raws[other] = raws[other], raws[at]
    elif kind == 3:
        raws[at] = bytes((rng.randrange(256),)) + raws[at][1:]
    elif kind == 4:
        raws[at] = raws[at][:1] + bytes(rng.choice([0, 1, 2, 3, 0x7F, 0x7E, 0x40]) for _ in raws[at][1:])
    else:
        donor = [
            body
            for part in walk.sections(rng.choice(seeds))
            if part.id == walk.CODE
            for body in walk.bodies(part.content)
        ]
        if donor:
            code = walk.split_body(rng.choice(donor))[1]
            start = rng.randrange(len(code))
            raws[at:at] = [instruction.raw for instruction in code[start : start + rng.randrange(1, 6)]]


def pad_integers(data: bytes, rng: Random, seeds: list[bytes]) -> bytes:
    """An integer in code written longer, as linkers do."""
    del seeds
    parts = walk.sections(data)
    for part in parts:
        if part.id == walk.CODE:
            found = walk.bodies(part.content)
            for number, body in enumerate(found):
                head, code = walk.split_body(body)
                raws = [i.raw for i in code]
                for at, raw in enumerate(raws):
                    if (
                        rng.random() < 0.2
                        and len(raw) == 2
                        and raw[0] in (0x0C, 0x0D, 0x10, 0x20, 0x21, 0x22, 0x23, 0x24)
                        and raw[1] < 128
                    ):
                        raws[at] = bytes((raw[0], raw[1] | 0x80)) + b"\x80" * rng.randrange(3) + b"\x00"
                found[number] = head + b"".join(raws)
            part.content = walk.join_bodies(found)
    return walk.assemble(parts)


MUTATORS: tuple[Callable[[bytes, Random, list[bytes]], bytes], ...] = (
    flip_bytes, cut_or_insert, mix_sections, change_section, change_code, change_code, change_code, pad_integers,
)  # fmt: skip


def mutate(rng: Random, seeds: list[bytes]) -> bytes:
    """A seed, changed once or a few times; what the walker can't take apart is changed byte by byte."""
    data = rng.choice(seeds)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        try:
            data = rng.choice(MUTATORS)(data, rng, seeds)
        except (IndexError, ModuleError, ValueError):
            data = flip_bytes(data, rng, seeds)
    return data


# targets


def decoder(data: bytes, rng: Random, tally: Tally) -> None:
    """Bytes with no form at all half of the time."""
    if rng.random() < 0.1:
        data = rng.choice([walk.HEADER, b""]) + rng.randbytes(rng.randrange(200))
    started = time.perf_counter()
    try:
        prepare(data, host=HOST)
        tally.seen["accepted"] += 1
    except ModuleError as error:
        tally.seen[error.reason] += 1
        if not error.message or (error.offset is not None and not 0 <= error.offset <= len(data)):
            raise Finding(f"a refusal without place: {error!r} at {error.offset} of {len(data)}") from error
    spent = time.perf_counter() - started
    tally.slowest_ms = max(tally.slowest_ms, round(spent * 1000))
    if spent > SLOW_S:
        raise Finding(f"{len(data)} bytes took {spent:.1f} s")


@cache
def judge() -> wasmtime.Engine:
    """wasmtime with the features that preparation knows, and no later ones."""
    config = wasmtime.Config()
    for feature in ("multi_memory", "memory64", "gc", "function_references", "tail_call", "threads", "exceptions",
                    "relaxed_simd", "simd", "custom_page_sizes", "wide_arithmetic", "stack_switching"):  # fmt: skip
        if hasattr(wasmtime.Config, f"wasm_{feature}"):
            setattr(config, f"wasm_{feature}", False)
    return wasmtime.Engine(config)


def is_valid(data: bytes) -> str | None:
    """Why wasmtime refuses a module, None when it doesn't."""
    try:
        wasmtime.Module.validate(judge(), data)
    except wasmtime.WasmtimeError as error:
        return str(error)
    return None


# What wasmtime reads though its feature is off: sizes of memories in 64 bits, and imports in groups.
LATER = ("integer has more than 32 bits", "unknown kind of import 127", "unknown kind of import 126")


def validator(data: bytes, rng: Random, tally: Tally) -> None:
    del rng
    theirs = is_valid(data)
    try:
        prepared = prepare(data, host=HOST)
    except ModuleError as error:
        tally.seen[error.reason] += 1
        fits = "segment ends at" in error.message  # valid, and sure to trap before it does anything
        if theirs is None and error.reason in ("malformed", "invalid") and not fits and error.message not in LATER:
            raise Finding(f"wasmtime takes what is refused as {error.reason}: {error.message}") from error
        return
    tally.seen["accepted"] += 1
    if theirs is not None:
        raise Finding(f"accepted, but wasmtime says: {theirs[:300]}")
    if (broken := is_valid(prepared.code)) is not None:
        raise Finding(f"what was written is not valid: {broken[:300]}")


def rewriting(data: bytes, rng: Random, tally: Tally) -> None:
    try:
        checker = Checker(data, HOST, exact=False)
    except ModuleError:
        tally.seen["refused"] += 1
        return
    calls = []
    for export in checker.prepared.exports:
        if export.type is not None and not any(t in (0x7D, 0x7C) for t in export.type.params + export.type.results):
            bits = [rng.getrandbits(32) if rng.random() < 0.5 else rng.randrange(8) for _ in export.type.params]
            calls.append((export.name, bits))
    try:
        found = checker.compare(calls[:4], MOST_FUEL)
    except AssertionError as error:
        raise Finding(str(error)) from error
    tally.seen.update(modules=1, calls=found.completed, trapped=found.trapped)


TARGETS: dict[str, Callable[[bytes, Random, Tally], None]] = {
    "decoder": decoder, "validator": validator, "rewriting": rewriting,
}  # fmt: skip
